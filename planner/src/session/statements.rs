//! The prepared statements of a session, by name.

use std::collections::HashMap;
use std::sync::Arc;

use crate::error::{SqlError, sqlstate};
use crate::prepared::Prepared;

/// The prepared statements of a session. The empty name is the unnamed statement of the protocol.
#[derive(Debug, Default)]
pub(super) struct Statements {
    by_name: HashMap<String, Arc<Prepared>>,
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
        self.by_name.insert(name.to_string(), prepared);
        Ok(())
    }

    /// The statement of that name. 26000 if there is none.
    pub(super) fn get(&self, name: &str) -> Result<Arc<Prepared>, SqlError> {
        self.by_name.get(name).cloned().ok_or_else(|| {
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
        self.by_name.remove(name).is_some()
    }

    /// Forgets all statements.
    pub(super) fn close_all(&mut self) {
        self.by_name.clear();
    }

    /// The names and texts, sorted by name.
    pub(super) fn names(&self) -> Vec<(String, String)> {
        let pairs = self.by_name.iter().map(|(name, prepared)| (name.clone(), prepared.sql().to_string()));
        let mut names: Vec<_> = pairs.collect();
        names.sort();
        names
    }
}
