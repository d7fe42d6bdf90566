//! What a replicated store must offer: decide a write, remember it while it is pending, apply it.
//!
//! The cohort agrees on a sequence of entries whose payloads it never looks into; the store gives them their
//! meaning. A write is decided once, by the open leader, against what is applied *and* what is pending
//! (design 4.6), under the cohort's lock: so decisions have the order of the log. From then on the payload
//! alone counts; followers and later leaders apply it without deciding again.
//!
//! Order of calls, all under the cohort's lock: `decide`, then, if it proposed, `pending`, then `apply` with
//! that LSN; or `closed`, after which everything pending is superseded (it may still be applied: by a later leader's
//! word). No call may block for long, none may call back into the replica.

use bytes::Bytes;
use wal::{Entry, Lsn, NodeId};

use crate::protocol::event::Received;
use crate::protocol::message::SnapshotPart;

/// What the leader makes of a client's write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision<A> {
    /// Log this payload. It says all that `apply` needs, with the outcome: nothing is evaluated again.
    Propose(Bytes),
    /// The same write (client id, sequence) is in the log already as this LSN: answered as written once that is
    /// committed and applied (rule 11).
    Join(Lsn),
    /// Log this payload, which says that the write is refused: so a late copy of it finds its outcome. The client is
    /// told `answer` when that is committed.
    ProposeRefusal {
        /// As for `Propose`.
        payload: Bytes,
        /// What the client is told.
        answer: A,
    },
    /// The same write is in the log already as this LSN, and it is a refusal: told once that is committed and applied.
    JoinRefusal {
        /// Where it stands.
        lsn: Lsn,
        /// What the client is told.
        answer: A,
    },
    /// Nothing is logged, and the client is told `answer`: after `after` (the newest pending LSN that the answer
    /// rests on, or [`Lsn::ZERO`]) is committed and the leadership confirmed, as for a strong read (rule 11).
    Refuse {
        /// What the client is told.
        answer: A,
        /// The LSN on which the answer depends.
        after: Lsn,
    },
}

/// The state machine that one cohort replicates.
pub trait Store: Send + Sync + 'static {
    /// A client's write, as the store above understands it.
    type Request: Send + 'static;
    /// What a client is told of a write that was refused (a failed condition, the outcome of an old retry).
    type Answer: Send + 'static;

    /// Decides a write against applied and pending state. Called on the open leader only. Changes nothing.
    fn decide(&self, request: &Self::Request) -> Decision<Self::Answer>;

    /// The write that [`Store::decide`] just proposed has this LSN: later decisions must see it.
    fn pending(&self, lsn: Lsn, request: Self::Request);

    /// Applies committed entries, contiguous and in order, those of kind `EpochStart` included (they advance
    /// [`Store::applied`] and change nothing). When it returns, readers see them.
    fn apply(&self, entries: &[Entry]);

    /// The last applied LSN.
    fn applied(&self) -> Lsn;

    /// Reads a part of a snapshot of the tables for `to`, whose own tables hold everything up to `tables`; part 0 begins a
    /// new one, as of that moment. Parts are asked for in order. Blocks on the disk: not called under the cohort's lock.
    fn read_snapshot(&self, to: NodeId, part: u64, flushed: Lsn) -> Result<SnapshotPart, String>;

    /// Keeps a part of a snapshot; with the last one the snapshot takes the place of everything, durably and at once. Blocks on
    /// the disk: not called under the cohort's lock, but nothing is applied until its outcome is told.
    fn receive_snapshot(&self, part: SnapshotPart) -> Received;

    /// Whether what is in tables cannot be read any more. Then this replica hands a leadership over, and takes a whole
    /// snapshot from another; meanwhile it goes on applying.
    fn damaged(&self) -> bool;

    /// Let what is applied now come to the tables soon: a snapshot is to reach so far.
    fn request_flush(&self);

    /// Throws everything away, durably: the replica's data have been found to differ from the others' (rule 19). Then
    /// [`Store::applied`] is [`Lsn::ZERO`]. Blocks on the disk: not called under the cohort's lock, but nothing is applied
    /// until its outcome is told.
    fn clear(&self) -> Result<(), String>;

    /// This replica is no longer an open leader: forget what is pending.
    fn closed(&self);
}
