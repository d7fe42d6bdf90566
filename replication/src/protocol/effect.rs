//! All that a cohort can ask for. The driver performs effects in the order in which they were put out.

use wal::{ChainHash, Entry, Epoch, Lsn, NodeId, Record};

use super::coordination::CoordinationRequest;
use super::event::{Ticket, Token};
use super::message::{Envelope, SnapshotPart};
use super::notice::Notice;
use super::time::Stamp;

/// What the driver is to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Append to the shared log, in this order. With a ticket the force is reported; without one there is no hurry.
    Append {
        /// The records, of this cohort.
        records: Vec<Record>,
        /// Answered by [`super::event::Event::Forced`].
        ticket: Option<Ticket>,
    },
    /// Send to a member.
    Send(Envelope),
    /// Apply committed entries to the store, contiguous and in order. Done when the effect returns.
    Apply(Vec<Entry>),
    /// Read entries behind `after` from the log, at most `bytes_max` of payload (at least one entry).
    ReadLog {
        /// For which member; comes back in the answer.
        to: NodeId,
        /// Behind which LSN.
        after: Lsn,
        /// Limit of payload bytes.
        bytes_max: u64,
    },
    /// Read a part of a snapshot of the store, for a member whose tables hold everything up to `flushed`. Part 0 begins a
    /// new snapshot.
    ReadSnapshot {
        /// For which member; comes back in the answer.
        to: NodeId,
        /// Which snapshot; comes back, too.
        snapshot: u64,
        /// Which part.
        part: u64,
        /// What the member's tables hold.
        flushed: Lsn,
    },
    /// Have the store keep a part of a snapshot, and put the snapshot in place with the last one.
    ReceiveSnapshot {
        /// Which snapshot; comes back in the answer.
        snapshot: u64,
        /// The part.
        part: SnapshotPart,
    },
    /// The store has a snapshot in place: this is what is applied now.
    SnapshotInstalled {
        /// The snapshot's LSN.
        flushed: Lsn,
        /// Chain hash there.
        flushed_chain: ChainHash,
    },
    /// The proposed write has this LSN: for the store, it is pending from now on.
    Pending {
        /// Whose write.
        token: Token,
        /// Its LSN.
        lsn: Lsn,
    },
    /// Answer a client.
    Reply {
        /// The client.
        token: Token,
        /// The answer.
        reply: Reply,
    },
    /// Leases: until `until` on this node's clock, strong reads may be served under `epoch` (checked again
    /// after reading). `None` clears at once; it stands before any effect of a higher promise [lease-recheck].
    Lease(Option<Lease>),
    /// The leadership `epoch` is open: EpochStart is committed and applied.
    Opened(Epoch),
    /// No longer an open leader: pending state and waiting clients are superseded.
    Closed,
    /// Ask the coordinator.
    Coordinate(CoordinationRequest),
    /// Let the store bring to its tables soon what is applied ([`crate::store::Store::request_flush`]).
    RequestFlush,
    /// Throw away all that the store holds ([`crate::store::Store::wipe`]); [`super::event::Event::DataWiped`] follows.
    WipeData,
    /// A change for the node's log; the driver writes a line.
    Notice(Notice),
    /// A fact an operator must see; the driver logs it loudly and counts it.
    Alarm(String),
}

/// A right to serve strong reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Under this leadership.
    pub epoch: Epoch,
    /// Until this instant of the own clock.
    pub until: Stamp,
}

/// Answers to clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Committed and applied.
    Written(Lsn),
    /// The read may be served now from the store (leadership confirmed, `after` applied).
    ReadReady,
    /// The leadership was transferred.
    Transferred,
    /// Not here: nothing was done.
    NotLeader {
        /// Where the leader is thought to be.
        hint: Option<NodeId>,
    },
    /// The leader cannot take it now (not open yet, suspended, queue full, transferring): nothing was done.
    Unavailable(Unavailable),
    /// Leadership was lost while the write was pending: it may or may not commit.
    Unknown,
}

/// Why a leader takes no write now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unavailable {
    /// Takeover has not ended.
    TakingOver,
    /// No majority answers [suspend-without-majority].
    Suspended,
    /// The commit queue is full.
    Overloaded,
    /// The log has no space.
    DiskFull,
    /// It is transferring its leadership.
    Transferring,
}
