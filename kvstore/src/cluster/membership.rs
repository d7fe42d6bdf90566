//! This node in the cluster: registered once with its disk, announced as long as it lives.

use std::time::Duration;

use replication::coordination::{CoordinationError, CreateMode, Op};
use wal::{CohortId, Incarnation, NodeId, ReplicaId};

use super::layout::{self, NodeAddresses, RangeDescriptor};
use super::map::ClusterMap;

/// Pause before the announcement is tried again.
const RETRY: Duration = Duration::from_millis(200);

/// How often the announcement is tried against an earlier session's that is just ending.
const TRIES_MAX: u32 = 100;

/// Why a node may not join.
#[allow(missing_docs, reason = "each variant's text says what its fields are")]
#[derive(Clone, Debug, thiserror::Error)]
pub enum JoinError {
    /// The number belongs to another disk.
    #[error(
        "node {node} is registered in this cluster with another disk (incarnation {registered}; the data directory \
         has {own}): start it with its own data directory, or, if that is lost for good, start it once with an empty \
         directory and --rebuild"
    )]
    OtherDisk { node: u32, registered: Incarnation, own: Incarnation },
    /// `--rebuild` was asked for with a directory that has been used.
    #[error(
        "--rebuild takes an empty data directory, and this one holds data of node {node} as it was under incarnation \
         {own} (registered: {registered}): give another one, or start without --rebuild"
    )]
    NotEmpty { node: u32, registered: Incarnation, own: Incarnation },
    /// `--rebuild` was asked for while the node runs elsewhere.
    #[error(
        "node {node} still runs, at {address}: stop it for good before its number is given to an empty disk with --rebuild"
    )]
    StillRuns { node: u32, address: String },
    /// Nothing is left to rebuild the ranges from.
    #[error(
        "node {node} was the only replica of range {range}: there is nothing to rebuild it from; bring its disk back, or \
         start a new cluster"
    )]
    OnlyReplica { node: u32, range: CohortId },
    /// The coordinator does not hold the cluster that the data directory belongs to.
    #[error("{0}")]
    Foreign(String),
    /// The coordination service failed.
    #[error("{0}")]
    Coordination(#[from] CoordinationError),
}

/// Whether a disk may take the number of one that is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rebuild {
    /// No.
    Never,
    /// The operator says that the other disk is lost; this one holds no range.
    Empty {
        /// Longest wait for the end of the session of a process that has died.
        wait_max: Duration,
    },
    /// The operator says so, but this disk has been used.
    Used,
}

/// Registers the node's disk under its number; refuses if another disk stands there. An empty disk under a known number
/// would otherwise vote as if it had its log ([rejoin-as-learner]): only with `--rebuild` it takes the other's place, as
/// a learner.
pub async fn register(map: &ClusterMap, me: ReplicaId, rebuild: Rebuild) -> Result<(), JoinError> {
    let ReplicaId { node, incarnation: own } = me;
    let path = map.paths.registry(node);
    loop {
        if let Some(found) = map.coordinator.get(&path).await? {
            let Some(registered) = layout::decode_registration(&found.data) else {
                if has_number(map, me).await? {
                    mend(map, &path, me, found.version).await?;
                    continue;
                }
                return Err(JoinError::Foreign(format!(
                    "{path} does not say which disk has the number of {node}: restore its text, which for this data \
                     directory is \"incarnation {own}\""
                )));
            };
            if registered == own {
                // With the flag still given: an earlier start may have been cut off before it had taken all places.
                return if rebuild == Rebuild::Never { Ok(()) } else { adopt(map, me).await };
            }
            match rebuild {
                Rebuild::Never if has_number(map, me).await? => {
                    mend(map, &path, me, found.version).await?;
                    continue;
                }
                Rebuild::Never => return Err(JoinError::OtherDisk { node: node.0, registered, own }),
                Rebuild::Used => return Err(JoinError::NotEmpty { node: node.0, registered, own }),
                Rebuild::Empty { wait_max } => await_end(map, node, wait_max).await?,
            }
            adopt(map, me).await?;
            match map.coordinator.set(&path, layout::encode_registration(own), Some(found.version)).await {
                Ok(_) => tracing::warn!(%node, %registered, %own, "this disk takes the place of a lost one"),
                // Read back.
                Err(CoordinationError::BadVersion(_) | CoordinationError::Unknown(_)) => {}
                Err(error) => return Err(error.into()),
            }
            continue;
        }
        match map.coordinator.create(&path, layout::encode_registration(own), CreateMode::Persistent).await {
            // Read back in all cases: someone else may have been faster.
            Ok(_) | Err(CoordinationError::NodeExists(_) | CoordinationError::Unknown(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Whether all ranges of which this node is a member, and there are some, name this disk: then no other was ever given its
/// number, for that changes the ranges first.
async fn has_number(map: &ClusterMap, me: ReplicaId) -> Result<bool, CoordinationError> {
    let mut named = false;
    for range in map.coordinator.list(&map.paths.dir("ranges")).await? {
        let Ok(range) = range.parse::<CohortId>() else { continue };
        let Some(found) = map.coordinator.get(&map.paths.range(range)).await? else { continue };
        match RangeDescriptor::decode(range, &found.data) {
            Some(descriptor) if descriptor.names_another_disk(me) => return Ok(false),
            Some(descriptor) => named |= descriptor.has_node(me.node),
            // Nobody can say.
            None => return Ok(false),
        }
    }
    Ok(named)
}

/// Writes the registration of this node anew.
async fn mend(map: &ClusterMap, path: &str, me: ReplicaId, version: i32) -> Result<(), CoordinationError> {
    let text = layout::encode_registration(me.incarnation);
    match map.coordinator.set(path, text, Some(version)).await {
        Ok(_) => {
            tracing::error!(
                path,
                "the registration of this node was missing or not its own, though all ranges name its disk: it is written \
                 anew"
            );
            Ok(())
        }
        // Read back.
        Err(
            CoordinationError::BadVersion(_) | CoordinationError::NoNode(_) | CoordinationError::Unknown(_),
        ) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Waits until nobody is announced under this number any more: a process that has died is, until its session ends.
async fn await_end(map: &ClusterMap, node: NodeId, wait_max: Duration) -> Result<(), JoinError> {
    let deadline = map.time.now() + wait_max;
    while let Some(found) = map.coordinator.get(&map.paths.node(node)).await? {
        if map.time.now() > deadline {
            let address = NodeAddresses::decode(&found.data).unwrap_or_default().grpc;
            return Err(JoinError::StillRuns { node: node.0, address });
        }
        map.time.sleep(RETRY).await;
    }
    Ok(())
}

/// Puts this disk into all ranges in place of the one that the node had. Can be repeated, and is, once the number is this
/// disk's: until then a range may be made with the other one as a member that is away.
async fn adopt(map: &ClusterMap, me: ReplicaId) -> Result<(), JoinError> {
    let mut places = Vec::new();
    for range in map.coordinator.list(&map.paths.dir("ranges")).await? {
        let Ok(range) = range.parse::<CohortId>() else { continue };
        if let Some((_, descriptor)) = place_of(map, me, range).await? {
            if descriptor.members.len() == 1 {
                return Err(JoinError::OnlyReplica { node: me.node.0, range });
            }
            places.push(range);
        }
    }
    for range in places {
        // Another node may be taking a lost one's place in it just now: its change is read, and stays.
        while let Some((version, mut descriptor)) = place_of(map, me, range).await? {
            for member in descriptor.members.iter_mut().filter(|member| member.node == me.node) {
                *member = me;
            }
            if !descriptor.rebuilt.contains(&me.node) {
                descriptor.rebuilt.push(me.node);
            }
            match map.coordinator.set(&map.paths.range(range), descriptor.encode(), Some(version)).await {
                Ok(_) => break,
                // Read back. Without the znode the range was dropped meanwhile.
                Err(
                    CoordinationError::BadVersion(_)
                    | CoordinationError::Unknown(_)
                    | CoordinationError::NoNode(_),
                ) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(())
}

/// The range's descriptor with the version of its znode, if it names another disk of this node.
async fn place_of(
    map: &ClusterMap,
    me: ReplicaId,
    range: CohortId,
) -> Result<Option<(i32, RangeDescriptor)>, JoinError> {
    let path = map.paths.range(range);
    let Some(found) = map.coordinator.get(&path).await? else { return Ok(None) };
    match RangeDescriptor::decode(range, &found.data) {
        Some(descriptor) => {
            Ok(Some((found.version, descriptor)).filter(|(_, descriptor)| descriptor.names_another_disk(me)))
        }
        None => Err(JoinError::Foreign(format!(
            "{path} holds what this program does not understand: restore its text"
        ))),
    }
}

/// Puts the node's addresses where others find them, replacing what an earlier session of this node left.
pub(crate) async fn announce(
    map: &ClusterMap,
    node: NodeId,
    addresses: &NodeAddresses,
) -> Result<(), CoordinationError> {
    let path = map.paths.node(node);
    let mut tries = 0;
    loop {
        let create = Op::Create { path: path.clone(), data: addresses.encode(), mode: CreateMode::Ephemeral };
        let ops = match map.coordinator.get(&path).await? {
            Some(found) if found.mine && found.data == addresses.encode() => return Ok(()),
            Some(found) => {
                vec![Op::Delete { path: path.clone(), version: Some(found.version) }, create]
            }
            None => vec![create],
        };
        match map.coordinator.multi(ops).await {
            Ok(()) => return Ok(()),
            // Changed meanwhile, or not known: look again.
            Err(
                CoordinationError::NodeExists(_)
                | CoordinationError::NoNode(_)
                | CoordinationError::BadVersion(_)
                | CoordinationError::Unknown(_),
            ) if tries < TRIES_MAX => {
                tries += 1;
                map.time.sleep(RETRY).await;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Mends what the coordinator says of this node, which runs: its registration, if that is missing, or no registration at
/// all, or names another disk than all its ranges do (else an operator may have given the number away), and its
/// announcement.
pub async fn uphold(
    map: &ClusterMap,
    me: ReplicaId,
    addresses: &NodeAddresses,
) -> Result<(), CoordinationError> {
    let path = map.paths.registry(me.node);
    let text = layout::encode_registration(me.incarnation);
    let mended = match map.coordinator.get(&path).await? {
        None => map.coordinator.create(&path, text, CreateMode::Persistent).await.map(drop),
        Some(found) => match layout::decode_registration(&found.data) {
            Some(registered) if registered == me.incarnation => {
                return announce(map, me.node, addresses).await;
            }
            Some(_) if has_number(map, me).await? => {
                mend(map, &path, me, found.version).await?;
                return announce(map, me.node, addresses).await;
            }
            // The ranges say so, too, and this node stops when it sees them.
            Some(_) => return Ok(()),
            None => map.coordinator.set(&path, text, Some(found.version)).await.map(drop),
        },
    };
    mended?;
    tracing::warn!(
        path,
        "the registration of this node was missing or held no registration: it is written anew"
    );
    announce(map, me.node, addresses).await
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use replication::coordination::embedded::Embedded;

    use super::*;
    use crate::cluster::layout::Paths;

    const EMPTY: Rebuild = Rebuild::Empty { wait_max: Duration::from_millis(100) };

    fn disk(node: u32, incarnation: u64) -> ReplicaId {
        ReplicaId { node: NodeId(node), incarnation: Incarnation(incarnation) }
    }

    async fn map() -> ClusterMap {
        let map = ClusterMap::new(Embedded::new().client(), Paths::new("c"));
        map.ensure().await.unwrap();
        for node in 1..=3 {
            register(&map, disk(node, 7), Rebuild::Never).await.unwrap();
            let grpc = format!("h{node}:1");
            let addresses = NodeAddresses { grpc, disk: Some(Incarnation(7)), ..NodeAddresses::default() };
            announce(&map, NodeId(node), &addresses).await.unwrap();
        }
        map
    }

    #[tokio::test]
    async fn another_disk_takes_a_number_only_with_rebuild_and_when_its_owner_is_gone() {
        let map = map().await;
        map.create_table("t", Bytes::new(), &[]).await.unwrap();
        let refusal = async |incarnation, rebuild| {
            register(&map, disk(2, incarnation), rebuild).await.map_err(|error| error.to_string())
        };
        let refused = refusal(8, Rebuild::Never).await.unwrap_err();
        assert!(refused.contains("another disk (incarnation 0000000000000007;"), "{refused}");
        let refused = refusal(8, Rebuild::Used).await.unwrap_err();
        assert!(refused.contains("--rebuild takes an empty data directory"), "{refused}");
        let refused = refusal(8, EMPTY).await.unwrap_err();
        assert!(refused.contains("node 2 still runs, at h2:1"), "{refused}");

        map.coordinator.delete(&map.paths.node(NodeId(2)), None).await.unwrap();
        refusal(8, EMPTY).await.unwrap();
        map.refresh().await.unwrap();
        let range = map.table_named("t").await.unwrap().ranges[0].descriptor.clone();
        assert_eq!(range.members, [disk(1, 7), disk(2, 8), disk(3, 7)]);
        assert_eq!(range.rebuilt, [NodeId(2)]);
        // The flag may stay; the old disk may not come back.
        refusal(8, Rebuild::Used).await.unwrap();
        let refused = refusal(7, Rebuild::Never).await.unwrap_err();
        assert!(refused.contains("another disk (incarnation 0000000000000008;"), "{refused}");
    }

    /// Each change of a descriptor is made on what stands there, also on what came between reading and writing.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn two_disks_take_their_places_at_once() {
        let map = std::sync::Arc::new(map().await);
        let splits: Vec<Bytes> = (0..250u8).map(|key| Bytes::from(vec![b'a', key])).collect();
        map.create_table("t", Bytes::new(), &splits).await.unwrap();
        let mut starting = tokio::task::JoinSet::new();
        for me in [disk(2, 8), disk(3, 9)] {
            map.coordinator.delete(&map.paths.node(me.node), None).await.unwrap();
            let map = map.clone();
            starting.spawn(async move { register(&map, me, EMPTY).await });
        }
        starting.join_all().await.into_iter().for_each(|started| started.unwrap());
        map.refresh().await.unwrap();
        for range in &map.table_named("t").await.unwrap().ranges {
            let mut members = range.descriptor.members.clone();
            members.sort();
            assert_eq!(members, [disk(1, 7), disk(2, 8), disk(3, 9)]);
            assert_eq!(range.descriptor.rebuilt.len(), 2);
        }
    }

    #[tokio::test]
    async fn others_learn_of_the_new_disk_when_it_is_announced() {
        let map = map().await;
        map.create_table("t", Bytes::new(), &[]).await.unwrap();
        map.refresh().await.unwrap();
        let table = map.table_named("t").await.unwrap();
        table.ranges[0].set_leader(Some(NodeId(3)));
        map.coordinator.delete(&map.paths.node(NodeId(2)), None).await.unwrap();
        register(&map, disk(2, 8), EMPTY).await.unwrap();
        let addresses =
            NodeAddresses { grpc: "h4:1".into(), disk: Some(Incarnation(8)), ..Default::default() };
        announce(&map, NodeId(2), &addresses).await.unwrap();
        map.refresh().await.unwrap();
        let table = map.table_named("t").await.unwrap();
        assert!(table.ranges[0].descriptor.members.contains(&disk(2, 8)));
        assert_eq!(table.ranges[0].leader(), Some(NodeId(3)));
    }

    #[tokio::test]
    async fn the_only_replica_cannot_be_rebuilt() {
        let map = ClusterMap::new(Embedded::new().client(), Paths::new("c")).with_fewer_replicas(true);
        map.ensure().await.unwrap();
        register(&map, disk(1, 7), Rebuild::Never).await.unwrap();
        let addresses = NodeAddresses { grpc: "h:1".into(), ..NodeAddresses::default() };
        announce(&map, NodeId(1), &addresses).await.unwrap();
        map.create_table("t", Bytes::new(), &[]).await.unwrap();
        map.coordinator.delete(&map.paths.node(NodeId(1)), None).await.unwrap();
        let refused = register(&map, disk(1, 8), EMPTY).await;
        assert!(matches!(refused, Err(JoinError::OnlyReplica { node: 1, .. })), "{refused:?}");
    }
}
