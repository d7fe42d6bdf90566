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
    /// A key, column or row is over its limit; nothing was done.
    #[error("{what} of {size} bytes is over the limit of {limit} bytes; nothing was written")]
    TooLarge {
        /// What is too large ("row key", "column name", "row").
        what: &'static str,
        /// Its size.
        size: usize,
        /// The limit.
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
        "the disk of node {0} is full; nothing was written; free space there and retry (it needs no restart)"
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
    /// A write may or may not have happened: the deadline passed while it was under way.
    #[error("the outcome of the write is unknown ({0}); read the row before writing it again")]
    OutcomeUnknown(String),
    /// The range cannot serve this now (no leader yet, a damaged replica); the text says what that means for the request
    /// and what to do.
    #[error("the range cannot serve this request: {0}; no row was written; retry")]
    Unavailable(String),
    /// The coordination service failed; metadata could not be read or changed.
    #[error("the cluster's metadata could not be read or changed ({0}); retry")]
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
        "list of keys" => "list of keys",
        "answer" => "answer",
        "request" => "request",
        _ => "row",
    }
}

/// Why a node did not start; one line for the operator. The process exits with code 1.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct StartError(pub String);
