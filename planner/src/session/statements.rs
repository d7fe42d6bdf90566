//! The prepared statements of a session, by name.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use wal::{Budget, Reserved};

use crate::error::{SqlError, sqlstate};
use crate::prepared::Prepared;

/// Bytes of the prepared statements of all sessions of the process.
const STATEMENTS_BYTES_MAX: u64 = 256 << 20;
/// Bytes of the prepared statements of one session.
const SESSION_BYTES_MAX: u64 = 32 << 20;
static STATEMENTS: LazyLock<Budget> =
    LazyLock::new(|| Budget::new("prepared statements", STATEMENTS_BYTES_MAX));

/// The prepared statements of a session. The empty name is the unnamed statement of the protocol.
#[derive(Debug, Default)]
pub(super) struct Statements {
    by_name: HashMap<String, Kept>,
    /// What they take together.
    bytes: u64,
}

/// A statement, and its share of the budget.
#[derive(Debug)]
struct Kept {
    prepared: Arc<Prepared>,
    reserved: Reserved,
}

impl Statements {
    /// Keeps a statement. The unnamed one is replaced; for others 42P05 if the name is taken.
    pub(super) fn store(&mut self, name: &str, prepared: Arc<Prepared>) -> Result<(), SqlError> {
        if !name.is_empty() && self.by_name.contains_key(name) {
            return Err(SqlError::new(
                sqlstate::DUPLICATE_STATEMENT,
                format!("prepared statement \"{name}\" already exists"),
            ));
        }
        self.close(name);
        let bytes = prepared.bytes() + name.len() as u64;
        let out_of_memory = |detail: String| {
            SqlError::new(sqlstate::OUT_OF_MEMORY, "out of memory for prepared statements")
                .detail(detail)
                .hint("Close statements that are not needed (DEALLOCATE).")
        };
        if self.bytes.saturating_add(bytes) > SESSION_BYTES_MAX {
            return Err(out_of_memory(format!("A session may have {SESSION_BYTES_MAX} bytes of them.")));
        }
        let reserved = STATEMENTS.reserve(bytes).map_err(|over| out_of_memory(format!("{over}.")))?;
        self.bytes += bytes;
        self.by_name.insert(name.to_string(), Kept { prepared, reserved });
        Ok(())
    }

    /// The statement of that name. 26000 if there is none.
    pub(super) fn get(&self, name: &str) -> Result<Arc<Prepared>, SqlError> {
        self.by_name.get(name).map(|kept| kept.prepared.clone()).ok_or_else(|| {
            let what = if name.is_empty() {
                "unnamed prepared statement does not exist".to_string()
            } else {
                format!("prepared statement \"{name}\" does not exist")
            };
            SqlError::new(sqlstate::UNKNOWN_STATEMENT, what)
        })
    }

    /// Forgets a statement; whether there was one.
    pub(super) fn close(&mut self, name: &str) -> bool {
        let closed = self.by_name.remove(name);
        self.bytes -= closed.as_ref().map_or(0, |kept| kept.reserved.bytes());
        closed.is_some()
    }

    /// Forgets all statements.
    pub(super) fn close_all(&mut self) {
        self.by_name.clear();
        self.bytes = 0;
    }

    /// The names and texts, sorted by name.
    pub(super) fn names(&self) -> Vec<(String, String)> {
        let pair = |(name, kept): (&String, &Kept)| (name.clone(), kept.prepared.sql().to_string());
        let pairs = self.by_name.iter().map(pair);
        let mut names: Vec<_> = pairs.collect();
        names.sort();
        names
    }
}
