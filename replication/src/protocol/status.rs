//! What a cohort shows of itself to scripts, `status` and logs.

use std::collections::BTreeMap;
use std::fmt;

use wal::{Epoch, Lsn, NodeId, Promise};

/// Position in the cohort.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoleName {
    /// Follows, or waits for a leader.
    Follower,
    /// Stands for election.
    Candidate,
    /// Won an epoch.
    Leader,
}

/// A leader's knowledge of a follower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FollowerStatus {
    /// Last LSN that the follower forced and that is the leader's.
    pub matched: Lsn,
    /// Whether it was heard within a lease.
    pub alive: bool,
    /// The leader's log no longer reaches back to where the follower stands.
    pub out_of_reach: bool,
    /// The follower has committed up to here what the leader's log lacks: something is lost [committed-is-never-dropped].
    pub lacked: Option<Lsn>,
}

/// The state of a cohort member at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// This node.
    pub node: NodeId,
    /// Its role.
    pub role: RoleName,
    /// The epoch led, followed or stood for.
    pub epoch: Epoch,
    /// The promise in force.
    pub promise: Promise,
    /// Last LSN in the log (`lst`).
    pub last: Lsn,
    /// Last LSN forced here.
    pub forced: Lsn,
    /// Last LSN known committed (`cmt`).
    pub committed: Lsn,
    /// Last LSN in the store.
    pub applied: Lsn,
    /// Last LSN shown equal to the leader's log.
    pub matched: Option<Lsn>,
    /// The leader as known here.
    pub leader: Option<NodeId>,
    /// A leader: open for writes and strong reads.
    pub open: bool,
    /// A leader: without a majority.
    pub suspended: bool,
    /// A leader: strong reads that wait for a confirmation.
    pub reads_waiting: usize,
    /// A leader: its followers.
    pub followers: BTreeMap<NodeId, FollowerStatus>,
    /// Set when this replica has stopped for good; the reason, for the operator.
    pub broken: Option<String>,
    /// Its tables are damaged, and are being repaired from another replica.
    pub damaged: bool,
    /// It has lost its log and is being brought up to date; it does not count yet [rejoin-as-learner].
    pub learner: bool,
    /// Its log takes no writes for lack of space.
    pub disk_full: bool,
}

impl fmt::Display for RoleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RoleName::Follower => "follower",
            RoleName::Candidate => "candidate",
            RoleName::Leader => "leader",
        })
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Status { node, role, epoch, last, forced, committed, applied, .. } = self;
        write!(f, "{node} {role} e{epoch} last={last} forced={forced} cmt={committed} applied={applied}")?;
        if let Some(matched) = self.matched {
            write!(f, " matched={matched}")?;
        }
        if self.promise.epoch != self.epoch {
            write!(f, " promised={}", self.promise.epoch)?;
        }
        if self.open {
            f.write_str(" open")?;
        }
        if self.suspended {
            f.write_str(" suspended")?;
        }
        if self.reads_waiting > 0 {
            write!(f, " reads={}", self.reads_waiting)?;
        }
        if self.learner {
            f.write_str(" learner")?;
        }
        if self.damaged {
            f.write_str(" damaged")?;
        }
        if let Some(reason) = &self.broken {
            write!(f, " broken: {reason}")?;
        }
        Ok(())
    }
}
