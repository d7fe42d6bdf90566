//! What executing a statement gives: rows as they come, a command tag, or a COPY in one of its directions.

use crate::copy::{CopyIn, CopyOut};
use crate::result::Rows;

/// The outcome of a statement.
pub enum Execution {
    /// The statement text was empty (or a comment): EmptyQueryResponse.
    Empty,
    /// Done, without rows: the tag of CommandComplete.
    Done {
        /// Command tag ("INSERT 0 1").
        tag: String,
    },
    /// Rows follow.
    Rows(Rows),
    /// COPY .. FROM STDIN: the client sends data.
    CopyIn(Box<CopyIn>),
    /// COPY .. TO STDOUT: data follows.
    CopyOut(CopyOut),
}

impl std::fmt::Debug for Execution {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Execution::Empty => f.write_str("Empty"),
            Execution::Done { tag } => write!(f, "Done({tag})"),
            Execution::Rows(rows) => write!(f, "Rows({:?})", rows.columns),
            Execution::CopyIn(_) => f.write_str("CopyIn"),
            Execution::CopyOut(_) => f.write_str("CopyOut"),
        }
    }
}
