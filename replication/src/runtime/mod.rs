//! The runtime performs what the protocol decides: threads, timers, the log, and the streams between nodes. (The
//! coordinator's client is the one other part of this crate that does I/O; the protocol and its drive do none.)
//!
//! ```text
//!   clients --write/read---------------.                         .--append--> wal::Log (its thread forces, calls back)
//!   peers  ---frames--> service --------> Replica: inbox, then   |--push----> Outbox -> peer's stream (one per peer)
//!   ticker, log thread, coordinator ----'  Drive::take           '--request-> RangeCoordination
//! ```
//!
//! - `replica`, `driver`: one cohort; whoever has an event runs it, there is no task per cohort.
//! - `service`, `peer`, `outbox`: one long-lived stream per pair of nodes and direction, shared by all cohorts; frames
//!   batch by themselves. `introduction` checks who speaks, `wire` what is said.
//! - `node`, `cohorts`: what the cohorts of a node share, its ticker, and its end.
//! - `threads`: where all of this runs, apart from what serves statements.
//! - `seldom`: lines of the log that repeat. `lease`: strong reads without a lock. `clock`: the boot-time clock of leases.
//!
//! A module uses only modules listed below it.
//!
//! Invariants: effects are performed in the order in which the cohort put them out; nothing waits under a cohort's
//! lock; every queue is bounded; after [`Runtime::kill`] nothing of the node acts any more.

#[cfg(test)]
mod stream_tests;
mod replica;
mod driver;
mod service;
mod peer;
mod node;
mod cohorts;
mod journal;
mod pacing;
mod outbox;
mod introduction;
mod transport;
mod threads;
mod wire;
mod lease;
mod seldom;
mod metrics;
mod clock;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tracing::warn;
use wal::{CohortId, Log, NodeId, ReplicaId};

pub use self::driver::Replica;
pub use self::metrics::{Counter, Metrics};
use self::node::Node;
pub use self::node::{Addresses, RuntimeConfig};
use self::peer::Peers;
pub use self::replica::Turn;
pub use self::service::ReplicationService;
pub use self::threads::{check_threads, threads};
pub use self::transport::{PEER_MARK, dial, dial_peer, tuned};
use crate::coordination::Coordinator;
pub use crate::drive::{ReplicaError, WriteResult};
use crate::protocol::{Config, Recovered};
use crate::store::Store;

/// Longest time that [`Runtime::drain`] takes.
const DRAIN_MAX: Duration = Duration::from_secs(3);
/// How long a successor is waited for until it serves, and how often that is looked at.
const SUCCESSION_MAX: Duration = Duration::from_secs(1);
const SUCCESSION_LOOK: Duration = Duration::from_millis(5);
/// Pause before a transfer is tried again.
const DRAIN_RETRY: Duration = Duration::from_millis(20);

/// Why a cohort could not be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplicaOpenError {
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
    peers: Arc<Peers>,
}

impl Runtime {
    /// Starts the replication of a node, without cohorts, on [`threads`] of its own; an error if the system gives none. It
    /// lives until [`Runtime::kill`].
    pub fn new(
        config: RuntimeConfig,
        log: Log,
        coordinator: Arc<dyn Coordinator>,
        addresses: Arc<dyn Addresses>,
    ) -> io::Result<Runtime> {
        let node = Node::start(threads()?, config, log, coordinator, addresses);
        Ok(Runtime { peers: Arc::new(Peers::new(Arc::clone(&node))), node })
    }

    /// The service that peers dial, to be mounted on the listener whose address the node advertises; [`tuned`] sets
    /// what it needs of the server.
    pub fn service(&self) -> ReplicationService {
        service::service(Arc::clone(&self.node), Arc::clone(&self.peers))
    }

    /// Starts driving a cohort from what was recovered for it. What is known committed is applied to the store when
    /// this returns.
    pub fn open<S: Store>(
        &self,
        cohort: CohortId,
        members: Vec<ReplicaId>,
        recovered: Recovered,
        store: Arc<S>,
    ) -> Result<Arc<Replica<S>>, ReplicaOpenError> {
        if self.node.is_dead() {
            return Err(ReplicaOpenError::Ended);
        }
        if !members.contains(&self.node.me) {
            return Err(ReplicaOpenError::NotMember { cohort, node: self.node.me.node });
        }
        let Node { me, life, settings, .. } = &*self.node;
        let config = Config { cohort, me: *me, members, life: *life, settings: settings.clone() };
        Replica::open(&self.node, &self.peers, config, recovered, store)
            .ok_or(ReplicaOpenError::AlreadyOpen(cohort))
    }

    /// How long a peer has been silent; `None` if it was not heard since the start. Only nodes that have a cohort in common
    /// speak, and followers only with their leader.
    pub fn silence(&self, peer: NodeId) -> Option<Duration> {
        self.node.silence(peer)
    }

    /// Messages that wait to be sent to other nodes, and the bytes of those that are large.
    pub fn unsent(&self) -> (u64, u64) {
        self.peers.unsent()
    }

    /// What was done so far.
    pub fn metrics(&self) -> &Metrics {
        &self.node.metrics
    }

    /// Transfers all leaderships of this node to other members, all at once, in bounded time; what cannot be transferred
    /// in time, or whom nobody is there to take over, falls to an election later. Returns when the others serve, so that
    /// this node may be gone. Follow it with [`Runtime::kill`].
    pub async fn drain(&self) {
        let transfers = self.node.cohorts.all().into_iter().map(|cohort| async move {
            while let Some(ended) = cohort.transfer_away() {
                match ended.await {
                    // No follower is near enough yet, or the coordinator is out of reach for a moment. If nobody else is
                    // there, nobody is waited for.
                    Ok(Err(ReplicaError::Unavailable(_))) if cohort.has_heir() => sleep(DRAIN_RETRY).await,
                    // The successor's majority is faster found with this node than without it.
                    Ok(Ok(())) => {
                        let succeeded = async {
                            while !cohort.is_succeeded() {
                                sleep(SUCCESSION_LOOK).await;
                            }
                        };
                        // Who does not come in this time is not waited for.
                        let _ = timeout(SUCCESSION_MAX, succeeded).await;
                    }
                    Ok(Err(_)) | Err(_) => return,
                }
            }
        });
        if timeout(DRAIN_MAX, join_all(transfers)).await.is_err() {
            warn!("some leaderships could not be transferred in time");
        }
    }

    /// Ends at once, as a crash would: nothing is transferred, and when this returns nothing acts any more. Waiting
    /// clients learn that the outcome is not known.
    pub fn kill(&self) {
        self.node.kill();
    }

    /// Does what blocks on the disk on a blocking thread of the caller's tokio runtime. [`Runtime::kill`] waits for it, for a while; if the node
    /// has ended before the work begins, it is not done, and the result is `None`.
    pub fn at_the_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<Option<T>> {
        self.node.at_the_disk(&Handle::current(), work)
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
