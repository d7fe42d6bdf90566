//! This node in the cluster: registered once with its disk, announced as long as it lives.

use std::sync::Arc;
use std::time::Duration;

use replication::coordination::{CoordinationError, CreateMode, Op, SessionState};
use wal::{Incarnation, NodeId};

use super::layout::{self, NodeAddresses};
use super::map::ClusterMap;

/// Pause before the announcement is tried again.
const RETRY: Duration = Duration::from_millis(200);

/// Why a node may not join.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum JoinError {
    /// The number belongs to another disk.
    #[error(
        "node {node} is registered in this cluster with another disk (incarnation {registered}; the data directory \
         has {own}): start it with its own data directory, or, if that is lost, give the new disk a new --node-id"
    )]
    OtherDisk { node: u32, registered: Incarnation, own: Incarnation },
    /// See the error.
    #[error("coordination service: {0}")]
    Coordination(#[from] CoordinationError),
}

/// Registers the node's disk under its number, for ever; refuses if another disk stands there. An empty disk under a
/// known number would otherwise vote as if it had its log (rule 5).
pub(crate) async fn register(map: &ClusterMap, node: NodeId, own: Incarnation) -> Result<(), JoinError> {
    let path = map.paths.registry(node);
    loop {
        if let Some(found) = map.coordinator.get(&path).await? {
            let registered = layout::decode_registration(&found.data)
                .ok_or_else(|| CoordinationError::Unavailable(format!("{path} is unreadable")))?;
            if registered != own {
                return Err(JoinError::OtherDisk { node: node.0, registered, own });
            }
            return Ok(());
        }
        match map.coordinator.create(&path, layout::encode_registration(own), CreateMode::Persistent).await {
            // Read back in all cases: someone else may have been faster.
            Ok(_) | Err(CoordinationError::NodeExists(_) | CoordinationError::Unknown(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Puts the node's addresses where others find them, replacing what an earlier session of this node left.
pub(crate) async fn announce(
    map: &ClusterMap,
    node: NodeId,
    addresses: &NodeAddresses,
) -> Result<(), CoordinationError> {
    let path = map.paths.node(node);
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
            ) => tokio::time::sleep(RETRY).await,
            Err(error) => return Err(error),
        }
    }
}

/// Announces again with each new session. Runs until its task is aborted.
pub(crate) async fn keep_announced(map: Arc<ClusterMap>, node: NodeId, addresses: NodeAddresses) {
    let mut session = map.coordinator.session();
    loop {
        let now = *session.borrow_and_update();
        if now.state == SessionState::Live
            && let Err(error) = announce(&map, node, &addresses).await
        {
            tracing::warn!(%error, "could not announce this node; trying again");
            tokio::time::sleep(RETRY).await;
            continue;
        }
        if session.changed().await.is_err() {
            return;
        }
    }
}
