//! Which cohort a member belongs to, and what its log and its store held of it at start.

use wal::{CohortId, CohortRecovery, ReplicaId};

use super::settings::Settings;

/// Which cohort, who is in it, and who am I.
#[derive(Clone, Debug)]
pub struct Config {
    /// The cohort.
    pub cohort: CohortId,
    /// This member.
    pub me: ReplicaId,
    /// All members, this one included, each with its disk: messages from another disk of the same node are dropped
    /// [members-fixed].
    pub members: Vec<ReplicaId>,
    /// Distinguishes this life of the member from all others, those after a reboot included, which begins its clock anew:
    /// random.
    pub life: u64,
    /// Periods and limits.
    pub settings: Settings,
}

/// What the log and the store hold of the cohort at start.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    /// What the log holds; its checkpoint's `flushed` is what the store holds in SSTables, and its entries lie behind that.
    pub log: CohortRecovery,
    /// The range has just been created: there is no lease from a former life to wait out.
    pub fresh: bool,
    /// The store has taken a snapshot that the log does not know of yet: all that the log holds of the cohort is superseded,
    /// and is to be marked so [skip-needs-proof].
    pub log_superseded: bool,
    /// The log has just been found to have lost records of the cohort: promises or entries may be missing
    /// [rejoin-as-learner]. A learner that is still on its way back has the mark in its checkpoint.
    pub must_rejoin: bool,
}
