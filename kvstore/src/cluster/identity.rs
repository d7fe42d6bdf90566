//! Whether the coordinator holds the cluster that this node belongs to.
//!
//! `/spinnaker/<cluster>/id` is made with the cluster's first znode, and each node keeps it on its disk. A coordinator
//! that was emptied, or is another cluster's, is never taken for an answer: a running node goes on with what it knows and
//! raises an alarm, and a node with data does not start on it ([empty-coordinator-is-no-news]).

use bytes::Bytes;
use replication::coordination::{CoordinationError, CreateMode};
use wal::ReplicaId;

use super::layout::{self, ClusterId};
use super::map::ClusterMap;
use super::membership::JoinError;

/// What to do about a coordinator that does not hold the node's cluster.
const REMEDY: &str = "check --zookeeper and --cluster; if the coordinator's data are lost, stop the nodes and write them \
                      anew from their data directories with `spinnaker recover-metadata`";

impl ClusterMap {
    /// Finds out that the coordinator holds the cluster that the data directory belongs to (`kept`, if it knows), or makes
    /// a new cluster there for a node without data. `holds_data`: the directory holds something of ranges.
    pub async fn join(
        &self,
        me: ReplicaId,
        kept: Option<ClusterId>,
        holds_data: bool,
    ) -> Result<ClusterId, JoinError> {
        let foreign = |why: String| {
            JoinError::Foreign(format!(
                "{why}, and the data directory holds data of {} in a cluster: {REMEDY}",
                me.node
            ))
        };
        self.coordinator.sync().await?;
        let cluster = loop {
            match (self.cluster_there(me, kept).await?, kept) {
                (Some(found), Some(kept)) if found != kept => {
                    return Err(foreign(format!("the coordinator holds cluster {found}, not {kept}")));
                }
                // Written before there were ids: then the registry must know this disk.
                (Some(found), None) if holds_data && !self.is_registered(me).await? => {
                    return Err(foreign(format!("the coordinator holds cluster {found} without this disk")));
                }
                (Some(found), _) => break found,
                (None, _) => {}
            }
            if self.coordinator.get(&self.paths.recovering()).await?.is_some() {
                return Err(JoinError::Foreign(
                    "the coordinator's data are being written by `spinnaker recover-metadata`: let it end, or run it \
                     again"
                        .into(),
                ));
            }
            if (kept.is_some() || holds_data) && !self.is_registered(me).await? {
                return Err(foreign("the coordinator holds nothing of this cluster".into()));
            }
            self.make_cluster(kept.unwrap_or_else(|| ClusterId(u128::from_le_bytes(wal::random())))).await?;
        };
        self.belonging.join(cluster, me);
        Ok(cluster)
    }

    /// An error if the coordinator does not hold the cluster that this node has joined.
    pub(super) async fn check_cluster(&self) -> Result<(), CoordinationError> {
        let (Some(known), Some(me)) = (self.belonging.cluster(), self.belonging.me()) else { return Ok(()) };
        let path = self.paths.id();
        let trouble = match self.coordinator.get(&path).await?.map(|node| layout::decode_cluster(&node.data))
        {
            Some(Some(found)) if found == known => None,
            Some(Some(found)) => Some(format!(
                "coordinator of another cluster: it holds cluster {found}, not {known}: {REMEDY}"
            )),
            Some(None) if self.is_registered(me).await? => {
                self.write_id(known).await?;
                None
            }
            Some(None) => Some(format!(
                "coordinator without the cluster's id: {path} holds none: restore its text, \"cluster {known}\""
            )),
            None if self.coordinator.get(&self.paths.recovering()).await?.is_some() => Some(
                "empty coordinator: its data are being written by `spinnaker recover-metadata`".to_owned(),
            ),
            None if self.is_registered(me).await? => {
                self.make_cluster(known).await?;
                None
            }
            None => Some(format!("empty coordinator: it holds nothing of this cluster: {REMEDY}")),
        };
        self.belonging.set_foreign(trouble.clone());
        trouble.map_or(Ok(()), |why| Err(CoordinationError::Unavailable(why)))
    }

    /// The cluster that the coordinator holds; `None`: none. An id that cannot be read is written anew if all else there is
    /// of the cluster that this disk knows.
    async fn cluster_there(
        &self,
        me: ReplicaId,
        kept: Option<ClusterId>,
    ) -> Result<Option<ClusterId>, JoinError> {
        let path = self.paths.id();
        let Some(found) = self.coordinator.get(&path).await? else { return Ok(None) };
        match (layout::decode_cluster(&found.data), kept) {
            (Some(cluster), _) => Ok(Some(cluster)),
            (None, Some(kept)) if self.is_registered(me).await? => {
                self.write_id(kept).await?;
                Ok(Some(kept))
            }
            (None, _) => Err(JoinError::Foreign(format!("{path} holds no cluster's id: restore its text"))),
        }
    }

    /// Writes the id anew where somebody has written something else.
    async fn write_id(&self, cluster: ClusterId) -> Result<(), CoordinationError> {
        let path = self.paths.id();
        let Some(found) = self.coordinator.get(&path).await? else { return Ok(()) };
        if layout::decode_cluster(&found.data).is_none() {
            self.coordinator.set(&path, layout::encode_cluster(cluster), Some(found.version)).await?;
            tracing::error!(
                path,
                "a znode held what nobody understands: its text is written anew from this node's disk"
            );
        }
        Ok(())
    }

    /// Whether the registry names this very disk under its node number.
    async fn is_registered(&self, me: ReplicaId) -> Result<bool, CoordinationError> {
        let found = self.coordinator.get(&self.paths.registry(me.node)).await?;
        Ok(found.and_then(|found| layout::decode_registration(&found.data)) == Some(me.incarnation))
    }

    async fn make_cluster(&self, cluster: ClusterId) -> Result<(), CoordinationError> {
        self.coordinator.ensure(&self.paths.root).await?;
        let text: Bytes = layout::encode_cluster(cluster);
        match self.coordinator.create(&self.paths.id(), text, CreateMode::Persistent).await {
            // Read back in all cases: another node may have been faster.
            Ok(_) | Err(CoordinationError::NodeExists(_) | CoordinationError::Unknown(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}
