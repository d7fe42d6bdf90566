//! The cohort's public face: one of three typed roles, the epoch rule, and the legal transitions.
//!
//! Transitions consume the old role. There are six: a follower stands or succeeds a leader that hands over; a
//! candidate enters the next election, or has won; a leader claims a higher epoch; and anyone follows.

use wal::{Epoch, NodeId, Promise, ReplicaId};

use super::candidate::{Candidate, Verdict, election};
use super::effect::{Effect, Reply};
use super::event::{Event, Received};
use super::follower::{Ambition, Follower};
use super::leader::{Leader, Outcome};
use super::member::{Common, Config, Durable, Member, Recovered};
use super::message::{Envelope, Message};
use super::progress::{Progress, Stage};
use super::status::{FollowerStatus, RoleName, Status};
use super::time::{Millis, Stamp};

/// One member of a cohort.
#[derive(Debug)]
pub struct Cohort(Option<Role>);

/// What it is at the moment.
#[derive(Debug)]
enum Role {
    Follower(Member<Follower>),
    Candidate(Member<Candidate>),
    Leader(Member<Leader>),
}

impl Cohort {
    /// A member as its log and store left it; puts out an `Apply` of what is known committed.
    pub fn recover(config: Config, recovered: Recovered, now: Stamp, out: &mut Vec<Effect>) -> Cohort {
        let fresh = recovered.fresh;
        let common = Box::new(Common::new(config, recovered, now, out));
        // Give a living leader time to be heard; a new range has none.
        let heard = if fresh { None } else { Some(now) };
        Cohort(Some(Role::Follower(Member { common, role: Follower::new(None, heard) })))
    }

    /// Takes one event, at `now` on this node's clock (never earlier than before), and puts out what is to be done, in
    /// order.
    pub fn step(&mut self, event: Event, now: Stamp, out: &mut Vec<Effect>) {
        // The role is only ever absent inside this call.
        let Some(mut role) = self.0.take() else { return };
        role.common_mut().now = now;
        self.0 = Some(role.step(event, out));
    }

    /// The state at this moment for scripts, `status` and logs.
    pub fn status(&self) -> Status {
        let role = self.role();
        let common = role.common();
        let mut status = Status {
            node: common.me().node,
            role: RoleName::Follower,
            epoch: common.promise.epoch,
            promise: common.promise,
            last: common.log.last(),
            forced: common.log.forced(),
            committed: common.log.committed(),
            applied: common.log.applied(),
            matched: None,
            leader: self.leader(),
            open: false,
            suspended: false,
            followers: Default::default(),
            broken: common.broken.clone(),
            learner: common.rejoin.is_some(),
            damaged: common.damaged,
        };
        match role {
            Role::Follower(member) => status.matched = member.role.matched,
            Role::Candidate(member) => {
                status.role = RoleName::Candidate;
                status.epoch = member.role.epoch;
            }
            Role::Leader(member) => {
                status.role = RoleName::Leader;
                status.epoch = member.role.epoch;
                status.open = member.role.is_open();
                status.suspended = member.role.is_suspended();
                let within = common.settings().lease;
                status.followers = member
                    .role
                    .progress
                    .iter()
                    .map(|(&node, progress)| {
                        let alive = progress.heard.is_some_and(|at| common.now < at.plus(within));
                        let matched = progress.matched;
                        (
                            node,
                            FollowerStatus {
                                matched,
                                alive,
                                out_of_reach: matches!(progress.stage, Stage::Snapshot(_)),
                            },
                        )
                    })
                    .collect();
            }
        }
        status
    }

    /// How old this replica's data are at most, at `now`; `None` if it cannot tell (rule 21). An open leader's are
    /// current while its lease runs, and age from then on: others may have been elected.
    pub fn staleness(&self, now: Stamp) -> Option<Millis> {
        match self.role() {
            Role::Leader(member) if member.role.is_open() => {
                let until = member.role.lease_until();
                (until > Stamp(0)).then(|| match now < until {
                    true => Millis(0),
                    false => now.since(until).plus_one(),
                })
            }
            role => role.common().fresh_at.map(|fresh_at| now.since(fresh_at).plus_one()),
        }
    }

    /// The leader as known here.
    pub fn leader(&self) -> Option<NodeId> {
        match self.role() {
            Role::Follower(member) => member.role.leader.map(|(_, leader)| leader.node),
            Role::Candidate(_) => None,
            Role::Leader(member) => Some(member.common.me().node),
        }
    }

    fn role(&self) -> &Role {
        self.0.as_ref().expect("the role is absent only inside step")
    }
}

impl Role {
    fn common(&self) -> &Common {
        match self {
            Role::Follower(member) => &member.common,
            Role::Candidate(member) => &member.common,
            Role::Leader(member) => &member.common,
        }
    }

    fn common_mut(&mut self) -> &mut Common {
        match self {
            Role::Follower(member) => &mut member.common,
            Role::Candidate(member) => &mut member.common,
            Role::Leader(member) => &mut member.common,
        }
    }

    fn step(mut self, event: Event, out: &mut Vec<Effect>) -> Role {
        match event {
            Event::Tick => {
                self.common_mut().tick(out);
                self.tick(out)
            }
            Event::Received(envelope) => self.received(envelope, out),
            Event::Forced(ticket) => {
                for durable in self.common_mut().forced(ticket) {
                    self.durable(&durable, out);
                }
                self
            }
            Event::AppendFailed(ticket) => {
                self.common_mut().append_failed(ticket, out);
                self
            }
            Event::View(view) => {
                let lost = self.common().view.leader.filter(|_| view.leader.is_none());
                self.common_mut().view = view;
                if let (Role::Follower(member), Some((_, leader))) = (&mut self, lost) {
                    member.lost(leader.node);
                }
                self.look(out)
            }
            Event::Coordinated(outcome) => {
                self.common_mut().coordinating = None;
                match self {
                    Role::Leader(mut member) => {
                        let next = member.coordinated(outcome, out);
                        member.turn(next, out)
                    }
                    Role::Follower(_) | Role::Candidate(_) => self,
                }
            }
            Event::SnapshotRead { to, snapshot, part } => {
                if let Role::Leader(member) = &mut self {
                    member.snapshot_read(to, snapshot, part, out);
                }
                self
            }
            Event::SnapshotReceived { snapshot, part, outcome } => {
                self.snapshot_received(snapshot, part, outcome, out)
            }
            Event::DataWiped(outcome) => {
                if let Role::Follower(member) = &mut self {
                    member.cleared(outcome, out);
                }
                self
            }
            Event::Damaged(damaged) => {
                self.common_mut().damaged = damaged;
                self
            }
            Event::Members(members) => {
                self.replaced(members);
                self
            }
            Event::Flushed { flushed, flushed_chain } => {
                self.common_mut().note_flushed(flushed, flushed_chain, out);
                self
            }
            Event::Write { token, payload } => match &mut self {
                Role::Leader(member) => {
                    member.write(token, payload, out);
                    self.settle(out)
                }
                Role::Follower(_) | Role::Candidate(_) => self.redirect(token, out),
            },
            Event::Read { token, after } => match &mut self {
                Role::Leader(member) => {
                    member.read(token, after, out);
                    self
                }
                Role::Follower(_) | Role::Candidate(_) => self.redirect(token, out),
            },
            Event::Transfer { token, target } => match &mut self {
                Role::Leader(member) => {
                    member.transfer(token, target, out);
                    self.settle(out)
                }
                Role::Follower(_) | Role::Candidate(_) => self.redirect(token, out),
            },
            Event::Unreachable(node) => {
                if let Role::Follower(member) = &mut self {
                    member.lost(node);
                }
                self
            }
            Event::Connected(node) => {
                if let Role::Leader(member) = &mut self {
                    member.connected(node, out);
                }
                self
            }
            Event::LogRead { to, after, entries } => {
                if let Role::Leader(member) = &mut self {
                    member.log_read(to, after, entries, out);
                }
                self
            }
        }
    }

    /// Some members have other disks than before: what the old ones held counts no more.
    fn replaced(&mut self, members: Vec<ReplicaId>) {
        let common = self.common_mut();
        let old = std::mem::replace(&mut common.config.members, members);
        let now = common.now;
        let new: Vec<NodeId> =
            common.config.members.iter().filter(|one| !old.contains(one)).map(|one| one.node).collect();
        if let Role::Leader(member) = self {
            for node in new {
                if let Some(progress) = member.role.progress.get_mut(&node) {
                    *progress = Progress::new(now);
                }
            }
        }
    }

    /// What the store has made of a part of a snapshot: it counts whatever has become of us meanwhile.
    fn snapshot_received(
        mut self,
        snapshot: u64,
        part: u64,
        outcome: Received,
        out: &mut Vec<Effect>,
    ) -> Role {
        match &mut self {
            Role::Follower(member) => member.snapshot_received(snapshot, part, outcome, out),
            Role::Candidate(_) | Role::Leader(_) => {
                let common = self.common_mut();
                common.installing = false;
                if let Received::Installed { flushed, flushed_chain } = outcome {
                    if flushed.seq < common.log.applied().seq {
                        common.note_flushed(flushed, flushed_chain, out);
                        return self;
                    }
                    out.push(Effect::SnapshotInstalled { flushed, flushed_chain });
                    common.snapshot_installed(flushed, flushed_chain, out);
                }
            }
        }
        self
    }

    fn redirect(self, token: super::event::Token, out: &mut Vec<Effect>) -> Role {
        match &self {
            Role::Follower(member) => member.redirect(token, out),
            Role::Candidate(_) | Role::Leader(_) => {
                out.push(Effect::Reply { token, reply: Reply::NotLeader { hint: None } });
            }
        }
        self
    }

    fn durable(&mut self, durable: &Durable, out: &mut Vec<Effect>) {
        match self {
            Role::Follower(member) => member.durable(durable, out),
            Role::Candidate(member) => member.durable(durable, out),
            Role::Leader(member) => member.durable(durable, out),
        }
    }

    fn tick(self, out: &mut Vec<Effect>) -> Role {
        match self {
            Role::Follower(mut member) => {
                let ambition = member.tick(out);
                member.pursue(ambition, out)
            }
            Role::Candidate(mut member) => {
                let verdict = member.look(out);
                member.turn(verdict, out)
            }
            Role::Leader(mut member) => {
                let next = member.tick(out);
                member.turn(next, out).settle(out)
            }
        }
    }

    /// Acts on a new view of the coordinator.
    fn look(self, out: &mut Vec<Effect>) -> Role {
        match self {
            Role::Follower(_) => self,
            Role::Candidate(mut member) => {
                let verdict = member.look(out);
                member.turn(verdict, out)
            }
            Role::Leader(mut member) => {
                member.win(out);
                Role::Leader(member)
            }
        }
    }

    /// A leader that has given its leases away is none any more.
    fn settle(self, out: &mut Vec<Effect>) -> Role {
        match self {
            Role::Leader(member) if member.has_released() => member.turn(Outcome::StepDown, out),
            Role::Follower(_) | Role::Candidate(_) | Role::Leader(_) => self,
        }
    }

    // Messages: the epoch rule (rule 1) stands here, once.

    fn received(mut self, envelope: Envelope, out: &mut Vec<Effect>) -> Role {
        let Envelope { from, to, message } = envelope;
        let common = self.common();
        let known = common.config.members.contains(&from);
        if to != common.me().node || from.node == common.me().node || !known {
            return self;
        }
        if common.broken.is_some() {
            if let Message::Propose { epoch, heartbeat, .. } | Message::Heartbeat { epoch, heartbeat } =
                &message
            {
                self.common_mut().outvoted(from, *epoch, heartbeat, out);
            }
            return self;
        }
        match message {
            Message::Propose { epoch, prev, entries, heartbeat } => {
                match self.admit(from, epoch, Some(heartbeat.stamp), out) {
                    Some(member) => {
                        member.propose(from, prev, entries, heartbeat, out);
                        self
                    }
                    None => self,
                }
            }
            Message::Heartbeat { epoch, heartbeat } => {
                if let Some(member) = self.admit(from, epoch, Some(heartbeat.stamp), out) {
                    member.heartbeat(from, heartbeat, out);
                    return self;
                }
                // A leader takes us for bound that we were before we lost our log, and asks no more.
                let common = self.common();
                let unbound = common.promise.leader.is_none() || common.promise.epoch < epoch;
                if common.is_learner() && unbound {
                    return self.requested(from, epoch, None, out);
                }
                self
            }
            Message::Match { epoch, agree, agree_chain, reported } => {
                if let Some(member) = self.admit(from, epoch, None, out) {
                    member.match_at(from, reported, (agree, agree_chain), out);
                }
                self
            }
            Message::OfferSnapshot { epoch, snapshot } => {
                if let Some(member) = self.admit(from, epoch, None, out) {
                    member.snapshot_offered(from, snapshot, out);
                }
                self
            }
            Message::Snapshot { epoch, snapshot, part } => {
                if let Some(member) = self.admit(from, epoch, None, out) {
                    member.snapshot_part(from, snapshot, part, out);
                }
                self
            }
            Message::NeedSnapshot { epoch, flushed } => {
                if let Role::Leader(member) = &mut self
                    && member.role.epoch == epoch
                {
                    member.need_snapshot(from, flushed, out);
                }
                self
            }
            Message::FetchSnapshot { epoch, snapshot, part, flushed } => {
                if let Role::Leader(member) = &mut self
                    && member.role.epoch == epoch
                {
                    member.fetch_snapshot(from, snapshot, part, flushed, out);
                }
                self
            }
            Message::RequestPromise { epoch, last: _, released } => {
                self.requested(from, epoch, released, out)
            }
            Message::TransferLeadership { epoch, last } => match self {
                Role::Follower(member) => {
                    let ambition = member.leadership_offered(from, epoch, last);
                    member.pursue(ambition, out)
                }
                Role::Candidate(_) | Role::Leader(_) => self,
            },
            Message::VoterProbe { nonce } => {
                self.common().answer_voter_probe(from, nonce, out);
                self
            }
            Message::VoterProbeAnswer { nonce, promise } => {
                if let Role::Follower(member) = &mut self {
                    member.voter_probe_answered(from, nonce, promise, out);
                }
                self
            }
            Message::LearnerReport { epoch, report } => {
                if let Role::Leader(member) = &mut self
                    && member.role.epoch == epoch
                {
                    member.catch_up_learner(from, &report, out);
                }
                self
            }
            Message::Promote { epoch, upto } => {
                if let Some(member) = self.admit(from, epoch, None, out) {
                    member.promote(from, upto, out);
                }
                self
            }
            Message::PreVote { .. } if self.common().is_learner() => self,
            Message::PreVote { epoch: _, last: _, round } => {
                let agree = self.has_lost_the_leader();
                let promise = self.common().promise;
                self.common().send(from.node, Message::PreVoteAnswer { round, agree, promise }, out);
                self
            }
            Message::PreVoteAnswer { round, agree, promise } => match self {
                Role::Follower(mut member) => {
                    let ambition = member.pre_vote_answer(from.node, round, agree, promise);
                    member.pursue(ambition, out)
                }
                Role::Candidate(_) | Role::Leader(_) => self,
            },
            Message::Ack { epoch, forced, learner: true, .. } => {
                if let Role::Leader(member) = &mut self
                    && member.role.epoch == epoch
                {
                    member.learner_ack(from, forced, out);
                }
                self
            }
            Message::Ack { epoch, forced, stamp, grant, own_stamp, learner: false } => match self {
                Role::Leader(mut member) if member.role.epoch == epoch => {
                    member.ack(from, forced, stamp, grant, own_stamp, out);
                    Role::Leader(member).settle(out)
                }
                Role::Leader(_) | Role::Follower(_) | Role::Candidate(_) => self,
            },
            Message::Gap { epoch, last } => {
                if let Role::Leader(member) = &mut self
                    && member.role.epoch == epoch
                {
                    member.gap(from, last, out);
                }
                self
            }
            Message::Report { epoch, report } => {
                if let Role::Leader(member) = &mut self
                    && member.role.epoch == epoch
                {
                    member.reported(from, &report, out);
                }
                self
            }
            Message::Promised { epoch, report } => match self {
                Role::Leader(mut member) if member.role.epoch == epoch => {
                    let next = member.promised(from, report, out);
                    member.turn(next, out)
                }
                Role::Leader(_) | Role::Follower(_) | Role::Candidate(_) => self,
            },
            Message::Refuse { epoch, promise, stamp: _ } => match self {
                Role::Leader(mut member) if member.role.epoch == epoch => {
                    let next = member.refused(from, promise, out);
                    member.turn(next, out)
                }
                Role::Leader(_) | Role::Follower(_) | Role::Candidate(_) => self,
            },
        }
    }

    /// Lets a leader's message through only if our promise is bound to that leader in that epoch.
    fn admit(
        &mut self,
        from: ReplicaId,
        epoch: Epoch,
        stamp: Option<Stamp>,
        out: &mut Vec<Effect>,
    ) -> Option<&mut Member<Follower>> {
        let promise = self.common().promise;
        let others = promise.leader.is_some_and(|leader| leader != from);
        if epoch < promise.epoch || (epoch == promise.epoch && others) {
            self.common().send(from.node, Message::Refuse { epoch, promise, stamp }, out);
            // A refused leader is alive all the same.
            if let Role::Follower(member) = self
                && epoch < promise.epoch
            {
                member.heard_leader(epoch, from);
            }
            return None;
        }
        match self {
            Role::Follower(member) => {
                member.heard_leader(epoch, from);
                (promise == Promise { epoch, leader: Some(from) }).then_some(member)
            }
            // Bound to it only after its RequestPromise, which makes us follow.
            Role::Candidate(_) | Role::Leader(_) => None,
        }
    }

    /// The winner of `epoch` asks us to bind our promise to it.
    fn requested(
        self,
        from: ReplicaId,
        epoch: Epoch,
        released: Option<Epoch>,
        out: &mut Vec<Effect>,
    ) -> Role {
        if self.common().may_not_promise() {
            // It will ask again.
            return self;
        }
        let promise = self.common().promise;
        let wanted = Promise { epoch, leader: Some(from) };
        if promise == wanted {
            if let Role::Follower(member) = self {
                if member.common.promise_forced && member.role.matched.is_none() {
                    member.promised(epoch, from, out);
                }
                return Role::Follower(member);
            }
            return self;
        }
        let bound = promise.leader.is_some();
        if epoch < promise.epoch || (epoch == promise.epoch && bound) {
            self.common().send(from.node, Message::Refuse { epoch, promise, stamp: None }, out);
            return self;
        }
        if self.common().lease_runs(released) {
            // Not now; it will ask again.
            return self;
        }
        let mut role = self.follow(Some((epoch, from)), out);
        role.common_mut().promise(wanted, out);
        role
    }

    fn has_lost_the_leader(&self) -> bool {
        let common = self.common();
        if common.lease_runs(None) {
            return false;
        }
        match self {
            Role::Follower(member) => !member.role.leader_alive(common),
            Role::Candidate(_) => true,
            Role::Leader(member) => !member.hears_majority(),
        }
    }

    /// Gives up whatever it is and follows.
    fn follow(self, leader: Option<(Epoch, ReplicaId)>, out: &mut Vec<Effect>) -> Role {
        let common = match self {
            Role::Follower(member) => member.common,
            Role::Candidate(member) => member.common,
            Role::Leader(mut member) => {
                member.close(out);
                member.common
            }
        };
        let heard = Some(common.now);
        Role::Follower(Member { role: Follower::new(leader, heard), common })
    }
}

impl Member<Follower> {
    fn pursue(self, ambition: Ambition, out: &mut Vec<Effect>) -> Role {
        match ambition {
            Ambition::Stay => Role::Follower(self),
            Ambition::Stand => enter(self.common, out),
            Ambition::Succeed(released) => claim(self.common, Some(released), out),
        }
    }
}

impl Member<Candidate> {
    fn turn(self, verdict: Verdict, out: &mut Vec<Effect>) -> Role {
        match verdict {
            Verdict::Wait => Role::Candidate(self),
            Verdict::Won => {
                let role = Leader::new(self.role.epoch, None, &self.common);
                let mut member = Member { common: self.common, role };
                member.win(out);
                Role::Leader(member)
            }
            Verdict::Lost => {
                let holder = self.common.view.holder.filter(|holder| *holder != self.common.me());
                let leader = holder.map(|holder| (self.common.view.epoch, holder));
                Role::Candidate(self).follow(leader, out)
            }
            Verdict::Next => enter(self.common, out),
        }
    }
}

impl Member<Leader> {
    fn turn(self, outcome: Outcome, out: &mut Vec<Effect>) -> Role {
        match outcome {
            Outcome::Lead => Role::Leader(self),
            Outcome::StepDown => Role::Leader(self).follow(None, out),
            Outcome::Claim => {
                let mut old = self;
                old.close(out);
                claim(old.common, None, out)
            }
        }
    }
}

/// Enters the election that is open, or opens one.
fn enter(common: Box<Common>, out: &mut Vec<Effect>) -> Role {
    let mut member = Member { role: Candidate::new(election(&common)), common };
    member.enter(out);
    Role::Candidate(member)
}

/// Takes an epoch above everything known without an election: a successor to whom the leases were released, or a
/// living leader that met a higher promise (rule 14).
fn claim(common: Box<Common>, released: Option<Epoch>, out: &mut Vec<Effect>) -> Role {
    let epoch = Epoch(common.highest_promise.epoch.max(common.view.epoch).max(common.promise.epoch).0 + 1);
    let mut member = Member { role: Leader::new(epoch, released, &common), common };
    member.win(out);
    Role::Leader(member)
}
