//! One node: a disk, a clock, one log, and the replicas of its ranges, each driven by the code that drives it in
//! production. What the replicas want of the world outside is collected and handed to the world.

use std::collections::BTreeMap;
use std::sync::Arc;

use kvstore::testing::{BlockCache, OpenScans, RangeRoute, RangeStore, Refusal, Silence, request_of};
use replication::drive::{Drive, Environment, ReplicaError, WriteResult};
use replication::protocol::coordination::CoordinationRequest;
use replication::protocol::effect::{Lease, Reply};
use replication::protocol::event::Ticket;
use replication::protocol::message::{Envelope, SnapshotPart};
use replication::protocol::notice::Notice;
use replication::protocol::time::Stamp;
use tokio::sync::oneshot;
use wal::disk::MemoryDisk;
use wal::{Budget, Entry, Epoch, LogWriter, Lsn, NodeId, Record};

use super::history::Range;

/// A node's boot-time clock: it starts anywhere at each boot, runs a little too fast or too slow, and goes on while the
/// process stands still.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    /// What it showed at real time 0, in microseconds.
    pub(crate) offset: u64,
    /// How much too fast it runs.
    pub(crate) rate_per_mille: i64,
}

impl Clock {
    /// What it shows at a real time.
    pub(crate) fn at(&self, now: u64) -> Stamp {
        let drift = i64::try_from(now).unwrap_or(0) / 1000 * self.rate_per_mille;
        Stamp(self.offset + now.saturating_add_signed(drift))
    }
}

/// A node that will end after some more steps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Doom {
    /// Steps left.
    pub(crate) steps: u64,
    /// Whether its machine loses power.
    pub(crate) power: bool,
}

/// A node.
pub(crate) struct Machine {
    /// What survives a crash.
    pub(crate) disk: MemoryDisk,
    /// The clock.
    pub(crate) clock: Clock,
    /// The process, while it runs.
    pub(crate) process: Option<Process>,
    /// Grows with each start.
    pub(crate) life: u64,
    /// Forces hang until then (real time).
    pub(crate) hung_until: u64,
    /// When its process ended last (real time).
    pub(crate) ended_at: u64,
    /// The log has been opened on this disk, as the IDENTITY file says in production.
    pub(crate) log_noted: bool,
    /// Disks it has lost; each has its own incarnation.
    pub(crate) disks_lost: u64,
    /// The process stands still until then (real time).
    pub(crate) paused_until: u64,
    /// It stands still, or no other node is reached, until then (real time).
    pub(crate) unwell_until: u64,
    /// The coordinator cannot be reached until then (real time).
    pub(crate) adrift_until: u64,
    /// It will end soon.
    pub(crate) doom: Option<Doom>,
    /// Number of the session with the coordinator.
    pub(crate) session: u64,
    /// Whether the coordinator still has that session.
    pub(crate) session_lives: bool,
}

/// A node's process.
pub(crate) struct Process {
    /// The shared log.
    pub(crate) writer: LogWriter,
    /// The replicas.
    pub(crate) replicas: BTreeMap<Range, Replica>,
    /// Blocks of tables.
    pub(crate) cache: Arc<BlockCache>,
    /// Appends that the log's thread has not taken yet.
    pub(crate) queue: Vec<(Range, Vec<Record>, Option<Ticket>)>,
    /// Who waits for the force of what the log has taken, but had no segment for yet.
    pub(crate) open: Vec<(Range, Ticket)>,
    /// A force is under way or planned.
    pub(crate) forcing: bool,
    /// What this gateway knows of each range.
    pub(crate) gateway: BTreeMap<Range, Arc<RangeRoute>>,
    /// Scans open on its replicas.
    pub(crate) scans: OpenScans,
    /// For pages at this gateway.
    pub(crate) scan_memory: Budget,
    /// Of which nodes it hears nothing.
    pub(crate) silence: Arc<Silence>,
}

/// One replica.
pub(crate) struct Replica {
    /// The cohort with its store and its clients.
    pub(crate) drive: Drive<RangeStore>,
    /// Who led when calls were last told.
    pub(crate) leader: Option<NodeId>,
    /// As published to readers.
    pub(crate) lease: Option<Lease>,
    /// Calls that wait for an answer.
    pub(crate) waiting: Vec<(u64, Receiver)>,
    /// No view older than this is announced any more.
    pub(crate) change: u64,
}

/// Where an answer of the replica will come from.
pub(crate) enum Receiver {
    /// A write's.
    Write(oneshot::Receiver<WriteResult<Refusal>>),
    /// A confirmed leadership's: the read goes on.
    Barrier(oneshot::Receiver<Result<(), ReplicaError>>),
}

/// What a replica wants of the world.
pub(crate) enum Wish {
    /// Append to the log.
    Append(Vec<Record>, Option<Ticket>),
    /// Send.
    Send(Envelope),
    /// Read the log for a follower.
    ReadLog { to: NodeId, after: Lsn, bytes_max: u64 },
    /// Have the store read a part of a snapshot.
    ReadSnapshot { to: NodeId, snapshot: u64, part: u64, flushed: Lsn },
    /// Have the store keep one.
    ReceiveSnapshot { snapshot: u64, part: SnapshotPart },
    /// Have the store throw everything away.
    WipeData,
    /// The store has taken a snapshot.
    SnapshotInstalled,
    /// Ask the coordinator.
    Coordinate(CoordinationRequest),
    /// It has a lease, or none any more.
    Publish(bool),
    /// It tells of a change.
    Notice(Notice),
    /// It applied these.
    Applied(Vec<Entry>),
    /// It answers.
    Answering(Reply),
    /// It opened its leadership.
    Opened(Epoch),
    /// It raised an alarm.
    Alarm(String),
}

/// The environment of a replica during one step.
pub(crate) struct ReplicaEnvironment<'a> {
    /// The node's clock.
    pub(crate) now: Stamp,
    /// The replica's published lease.
    pub(crate) lease: &'a mut Option<Lease>,
    /// In order.
    pub(crate) wishes: &'a mut Vec<Wish>,
}

impl Environment for ReplicaEnvironment<'_> {
    fn now(&self) -> Stamp {
        self.now
    }

    fn is_dead(&self) -> bool {
        false
    }

    fn append(&mut self, records: Vec<Record>, ticket: Option<Ticket>) {
        self.wishes.push(Wish::Append(records, ticket));
    }

    fn send(&mut self, envelope: Envelope) {
        self.wishes.push(Wish::Send(envelope));
    }

    fn read_log(&mut self, to: NodeId, after: Lsn, bytes_max: u64) {
        self.wishes.push(Wish::ReadLog { to, after, bytes_max });
    }

    fn read_snapshot(&mut self, to: NodeId, snapshot: u64, part: u64, flushed: Lsn) {
        self.wishes.push(Wish::ReadSnapshot { to, snapshot, part, flushed });
    }

    fn receive_snapshot(&mut self, snapshot: u64, part: SnapshotPart) {
        self.wishes.push(Wish::ReceiveSnapshot { snapshot, part });
    }

    fn wipe(&mut self) {
        self.wishes.push(Wish::WipeData);
    }

    fn snapshot_installed(&mut self, _: Lsn) {
        self.wishes.push(Wish::SnapshotInstalled);
    }

    fn coordinate(&mut self, request: CoordinationRequest) {
        self.wishes.push(Wish::Coordinate(request));
    }

    fn publish(&mut self, lease: Option<Lease>) {
        if self.lease.is_some() != lease.is_some() {
            self.wishes.push(Wish::Publish(lease.is_some()));
        }
        *self.lease = lease;
    }

    fn leased(&self) -> Option<Epoch> {
        self.lease.filter(|lease| self.now < lease.until).map(|lease| lease.epoch)
    }

    fn applied(&mut self, entries: &[Entry]) {
        self.wishes.push(Wish::Applied(entries.to_vec()));
    }

    fn answering(&mut self, reply: &Reply) {
        self.wishes.push(Wish::Answering(reply.clone()));
    }

    fn opened(&mut self, epoch: Epoch) {
        self.wishes.push(Wish::Opened(epoch));
    }

    fn notice(&mut self, notice: Notice) {
        self.wishes.push(Wish::Notice(notice));
    }

    fn alarm(&mut self, text: String) {
        self.wishes.push(Wish::Alarm(text));
    }
}

/// Whose write an entry is; `None` for what is none.
pub(crate) fn owner(entry: &Entry) -> Option<(kvstore::request::RequestId, bool)> {
    match entry.kind {
        wal::EntryKind::Write => request_of(entry),
        wal::EntryKind::EpochStart => None,
    }
}
