//! Stands for election (paper, Figure 7): promises the epoch to nobody yet, forces that, publishes its last LSN, and watches
//! who has the largest [largest-last-wins].
//!
//! The epoch of an election is fixed when its directory is made: one above the epoch znode and all promises known.
//! Candidates that come later enter the highest directory there is [meet-in-highest-election]. If nobody is heard as the
//! winner for a while, the next election is opened.

use std::cmp::Reverse;

use wal::{Epoch, Promise};

use super::coordination::CoordinationRequest;
use super::effect::{Effect, Reply};
use super::event::{Event, Received};
use super::member::{Common, Member, Persisted};
use super::notice::Why;
use super::status::{RoleName, Status};
use super::time::Stamp;
use super::transition::Transition;

/// The role's own state.
#[derive(Debug)]
pub(crate) struct Candidate {
    /// The election.
    epoch: Epoch,
    /// Since when a majority has stood here without a winner being heard.
    complete_since: Option<Stamp>,
}

/// The election to enter: the highest that is open to us and known to anyone, or else a new one above everything
/// known. Joining what another has begun, rather than opening the next, lets candidates meet.
fn election(common: &Common) -> Epoch {
    let begun = common.view.elections.keys().next_back().map(|&epoch| Promise { epoch, leader: None });
    let taken = Promise { epoch: common.view.epoch, leader: common.view.holder };
    let known = common.promises.highest_known();
    let highest = known.max(taken).max(begun.unwrap_or_default());
    let open = highest.leader.is_none() && highest.epoch > common.view.epoch;
    if open { highest.epoch } else { Epoch(highest.epoch.0 + 1) }
}

impl Candidate {
    /// A candidate in the election that is open, or in a new one.
    pub(crate) fn new(common: &Common) -> Candidate {
        Candidate { epoch: election(common), complete_since: None }
    }

    /// The election.
    pub(crate) fn epoch(&self) -> Epoch {
        self.epoch
    }

    pub(crate) fn describe(&self, status: &mut Status) {
        status.role = RoleName::Candidate;
        status.epoch = self.epoch;
    }

    /// [epoch-never-resumed]: panics if the election is not above what is bound to a leader.
    pub(crate) fn check(&self, common: &Common) {
        let candidacy = Promise { epoch: self.epoch, leader: None };
        assert_eq!(common.promises.current(), candidacy, "a candidate has promised its election to nobody");
    }
}

impl Member<'_, Candidate> {
    /// Promises the election's epoch, to nobody; if that is durable already, stands at once.
    pub(crate) fn enter(&mut self, out: &mut Vec<Effect>) {
        let promise = Promise { epoch: self.role.epoch, leader: None };
        if self.common.promises.current() == promise {
            self.stand(out);
        } else {
            self.common.promise(promise, out);
        }
    }

    pub(crate) fn on_event(&mut self, event: Event, out: &mut Vec<Effect>) -> Transition {
        match event {
            Event::Tick => return self.look(out),
            Event::View(view) => {
                self.common.look_at(view);
                return self.look(out);
            }
            Event::SnapshotReceived { outcome, .. } => {
                self.common.health.installing = false;
                if let Received::Installed { flushed, flushed_chain } = outcome {
                    self.common.snapshot_installed(flushed, flushed_chain, out);
                }
            }
            Event::Write { token, .. } | Event::Read { token, .. } | Event::Transfer { token, .. } => {
                out.push(Effect::Reply { token, reply: Reply::NotLeader { hint: None } });
            }
            // For a leader or a follower, or for all roles alike.
            _ => {}
        }
        Transition::Stay
    }

    /// An append is durable.
    pub(crate) fn persisted(&mut self, persisted: &Persisted, out: &mut Vec<Effect>) {
        if *persisted == Persisted::Candidacy(self.role.epoch) {
            self.stand(out);
        }
    }

    /// Publishes the last LSN. The promise is durable, and with it everything appended before: it stays true.
    fn stand(&mut self, out: &mut Vec<Effect>) {
        let (epoch, promises) = (self.role.epoch, &self.common.promises);
        if promises.is_forced() && promises.current().epoch == epoch && !self.standing() {
            let last = self.common.log.forced();
            self.common.coordinate(CoordinationRequest::Stand { epoch, last }, out);
        }
    }

    /// Whether our candidacy, as it is now, stands in the election.
    fn standing(&self) -> bool {
        let (me, last) = (self.common.me(), self.common.log.forced());
        self.common
            .view
            .elections
            .get(&self.role.epoch)
            .is_some_and(|candidates| candidates.iter().any(|one| one.member == me && one.last == last))
    }

    /// Looks at the election as the coordinator shows it.
    fn look(&mut self, out: &mut Vec<Effect>) -> Transition {
        let (me, view) = (self.common.me(), &self.common.view);
        if view.epoch >= self.role.epoch {
            // Another has taken this epoch, or a higher one: wait for it.
            let holder = view.holder.filter(|holder| *holder != me);
            let leader = holder.map(|holder| (view.epoch, holder));
            return Transition::Follow { leader, why: Why::EpochTaken };
        }
        if election(self.common) > self.role.epoch {
            return Transition::Stand(Why::HigherElection);
        }
        if !self.standing() {
            self.role.complete_since = None;
            self.stand(out);
            return Transition::Stay;
        }
        let mut best = None;
        let mut nodes = Vec::new();
        for candidate in view.elections.get(&self.role.epoch).into_iter().flatten() {
            if !self.common.config.members.contains(&candidate.member) {
                continue;
            }
            if !nodes.contains(&candidate.member.node) {
                nodes.push(candidate.member.node);
            }
            let rank = (candidate.last, Reverse(candidate.order), candidate.member);
            best = best.max(Some(rank));
        }
        if nodes.len() < self.common.majority() {
            self.role.complete_since = None;
            return Transition::Stay;
        }
        let complete_since = *self.role.complete_since.get_or_insert(self.common.now);
        if best.is_some_and(|(_, _, member)| member == me) && self.common.coordinating.is_none() {
            let last = self.common.log.forced();
            return Transition::Lead(self.role.epoch, Why::Elected { last });
        }
        let wait_max = self.common.settings().suspect_after;
        if self.common.now >= complete_since.plus(wait_max).plus(wait_max) {
            // The winner is not heard: the next election.
            let next = Promise { epoch: Epoch(self.role.epoch.0 + 1), leader: None };
            self.common.promises.note_known(next);
            return Transition::Stand(Why::WinnerSilent);
        }
        Transition::Stay
    }
}
