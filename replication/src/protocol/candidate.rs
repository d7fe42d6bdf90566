//! Stands for election (paper, Figure 7; design 4.4): promises the epoch to nobody yet, forces that, publishes its
//! last LSN, and watches who has the largest.
//!
//! The epoch of an election is fixed when its directory is made: one above the epoch znode and all promises known.
//! Candidates that come later enter the highest directory there is (rule 15). If nobody is heard as the winner
//! for a while, the next election is opened.

use wal::{Epoch, Promise};

use super::coordination::CoordinationRequest;
use super::effect::Effect;
use super::member::{Common, Durable, Member};
use super::time::Stamp;

/// The role's own state.
#[derive(Debug)]
pub(crate) struct Candidate {
    /// The election.
    pub(crate) epoch: Epoch,
    /// Since when a majority has stood here without a winner being heard.
    complete_since: Option<Stamp>,
}

/// What becomes of a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing yet.
    Wait,
    /// This member has won the election; the epoch is still to be taken.
    Won,
    /// Another has taken this epoch, or a higher one: wait for it.
    Lost,
    /// This election is stuck, or a higher one has begun: enter it.
    Next,
}

/// The election to enter: the highest that is open to us and known to anyone, or else a new one above everything
/// known. Joining what another has begun, rather than opening the next, lets candidates meet.
pub(crate) fn election(common: &Common) -> Epoch {
    let begun = common.view.elections.keys().next_back().map(|&epoch| Promise { epoch, leader: None });
    let taken = Promise { epoch: common.view.epoch, leader: common.view.holder };
    let highest = common.highest_promise.max(common.promise).max(taken).max(begun.unwrap_or_default());
    let open = highest.leader.is_none() && highest.epoch > common.view.epoch;
    if open { highest.epoch } else { Epoch(highest.epoch.0 + 1) }
}

impl Candidate {
    pub(crate) fn new(epoch: Epoch) -> Candidate {
        Candidate { epoch, complete_since: None }
    }
}

impl Member<Candidate> {
    /// Promises the election's epoch, to nobody; if that is durable already, stands at once.
    pub(crate) fn enter(&mut self, out: &mut Vec<Effect>) {
        let promise = Promise { epoch: self.role.epoch, leader: None };
        if self.common.promise == promise {
            self.stand(out);
        } else {
            self.common.promise(promise, out);
        }
    }

    pub(crate) fn durable(&mut self, durable: &Durable, out: &mut Vec<Effect>) {
        match durable {
            Durable::Candidacy(epoch) if *epoch == self.role.epoch => self.stand(out),
            Durable::Candidacy(_)
            | Durable::Entries(_)
            | Durable::Bound(_)
            | Durable::Truncated { .. }
            | Durable::LeaseLogged(_)
            | Durable::Promoted
            | Durable::RejoinMarked
            | Durable::Checkpoint => {}
        }
    }

    /// Publishes the last LSN. The promise is durable, and with it everything appended before: it stays true.
    fn stand(&mut self, out: &mut Vec<Effect>) {
        let epoch = self.role.epoch;
        if self.common.promise_forced && self.common.promise.epoch == epoch && !self.standing() {
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
    pub(crate) fn look(&mut self, out: &mut Vec<Effect>) -> Verdict {
        let view = &self.common.view;
        if view.epoch >= self.role.epoch {
            return Verdict::Lost;
        }
        if election(&self.common) > self.role.epoch {
            return Verdict::Next;
        }
        if !self.standing() {
            self.role.complete_since = None;
            self.stand(out);
            return Verdict::Wait;
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
            let rank = (candidate.last, std::cmp::Reverse(candidate.order), candidate.member);
            best = best.max(Some(rank));
        }
        if nodes.len() < self.common.majority() {
            self.role.complete_since = None;
            return Verdict::Wait;
        }
        let complete_since = *self.role.complete_since.get_or_insert(self.common.now);
        if best.is_some_and(|(_, _, member)| member == self.common.me()) && self.common.coordinating.is_none()
        {
            return Verdict::Won;
        }
        let wait_max = self.common.settings().suspect_after;
        if self.common.now >= complete_since.plus(wait_max).plus(wait_max) {
            self.common.knows_promise(Promise { epoch: Epoch(self.role.epoch.0 + 1), leader: None });
            return Verdict::Next;
        }
        Verdict::Wait
    }
}
