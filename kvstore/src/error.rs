//! Errors of the store, sorted by what the caller must do.

use std::borrow::Cow;

use wal::NodeId;

/// Why a call to the store ended without its answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KvError {
    /// There is no such table (any more).
    #[error("table {0} does not exist")]
    NoTable(String),
    /// The name is taken.
    #[error("table {0} already exists")]
    TableExists(String),
    /// A key, column, row or list of keys is over its limit; nothing was done.
    #[error("{what} of {size} {0} is over the limit of {limit} {0}; nothing was done", unit(.what))]
    TooLarge {
        /// What is too large ("row key", "column name", "row", [`LIST_OF_KEYS`]).
        what: &'static str,
        /// Its size: bytes, or the number of keys in a list.
        size: usize,
        /// The limit, in the same unit.
        limit: usize,
    },
    /// The request cannot be carried out as it is; nothing was done.
    #[error("invalid request: {0}")]
    Invalid(String),
    /// Internal to routing: the replica asked is not the leader.
    #[error("not the leader of the range")]
    NotLeader {
        /// Where the leader is thought to be.
        hint: Option<NodeId>,
    },
    /// Internal to routing: the node asked does not hold the range.
    #[error("the range is not on this node")]
    RangeMoved,
    /// The leader has no disk space; nothing was done. Free space and retry: the node goes on by itself.
    #[error(
        "the disk of node {0} is full; nothing was done; free space there and retry (it needs no restart)"
    )]
    DiskFull(NodeId),
    /// Too much work is queued; nothing was done. Retry later.
    #[error("overloaded: {0}; nothing was done; retry after a short pause")]
    Overloaded(Cow<'static, str>),
    /// What a client asks for would take more memory than there is for it; nothing was done.
    #[error("out of memory: {0}; nothing was done; retry with less at a time")]
    OutOfMemory(Cow<'static, str>),
    /// The rows as of the LSN at which a statement began to read a range are no longer kept. The statement never goes on
    /// at another LSN ([one-lsn]).
    #[error(
        "the statement cannot go on reading as of the moment at which it began ({0}); nothing was written; retry"
    )]
    ReadTooOld(String),
    /// The deadline passed (or the range had no leader all the time) and nothing was done.
    #[error("no answer before the deadline ({0}); nothing was done; retry")]
    DeadlineExceeded(String),
    /// A write, or the making or dropping of a table, may or may not have happened: it was under way when its deadline
    /// passed or its answer was lost.
    #[error("the outcome is unknown ({0}): it may or may not have been done; look before doing it again")]
    OutcomeUnknown(String),
    /// The range cannot serve this now (no leader yet, a damaged replica); no row was written. The text says why and, where
    /// an operator is needed, what to do; else the call may be tried again.
    #[error("the range cannot serve this request, and no row was written: {0}")]
    Unavailable(String),
    /// The cluster is not as the request needs it (too few nodes have joined); the text says what to do.
    #[error("{0}")]
    NotReady(String),
    /// The coordination service failed; nothing was changed. A table that may have been made or dropped is
    /// [`KvError::OutcomeUnknown`].
    #[error("the coordination service failed ({0}); nothing was changed; retry")]
    Coordination(String),
    /// The node is stopping.
    #[error("the node is shutting down; nothing was done; retry at another node")]
    ShuttingDown,
    /// A bug.
    #[error("internal error: {0}")]
    Internal(String),
}

/// The part of a request that is too large, by its name.
pub(crate) fn part(name: &str) -> &'static str {
    match name {
        "row key" => "row key",
        "column name" => "column name",
        "table name" => "table name",
        LIST_OF_KEYS => LIST_OF_KEYS,
        "answer" => "answer",
        "request" => "request",
        _ => "row",
    }
}

/// What [`KvError::TooLarge`] calls a list of keys: its size is counted in keys, not in bytes.
pub const LIST_OF_KEYS: &str = "list";

/// What the size of `what` is counted in.
fn unit(what: &str) -> &'static str {
    if what == LIST_OF_KEYS { "keys" } else { "bytes" }
}

/// Why a node did not start; one line for the operator. The process exits with code 1.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct StartError(pub String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_said_in_their_unit() {
        let text = |what| KvError::TooLarge { what, size: 9, limit: 8 }.to_string();
        assert_eq!(text("row"), "row of 9 bytes is over the limit of 8 bytes; nothing was done");
        let keys = text(LIST_OF_KEYS);
        assert_eq!(keys, "list of 9 keys is over the limit of 8 keys; nothing was done");
    }
}
