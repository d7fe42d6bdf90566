//! What the connections of one gateway share.

use std::sync::Arc;

use planner::Planner;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::cancel::Cancels;

/// A gateway as its connections see it. Clones are the same gateway.
#[derive(Clone)]
pub(crate) struct Server {
    /// Prepares and executes statements.
    pub(crate) planner: Arc<Planner>,
    /// The sessions, for cancel requests.
    pub(crate) cancels: Arc<Cancels>,
    /// One permit for each session that may be open.
    pub(crate) permits: Arc<Semaphore>,
    /// The process has no file descriptor for another session: it is only told so.
    pub(crate) full: bool,
    /// Cancelled when the gateway takes no more sessions.
    pub(crate) closing: CancellationToken,
    /// Cancelled when the gateway shuts down.
    pub(crate) stop: CancellationToken,
}

impl Server {
    /// A gateway to `planner` that allows `connections_max` sessions at a time.
    pub(crate) fn new(planner: Arc<Planner>, connections_max: usize) -> Server {
        Server {
            planner,
            cancels: Arc::new(Cancels::default()),
            permits: Arc::new(Semaphore::new(connections_max)),
            full: false,
            closing: CancellationToken::new(),
            stop: CancellationToken::new(),
        }
    }
}
