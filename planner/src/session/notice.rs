//! Messages for the client that are no errors.

use crate::error::sqlstate;

/// A message for the client that is no error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// "NOTICE" or "WARNING".
    pub severity: &'static str,
    /// SQLSTATE ("00000" for plain notices).
    pub sqlstate: &'static str,
    /// The message.
    pub message: String,
    /// More about it.
    pub detail: Option<String>,
}

impl Notice {
    /// Something worth knowing.
    pub(crate) fn plain(message: impl Into<String>) -> Notice {
        Notice { severity: "NOTICE", sqlstate: "00000", message: message.into(), detail: None }
    }

    /// Something that is there already or not there, with the SQLSTATE that would be the error's.
    pub(crate) fn skipped(sqlstate: &'static str, message: impl Into<String>) -> Notice {
        Notice { sqlstate, ..Notice::plain(message) }
    }

    /// Something that the client may not have meant, with the SQLSTATE of its kind.
    pub(crate) fn warning(sqlstate: &'static str, message: impl Into<String>) -> Notice {
        Notice { severity: "WARNING", sqlstate, message: message.into(), detail: None }
    }

    /// A statement that does something inside of a block only was used outside.
    pub(super) fn only_in_block(statement: &str) -> Notice {
        let message = format!("{statement} can only be used in transaction blocks");
        Notice::warning(sqlstate::NO_ACTIVE_TRANSACTION, message)
    }
}
