//! One replica of a range: the engine's data under replication's order, reads at the right moment.
//!
//! [`RangeStore`] gives the cohort's entries their meaning: it decides writes (window, then conditions), keeps what is
//! pending, applies what is committed. [`RangeReplica`] adds the reads: `reading` says when the store is read.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use bytes::Bytes;
use replication::protocol::effect::Unavailable;
use replication::protocol::event::Received;
use replication::protocol::message::SnapshotPart;
use replication::runtime::{Replica, ReplicaError, WriteReply};
use replication::store::{Decision, LoggedWrite, PAYLOAD_BYTES_MAX, Store};
use wal::sync::lock;
use wal::{CohortId, Entry, EntryKind, Epoch, Lsn, NodeId};

use crate::conditions::{self, Pending, PendingWrite};
use crate::dedup::Window;
use crate::engine::{Engine, EngineError, FlushedState, Pinned, Receipt, Snapshot, SnapshotHead};
use crate::error::KvError;
use crate::operation::{Answer, Mode, RangeWrite};
use crate::payload::{self, Payload};
use crate::reading::{ReadStep, ReplicaRead, Standing};
use crate::request::{Columns, Mutation, Row, Source};
use crate::table::io_error;

/// The state machine of one range.
pub struct RangeStore {
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
pub enum Refusal {
    /// A condition did not hold; the row as found, and at which LSN.
    Condition {
        /// The row.
        current: Row,
        /// Where in the log.
        at: Lsn,
    },
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
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Writes the memtable out, with the window as it is at that very LSN.
    ///
    /// `forced` returns when this node's own log holds everything up to the LSN on disk: a leader applies what its
    /// followers have forced, perhaps before its own force, and tables that reach further than the log could not be
    /// opened after a crash ([flush-only-forced]).
    pub fn flush(&self, forced: impl FnOnce(Lsn) -> io::Result<()>) -> Result<FlushedState, EngineError> {
        self.freeze();
        self.engine.flush(|flushed| forced(flushed).map_err(|error| io_error("wal", error)))
    }

    /// The remembered outcomes, as they would be flushed now.
    #[cfg(feature = "testing")]
    pub(crate) fn window(&self) -> Bytes {
        self.lock().window.encode()
    }

    /// Whether the write may be decided now.
    pub fn admit(&self, write: &RangeWrite) -> Result<(), KvError> {
        // Whoever asks: followers would refuse it forever once it is in the log.
        check_entry(&write.key, &write.mutations)?;
        match self.engine.stalled() {
            true => Err(KvError::Overloaded("write stall: flushes are behind".into())),
            false => Ok(()),
        }
    }

    /// The answer to a write of the row at `key` with which replication has come back here, on `node`.
    pub fn answer(
        &self,
        node: NodeId,
        key: &[u8],
        reply: Result<WriteReply<Refusal>, ReplicaError>,
    ) -> Result<Answer, KvError> {
        match reply {
            Err(error) => Err(refusal(node, error)),
            Ok(WriteReply::Logged(LoggedWrite { lsn, refused: false })) => Ok(Answer::Written(lsn)),
            Ok(WriteReply::Logged(LoggedWrite { refused: true, .. })) => {
                // The row as it is by now: its LSN goes with it, for the session must not read below what it was shown.
                let found = self.engine.get(key, &Columns::All);
                let (current, at) = found.map_err(|error| KvError::Unavailable(error.to_string()))?;
                Ok(Answer::ConditionFailed { current, at })
            }
            Ok(WriteReply::Refused(Refusal::Condition { current, at })) => {
                Ok(Answer::ConditionFailed { current, at })
            }
            Ok(WriteReply::Refused(Refusal::Forgotten)) => {
                Ok(Answer::Forgotten { applied: self.engine.applied() })
            }
            Ok(WriteReply::Refused(Refusal::Unreadable(why))) => Err(KvError::Unavailable(why)),
        }
    }

    /// The first step of a flush: from here on writes go to a new memtable.
    pub fn freeze(&self) {
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

    fn pending(&self, outcome: LoggedWrite, pending: PendingWrite) {
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
                        state.window.record(request, LoggedWrite { lsn: entry.lsn, refused });
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
        let mut steps = ReplicaRead::new(mode);
        let mut found = None;
        loop {
            match steps.step(self) {
                ReadStep::Read => {
                    found = Some(read(&self.store.engine).map_err(|error| {
                        // A damaged replica is being repaired; another one has the rows.
                        match steps.leaves(self.store.engine.damaged()) {
                            true => self.elsewhere(),
                            false => KvError::Unavailable(error.to_string()),
                        }
                    })?);
                }
                ReadStep::Confirm => {
                    let barrier = self.cohort.read_barrier(Lsn::ZERO);
                    let confirmed = tokio::time::timeout_at(deadline.into(), barrier).await;
                    let late = |_| KvError::DeadlineExceeded("no majority confirmed the leader".into());
                    confirmed.map_err(late)?.map_err(|error| self.refusal(error))?;
                }
                ReadStep::AwaitApplied(floor, wait_max) => {
                    let until = deadline.min(Instant::now() + wait_max);
                    // Whether it got there is looked at in the next step.
                    let _ = self.cohort.wait_applied(floor, until.into()).await;
                }
                ReadStep::Answer(staleness) => {
                    let unread = || KvError::Internal("a read was answered before the store was read".into());
                    let (found, lsn) = found.ok_or_else(unread)?;
                    return Ok((found, Source { range: self.range, replica: self.node, lsn, staleness }));
                }
                ReadStep::Elsewhere => return Err(self.elsewhere()),
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
        self.store.admit(&write)?;
        if !write.conditions.is_empty() {
            // The decision reads this row under the cohort's lock: fetch its blocks before.
            let _ = self.store.engine.get(&write.key, &Columns::All);
        }
        let key = write.key.clone();
        match tokio::time::timeout_at(deadline.into(), self.cohort.write(write)).await {
            Err(_) => Err(KvError::OutcomeUnknown("no majority forced it in time".into())),
            Ok(reply) => self.store.answer(self.node, &key, reply),
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

impl Standing for RangeReplica {
    fn lease(&self) -> Option<Epoch> {
        self.cohort.lease()
    }

    fn applied(&self) -> Lsn {
        self.store.applied()
    }

    fn staleness(&self) -> Option<Duration> {
        self.cohort.staleness()
    }

    fn takes_part(&self) -> bool {
        self.cohort.takes_part()
    }
}

/// Replication's refusals in the store's words, as of a replica on `node`.
pub fn refusal(node: NodeId, error: ReplicaError) -> KvError {
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
