//! The life of a node: start in named steps, serve, kill or shut down.

use std::future::Future;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::FutureExt;
use replication::coordination::Coordinator;
use replication::runtime::{Runtime, RuntimeConfig, threads};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use wal::sync::lock;
use wal::{Budget, Log, NodeId, ReplicaId};

use super::joining::{find_cluster, follow};
use super::pages::NodePages;
use super::server::{self, Services};
use super::starting::{Starting, Waiting};
use super::storage::Storage;
use super::{http, listener};
use crate::cluster::layout::NodeAddresses;
use crate::cluster::map::ClusterMap;
use crate::cluster::membership;
use crate::cluster::peers::Peers;
use crate::config::{MemoryConfig, NodeConfig};
use crate::engine::BlockCache;
use crate::error::StartError;
use crate::gateway::Gateway;
use crate::maintenance::{Fail, Maintenance};
use crate::metrics::Metrics;
use crate::open_scans::ScanLimits;
use crate::opening::Opener;
use crate::proto::v1;
use crate::ranges::Ranges;
use crate::readiness::Readiness;
use crate::reporter::Reporter;
use crate::request::Kv;
use crate::space::Space;
use crate::spreading::spread;
use crate::status::ClusterStatus;

/// Longest wait for the nodes in [`Node::cluster_status`].
const STATUS_TIMEOUT: Duration = Duration::from_secs(5);

/// A running node.
pub struct Node {
    id: NodeId,
    address: SocketAddr,
    addresses: NodeAddresses,
    map: Arc<ClusterMap>,
    gateway: Arc<Gateway>,
    reporter: Arc<Reporter>,
    readiness: Arc<Readiness>,
    ranges: Arc<Ranges>,
    opener: Arc<Opener>,
    peers: Arc<Peers>,
    runtime: Runtime,
    log: Log,
    metrics: Arc<Metrics>,
    space: Space,
    memory: MemoryConfig,
    spread_leaders_after: Option<Duration>,
    range_metrics: bool,
    coordinator: Arc<dyn Coordinator>,
    killed: watch::Sender<bool>,
    /// What runs as long as the node does; taken at its end.
    running: Mutex<Option<Running>>,
}

#[derive(Default)]
struct Running {
    tasks: Vec<JoinHandle<()>>,
    maintenance: Option<Maintenance>,
}

/// The ports, taken before anything else: a port in use is the most likely mistake.
struct Listeners {
    grpc: TcpListener,
    http: Option<TcpListener>,
    /// The gRPC listener's actual address.
    address: SocketAddr,
}

impl Node {
    /// Starts a node: returns when it serves (its ranges may still be electing). `coordinator` is this node's
    /// own session; while it is away the node waits for it, or serves what its disk knows ([`Node::joined`]). Of a start
    /// that fails nothing is left running.
    pub async fn start(config: NodeConfig, coordinator: Arc<dyn Coordinator>) -> Result<Node, StartError> {
        Node::start_telling(config, coordinator, &Arc::default()).await
    }

    /// The same; `starting` says meanwhile what the start waits for.
    pub async fn start_telling(
        config: NodeConfig,
        coordinator: Arc<dyn Coordinator>,
        starting: &Arc<Starting>,
    ) -> Result<Node, StartError> {
        let listeners = Listeners::bind(&config).await?;
        let waiting = Waiting::open(&listeners.grpc, listeners.http.as_ref(), starting);
        let waiting = waiting.map_err(|error| StartError(format!("the listeners: {error}")))?;
        let storage = Storage::open(&config).await?;
        let map = find_cluster(&config, &storage.own(), coordinator.clone(), starting).await?;
        starting.wait_for("starting: the ranges are being opened");
        let node = Node::assemble(config, storage, map, coordinator, listeners.address)?;
        node.opener.sync().await;
        waiting.close().await;
        node.serve(listeners).await?;
        tracing::info!(node = %node.id, address = %node.address, "serving");
        Ok(node)
    }

    /// Completes when the coordinator has been reached, which it has been when the node starts, unless it was away then:
    /// until it is back nobody is elected with this node's help, and no table made or dropped through it.
    pub fn joined(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut confirmation = self.map.belonging.confirmation();
        async move {
            // An error: the node is gone.
            let _ = confirmation.wait_for(|confirmed| *confirmed).await;
        }
    }

    /// Makes the parts of the node and connects them. The log's thread and the runtime's ticker start here.
    fn assemble(
        config: NodeConfig,
        storage: Storage,
        map: Arc<ClusterMap>,
        coordinator: Arc<dyn Coordinator>,
        address: SocketAddr,
    ) -> Result<Node, StartError> {
        let me = storage.me;
        let log = Log::spawn(storage.writer).map_err(no_thread)?;
        let (cluster, settings) = (config.cluster.clone(), config.replication.clone());
        let replication = RuntimeConfig { me, cluster, settings };
        let runtime = Runtime::new(replication, log.clone(), coordinator.clone(), map.clone());
        let runtime = runtime.map_err(no_thread)?;
        let scans =
            ScanLimits { kept_bytes_max: config.memory.kept_for_scans_bytes(), ..ScanLimits::default() };
        let ranges = Arc::new(Ranges::new(me.node, map.gone.clone(), scans));
        let peers = Arc::new(Peers::new(map.clone()));
        let metrics = Arc::new(Metrics::default());
        let addresses = advertised(&config, address, me);
        let (limits, pages) = (config.limits, Budget::new("scans", config.memory.scan_pages_bytes()));
        let gateway =
            Gateway::new(map.clone(), ranges.clone(), peers.clone(), limits, pages, metrics.clone());
        let opener = Opener {
            me,
            disk: storage.space.tables(),
            cache: Arc::new(BlockCache::new(config.memory.block_cache_bytes)),
            row_bytes_max: config.limits.row_bytes_max,
            log: log.clone(),
            runtime: runtime.clone(),
            map: map.clone(),
            ranges: ranges.clone(),
            recovered: Mutex::new(storage.cohorts),
            damaged: storage.damaged,
            failing: Mutex::default(),
            started: AtomicBool::new(false),
        };
        let readiness = Arc::new(Readiness::new(ranges.clone(), map.clone(), runtime.clone()));
        Ok(Node {
            id: me.node,
            address,
            reporter: Arc::new(Reporter::new(
                addresses.clone(),
                ranges.clone(),
                map.clone(),
                storage.space.clone(),
                readiness.clone(),
                runtime.clone(),
            )),
            space: storage.space,
            memory: config.memory,
            spread_leaders_after: config.spread_leaders_after,
            range_metrics: config.range_metrics,
            readiness,
            addresses,
            map,
            gateway: Arc::new(gateway),
            ranges,
            opener: Arc::new(opener),
            peers,
            runtime,
            log,
            metrics,
            coordinator,
            killed: watch::Sender::new(false),
            running: Mutex::default(),
        })
    }

    /// Starts what serves and what works in the background, and announces the node to the cluster.
    async fn serve(&self, listeners: Listeners) -> Result<(), StartError> {
        let services = Services {
            gateway: self.gateway.clone(),
            reporter: self.reporter.clone(),
            ranges: self.ranges.clone(),
            peers: self.peers.clone(),
            runtime: self.runtime.clone(),
        };
        self.listen(listeners.grpc, services)?;
        if self.map.belonging.is_confirmed() {
            membership::announce(&self.map, self.id, &self.addresses).await.map_err(unreachable)?;
            self.opener.report_orphans();
        }
        let following = follow(self.map.clone(), self.opener.clone(), self.addresses.clone());
        self.spawn("following the cluster's map", following);
        if let Some(http) = listeners.http {
            let pages = NodePages {
                ranges: self.ranges.clone(),
                runtime: self.runtime.clone(),
                metrics: self.metrics.clone(),
                log: self.log.clone(),
                space: self.space.clone(),
                readiness: self.readiness.clone(),
                map: self.map.clone(),
                orphans: self.opener.orphans().map_or(0, |orphans| orphans.len()),
                range_metrics: self.range_metrics,
                started: Instant::now(),
                cache: self.opener.cache.clone(),
                memory: self.memory,
                peers: self.peers.clone(),
                gateway: self.gateway.clone(),
            };
            self.spawn("the HTTP listener", http::serve(http, Arc::new(pages)));
        }
        if let Some(after) = self.spread_leaders_after {
            let spread = spread(self.ranges.clone(), self.readiness.clone(), after);
            self.spawn("the spreading of leaderships", spread);
        }
        let runtime = self.runtime.clone();
        let fail: Fail = Arc::new(move |reason| runtime.fail(reason));
        let (ranges, metrics) = (self.ranges.clone(), self.metrics.clone());
        let memtables = self.memory.memtable_bytes;
        let maintenance = Maintenance::start(ranges, self.log.clone(), metrics, memtables, fail);
        let maintenance = maintenance.map_err(no_thread)?;
        self.with_running(|running| running.maintenance = Some(maintenance));
        Ok(())
    }

    /// Accepts gRPC connections on replication's threads; peers are served there, too, and clients here.
    fn listen(&self, listener: TcpListener, services: Services) -> Result<(), StartError> {
        let killed = self.killed.subscribe();
        let (routes, clients, peers) = listener::routes(&killed);
        let threads = threads().map_err(no_thread)?;
        // A listener belongs to the runtime on which it was made.
        let moved = {
            let _within = threads.enter();
            listener.into_std().and_then(TcpListener::from_std)
        };
        let listener = moved.map_err(|error| StartError(format!("the gRPC listener: {error}")))?;
        let runtime = self.runtime.clone();
        self.spawn_on(&threads, "the gRPC listener", listener::accept(listener, killed, routes));
        self.spawn_on(&threads, "the gRPC server of peers", server::serve_peers(peers, runtime));
        self.spawn("the gRPC server of clients", server::serve_clients(clients, services));
        Ok(())
    }

    /// Runs a task as long as the node lives.
    fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.spawn_on(&Handle::current(), name, task);
    }

    /// The same on other threads. If it ends before the node does, by a panic or otherwise, so does the node.
    fn spawn_on(&self, threads: &Handle, name: &str, task: impl Future<Output = ()> + Send + 'static) {
        let (name, runtime, killed) = (name.to_owned(), self.runtime.clone(), self.killed.subscribe());
        let task = threads.spawn(async move {
            let ended = AssertUnwindSafe(task).catch_unwind().await;
            if !*killed.borrow() {
                let how = if ended.is_ok() { "ended" } else { "panicked" };
                runtime.fail(format!("{name} has {how}"));
            }
        });
        self.with_running(|running| running.tasks.push(task));
    }

    fn with_running(&self, change: impl FnOnce(&mut Running)) {
        change(lock(&self.running).get_or_insert_default());
    }

    /// The store, as callers in this process use it.
    pub fn kv(&self) -> Arc<dyn Kv> {
        self.gateway.clone()
    }

    /// The gRPC listener's actual address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// This node's replicas; with `checksums` each hashes its whole content.
    pub async fn status(&self, checksums: bool) -> v1::NodeStatus {
        self.reporter.node(checksums).await
    }

    /// All nodes' replicas, as `spinnaker status` shows them.
    pub async fn cluster_status(&self, checksums: bool) -> ClusterStatus {
        ClusterStatus { nodes: self.reporter.cluster(checksums, Instant::now() + STATUS_TIMEOUT).await }
    }

    /// Completes, with the reason, when the node cannot go on (poisoned log): the process must exit non-zero.
    pub fn failed(&self) -> impl Future<Output = String> + Send + use<> {
        let runtime = self.runtime.clone();
        async move { runtime.failed().await }
    }

    /// Stops at once, as a crash would: transfers no leadership, and what is not in the log yet never gets there.
    /// Blocks until nothing runs any more (a flush that has begun is finished). The coordinator's session is left to
    /// the caller: a crash leaves it to expire.
    pub fn kill(&self) {
        self.killed.send_replace(true);
        self.runtime.kill();
        self.log.kill();
        self.stop();
    }

    /// Transfers this node's leaderships to others, all at once, in bounded time. It serves on, as a gateway and as a
    /// follower.
    pub async fn hand_over(&self) {
        self.readiness.stop();
        self.runtime.drain().await;
    }

    /// Leaves politely: transfers leaderships, forces and closes the log, and ends the coordinator's session.
    pub async fn shutdown(&self) {
        self.readiness.stop();
        self.runtime.drain().await;
        self.killed.send_replace(true);
        self.runtime.kill();
        self.coordinator.close().await;
        let log = self.log.clone();
        if let Err(error) = tokio::task::spawn_blocking(move || log.close()).await {
            tracing::error!(%error, "could not close the log");
        }
        self.stop();
    }

    /// Ends everything beside replication and log.
    fn stop(&self) {
        self.peers.stop();
        let running = lock(&self.running).take();
        if let Some(Running { tasks, maintenance }) = running {
            tasks.iter().for_each(JoinHandle::abort);
            if let Some(maintenance) = maintenance {
                maintenance.stop();
            }
            self.ranges.stop();
        }
    }
}

impl Drop for Node {
    /// A node that is dropped without a shutdown was killed.
    fn drop(&mut self) {
        self.kill();
    }
}

impl Listeners {
    async fn bind(config: &NodeConfig) -> Result<Listeners, StartError> {
        let grpc = listener::bind(&config.listen).await.map_err(StartError)?;
        let address = grpc.local_addr().map_err(|error| StartError(error.to_string()))?;
        let http = match &config.http_listen {
            None => None,
            Some(address) => Some(listener::bind(address).await.map_err(StartError)?),
        };
        Ok(Listeners { grpc, http, address })
    }
}

/// Where the node is reached, as others are told.
fn advertised(config: &NodeConfig, address: SocketAddr, me: ReplicaId) -> NodeAddresses {
    NodeAddresses {
        grpc: config.advertise.clone().unwrap_or_else(|| listener::reachable(&config.listen, address)),
        pg: config.pg_address.clone(),
        http: config.http_listen.clone(),
        disk: Some(me.incarnation),
    }
}

fn no_thread(error: std::io::Error) -> StartError {
    StartError(format!("cannot start a thread: {error}"))
}

fn unreachable(error: replication::coordination::CoordinationError) -> StartError {
    StartError(error.to_string())
}
