//! One replica of a range: the engine's data under replication's order, reads at the right moment.
//!
//! [`RangeStore`] gives the cohort's entries their meaning: it decides writes (window, then conditions), keeps what is
//! pending, applies what is committed. [`RangeReplica`] adds the reads:
//!
//! - strong: see the lease, read, see the same leadership's lease again ([lease-recheck]); without a lease, one quorum round
//!   first. What is applied at a leader with a valid lease contains every write ever acknowledged, for a write is
//!   applied before it is answered.
//! - timeline: what is applied here, if that reaches the floor that the caller gives and is young enough.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use bytes::Bytes;
use replication::protocol::effect::Unavailable;
use replication::protocol::event::Received;
use replication::protocol::message::SnapshotPart;
use replication::runtime::{Replica, ReplicaError, WriteReply};
use replication::store::{Decision, Outcome, PAYLOAD_BYTES_MAX, Store};
use wal::sync::lock;
use wal::{CohortId, Entry, EntryKind, Lsn, NodeId};

use crate::conditions::{self, Pending, PendingWrite};
use crate::dedup::Window;
use crate::engine::{Engine, EngineError, FlushedState, Pinned, Receipt, Snapshot, SnapshotHead};
use crate::error::KvError;
use crate::operation::{Answer, Mode, RangeWrite};
use crate::payload::{self, Payload};
use crate::request::{Columns, Mutation, Row, Source};
use crate::table::io_error;

/// How long a timeline read waits for a replica to reach the caller's floor before the leader is asked instead: two
/// commit periods, after which a healthy follower has it.
const FLOOR_WAIT: Duration = Duration::from_millis(100);

/// The state machine of one range.
pub(crate) struct RangeStore {
    range: CohortId,
    /// Its table and span, for the log.
    label: String,
    engine: Engine,
    window_len: usize,
    state: Mutex<State>,
    snapshots: Mutex<Snapshots>,
}

struct State {
    window: Window,
    pending: Pending,
}

/// Payload of a part of a snapshot, about.
const SNAPSHOT_PART_BYTES: usize = 256 << 10;

/// Snapshots on their way out, one for each member, and the one on its way in.
#[derive(Default)]
struct Snapshots {
    outgoing: HashMap<NodeId, (u64, Snapshot)>,
    incoming: Option<(u64, Receipt)>,
}

/// Why a write was refused by the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// A condition did not hold; the row as found, and at which LSN.
    Condition { current: Row, at: Lsn },
    /// See [`Answer::Forgotten`].
    Forgotten,
    /// The row could not be read.
    Unreadable(String),
}

impl RangeStore {
    /// A store over an opened engine, with the window that was flushed with it.
    pub(crate) fn new(
        range: CohortId,
        engine: Engine,
        attachment: Bytes,
        window_len: usize,
    ) -> Result<RangeStore, String> {
        let window = Window::decode(attachment, window_len).map_err(|error| error.to_string())?;
        let state = Mutex::new(State { window, pending: Pending::default() });
        Ok(RangeStore { range, label: String::new(), engine, window_len, state, snapshots: Mutex::default() })
    }

    /// The same with its table and span in words, for the log.
    pub(crate) fn called(self, label: String) -> RangeStore {
        RangeStore { label, ..self }
    }

    /// The range's data.
    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Writes the memtable out, with the window as it is at that very LSN.
    ///
    /// `forced` returns when this node's own log holds everything up to the LSN on disk: a leader applies what its
    /// followers have forced, perhaps before its own force, and tables that reach further than the log could not be
    /// opened after a crash ([flush-only-forced]).
    pub(crate) fn flush(
        &self,
        forced: impl FnOnce(Lsn) -> io::Result<()>,
    ) -> Result<FlushedState, EngineError> {
        self.freeze();
        self.engine.flush(|flushed| forced(flushed).map_err(|error| io_error("wal", error)))
    }

    /// The remembered outcomes, as they would be flushed now.
    #[cfg(feature = "testing")]
    pub(crate) fn window(&self) -> Bytes {
        self.lock().window.encode()
    }

    /// The first step of a flush: from here on writes go to a new memtable.
    pub(crate) fn freeze(&self) {
        // Nothing is applied meanwhile.
        let state = self.lock();
        self.engine.freeze(|| state.window.encode());
    }

    /// Puts a received snapshot in force, with the window that came with it. Nothing is applied meanwhile.
    fn install_snapshot(&self, receipt: Receipt) -> Result<FlushedState, String> {
        let mut state = self.lock();
        let flushed_state = self.engine.install_snapshot(receipt).map_err(|error| error.to_string())?;
        if flushed_state.lsn < self.engine.applied() {
            // Damaged tables were repaired under what is applied; the window knows that, too.
            return Ok(flushed_state);
        }
        let window = Window::decode(flushed_state.attachment.clone(), self.window_len);
        state.window = window.map_err(|error| error.to_string())?;
        state.pending.clear();
        Ok(flushed_state)
    }

    fn receive_part(&self, part: SnapshotPart) -> Result<Option<FlushedState>, String> {
        let mut snapshots = lock(&self.snapshots);
        if part.number == 0 {
            if let Some((_, abandoned)) = snapshots.incoming.take() {
                self.engine.refuse(abandoned);
            }
            let head = SnapshotHead::decode(part.bytes).ok_or("its head is damaged or of another version")?;
            let receipt = self.engine.receive(head);
            snapshots.incoming = Some((1, receipt));
        } else {
            let Some((next, mut receipt)) = snapshots.incoming.take() else {
                return Err("its beginning is missing".to_owned());
            };
            let added = match next == part.number {
                true if part.bytes.is_empty() => Ok(()),
                true => {
                    self.engine.receive_chunk(&mut receipt, part.bytes).map_err(|error| error.to_string())
                }
                false => Err(format!("part {} comes after part {next}", part.number)),
            };
            if let Err(error) = added {
                self.engine.refuse(receipt);
                return Err(error);
            }
            snapshots.incoming = Some((next + 1, receipt));
        }
        match snapshots.incoming.take() {
            Some((_, receipt)) if part.last => self.install_snapshot(receipt).map(Some),
            incoming => {
                snapshots.incoming = incoming;
                Ok(None)
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Only a bug panics under this lock, and it has then left an entry half applied at worst; the process
        // aborts in `apply` before anyone can look.
        lock(&self.state)
    }
}

impl Store for RangeStore {
    type Request = RangeWrite;
    type Pending = PendingWrite;
    type Refusal = Refusal;

    fn label(&self) -> String {
        self.label.clone()
    }

    fn understands(&self, entry: &Entry) -> bool {
        entry.kind != EntryKind::Write || payload::is_known(&entry.payload)
    }

    fn decide(&self, write: RangeWrite) -> Decision<PendingWrite, Refusal> {
        let RangeWrite { key, conditions, mut mutations, request, known, retry } = write;
        let state = self.lock();
        if let Some(outcome) = state.window.find(&request) {
            return Decision::Join(outcome);
        }
        if let Some(outcome) = state.pending.find(&request) {
            return Decision::Join(outcome);
        }
        if state.window.forgot(known) {
            return Decision::Refuse { refusal: Refusal::Forgotten, after: Lsn::ZERO };
        }
        let mut refused = false;
        if !conditions.is_empty() {
            let (mut row, applied) = match self.engine.get_for_decision(&key) {
                Ok(found) => found,
                Err(error) => {
                    let refusal = Refusal::Unreadable(error.to_string());
                    return Decision::Refuse { refusal, after: Lsn::ZERO };
                }
            };
            let after = state.pending.overlay(&mut row);
            refused = !conditions::hold(&conditions, &row);
            if refused && !retry {
                let at = after.unwrap_or(applied);
                if row.cells.is_empty() {
                    row.version = at;
                }
                return Decision::Refuse { refusal: Refusal::Condition { current: row, at }, after: at };
            }
        }
        if refused {
            mutations.clear();
        }
        let payload = payload::encode(request, &key, &mutations, refused);
        Decision::Propose { payload, pending: PendingWrite { request, key, mutations }, refused }
    }

    fn pending(&self, outcome: Outcome, pending: PendingWrite) {
        self.lock().pending.push(outcome, pending);
    }

    fn apply(&self, entries: &[Entry]) {
        let mut state = self.lock();
        for entry in entries {
            match entry.kind {
                EntryKind::EpochStart => self.engine.skip(entry.lsn, entry.chain),
                EntryKind::Write => match payload::decode(entry.payload.clone()) {
                    Ok(Payload { request, key, mutations, refused }) => {
                        self.engine.apply(entry.lsn, entry.chain, &key, &mutations);
                        state.window.record(request, Outcome { lsn: entry.lsn, refused });
                    }
                    // The bytes are what the leader sent (chain hash), so this node is too old to know them, or
                    // there is a bug. Going on would make this replica differ silently.
                    Err(error) => {
                        tracing::error!(range = %self.range, lsn = %entry.lsn, %error, "cannot apply; aborting");
                        std::process::abort();
                    }
                },
            }
        }
        if let Some(entry) = entries.last() {
            state.pending.applied(entry.lsn);
        }
    }

    fn applied(&self) -> Lsn {
        self.engine.applied()
    }

    fn read_snapshot(&self, to: NodeId, part: u64, tables: Lsn) -> Result<SnapshotPart, String> {
        let mut snapshots = lock(&self.snapshots);
        if part == 0 {
            let snapshot = self.engine.snapshot(tables).map_err(|error| error.to_string())?;
            let (flushed, bytes) = (snapshot.head().flushed, snapshot.head().encode());
            snapshots.outgoing.insert(to, (1, snapshot));
            return Ok(SnapshotPart { number: 0, flushed, bytes, last: false });
        }
        let Some((next, snapshot)) = snapshots.outgoing.get_mut(&to).filter(|(next, _)| *next == part) else {
            return Err(format!("part {part} of a snapshot for {to} is out of turn"));
        };
        *next += 1;
        let (flushed, chunk) = (snapshot.head().flushed, snapshot.chunk(SNAPSHOT_PART_BYTES));
        let last = !matches!(chunk, Ok(Some(_)));
        if last {
            snapshots.outgoing.remove(&to);
        }
        let bytes = chunk.map_err(|error| error.to_string())?.unwrap_or_default();
        Ok(SnapshotPart { number: part, flushed, bytes, last })
    }

    fn receive_snapshot(&self, part: SnapshotPart) -> Received {
        match self.receive_part(part) {
            Ok(None) => Received::More,
            Ok(Some(FlushedState { lsn, chain, .. })) => {
                Received::Installed { flushed: lsn, flushed_chain: chain }
            }
            Err(text) => Received::Failed(text),
        }
    }

    fn damaged(&self) -> bool {
        self.engine.damaged()
    }

    fn request_flush(&self) {
        self.engine.request_flush();
    }

    fn wipe(&self) -> Result<(), String> {
        let mut snapshots = lock(&self.snapshots);
        if let Some((_, abandoned)) = snapshots.incoming.take() {
            self.engine.refuse(abandoned);
        }
        let mut state = self.lock();
        self.engine.wipe().map_err(|error| error.to_string())?;
        state.window = Window::decode(Bytes::new(), self.window_len).map_err(|error| error.to_string())?;
        state.pending.clear();
        Ok(())
    }

    fn closed(&self) {
        self.lock().pending.clear();
    }
}

/// A replica as gateways use it.
pub(crate) struct RangeReplica {
    /// This node.
    pub(crate) node: NodeId,
    /// The range.
    pub(crate) range: CohortId,
    /// Its data.
    pub(crate) store: Arc<RangeStore>,
    /// Its cohort.
    pub(crate) cohort: Arc<Replica<RangeStore>>,
}

impl RangeReplica {
    /// Runs `read` on the store at a moment at which `mode` allows it; `read` also says at which LSN it read, which
    /// is what the caller's session may not fall behind.
    pub(crate) async fn read<T>(
        &self,
        mode: Mode,
        deadline: Instant,
        read: impl Fn(&Engine) -> Result<(T, Lsn), EngineError>,
    ) -> Result<(T, Source), KvError> {
        let read = || {
            // A damaged replica is being repaired; another one has the rows.
            read(&self.store.engine).map_err(|error| match mode {
                Mode::Timeline { .. } if self.store.engine.damaged() => self.elsewhere(),
                Mode::Timeline { .. } | Mode::Strong => KvError::Unavailable(error.to_string()),
            })
        };
        let source = |lsn, staleness| Source { range: self.range, replica: self.node, lsn, staleness };
        match mode {
            Mode::Strong => {
                if let Some(epoch) = self.cohort.lease() {
                    let (found, lsn) = read()?;
                    if self.cohort.still_leased(epoch) {
                        return Ok((found, source(lsn, Some(Duration::ZERO))));
                    }
                }
                let barrier = self.cohort.read_barrier(Lsn::ZERO);
                match tokio::time::timeout_at(deadline.into(), barrier).await {
                    Err(_) => {
                        return Err(KvError::DeadlineExceeded("no majority confirmed the leader".into()));
                    }
                    Ok(confirmed) => confirmed.map_err(|error| self.refusal(error))?,
                }
                let (found, lsn) = read()?;
                Ok((found, source(lsn, Some(Duration::ZERO))))
            }
            Mode::Timeline { floor, max_staleness } => {
                if self.store.applied() < floor {
                    let until = deadline.min(Instant::now() + FLOOR_WAIT);
                    self.cohort.wait_applied(floor, until.into()).await.map_err(|_| self.elsewhere())?;
                }
                if !self.cohort.takes_part() {
                    // Its rows may be others than everybody else's [stopped-serves-nothing].
                    return Err(self.elsewhere());
                }
                if self.store.applied() == Lsn::ZERO {
                    // It knows nothing yet, not even the range's first epoch: its disk is new, or it starts over.
                    return Err(self.elsewhere());
                }
                // Before reading: the data can only be younger than this says.
                let staleness = self.cohort.staleness();
                if max_staleness.is_some_and(|max| staleness.is_none_or(|staleness| staleness > max)) {
                    return Err(self.elsewhere());
                }
                let (found, lsn) = read()?;
                Ok((found, source(lsn, staleness)))
            }
        }
    }

    /// The content as of `at`, which some replica of the range has read before: from `open`, what an open scan here
    /// holds of it, or as it is still kept. [`KvError::ReadTooOld`] if it is not.
    pub(crate) async fn read_at(
        &self,
        at: Lsn,
        open: Option<Pinned>,
        deadline: Instant,
    ) -> Result<(Pinned, Source), KvError> {
        // What was committed once stays so: no leader is needed, only a replica that has got so far.
        let mode = Mode::Timeline { floor: at, max_staleness: None };
        let pin = |engine: &Engine| {
            let pinned = match &open {
                Some(open) if engine.continues(open)? => Some(open.clone()),
                Some(_) | None => engine.pin_at(at)?,
            };
            // How old `at` is, this replica knows only while it is the newest.
            Ok(((pinned, engine.applied() == at), at))
        };
        let ((pinned, newest), source) = self.read(mode, deadline, pin).await?;
        let gone = || KvError::ReadTooOld(format!("{} no longer keeps LSN {at} of the range", self.node));
        Ok((pinned.ok_or_else(gone)?, Source { staleness: source.staleness.filter(|_| newest), ..source }))
    }

    /// Not here: the leader, perhaps.
    fn elsewhere(&self) -> KvError {
        KvError::NotLeader { hint: self.cohort.leader().filter(|leader| *leader != self.node) }
    }

    /// Writes. After [`KvError::OutcomeUnknown`] the write may or may not be done; after any other error it is not.
    pub(crate) async fn write(&self, write: RangeWrite, deadline: Instant) -> Result<Answer, KvError> {
        // Whoever asks: followers would refuse it forever once it is in the log.
        check_entry(&write.key, &write.mutations)?;
        if self.store.engine.stalled() {
            return Err(KvError::Overloaded("write stall: flushes are behind".into()));
        }
        if !write.conditions.is_empty() {
            // The decision reads this row under the cohort's lock: fetch its blocks before.
            let _ = self.store.engine.get(&write.key, &Columns::All);
        }
        let key = write.key.clone();
        match tokio::time::timeout_at(deadline.into(), self.cohort.write(write)).await {
            Err(_) => Err(KvError::OutcomeUnknown("no majority forced it in time".into())),
            Ok(Err(error)) => Err(self.refusal(error)),
            Ok(Ok(WriteReply::Logged(Outcome { lsn, refused: false }))) => Ok(Answer::Written(lsn)),
            Ok(Ok(WriteReply::Logged(Outcome { lsn, refused: true }))) => {
                let found = self.store.engine.get(&key, &Columns::All);
                let (current, _) = found.map_err(|error| KvError::Unavailable(error.to_string()))?;
                Ok(Answer::ConditionFailed { current, at: lsn })
            }
            Ok(Ok(WriteReply::Refused(Refusal::Condition { current, at }))) => {
                Ok(Answer::ConditionFailed { current, at })
            }
            Ok(Ok(WriteReply::Refused(Refusal::Forgotten))) => {
                Ok(Answer::Forgotten { applied: self.store.applied() })
            }
            Ok(Ok(WriteReply::Refused(Refusal::Unreadable(why)))) => Err(KvError::Unavailable(why)),
        }
    }

    /// Replication's refusals in the store's words.
    pub(crate) fn refusal(&self, error: ReplicaError) -> KvError {
        refusal(self.node, error)
    }
}

/// Whether a write fits into one entry of the log.
pub(crate) fn check_entry(key: &[u8], mutations: &[Mutation]) -> Result<(), KvError> {
    let size = payload::encoded_bytes_max(key, mutations);
    match size > PAYLOAD_BYTES_MAX {
        true => Err(KvError::TooLarge { what: "row", size, limit: PAYLOAD_BYTES_MAX }),
        false => Ok(()),
    }
}

fn refusal(node: NodeId, error: ReplicaError) -> KvError {
    match error {
        ReplicaError::NotLeader { hint } => KvError::NotLeader { hint },
        ReplicaError::Unavailable(Unavailable::Overloaded) => {
            KvError::Overloaded("too many writes are under way".into())
        }
        ReplicaError::Unavailable(Unavailable::DiskFull) => KvError::DiskFull(node),
        ReplicaError::Unavailable(
            Unavailable::TakingOver | Unavailable::Suspended | Unavailable::Transferring,
        ) => KvError::Unavailable(error.to_string()),
        ReplicaError::Unknown => KvError::OutcomeUnknown("the leadership was lost".into()),
        ReplicaError::Behind { applied } => {
            KvError::DeadlineExceeded(format!("{node} has applied {applied} only"))
        }
        ReplicaError::Closed => KvError::ShuttingDown,
    }
}
