//! A call of a gateway to a replica, as it travels: what is asked, where it stands, what comes back.

use bytes::Bytes;
use kvstore::request::Row;
use kvstore::testing::MachineWrite;
use wal::{Epoch, Lsn};

use super::history::{Node, Range};

/// What a replica is asked.
#[derive(Clone, Debug)]
pub(crate) enum Request {
    /// A write, for the leader.
    Write(MachineWrite),
    /// Rows.
    Read { select: Select, mode: Mode },
}

/// Which rows.
#[derive(Clone, Debug)]
pub(crate) enum Select {
    /// These.
    Keys(Vec<Bytes>),
    /// All between two keys.
    Scan { start: Bytes, end: Option<Bytes>, reverse: bool },
}

/// Whose word.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Mode {
    /// The leader's.
    Strong,
    /// The replica's, if it has applied the floor and is young enough.
    Timeline { floor: Lsn, max_staleness_ms: Option<u64> },
}

/// A call under way.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// Whose operation, and which attempt of it.
    pub(crate) client: u32,
    /// The node of the gateway.
    pub(crate) gateway: Node,
    /// The node that is asked.
    pub(crate) target: Node,
    /// The range.
    pub(crate) range: Range,
    /// The life of the node in which it is served, and when that began (real time).
    pub(crate) life: u64,
    pub(crate) began: u64,
    /// What is asked.
    pub(crate) request: Request,
}

/// Where a call stands at its replica.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// It has just arrived; how often it has waited for its floor.
    Begin(u32),
    /// A lease was seen; the rows are read next.
    Look { epoch: Epoch },
    /// Rows were read under a lease, which is looked at again.
    Recheck { epoch: Epoch, rows: Vec<Row>, lsn: Lsn, served: u64 },
    /// A majority has confirmed the leadership: read.
    Confirmed,
}

/// What comes back.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// Rows at an LSN, read at a real time.
    Rows { rows: Vec<Row>, lsn: Lsn, served: u64, staleness_ms: Option<u64> },
    /// Committed.
    Written(Lsn),
    /// A condition did not hold; the row, if it is the one at that LSN.
    Refused { at: Lsn, current: Option<Row> },
    /// Too old to be remembered.
    Forgotten { applied: Lsn },
    /// Not here.
    NotLeader { hint: Option<Node> },
    /// Not now: nothing was done.
    Unavailable,
    /// Not now, and not soon: nothing was done.
    Refusing,
    /// It may or may not be done.
    Unknown,
    /// The connection broke on the way.
    Lost,
    /// There was no connection: nothing was done.
    NotSent,
}
