//! How a call to a replica ends.

use wal::{Lsn, NodeId};

use crate::protocol::effect::{Reply, Unavailable};
use crate::store::LoggedWrite;

/// How a write ended. `Ok(Ok(..))`: committed by a majority and applied here, the write or that it was refused.
/// `Ok(Err(..))`: the store refused it, nothing was logged, and the refusal is as certain as a strong read.
pub type WriteResult<R> = Result<Result<LoggedWrite, R>, ReplicaError>;

/// Why a call was not served here; sorted by what the caller may do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplicaError {
    /// Another replica leads: nothing was done; ask there.
    #[error("not the leader of the cohort")]
    NotLeader {
        /// Where the leader is thought to be.
        hint: Option<NodeId>,
    },
    /// The leader cannot take it now: nothing was done; try again soon.
    #[error("{}", reason(*.0))]
    Unavailable(Unavailable),
    /// The leadership, or the node, was lost while the write was under way: it may or may not commit. Try again with
    /// the same (client id, sequence).
    #[error("the outcome of the write is not known")]
    Unknown,
    /// The deadline passed; the replica has applied only this much.
    #[error("the replica has applied {applied} only")]
    Behind {
        /// What is applied.
        applied: Lsn,
    },
    /// The replica is closed, or the node has ended: nothing was done.
    #[error("the replica is closed")]
    Closed,
}

fn reason(unavailable: Unavailable) -> &'static str {
    match unavailable {
        Unavailable::TakingOver => "it has no leader that can take writes yet (taking over)",
        Unavailable::Suspended => "its leader cannot reach a majority of the replicas",
        Unavailable::Overloaded => "too many writes are under way",
        Unavailable::DiskFull => "the disk of its leader is full",
        Unavailable::Transferring => "its leadership is being transferred to another node",
    }
}

impl ReplicaError {
    /// The error that a reply means, if it is not the one that the request was for.
    pub(crate) fn from_reply(reply: Reply) -> ReplicaError {
        match reply {
            Reply::NotLeader { hint } => ReplicaError::NotLeader { hint },
            Reply::Unavailable(reason) => ReplicaError::Unavailable(reason),
            // An answer to another question leaves the outcome open, too.
            Reply::Unknown | Reply::Written(_) | Reply::ReadReady | Reply::Transferred => {
                ReplicaError::Unknown
            }
        }
    }
}
