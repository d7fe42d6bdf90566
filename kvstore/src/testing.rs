//! For tests: a store in memory ([`MemoryKv`]), and a range without a node around it for the simulator (the production
//! state machine, its opening and its background work, each step a call).

mod memory_kv;

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use replication::protocol::Recovered;
use replication::protocol::event::Received;
use replication::protocol::message::SnapshotPart;
use replication::store::{Decision, Outcome, Store};
use wal::disk::Disk;
use wal::{CohortId, Entry, Lsn, NodeId};

use crate::conditions::PendingWrite;
use crate::opening;
use crate::payload;
use crate::replica::{RangeStore, Refusal};
use crate::request::{Condition, Mutation, RequestId, Row};

pub use self::memory_kv::MemoryKv;
pub use crate::engine::{BlockCache, Engine, EngineError, EngineOptions, FlushedState, Pinned};
pub use crate::opening::Found;
pub use crate::operation::{Answer, Cursor, Mode, Operation, RangeScan, RangeWrite};

/// The state machine of one range.
pub struct RangeMachine(RangeStore);

/// A write as a gateway sends it to the leader.
#[derive(Clone, Debug)]
pub struct MachineWrite {
    /// Row key.
    pub key: Bytes,
    /// All must hold.
    pub conditions: Vec<Condition>,
    /// In order.
    pub mutations: Vec<Mutation>,
    /// The same at every attempt.
    pub request: RequestId,
    /// The range's LSN known to the gateway before the first attempt ([dedup-floor]).
    pub known: Lsn,
    /// An earlier attempt may still be under way.
    pub retry: bool,
}

/// What is kept of a write until it is applied.
pub struct MachinePending(PendingWrite);

/// Why a write was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MachineRefusal {
    /// A condition did not hold for the row as found at this LSN.
    Condition {
        /// The row.
        current: Row,
        /// Where in the log.
        at: Lsn,
    },
    /// Too old to be remembered: not executed now, and perhaps before.
    Forgotten,
    /// The row could not be read.
    Unreadable(String),
}

impl From<Refusal> for MachineRefusal {
    fn from(refusal: Refusal) -> MachineRefusal {
        match refusal {
            Refusal::Condition { current, at } => MachineRefusal::Condition { current, at },
            Refusal::Forgotten => MachineRefusal::Forgotten,
            Refusal::Unreadable(why) => MachineRefusal::Unreadable(why),
        }
    }
}

impl RangeMachine {
    /// Opens the range as a node does at its start: its tables, and its part of the log.
    pub fn open(
        disk: Arc<dyn Disk>,
        range: CohortId,
        options: EngineOptions,
        cache: Arc<BlockCache>,
        window_len: usize,
        found: Found<'_>,
    ) -> Result<(Arc<RangeMachine>, Recovered), String> {
        let opened = opening::open_store(disk, range, options, cache, window_len, found);
        let (store, recovered) = opened.map_err(|error| error.to_string())?;
        Ok((Arc::new(RangeMachine(store)), recovered))
    }

    /// The data.
    pub fn engine(&self) -> &Engine {
        self.0.engine()
    }

    /// A hash of all that the replica knows at its last applied LSN, which is returned, too: its rows, and the outcomes
    /// that it remembers. Replicas at the same LSN have the same.
    pub fn contents(&self) -> Result<(Lsn, u64), EngineError> {
        let (lsn, rows) = self.engine().checksum()?;
        Ok((lsn, rows ^ xxhash_rust::xxh3::xxh3_64(&self.0.window()).rotate_left(1)))
    }

    /// The first step of a flush.
    pub fn freeze(&self) {
        self.0.freeze();
    }

    /// A flush of what is frozen; `forced`: whether the node's own log holds everything up to this LSN.
    pub fn flush(&self, forced: impl FnOnce(Lsn) -> bool) -> Result<FlushedState, EngineError> {
        self.0.flush(|flushed| match forced(flushed) {
            true => Ok(()),
            false => Err(io::ErrorKind::TimedOut.into()),
        })
    }

    /// One compaction, if it is due.
    pub fn compact(&self) -> Result<bool, EngineError> {
        self.engine().compact()
    }
}

/// Whose write a log entry is, and whether it is a refusal; `None` if its payload is no write.
pub fn request_of(entry: &Entry) -> Option<(RequestId, bool)> {
    let payload = payload::decode(entry.payload.clone()).ok()?;
    Some((payload.request, payload.refused))
}

impl Store for RangeMachine {
    type Request = MachineWrite;
    type Pending = MachinePending;
    type Refusal = MachineRefusal;

    fn decide(&self, write: MachineWrite) -> Decision<MachinePending, MachineRefusal> {
        let MachineWrite { key, conditions, mutations, request, known, retry } = write;
        match self.0.decide(RangeWrite { key, conditions, mutations, request, known, retry }) {
            Decision::Propose { payload, pending, refused } => {
                Decision::Propose { payload, pending: MachinePending(pending), refused }
            }
            Decision::Join(outcome) => Decision::Join(outcome),
            Decision::Refuse { refusal, after } => Decision::Refuse { refusal: refusal.into(), after },
        }
    }

    fn pending(&self, outcome: Outcome, pending: MachinePending) {
        self.0.pending(outcome, pending.0);
    }

    fn apply(&self, entries: &[Entry]) {
        self.0.apply(entries);
    }

    fn applied(&self) -> Lsn {
        self.0.applied()
    }

    fn read_snapshot(&self, to: NodeId, part: u64, tables: Lsn) -> Result<SnapshotPart, String> {
        self.0.read_snapshot(to, part, tables)
    }

    fn receive_snapshot(&self, part: SnapshotPart) -> Received {
        self.0.receive_snapshot(part)
    }

    fn damaged(&self) -> bool {
        self.0.damaged()
    }

    fn request_flush(&self) {
        self.0.request_flush();
    }

    fn wipe(&self) -> Result<(), String> {
        self.0.wipe()
    }

    fn closed(&self) {
        self.0.closed();
    }
}
