//! Which cluster this node has joined, and whether the coordinator holds it.

use std::sync::{Mutex, OnceLock};

use tokio::sync::watch;
use wal::ReplicaId;
use wal::sync::lock;

use super::layout::ClusterId;

/// What a node says that has not reached its coordinator since it started.
const NOT_YET: &str = "no coordinator yet: the node goes on with what its disk knows; no leader is elected, and no table \
                       made or dropped";

/// What the map knows of the node's cluster.
#[derive(Debug, Default)]
pub(crate) struct Belonging {
    joined: OnceLock<(ClusterId, ReplicaId)>,
    /// What the coordinator holds in place of the cluster.
    foreign: Mutex<Option<String>>,
    /// The coordinator was read since this node started, and held the cluster then.
    confirmed: watch::Sender<bool>,
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
        let not_yet = || (self.cluster().is_some() && !self.is_confirmed()).then(|| NOT_YET.to_owned());
        lock(&self.foreign).clone().or_else(not_yet)
    }

    /// Whether the coordinator answers, and does not hold this node's cluster.
    pub(crate) fn is_foreign(&self) -> bool {
        lock(&self.foreign).is_some()
    }

    /// Whether the coordinator has been read since this node started, and held the cluster then.
    pub(crate) fn is_confirmed(&self) -> bool {
        *self.confirmed.borrow()
    }

    /// The same, to wait for it.
    pub(crate) fn confirmation(&self) -> watch::Receiver<bool> {
        self.confirmed.subscribe()
    }

    /// This node, with its disk, has joined the cluster. The first word counts: a node joins once.
    pub(super) fn join(&self, cluster: ClusterId, me: ReplicaId) {
        let _ = self.joined.set((cluster, me));
    }

    /// All was read that the coordinator holds.
    pub(super) fn confirm(&self) {
        self.confirmed.send_if_modified(|confirmed| !std::mem::replace(confirmed, true));
    }

    /// Notes what the coordinator holds in place of the cluster, if it does, and tells of a change.
    pub(super) fn set_foreign(&self, foreign: Option<String>) {
        let mut known = lock(&self.foreign);
        if *known == foreign {
            return;
        }
        match &foreign {
            Some(why) => tracing::error!(
                why,
                "the coordinator does not hold this node's cluster: the node goes on with what it knows; no table can \
                 be made or dropped and no leader elected"
            ),
            None => tracing::warn!("the coordinator holds this node's cluster again"),
        }
        *known = foreign;
    }
}
