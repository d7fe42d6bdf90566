//! Drives one cohort: events in, effects out, in order.
//!
//! There is no task per cohort. Whoever has an event (a stream's task, the ticker, a client's own task) puts it into the
//! cohort's inbox and then *runs* the cohort, if nobody does so right now; if somebody does, that one takes the event
//! along. So an event is handled without a hop to another thread, nobody ever waits for the lock,
//! and an effect that calls back at once (a log that is full) finds the inbox open instead of a deadlock.
//!
//! Effects are performed under the lock, in the order in which the cohort put them out, and none of them waits: an
//! append is queued for the log's thread, a message for the transport, an answer goes to a oneshot channel; reading
//! the log happens elsewhere and comes back as an event. Applying is the store's work in memory.

use std::collections::{BTreeMap, VecDeque};
use std::mem;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError, Weak};
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tracing::{debug, error, warn};
use wal::{Append, ChainHash, CohortId, Entry, Epoch, LogError, Lsn, NodeId, ReadError, sync};

use super::clock;
use super::cohorts::{Driven, Wakes};
use super::lease::LeaseCell;
use super::node::Node;
use super::outbox::Outbox;
use super::peer::Peers;
use crate::coordination::range::{RangeCoordination, RangeEvent};
use crate::drive::{Drive, Environment, Input, ReplicaError};
use crate::protocol::coordination::CoordinationRequest;
use crate::protocol::effect::{Lease, Reply};
use crate::protocol::event::{Event, Ticket};
use crate::protocol::message::{Envelope, SnapshotPart};
use crate::protocol::notice::Notice;
use crate::protocol::time::Stamp;
use crate::protocol::{Config, Recovered, Status};
use crate::store::Store;

/// One node's replica of one cohort: the cohort, its store and its clients, driven.
pub struct Replica<S: Store> {
    pub(super) id: CohortId,
    /// The range in words, for the log.
    label: Arc<str>,
    members: Vec<NodeId>,
    pub(super) node: Arc<Node>,
    pub(super) store: Arc<S>,
    me: Weak<Replica<S>>,
    outboxes: BTreeMap<NodeId, Arc<Outbox>>,
    inbox: Mutex<VecDeque<Input<S>>>,
    state: Mutex<State<S>>,

    // Published after each round, for readers that must not take the lock.
    pub(super) lease: LeaseCell,
    pub(super) applied: watch::Sender<Lsn>,
    /// Sequence number of the last entry that this node's log has forced.
    forced: AtomicU64,
    /// Who leads, as far as known here; 0: nobody.
    leader: AtomicU32,
    /// The same, for those who wait for a change.
    leader_changes: watch::Sender<Option<NodeId>>,
    /// The newest leadership that was opened here.
    pub(super) openings: watch::Sender<Epoch>,
    /// The store is at least as new as the leader's was at this stamp of the own clock [staleness-by-echo]; 0: not known.
    fresh_at: AtomicU64,
    /// Somebody is about to run the cohort on replication's threads.
    scheduled: AtomicBool,
    /// Its history is known to differ from its leader's [stopped-serves-nothing].
    stopped: AtomicBool,
    /// Since this stamp no leader that serves has been heard here; 0: one is.
    leaderless_at: AtomicU64,
    /// Nothing is done here any more. Changes under the lock.
    ended: AtomicBool,
}

/// What only the one who runs the cohort touches.
struct State<S: Store> {
    drive: Drive<S>,
    /// The range in the coordinator; dropped at the end, which stops it.
    coordination: Option<RangeCoordination>,
    /// Reused between rounds.
    batch: VecDeque<Input<S>>,
}

impl<S: Store> Replica<S> {
    /// Recovers the cohort and registers it with the node and the coordinator. `None` if the node has it already.
    pub(crate) fn open(
        node: &Arc<Node>,
        peers: &Peers,
        config: Config,
        recovered: Recovered,
        store: Arc<S>,
    ) -> Option<Arc<Replica<S>>> {
        let (id, members): (_, Vec<NodeId>) =
            (config.cohort, config.members.iter().map(|member| member.node).collect());
        let others = members.iter().filter(|member| **member != node.me.node);
        let outboxes = others.map(|member| (*member, peers.outbox(*member))).collect();
        let drive = Drive::recover(config, recovered, Arc::clone(&store), clock::now());
        let state = State { drive, coordination: None, batch: VecDeque::new() };
        let replica = Arc::new_cyclic(|me| Replica {
            id,
            label: store.label().into(),
            members,
            node: Arc::clone(node),
            applied: watch::Sender::new(store.applied()),
            forced: AtomicU64::new(0),
            store,
            me: me.clone(),
            outboxes,
            inbox: Mutex::default(),
            state: Mutex::new(state),
            lease: LeaseCell::default(),
            leader: AtomicU32::new(0),
            leader_changes: watch::Sender::new(None),
            openings: watch::Sender::new(Epoch(0)),
            fresh_at: AtomicU64::new(0),
            scheduled: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            leaderless_at: AtomicU64::new(clock::now().0),
            ended: AtomicBool::new(false),
        });
        // Under the lock no event is handled: what recovery found committed is applied before anybody can ask for it, and
        // the range's coordination is there before anything can be asked of it.
        let mut wakes = Wakes::default();
        {
            let mut state = sync::lock(&replica.state);
            let State { drive, coordination, .. } = &mut *state;
            drive.settle(&mut replica.environment(coordination, &mut wakes));
            if !node.cohorts.add(Arc::clone(&replica) as Arc<dyn Driven>) {
                return None;
            }
            *coordination = Some(replica.coordinate());
        }
        wakes.flush();
        if node.is_dead() {
            // It may have ended its cohorts before it knew this one.
            replica.end();
        }
        replica.run_now();
        Some(replica)
    }

    /// Starts watching the range in the coordinator.
    fn coordinate(&self) -> RangeCoordination {
        let me = Weak::clone(&self.me);
        let root = format!("/spinnaker/{}", self.node.cluster);
        let coordinator = Arc::clone(&self.node.coordinator);
        let notify = move |event| {
            let Some(replica) = me.upgrade() else { return };
            replica.push(match event {
                RangeEvent::View(view) => Event::View(view),
                RangeEvent::Outcome(outcome) => Event::Coordinated(outcome),
            });
            replica.run_now();
        };
        let _tokio = self.node.tokio.enter();
        RangeCoordination::spawn(coordinator, &root, self.id, self.node.me, notify)
    }

    /// Puts `input` into the inbox and runs the cohort.
    pub(crate) fn submit(&self, input: Input<S>) {
        self.inbox().push_back(input);
        self.run_now();
    }

    /// The same on replication's threads, a moment later: for the log's thread, which goes on with the next batch.
    fn submit_soon(&self, input: Input<S>) {
        self.inbox().push_back(input);
        if self.scheduled.swap(true, Ordering::AcqRel) {
            return;
        }
        let me = Weak::clone(&self.me);
        self.node.tokio.spawn(async move {
            if let Some(replica) = me.upgrade() {
                // What comes from now on is taken along, or schedules another run.
                replica.scheduled.store(false, Ordering::Release);
                replica.run_now();
            }
        });
    }

    fn run_now(&self) {
        let mut wakes = Wakes::default();
        self.run(&mut wakes);
        wakes.flush();
    }

    fn inbox(&self) -> MutexGuard<'_, VecDeque<Input<S>>> {
        // A panic while it was locked cannot have left it half changed.
        sync::lock(&self.inbox)
    }

    /// Looks at the cohort under its lock. May wait for a round to end: not for hot paths.
    fn look<T>(&self, look: impl FnOnce(&State<S>) -> T) -> T {
        let seen = look(&sync::lock(&self.state));
        // Who came meanwhile found the lock taken, and relies on us.
        self.run_now();
        seen
    }

    /// Everything to be seen of the cohort here. Waits for a step that is under way.
    pub fn status(&self) -> Status {
        self.look(|state| state.drive.cohort().status())
    }

    /// The last applied LSN and the chain hash there, as [`Replica::note_flushed`] wants them. Waits for a step that
    /// is under way.
    pub fn applied_chain(&self) -> (Lsn, ChainHash) {
        self.look(|state| state.drive.applied_chain())
    }

    /// Bytes of this node's appends, of all cohorts, that wait for their force.
    pub(super) fn log_waiting_bytes(&self) -> u64 {
        self.node.log.waiting_bytes()
    }

    /// Where the leader is thought to be. Takes no lock.
    pub fn leader(&self) -> Option<NodeId> {
        let leader = self.leader.load(Ordering::Acquire);
        (leader != 0).then_some(NodeId(leader))
    }

    /// Shows where the leader is thought to be, and wakes who waits for it to change.
    pub fn leader_changes(&self) -> watch::Receiver<Option<NodeId>> {
        self.leader_changes.subscribe()
    }

    fn publish_leader(&self, leader: Option<NodeId>) {
        let number = leader.map_or(0, |leader| leader.0);
        if self.leader.swap(number, Ordering::AcqRel) != number {
            self.leader_changes.send_replace(leader);
        }
    }

    /// An upper bound of how old the store is: what it lacks was written later than that before now
    /// [staleness-by-echo]. `None`: not known. Takes no lock.
    pub fn staleness(&self) -> Option<Duration> {
        let fresh_at = self.fresh_at.load(Ordering::Acquire);
        (fresh_at != 0).then(|| Duration::from_millis(u64::from(clock::now().since(Stamp(fresh_at)).0)))
    }

    /// Sequence number of the last entry that this node's log holds on disk. Takes no lock: a flush waits for it.
    pub fn forced_seq(&self) -> u64 {
        self.forced.load(Ordering::Acquire)
    }

    /// Whether its rows may be read at all: false once its history is known to differ from its leader's
    /// [stopped-serves-nothing]. Takes no lock.
    pub fn takes_part(&self) -> bool {
        !self.stopped.load(Ordering::Acquire)
    }

    /// For how long no leader that serves has been heard here; `None` while one is, as far as is known. Takes no lock.
    pub fn leaderless_for(&self) -> Option<Duration> {
        let since = self.leaderless_at.load(Ordering::Acquire);
        (since != 0).then(|| Duration::from_millis(u64::from(clock::now().since(Stamp(since)).0)))
    }

    /// Whether nothing is done here any more.
    pub(crate) fn is_dead(&self) -> bool {
        self.ended.load(Ordering::Acquire) || self.node.is_dead()
    }

    /// Takes this replica out of the node: the range is dropped here. Waiting clients are answered.
    pub fn close(&self) {
        self.node.cohorts.remove(self.id);
        self.end();
    }

    /// Handles everything in the inbox.
    fn round(&self, state: &mut State<S>, wakes: &mut Wakes) {
        let mut batch = mem::take(&mut state.batch);
        loop {
            mem::swap(&mut batch, &mut *self.inbox());
            if batch.is_empty() {
                break;
            }
            for input in batch.drain(..) {
                if self.is_dead() {
                    input.refuse();
                    continue;
                }
                let State { drive, coordination, .. } = &mut *state;
                drive.take(input, &mut self.environment(coordination, wakes));
            }
        }
        state.batch = batch;
        if !self.is_dead() {
            self.publish(state);
        }
    }

    fn publish(&self, state: &State<S>) {
        self.forced.store(state.drive.cohort().forced_lsn().seq, Ordering::Release);
        self.publish_leader(state.drive.cohort().leader());
        self.stopped.store(!state.drive.cohort().takes_part(), Ordering::Release);
        let now = clock::now();
        let fresh_at = match state.drive.cohort().staleness(now) {
            // The figure is cut to milliseconds: one more makes it an upper bound again.
            Some(stale) => now.0.saturating_sub((u64::from(stale.0) + 1) * 1000),
            None => 0,
        };
        self.fresh_at.store(fresh_at, Ordering::Release);
        let leaderless = state.drive.cohort().leaderless_since().map_or(0, |since| since.0.max(1));
        self.leaderless_at.store(leaderless, Ordering::Release);
    }

    fn environment<'a>(
        &'a self,
        coordination: &'a Option<RangeCoordination>,
        wakes: &'a mut Wakes,
    ) -> NodeEnvironment<'a, S> {
        NodeEnvironment { replica: self, coordination, wakes }
    }

    /// On the log's thread, which only forces: the step that a force allows (an ack, a commit, an answer) is taken on
    /// replication's threads, together with whatever else waits for the cohort. May be called from within
    /// [`Log::append`](wal::Log::append), under the cohort's lock.
    fn appended(&self, ticket: Ticket, result: Result<(), LogError>) {
        if self.is_dead() {
            return;
        }
        match result {
            Ok(()) => self.submit_soon(Input::Event(Event::Forced(ticket))),
            Err(LogError::DiskFull | LogError::Segment(_)) => {
                self.submit_soon(Input::Event(Event::AppendFailed(ticket)));
            }
            Err(error @ LogError::Poisoned(_)) => self.node.fail(error.to_string()),
            // Somebody has ended the log before the node: that is no failure, but nothing can be promised any more.
            Err(LogError::Closed) => self.node.end(),
        }
    }
}

/// The node, as the cohort needs it during one round.
struct NodeEnvironment<'a, S: Store> {
    replica: &'a Replica<S>,
    coordination: &'a Option<RangeCoordination>,
    wakes: &'a mut Wakes,
}

impl<S: Store> NodeEnvironment<'_, S> {
    /// Does what blocks on the disk apart from the cohort's lock, and brings the cohort the event that it ends with.
    fn elsewhere(&self, work: impl FnOnce(&S) -> Event + Send + 'static) {
        let (me, store) = (Weak::clone(&self.replica.me), Arc::clone(&self.replica.store));
        let node = &self.replica.node;
        node.at_the_disk(&node.tokio, move || {
            let event = work(&store);
            if let Some(replica) = me.upgrade() {
                replica.submit(Input::Event(event));
            }
        });
    }
}

impl<S: Store> Environment for NodeEnvironment<'_, S> {
    fn now(&self) -> Stamp {
        clock::now()
    }

    fn is_dead(&self) -> bool {
        self.replica.is_dead()
    }

    fn append(&mut self, records: Vec<wal::Record>, ticket: Option<Ticket>) {
        let append = Append { cohort: self.replica.id, records };
        let done = ticket.map(|ticket| {
            let me = Weak::clone(&self.replica.me);
            let done = move |result| {
                if let Some(replica) = me.upgrade() {
                    replica.appended(ticket, result);
                }
            };
            Box::new(done) as Box<dyn FnOnce(Result<(), LogError>) + Send>
        });
        self.replica.node.log.append(append, ticket.is_some(), done);
    }

    fn send(&mut self, envelope: Envelope) {
        match self.replica.outboxes.get(&envelope.to) {
            Some(outbox) => {
                outbox.push(self.replica.id, envelope.message);
                self.wakes.add(outbox);
            }
            None => {
                error!(cohort = %self.replica.id, to = %envelope.to, "message to a node that is no member");
            }
        }
    }

    fn read_log(&mut self, to: NodeId, after: Lsn, bytes_max: u64) {
        let reader = self.replica.node.log.reader();
        let cohort = self.replica.id;
        self.elsewhere(move |_| {
            let entries = match reader.read(cohort, after, bytes_max) {
                Ok(entries) => Some(entries),
                Err(ReadError::Gone { oldest }) => {
                    warn!(%cohort, %after, %oldest, "the log no longer reaches back to what a follower needs");
                    None
                }
                Err(error) => {
                    warn!(%cohort, %after, %error, "the log cannot be read for a follower");
                    None
                }
            };
            Event::LogRead { to, after, entries }
        });
    }

    fn read_snapshot(&mut self, to: NodeId, snapshot: u64, part: u64, flushed: Lsn) {
        let (me, node) = (Weak::clone(&self.replica.me), Arc::clone(&self.replica.node));
        let outgoing = (self.replica.id, to);
        self.replica.node.tokio.spawn(async move {
            if !node.pacing.room(outgoing, || node.is_dead()).await {
                return;
            }
            let disk = Arc::clone(&node);
            disk.at_the_disk(&disk.tokio, move || {
                let Some(replica) = me.upgrade() else { return node.pacing.took(outgoing, None) };
                let read = replica.store.read_snapshot(to, snapshot, part, flushed);
                let part = read.inspect_err(|error| error!(%to, error, "a snapshot cannot be read")).ok();
                node.pacing.took(outgoing, part.as_ref());
                replica.submit(Input::Event(Event::SnapshotRead { to, snapshot, part }));
            });
        });
    }

    fn receive_snapshot(&mut self, snapshot: u64, part: SnapshotPart) {
        self.elsewhere(move |store| {
            let number = part.number;
            Event::SnapshotReceived { snapshot, part: number, outcome: store.receive_snapshot(part) }
        });
    }

    fn wipe(&mut self) {
        self.elsewhere(|store| Event::DataWiped(store.wipe()));
    }

    fn snapshot_installed(&mut self, flushed: Lsn) {
        self.replica.node.metrics.snapshots.count();
        self.replica.applied.send_replace(flushed);
    }

    fn coordinate(&mut self, request: CoordinationRequest) {
        match self.coordination {
            Some(coordination) => coordination.request(request),
            None => {
                error!(cohort = %self.replica.id, ?request, "a request to the coordinator before it is known");
            }
        }
    }

    fn publish(&mut self, lease: Option<Lease>) {
        self.replica.lease.publish(lease);
    }

    fn leased(&self) -> Option<Epoch> {
        self.replica.lease.valid()
    }

    fn applied(&mut self, entries: &[Entry]) {
        self.replica.node.metrics.applied.add(entries.len() as u64);
        if let Some(last) = entries.last() {
            self.replica.applied.send_replace(last.lsn);
        }
    }

    fn proposing(&mut self) {
        self.replica.node.metrics.proposals.count();
    }

    fn answering(&mut self, reply: &Reply) {
        if matches!(reply, Reply::Written(_)) {
            self.replica.node.metrics.commits.count();
        }
    }

    fn opened(&mut self, epoch: Epoch) {
        self.replica.node.metrics.elections.count();
        self.replica.openings.send_replace(epoch);
    }

    fn notice(&mut self, notice: Notice) {
        let Replica { id, label, node, .. } = self.replica;
        node.metrics.note(&notice);
        node.journal.tell(*id, label, notice);
    }

    fn alarm(&mut self, text: String) {
        self.replica.node.metrics.alarms.count();
        let Replica { id, label, node, .. } = self.replica;
        error!(range = %id, span = %label, node = %node.me.node, "{text}");
    }
}

impl<S: Store> Driven for Replica<S> {
    fn id(&self) -> CohortId {
        self.id
    }

    fn members(&self) -> &[NodeId] {
        &self.members
    }

    fn push(&self, event: Event) {
        self.inbox().push_back(Input::Event(event));
    }

    fn run(&self, wakes: &mut Wakes) {
        loop {
            match self.state.try_lock() {
                Ok(mut state) => self.round(&mut state, wakes),
                // Whoever holds it looks into the inbox after letting go.
                Err(TryLockError::WouldBlock) => return,
                Err(TryLockError::Poisoned(_)) => {
                    self.node.fail(format!("cohort {} stopped in the middle of a step", self.id));
                    return;
                }
            }
            if self.inbox().is_empty() {
                return;
            }
        }
    }

    fn transfer_away(&self) -> Option<oneshot::Receiver<Result<(), ReplicaError>>> {
        if self.leader() != Some(self.node.me.node) {
            return None;
        }
        let (sender, receiver) = oneshot::channel();
        self.submit(Input::Transfer { target: None, sender });
        debug!(cohort = %self.id, "transferring the leadership");
        Some(receiver)
    }

    fn has_heir(&self) -> bool {
        self.status().followers.values().any(|follower| follower.alive)
    }

    fn is_succeeded(&self) -> bool {
        let status = self.status();
        let other = status.leader.is_some_and(|leader| leader != self.node.me.node);
        // The first entry of its epoch is committed [open-after-epoch-start].
        other && status.committed.epoch == status.epoch
    }

    fn end(&self) {
        let mut state = sync::lock(&self.state);
        self.ended.store(true, Ordering::Release);
        state.coordination = None;
        self.lease.publish(None);
        self.publish_leader(None);
        self.fresh_at.store(0, Ordering::Release);
        state.drive.end();
        drop(state);
        let mut wakes = Wakes::default();
        self.run(&mut wakes);
    }
}
