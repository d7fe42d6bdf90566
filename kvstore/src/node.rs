//! A node assembled: one data directory, one log, the replicas of its ranges, and the listeners.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use replication::coordination::Coordinator;

use crate::config::NodeConfig;
use crate::request::Kv;

/// Why a node did not start; one line for the operator. The process exits with code 1.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct StartError(pub String);

/// A running node.
pub struct Node {
    kv: Arc<dyn Kv>,
    address: SocketAddr,
}

impl Node {
    /// Starts a node: returns when it serves (its ranges may still be electing). `coordinator` is this node's
    /// own session.
    #[expect(clippy::unused_async, reason = "assembled in the next step")]
    pub async fn start(config: NodeConfig, _coordinator: Arc<dyn Coordinator>) -> Result<Node, StartError> {
        Err(StartError(format!("node {}: not assembled yet", config.node)))
    }

    /// The store, as callers in this process use it.
    pub fn kv(&self) -> Arc<dyn Kv> {
        self.kv.clone()
    }

    /// The gRPC listener's actual address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops at once, as a crash would: hands nothing over, writes nothing more. Closing the coordinator's
    /// session is left to the caller (a crash leaves it to expire).
    pub fn kill(&self) {}

    /// Leaves politely: hands leaderships over, drains, closes files and the coordinator's session.
    pub async fn shutdown(&self) {}

    /// Completes, with the reason, when the node can not go on (poisoned log): the process must exit non-zero.
    pub fn failed(&self) -> impl Future<Output = String> + Send + use<> {
        std::future::pending()
    }
}
