//! What members say, by direction, and the epoch rule: whose messages count [bound-promise].
//!
//! A promise is bound to one leader in one epoch. A leader of a lower epoch, or another one of the same epoch, is refused; one
//! of a higher epoch has to ask for a promise first. What is said to a leader counts only at the leader of that epoch.

use wal::{Epoch, Promise, ReplicaId};

use super::cohort::{Cohort, Role};
use super::effect::Effect;
use super::member::Member;
use super::message::{BetweenPeers, Envelope, FromLeader, Message, ToLeader};
use super::notice::{Notice, Why};
use super::transition::Transition;

impl Cohort {
    pub(super) fn received(
        &mut self,
        Envelope { from, to, message }: Envelope,
        out: &mut Vec<Effect>,
    ) -> Transition {
        let common = &mut self.common;
        let known = common.config.members.contains(&from);
        if to != common.me().node || from.node == common.me().node || !known {
            return Transition::Stay;
        }
        if let Some(epoch) = message.epochs().find(|epoch| !common.promises.believes(*epoch)) {
            common.disbelieve(&format!("{} says that there is an epoch {epoch}", from.node), out);
            return Transition::Stay;
        }
        if common.health.is_broken() {
            if let Message::FromLeader(
                epoch,
                FromLeader::Propose { heartbeat, .. } | FromLeader::Heartbeat(heartbeat),
            ) = &message
            {
                common.hear_as_broken(from, *epoch, heartbeat, out);
            }
            return Transition::Stay;
        }
        match message {
            Message::FromLeader(epoch, message) => self.received_from_leader(from, epoch, message, out),
            Message::ToLeader(epoch, message) => match &mut self.role {
                Role::Leader(role) if role.epoch == epoch => {
                    Member { common, role }.received(from, message, out)
                }
                Role::Leader(_) | Role::Follower(_) | Role::Candidate(_) => Transition::Stay,
            },
            Message::BetweenPeers(message) => self.received_from_peer(from, message, out),
        }
    }

    fn received_from_leader(
        &mut self,
        from: ReplicaId,
        epoch: Epoch,
        message: FromLeader,
        out: &mut Vec<Effect>,
    ) -> Transition {
        let admitted = match &message {
            FromLeader::RequestPromise { released } => self.bind(from, epoch, *released, out),
            // Only a follower that is bound to the sender in this epoch acts on it, and looks itself.
            FromLeader::TransferLeadership { .. } => true,
            FromLeader::Heartbeat(_) => self.admit(from, epoch, out) || self.bind_again(from, epoch, out),
            FromLeader::Propose { .. }
            | FromLeader::Match { .. }
            | FromLeader::Promote { .. }
            | FromLeader::OfferSnapshot { .. }
            | FromLeader::Snapshot { .. } => self.admit(from, epoch, out),
        };
        match &mut self.role {
            Role::Follower(role) if admitted => {
                Member { common: &mut self.common, role }.received(from, epoch, message, out)
            }
            Role::Follower(_) | Role::Candidate(_) | Role::Leader(_) => Transition::Stay,
        }
    }

    fn received_from_peer(
        &mut self,
        from: ReplicaId,
        message: BetweenPeers,
        out: &mut Vec<Effect>,
    ) -> Transition {
        match message {
            BetweenPeers::PreVote { round } => self.answer_pre_vote(from, round, out),
            BetweenPeers::VoterProbe { nonce } => self.common.answer_voter_probe(from, nonce, out),
            BetweenPeers::PreVoteAnswer { round, agree, promise } => {
                if let Role::Follower(role) = &mut self.role {
                    let mut member = Member { common: &mut self.common, role };
                    return member.pre_vote_answer(from.node, round, agree, promise);
                }
            }
            BetweenPeers::VoterProbeAnswer { nonce, promise } => {
                if let Role::Follower(role) = &mut self.role {
                    let mut member = Member { common: &mut self.common, role };
                    member.voter_probe_answered(from, nonce, promise, out);
                }
            }
        }
        Transition::Stay
    }

    /// Whether the leader is lost for us, too, and no lease that we granted is running [pre-vote].
    fn answer_pre_vote(&self, from: ReplicaId, round: u64, out: &mut Vec<Effect>) {
        let common = &self.common;
        if common.health.is_learner() {
            return;
        }
        let lost = match &self.role {
            Role::Follower(role) => !role.leader_alive(common),
            Role::Candidate(_) => true,
            Role::Leader(role) => !role.hears_majority(common),
        };
        let agree = lost && !common.lease_runs(None);
        let promise = common.promises.current();
        common.to_peer(from.node, BetweenPeers::PreVoteAnswer { round, agree, promise }, out);
    }

    // The epoch rule [bound-promise]

    /// Lets a leader's message through only if our promise is bound to that leader in that epoch.
    fn admit(&mut self, from: ReplicaId, epoch: Epoch, out: &mut Vec<Effect>) -> bool {
        let (promise, now) = (self.common.promises.current(), self.common.now);
        let refused = self.refuses(from, epoch);
        if refused {
            self.common.to_leader(from.node, epoch, ToLeader::Refuse { promise }, out);
        }
        if let Role::Follower(role) = &mut self.role
            && (!refused || epoch < promise.epoch)
        {
            // A refused leader is alive all the same.
            let silence = self.common.leaderless_since;
            if role.heard_leader(epoch, from, now) {
                self.common.leaderless_since = silence.filter(|_| refused);
                out.push(Effect::Notice(Notice::LeaderHeard { leader: from.node, epoch }));
            }
        }
        !refused && promise == Promise { epoch, leader: Some(from) }
    }

    /// Whether the promise forbids to follow this leader in this epoch.
    fn refuses(&self, from: ReplicaId, epoch: Epoch) -> bool {
        let promise = self.common.promises.current();
        let another = promise.leader.is_some_and(|leader| leader != from);
        epoch < promise.epoch || (epoch == promise.epoch && another)
    }

    /// The winner of `epoch` asks us to bind our promise to it. True if it is bound to it already.
    fn bind(
        &mut self,
        from: ReplicaId,
        epoch: Epoch,
        released: Option<Epoch>,
        out: &mut Vec<Effect>,
    ) -> bool {
        let (promise, wanted) = (self.common.promises.current(), Promise { epoch, leader: Some(from) });
        if self.common.may_not_promise() || promise == wanted {
            // A learner that does not know yet what it had promised will be asked again.
            return promise == wanted;
        }
        if self.refuses(from, epoch) {
            self.common.to_leader(from.node, epoch, ToLeader::Refuse { promise }, out);
        } else if !self.common.lease_runs(released) {
            self.turn(Transition::Follow { leader: Some((epoch, from)), why: Why::AskedToPromise }, out);
            self.common.promise(wanted, out);
        }
        // While a granted lease runs it promises nothing: it will be asked again [lease-margin].
        false
    }

    /// The leader still counts the promise that a learner made before losing its log, so it will not ask again: bind now.
    fn bind_again(&mut self, from: ReplicaId, epoch: Epoch, out: &mut Vec<Effect>) -> bool {
        let promise = self.common.promises.current();
        let unbound = promise.leader.is_none() || promise.epoch < epoch;
        self.common.health.is_learner() && unbound && self.bind(from, epoch, None, out)
    }
}
