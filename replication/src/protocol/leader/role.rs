//! The leader's state, and what follows from it alone: above all, what a majority has answered.

use std::collections::BTreeMap;

use wal::{Epoch, Lsn, NodeId, Promise};

use super::commit_queue::CommitQueue;
use super::lease::{Heartbeats, LeaseHeld};
use super::progress::Progress;
use super::reads::Reads;
use super::transfers::Transfers;
use crate::protocol::member::Common;
use crate::protocol::quorum::reached_by_majority;
use crate::protocol::status::{FollowerStatus, RoleName, Status};
use crate::protocol::time::{Millis, Stamp};

/// Where a leadership stands. The phases before `Leading` are Paxos phase 1, see `takeover.rs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The epoch is being taken at the coordinator, by compare-and-set.
    Winning,
    /// Our own promise, bound to ourselves, is being forced.
    Binding,
    /// Since this stamp a majority is asked to bind their promises to us.
    Promising(Stamp),
    /// A majority is bound to us and has nothing that we lack; EpochStart is at this LSN.
    Leading(Lsn),
}

/// The role's own state.
#[derive(Debug)]
pub(crate) struct Leader {
    pub(crate) epoch: Epoch,
    pub(crate) phase: Phase,
    /// What is known of each follower.
    pub(crate) progress: BTreeMap<NodeId, Progress>,
    pub(crate) queue: CommitQueue,
    pub(crate) reads: Reads,
    pub(crate) heartbeats: Heartbeats,
    pub(crate) lease: LeaseHeld,
    pub(crate) transfers: Transfers,
    /// EpochStart is committed and applied, and the leases are not released: it serves.
    pub(crate) open: bool,
    /// No majority answers: it takes no writes [suspend-without-majority].
    pub(crate) suspended: bool,
    /// When it began to take over.
    pub(crate) since: Stamp,
}

impl Leader {
    /// Wins `epoch`; `inherited` is the epoch whose leases the former leader released for us.
    pub(crate) fn new(epoch: Epoch, inherited: Option<Epoch>, common: &Common) -> Leader {
        Leader {
            epoch,
            phase: Phase::Winning,
            progress: common.others().map(|node| (node, Progress::new())).collect(),
            queue: CommitQueue::default(),
            reads: Reads::default(),
            heartbeats: Heartbeats::default(),
            lease: LeaseHeld::default(),
            transfers: Transfers::new(inherited),
            open: false,
            suspended: false,
            since: common.now,
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.open
    }

    /// How old the data are at most: they are current while the lease runs, and age from then on, since others may have been
    /// elected. `None` without any lease.
    pub(crate) fn staleness(&self, now: Stamp) -> Option<Millis> {
        let until = self.lease.until();
        (until > Stamp(0)).then(|| match self.lease.holds(now) {
            true => Millis(0),
            false => now.since(until).plus_one(),
        })
    }

    /// Since when it serves not: since the takeover began, or since its lease ran out.
    pub(crate) fn idle_since(&self, now: Stamp) -> Option<Stamp> {
        let serves = self.open && self.lease.holds(now);
        (!serves).then_some(self.lease.until().max(self.since))
    }

    pub(crate) fn describe(&self, common: &Common, status: &mut Status) {
        status.role = RoleName::Leader;
        status.epoch = self.epoch;
        status.leader = Some(common.me().node);
        status.open = self.open;
        status.suspended = self.suspended;
        status.reads_waiting = self.reads.len();
        let within = common.settings().lease;
        let follower = |progress: &Progress| FollowerStatus {
            matched: progress.matched,
            alive: progress.contact.heard_within(within, common.now),
            out_of_reach: progress.takes_snapshot(),
            lacked: progress.lacked,
        };
        status.followers = self.progress.iter().map(|(&node, progress)| (node, follower(progress))).collect();
    }

    // What a majority says

    /// The newest of our stamps that a majority (with us) has answered.
    pub(crate) fn confirmed(&self, common: &Common) -> Option<Stamp> {
        let own = Some(Stamp(u64::MAX));
        let mut answered: Vec<Stamp> =
            self.progress.values().map(|one| one.contact.newest_answered()).chain([own]).flatten().collect();
        reached_by_majority(common.config.members.len(), &mut answered)
    }

    /// The newest of our stamps for which a majority (with us) has granted a lease [lease-needs-majority].
    pub(crate) fn granted(&self, common: &Common) -> Option<Stamp> {
        let own = Some(self.heartbeats.newest_stamp().max(common.now));
        let members = common.config.members.len();
        let mut granted: Vec<Stamp> =
            self.progress.values().map(|one| one.contact.newest_granted()).chain([own]).flatten().collect();
        reached_by_majority(members, &mut granted)
    }

    /// The sequence number up to which a majority has forced our log. Learners do not count.
    pub(crate) fn forced_by_majority(&self, common: &Common) -> Option<u64> {
        let forced = common.log.forced();
        let members = common.config.members.len();
        let mut reached: Vec<u64> = self
            .progress
            .values()
            .filter(|progress| progress.is_replicating() && !progress.learner)
            .map(|progress| progress.matched.seq)
            .chain([forced.seq])
            .collect();
        reached_by_majority(members, &mut reached)
    }

    /// Whether a majority, with us, was heard within a lease, even if it refused us.
    pub(crate) fn hears_majority(&self, common: &Common) -> bool {
        let within = common.settings().lease;
        let heard = self.progress.values().filter(|one| one.contact.heard_within(within, common.now));
        heard.count() + 1 >= common.majority()
    }

    /// Whether a majority, with us, has acked within a lease.
    pub(crate) fn followed_by_majority(&self, common: &Common) -> bool {
        let within = common.settings().lease;
        let follows = |one: &&Progress| one.is_replicating() && one.contact.heard_within(within, common.now);
        self.progress.values().filter(follows).count() + 1 >= common.majority()
    }

    /// Panics if an invariant does not hold.
    pub(crate) fn check(&self, common: &Common) {
        let promise = common.promises.current();
        let bound = Promise { epoch: self.epoch, leader: Some(common.me()) };
        if self.phase == Phase::Winning {
            assert!(promise < bound, "an epoch is won above all that we have promised");
        } else {
            assert_eq!(promise, bound, "a leadership has one epoch, and ends with a higher promise");
        }
        match self.phase {
            Phase::Leading(start) => {
                assert!(start.epoch == self.epoch, "EpochStart is of the leader's epoch");
                let applied = common.log.applied();
                assert!(!self.open || applied.seq >= start.seq, "it opens when EpochStart is applied");
            }
            Phase::Winning | Phase::Binding | Phase::Promising(_) => {
                assert!(!self.open, "nothing is served before EpochStart is committed");
            }
        }
        assert!(!self.transfers.has_released(), "a leader that has released its leases is none any more");
        self.queue.check(common.log.committed());
        self.progress.values().for_each(Progress::check);
    }
}
