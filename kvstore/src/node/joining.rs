//! How a node finds its cluster when it starts, and keeps up with it as long as it runs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use replication::coordination::Coordinator;
use wal::NodeId;

use super::starting::Starting;
use super::storage::Own;
use crate::cluster::layout::{ClusterId, NodeAddresses, Paths};
use crate::cluster::local::{self, KeptObjects};
use crate::cluster::map::ClusterMap;
use crate::cluster::membership::{self, JoinError, Rebuild};
use crate::config::NodeConfig;
use crate::error::StartError;
use crate::opening::Opener;

/// Pause before the cluster map is read again after the coordinator failed.
const MAP_RETRY: Duration = Duration::from_millis(200);
/// Pause before what could not be dropped or opened is tried again.
const UNFINISHED_RETRY: Duration = Duration::from_secs(1);
/// How often it is said that the coordinator is away.
const WAIT_TOLD_AGAIN: Duration = Duration::from_secs(30);
/// How long a rebuild waits for the end of the session of the process that had the node's number.
const SESSION_END_MAX: Duration = Duration::from_secs(20);

/// Registers this node's disk at the coordinator, and reads what the cluster consists of. A coordinator that is away is
/// waited for, unless the disk knows tables: then the node goes on with what that knows, as it would have if it had not
/// been restarted, and does the rest when the coordinator is there ([`follow`]).
pub(super) async fn find_cluster(
    config: &NodeConfig,
    own: &Own,
    coordinator: Arc<dyn Coordinator>,
    starting: &Starting,
) -> Result<Arc<ClusterMap>, StartError> {
    let damaged = |error: std::io::Error| StartError(format!("data directory: {error}"));
    let map = ClusterMap::new(coordinator, Paths::new(&config.cluster));
    let map = Arc::new(map.with_fewer_replicas(config.allow_fewer_replicas));
    let kept = local::read_cluster(&*own.disk).map_err(damaged)?;
    if let Some(cluster) = kept {
        let objects = KeptObjects::read(&*own.disk).unwrap_or_else(|error| {
            tracing::warn!(%error, "schemas, views and changes of tables are known when the coordinator is there");
            KeptObjects::default()
        });
        map.remember(own.kept(cluster).map_err(damaged)?, objects);
    }
    let mut told: Option<Instant> = None;
    starting.wait_for(match own.rebuild {
        true => "starting: the node takes the place of the disk that was lost (--rebuild)",
        false => "starting: the node joins its cluster",
    });
    loop {
        let away = match join_cluster(own, &map, kept).await {
            Ok(()) => return Ok(map),
            Err(JoinError::Coordination(error)) if error.may_pass() => error,
            Err(error) => return Err(StartError(error.to_string())),
        };
        starting.wait_for(format!("no coordinator yet: {away}"));
        let known = match kept.filter(|_| !own.rebuild) {
            Some(cluster) => {
                let addresses = local::read_nodes(&*own.disk).map_err(damaged)?;
                map.start_from(cluster, own.me, addresses)
            }
            None => false,
        };
        if known {
            tracing::warn!(
                %away,
                "no coordinator yet: the node serves what its disk knows; no leader is elected, and no table made or dropped"
            );
            return Ok(map);
        }
        if told.is_none_or(|told| told.elapsed() >= WAIT_TOLD_AGAIN) {
            tracing::warn!(%away, "no coordinator yet: the node waits for it, and serves nothing meanwhile");
            told = Some(Instant::now());
        }
        tokio::time::sleep(MAP_RETRY).await;
    }
}

/// Joins the cluster at the coordinator.
async fn join_cluster(own: &Own, map: &ClusterMap, kept: Option<ClusterId>) -> Result<(), JoinError> {
    let cluster = map.join(own.me, kept, own.holds_data).await?;
    map.ensure().await?;
    let rebuild = match (own.rebuild, own.holds_data) {
        (false, _) => Rebuild::Never,
        (true, false) => Rebuild::Empty { wait_max: SESSION_END_MAX },
        (true, true) => Rebuild::Used,
    };
    membership::register(map, own.me, rebuild).await?;
    let unusable = |error: std::io::Error| JoinError::Foreign(format!("data directory: {error}"));
    if own.rebuild {
        local::note_rebuilding(&*own.disk, false).map_err(unusable)?;
    }
    if kept != Some(cluster) {
        let written = local::write_cluster(&*own.disk, cluster);
        written.map_err(unusable)?;
    }
    map.refresh().await?;
    Ok(())
}

/// Keeps the map fresh, opens and drops ranges as it says, and keeps this node registered and announced, with each new
/// session of the coordinator again.
pub(super) async fn follow(map: Arc<ClusterMap>, opener: Arc<Opener>, addresses: NodeAddresses) {
    let dirs = ["id", "registry", "tables", "nodes", "dropped", "objects"];
    let mut watches: Vec<_> = dirs.iter().map(|dir| map.coordinator.watch(&map.paths.dir(dir))).collect();
    let mut session = map.coordinator.session();
    let (mut told, mut kept, mut kept_objects) = (None, BTreeMap::new(), None);
    loop {
        // Mark as seen before reading: a change while reading comes again.
        watches.iter_mut().for_each(|watch| {
            watch.borrow_and_update();
        });
        session.borrow_and_update();
        let first = !map.belonging.is_confirmed();
        let read = match map.refresh().await {
            Ok(()) => membership::uphold(&map, opener.me, &addresses).await,
            Err(error) => Err(error),
        };
        if read.is_ok() {
            told = None;
            keep_addresses(&map, &opener, &mut kept).await;
            keep_objects(&map, &opener, &mut kept_objects).await;
        }
        let wait = match read {
            // Whatever kept something from being done may go away without a change at the coordinator.
            Ok(()) => {
                let done = opener.sync().await;
                if first {
                    tracing::info!("the coordinator is there: the node has joined its cluster");
                    opener.report_orphans();
                }
                if done { Duration::MAX } else { UNFINISHED_RETRY }
            }
            // That has been told, and stays so for a while.
            Err(_) if map.belonging.is_foreign() => UNFINISHED_RETRY,
            Err(error) => {
                if told.is_none_or(|told: Instant| told.elapsed() >= WAIT_TOLD_AGAIN) {
                    tracing::warn!(%error, "could not read or mend the cluster's metadata, trying until it can");
                    told = Some(Instant::now());
                }
                MAP_RETRY
            }
        };
        let changes = watches.iter_mut().map(|watch| watch.changed().boxed());
        let changed = async {
            tokio::select! {
                (changed, ..) = futures::future::select_all(changes) => changed,
                changed = session.changed() => changed,
            }
        };
        if let Ok(Err(_)) = tokio::time::timeout(wait, changed).await {
            return;
        }
    }
}

/// Keeps the catalog's objects on the disk, from which a lost coordinator can be written anew.
async fn keep_objects(map: &ClusterMap, opener: &Opener, kept: &mut Option<u64>) {
    let view = map.view();
    if *kept == Some(view.change) || view.change == 0 {
        return;
    }
    let objects = view.objects.values().map(|object| (**object).clone()).collect();
    let (disk, objects) = (opener.disk.clone(), KeptObjects { change: view.change, objects });
    match opener.runtime.at_the_disk(move || objects.write(&*disk)).await {
        Ok(Some(Ok(()))) => *kept = Some(view.change),
        // The node has ended.
        Ok(None) => {}
        Ok(Some(Err(error))) => {
            tracing::warn!(%error, "the catalog's objects could not be kept on this disk")
        }
        Err(error) => tracing::error!(%error, "keeping the catalog's objects panicked"),
    }
}

/// Keeps on the disk where the nodes are reached, for a start without a coordinator.
async fn keep_addresses(map: &ClusterMap, opener: &Opener, kept: &mut BTreeMap<NodeId, String>) {
    let known = map.last_addresses();
    if *kept == known {
        return;
    }
    let (disk, nodes) = (opener.disk.clone(), known.clone());
    match opener.runtime.at_the_disk(move || local::write_nodes(&*disk, &nodes)).await {
        Ok(Some(Ok(()))) => *kept = known,
        // The node has ended.
        Ok(None) => {}
        Ok(Some(Err(error))) => tracing::warn!(%error, "the nodes' addresses could not be kept on this disk"),
        Err(error) => tracing::error!(%error, "keeping the nodes' addresses panicked"),
    }
}
