//! Which role comes next.

use wal::{Epoch, ReplicaId};

use super::notice::Why;

/// What becomes of a member after an event. A transition consumes the old role; `cohort.rs` makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transition {
    /// It goes on in its role.
    Stay,
    /// It follows.
    Follow {
        /// The leader, as far as it is known.
        leader: Option<(Epoch, ReplicaId)>,
        /// The reason, for the log.
        why: Why,
    },
    /// It enters the election that is open, or opens one.
    Stand(Why),
    /// It has won the election for this epoch, and takes it.
    Lead(Epoch, Why),
    /// It takes an epoch above everything known without an election: a successor for whom the leases of the epoch before were
    /// `released`, or a living leader that has met a higher promise [claim-above-refusal].
    Claim {
        /// The epoch whose leases the leader before released for us.
        released: Option<Epoch>,
        /// The reason, for the log.
        why: Why,
    },
}
