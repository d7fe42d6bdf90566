//! Refuses what the parser reads and this server does not do.
//!
//! Converters take the parser's structures apart field by field, without `..`: a field that is new in the parser does not
//! compile until somebody has decided what becomes of it.

use crate::error::{SqlError, sqlstate};

/// 0A000 for the first that is there.
pub(super) fn unsupported(parts: &[(bool, &str)]) -> Result<(), SqlError> {
    match parts.iter().find(|(there, _)| *there) {
        Some((_, what)) => Err(SqlError::unsupported(what)),
        None => Ok(()),
    }
}

/// 42601 for the first that is there: the parser reads it for the sake of other systems.
pub(super) fn foreign(parts: &[(bool, &str)]) -> Result<(), SqlError> {
    match parts.iter().find(|(there, _)| *there) {
        Some((_, what)) => Err(foreign_word(what)),
        None => Ok(()),
    }
}

/// 42601 at a word of another system.
pub(super) fn foreign_word(what: &str) -> SqlError {
    SqlError::new(sqlstate::SYNTAX, format!("syntax error at or near \"{what}\""))
}

/// 0A000 for a collation that is not the order of bytes, which all text has here.
pub(super) fn collation(name: &str) -> Result<(), SqlError> {
    match name {
        "C" | "POSIX" | "default" | "ucs_basic" => Ok(()),
        other => Err(SqlError::unsupported(format!("the collation \"{other}\""))
            .hint("All text sorts by its bytes: the collations \"C\" and \"default\".")),
    }
}
