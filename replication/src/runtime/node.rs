//! What all cohorts of a node share: who it is, its log, its coordinator, the ticker, and the end.
//!
//! A node ends in one of three ways, and after each nothing of it acts any more (in one process another life of the
//! same node may already run): `kill`, as a crash would; `drain` and then `kill`, politely; or `fail`, when the log
//! can no longer be trusted. The last shows in [`Node::failed`], so that the process can end with an error.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{error, warn};
use wal::sync::Gate;
use wal::{Incarnation, Log, NodeId, ReplicaId, random, sync};

use super::clock;
use super::cohorts::Cohorts;
use super::journal::Journal;
use super::metrics::Metrics;
use super::pacing::Pacing;
use crate::coordination::Coordinator;
use crate::protocol::Settings;
use crate::protocol::event::Event;
use crate::protocol::time::Stamp;

/// How long the end of a node waits for calls to the disk that have begun. After a hung disk the process ends all the
/// same.
const DISK_WORK_MAX: Duration = Duration::from_secs(10);

/// Who the node is.
#[derive(Clone, Debug)]
pub struct RuntimeConfig {
    /// This node, with its disk's incarnation.
    pub me: ReplicaId,
    /// The cluster's name; nodes of another are refused.
    pub cluster: String,
    /// The protocol's times and limits, the same for all cohorts.
    pub settings: Settings,
}

/// Where nodes are reached.
pub trait Addresses: Send + Sync + 'static {
    /// `host:port` of the node's gRPC listener; `None` while it is not known. Asked at each dial; must not wait.
    fn address(&self, node: NodeId) -> Option<String>;
    /// The disk that has the node's number now, if that is known: no stream is held with another one. Asked at each new
    /// stream; must not wait.
    fn disk(&self, node: NodeId) -> Option<Incarnation>;
}

/// Shared by the runtime's handle, its tasks, and the cohorts.
pub(crate) struct Node {
    pub(crate) me: ReplicaId,
    /// Which life of its process this is ([`crate::protocol::Config::life`]): random.
    pub(crate) life: u64,
    pub(crate) cluster: String,
    pub(crate) settings: Settings,
    pub(crate) log: Log,
    pub(crate) coordinator: Arc<dyn Coordinator>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) journal: Journal,
    /// How fast snapshots leave.
    pub(crate) pacing: Arc<Pacing>,
    /// Replication's own threads (`threads`).
    pub(crate) tokio: Handle,
    pub(crate) addresses: Arc<dyn Addresses>,
    pub(crate) cohorts: Cohorts,
    /// What is being done at the disk, on blocking threads.
    disk_work: Arc<Gate>,
    /// When each peer was last heard.
    heard: Mutex<HashMap<NodeId, Stamp>>,
    /// Set first of all at the end; looked at before anything is done.
    dead: AtomicBool,
    stop: watch::Sender<bool>,
    failure: watch::Sender<Option<String>>,
}

/// Ends the wait of a task when the node has ended.
pub(crate) struct Stopped(watch::Receiver<bool>);

impl Stopped {
    /// Returns when the node ends. Cancel-safe.
    pub(crate) async fn wait(&mut self) {
        // An error means that the node is gone altogether.
        let _ = self.0.wait_for(|stopped| *stopped).await;
    }
}

impl Node {
    /// A node without cohorts; its ticker runs on `tokio`.
    pub(crate) fn start(
        tokio: Handle,
        config: RuntimeConfig,
        log: Log,
        coordinator: Arc<dyn Coordinator>,
        addresses: Arc<dyn Addresses>,
    ) -> Arc<Node> {
        let node = Arc::new(Node {
            me: config.me,
            life: u64::from_le_bytes(random()),
            cluster: config.cluster,
            pacing: Arc::new(Pacing::new(config.settings.snapshot_bytes_per_s)),
            settings: config.settings,
            log,
            coordinator,
            metrics: Arc::new(Metrics::default()),
            journal: Journal::start(config.me.node),
            tokio,
            addresses,
            cohorts: Cohorts::default(),
            disk_work: Arc::default(),
            heard: Mutex::default(),
            dead: AtomicBool::new(false),
            stop: watch::Sender::new(false),
            failure: watch::Sender::new(None),
        });
        let weak = Arc::downgrade(&node);
        node.log.on_failure(move |reason| {
            if let Some(node) = weak.upgrade() {
                node.fail(reason);
            }
        });
        node.supervise("the ticker".into(), tick(Arc::clone(&node)));
        node
    }

    /// Runs a task that must last as long as the node. If it ends before, by a panic or otherwise, so does the node.
    pub(crate) fn supervise(self: &Arc<Node>, name: String, task: impl Future<Output = ()> + Send + 'static) {
        let node = Arc::clone(self);
        self.tokio.spawn(async move {
            let ended = AssertUnwindSafe(task).catch_unwind().await;
            if !node.is_dead() {
                let how = if ended.is_ok() { "ended" } else { "panicked" };
                node.fail(format!("{name} has {how}"));
            }
        });
    }

    /// Whether the node has ended: then nothing may be done.
    pub(crate) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Acquire)
    }

    /// A peer has said something.
    pub(crate) fn heard(&self, peer: NodeId) {
        sync::lock(&self.heard).insert(peer, clock::now());
    }

    /// How long a peer has been silent; `None` if it was never heard.
    pub(crate) fn silence(&self, peer: NodeId) -> Option<Duration> {
        let heard = sync::lock(&self.heard).get(&peer).copied();
        heard.map(|heard| Duration::from_millis(u64::from(clock::now().since(heard).0)))
    }

    pub(crate) fn stopped(&self) -> Stopped {
        Stopped(self.stop.subscribe())
    }

    /// From now on nothing is started; what runs in another thread may still end. Callable under a cohort's lock.
    fn stop(&self) {
        self.dead.store(true, Ordering::Release);
        self.stop.send_replace(true);
    }

    /// Stops at once; when it returns nothing acts any more, and every waiting client has been answered. Not to be
    /// called from within a store.
    pub(crate) fn kill(&self) {
        self.stop();
        for cohort in self.cohorts.take_all() {
            cohort.end();
        }
        let unfinished = self.disk_work.close(DISK_WORK_MAX);
        if unfinished > 0 {
            warn!(unfinished, "the disk does not answer: the node ends without waiting for it any longer");
        }
    }

    /// Does what blocks on the disk on a blocking thread of `threads`. [`Node::kill`] waits for it; if the node has ended
    /// before it begins, it is not done, and the result is `None`.
    pub(crate) fn at_the_disk<T: Send + 'static>(
        &self,
        threads: &Handle,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<Option<T>> {
        let gate = Arc::clone(&self.disk_work);
        threads.spawn_blocking(move || gate.enter().map(|_inside| work()))
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

/// Ticks all cohorts.
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
        node.cohorts.notify(None, || Event::Tick);
    }
}
