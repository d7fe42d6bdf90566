//! What a replicated store must offer: decide a write, remember it while it is pending, apply it.
//!
//! The cohort agrees on a sequence of entries whose payloads it never looks into; the store gives them their
//! meaning. A write is decided once, by the open leader, against what is applied *and* what is pending
//! [conditions-see-pending], under the cohort's lock: so decisions have the order of the log. From then on the payload
//! alone counts; followers and later leaders apply it without deciding again.
//!
//! Order of calls, all under the cohort's lock: `decide`; if it proposed, `pending` with what it decided and the LSN; then
//! `apply` with that LSN. Or `closed`, after which everything pending is superseded (it may still be applied: by a later
//! leader's word). No call may block for long, none may call back into the replica.

use bytes::Bytes;
use wal::{Entry, Lsn, NodeId};

use crate::protocol::event::Received;
use crate::protocol::message::SnapshotPart;

/// Largest payload of one entry, in bytes. It bounds every message that carries entries, so a follower refuses more
/// ([`crate::runtime`] ends the stream that brings it): a store must not propose more than this.
pub const PAYLOAD_BYTES_MAX: usize = 8 << 20;

/// A write that is in the log, and what becomes of it once its entry is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoggedWrite {
    /// Where it stands.
    pub lsn: Lsn,
    /// What is logged is that the write was refused: nothing changes.
    pub refused: bool,
}

/// What the leader makes of a client's write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision<P, R> {
    /// Log it. The client is answered when it is committed and applied.
    Propose {
        /// All that [`Store::apply`] needs, the outcome included: nothing is evaluated again.
        payload: Bytes,
        /// For [`Store::pending`], as soon as the write has its LSN.
        pending: P,
        /// The payload says that the write is refused. So a late copy of the write finds its outcome, and is not
        /// executed after its client was refused.
        refused: bool,
    },
    /// The same write (client id, sequence) is in the log already: answered as this says once that is committed and
    /// applied [exactly-once].
    Join(LoggedWrite),
    /// Nothing is logged. The client gets `refusal` when all up to `after` is committed and the leadership confirmed, as
    /// for a strong read [exactly-once].
    Refuse {
        /// Why.
        refusal: R,
        /// The newest pending LSN that the refusal rests on, or [`Lsn::ZERO`].
        after: Lsn,
    },
}

/// The state machine that one cohort replicates.
pub trait Store: Send + Sync + 'static {
    /// A client's write, as the store understands it.
    type Request: Send + 'static;
    /// What the store keeps of a proposed write until it is applied, so that later decisions see it.
    type Pending: Send + 'static;
    /// Why the store refused a write without logging it (a failed condition, a retry too old to be remembered).
    type Refusal: Send + 'static;

    /// What the log calls the cohort, beside its number: for people. Asked once.
    fn label(&self) -> String {
        String::new()
    }

    /// Whether this program is new enough to apply an entry. Asked before it goes into the log: a follower that is too old
    /// takes no part until it is upgraded, instead of ending when it is to apply what it does not know.
    fn understands(&self, entry: &Entry) -> bool {
        let _ = entry;
        true
    }

    /// Decides a write against applied and pending state. Called on the open leader only. Changes nothing.
    fn decide(&self, request: Self::Request) -> Decision<Self::Pending, Self::Refusal>;

    /// What [`Store::decide`] has just proposed is in the log now, with this outcome: later decisions must see it.
    fn pending(&self, outcome: LoggedWrite, pending: Self::Pending);

    /// Applies committed entries, contiguous and in order, those of kind `EpochStart` included (they advance
    /// [`Store::applied`] and change nothing). When it returns, readers see them.
    fn apply(&self, entries: &[Entry]);

    /// The last applied LSN.
    fn applied(&self) -> Lsn;

    /// Reads a part of a snapshot of the tables for `to`, whose own tables hold everything up to `flushed`; part 0 begins
    /// a new one, as of that moment. Parts of one are asked for in order. A later `snapshot` for the same node takes the
    /// place of an earlier one, of which a call may still be under way. Blocks on the disk: not called under the cohort's
    /// lock.
    fn read_snapshot(
        &self,
        to: NodeId,
        snapshot: u64,
        part: u64,
        flushed: Lsn,
    ) -> Result<SnapshotPart, String>;

    /// Keeps a part of a snapshot; with the last one the snapshot takes the place of everything, durably and at once. Blocks on
    /// the disk: not called under the cohort's lock, but nothing is applied until its outcome is known.
    fn receive_snapshot(&self, part: SnapshotPart) -> Received;

    /// Whether what is in tables cannot be read any more. Then this replica transfers a leadership away, and takes a whole
    /// snapshot from another; meanwhile it goes on applying.
    fn damaged(&self) -> bool;

    /// Let what is applied now come to the tables soon: a snapshot is to reach so far.
    fn request_flush(&self);

    /// Throws everything away, durably: the replica's data have been found to differ from the others'
    /// [minority-history-is-wiped]. Then
    /// [`Store::applied`] is [`Lsn::ZERO`]. Blocks on the disk: not called under the cohort's lock, but nothing is applied
    /// until its outcome is known.
    fn wipe(&self) -> Result<(), String>;

    /// This replica is no longer an open leader: forget what is pending.
    fn closed(&self);
}
