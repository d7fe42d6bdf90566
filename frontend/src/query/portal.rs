//! Portals: statements with their parameters, and how far their rows have been sent.
//!
//! A portal keeps the stream of its rows, never the rows: what a row limit holds back stays unread in the store
//! (but for the rest of one batch). Portals live until their transaction ends, which without a block is the next
//! Sync.

use std::collections::HashMap;
use std::sync::Arc;

use planner::types::{Datum, Row};
use planner::{Prepared, Rows, SqlError};

use crate::message::Formats;

/// duplicate_cursor.
const DUPLICATE_CURSOR: &str = "42P03";
/// invalid_cursor_name.
const INVALID_CURSOR: &str = "34000";
/// object_not_in_prerequisite_state.
const NOT_IN_STATE: &str = "55000";
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
    /// The error of executing a portal again whose statement gave no rows.
    pub(crate) fn cannot_run(name: &str) -> SqlError {
        SqlError::new(NOT_IN_STATE, format!("portal \"{name}\" cannot be run"))
    }
}

/// A session's portals.
#[derive(Default)]
pub(crate) struct Portals {
    /// The one that drivers use all the time; no name, no memory for it.
    unnamed: Option<Portal>,
    /// The others. `None`: being executed right now.
    named: HashMap<String, Option<Portal>>,
}

impl Portals {
    /// Adds a portal. The unnamed one is replaced; 42P03 if another name is taken.
    pub(crate) fn bind(&mut self, name: &str, portal: Portal) -> Result<(), SqlError> {
        if name.is_empty() {
            self.unnamed = Some(portal);
            return Ok(());
        }
        if self.named.contains_key(name) {
            return Err(SqlError::new(DUPLICATE_CURSOR, format!("cursor \"{name}\" already exists")));
        }
        if self.named.len() >= PORTALS_MAX {
            return Err(SqlError::new(
                planner::sqlstate::LIMIT_EXCEEDED,
                format!("a session may have at most {PORTALS_MAX} portals"),
            ));
        }
        self.named.insert(name.to_string(), Some(portal));
        Ok(())
    }

    /// Looks at a portal. 34000 if there is none.
    pub(crate) fn get(&self, name: &str) -> Result<&Portal, SqlError> {
        let found = if name.is_empty() {
            self.unnamed.as_ref()
        } else {
            self.named.get(name).and_then(Option::as_ref)
        };
        found.ok_or_else(|| unknown(name))
    }

    /// Takes a portal out to execute it; [`Portals::put_back`] ends that.
    pub(crate) fn take(&mut self, name: &str) -> Result<Portal, SqlError> {
        let found = if name.is_empty() {
            self.unnamed.take()
        } else {
            self.named.get_mut(name).and_then(Option::take)
        };
        found.ok_or_else(|| unknown(name))
    }

    /// Puts a portal back that was taken out.
    pub(crate) fn put_back(&mut self, name: &str, portal: Portal) {
        if name.is_empty() {
            self.unnamed = Some(portal);
        } else if let Some(place) = self.named.get_mut(name) {
            *place = Some(portal);
        }
    }

    /// Drops a portal; nothing if there is none.
    pub(crate) fn close(&mut self, name: &str) {
        if name.is_empty() {
            self.unnamed = None;
        } else {
            self.named.remove(name);
        }
    }

    /// The transaction is over.
    pub(crate) fn clear(&mut self) {
        self.unnamed = None;
        self.named.clear();
    }
}

fn unknown(name: &str) -> SqlError {
    SqlError::new(INVALID_CURSOR, format!("portal \"{name}\" does not exist"))
}
