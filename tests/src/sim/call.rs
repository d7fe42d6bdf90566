//! A call of a gateway to a replica, as it travels: what is asked, where it stands, what comes back.

use std::time::Duration;

use kvstore::error::KvError;
use kvstore::request::Row;
use kvstore::testing::{Answer, CallError, Operation, Pinned, PinnedAt, ReplicaRead};
use wal::Lsn;

use super::history::{Node, Range};

/// What comes back to the gateway.
pub(crate) type Result = std::result::Result<Answer, CallError>;
/// What a replica says.
pub(crate) type Served = std::result::Result<Answer, KvError>;

/// For whom a call is made.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Caller {
    /// A client's operation: which attempt of which of its calls.
    Client { client: u32, era: u32, attempt: u32 },
    /// Another call, which this one passes on; the node did so in that life.
    Call { call: u64, life: u64 },
}

/// A call under way.
#[derive(Clone)]
pub(crate) struct Call {
    pub(crate) caller: Caller,
    /// The node of the gateway.
    pub(crate) gateway: Node,
    /// The node that is asked.
    pub(crate) target: Node,
    /// The range.
    pub(crate) range: Range,
    /// What is asked.
    pub(crate) operation: Operation,
    /// Whether it may be passed on.
    pub(crate) forward: bool,
    /// The life of the node in which it is served, and when that began (real time).
    pub(crate) life: u64,
    pub(crate) began: u64,
    /// A read, as its replica takes it.
    pub(crate) read: Option<ReplicaRead>,
    /// A majority was asked for it.
    pub(crate) confirmed: bool,
    /// When the replica was looked at last (real time): what a timeline read says of its age is of then.
    pub(crate) looked: u64,
    /// What an open scan holds for it.
    pub(crate) open: Option<Pinned>,
    /// What was read last, and as of which LSN.
    pub(crate) content: Option<(Content, Lsn)>,
    /// When it was read (real time).
    pub(crate) served: Option<u64>,
}

impl Call {
    /// A call that sets out.
    pub(crate) fn new(
        caller: Caller,
        (gateway, target): (Node, Node),
        range: Range,
        operation: Operation,
    ) -> Call {
        Call {
            caller,
            gateway,
            target,
            range,
            operation,
            forward: false,
            life: 0,
            began: 0,
            read: None,
            confirmed: false,
            looked: 0,
            open: None,
            content: None,
            served: None,
        }
    }
}

/// What a read finds in the store, before rows are made of it.
#[derive(Clone)]
pub(crate) enum Content {
    /// One row.
    Row(Row),
    /// Everything, at the newest LSN.
    Newest(Pinned),
    /// Everything, as of the LSN that was asked for.
    AsOf(PinnedAt),
}

/// Where a call stands at its replica.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stage {
    /// It has just arrived.
    Arrives,
    /// A read takes its next step.
    Steps,
    /// A read reads.
    Reads,
    /// What it has found is the answer, this old at most: rows are made of it.
    Answers(Option<Duration>),
    /// A read waits until this much is applied, or until then (real time).
    Waits(Lsn, u64),
}
