//! The coordination service as one range sees it: elections, the epoch's compare-and-set, the leader's znode.

use std::collections::BTreeMap;

use wal::{Epoch, ReplicaId};

use crate::protocol::coordination::{Candidate, CoordinationRequest, RangeView};

/// State of the service for one range.
#[derive(Clone, Debug, Default)]
pub struct Service {
    epoch: Epoch,
    holder: Option<ReplicaId>,
    version: i32,
    leader: Option<(Epoch, ReplicaId)>,
    elections: BTreeMap<Epoch, Vec<Candidate>>,
    order: u64,
}

impl Service {
    /// Carries out a request of a member whose session lives; whether it took effect.
    pub fn execute(&mut self, member: ReplicaId, request: CoordinationRequest) -> bool {
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

    /// The service is restored from a backup: ephemerals are gone, the epoch is an old one.
    pub fn restore(&mut self, backup: &Service) {
        let version = self.version;
        *self = backup.clone();
        // Versions of a restored service are its backup's; a fresh one would be too kind. They may repeat.
        self.version = backup.version.min(version);
        self.leader = None;
        self.elections.clear();
    }
}
