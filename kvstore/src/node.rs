//! A node assembled: one data directory, one log, the replicas of its ranges, and the listeners.
//!
//! Start: lock the directory, check its identity, bind the ports, scan the log once, join the cluster, open all ranges
//! in parallel, serve. Whatever is wrong with one range takes that range out of service here and nothing else;
//! whatever is wrong with the node as a whole is one clear [`StartError`].
//!
//! End: `shutdown` hands leaderships over and drains; `kill` stops like a crash. After either, nothing of this node
//! acts any more, so that another life of it can start in the same process.

use std::collections::HashMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use replication::coordination::Coordinator;
use replication::runtime::{Runtime, RuntimeConfig, tuned};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tonic::transport::Server;
use wal::disk::{Disk, FileDisk};
use wal::{CohortId, CohortRecovery, Log, LogOptions, LogWriter, ReplicaId};

use crate::cluster::layout::{NodeAddresses, Paths};
use crate::cluster::map::ClusterMap;
use crate::cluster::membership::{self, Rebuild};
use crate::cluster::peers::Peers;
use crate::config::NodeConfig;
use crate::engine::BlockCache;
use crate::http::{self, Pages};
use crate::listener::{self, Incoming};
use crate::maintenance::Maintenance;
use crate::metrics::{self, Metrics};
use crate::opening::{self, Opener};
use crate::ranges::Ranges;
use crate::request::Kv;
use crate::router::Router;
use crate::rpc::gateway::GatewayService;
use crate::rpc::proto::gateway::gateway_server::GatewayServer;
use crate::rpc::proto::v1;
use crate::rpc::proto::v1::kv_server::KvServer;
use crate::rpc::service::PublicService;
use crate::rpc::{DESCRIPTORS, MESSAGE_BYTES_MAX};
use crate::status::{self, ClusterStatus};

/// Pause before the cluster map is read again after the coordinator failed.
const MAP_RETRY: Duration = Duration::from_millis(200);
/// Longest wait for the nodes in [`Node::cluster_status`].
const STATUS_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a rebuild waits for the end of the session of the process that had the node's number.
const SESSION_END_MAX: Duration = Duration::from_secs(20);
/// How long, and how often, a start waits for the data directory's lock.
const LOCK_WAIT: Duration = Duration::from_secs(3);
const LOCK_RETRY: Duration = Duration::from_millis(20);

/// Why a node did not start; one line for the operator. The process exits with code 1.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct StartError(pub String);

/// A running node.
pub struct Node {
    router: Arc<Router>,
    ranges: Arc<Ranges>,
    peers: Arc<Peers>,
    runtime: Runtime,
    log: Log,
    coordinator: Arc<dyn Coordinator>,
    address: SocketAddr,
    killed: watch::Sender<bool>,
    /// What runs as long as the node does; taken at its end.
    running: Mutex<Option<Running>>,
}

struct Running {
    tasks: Vec<JoinHandle<()>>,
    maintenance: Maintenance,
}

impl Node {
    /// Starts a node: returns when it serves (its ranges may still be electing). `coordinator` is this node's
    /// own session.
    pub async fn start(config: NodeConfig, coordinator: Arc<dyn Coordinator>) -> Result<Node, StartError> {
        let listener = listener::bind(&config.listen).await.map_err(StartError)?;
        let address = listener.local_addr().map_err(|error| StartError(error.to_string()))?;
        let http = match &config.http_listen {
            None => None,
            Some(address) => Some(listener::bind(address).await.map_err(StartError)?),
        };
        let blocking = {
            let config = config.clone();
            tokio::task::spawn_blocking(move || open_storage(&config))
        };
        let storage = blocking.await.map_err(|error| StartError(format!("opening the log: {error}")))??;
        let me = storage.me;

        let map = Arc::new(ClusterMap::new(coordinator.clone(), Paths::new(&config.cluster)));
        let unreachable = |error| StartError(format!("{error}"));
        map.ensure().await.map_err(unreachable)?;
        let rebuild = match (config.rebuild, storage.holds_data) {
            (false, _) => Rebuild::Never,
            (true, false) => Rebuild::Empty { wait_max: SESSION_END_MAX },
            (true, true) => Rebuild::Used,
        };
        membership::register(&map, me, rebuild).await.map_err(|error| StartError(error.to_string()))?;
        map.refresh().await.map_err(unreachable)?;

        let log = Log::spawn(storage.writer)
            .map_err(|error| StartError(format!("starting the log's thread: {error}")))?;
        let runtime = Runtime::new(
            RuntimeConfig { me, cluster: config.cluster.clone(), settings: config.replication.clone() },
            log.clone(),
            coordinator.clone(),
            map.clone(),
        );
        let ranges = Arc::new(Ranges::new(me.node));
        let peers = Arc::new(Peers::new(map.clone()));
        let metrics = Arc::new(Metrics::default());
        let addresses = NodeAddresses {
            grpc: config.advertise.clone().unwrap_or_else(|| listener::reachable(&config.listen, address)),
            pg: config.pg_address.clone(),
            http: config.http_listen.clone(),
            disk: Some(me.incarnation),
        };
        let describe = {
            let (addresses, ranges, map) = (addresses.clone(), ranges.clone(), map.clone());
            move |checksums| {
                let NodeAddresses { grpc, pg, .. } = addresses.clone();
                status::describe(grpc, pg, ranges.clone(), map.clone(), checksums).boxed()
            }
        };
        let router = Router::new(
            map.clone(),
            ranges.clone(),
            peers.clone(),
            config.limits,
            metrics.clone(),
            Box::new(describe),
        );
        let router = Arc::new(router.map_err(|error| StartError(format!("random numbers: {error}")))?);
        let opener = Arc::new(Opener {
            me,
            disk: storage.disk.clone(),
            cache: Arc::new(BlockCache::new(config.block_cache_bytes)),
            log: log.clone(),
            runtime: runtime.clone(),
            map: map.clone(),
            ranges: ranges.clone(),
            recovered: Mutex::new(storage.cohorts),
            damaged: storage.damaged,
        });
        opener.sync().await;

        let killed = watch::Sender::new(false);
        let mut tasks = vec![
            tokio::spawn(serve(
                listener,
                killed.subscribe(),
                router.clone(),
                runtime.clone(),
                config.clone(),
            )),
            tokio::spawn(follow(map.clone(), opener)),
        ];
        membership::announce(&map, me.node, &addresses).await.map_err(unreachable)?;
        tasks.push(tokio::spawn(membership::keep_announced(map, me.node, addresses)));
        if let Some(http) = http {
            let pages =
                NodePages { ranges: ranges.clone(), runtime: runtime.clone(), metrics: metrics.clone() };
            tasks.push(tokio::spawn(http::serve(http, Arc::new(pages))));
        }
        let maintenance = Maintenance::start(ranges.clone(), log.clone(), metrics)
            .map_err(|error| StartError(format!("cannot start a thread: {error}")))?;
        tracing::info!(node = %me.node, %address, "serving");
        let running = Mutex::new(Some(Running { tasks, maintenance }));
        Ok(Node { router, ranges, peers, runtime, log, coordinator, address, killed, running })
    }

    /// The store, as callers in this process use it.
    pub fn kv(&self) -> Arc<dyn Kv> {
        self.router.clone()
    }

    /// The gRPC listener's actual address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// This node's replicas; with `checksums` each hashes its whole content.
    pub async fn status(&self, checksums: bool) -> v1::NodeStatus {
        self.router.node_status(checksums).await
    }

    /// All nodes' replicas, as `spinnaker status` shows them.
    pub async fn cluster_status(&self, checksums: bool) -> ClusterStatus {
        let deadline = std::time::Instant::now() + STATUS_TIMEOUT;
        ClusterStatus { nodes: self.router.cluster_status(checksums, deadline).await }
    }

    /// Stops at once, as a crash would: hands nothing over, and what is not in the log yet never gets there. Blocks
    /// until nothing runs any more (a flush that has begun is finished). The coordinator's session is left to the
    /// caller: a crash leaves it to expire.
    pub fn kill(&self) {
        self.killed.send_replace(true);
        self.runtime.kill();
        self.log.kill();
        self.stop();
    }

    /// Leaves politely: hands leaderships over, forces and closes the log, and ends the coordinator's session.
    pub async fn shutdown(&self) {
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
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Running { tasks, maintenance }) = running {
            tasks.iter().for_each(JoinHandle::abort);
            maintenance.stop();
            self.ranges.stop();
        }
    }

    /// Completes, with the reason, when the node cannot go on (poisoned log): the process must exit non-zero.
    pub fn failed(&self) -> impl Future<Output = String> + Send + use<> {
        let runtime = self.runtime.clone();
        async move { runtime.failed().await }
    }
}

impl Drop for Node {
    /// A node that is let go without a word was killed.
    fn drop(&mut self) {
        self.kill();
    }
}

/// What the data directory held.
struct Storage {
    disk: Arc<dyn Disk>,
    me: ReplicaId,
    writer: LogWriter,
    cohorts: HashMap<CohortId, CohortRecovery>,
    damaged: Option<wal::Corruption>,
    /// Whether there is anything of any range.
    holds_data: bool,
}

/// Locks the directory, checks whose it is, and scans the log.
fn open_storage(config: &NodeConfig) -> Result<Storage, StartError> {
    let named = |error: &dyn std::fmt::Display| {
        StartError(format!("data directory {}: {error}", config.data_dir.display()))
    };
    let mut waited = Duration::ZERO;
    let disk = loop {
        match FileDisk::open(&config.data_dir) {
            // An earlier life of this node, in this process, may still be letting go of its last file.
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock && waited < LOCK_WAIT => {
                std::thread::sleep(LOCK_RETRY);
                waited += LOCK_RETRY;
            }
            Err(error) => return Err(named(&error)),
            Ok(disk) => break Arc::new(disk) as Arc<dyn Disk>,
        }
    };
    let identity = wal::identity::open_or_create(&*disk, &config.cluster, config.node);
    let identity = identity.map_err(|error| named(&error))?;
    let options = LogOptions { retention_bytes: config.log_retention_bytes, ..LogOptions::default() };
    let (writer, recovery) = LogWriter::open(disk.clone(), options).map_err(|error| named(&error))?;
    let me = ReplicaId { node: config.node, incarnation: identity.incarnation };
    let cohorts: HashMap<CohortId, CohortRecovery> = recovery.cohorts.into_iter().collect();
    let damaged = recovery.damaged;
    let dirs = disk.list_dirs().map_err(|error| named(&error))?;
    let holds_data =
        !cohorts.is_empty() || damaged.is_some() || dirs.iter().any(|dir| opening::range_of(dir).is_some());
    Ok(Storage { disk, me, writer, cohorts, damaged, holds_data })
}

/// The gRPC listener: public service, peers, gateway streams, health, reflection.
async fn serve(
    listener: TcpListener,
    killed: watch::Receiver<bool>,
    router: Arc<Router>,
    runtime: Runtime,
    config: NodeConfig,
) {
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<KvServer<PublicService>>().await;
    let descriptors = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    // Clients ask for either version: Python's library speaks the older one alone.
    let reflection = descriptors().build_v1().and_then(|v1| Ok((v1, descriptors().build_v1alpha()?)));
    let public = KvServer::new(PublicService::new(router.clone()))
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let gateway = GatewayServer::new(GatewayService::new(router))
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let services = tuned(Server::builder())
        .add_service(public)
        .add_service(gateway)
        .add_service(runtime.service())
        .add_service(health_service);
    let services = match reflection {
        Ok((v1, v1alpha)) => services.add_service(v1).add_service(v1alpha),
        Err(error) => {
            tracing::error!(%error, "no reflection: the descriptors do not parse");
            services
        }
    };
    if let Err(error) = services.serve_with_incoming(Incoming::new(listener, killed)).await {
        tracing::error!(%error, listen = config.listen, "the gRPC listener ended");
    }
}

/// Keeps the map fresh, and opens and drops ranges as it says.
async fn follow(map: Arc<ClusterMap>, opener: Arc<Opener>) {
    let mut watches: Vec<_> =
        ["tables", "nodes", "dropped"].iter().map(|dir| map.coordinator.watch(&map.paths.dir(dir))).collect();
    loop {
        // Mark as seen before reading: a change while reading comes again.
        watches.iter_mut().for_each(|watch| {
            watch.borrow_and_update();
        });
        match map.refresh().await {
            Ok(()) => opener.sync().await,
            Err(error) => {
                tracing::warn!(%error, "could not read the cluster's metadata; trying again");
                tokio::time::sleep(MAP_RETRY).await;
                continue;
            }
        }
        let changes = watches.iter_mut().map(|watch| watch.changed().boxed());
        if futures::future::select_all(changes).await.0.is_err() {
            return;
        }
    }
}

/// What the HTTP listener tells.
struct NodePages {
    ranges: Arc<Ranges>,
    runtime: Runtime,
    metrics: Arc<Metrics>,
}

impl Pages for NodePages {
    fn health(&self) -> (bool, String) {
        let all = self.ranges.all();
        let refused = all.iter().filter(|range| range.replica.is_err()).count();
        (refused == 0, format!("{} ranges, {refused} out of service", all.len()))
    }

    fn metrics(&self) -> String {
        let mut out = String::new();
        self.metrics.write(&mut out);
        let all = self.ranges.all();
        let leading = all.iter().filter_map(|range| range.replica.as_ref().ok());
        let leading = leading.filter(|replica| replica.cohort.lease().is_some()).count();
        let refused = all.iter().filter(|range| range.replica.is_err()).count();
        metrics::gauge(&mut out, "spinnaker_ranges", "Ranges this node is a member of.", all.len() as u64);
        metrics::gauge(&mut out, "spinnaker_ranges_leading", "Ranges led with a lease.", leading as u64);
        metrics::gauge(&mut out, "spinnaker_ranges_refused", "Ranges out of service here.", refused as u64);
        let done = self.runtime.metrics();
        let counters = [
            ("spinnaker_proposals_total", "Writes proposed here.", &done.proposals),
            ("spinnaker_commits_total", "Writes answered as committed here.", &done.commits),
            ("spinnaker_applied_total", "Entries applied.", &done.applied),
            ("spinnaker_messages_sent_total", "Replication messages sent.", &done.messages_sent),
            ("spinnaker_messages_received_total", "Replication messages received.", &done.messages_received),
            ("spinnaker_messages_dropped_total", "Replication messages dropped.", &done.messages_dropped),
            ("spinnaker_frames_sent_total", "Frames sent.", &done.frames_sent),
            ("spinnaker_elections_total", "Leaderships opened here.", &done.elections),
            ("spinnaker_alarms_total", "Facts an operator must see.", &done.alarms),
        ];
        for (name, help, value) in counters {
            metrics::counter(&mut out, name, help, value.get());
        }
        out
    }
}
