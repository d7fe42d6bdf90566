//! What this node reports of itself and of the cluster: the source of `status`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use replication::protocol::Status;
use replication::runtime::{Addresses, Runtime};
use wal::NodeId;

use crate::cluster::layout::{NodeAddresses, RangeDescriptor};
use crate::cluster::map::ClusterMap;
use crate::proto::{public, v1};
use crate::ranges::{LocalRange, Ranges};
use crate::readiness::Readiness;
use crate::space::Space;
use crate::status;

/// Longest wait for another node's answer without checksums: all of a status comes within a second.
const NODE_TIMEOUT: Duration = Duration::from_millis(600);
/// Longest wait for the coordinator's list of the nodes.
const LIST_TIMEOUT: Duration = Duration::from_millis(150);

/// Gathers the state of replicas.
pub(crate) struct Reporter {
    addresses: NodeAddresses,
    ranges: Arc<Ranges>,
    map: Arc<ClusterMap>,
    space: Space,
    readiness: Arc<Readiness>,
    runtime: Runtime,
}

impl Reporter {
    /// A reporter for the node with these addresses, and the disk with this space.
    pub(crate) fn new(
        addresses: NodeAddresses,
        ranges: Arc<Ranges>,
        map: Arc<ClusterMap>,
        space: Space,
        readiness: Arc<Readiness>,
        runtime: Runtime,
    ) -> Reporter {
        Reporter { addresses, ranges, map, space, readiness, runtime }
    }

    /// State of this node; with `checksums` each replica hashes its whole content.
    pub(crate) async fn node(&self, checksums: bool) -> v1::NodeStatus {
        let (ranges, map) = (self.ranges.clone(), self.map.clone());
        // Hashing reads whole tables: not on the threads that serve.
        let work = tokio::task::spawn_blocking(move || replicas(&ranges, &map, checksums));
        let (replicas, error) = match work.await {
            // What is wrong with the node's coordinator is what is to be seen first.
            Ok(replicas) => (replicas, self.map.belonging.trouble().unwrap_or_default()),
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
            not_ready: self.readiness.reason().unwrap_or_default(),
            silent_ms: None,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    /// State of all nodes that are known, asked all at once; one that does not answer in time has an error instead, and
    /// the ranges that it is a member of. Without checksums it takes less than a second whatever is wrong; with them the
    /// nodes that have answered are asked for those until the deadline.
    pub(crate) async fn cluster(&self, checksums: bool, deadline: Instant) -> Vec<v1::NodeStatus> {
        join_all(self.nodes().await.into_iter().map(|node| async move {
            if node == self.ranges.node() {
                return self.node(checksums).await;
            }
            match self.ask(node, checksums, deadline).await {
                Ok(status) => status,
                Err(error) => self.silent_node(node, error),
            }
        }))
        .await
    }

    /// All nodes: those that are registered, if the coordinator says so at once, and all that were seen or are members.
    async fn nodes(&self) -> BTreeSet<NodeId> {
        let registry = self.map.paths.dir("registry");
        let listed = tokio::time::timeout(LIST_TIMEOUT, self.map.coordinator.list(&registry)).await;
        // Another cluster's registry says nothing of ours.
        let ours = self.map.belonging.trouble().is_none();
        let names = listed.ok().and_then(Result::ok).filter(|_| ours).unwrap_or_default();
        let view = self.map.view();
        let ranges = view.by_id.values().flat_map(|table| &table.ranges);
        let members = ranges.flat_map(|range| range.descriptor.nodes());
        let listed = names.iter().filter_map(|name| name.parse().ok().map(NodeId));
        listed.chain(view.nodes.keys().copied()).chain(members).chain([self.ranges.node()]).collect()
    }

    async fn ask(&self, node: NodeId, checksums: bool, deadline: Instant) -> Result<v1::NodeStatus, String> {
        let address = self.map.address(node).ok_or("its address is not known")?;
        let left = deadline.saturating_duration_since(Instant::now());
        let status = status::fetch_node(&address, false, left.min(NODE_TIMEOUT)).await?;
        if !checksums {
            return Ok(status);
        }
        // Hashing may take longer than anybody waits: then what is known at once is better than nothing.
        let left = deadline.saturating_duration_since(Instant::now());
        Ok(status::fetch_node(&address, true, left).await.unwrap_or(status))
    }

    /// What is known of a node that did not answer: for how long it has been silent, and which ranges it is a member of.
    fn silent_node(&self, node: NodeId, error: String) -> v1::NodeStatus {
        let view = self.map.view();
        let mut replicas = Vec::new();
        for table in view.by_id.values() {
            for range in table.ranges.iter().filter(|range| range.descriptor.has_node(node)) {
                let mut replica = about(&range.descriptor, table.table.name.clone());
                replica.refusal = "its node does not answer".into();
                replicas.push(replica);
            }
        }
        let silent_ms = self.runtime.silence(node).map(public::millis);
        v1::NodeStatus { node: node.0, error, replicas, silent_ms, ..v1::NodeStatus::default() }
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
    let mut status = about(&range.descriptor, table);
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
    status.suspended = cohort.suspended;
    status.learner = cohort.learner;
    status.damaged = cohort.damaged;
    status.disk_full = cohort.disk_full || replica.store.lacks_space();
    status.trouble = trouble(&cohort).unwrap_or_default();
    if checksums {
        match replica.store.engine().checksum() {
            Ok((lsn, checksum)) => {
                status.checksum = Some(checksum.cells);
                status.row_checksum = Some(checksum.rows);
                status.checksum_lsn = Some(public::lsn(lsn));
            }
            Err(error) => status.trouble = format!("{error}; it is being repaired from another replica"),
        }
    }
    status
}

/// What a range's descriptor says of each of its replicas.
fn about(descriptor: &RangeDescriptor, table: String) -> v1::ReplicaStatus {
    v1::ReplicaStatus {
        range: descriptor.id.to_string(),
        table_id: descriptor.table.0,
        table,
        start: descriptor.start.clone(),
        end: descriptor.end.clone(),
        members: descriptor.nodes().map(|node| node.0).collect(),
        ..v1::ReplicaStatus::default()
    }
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
