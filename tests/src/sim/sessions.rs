//! Nodes and the coordinator: requests and their outcomes, views, sessions that end and are made again.

use replication::protocol::coordination::{CoordinationOutcome, CoordinationRequest, RangeView};
use replication::protocol::event::Event as CohortEvent;

use super::coverage::Kinds;
use super::history::{Node, Range};
use super::world::{Action, World};

/// An adaptor that cannot reach the service tries again after so long.
const RETRY: u64 = 20_000;

impl World {
    fn reaches_coordinator(&self, node: Node) -> bool {
        self.outage_until <= self.now
            && self.machines.get(&node).is_some_and(|machine| machine.adrift_until <= self.now)
    }

    fn session_lives(&self, node: Node) -> bool {
        self.machines.get(&node).is_some_and(|machine| machine.session_lives)
    }

    /// A request reaches the service, or not yet.
    pub(super) fn coordinate(&mut self, node: Node, life: u64, range: Range, request: CoordinationRequest) {
        if !self.runs(node) || self.life(node) != life {
            return;
        }
        if !self.reaches_coordinator(node) || !self.session_lives(node) {
            return self.plan(RETRY, Action::Coordinate { node, life, range, request });
        }
        let me = self.member(node);
        let service = &mut self.services[range as usize];
        let done = service.execute(me, request);
        let change = service.change;
        self.coverage.met((request, done).kind());
        self.announce(range);
        if self.random.one_in(20) {
            // The answer is lost: the adaptor finds out by trying again.
            return self.plan(RETRY, Action::Coordinate { node, life, range, request });
        }
        self.note(|| format!("n{node} r{range} {request:?}: {}", if done { "done" } else { "refused" }));
        let delay = 200 + self.random.below(self.options.delay_max);
        let outcome = CoordinationOutcome { request, done };
        self.plan(delay, Action::Coordinated { node, life, range, outcome, change });
    }

    /// Something changed in a range: its members' watches fire. What they read is of now, and arrives later.
    pub(super) fn announce(&mut self, range: Range) {
        for node in self.options.members(range) {
            if !self.runs(node) {
                continue;
            }
            let life = self.life(node);
            let service = &self.services[range as usize];
            let view = (service.view(self.session_lives(node)), service.change);
            let delay = 100 + self.random.below(self.options.delay_max);
            self.plan(delay, Action::View { node, life, range, view: Some(view) });
        }
    }

    /// A view arrives.
    pub(super) fn show(&mut self, node: Node, life: u64, range: Range, view: Option<(RangeView, u64)>) {
        if !self.runs(node) || self.life(node) != life {
            return;
        }
        if !self.reaches_coordinator(node) {
            return self.plan(RETRY, Action::View { node, life, range, view: None });
        }
        let lives = self.session_lives(node);
        let service = &self.services[range as usize];
        let (view, change) = view.unwrap_or_else(|| (service.view(lives), service.change));
        let Some(replica) = self.replica(node, range) else { return };
        // The adaptor reads one view after the other, and none is older than an outcome reported before.
        if change < replica.change {
            return;
        }
        replica.change = change;
        self.tell(node, range, CohortEvent::View(view));
    }

    /// The service gives a session up.
    pub(super) fn expire(&mut self, node: Node, session: u64) {
        let Some(machine) = self.machines.get_mut(&node) else { return };
        if machine.session != session || !machine.session_lives {
            return;
        }
        machine.session_lives = false;
        let back = machine.adrift_until.max(machine.paused_until).max(self.outage_until);
        let me = self.member(node);
        for range in self.ranges_of(node) {
            self.services[range as usize].expire(me);
            self.announce(range);
        }
        if self.runs(node) {
            let delay = back.saturating_sub(self.now) + 1000 + self.random.below(50_000);
            self.plan(delay, Action::Renew { node });
        }
    }

    /// The node makes a new session.
    pub(super) fn renew(&mut self, node: Node) {
        if !self.runs(node) || self.session_lives(node) {
            return;
        }
        if !self.reaches_coordinator(node) {
            return self.plan(RETRY, Action::Renew { node });
        }
        if let Some(machine) = self.machines.get_mut(&node) {
            machine.session += 1;
            machine.session_lives = true;
        }
        let life = self.life(node);
        for range in self.ranges_of(node) {
            self.services[range as usize].change += 1;
            self.plan(100, Action::View { node, life, range, view: None });
        }
    }

    /// The node cannot reach the coordinator for so long; its session ends if that is too long.
    pub(super) fn lose_coordinator(&mut self, node: Node, during: u64) {
        let timeout = self.options.session_timeout;
        let Some(machine) = self.machines.get_mut(&node) else { return };
        machine.adrift_until = machine.adrift_until.max(self.now + during);
        let session = machine.session;
        if during > timeout {
            self.plan(timeout, Action::Expire { node, session });
        }
    }
}
