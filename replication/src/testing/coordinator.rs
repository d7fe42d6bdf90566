//! The coordination service, as the ranges see it: elections, the epoch's compare-and-set, the leader's znode; sessions
//! and their ephemerals; and what an operator can do to it.

use std::collections::BTreeMap;

use wal::{Epoch, ReplicaId};

use crate::coordination::range::NO_EPOCH;
use crate::protocol::coordination::{Candidate, CoordinationRequest, RangeView};

/// State of the service for one range.
#[derive(Clone, Debug)]
pub struct Service {
    epoch: Epoch,
    holder: Option<ReplicaId>,
    version: i32,
    leader: Option<(Epoch, ReplicaId)>,
    elections: BTreeMap<Epoch, Vec<Candidate>>,
    order: u64,
    /// Grows with every change, so that views can be distinguished from newer ones.
    pub change: u64,
}

impl Default for Service {
    fn default() -> Service {
        Service {
            epoch: Epoch(0),
            holder: None,
            version: NO_EPOCH,
            leader: None,
            elections: BTreeMap::new(),
            order: 0,
            change: 0,
        }
    }
}

impl Service {
    /// Carries out a request of a member whose session lives; whether it took effect.
    pub fn execute(&mut self, member: ReplicaId, request: CoordinationRequest) -> bool {
        self.change += 1;
        match request {
            CoordinationRequest::Stand { epoch, last } => {
                if epoch <= self.epoch {
                    return false;
                }
                self.order += 1;
                let candidates = self.elections.entry(epoch).or_default();
                candidates.retain(|one| one.member != member);
                candidates.push(Candidate { member, last, order: self.order });
                true
            }
            CoordinationRequest::Win { epoch, epoch_version } => {
                // Tried again after a lost answer: done is what stands there.
                if self.epoch == epoch && self.holder == Some(member) {
                    return true;
                }
                if epoch_version != self.version || epoch <= self.epoch {
                    return false;
                }
                self.epoch = epoch;
                self.holder = Some(member);
                self.version += 1;
                self.leader = Some((epoch, member));
                self.elections.retain(|election, _| *election > epoch);
                true
            }
            CoordinationRequest::Restore { epoch } => {
                let mine = self.epoch == epoch && self.holder == Some(member) && self.leader.is_none();
                if mine {
                    self.leader = Some((epoch, member));
                }
                mine
            }
            CoordinationRequest::Resign { epoch } => {
                if self.leader == Some((epoch, member)) {
                    self.leader = None;
                }
                self.withdraw(member);
                true
            }
        }
    }

    /// The member's session ends: its ephemerals go.
    pub fn expire(&mut self, member: ReplicaId) {
        self.change += 1;
        if self.leader.is_some_and(|(_, leader)| leader == member) {
            self.leader = None;
        }
        self.withdraw(member);
    }

    fn withdraw(&mut self, member: ReplicaId) {
        for candidates in self.elections.values_mut() {
            candidates.retain(|one| one.member != member);
        }
    }

    /// What a member with (or without) a session sees.
    pub fn view(&self, session: bool) -> RangeView {
        RangeView {
            session,
            epoch: self.epoch,
            holder: self.holder,
            epoch_version: self.version,
            leader: self.leader,
            elections: self.elections.clone(),
        }
    }

    /// An operator deletes znodes: 0 the leader's, 1 the epoch's, 2 all below the range.
    pub fn delete(&mut self, what: u8) {
        self.change += 1;
        if what != 1 {
            self.leader = None;
        }
        if what != 0 {
            (self.epoch, self.holder, self.version) = (Epoch(0), None, NO_EPOCH);
        }
        if what == 2 {
            self.elections.clear();
        }
    }

    /// The service is restored from a backup: ephemerals are gone, the epoch is an old one, versions may repeat.
    pub fn restore(&mut self, backup: &Service) {
        let change = self.change.max(backup.change) + 1;
        *self = Service { change, leader: None, elections: BTreeMap::new(), ..backup.clone() };
    }
}
