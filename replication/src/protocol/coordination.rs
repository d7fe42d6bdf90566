//! What the protocol knows of the coordination service: a view of its range, and a few requests.
//!
//! The view is level-triggered: whenever anything below `ranges/<id>` (or the session) changes, the whole
//! view is read again and handed in as [`super::event::Event::View`].

use std::collections::BTreeMap;

use wal::{Epoch, Lsn, ReplicaId};

/// Highest epoch that is believed, so that counting on from it cannot overflow [epochs-in-steps].
pub const EPOCH_MAX: Epoch = Epoch(1 << 31);
/// Highest sequence number that is believed, for the same reason.
pub const SEQ_MAX: u64 = 1 << 62;

/// The coordinator's state of one range, as last read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RangeView {
    /// Whether this node's session is alive; without one nobody stands for election [claim-above-refusal].
    pub session: bool,
    /// Highest epoch ever won and its holder.
    pub epoch: Epoch,
    /// Holder of `epoch`.
    pub holder: Option<ReplicaId>,
    /// Version of the epoch znode, for the compare-and-set.
    pub epoch_version: i32,
    /// The ephemeral leader znode, if it stands.
    pub leader: Option<(Epoch, ReplicaId)>,
    /// Election directories above `epoch`, with their candidates.
    pub elections: BTreeMap<Epoch, Vec<Candidate>>,
}

/// One candidate's ephemeral sequential znode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Who stands.
    pub member: ReplicaId,
    /// Its last forced LSN, published after its promise was forced.
    pub last: Lsn,
    /// Sequence number of the znode; the lowest wins a tie.
    pub order: u64,
}

/// What the protocol asks of the coordinator. One at a time per cohort; each ends in a [`CoordinationOutcome`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CoordinationRequest {
    /// Stand in election `epoch` with this last LSN (makes the directory; replaces an own older candidacy).
    Stand {
        /// The election.
        epoch: Epoch,
        /// Published last LSN.
        last: Lsn,
    },
    /// One multi: check the epoch znode's version, set it to (epoch, me), delete the old leader znode if there,
    /// create mine. Then clear election directories `<= epoch`.
    Win {
        /// The election that was won.
        epoch: Epoch,
        /// Expected version of the epoch znode.
        epoch_version: i32,
    },
    /// Put my lost leader znode back: multi with check that the epoch znode still names (epoch, me).
    Restore {
        /// My leadership.
        epoch: Epoch,
    },
    /// Delete my leader znode of this epoch, and my candidacies.
    Resign {
        /// The leadership given up.
        epoch: Epoch,
    },
}

/// How a request ended. "Unknown" outcomes (lost connection) are resolved by reading back before this is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CoordinationOutcome {
    /// Which request.
    pub request: CoordinationRequest,
    /// Whether it took effect; if not, the next view says why.
    pub done: bool,
}
