//! What a coordination service must offer: a small tree of znodes with versions, watches and sessions.
//!
//! The words and their meaning are ZooKeeper's. A failed call says whether anything was done: only
//! [`CoordinationError::Unknown`] leaves that open, and then the caller reads back before it acts.

use std::io;

use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::sync::watch;

/// Kind of node to create.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CreateMode {
    /// Stays until deleted.
    Persistent,
    /// Goes with the session.
    Ephemeral,
    /// Goes with the session; a ten-digit counter of the parent is appended to the name.
    EphemeralSequential,
}

/// Whether this client's session lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionState {
    /// Connected.
    Live,
    /// Out of contact; the session may still live at the service.
    Disconnected,
    /// The session has ended; its ephemerals are gone. A new one is being made, with a new number.
    Expired,
}

/// A session's state, and which of the client's sessions it is (grows by one at each new session).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// Alive or not.
    pub state: SessionState,
    /// Number of this session among the client's.
    pub number: u64,
}

/// One step of an atomic [`Coordinator::multi`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// The node has exactly this version.
    Check {
        /// Node.
        path: String,
        /// Expected version.
        version: i32,
    },
    /// Create (never sequential).
    Create {
        /// Node.
        path: String,
        /// Content.
        data: Bytes,
        /// Persistent or ephemeral.
        mode: CreateMode,
    },
    /// Set, at the expected version if given.
    Set {
        /// Node.
        path: String,
        /// New content.
        data: Bytes,
        /// Expected version.
        version: Option<i32>,
    },
    /// Delete, at the expected version if given.
    Delete {
        /// Node.
        path: String,
        /// Expected version.
        version: Option<i32>,
    },
}

impl Op {
    /// The node that the step is about.
    pub fn path(&self) -> &str {
        match self {
            Op::Check { path, .. }
            | Op::Create { path, .. }
            | Op::Set { path, .. }
            | Op::Delete { path, .. } => path,
        }
    }
}

/// A node's content and metadata, as one client sees them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Znode {
    /// Content.
    pub data: Bytes,
    /// Number of changes of the content.
    pub version: i32,
    /// Whether it belongs to this client's current session.
    pub mine: bool,
}

/// Why a call failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CoordinationError {
    /// The node, or its parent, does not exist.
    #[error("no node {0}")]
    NoNode(String),
    /// The node exists.
    #[error("node {0} exists")]
    NodeExists(String),
    /// A version did not match; nothing was done.
    #[error("version of {0} is another")]
    BadVersion(String),
    /// The node has children.
    #[error("node {0} has children")]
    NotEmpty(String),
    /// The outcome is not known (connection lost, timed out): read back before acting.
    #[error("coordination outcome unknown: {0}")]
    Unknown(String),
    /// The service cannot be reached or refuses us; nothing was done.
    #[error("coordination service: {0}")]
    Unavailable(String),
    /// The service will never do this (malformed path, child of an ephemeral, no permission); nothing was done.
    #[error("coordination request refused: {0}")]
    Refused(String),
    /// The embedded coordinator could not store its state.
    #[error("coordinator state: {0}")]
    Io(#[from] std::sync::Arc<io::Error>),
}

impl CoordinationError {
    /// Whether the same call may be answered otherwise later: the service was out of reach, or somebody was faster.
    pub fn may_pass(&self) -> bool {
        match self {
            CoordinationError::NoNode(_)
            | CoordinationError::NodeExists(_)
            | CoordinationError::BadVersion(_)
            | CoordinationError::NotEmpty(_)
            | CoordinationError::Unknown(_)
            | CoordinationError::Unavailable(_) => true,
            CoordinationError::Refused(_) | CoordinationError::Io(_) => false,
        }
    }
}

/// Result of a coordination call.
pub type Result<T> = std::result::Result<T, CoordinationError>;

/// A hierarchical, versioned, watched name space with sessions. Paths are absolute (`/spinnaker/c1/ranges`).
/// No call waits longer than the backend's request timeout.
pub trait Coordinator: Send + Sync + 'static {
    /// Creates a node (its parent must exist) and returns its actual path.
    fn create<'a>(&'a self, path: &'a str, data: Bytes, mode: CreateMode) -> BoxFuture<'a, Result<String>>;
    /// Sets content at the expected version (or any) and returns the new version.
    fn set<'a>(&'a self, path: &'a str, data: Bytes, version: Option<i32>) -> BoxFuture<'a, Result<i32>>;
    /// Deletes a node without children.
    fn delete<'a>(&'a self, path: &'a str, version: Option<i32>) -> BoxFuture<'a, Result<()>>;
    /// All or nothing; the error names the failing step.
    fn multi(&self, ops: Vec<Op>) -> BoxFuture<'_, Result<()>>;
    /// Reads a node; `None` if it does not exist.
    fn get<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<Option<Znode>>>;
    /// Names of the children, sorted; empty if the node does not exist.
    fn list<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<Vec<String>>>;
    /// After it, reads of this client see all that anybody had been answered before it began. Without it a read may be
    /// behind what another client was told (a server of the ensemble that lags).
    fn sync(&self) -> BoxFuture<'_, Result<()>>;
    /// Creates the persistent node and its missing parents; no error if they stand.
    fn ensure<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<()>>;
    /// A counter that grows whenever anything at or below `path` may have changed, or the session changed:
    /// re-read then. The first value counts as a change.
    fn watch(&self, path: &str) -> watch::Receiver<u64>;
    /// The session's state.
    fn session(&self) -> watch::Receiver<Session>;
    /// Ends the session: its ephemerals go at once. Later calls fail as unavailable.
    fn close(&self) -> BoxFuture<'_, ()>;
}
