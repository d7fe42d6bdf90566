//! What members of one cohort say to each other, by direction: from the leader of an epoch, to it, and between peers whoever
//! leads.
//!
//! The direction decides the first check. A message from a leader is subject to the epoch rule (`epoch_rule.rs`,
//! [bound-promise]): one that speaks for an epoch below the receiver's promise, or for the promised epoch by someone other
//! than the leader that the promise is bound to, is answered with [`ToLeader::Refuse`] and has no other effect. A message to
//! a leader counts only at the leader of that very epoch.

use bytes::Bytes;
use wal::{ChainHash, Entry, Epoch, Lsn, NodeId, Promise, ReplicaId};

use super::time::{Millis, Stamp};

/// A message under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// Sender, with its disk's incarnation: what an earlier incarnation said no longer counts [members-fixed].
    pub from: ReplicaId,
    /// Receiver.
    pub to: NodeId,
    /// What it says.
    pub message: Message,
}

/// What one member says to another about a cohort.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// From the leader of this epoch, or the one who is taking it over, to a member.
    FromLeader(Epoch, FromLeader),
    /// From a member to the leader of this epoch.
    ToLeader(Epoch, ToLeader),
    /// Between members, whoever leads.
    BetweenPeers(BetweenPeers),
}

impl Message {
    /// The epochs that the sender claims to exist, as far as a receiver might count on from them.
    pub(crate) fn epochs(&self) -> impl Iterator<Item = Epoch> {
        let (first, second) = match self {
            Message::FromLeader(epoch, FromLeader::RequestPromise { released }) => (Some(*epoch), *released),
            Message::ToLeader(epoch, ToLeader::Refuse { promise }) => (Some(*epoch), Some(promise.epoch)),
            Message::FromLeader(epoch, _) | Message::ToLeader(epoch, _) => (Some(*epoch), None),
            Message::BetweenPeers(
                BetweenPeers::PreVoteAnswer { promise, .. } | BetweenPeers::VoterProbeAnswer { promise, .. },
            ) => (Some(promise.epoch), None),
            Message::BetweenPeers(BetweenPeers::PreVote { .. } | BetweenPeers::VoterProbe { .. }) => {
                (None, None)
            }
        };
        first.into_iter().chain(second)
    }
}

/// What a leader says to a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromLeader {
    /// Append these (Raft's AppendEntries). The receiver accepts them only behind exactly `prev` (each entry's chain hash
    /// covers all before it), or wholly or partly below its `matched` LSN.
    Propose {
        /// LSN before the batch.
        prev: Lsn,
        /// Contiguous entries; their epochs may be older than the leader's (inherited tail).
        entries: Vec<Entry>,
        /// The leader's heartbeat and commit point, piggybacked.
        heartbeat: Heartbeat,
    },
    /// The leader lives, and this is committed (commit message and heartbeat in one).
    Heartbeat(Heartbeat),
    /// The answer to a report: our logs agree up to `agree`. Drop what you have behind it, which is shown to differ
    /// [skip-needs-proof], force the Skip, then ack.
    Match {
        /// Agreement point.
        agree: Lsn,
        /// Chain hash there, if the leader still knows it.
        agree_chain: Option<ChainHash>,
        /// Chain hash at the follower's committed LSN, if the leader still knows it: only with this proof may the follower
        /// ever throw away what it has committed [minority-history-is-wiped].
        committed_chain: Option<ChainHash>,
        /// The last LSN of the report that this answers: it counts only while that is the follower's last LSN. A late
        /// copy would truncate what the follower has been sent since.
        reported: Lsn,
    },
    /// From the winner of the epoch: bind your promise to me (takeover as Paxos phase 1).
    RequestPromise {
        /// The epoch before, if its leader released its leases for this transfer [release-is-final].
        released: Option<Epoch>,
    },
    /// To a learner: you have all that the leader had when you began to learn.
    Promote {
        /// Up to here.
        upto: Lsn,
    },
    /// The leader's log does not reach back to yours, or your tables are damaged: fetch a snapshot of its tables.
    OfferSnapshot {
        /// Distinguishes this snapshot from others.
        snapshot: u64,
    },
    /// A part of the snapshot.
    Snapshot {
        /// Which snapshot.
        snapshot: u64,
        /// The part.
        part: SnapshotPart,
    },
    /// To the chosen successor: the leader takes no writes any more, you hold its whole log, its leases are released for you;
    /// take the next epoch now [release-is-final].
    TransferLeadership {
        /// The leader's last LSN, wholly forced at the successor.
        last: Lsn,
    },
}

/// What a member says to the leader of an epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToLeader {
    /// The answer to a request for a promise: bound to you, and forced. With the member's log, for matching.
    Promised(Report),
    /// The epoch is refused, because of this promise. What a leader then does says [claim-above-refusal].
    Refuse {
        /// The promise in force.
        promise: Promise,
    },
    /// The sender has not yet been matched with you in this epoch; every follower starts so [match-before-append].
    Report(Report),
    /// A learner is bound to you: bring it up to date; this is what is left of its log.
    LearnerReport(Report),
    /// The highest contiguous *forced* LSN, and the lease grant.
    Ack(Ack),
    /// Your `prev` lies beyond my log; send again from behind `last` [no-gaps].
    Gap {
        /// The sender's last LSN.
        last: Lsn,
    },
    /// The sender's tables are damaged; let it have a snapshot, whole, that reaches as far.
    NeedSnapshot {
        /// Up to where the damaged tables reached.
        flushed: Lsn,
    },
    /// Send this part of the snapshot.
    FetchSnapshot {
        /// Which snapshot.
        snapshot: u64,
        /// Which part, from 0.
        part: u64,
        /// What the follower's tables hold: it needs no older cells, if no deletion is missing [no-resurrection].
        flushed: Lsn,
    },
}

/// What members say to each other whoever leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BetweenPeers {
    /// From one who may stand for election: have you lost the leader, too? [pre-vote]
    PreVote {
        /// Distinguishes answers to this question from those to an older one.
        round: u64,
    },
    /// The answer to a pre-vote.
    PreVoteAnswer {
        /// The question's round.
        round: u64,
        /// True if the leader is lost for this member too and no lease that it granted is running.
        agree: bool,
        /// The member's promise, so that the election starts above it.
        promise: Promise,
    },
    /// From a learner: what have you promised? [rejoin-as-learner]
    VoterProbe {
        /// Distinguishes answers to this question from older ones.
        nonce: u64,
    },
    /// The answer to a voter probe: this, and it is forced.
    VoterProbeAnswer {
        /// The question's.
        nonce: u64,
        /// The promise in force.
        promise: Promise,
    },
}

/// How far a follower's log is forced, and what it grants: in one cohort, to one epoch [grant-per-cohort].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// Everything up to here is forced and equal to the leader's log.
    pub forced: Lsn,
    /// The newest leader's stamp received: the grant runs from its receipt.
    pub stamp: Stamp,
    /// Whether the answer grants a lease.
    pub grant: bool,
    /// The follower has lost its log and learns: the ack counts for nothing but the flow [rejoin-as-learner].
    pub learner: bool,
    /// The follower's own clock now, echoed later for its staleness [staleness-by-echo].
    pub own_stamp: OwnStamp,
}

/// How far a member's log reaches and where its epochs end: all that is needed to find the point up to which two logs agree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Last LSN known committed here.
    pub committed: Lsn,
    /// Last LSN here.
    pub last: Lsn,
    /// The last LSN of each epoch in the log after `committed` (and the one that `committed` belongs to),
    /// oldest first.
    pub epoch_ends: Vec<Lsn>,
}

/// A part of a snapshot, as the store cuts and reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotPart {
    /// From 0.
    pub number: u64,
    /// Up to where the snapshot reaches.
    pub flushed: Lsn,
    /// For the store.
    pub bytes: Bytes,
    /// The last one.
    pub last: bool,
}

/// A follower's own clock at a moment of one of its lives. A reboot begins the clock anew, so a stamp of an earlier life says
/// nothing about this one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OwnStamp {
    /// The process that gave it out, see [`super::Config::life`].
    pub life: u64,
    /// When.
    pub at: Stamp,
}

/// What every message of a serving leader carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// The leader's clock when the message was made.
    pub stamp: Stamp,
    /// Last committed LSN.
    pub committed: Lsn,
    /// Chain hash at `committed`, so that two replicas that differ find out.
    pub committed_chain: ChainHash,
    /// How long a grant lasts at the follower.
    pub lease: Millis,
    /// The receiver's own last stamp, if the leader held its lease when it echoed it [staleness-by-echo].
    pub echo: Option<OwnStamp>,
}
