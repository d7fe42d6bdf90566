//! What all cohorts of a node share: the log, the ways to the peers, the ticker, and the end.
//!
//! A node ends in one of three ways, and after each nothing of it acts any more (in one process another life of the
//! same node may already run): `kill`, as a crash would; `drain` and then `kill`, politely; or `fail`, when the log
//! can no longer be trusted. The last is told through [`Node::failed`], so that the process can end with an error.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{debug, error};
use wal::{CohortId, Incarnation, Log, NodeId, ReplicaId};

use super::driver::{Driven, Wakes};
use super::metrics::Metrics;
use super::outbox::{self, Outbox};
use super::peer::Peer;
use super::wire::{self, WireError, proto};
use super::{Addresses, RuntimeConfig};
use crate::coordination::Coordinator;
use crate::protocol::Settings;
use crate::protocol::event::Event;
use crate::protocol::message::Envelope;

/// Shared by the runtime's handle, its tasks, and the cohorts.
pub(crate) struct Node {
    pub(crate) me: ReplicaId,
    /// See [`crate::protocol::Config::life`].
    pub(crate) life: u64,
    pub(crate) cluster: String,
    pub(crate) settings: Settings,
    pub(crate) log: Log,
    pub(crate) coordinator: Arc<dyn Coordinator>,
    pub(crate) metrics: Arc<Metrics>,
    /// For work that starts on threads outside tokio (the log's).
    pub(crate) tokio: Handle,
    addresses: Arc<dyn Addresses>,
    cohorts: RwLock<HashMap<CohortId, Arc<dyn Driven>>>,
    peers: Mutex<BTreeMap<NodeId, Arc<Peer>>>,
    /// Number of the newest stream from each peer.
    streams: Mutex<HashMap<NodeId, u64>>,
    /// Set first of all at the end; looked at before anything is done.
    dead: AtomicBool,
    stop: watch::Sender<bool>,
    failure: watch::Sender<Option<String>>,
}

/// Tells a task that the node has ended.
pub(crate) struct Stopped(watch::Receiver<bool>);

impl Stopped {
    /// Returns when the node ends. Cancel-safe.
    pub(crate) async fn wait(&mut self) {
        // An error means that the node is gone altogether.
        let _ = self.0.wait_for(|stopped| *stopped).await;
    }
}

/// Without the system's randomness nothing here is safe; it fails on no supported system after boot.
fn random() -> u64 {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).expect("the operating system provides random numbers");
    u64::from_le_bytes(bytes)
}

impl Node {
    /// A node without cohorts; its ticker runs.
    pub(crate) fn start(
        config: RuntimeConfig,
        log: Log,
        coordinator: Arc<dyn Coordinator>,
        addresses: Arc<dyn Addresses>,
    ) -> Arc<Node> {
        let node = Arc::new(Node {
            me: config.me,
            life: random(),
            cluster: config.cluster,
            settings: config.settings,
            log,
            coordinator,
            metrics: Arc::new(Metrics::default()),
            tokio: Handle::current(),
            addresses,
            cohorts: RwLock::default(),
            peers: Mutex::default(),
            streams: Mutex::default(),
            dead: AtomicBool::new(false),
            stop: watch::Sender::new(false),
            failure: watch::Sender::new(None),
        });
        tokio::spawn(tick(Arc::clone(&node)));
        node
    }

    // --- peers ---

    /// The way to a peer, made and dialled at first need.
    pub(crate) fn peer(self: &Arc<Node>, peer: NodeId) -> Arc<Peer> {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        let made = peers.entry(peer).or_insert_with(|| {
            let made = Arc::new(Peer::new(peer, Outbox::new(Arc::clone(&self.metrics))));
            self.tokio.spawn(Arc::clone(&made).run(Arc::clone(self)));
            made
        });
        Arc::clone(made)
    }

    pub(crate) fn address(&self, peer: NodeId) -> Option<String> {
        self.addresses.address(peer)
    }

    /// See [`Addresses::disk`].
    pub(crate) fn disk(&self, peer: NodeId) -> Option<Incarnation> {
        self.addresses.disk(peer)
    }

    /// A peer has dialled us: it lives.
    pub(crate) fn nudge(&self, peer: NodeId) {
        if let Some(peer) = self.peers.lock().unwrap_or_else(PoisonError::into_inner).get(&peer) {
            peer.nudge();
        }
    }

    /// Registers a stream from a peer; it is the newest until the next one.
    pub(crate) fn new_stream_from(&self, peer: NodeId) -> u64 {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        let number = streams.entry(peer).or_insert(0);
        *number += 1;
        *number
    }

    pub(crate) fn is_newest_stream(&self, peer: NodeId, number: u64) -> bool {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner).get(&peer) == Some(&number)
    }

    /// Gives a frame's messages to their cohorts. On an error the rest of the frame is lost, as on a broken stream.
    pub(crate) fn receive(&self, from: ReplicaId, frame: proto::Frame) -> Result<(), WireError> {
        if frame.hello.is_some() {
            return Err(WireError::Range { what: "number of introductions", value: 2 });
        }
        self.metrics.messages_received.add(frame.envelopes.len() as u64);
        let mut touched: Vec<Arc<dyn Driven>> = Vec::new();
        let mut result = Ok(());
        for envelope in frame.envelopes {
            let (cohort, message) = match wire::decode(envelope) {
                Ok(decoded) => decoded,
                Err(error) => {
                    result = Err(error);
                    break;
                }
            };
            self.metrics.bytes_received.add(outbox::size(&message) as u64);
            let Some(driver) = self.cohort(cohort) else {
                self.metrics.rejected_peers.count();
                debug!(%cohort, peer = %from.node, "message for a cohort that is not here");
                continue;
            };
            driver.push(Event::Received(Envelope { from, to: self.me.node, message }));
            if !touched.iter().any(|other| Arc::ptr_eq(other, &driver)) {
                touched.push(driver);
            }
        }
        // Every cohort takes all that the frame has for it in one go.
        let mut wakes = Wakes::default();
        for driver in touched {
            driver.run(&mut wakes);
        }
        wakes.flush();
        result
    }

    /// Tells every cohort that `peer` is a member of.
    pub(crate) fn tell(&self, peer: NodeId, event: impl Fn() -> Event) {
        let mut wakes = Wakes::default();
        for driver in self.drivers() {
            if driver.members().contains(&peer) {
                driver.push(event());
                driver.run(&mut wakes);
            }
        }
        wakes.flush();
    }

    // --- cohorts ---

    /// Adds a cohort. Whoever opens one twice has lost track of its data: refused.
    pub(crate) fn add(&self, driver: Arc<dyn Driven>) -> bool {
        let mut cohorts = self.cohorts.write().unwrap_or_else(PoisonError::into_inner);
        if cohorts.contains_key(&driver.id()) {
            return false;
        }
        cohorts.insert(driver.id(), driver);
        true
    }

    pub(crate) fn remove(&self, cohort: CohortId) {
        self.cohorts.write().unwrap_or_else(PoisonError::into_inner).remove(&cohort);
    }

    fn cohort(&self, cohort: CohortId) -> Option<Arc<dyn Driven>> {
        self.cohorts.read().unwrap_or_else(PoisonError::into_inner).get(&cohort).cloned()
    }

    /// All cohorts now, so that no lock is held while they act.
    pub(crate) fn drivers(&self) -> Vec<Arc<dyn Driven>> {
        self.cohorts.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    // --- the end ---

    /// Whether the node has ended: then nothing may be done.
    pub(crate) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Acquire)
    }

    pub(crate) fn stopped(&self) -> Stopped {
        Stopped(self.stop.subscribe())
    }

    /// From now on nothing is started; what runs in another thread may still end. Callable under a cohort's lock.
    fn stop(&self) {
        self.dead.store(true, Ordering::Release);
        self.stop.send_replace(true);
    }

    /// Stops at once; when it returns nothing acts any more, and every waiting client has been told. Not to be
    /// called from within a store.
    pub(crate) fn kill(&self) {
        self.stop();
        let drivers: Vec<_> = {
            let mut cohorts = self.cohorts.write().unwrap_or_else(PoisonError::into_inner);
            cohorts.drain().map(|(_, driver)| driver).collect()
        };
        for driver in drivers {
            driver.end();
        }
    }

    /// The log (or a cohort) can no longer be trusted: stop, and say so. Callable under a cohort's lock.
    pub(crate) fn fail(self: &Arc<Node>, reason: String) {
        if self.is_dead() {
            return;
        }
        error!(reason, "the node stops: it can no longer keep its word");
        self.failure.send_replace(Some(reason));
        self.end();
    }

    /// As [`Node::kill`], but callable under a cohort's lock: cohorts are ended one by one in another thread.
    pub(crate) fn end(self: &Arc<Node>) {
        self.stop();
        let node = Arc::clone(self);
        self.tokio.spawn_blocking(move || node.kill());
    }

    /// Returns the reason when the node has failed; never otherwise.
    pub(crate) async fn failed(&self) -> String {
        let mut failure = self.failure.subscribe();
        loop {
            if let Some(reason) = failure.borrow_and_update().clone() {
                return reason;
            }
            if failure.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

/// Ticks all cohorts, in one round, so that what they all say goes out in one frame per peer.
async fn tick(node: Arc<Node>) {
    let mut ticks = interval(Duration::from_millis(u64::from(node.settings.tick.0).max(1)));
    // After a pause one tick is enough.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut stopped = node.stopped();
    loop {
        tokio::select! {
            _ = ticks.tick() => (),
            () = stopped.wait() => return,
        }
        let mut wakes = Wakes::default();
        for driver in node.drivers() {
            driver.push(Event::Tick);
            driver.run(&mut wakes);
        }
        wakes.flush();
    }
}
