//! Words between members of one cohort. Each message says who sends it, why, and what the receiver checks.
//!
//! The first check is common to all (rule 1): a message that speaks for an epoch below the receiver's
//! promise, or for the promised epoch by someone other than the leader the promise is bound to, is
//! answered with [`Message::Refuse`] and has no other effect.

use bytes::Bytes;
use wal::{ChainHash, Entry, Epoch, Lsn, NodeId, Promise, ReplicaId};

use super::time::{Millis, Stamp};

/// A message under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// Sender, with its disk's incarnation: what an earlier incarnation said no longer counts (rule 12).
    pub from: ReplicaId,
    /// Receiver.
    pub to: NodeId,
    /// What it says.
    pub message: Message,
}

/// How far a member's log reaches and where its epochs end: all that is needed to find the point up to
/// which two logs agree (design 4.5).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Last LSN known committed here.
    pub committed: Lsn,
    /// Last *forced* LSN here.
    pub last: Lsn,
    /// The last LSN of each epoch in the log after `committed` (and the one that `committed` belongs to),
    /// oldest first.
    pub epoch_ends: Vec<Lsn>,
    /// LSN up to which the log can no longer be read back here (the checkpoint, log removed).
    pub flushed: Lsn,
}

/// What one member tells another about a cohort.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Leader to follower: append these (design 4.2). The receiver accepts them only behind exactly
    /// `prev` (each entry's chain hash covers all before it), or wholly or partly below its `matched` LSN.
    Propose {
        /// Leadership.
        epoch: Epoch,
        /// LSN before the batch.
        prev: Lsn,
        /// Contiguous entries; their epochs may be older than `epoch` (inherited tail).
        entries: Vec<Entry>,
        /// The leader's heartbeat and commit point, piggybacked.
        heartbeat: Heartbeat,
    },
    /// Leader to follower: I live, and this is committed (commit message and heartbeat in one).
    Heartbeat {
        /// Leadership.
        epoch: Epoch,
        /// Stamps, commit point, lease.
        heartbeat: Heartbeat,
    },
    /// Follower to leader: highest contiguous *forced* LSN, and the lease grant.
    Ack {
        /// The leadership that is answered.
        epoch: Epoch,
        /// Everything up to here is forced and equal to the leader's log.
        forced: Lsn,
        /// The newest leader's stamp received: grants run from it (rule 8b).
        stamp: Stamp,
        /// Whether the answer grants a lease (false while a higher promise is being forced).
        grant: bool,
        /// The follower has lost its log and learns: the ack counts for nothing but the flow (rule 5).
        learner: bool,
        /// The follower's own clock now, echoed later for its staleness (rule 21).
        own_stamp: OwnStamp,
    },
    /// Follower to leader: your `prev` lies beyond my log; send again from behind `last`.
    Gap {
        /// The leadership that is answered.
        epoch: Epoch,
        /// The receiver's last LSN.
        last: Lsn,
    },
    /// Follower to leader: I have not yet been matched with you in this epoch (every stream starts so, rule 6).
    Report {
        /// The leadership that is answered.
        epoch: Epoch,
        /// The follower's log.
        report: Report,
    },
    /// Leader to follower: our logs agree up to `agree`; drop what you have behind it (rule 4: it is shown to
    /// differ), force the Skip, then ack.
    Match {
        /// Leadership.
        epoch: Epoch,
        /// Agreement point.
        agree: Lsn,
        /// Chain hash there, if the leader still knows it.
        agree_chain: Option<ChainHash>,
        /// The last LSN of the report that this answers: it counts only while that is the follower's last LSN. A late
        /// copy would truncate what the follower has been sent since.
        reported: Lsn,
    },
    /// Learner to all others: what have you promised? (rule 5)
    VoterProbe {
        /// To tell answers of this question from older ones.
        nonce: u64,
    },
    /// Answer to [`Message::VoterProbe`]: this, and it is forced.
    VoterProbeAnswer {
        /// The question's.
        nonce: u64,
        /// The promise in force.
        promise: Promise,
    },
    /// Learner to the leader that it is bound to: bring me up to date; this is where my log stands.
    LearnerReport {
        /// The leadership that is answered.
        epoch: Epoch,
        /// What is left of its log.
        report: Report,
    },
    /// Leader to learner: you have all that I had when you began.
    Promote {
        /// Leadership.
        epoch: Epoch,
        /// Up to here.
        upto: Lsn,
    },
    /// Follower to leader: my tables are damaged; let me have a snapshot, whole, that reaches as far.
    NeedSnapshot {
        /// Leadership.
        epoch: Epoch,
        /// What the damaged tables hold.
        flushed: Lsn,
    },
    /// Leader to follower: my log no longer reaches back to yours; ask for a snapshot of my tables (design 4.5).
    OfferSnapshot {
        /// Leadership.
        epoch: Epoch,
        /// Tells this snapshot from others.
        snapshot: u64,
    },
    /// Follower to leader: send this part of the snapshot.
    FetchSnapshot {
        /// The leadership that is answered.
        epoch: Epoch,
        /// Which snapshot.
        snapshot: u64,
        /// Which part, from 0.
        part: u64,
        /// What the follower's tables hold: it needs no older cells, if no deletion is missing (rule 7).
        flushed: Lsn,
    },
    /// Leader to follower: a part of the snapshot.
    Snapshot {
        /// Leadership.
        epoch: Epoch,
        /// Which snapshot.
        snapshot: u64,
        /// The part.
        part: SnapshotPart,
    },
    /// Winner to member: bind your promise for `epoch` to me (takeover as phase 1, design 4.1).
    RequestPromise {
        /// The epoch won.
        epoch: Epoch,
        /// The winner's last forced LSN.
        last: Lsn,
        /// Set if the former leader released its leases for this hand-over (rule 8d): the epoch it released.
        released: Option<Epoch>,
    },
    /// Member to winner: bound and forced.
    Promised {
        /// The epoch asked for.
        epoch: Epoch,
        /// The member's log, for matching.
        report: Report,
    },
    /// Member to anyone who speaks for a refused epoch: my promise. A leader that learns of a higher promise
    /// acts by rule 14.
    Refuse {
        /// The epoch that is refused.
        epoch: Epoch,
        /// The promise in force.
        promise: Promise,
        /// The refused leader's stamp, if it sent one: it is alive, but gets no grant.
        stamp: Option<Stamp>,
    },
    /// Would-be candidate to member: has your leader gone, too? (pre-vote, design 4.4)
    PreVote {
        /// The leadership that the asker has lost sight of.
        epoch: Epoch,
        /// The asker's last forced LSN.
        last: Lsn,
        /// To tell answers of this question from those of an older one.
        round: u64,
    },
    /// Answer to [`Message::PreVote`].
    PreVoteAnswer {
        /// The question's round.
        round: u64,
        /// True if the leader is lost for this member too and no lease that it granted is running.
        agree: bool,
        /// The member's promise, so that the election starts above it.
        promise: Promise,
    },
    /// Leader to the chosen successor: I am fenced, you hold my whole log, my leases are released for you;
    /// stand now (rule 8d).
    TransferLeadership {
        /// The epoch that is released for good.
        epoch: Epoch,
        /// The leader's last LSN, wholly forced at the successor.
        last: Lsn,
    },
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

/// A follower's own clock at a moment of one of its lives. A reboot begins the clock anew, so a word of an earlier life says
/// nothing about this one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OwnStamp {
    /// See [`super::Config::life`].
    pub life: u64,
    /// When.
    pub at: Stamp,
}

/// What every leader's message carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// The leader's clock when the message was made.
    pub stamp: Stamp,
    /// Last committed LSN.
    pub committed: Lsn,
    /// Chain hash at `committed`, so that two replicas that differ find out (design 4.2).
    pub committed_chain: ChainHash,
    /// How long a grant lasts at the follower.
    pub lease: Millis,
    /// The receiver's own last stamp, if the leader held its lease when it echoed it (rule 21).
    pub echo: Option<OwnStamp>,
}
