//! Drives one cohort: events in, effects out, in order.
//!
//! There is no task per cohort. Whoever has an event (a stream's task, the log's thread, the ticker, a client's own
//! task) puts it into the cohort's inbox and then *runs* the cohort, if nobody does so right now; if somebody does, that
//! one takes the event along. So an event is handled without a hop to another thread, nobody ever waits for the lock,
//! and an effect that calls back at once (a log that is full) finds the inbox open instead of a deadlock.
//!
//! Effects are performed under the lock, in the order in which the cohort put them out, and none of them waits: an
//! append is queued for the log's thread, a message for the transport, an answer goes to a oneshot channel; reading
//! the log happens elsewhere and comes back as an event. Applying is the store's work in memory.

use std::collections::{BTreeMap, VecDeque};
use std::mem;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError, Weak};

use tokio::sync::{oneshot, watch};
use tracing::{debug, error, warn};
use wal::{Append, ChainHash, CohortId, Entry, Epoch, LogError, Lsn, NodeId, ReadError, ReplicaId};

use super::clock;
use super::lease::LeaseCell;
use super::node::Node;
use super::peer::Peer;
use crate::coordination::range::{RangeCoordination, RangeEvent};
use crate::drive::{Drive, Environment, Input, ReplicaError};
use crate::protocol::coordination::CoordinationRequest;
use crate::protocol::effect::{Lease, Reply};
use crate::protocol::event::{Event, Ticket};
use crate::protocol::message::{Envelope, SnapshotPart};
use crate::protocol::time::{Millis, Stamp};
use crate::protocol::{Config, Recovered, Status};
use crate::store::Store;

/// A cohort of whatever store, as the node drives it.
pub(crate) trait Driven: Send + Sync {
    fn id(&self) -> CohortId;
    /// All members, this node among them.
    fn members(&self) -> &[NodeId];
    /// Puts an event into the inbox.
    fn push(&self, event: Event);
    /// Handles what is in the inbox, unless somebody is at it (who then takes all).
    fn run(&self, wakes: &mut Wakes);
    /// Hands the leadership over, if it is here; the receiver is told when that has ended.
    fn leave(&self) -> Option<oneshot::Receiver<Result<(), ReplicaError>>>;
    /// Ends for good: when it returns nothing acts any more.
    fn end(&self);
}

/// Peers with new messages, to be woken once at the end of a round.
#[derive(Default)]
pub(crate) struct Wakes(Vec<Arc<Peer>>);

impl Wakes {
    fn add(&mut self, peer: &Arc<Peer>) {
        if !self.0.iter().any(|other| Arc::ptr_eq(other, peer)) {
            self.0.push(Arc::clone(peer));
        }
    }

    /// Lets the transport have what was pushed.
    pub(crate) fn flush(self) {
        for peer in self.0 {
            peer.outbox.wake();
        }
    }
}

/// One cohort on this node.
pub(crate) struct Driver<S: Store> {
    id: CohortId,
    members: Vec<NodeId>,
    node: Arc<Node>,
    pub(crate) store: Arc<S>,
    me: Weak<Driver<S>>,
    peers: BTreeMap<NodeId, Arc<Peer>>,
    inbox: Mutex<VecDeque<Input<S>>>,
    state: Mutex<State<S>>,

    // Published after each round, for readers that must not take the lock.
    pub(crate) lease: LeaseCell,
    pub(crate) applied: watch::Sender<Lsn>,
    /// Who leads, as far as known here; 0: nobody.
    leader: AtomicU32,
    /// The store is at least as new as the leader's was at this stamp of the own clock (rule 21); 0: not known.
    fresh_at: AtomicU64,
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

impl<S: Store> Driver<S> {
    /// Recovers the cohort and registers it with the node and the coordinator. `None` if the node has it already.
    pub(crate) fn open(
        node: &Arc<Node>,
        config: Config,
        recovered: Recovered,
        store: Arc<S>,
    ) -> Option<Arc<Driver<S>>> {
        let (id, members): (_, Vec<NodeId>) =
            (config.cohort, config.members.iter().map(|member| member.node).collect());
        let peers = members
            .iter()
            .filter(|member| **member != node.me.node)
            .map(|member| (*member, node.peer(*member)))
            .collect();
        let drive = Drive::recover(config, recovered, Arc::clone(&store), clock::now());
        let state = State { drive, coordination: None, batch: VecDeque::new() };
        let driver = Arc::new_cyclic(|me| Driver {
            id,
            members,
            node: Arc::clone(node),
            applied: watch::Sender::new(store.applied()),
            store,
            me: me.clone(),
            peers,
            inbox: Mutex::default(),
            state: Mutex::new(state),
            lease: LeaseCell::default(),
            leader: AtomicU32::new(0),
            fresh_at: AtomicU64::new(0),
            ended: AtomicBool::new(false),
        });
        // What recovery found committed is applied before anybody can ask for it, and before anything else happens:
        // the node does not know the cohort yet.
        let mut wakes = Wakes::default();
        {
            let mut state = driver.state.lock().unwrap_or_else(PoisonError::into_inner);
            let State { drive, coordination, .. } = &mut *state;
            drive.settle(&mut driver.environment(coordination, &mut wakes));
        }
        if !node.add(Arc::clone(&driver) as Arc<dyn Driven>) {
            return None;
        }
        driver.coordinate();
        wakes.flush();
        driver.run_now();
        Some(driver)
    }

    /// Starts watching the range in the coordinator.
    fn coordinate(&self) {
        let me = Weak::clone(&self.me);
        let root = format!("/spinnaker/{}", self.node.cluster);
        let coordinator = Arc::clone(&self.node.coordinator);
        let notify = move |event| {
            let Some(driver) = me.upgrade() else { return };
            driver.push(match event {
                RangeEvent::View(view) => Event::View(view),
                RangeEvent::Outcome(outcome) => Event::Coordinated(outcome),
            });
            driver.run_now();
        };
        let _tokio = self.node.tokio.enter();
        let coordination = RangeCoordination::spawn(coordinator, &root, self.id, self.node.me, notify);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.is_dead() {
            state.coordination = Some(coordination);
        }
    }

    /// Puts `input` into the inbox and runs the cohort.
    pub(crate) fn submit(&self, input: Input<S>) {
        self.inbox().push_back(input);
        self.run_now();
    }

    fn run_now(&self) {
        let mut wakes = Wakes::default();
        self.run(&mut wakes);
        wakes.flush();
    }

    fn inbox(&self) -> MutexGuard<'_, VecDeque<Input<S>>> {
        // A panic while it was locked cannot have left it half changed.
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the cohort under its lock. May wait for a round to end: not for hot paths.
    fn look<T>(&self, look: impl FnOnce(&State<S>) -> T) -> T {
        let seen = look(&self.state.lock().unwrap_or_else(PoisonError::into_inner));
        // Who came meanwhile found the lock taken, and relies on us.
        self.run_now();
        seen
    }

    pub(crate) fn status(&self) -> Status {
        self.look(|state| state.drive.cohort().status())
    }

    pub(crate) fn applied_chain(&self) -> (Lsn, ChainHash) {
        self.look(|state| state.drive.applied_chain())
    }

    pub(crate) fn leader(&self) -> Option<NodeId> {
        let leader = self.leader.load(Ordering::Acquire);
        (leader != 0).then_some(NodeId(leader))
    }

    pub(crate) fn staleness(&self) -> Option<Millis> {
        let fresh_at = self.fresh_at.load(Ordering::Acquire);
        (fresh_at != 0).then(|| clock::now().since(Stamp(fresh_at)))
    }

    /// Whether nothing is done here any more.
    pub(crate) fn is_dead(&self) -> bool {
        self.ended.load(Ordering::Acquire) || self.node.is_dead()
    }

    /// Takes the cohort out of the node: the range is dropped, or moves.
    pub(crate) fn close(&self) {
        self.node.remove(self.id);
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
        self.leader.store(state.drive.cohort().leader().map_or(0, |leader| leader.0), Ordering::Release);
        let now = clock::now();
        let fresh_at = match state.drive.cohort().staleness(now) {
            // The figure is cut to milliseconds: one more makes it an upper bound again.
            Some(stale) => now.0.saturating_sub((u64::from(stale.0) + 1) * 1000),
            None => 0,
        };
        self.fresh_at.store(fresh_at, Ordering::Release);
    }

    fn environment<'a>(
        &'a self,
        coordination: &'a Option<RangeCoordination>,
        wakes: &'a mut Wakes,
    ) -> DriverEnvironment<'a, S> {
        DriverEnvironment { driver: self, coordination, wakes }
    }

    fn append(&self, records: Vec<wal::Record>, ticket: Option<Ticket>) {
        let append = Append { cohort: self.id, records };
        let done = ticket.map(|ticket| {
            let me = Weak::clone(&self.me);
            let done = move |result| {
                if let Some(driver) = me.upgrade() {
                    driver.appended(ticket, result);
                }
            };
            Box::new(done) as Box<dyn FnOnce(Result<(), LogError>) + Send>
        });
        self.node.log.append(append, ticket.is_some(), done);
    }

    /// On the log's thread: the step that a force allows (an ack, a commit, an answer) is short, so it is taken here
    /// rather than after a hop. May be called from within [`Log::append`](wal::Log::append), under the cohort's lock.
    fn appended(&self, ticket: Ticket, result: Result<(), LogError>) {
        if self.is_dead() {
            return;
        }
        match result {
            Ok(()) => self.submit(Input::Event(Event::Forced(ticket))),
            Err(LogError::DiskFull) => self.submit(Input::Event(Event::AppendFailed(ticket))),
            Err(error @ LogError::Poisoned(_)) => self.node.fail(error.to_string()),
            // Somebody has ended the log before the node: that is no failure, but nothing can be promised any more.
            Err(LogError::Closed) => self.node.end(),
        }
    }

    /// Reads the log apart from the lock; the answer comes as an event.
    fn read_log(&self, to: NodeId, after: Lsn, bytes_max: u64) {
        let (me, reader, cohort) = (Weak::clone(&self.me), self.node.log.reader(), self.id);
        self.node.tokio.spawn_blocking(move || {
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
            if let Some(driver) = me.upgrade() {
                driver.submit(Input::Event(Event::LogRead { to, after, entries }));
            }
        });
    }
}

/// The node, as the cohort needs it during one round.
struct DriverEnvironment<'a, S: Store> {
    driver: &'a Driver<S>,
    coordination: &'a Option<RangeCoordination>,
    wakes: &'a mut Wakes,
}

impl<S: Store> Environment for DriverEnvironment<'_, S> {
    fn now(&self) -> Stamp {
        clock::now()
    }

    fn is_dead(&self) -> bool {
        self.driver.is_dead()
    }

    fn append(&mut self, records: Vec<wal::Record>, ticket: Option<Ticket>) {
        self.driver.append(records, ticket);
    }

    fn send(&mut self, envelope: Envelope) {
        match self.driver.peers.get(&envelope.to) {
            Some(peer) => {
                peer.outbox.push(self.driver.id, envelope.message);
                self.wakes.add(peer);
            }
            None => {
                error!(cohort = %self.driver.id, to = %envelope.to, "message to a node that is no member");
            }
        }
    }

    fn read_log(&mut self, to: NodeId, after: Lsn, bytes_max: u64) {
        self.driver.read_log(to, after, bytes_max);
    }

    fn read_snapshot(&mut self, to: NodeId, snapshot: u64, part: u64, flushed: Lsn) {
        let (me, store) = (Weak::clone(&self.driver.me), Arc::clone(&self.driver.store));
        self.driver.node.tokio.spawn_blocking(move || {
            let read = store.read_snapshot(to, part, flushed);
            let part = read.inspect_err(|error| error!(%to, error, "a snapshot cannot be read")).ok();
            if let Some(driver) = me.upgrade() {
                driver.submit(Input::Event(Event::SnapshotRead { to, snapshot, part }));
            }
        });
    }

    fn receive_snapshot(&mut self, snapshot: u64, part: SnapshotPart) {
        let (me, store) = (Weak::clone(&self.driver.me), Arc::clone(&self.driver.store));
        self.driver.node.tokio.spawn_blocking(move || {
            let number = part.number;
            let outcome = store.receive_snapshot(part);
            if let Some(driver) = me.upgrade() {
                driver.submit(Input::Event(Event::SnapshotReceived { snapshot, part: number, outcome }));
            }
        });
    }

    fn wipe(&mut self) {
        let (me, store) = (Weak::clone(&self.driver.me), Arc::clone(&self.driver.store));
        self.driver.node.tokio.spawn_blocking(move || {
            let wiped = store.wipe();
            if let Some(driver) = me.upgrade() {
                driver.submit(Input::Event(Event::DataWiped(wiped)));
            }
        });
    }

    fn snapshot_installed(&mut self, flushed: Lsn) {
        self.driver.node.metrics.snapshots.count();
        self.driver.applied.send_replace(flushed);
    }

    fn coordinate(&mut self, request: CoordinationRequest) {
        match self.coordination {
            Some(coordination) => coordination.request(request),
            None => {
                error!(cohort = %self.driver.id, ?request, "a request to the coordinator before it is known");
            }
        }
    }

    fn publish(&mut self, lease: Option<Lease>) {
        self.driver.lease.publish(lease);
    }

    fn leased(&self) -> Option<Epoch> {
        self.driver.lease.valid()
    }

    fn applied(&mut self, entries: &[Entry]) {
        self.driver.node.metrics.applied.add(entries.len() as u64);
        if let Some(last) = entries.last() {
            self.driver.applied.send_replace(last.lsn);
        }
    }

    fn proposing(&mut self) {
        self.driver.node.metrics.proposals.count();
    }

    fn answering(&mut self, reply: &Reply) {
        if matches!(reply, Reply::Written(_)) {
            self.driver.node.metrics.commits.count();
        }
    }

    fn opened(&mut self, _: Epoch) {
        self.driver.node.metrics.elections.count();
    }

    fn alarm(&mut self, text: String) {
        self.driver.node.metrics.alarms.count();
        error!(cohort = %self.driver.id, node = %self.driver.node.me.node, "{text}");
    }
}

impl<S: Store> Driven for Driver<S> {
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

    fn leave(&self) -> Option<oneshot::Receiver<Result<(), ReplicaError>>> {
        if self.leader() != Some(self.node.me.node) {
            return None;
        }
        let (sender, receiver) = oneshot::channel();
        self.submit(Input::Transfer { target: None, sender });
        debug!(cohort = %self.id, "handing the leadership over");
        Some(receiver)
    }

    fn end(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        self.ended.store(true, Ordering::Release);
        state.coordination = None;
        self.lease.publish(None);
        self.leader.store(0, Ordering::Release);
        self.fresh_at.store(0, Ordering::Release);
        state.drive.end();
        drop(state);
        let mut wakes = Wakes::default();
        self.run(&mut wakes);
    }
}

/// Only for the config of the protocol: who `node` is in a cohort.
pub(crate) fn config(cohort: CohortId, me: ReplicaId, members: Vec<ReplicaId>, node: &Node) -> Config {
    Config { cohort, me, members, life: node.life, settings: node.settings.clone() }
}
