//! All that can happen to a cohort: what it is asked for, what others say, what has become of its effects.

use bytes::Bytes;
use wal::{ChainHash, Entry, Lsn, NodeId, ReplicaId};

use super::coordination::{CoordinationOutcome, RangeView};
use super::message::{Envelope, SnapshotPart};

/// Marks an append, so that its force can be reported; grows by one with each ticket of a cohort.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// The driver's handle for a waiting client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// What the store has done with a part of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// It is kept; more is to come.
    More,
    /// It was the last one, and the snapshot is in place: the store holds everything up to here.
    Installed {
        /// The snapshot's LSN.
        flushed: Lsn,
        /// Chain hash there.
        flushed_chain: ChainHash,
    },
    /// It could not be kept, or the snapshot could not be put in place: nothing has changed. The reason.
    Failed(String),
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Time passed; comes at least every `Settings::tick`.
    Tick,
    /// A message of another member arrived.
    Received(Envelope),
    /// The connection to a member was refused or broke: a hint that it is gone, which starts a pre-vote at once [pre-vote].
    Unreachable(NodeId),
    /// There is a new stream to a member; whatever was sent before may be lost [lost-is-sent-again].
    Connected(NodeId),
    /// All appends of this cohort up to this ticket are durable.
    Forced(Ticket),
    /// An append could not be written (disk full): neither it nor anything appended after it, up to this
    /// ticket, is or will be in the log.
    AppendFailed(Ticket),
    /// Answer to [`super::effect::Effect::ReadLog`]: contiguous entries behind `after`; empty if `after` is the end.
    LogRead {
        /// For which member.
        to: NodeId,
        /// Behind which LSN.
        after: Lsn,
        /// What was found; `None` if the log no longer reaches back to `after`.
        entries: Option<Vec<Entry>>,
    },
    /// Answer to [`super::effect::Effect::ReadSnapshot`].
    SnapshotRead {
        /// For which member.
        to: NodeId,
        /// Which snapshot.
        snapshot: u64,
        /// The part; `None` if the store could not read it.
        part: Option<SnapshotPart>,
    },
    /// Answer to [`super::effect::Effect::ReceiveSnapshot`].
    SnapshotReceived {
        /// Which snapshot.
        snapshot: u64,
        /// Which part.
        part: u64,
        /// What came of it.
        outcome: Received,
    },
    /// Answer to [`super::effect::Effect::WipeData`]: the store is empty, or why it is not.
    DataWiped(Result<(), String>),
    /// The store's tables are damaged (true), or sound again [damaged-tables-serve-nothing].
    Damaged(bool),
    /// All members, each with its disk: one disk has been replaced [members-fixed].
    Members(Vec<ReplicaId>),
    /// The store holds everything up to `flushed` in SSTables.
    Flushed {
        /// The last LSN in SSTables.
        flushed: Lsn,
        /// Chain hash there.
        flushed_chain: ChainHash,
    },
    /// A client's write, already decided by the store, to be proposed.
    Write {
        /// Whom to answer.
        token: Token,
        /// The write as the store encodes it; opaque here.
        payload: Bytes,
    },
    /// A client's strong read that found no valid lease, or an answer that must wait for the commit of `after`:
    /// answered once `after` is committed and applied and the leadership was confirmed by a majority after now.
    Read {
        /// Whom to answer.
        token: Token,
        /// Not before this LSN is committed.
        after: Lsn,
    },
    /// These clients have left: reads of theirs that still wait need no answer.
    Left(Vec<Token>),
    /// Transfer the leadership to `target`, or to the follower that is furthest.
    Transfer {
        /// Whom to answer.
        token: Token,
        /// Successor.
        target: Option<NodeId>,
    },
    /// The coordinator's state of this range changed (level-triggered: a whole new view).
    View(RangeView),
    /// A coordination request ended.
    Coordinated(CoordinationOutcome),
}
