//! Whether this replica can be trusted: its tables, its log, and its history as compared with its leader's.
//!
//! Three conditions, each worse than the one before:
//! * *damaged*: a block of the tables cannot be read; log and memtable go on, and a whole snapshot repairs it
//!   [damaged-tables-serve-nothing].
//! * *learner*: the log has lost records. By a durable mark it counts for nothing until it is promoted
//!   [rejoin-as-learner].
//! * *broken*: its history is not its leader's. It takes no part any more. If a majority has committed past it, it was the
//!   minority, and becomes a learner with nothing; if not, an operator has to look [minority-history-is-wiped].

use wal::{Epoch, Lsn, ReplicaId};

use super::rejoin::Rejoin;

/// Our hash chain differs from a leader's.
#[derive(Clone, Copy, Debug)]
struct Divergence {
    epoch: Epoch,
    leader: ReplicaId,
    /// Our last LSN then: we have acked nothing beyond it.
    acked: Lsn,
}

/// The condition of a replica.
#[derive(Debug, Default)]
pub(crate) struct Health {
    /// The store's tables are damaged: it needs a whole snapshot, and should not lead.
    pub(crate) damaged: bool,
    /// The store is putting a snapshot in place: nothing may be applied meanwhile.
    pub(crate) installing: bool,
    /// Set when this replica has stopped for good; the reason, for the operator.
    broken: Option<String>,
    divergence: Option<Divergence>,
    /// The durable mark of a learner, as it is in the log or is being forced.
    must_rejoin: bool,
    /// It has lost its log, and is on its way back.
    rejoin: Option<Rejoin>,
}

impl Health {
    /// As the log left it: a learner if it carries the mark, sound otherwise.
    pub(crate) fn recovered(rejoin: Option<Rejoin>) -> Health {
        Health { must_rejoin: rejoin.is_some(), rejoin, ..Health::default() }
    }

    /// Whether it takes no part any more.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken.is_some()
    }

    pub(crate) fn broken(&self) -> Option<&String> {
        self.broken.as_ref()
    }

    /// It takes no part from now on; false if it did not before.
    pub(crate) fn stop(&mut self, reason: String) -> bool {
        let first = self.broken.is_none();
        if first {
            self.broken = Some(reason);
        }
        first
    }

    /// Its history is not this leader's. Which of the two is the minority is not known yet.
    pub(crate) fn diverged_from(&mut self, leader: ReplicaId, epoch: Epoch, acked: Lsn) {
        self.divergence = Some(Divergence { epoch, leader, acked });
    }

    /// Whether the leader that we differ from has committed, in its epoch, more than we ever acked: a majority without us has
    /// its history, for a follower compares the hashes before it appends. True once; then the mark is to be forced.
    pub(crate) fn is_outvoted(&mut self, leader: ReplicaId, epoch: Epoch, committed: Lsn) -> bool {
        let outvoted = self.divergence.is_some_and(|known| {
            (known.epoch, known.leader) == (epoch, leader)
                && committed.epoch == epoch
                && committed.seq > known.acked.seq
        });
        if outvoted {
            self.divergence = None;
            self.must_rejoin = true;
        }
        outvoted
    }

    /// The store is empty: nothing is damaged or differs any more, and the way back begins.
    pub(crate) fn data_wiped(&mut self, rejoin: Rejoin) {
        (self.damaged, self.broken) = (false, None);
        self.rejoin = Some(rejoin);
    }

    /// Whether it counts for nothing: no promise of its own, no grant, no ack.
    pub(crate) fn is_learner(&self) -> bool {
        self.rejoin.is_some()
    }

    /// The way back, for a learner.
    pub(crate) fn rejoin(&self) -> Option<&Rejoin> {
        self.rejoin.as_ref()
    }

    pub(crate) fn rejoin_mut(&mut self) -> Option<&mut Rejoin> {
        self.rejoin.as_mut()
    }

    /// Whether a checkpoint carries the mark of a learner.
    pub(crate) fn must_rejoin(&self) -> bool {
        self.must_rejoin
    }

    /// The mark is to be taken away.
    pub(crate) fn clear_mark(&mut self) {
        self.must_rejoin = false;
    }

    /// The mark is gone, durably: a member like any other.
    pub(crate) fn rejoined(&mut self) {
        self.rejoin = None;
    }

    /// [rejoin-as-learner]: panics if this does not hold together.
    pub(crate) fn check(&self) {
        assert!(
            self.divergence.is_none() || self.broken.is_some(),
            "one that differs from its leader takes no part"
        );
    }
}
