//! What is known of a run: everything that clients saw, and everything that replicas did durably or visibly. Checkers
//! are fed by it alone.

use std::fmt;

use kvstore::request::{Condition, Mutation, RequestId, Row};
use wal::{ChainHash, Entry, Epoch, Lsn, Promise};

/// A node's number.
pub type Node = u32;
/// A range's number.
pub type Range = u32;
/// A client operation's number.
pub type OpId = u32;

/// Whose word a read takes, as the client asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consistency {
    /// The latest value.
    Strong,
    /// Any replica's.
    Timeline,
}

/// What a client asks.
#[allow(missing_docs, reason = "each variant's text says what its fields are")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// Write a row.
    Write { key: String, conditions: Vec<Condition>, mutations: Vec<Mutation>, request: RequestId },
    /// Read rows by key, in one range.
    Get { keys: Vec<String>, consistency: Consistency },
    /// Read all rows of a range between two keys.
    Scan {
        start: String,
        end: Option<String>,
        reverse: bool,
        limit: Option<u64>,
        consistency: Consistency,
        max_staleness_ms: Option<u64>,
    },
}

/// How an operation ended, as its client saw it.
#[allow(missing_docs, reason = "each variant's text says what its fields are")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    /// Committed as this LSN.
    Written(Lsn),
    /// A condition did not hold; at which place of the log, and the row if the answer came with that very state.
    Refused { at: Lsn, current: Option<Row> },
    /// Rows, as of an LSN, from a replica; `served` is the real time at which it read them.
    Rows { rows: Vec<Row>, lsn: Lsn, node: Node, served: u64, staleness_ms: Option<u64> },
    /// Certainly not done.
    Failed,
    /// Perhaps done.
    Unknown,
}

/// One thing that happened.
#[allow(missing_docs, reason = "each variant's text says what its fields are")]
#[derive(Clone, Debug)]
pub enum Event {
    /// A client begins an operation. `session`: its reads may not go back (clients work one operation at a time).
    Invoked { op: OpId, client: u32, session: bool, range: Range, call: Call },
    /// A scan hands rows on, as [`Response::Rows`] says it of all of them once it has got to its end.
    Page { op: OpId, rows: Vec<Row>, lsn: Lsn, node: Node, served: u64, staleness_ms: Option<u64> },
    /// The gateway of a scan is told of an open scan at a node, or knows that it is open no more, or has asked to close it.
    Cursor { op: OpId, node: Node, id: u64, open: bool },
    /// The gateway of an operation has died, or its client has gone away.
    Adrift { op: OpId },
    /// It ends.
    Returned { op: OpId, outcome: Response },
    /// A replica answered a write as committed.
    Acknowledged { node: Node, range: Range, lsn: Lsn },
    /// A replica applied an entry; whose request it is, and whether it is a refusal.
    Applied { node: Node, range: Range, entry: Entry, request: Option<(RequestId, bool)> },
    /// A replica put an entry into its log, not yet forced.
    Appended { node: Node, range: Range, lsn: Lsn, chain: ChainHash },
    /// A replica put a Skip into its log that hides everything from this sequence number on.
    Skipped { node: Node, range: Range, from: u64 },
    /// Everything that the node appended is durable.
    Forced { node: Node },
    /// Nothing that the node appended since the last force will be in its log (the disk is full).
    Discarded { node: Node },
    /// The tables of a replica hold everything up to here.
    Flushed { node: Node, range: Range, flushed: Lsn },
    /// A replica's store took a snapshot: it holds everything up to here.
    SnapshotInstalled { node: Node, range: Range, flushed: Lsn },
    /// The node's disk is gone; an empty one is in its place.
    DiskLost { node: Node },
    /// The node's process ended.
    Ended { node: Node },
    /// A replica came back with this; `must_rejoin`: its log was damaged, and it says so.
    Recovered {
        node: Node,
        range: Range,
        flushed: Lsn,
        entries: Vec<Lsn>,
        promise: Promise,
        must_rejoin: bool,
    },
    /// A replica announced that its promise is durable.
    Promised { node: Node, range: Range, promise: Promise },
    /// A leadership opened.
    Opened { node: Node, range: Range, epoch: Epoch },
    /// A replica's contents, as a hash, at an LSN.
    Contents { node: Node, range: Range, lsn: Lsn, hash: u64 },
    /// The node's log has lost files, all of them perhaps, or a bit of it has flipped.
    LogDamaged { node: Node, whole: bool },
    /// The node's disk is full, or fails.
    DiskTroubled { node: Node },
    /// The log of a replica could not take an append.
    AppendRefused { node: Node, range: Range },
    /// A replica throws away what it has, and learns it anew.
    Learning { node: Node, range: Range },
    /// A replica that had lost something counts again.
    Promoted { node: Node, range: Range },
    /// A replica raised an alarm.
    Alarm { node: Node, range: Range, text: String },
}

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which checker says so.
    pub checker: &'static str,
    /// What was broken.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.checker, self.what)
    }
}

/// Looks at a history as it grows.
pub trait Checker {
    /// Its name, as reports give it.
    fn name(&self) -> &'static str;
    /// Takes the next event, at a real time in microseconds.
    fn see(&mut self, at: u64, event: &Event) -> Result<(), String>;
    /// The history has ended.
    fn end(&mut self) -> Result<(), String> {
        Ok(())
    }
}
