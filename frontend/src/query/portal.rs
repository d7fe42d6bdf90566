//! Portals: statements with their parameters, and how far their rows have been sent.
//!
//! A portal keeps the stream of its rows, never the rows: what a row limit holds back stays unread in the store
//! (but for the rest of one batch). Portals live until their transaction ends, which without a block is the next
//! Sync.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use planner::types::{Datum, Row};
use planner::{Prepared, Rows, SqlError, sqlstate};
use wal::{Budget, Reserved};

use crate::message::{Bind, Formats};

/// Bytes of the named portals of all sessions of the process.
const PORTALS_BYTES_MAX: u64 = 256 << 20;
/// Bytes of the named portals of one session.
const SESSION_BYTES_MAX: u64 = 32 << 20;
/// What a portal takes beside its statement and parameters, about.
const PORTAL_BYTES: u64 = 512;
/// What a parameter takes beside its bytes, about.
const PARAMETER_BYTES: u64 = 64;
static PORTALS: LazyLock<Budget> = LazyLock::new(|| Budget::new("portals", PORTALS_BYTES_MAX));

/// Named portals at a time in a session.
const PORTALS_MAX: usize = 1000;

/// A bound statement.
pub(crate) struct Portal {
    /// The statement.
    pub(crate) prepared: Arc<Prepared>,
    /// Formats of the columns.
    pub(crate) formats: Formats,
    /// How far it is.
    pub(crate) progress: Progress,
}

/// How far a portal is.
pub(crate) enum Progress {
    /// Not yet executed: its parameters.
    Bound(Vec<Datum>),
    /// Rows were sent, there may be more.
    Suspended(Cursor),
    /// All is done; the tag that a further Execute gives, if it is allowed (it sends no more rows).
    Finished(Option<String>),
}

/// Rows on their way.
pub(crate) struct Cursor {
    /// Columns, tag, and the rows yet to be read.
    pub(crate) rows: Rows,
    /// Rows read and not yet sent.
    pub(crate) batch: std::vec::IntoIter<Row>,
}

impl Cursor {
    /// At the first row.
    pub(crate) fn new(rows: Rows) -> Cursor {
        Cursor { rows, batch: Vec::new().into_iter() }
    }
}

impl Portal {
    /// What it takes of the memory, about, as it was bound.
    pub(crate) fn bytes(&self, bind: &Bind) -> u64 {
        let values: usize = bind.values().map(|value| value.map_or(0, <[u8]>::len)).sum();
        let parameters = bind.count as u64 * PARAMETER_BYTES + values as u64;
        PORTAL_BYTES + bind.portal.len() as u64 + self.prepared.bytes() + parameters
    }

    /// The error of executing a portal again whose statement gave no rows.
    pub(crate) fn cannot_run(name: &str) -> SqlError {
        SqlError::new(sqlstate::NOT_READY, format!("portal \"{name}\" cannot be run"))
    }
}

/// A session's portals.
#[derive(Default)]
pub(crate) struct Portals {
    /// The one that drivers use all the time; no name, no memory for it.
    unnamed: Option<Portal>,
    /// The others.
    named: HashMap<String, Named>,
    /// What the others take together.
    bytes: u64,
}

/// A portal with a name.
struct Named {
    /// `None`: being executed right now.
    portal: Option<Portal>,
    /// Its share of the budget.
    memory: Reserved,
}

impl Portals {
    /// Adds a portal that takes so many bytes. The unnamed one is replaced; 42P03 if another name is taken, 53200 if there
    /// is no memory.
    pub(crate) fn bind(&mut self, name: &str, portal: Portal, bytes: u64) -> Result<(), SqlError> {
        if name.is_empty() {
            self.unnamed = Some(portal);
            return Ok(());
        }
        if self.named.contains_key(name) {
            return Err(Portals::duplicate(name));
        }
        if self.named.len() >= PORTALS_MAX {
            return Err(SqlError::new(
                sqlstate::LIMIT_EXCEEDED,
                format!("a session may have at most {PORTALS_MAX} portals"),
            ));
        }
        let out_of_memory = |detail: String| {
            SqlError::new(sqlstate::OUT_OF_MEMORY, "out of memory for portals")
                .detail(detail)
                .hint("Close portals that are not needed, or end the transaction.")
        };
        if self.bytes.saturating_add(bytes) > SESSION_BYTES_MAX {
            return Err(out_of_memory(format!("A session may have {SESSION_BYTES_MAX} bytes of them.")));
        }
        let memory = PORTALS.reserve(bytes).map_err(|over| out_of_memory(format!("{over}.")))?;
        self.bytes += bytes;
        self.named.insert(name.to_string(), Named { portal: Some(portal), memory });
        Ok(())
    }

    /// 42P03: a portal, or a cursor, of that name is there.
    pub(crate) fn duplicate(name: &str) -> SqlError {
        SqlError::new(sqlstate::DUPLICATE_CURSOR, format!("cursor \"{name}\" already exists"))
    }

    /// Looks at a portal. 34000 if there is none.
    pub(crate) fn get(&self, name: &str) -> Result<&Portal, SqlError> {
        let found = if name.is_empty() {
            self.unnamed.as_ref()
        } else {
            self.named.get(name).and_then(|named| named.portal.as_ref())
        };
        found.ok_or_else(|| unknown(name))
    }

    /// Takes a portal out to execute it; [`Portals::put_back`] ends that.
    pub(crate) fn take(&mut self, name: &str) -> Result<Portal, SqlError> {
        let found = if name.is_empty() {
            self.unnamed.take()
        } else {
            self.named.get_mut(name).and_then(|named| named.portal.take())
        };
        found.ok_or_else(|| unknown(name))
    }

    /// Puts a portal back that was taken out.
    pub(crate) fn put_back(&mut self, name: &str, portal: Portal) {
        if name.is_empty() {
            self.unnamed = Some(portal);
        } else if let Some(named) = self.named.get_mut(name) {
            named.portal = Some(portal);
        }
    }

    /// Drops a portal; nothing if there is none.
    pub(crate) fn close(&mut self, name: &str) {
        if name.is_empty() {
            self.unnamed = None;
        } else {
            let closed = self.named.remove(name);
            self.bytes -= closed.map_or(0, |named| named.memory.bytes());
        }
    }

    /// The transaction is over.
    pub(crate) fn clear(&mut self) {
        self.unnamed = None;
        self.named.clear();
        self.bytes = 0;
    }
}

fn unknown(name: &str) -> SqlError {
    SqlError::new(sqlstate::UNKNOWN_CURSOR, format!("portal \"{name}\" does not exist"))
}
