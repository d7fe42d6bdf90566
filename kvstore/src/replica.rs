//! One replica of a range: the engine's data under replication's order, reads at the right moment.
//!
//! [`RangeStore`] gives the cohort's entries their meaning: it decides writes (window, then conditions), keeps what is
//! pending, applies what is committed. [`RangeReplica`] adds the reads: `reading` says when the store is read.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use bytes::Bytes;
use replication::protocol::effect::Unavailable;
use replication::protocol::event::Received;
use replication::protocol::message::SnapshotPart;
use replication::runtime::{Replica, ReplicaError, Turn, WriteResult};
use replication::store::{Decision, LoggedWrite, PAYLOAD_BYTES_MAX, Store};
use wal::sync::lock;
use wal::{CohortId, Entry, EntryKind, Epoch, Lsn, NodeId};

use crate::conditions::{self, Pending, PendingWrite};
use crate::dedup::{Window, WindowLimits};
use crate::engine::{Engine, EngineError, FlushedState, Pinned, Receipt, TableParts};
use crate::error::KvError;
use crate::operation::{Answer, Mode, RangeWrite};
use crate::payload::{self, Payload};
use crate::reading::{ReadStep, ReplicaRead, Standing};
use crate::request::{Columns, Mutation, Source, WriteOutcome, Written, growth};
use crate::shipping::Shipping;
use crate::table::io_error;

/// The state machine of one range.
pub struct RangeStore {
    range: CohortId,
    /// Its table and span, for the log.
    label: String,
    engine: Engine,
    limits: WindowLimits,
    state: Mutex<State>,
    shipping: Shipping,
    /// The last flush, and the last compaction, failed for want of space.
    flush_lacks_space: AtomicBool,
    compaction_lacks_space: AtomicBool,
}

struct State {
    window: Window,
    pending: Pending,
}

/// A write on its way to its decision ([`RangeStore::prepare`]).
pub struct PreparedWrite {
    write: RangeWrite,
    /// What the tables hold of the row, if the decision needs it.
    tables: Option<Result<TableParts, EngineError>>,
}

/// Why the store logged nothing of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is answered already: a condition did not hold, or the row would be too large, or the store has forgotten whether it
    /// was done, or cannot read.
    Answered(Result<Answer, KvError>),
    /// The tables have grown since they were read for the decision, or were not read and must be: prepare it anew.
    Outdated,
}

/// Whether a write may be executed.
enum Judgement {
    /// It may: its conditions hold, and its row is not too large.
    Holds,
    /// It may not, and the log is to say so.
    Fails,
    /// The write is refused at once; `after` is the newest pending LSN that this rests on.
    Refused { refusal: Refusal, after: Lsn },
}

impl RangeStore {
    /// A store over an opened engine, with the window that was flushed with it.
    pub(crate) fn new(
        range: CohortId,
        engine: Engine,
        attachment: Bytes,
        limits: WindowLimits,
    ) -> Result<RangeStore, String> {
        let window = Window::decode(attachment, limits).map_err(|error| error.to_string())?;
        let state = Mutex::new(State { window, pending: Pending::default() });
        Ok(RangeStore {
            range,
            label: String::new(),
            engine,
            limits,
            state,
            shipping: Shipping::default(),
            flush_lacks_space: AtomicBool::new(false),
            compaction_lacks_space: AtomicBool::new(false),
        })
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
        let flushed = self.engine.flush(|flushed| forced(flushed).map_err(|error| io_error("wal", error)));
        let lacks_space = flushed.as_ref().is_err_and(EngineError::is_full);
        self.flush_lacks_space.store(lacks_space, Ordering::Relaxed);
        flushed
    }

    /// Does the most urgent merge of tables, if one is due; tells whether it did.
    pub(crate) fn compact(&self) -> Result<bool, EngineError> {
        let compacted = self.engine.compact();
        let lacks_space = compacted.as_ref().is_err_and(EngineError::is_full);
        self.compaction_lacks_space.store(lacks_space, Ordering::Relaxed);
        compacted
    }

    /// Whether tables are not written for want of space.
    pub(crate) fn lacks_space(&self) -> bool {
        self.flush_lacks_space.load(Ordering::Relaxed) || self.compaction_lacks_space.load(Ordering::Relaxed)
    }

    /// The remembered outcomes, as they would be flushed now.
    #[cfg(feature = "testing")]
    pub(crate) fn window(&self) -> Bytes {
        self.lock().window.encode()
    }

    /// A write for [`Store::decide`], if it may be decided now, with all that its decision needs from the disk: it is made
    /// under the cohort's lock, which is no place to wait for one.
    pub fn prepare(&self, write: RangeWrite) -> Result<PreparedWrite, KvError> {
        // Whoever asks: followers would refuse it forever once it is in the log.
        check_entry(&write.key, &write.mutations)?;
        if self.engine.stalled() {
            return Err(KvError::Overloaded("write stall: flushes are behind".into()));
        }
        // An error counts only there: the write may have been done already.
        let reads = !write.conditions.is_empty() || {
            // With room to spare for what is proposed until the decision.
            let limit = self.engine.options().row_bytes_max / 2;
            !self.fits_surely(&self.lock().pending, &write, limit)
        };
        let tables = reads.then(|| self.engine.read_tables(&write.key));
        Ok(PreparedWrite { write, tables })
    }

    /// Whether the write leaves its row within so many bytes, as far as is known without reading a table: most rows are small
    /// enough that a write without conditions reads nothing.
    fn fits_surely(&self, pending: &Pending, write: &RangeWrite, limit: usize) -> bool {
        let growth = growth(&write.mutations);
        growth == 0
            || self.engine.row_bytes_bound(&write.key).is_some_and(|bound| {
                let more = write.key.len() + growth + pending.growth(&write.key);
                bound.saturating_add(more as u64) <= limit as u64
            })
    }

    /// The answer to a write with this end in replication, here on `node`.
    pub fn answer(
        &self,
        node: NodeId,
        write: &RangeWrite,
        result: WriteResult<Refusal>,
    ) -> Result<Answer, KvError> {
        match result {
            Err(error) => Err(refusal(node, error)),
            Ok(Err(Refusal::Answered(answer))) => answer,
            Ok(Ok(LoggedWrite { lsn, refused: false })) => {
                Ok(Answer::Write(WriteOutcome::Written(self.at(lsn))))
            }
            Ok(Ok(LoggedWrite { refused: true, .. })) => {
                // The row as it is by now: its LSN goes with it, for the session must not read below what it was shown.
                let found = self.engine.get(&write.key, &Columns::All);
                let (current, at) = found.map_err(|error| KvError::Unavailable(error.to_string()))?;
                let size = conditions::size_after(current.clone(), &write.mutations);
                let too_large = size > self.engine.options().row_bytes_max;
                if write.conditions.is_empty() || (too_large && conditions::hold(&write.conditions, &current))
                {
                    // It was when that was decided, whatever the row has become since.
                    return Err(self.too_large(size.max(self.engine.options().row_bytes_max + 1)));
                }
                Ok(Answer::Write(WriteOutcome::ConditionFailed { current, at: self.at(at) }))
            }
            Ok(Err(Refusal::Outdated)) => Err(KvError::Unavailable("its tables change all the time".into())),
        }
    }

    fn too_large(&self, size: usize) -> KvError {
        KvError::TooLarge { what: "row", size, limit: self.engine.options().row_bytes_max }
    }

    fn at(&self, lsn: Lsn) -> Written {
        Written { range: self.range, lsn }
    }

    /// The first step of a flush: from here on writes go to a new memtable.
    pub fn freeze(&self) {
        // Nothing is applied meanwhile.
        let state = self.lock();
        self.engine.freeze(|| state.window.encode());
    }

    /// Puts a received snapshot in force, with the window that came with it. Nothing is applied meanwhile. The state is
    /// held only while both change in memory: a freeze must not pair the tables of one with the window of the other.
    fn install_snapshot(&self, receipt: Receipt) -> Result<FlushedState, String> {
        let window = match Window::decode(receipt.attachment().clone(), self.limits) {
            Ok(window) => window,
            Err(error) => {
                self.engine.refuse(receipt);
                return Err(error.to_string());
            }
        };
        let installed = self.engine.install_snapshot(receipt, || self.lock());
        let (flushed_state, mut state) = installed.map_err(|error| error.to_string())?;
        // If not, damaged tables were repaired under what is applied; the window knows that, too.
        if flushed_state.lsn >= self.engine.applied() {
            state.window = window;
            state.pending.clear();
        }
        drop(state);
        Ok(flushed_state)
    }

    /// Decides on the write's conditions, and whether its row would be too large.
    fn judge(
        &self,
        pending: &Pending,
        write: &RangeWrite,
        tables: Option<Result<TableParts, EngineError>>,
    ) -> Judgement {
        let RangeWrite { key, conditions, mutations, retry, .. } = write;
        let limit = self.engine.options().row_bytes_max;
        if conditions.is_empty() && self.fits_surely(pending, write, limit) {
            return Judgement::Holds;
        }
        let found = match tables.transpose() {
            Ok(tables) => tables.and_then(|tables| self.engine.row_for_decision(key, tables)),
            Err(error) => {
                let refusal = Refusal::Answered(Err(KvError::Unavailable(error.to_string())));
                return Judgement::Refused { refusal, after: Lsn::ZERO };
            }
        };
        let Some((mut row, applied)) = found else {
            return Judgement::Refused { refusal: Refusal::Outdated, after: Lsn::ZERO };
        };
        let after = pending.overlay(&mut row);
        if !conditions::hold(conditions, &row) {
            if *retry {
                return Judgement::Fails;
            }
            let at = after.unwrap_or(applied);
            if row.cells.is_empty() {
                row.version = at;
            }
            let found = WriteOutcome::ConditionFailed { current: row, at: self.at(at) };
            return Judgement::Refused { refusal: Refusal::Answered(Ok(Answer::Write(found))), after: at };
        }
        // A row that an older version let grow further may be written, but not grow.
        let before = row.content_bytes();
        if before + growth(mutations) <= limit {
            return Judgement::Holds;
        }
        let size = conditions::size_after(row, mutations);
        match size <= limit.max(before) {
            true => Judgement::Holds,
            false if *retry => Judgement::Fails,
            false => Judgement::Refused {
                refusal: Refusal::Answered(Err(self.too_large(size))),
                after: after.unwrap_or(applied),
            },
        }
    }

    fn receive_part(&self, part: SnapshotPart) -> Result<Option<FlushedState>, String> {
        // Held until the last part is in force: what is wiped meanwhile would come back.
        let mut incoming = self.shipping.incoming();
        let whole = incoming.receive(&self.engine, part)?;
        whole.map(|receipt| self.install_snapshot(receipt)).transpose()
    }

    /// To be called about once a second: the outcomes of writes are remembered by time, too.
    pub fn pass_second(&self) {
        self.lock().window.pass_second();
    }

    /// Lets go of tables that outgoing snapshots pin, if nobody has asked for a part for so long.
    pub(crate) fn release_snapshots(&self, idle_max: Duration) {
        self.shipping.release_idle(idle_max);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Only a bug panics under this lock, and it has then left an entry half applied at worst; the process
        // aborts in `apply` before anyone can look.
        lock(&self.state)
    }
}

impl Store for RangeStore {
    type Request = PreparedWrite;
    type Pending = PendingWrite;
    type Refusal = Refusal;

    fn label(&self) -> String {
        self.label.clone()
    }

    fn understands(&self, entry: &Entry) -> bool {
        entry.kind != EntryKind::Write || payload::is_known(&entry.payload)
    }

    fn decide(&self, prepared: PreparedWrite) -> Decision<PendingWrite, Refusal> {
        let PreparedWrite { write, tables } = prepared;
        let state = self.lock();
        if let Some(outcome) = state.window.find(&write.request) {
            return Decision::Join(outcome);
        }
        if let Some(outcome) = state.pending.find(&write.request) {
            return Decision::Join(outcome);
        }
        if state.window.forgot(write.known) {
            let forgotten = Answer::Forgotten { applied: self.engine.applied() };
            return Decision::Refuse { refusal: Refusal::Answered(Ok(forgotten)), after: Lsn::ZERO };
        }
        let refused = match self.judge(&state.pending, &write, tables) {
            Judgement::Holds => false,
            Judgement::Fails => true,
            Judgement::Refused { refusal, after } => return Decision::Refuse { refusal, after },
        };
        let RangeWrite { key, mut mutations, request, .. } = write;
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

    fn read_snapshot(
        &self,
        to: NodeId,
        snapshot: u64,
        part: u64,
        tables: Lsn,
    ) -> Result<SnapshotPart, String> {
        self.shipping.read(&self.engine, to, (snapshot, part), tables)
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
        let mut incoming = self.shipping.incoming();
        incoming.abandon(&self.engine);
        let mut state = self.engine.wipe(|| self.lock()).map_err(|error| error.to_string())?;
        state.window = Window::new(self.limits);
        state.pending.clear();
        Ok(())
    }

    fn closed(&self) {
        self.shipping.release();
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

/// A request waits so long at most for a leadership that is on its way; less than its gateway waits before it takes this
/// node for silent.
const HELD_MAX: Duration = Duration::from_millis(150);

/// A request that waits for a leadership that is on its way.
struct Held {
    turn: Turn,
    until: Instant,
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
        let (mut found, mut held) = (None, None);
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
                    if let Err(error) = confirmed.map_err(late)? {
                        if !self.hold(&error, &mut held, deadline).await {
                            return Err(self.refusal(error));
                        }
                        steps = ReplicaRead::new(mode);
                    }
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
        let mode = Mode::as_of(at);
        let pin = |engine: &Engine| Ok((pin_at(engine, at, open.as_ref())?, at));
        let (found, source) = self.read(mode, deadline, pin).await?;
        as_of(found, source)
    }

    /// Not here: the leader, perhaps.
    fn elsewhere(&self) -> KvError {
        KvError::NotLeader { hint: self.cohort.leader().filter(|leader| *leader != self.node) }
    }

    /// Writes. After [`KvError::OutcomeUnknown`] the write may or may not be done; after any other error it is not.
    pub(crate) async fn write(&self, write: RangeWrite, deadline: Instant) -> Result<Answer, KvError> {
        let mut held = None;
        loop {
            let prepared = self.store.prepare(write.clone()).map_err(|error| self.stall(error))?;
            let written = tokio::time::timeout_at(deadline.into(), self.cohort.write(prepared)).await;
            let late = |_| KvError::OutcomeUnknown("no majority forced it in time".into());
            let written = written.map_err(late)?;
            let again = match &written {
                // At most once for each flush.
                Ok(Err(Refusal::Outdated)) => true,
                // Nothing was done.
                Err(error) => self.hold(error, &mut held, deadline).await,
                Ok(_) => false,
            };
            if !again {
                return self.store.answer(self.node, &write, written);
            }
        }
    }

    /// What keeps flushes behind may be the disk.
    fn stall(&self, error: KvError) -> KvError {
        match error {
            KvError::Overloaded(_) if self.store.lacks_space() => KvError::DiskFull(self.node),
            error => error,
        }
    }

    /// A leadership that is on its way is here, or at another node, in some milliseconds: a request that it refuses waits
    /// for that, instead of its gateway asking again and again. Says whether to try again; if not, the gateway shall look
    /// elsewhere. `held` is the request's own.
    async fn hold(&self, error: &ReplicaError, held: &mut Option<Held>, deadline: Instant) -> bool {
        if !matches!(error, ReplicaError::Unavailable(Unavailable::TakingOver | Unavailable::Transferring)) {
            return false;
        }
        match held {
            // What came before we listened is looked at once more.
            None => {
                *held =
                    Some(Held { turn: self.cohort.turn(), until: deadline.min(Instant::now() + HELD_MAX) });
                true
            }
            Some(Held { turn, until }) => tokio::time::timeout_at((*until).into(), turn.come()).await.is_ok(),
        }
    }

    /// Replication's refusals in the store's words.
    pub(crate) fn refusal(&self, error: ReplicaError) -> KvError {
        refusal(self.node, error)
    }
}

/// What was found of an older LSN at a replica.
#[derive(Clone)]
pub struct PinnedAt {
    /// The content; `None`: it is no longer kept.
    pinned: Option<Pinned>,
    /// It was the newest then.
    newest: bool,
}

/// The content as of `at`, which the replica has applied: from `open`, what an open scan holds of it, or as it is still
/// kept.
pub fn pin_at(engine: &Engine, at: Lsn, open: Option<&Pinned>) -> Result<PinnedAt, EngineError> {
    let pinned = match open {
        Some(open) if engine.continues(open)? => Some(open.clone()),
        Some(_) | None => engine.pin_at(at)?,
    };
    Ok(PinnedAt { pinned, newest: engine.applied() == at })
}

/// What was found, and where it comes from, if `source` is that of the read which found it; [`KvError::ReadTooOld`] if it
/// is no longer kept. How old an LSN is, a replica knows only while it is the newest.
pub fn as_of(found: PinnedAt, source: Source) -> Result<(Pinned, Source), KvError> {
    let PinnedAt { pinned, newest } = found;
    let Source { replica, lsn, .. } = source;
    let gone = || KvError::ReadTooOld(format!("{replica} no longer keeps LSN {lsn} of the range"));
    Ok((pinned.ok_or_else(gone)?, Source { staleness: source.staleness.filter(|_| newest), ..source }))
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

#[cfg(test)]
mod tests;
