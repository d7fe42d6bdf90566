//! What an operator reads of a cohort in the logs of its nodes: each change of role, suspicion, transfer, snapshot, catch-up
//! and rejoin, with the reason. Nothing here comes with each write or heartbeat.

use std::fmt;

use wal::{Epoch, Lsn, NodeId, Promise};

use super::status::RoleName;
use super::time::Millis;

/// Why a member takes its next role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It loses the leader, and so do enough others.
    LeaderLost {
        /// Others that have lost it, too.
        agreed: usize,
        /// All others.
        others: usize,
    },
    /// It is the only member.
    OnlyMember,
    /// There is a higher election, or another has promised more.
    HigherElection,
    /// The winner of the election before was not heard.
    WinnerSilent,
    /// A majority stands, and no candidate has a larger last LSN.
    Elected {
        /// Its last LSN.
        last: Lsn,
    },
    /// The leader before has transferred its leadership.
    Successor {
        /// That leader.
        from: NodeId,
    },
    /// A majority still follows, but a member has promised more: an epoch above that is taken.
    OutPromised {
        /// That member.
        by: NodeId,
        /// Its promise.
        promise: Promise,
    },
    /// A member refuses this leader, and no majority follows it.
    Refused {
        /// That member.
        by: NodeId,
        /// Its promise.
        promise: Promise,
    },
    /// The winner of an epoch asks for the promise.
    AskedToPromise,
    /// The coordinator has given the epoch to another.
    EpochTaken,
    /// Others have entries that are lacking here, and no majority can be without them.
    LogTooShort,
    /// The leadership was transferred.
    Transferred {
        /// To this member.
        to: NodeId,
    },
}

/// Why a leader is suspected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suspicion {
    /// It has not been heard for longer than `suspect_after`.
    Silent,
    /// The stream to it broke, or was refused.
    StreamBroken,
    /// Its znode at the coordinator is gone: its session has ended.
    ZnodeGone,
}

/// Why a leader transfers its leadership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransferReason {
    /// A client, or the node that stops, has asked for it.
    Asked,
    /// Its tables are damaged.
    TablesDamaged,
    /// Its own log has not been forced for longer than `force_wait_max`: the disk hangs, or is full.
    LogLags,
}

/// Something that has changed at this member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The leader is suspected, or none is known.
    Suspected {
        /// The leader; `None`: none was known.
        leader: Option<NodeId>,
        /// What speaks against it.
        why: Suspicion,
        /// Since when a leader has not been heard.
        silent: Millis,
    },
    /// A leader is heard (again).
    LeaderHeard {
        /// Who.
        leader: NodeId,
        /// Its epoch.
        epoch: Epoch,
    },
    /// Another role, or the same one in another epoch.
    Role {
        /// The role before.
        was: RoleName,
        /// The role now.
        role: RoleName,
        /// The epoch that is led, followed or stood for; of one that gives up, that which it gives up.
        epoch: Epoch,
        /// A follower's leader, if it is known.
        leader: Option<NodeId>,
        /// The reason.
        why: Why,
    },
    /// The takeover has ended: the range is open for writes and strong reads.
    Opened {
        /// The epoch.
        epoch: Epoch,
        /// How long the takeover took.
        took: Millis,
        /// How long the range was without a leader, as seen here; `None` after a transfer.
        leaderless: Option<Millis>,
    },
    /// A leader hears no majority any more: it takes no writes.
    MajorityLost,
    /// A leader hears a majority again.
    MajorityBack,
    /// A leader does not hear a follower any more.
    FollowerLost {
        /// Who.
        follower: NodeId,
        /// For how long it has been silent.
        silent: Millis,
    },
    /// A leader hears a follower again.
    FollowerBack {
        /// Who.
        follower: NodeId,
        /// Entries that it lacks.
        lacks: u64,
    },
    /// A leader begins to transfer its leadership.
    TransferBegun {
        /// To this member.
        to: NodeId,
        /// The reason.
        why: TransferReason,
    },
    /// The transfer was given up: the successor did not catch up in time.
    TransferGivenUp {
        /// The successor.
        to: NodeId,
    },
    /// A leader begins to bring a follower level.
    CatchUpBegun {
        /// Who.
        follower: NodeId,
        /// Up to here the logs agree.
        agree: Lsn,
        /// Here the leader's log ends.
        upto: Lsn,
    },
    /// The follower has all that the leader had when that began.
    CatchUpEnded {
        /// Who.
        follower: NodeId,
        /// It has forced all up to here.
        upto: Lsn,
        /// How long it took.
        took: Millis,
    },
    /// A leader begins to send a snapshot.
    SnapshotBegun {
        /// To this member.
        to: NodeId,
        /// The member's tables are damaged; else the log no longer reaches back to what it needs.
        repair: bool,
    },
    /// All of a snapshot has been sent.
    SnapshotSent {
        /// To this member.
        to: NodeId,
        /// Up to where it reaches.
        upto: Lsn,
        /// Its size.
        bytes: u64,
        /// How long it took.
        took: Millis,
    },
    /// The first part of a snapshot has come.
    SnapshotComing {
        /// From this leader.
        from: NodeId,
        /// Up to where it reaches.
        upto: Lsn,
    },
    /// A snapshot is in place.
    SnapshotInstalled {
        /// Up to where it reaches.
        upto: Lsn,
        /// Its size.
        bytes: u64,
        /// How long it took.
        took: Millis,
    },
    /// This member counts for nothing until it has been brought level.
    Learning {
        /// What was here differed from what a majority has, and was thrown away; else the log was lost.
        wiped: bool,
    },
    /// This member has been brought level and counts again.
    Promoted,
    /// A leader counts a follower again that was brought level.
    LearnerPromoted {
        /// Who.
        learner: NodeId,
    },
}

impl Notice {
    /// What kind of change it is, in the plural, for a summary.
    pub fn kind(&self) -> &'static str {
        match self {
            Notice::Suspected { .. } => "suspicions",
            Notice::LeaderHeard { .. } => "leaders heard",
            Notice::Role { .. } => "changes of role",
            Notice::Opened { .. } => "takeovers ended",
            Notice::MajorityLost | Notice::MajorityBack => "majorities lost or back",
            Notice::FollowerLost { .. } | Notice::FollowerBack { .. } => "followers lost or back",
            Notice::TransferBegun { .. } | Notice::TransferGivenUp { .. } => "transfers",
            Notice::CatchUpBegun { .. } | Notice::CatchUpEnded { .. } => "catch-ups",
            Notice::SnapshotBegun { .. }
            | Notice::SnapshotSent { .. }
            | Notice::SnapshotComing { .. }
            | Notice::SnapshotInstalled { .. } => "snapshots",
            Notice::Learning { .. } | Notice::Promoted | Notice::LearnerPromoted { .. } => "rejoins",
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::LeaderLost { agreed, others } => {
                write!(f, "the leader is lost for it, and for at least {agreed} of the {others} others")
            }
            Why::OnlyMember => f.write_str("it is the only member"),
            Why::HigherElection => f.write_str("there is a higher election"),
            Why::WinnerSilent => f.write_str("the winner of the election before was not heard"),
            Why::Elected { last } => {
                write!(f, "elected: no candidate of a majority has more than {last}")
            }
            Why::Successor { from } => write!(f, "{from} has transferred its leadership"),
            Why::OutPromised { by, promise } => {
                write!(f, "{by} has promised epoch {}, and a majority still follows", promise.epoch)
            }
            Why::Refused { by, promise } => {
                write!(f, "{by} has promised epoch {}", promise.epoch)?;
                match promise.leader {
                    Some(leader) => write!(f, " to {}", leader.node),
                    None => f.write_str(", and no majority follows"),
                }
            }
            Why::AskedToPromise => f.write_str("it asks for the promise"),
            Why::EpochTaken => f.write_str("the coordinator has given the epoch to another"),
            Why::LogTooShort => f.write_str("others have entries that are lacking here"),
            Why::Transferred { to } => write!(f, "the leadership was transferred to {to}"),
        }
    }
}

impl fmt::Display for Suspicion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Suspicion::Silent => "it is silent",
            Suspicion::StreamBroken => "the stream to it broke",
            Suspicion::ZnodeGone => "its znode at the coordinator is gone",
        })
    }
}

impl fmt::Display for TransferReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TransferReason::Asked => "asked to",
            TransferReason::TablesDamaged => "a table is damaged",
            TransferReason::LogLags => "its disk hangs or is full",
        })
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Notice::Suspected { leader: Some(leader), why, silent } => {
                write!(f, "suspects the leader {leader}: {why}, last heard {} ms ago", silent.0)
            }
            Notice::Suspected { leader: None, silent, .. } => {
                write!(f, "has heard of no leader for {} ms", silent.0)
            }
            Notice::LeaderHeard { leader, epoch } => write!(f, "hears {leader}, the leader of epoch {epoch}"),
            Notice::Role { was, role, epoch, leader, why } => {
                write_role(f, was, role, epoch, leader)?;
                write!(f, ": {why}")
            }
            Notice::Opened { epoch, took, leaderless } => {
                write!(f, "is open as leader of epoch {epoch}: the takeover took {} ms", took.0)?;
                match leaderless {
                    Some(time) => write!(f, ", no leader was heard for {} ms", time.0),
                    None => Ok(()),
                }
            }
            Notice::MajorityLost => f.write_str("hears no majority any more: it takes no writes"),
            Notice::MajorityBack => f.write_str("hears a majority again"),
            Notice::FollowerLost { follower, silent } => {
                write!(f, "does not hear its follower {follower}: silent for {} ms", silent.0)
            }
            Notice::FollowerBack { follower, lacks } => {
                write!(f, "hears its follower {follower} again, entries that it lacks: {lacks}")
            }
            Notice::TransferBegun { to, why } => {
                write!(f, "begins to transfer its leadership to {to}: {why}")
            }
            Notice::TransferGivenUp { to } => {
                write!(f, "leads on: {to} could not be given the leadership in time")
            }
            Notice::CatchUpBegun { follower, agree, upto } => {
                let lacks = upto.seq - agree.seq.min(upto.seq);
                write!(f, "begins to catch up {follower} from {agree} to {upto}, entries: {lacks}")
            }
            Notice::CatchUpEnded { follower, upto, took } => {
                write!(f, "has caught up {follower} to {upto} in {} ms", took.0)
            }
            Notice::SnapshotBegun { to, repair: false } => {
                write!(f, "begins a snapshot for {to}: the log no longer reaches back to what it needs")
            }
            Notice::SnapshotBegun { to, repair: true } => {
                write!(f, "begins a snapshot for {to}: its tables are damaged")
            }
            Notice::SnapshotSent { to, upto, bytes, took } => {
                write!(f, "has sent {to} a snapshot up to {upto}: {bytes} bytes in {} ms", took.0)
            }
            Notice::SnapshotComing { from, upto } => write!(f, "gets a snapshot up to {upto} from {from}"),
            Notice::SnapshotInstalled { upto, bytes, took } => {
                write!(f, "has a snapshot up to {upto} in place: {bytes} bytes in {} ms", took.0)
            }
            Notice::Learning { wiped } => {
                let why = if wiped { "its data differed from a majority's" } else { "its log was lost" };
                write!(f, "rejoins as a learner: {why}; it counts again when it has been caught up")
            }
            Notice::Promoted => f.write_str("is no learner any more: it has all, and counts again"),
            Notice::LearnerPromoted { learner } => write!(f, "counts {learner} again, which was a learner"),
        }
    }
}

fn write_role(
    f: &mut fmt::Formatter<'_>,
    was: RoleName,
    role: RoleName,
    epoch: Epoch,
    leader: Option<NodeId>,
) -> fmt::Result {
    match (role, leader) {
        (RoleName::Leader, _) => write!(f, "takes over in epoch {epoch}"),
        (RoleName::Candidate, _) => write!(f, "stands for election in epoch {epoch}"),
        (RoleName::Follower, Some(leader)) => match was {
            RoleName::Leader => write!(f, "steps down, and follows {leader} in epoch {epoch}"),
            RoleName::Candidate | RoleName::Follower => write!(f, "follows {leader} in epoch {epoch}"),
        },
        (RoleName::Follower, None) => match was {
            RoleName::Leader => write!(f, "steps down as leader of epoch {epoch}"),
            RoleName::Candidate | RoleName::Follower => write!(f, "no longer stands in epoch {epoch}"),
        },
    }
}
