//! What this node reports of itself and of the cluster: the source of `status`.

use std::sync::Arc;
use std::time::Instant;

use futures::future::join_all;
use replication::protocol::Status;
use replication::runtime::Addresses;
use wal::NodeId;

use crate::cluster::layout::NodeAddresses;
use crate::cluster::map::ClusterMap;
use crate::proto::{public, v1};
use crate::ranges::{LocalRange, Ranges};
use crate::space::Space;
use crate::status;

/// Gathers the state of replicas.
pub(crate) struct Reporter {
    addresses: NodeAddresses,
    ranges: Arc<Ranges>,
    map: Arc<ClusterMap>,
    space: Space,
}

impl Reporter {
    /// A reporter for the node with these addresses, and the disk with this space.
    pub(crate) fn new(
        addresses: NodeAddresses,
        ranges: Arc<Ranges>,
        map: Arc<ClusterMap>,
        space: Space,
    ) -> Reporter {
        Reporter { addresses, ranges, map, space }
    }

    /// State of this node; with `checksums` each replica hashes its whole content.
    pub(crate) async fn node(&self, checksums: bool) -> v1::NodeStatus {
        let (ranges, map) = (self.ranges.clone(), self.map.clone());
        // Hashing reads whole tables: not on the threads that serve.
        let work = tokio::task::spawn_blocking(move || replicas(&ranges, &map, checksums));
        let (replicas, error) = match work.await {
            Ok(replicas) => (replicas, String::new()),
            Err(error) => (Vec::new(), error.to_string()),
        };
        let NodeAddresses { grpc, pg, .. } = self.addresses.clone();
        let node = self.ranges.node().0;
        v1::NodeStatus {
            node,
            address: grpc,
            pg_address: pg.unwrap_or_default(),
            error,
            replicas,
            disk_free_bytes: self.space.free_bytes(),
            disk_full: self.space.is_full(),
        }
    }

    /// State of all registered nodes; one that does not answer until the deadline has an error instead of replicas.
    pub(crate) async fn cluster(&self, checksums: bool, deadline: Instant) -> Vec<v1::NodeStatus> {
        let mut nodes: Vec<NodeId> = match self.map.coordinator.list(&self.map.paths.dir("registry")).await {
            Ok(names) => names.iter().filter_map(|name| name.parse().ok().map(NodeId)).collect(),
            // Without the coordinator: those that were seen last.
            Err(_) => self.map.view().nodes.keys().copied().collect(),
        };
        nodes.sort();
        join_all(nodes.into_iter().map(|node| async move {
            if node == self.ranges.node() {
                return self.node(checksums).await;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let status = match self.map.address(node) {
                Some(address) => status::fetch_node(&address, checksums, left).await,
                None => Err("its address is not known".to_owned()),
            };
            status.unwrap_or_else(|error| v1::NodeStatus { node: node.0, error, ..v1::NodeStatus::default() })
        }))
        .await
    }
}

fn replicas(ranges: &Ranges, map: &ClusterMap, checksums: bool) -> Vec<v1::ReplicaStatus> {
    let view = map.view();
    let replica = |range: LocalRange| {
        let table = view.by_id.get(&range.descriptor.table).map(|table| table.table.name.clone());
        replica(&range, table.unwrap_or_default(), checksums)
    };
    let mut replicas: Vec<v1::ReplicaStatus> = ranges.all().into_iter().map(replica).collect();
    replicas.sort_by(|a, b| (&a.table, &a.start).cmp(&(&b.table, &b.start)));
    replicas
}

fn replica(range: &LocalRange, table: String, checksums: bool) -> v1::ReplicaStatus {
    let descriptor = &range.descriptor;
    let mut status = v1::ReplicaStatus {
        range: descriptor.id.to_string(),
        table_id: descriptor.table.0,
        table,
        start: descriptor.start.clone(),
        end: descriptor.end.clone(),
        members: descriptor.nodes().map(|node| node.0).collect(),
        ..v1::ReplicaStatus::default()
    };
    let replica = match &range.replica {
        Ok(replica) => replica,
        Err(why) => {
            status.refusal = why.clone();
            return status;
        }
    };
    let cohort = replica.cohort.status();
    status.role = cohort.role.to_string();
    status.epoch = cohort.epoch.0;
    status.leader = cohort.leader.map_or(0, |node| node.0);
    status.open = cohort.open;
    status.committed = Some(public::lsn(cohort.committed));
    status.last = Some(public::lsn(cohort.last));
    status.applied = Some(public::lsn(cohort.applied));
    status.flushed = Some(public::lsn(replica.store.engine().flushed()));
    status.staleness_ms = replica.cohort.staleness().map(public::millis);
    status.trouble = trouble(&cohort).unwrap_or_default();
    if checksums {
        match replica.store.engine().checksum() {
            Ok((lsn, checksum)) => {
                status.checksum = Some(checksum);
                status.checksum_lsn = Some(public::lsn(lsn));
            }
            Err(error) => status.trouble = format!("{error}; it is being repaired from another replica"),
        }
    }
    status
}

fn trouble(cohort: &Status) -> Option<String> {
    let lacked = cohort.followers.iter().find_map(|(node, follower)| Some((node, follower.lacked?)));
    if let Some((node, lsn)) = lacked {
        return Some(format!(
            "{node} has committed up to {lsn} what this leader does not have: acknowledged writes may be lost; keep all data \
             directories"
        ));
    }
    let mending = if cohort.learner {
        "its log was damaged: it is a learner, and does not count until all other replicas have answered and its \
         leader has caught it up"
    } else if cohort.damaged {
        "a table is damaged: it is being repaired from another replica"
    } else {
        return cohort.broken.clone();
    };
    Some(mending.to_owned())
}
