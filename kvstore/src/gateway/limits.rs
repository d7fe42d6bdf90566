//! How large keys, columns and rows may be, checked before anything is sent; and how much scans may hold.

use wal::OverBudget;

use crate::config::Limits;
use crate::error::KvError;
use crate::replica::check_entry;
use crate::request::Mutation;

/// The error for a scan that finds no memory.
pub(super) fn over_budget(over: OverBudget) -> KvError {
    KvError::OutOfMemory(format!("{over} for open scans at this node").into())
}

/// Whether a row key is short enough.
pub(super) fn check_key(limits: &Limits, key: &[u8]) -> Result<(), KvError> {
    check("row key", key.len(), limits.key_bytes_max)
}

/// Whether a write changes something, and all its parts are within their limits.
pub(crate) fn check_write(limits: &Limits, key: &[u8], mutations: &[Mutation]) -> Result<(), KvError> {
    check_key(limits, key)?;
    if mutations.is_empty() {
        return Err(KvError::Invalid("a write needs at least one column".into()));
    }
    let mut size = key.len();
    for mutation in mutations {
        let (column, value) = match mutation {
            Mutation::Put { column, value } => (column, value.len()),
            Mutation::Delete { column } => (column, 0),
            Mutation::DeleteRow => continue,
        };
        if column.is_empty() {
            return Err(KvError::Invalid("a column needs a name".into()));
        }
        check("column name", column.len(), limits.column_bytes_max)?;
        size += column.len() + value;
    }
    check("row", size, limits.row_bytes_max)?;
    check_entry(key, mutations)
}

fn check(what: &'static str, size: usize, limit: usize) -> Result<(), KvError> {
    if size > limit { Err(KvError::TooLarge { what, size, limit }) } else { Ok(()) }
}
