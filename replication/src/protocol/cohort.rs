//! The cohort's public face: a role at work on what is common to all roles, and the legal transitions between roles.
//!
//! There are six transitions, and each consumes the old role: a follower stands for election, or succeeds a leader that
//! transfers to it; a candidate enters the next election, or has won; a leader claims a higher epoch; and anyone follows.

use wal::{Epoch, Lsn, NodeId};

use super::candidate::Candidate;
use super::config::{Config, Recovered};
use super::effect::Effect;
use super::event::{Event, Ticket};
use super::follower::Follower;
use super::leader::Leader;
use super::member::{Common, Member};
use super::notice::{Notice, Why};
use super::status::{RoleName, Status};
use super::time::{Millis, Stamp};
use super::transition::Transition;

/// Whether each step ends with a check of all invariants: in tests and simulations, not in what is shipped.
pub const INVARIANTS_CHECKED: bool = cfg!(any(debug_assertions, feature = "checks"));

/// One member of a cohort.
#[derive(Debug)]
pub struct Cohort {
    pub(super) common: Common,
    pub(super) role: Role,
}

/// What it is at the moment.
#[derive(Debug)]
pub(super) enum Role {
    Follower(Follower),
    Candidate(Candidate),
    Leader(Leader),
}

impl Role {
    fn name(&self) -> RoleName {
        match self {
            Role::Follower(_) => RoleName::Follower,
            Role::Candidate(_) => RoleName::Candidate,
            Role::Leader(_) => RoleName::Leader,
        }
    }

    /// The epoch that is led, followed or stood for; `None` for a follower without a leader.
    fn epoch(&self) -> Option<Epoch> {
        match self {
            Role::Follower(role) => role.leader_epoch(),
            Role::Candidate(role) => Some(role.epoch()),
            Role::Leader(role) => Some(role.epoch),
        }
    }

    /// What the log says of the step from `before` to this role.
    fn entered_from(&self, before: &Role, common: &mut Common, why: Why) -> Notice {
        let leader = match self {
            Role::Follower(role) => role.leader(),
            Role::Candidate(_) | Role::Leader(_) => None,
        };
        if leader.is_some() {
            common.leaderless_since = None;
        }
        let epoch = self.epoch().or(before.epoch()).unwrap_or(common.promises.current().epoch);
        Notice::Role { was: before.name(), role: self.name(), epoch, leader, why }
    }
}

impl Cohort {
    /// A member as its log and store left it; puts out an `Apply` of what is known committed.
    pub fn recover(config: Config, recovered: Recovered, now: Stamp, out: &mut Vec<Effect>) -> Cohort {
        // Give a living leader time to be heard; a new range has none.
        let heard = if recovered.fresh { None } else { Some(now) };
        let common = Common::new(config, recovered, now, out);
        Cohort { common, role: Role::Follower(Follower::new(None, heard)) }
    }

    /// Takes one event, at `now` on this node's clock (never earlier than before), and puts out what is to be done, in
    /// order.
    pub fn step(&mut self, event: Event, now: Stamp, out: &mut Vec<Effect>) {
        self.common.now = now;
        let transition = match self.take(event, out) {
            Transition::Stay => self.after_release(),
            next => next,
        };
        self.turn(transition, out);
        if INVARIANTS_CHECKED {
            self.check();
        }
    }

    /// The state at this moment for scripts, `status` and logs.
    pub fn status(&self) -> Status {
        let mut status = self.common.status();
        match &self.role {
            Role::Follower(role) => role.describe(&mut status),
            Role::Candidate(role) => role.describe(&mut status),
            Role::Leader(role) => role.describe(&self.common, &mut status),
        }
        status
    }

    /// Whether this replica's history may be told to anyone: false once it is known to differ from its leader's, whichever
    /// of the two is right [stopped-serves-nothing].
    pub fn takes_part(&self) -> bool {
        !self.common.health.is_broken()
    }

    /// How old this replica's data are at most, at `now`; `None` if that is not known [staleness-by-echo].
    pub fn staleness(&self, now: Stamp) -> Option<Millis> {
        match &self.role {
            Role::Leader(role) if role.is_open() => role.staleness(now),
            Role::Follower(_) | Role::Candidate(_) | Role::Leader(_) => self.common.freshness.staleness(now),
        }
    }

    /// Since when no leader that serves has been heard here; a leader: since when it serves not. `None`: all is well, as
    /// far as is known here.
    pub fn leaderless_since(&self) -> Option<Stamp> {
        match &self.role {
            Role::Leader(role) => role.idle_since(self.common.now),
            Role::Follower(_) | Role::Candidate(_) => self.common.leaderless_since,
        }
    }

    /// Strong reads that wait here for a confirmation.
    pub fn reads_waiting(&self) -> usize {
        match &self.role {
            Role::Leader(role) => role.reads.len(),
            Role::Follower(_) | Role::Candidate(_) => 0,
        }
    }

    /// The last LSN that is forced in this replica's own log.
    pub fn forced_lsn(&self) -> Lsn {
        self.common.log.forced()
    }

    /// The leader as known here.
    pub fn leader(&self) -> Option<NodeId> {
        match &self.role {
            Role::Follower(role) => role.leader(),
            Role::Candidate(_) => None,
            Role::Leader(_) => Some(self.common.me().node),
        }
    }

    fn take(&mut self, event: Event, out: &mut Vec<Effect>) -> Transition {
        let common = &mut self.common;
        match event {
            Event::Received(envelope) => return self.received(envelope, out),
            Event::Forced(ticket) => self.forced(ticket, out),
            Event::AppendFailed(ticket) => {
                common.append_failed(ticket, out);
                if let Role::Leader(role) = &mut self.role {
                    Member { common, role }.transfer_if_unfit(out);
                }
            }
            Event::Damaged(damaged) => common.health.damaged = damaged,
            Event::Flushed { flushed, flushed_chain } => common.note_flushed(flushed, flushed_chain, out),
            Event::Members(members) => {
                let replaced = common.replace_members(members);
                if let Role::Leader(role) = &mut self.role {
                    Member { common, role }.members_replaced(replaced);
                }
            }
            Event::View(mut view) => {
                let believed = common.believable(&mut view, out);
                return if believed { self.by_role(Event::View(view), out) } else { Transition::Stay };
            }
            event => {
                match event {
                    Event::Tick => common.tick(out),
                    Event::Coordinated(_) => common.coordinating = None,
                    _ => {}
                }
                return self.by_role(event, out);
            }
        }
        Transition::Stay
    }

    fn by_role(&mut self, event: Event, out: &mut Vec<Effect>) -> Transition {
        let common = &mut self.common;
        match &mut self.role {
            Role::Follower(role) => Member { common, role }.on_event(event, out),
            Role::Candidate(role) => Member { common, role }.on_event(event, out),
            Role::Leader(role) => Member { common, role }.on_event(event, out),
        }
    }

    fn forced(&mut self, ticket: Ticket, out: &mut Vec<Effect>) {
        for persisted in self.common.forced(ticket) {
            let common = &mut self.common;
            match &mut self.role {
                Role::Follower(role) => Member { common, role }.persisted(&persisted, out),
                Role::Candidate(role) => Member { common, role }.persisted(&persisted, out),
                Role::Leader(role) => Member { common, role }.persisted(&persisted, out),
            }
        }
    }

    // Transitions

    /// A leader that has given its leases away is none any more, whatever event that happened in [release-is-final].
    fn after_release(&self) -> Transition {
        match &self.role {
            Role::Leader(role) => match role.transfers.released_to() {
                Some(to) => Transition::Follow { leader: None, why: Why::Transferred { to } },
                None => Transition::Stay,
            },
            Role::Follower(_) | Role::Candidate(_) => Transition::Stay,
        }
    }

    /// Takes the next role, if there is one.
    pub(super) fn turn(&mut self, transition: Transition, out: &mut Vec<Effect>) {
        let common = &mut self.common;
        let (next, why) = match transition {
            Transition::Stay => return,
            Transition::Follow { leader, why } => {
                (Role::Follower(Follower::new(leader, Some(common.now))), why)
            }
            Transition::Stand(why) => (Role::Candidate(Candidate::new(common)), why),
            Transition::Lead(epoch, why) => (Role::Leader(Leader::new(epoch, None, common)), why),
            Transition::Claim { released, why } => {
                let known = common.promises.highest_known().epoch.max(common.view.epoch);
                (Role::Leader(Leader::new(Epoch(known.0 + 1), released, common)), why)
            }
        };
        if let Role::Leader(role) = &mut self.role {
            Member { common, role }.close(out);
        }
        out.push(Effect::Notice(next.entered_from(&self.role, common, why)));
        self.role = next;
        match &mut self.role {
            Role::Follower(_) => {}
            Role::Candidate(role) => Member { common, role }.enter(out),
            Role::Leader(role) => Member { common, role }.win(out),
        }
    }

    /// Panics if an invariant does not hold, whatever others have said to us.
    fn check(&self) {
        self.common.check();
        match &self.role {
            Role::Follower(role) => role.check(&self.common),
            Role::Candidate(role) => role.check(&self.common),
            Role::Leader(role) => role.check(&self.common),
        }
    }
}
