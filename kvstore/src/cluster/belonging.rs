//! Which cluster this node has joined, and whether the coordinator holds it.

use std::sync::{Mutex, OnceLock};

use wal::ReplicaId;
use wal::sync::lock;

use super::layout::ClusterId;

/// What the map knows of the node's cluster.
#[derive(Debug, Default)]
pub(crate) struct Belonging {
    joined: OnceLock<(ClusterId, ReplicaId)>,
    trouble: Mutex<Option<String>>,
}

impl Belonging {
    /// The cluster that this node has joined; `None` before it has.
    pub(crate) fn cluster(&self) -> Option<ClusterId> {
        self.joined.get().map(|(cluster, _)| *cluster)
    }

    /// This node; `None` before it has joined.
    pub(crate) fn me(&self) -> Option<ReplicaId> {
        self.joined.get().map(|(_, me)| *me)
    }

    /// What is wrong with the coordinator, for the operator; `None`: it holds this node's cluster.
    pub(crate) fn trouble(&self) -> Option<String> {
        lock(&self.trouble).clone()
    }

    /// This node, with its disk, has joined the cluster. The first word counts: a node joins once.
    pub(super) fn join(&self, cluster: ClusterId, me: ReplicaId) {
        let _ = self.joined.set((cluster, me));
    }

    /// Notes it, and tells of a change.
    pub(super) fn set_trouble(&self, trouble: Option<String>) {
        let mut known = lock(&self.trouble);
        if *known == trouble {
            return;
        }
        match &trouble {
            Some(why) => tracing::error!(
                why,
                "the coordinator does not hold this node's cluster: the node goes on with what it knows; no table can \
                 be made or dropped and no leader elected"
            ),
            None => tracing::warn!("the coordinator holds this node's cluster again"),
        }
        *known = trouble;
    }
}
