//! The runtime performs what the protocol decides: tokio and tonic live here only.
//!
//! ```text
//!   clients --write/read--> Replica<S> --.                       .--append--> wal::Log (its thread forces, calls back)
//!   peers  ---frames--> service --------> Driver<S>: inbox, then |--push----> Outbox -> peer's stream (one per peer)
//!   ticker, log thread, coordinator ----'  Drive::take           '--request-> RangeCoordination
//! ```
//!
//! - `driver`: one cohort; whoever has an event runs it, there is no task per cohort.
//! - `outbox`, `peer`, `service`: one long-lived stream per pair of nodes and direction, shared by all cohorts;
//!   frames batch by themselves. `wire` checks what comes in.
//! - `lease`: strong reads without a lock. `clock`: the boot-time clock of leases.
//! - `node`: what the cohorts of a node share, its ticker, and its end.
//!
//! Invariants: effects are performed in the order in which the cohort put them out; nothing waits under a cohort's
//! lock; every queue is bounded; after [`Runtime::kill`] nothing of the node acts any more.

mod clock;
mod driver;
mod lease;
mod metrics;
mod node;
mod outbox;
mod peer;
mod replica;
mod service;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tokio::time::{sleep, timeout};
use tracing::warn;
use wal::{CohortId, Incarnation, Log, NodeId, ReplicaId};

use self::driver::Driver;
pub use self::metrics::{Counter, Metrics};
use self::node::Node;
pub use self::peer::dial;
pub use self::replica::Replica;
pub use self::service::{PeerService, tuned};
use crate::coordination::Coordinator;
pub use crate::drive::{ReplicaError, WriteReply};
use crate::protocol::{Recovered, Settings};
use crate::store::Store;

/// Longest time that [`Runtime::drain`] takes.
const DRAIN_MAX: Duration = Duration::from_secs(3);
/// Pause before a transfer is tried again.
const DRAIN_RETRY: Duration = Duration::from_millis(20);

/// Who the node is.
#[derive(Clone, Debug)]
pub struct RuntimeConfig {
    /// This node, with its disk's incarnation.
    pub me: ReplicaId,
    /// The cluster's name; nodes of another are refused.
    pub cluster: String,
    /// The protocol's times and limits, the same for all cohorts.
    pub settings: Settings,
}

/// Where nodes are reached.
pub trait Addresses: Send + Sync + 'static {
    /// `host:port` of the node's gRPC listener; `None` while it is not known. Asked at each dial; must not wait.
    fn address(&self, node: NodeId) -> Option<String>;
    /// The disk that has the node's number now, if that is known: no stream is held with another one. Asked at each new
    /// stream; must not wait.
    fn disk(&self, node: NodeId) -> Option<Incarnation>;
}

/// Why a cohort could not be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The node drives this cohort already.
    #[error("cohort {0} is open already")]
    AlreadyOpen(CohortId),
    /// This node is not among the members.
    #[error("node {node} is no member of cohort {cohort}")]
    NotMember {
        /// The cohort.
        cohort: CohortId,
        /// This node.
        node: NodeId,
    },
    /// The node has ended.
    #[error("the node has ended")]
    Ended,
}

/// One node's replication; clones are the same node.
#[derive(Clone)]
pub struct Runtime {
    node: Arc<Node>,
}

impl Runtime {
    /// Starts the replication of a node, without cohorts. Called within a tokio runtime. It lives until
    /// [`Runtime::kill`].
    pub fn new(
        config: RuntimeConfig,
        log: Log,
        coordinator: Arc<dyn Coordinator>,
        addresses: Arc<dyn Addresses>,
    ) -> Runtime {
        Runtime { node: Node::start(config, log, coordinator, addresses) }
    }

    /// The service that peers dial, to be mounted on the listener whose address the node advertises; [`tuned`] sets
    /// what it needs of the server.
    pub fn service(&self) -> PeerService {
        service::service(Arc::clone(&self.node))
    }

    /// Starts driving a cohort from what was recovered for it. What is known committed is applied to the store when
    /// this returns.
    pub fn open<S: Store>(
        &self,
        cohort: CohortId,
        members: Vec<ReplicaId>,
        recovered: Recovered,
        store: Arc<S>,
    ) -> Result<Replica<S>, OpenError> {
        if self.node.is_dead() {
            return Err(OpenError::Ended);
        }
        if !members.contains(&self.node.me) {
            return Err(OpenError::NotMember { cohort, node: self.node.me.node });
        }
        let config = driver::config(cohort, self.node.me, members, &self.node);
        let driver =
            Driver::open(&self.node, config, recovered, store).ok_or(OpenError::AlreadyOpen(cohort))?;
        Ok(Replica::new(driver))
    }

    /// What was done so far.
    pub fn metrics(&self) -> &Metrics {
        &self.node.metrics
    }

    /// Hands all leaderships of this node to other members, all at once, in bounded time; what cannot be handed over
    /// in time falls to an election later. Follow it with [`Runtime::kill`].
    pub async fn drain(&self) {
        let leaving = self.node.drivers().into_iter().map(|driver| async move {
            while let Some(left) = driver.leave() {
                match left.await {
                    // No follower is near enough yet, or the coordinator is out of reach for a moment.
                    Ok(Err(ReplicaError::Unavailable(_))) => sleep(DRAIN_RETRY).await,
                    Ok(Ok(()) | Err(_)) | Err(_) => return,
                }
            }
        });
        if timeout(DRAIN_MAX, join_all(leaving)).await.is_err() {
            warn!("some leaderships could not be handed over in time");
        }
    }

    /// Ends at once, as a crash would: nothing is handed over, and when this returns nothing acts any more. Waiting
    /// clients are told that the outcome is not known.
    pub fn kill(&self) {
        self.node.kill();
    }

    /// Stops the node: it can no longer keep its word. [`Runtime::failed`] says why.
    pub fn fail(&self, reason: String) {
        self.node.fail(reason);
    }

    /// Returns the reason if the node had to stop by itself, because its log can no longer be trusted (a failed
    /// force) or its number is another's; never otherwise. The process should then end with an error.
    pub async fn failed(&self) -> String {
        self.node.failed().await
    }
}

#[cfg(test)]
mod stream_tests;
