//! Follows: appends what the leader of the promised epoch proposes, forces, acks; applies up to the commit point;
//! grants leases; and when the leader falls silent, asks around before it stands (pre-vote, design 4.4).

use std::collections::BTreeSet;

use wal::{ChainHash, Entry, Epoch, Lsn, NodeId, Promise, ReplicaId};

use super::effect::{Effect, Reply};
use super::event::Token;
use super::member::{Common, Durable, Member};
use super::message::{Heartbeat, Message, OwnStamp};
use super::snapshot::Receiving;
use super::time::{Millis, Stamp};

/// How long a pre-vote waits for answers before it asks again.
const PRE_VOTE_ROUND: Millis = Millis(100);

/// The role's own state.
#[derive(Debug, Default)]
pub(crate) struct Follower {
    /// The leader as heard of; it is the promised one only if the promise is bound to it.
    pub(crate) leader: Option<(Epoch, ReplicaId)>,
    /// Last LSN shown equal to the log of the promised leader, in its epoch (rule 6); then also our last LSN.
    pub(crate) matched: Option<Lsn>,
    /// When a leader, even a refused one, was last heard (rule 14).
    heard: Option<Stamp>,
    /// The leader is likely gone: do not wait for the silence to grow long.
    hint: bool,
    /// The newest stamp received from the leader.
    newest: Stamp,
    /// The newest stamp for which a lease was granted.
    granted: Option<Stamp>,
    pre_vote: PreVote,
    /// A snapshot on its way here.
    pub(crate) receiving: Option<Receiving>,
    /// All that is here goes when the snapshot that is being put in force is.
    forgetting: bool,
}

/// A question to all others whether they have lost the leader, too.
#[derive(Debug, Default)]
struct PreVote {
    round: u64,
    asked_at: Option<Stamp>,
    agreed: BTreeSet<NodeId>,
}

/// What a follower wants to become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ambition {
    /// Stay.
    Stay,
    /// Stand for election: a majority has lost the leader.
    Stand,
    /// Take over at once: the leader has released its leases of this epoch for us.
    Succeed(Epoch),
}

impl Follower {
    /// Bound to a leader, or waiting for one; `heard` starts the clock of suspicion.
    pub(crate) fn new(leader: Option<(Epoch, ReplicaId)>, heard: Option<Stamp>) -> Follower {
        Follower { leader, heard, ..Follower::default() }
    }

    /// Whether the leader counts as alive for pre-votes.
    pub(crate) fn leader_alive(&self, common: &Common) -> bool {
        !self.hint && self.heard.is_some_and(|heard| common.now < heard.plus(common.settings().suspect_after))
    }
}

impl Member<Follower> {
    /// The leader that our promise is bound to.
    pub(crate) fn bound(&self) -> Option<ReplicaId> {
        let able =
            self.common.promise_forced && self.common.broken.is_none() && !self.common.may_not_promise();
        self.common.promise.leader.filter(|_| able)
    }

    /// Someone who claims to lead was heard.
    pub(crate) fn heard_leader(&mut self, epoch: Epoch, from: ReplicaId) {
        self.role.heard = Some(self.common.now);
        self.role.hint = false;
        if self.role.leader.is_none_or(|(known, _)| known <= epoch) {
            self.role.leader = Some((epoch, from));
        }
    }

    pub(crate) fn propose(
        &mut self,
        from: ReplicaId,
        prev: Lsn,
        mut entries: Vec<Entry>,
        heartbeat: Heartbeat,
        out: &mut Vec<Effect>,
    ) {
        if self.bound() != Some(from) {
            return;
        }
        let Some(matched) = self.role.matched else { return self.report(from, out) };
        self.receive(&heartbeat, out);
        let end = entries.last().map_or(prev, |entry| entry.lsn);
        if end.seq <= matched.seq {
            self.next_heartbeat(&heartbeat, out);
            return self.ack(from, out);
        }
        if prev.seq > matched.seq {
            let message = Message::Gap { epoch: self.common.promise.epoch, last: matched };
            return self.common.send(from.node, message, out);
        }
        entries.retain(|entry| entry.lsn.seq > matched.seq);
        // An entry's hash covers all before it, so this compares the whole logs.
        let (last, chain) = (self.common.log.last(), self.common.log.last_chain());
        if !entries.first().is_some_and(|first| first.follows(last, chain)) {
            let text = format!("the log differs from the leader's ({}) behind {last}", from.node);
            return self.common.differs(from, text, out);
        }
        self.role.matched = Some(end);
        self.common.append_entries(entries, out);
        self.next_heartbeat(&heartbeat, out);
    }

    pub(crate) fn heartbeat(&mut self, from: ReplicaId, heartbeat: Heartbeat, out: &mut Vec<Effect>) {
        if self.bound() != Some(from) {
            return;
        }
        if self.role.matched.is_none() {
            return self.report(from, out);
        }
        self.receive(&heartbeat, out);
        self.next_heartbeat(&heartbeat, out);
        self.ack(from, out);
        self.ask_for_repair(from, out);
    }

    /// Takes the leader's stamp and grants a lease from now.
    fn receive(&mut self, heartbeat: &Heartbeat, out: &mut Vec<Effect>) {
        self.role.newest = self.role.newest.max(heartbeat.stamp);
        if self.common.grant(heartbeat.lease, out) {
            self.role.granted = self.role.granted.max(Some(heartbeat.stamp));
        }
    }

    /// Takes the leader's commit point: compares hashes there, and applies what is forced here and matched.
    fn next_heartbeat(&mut self, heartbeat: &Heartbeat, out: &mut Vec<Effect>) {
        let Some(matched) = self.role.matched else { return };
        if let Some((lsn, chain)) = self.common.log.at(heartbeat.committed.seq)
            && heartbeat.committed.seq <= matched.seq
            && (lsn, chain) != (heartbeat.committed, heartbeat.committed_chain)
            && let Some(leader) = self.bound()
        {
            let text = format!("hash differs from the leader's ({}) at {}", leader.node, heartbeat.committed);
            return self.common.differs(leader, text, out);
        }
        self.common.echoed(heartbeat);
        let committed = if heartbeat.committed.seq <= matched.seq { heartbeat.committed } else { matched };
        let forced = self.common.log.forced();
        self.common.commit_and_apply(committed, forced, out);
    }

    pub(crate) fn ack(&self, to: ReplicaId, out: &mut Vec<Effect>) {
        let Some(matched) = self.role.matched else { return };
        let forced = self.common.log.forced();
        let learner = self.common.is_learner();
        let (stamp, grant) = match self.role.granted {
            Some(granted) if granted == self.role.newest => (granted, true),
            Some(_) | None => (self.role.newest, false),
        };
        let message = Message::Ack {
            epoch: self.common.promise.epoch,
            forced: if forced.seq < matched.seq { forced } else { matched },
            stamp,
            grant: grant && !learner,
            learner,
            own_stamp: OwnStamp { life: self.common.config.life, at: self.common.now },
        };
        self.common.send(to.node, message, out);
    }

    fn report(&self, to: ReplicaId, out: &mut Vec<Effect>) {
        let (epoch, report) = (self.common.promise.epoch, self.common.log.report());
        let message = match self.common.is_learner() {
            true => Message::LearnerReport { epoch, report },
            false => Message::Report { epoch, report },
        };
        self.common.send(to.node, message, out);
    }

    /// The leader has found where our logs agree.
    pub(crate) fn match_at(
        &mut self,
        from: ReplicaId,
        reported: Lsn,
        (agree, chain): (Lsn, Option<ChainHash>),
        out: &mut Vec<Effect>,
    ) {
        let epoch = self.common.promise.epoch;
        if self.bound() != Some(from) {
            return;
        }
        if self.role.matched.is_some() {
            return self.ack(from, out);
        }
        if reported != self.common.log.last() {
            // It answers an older report: it is not about the log as it is now.
            return;
        }
        let log = &mut self.common.log;
        let ours = log.at(agree.seq);
        let equal = ours.is_some_and(|(lsn, at)| lsn == agree && chain.is_none_or(|chain| chain == at));
        if !equal {
            let text = format!("hash differs from the leader's ({}) at {agree}", from.node);
            return self.common.differs(from, text, out);
        }
        if agree.seq < log.committed().seq {
            // Perhaps the others have lost what is here: not ours to throw away.
            let text = format!("the leader {} would truncate committed entries: agree={agree}", from.node);
            return self.common.diverged(text, out);
        }
        match log.truncate(agree) {
            // The Skip must be durable before anything is acked for this leader.
            Some(skip) => self.common.append_skip(skip, epoch, agree, out),
            None => self.matched(epoch, agree, out),
        }
    }

    fn matched(&mut self, epoch: Epoch, agree: Lsn, out: &mut Vec<Effect>) {
        if self.common.promise.epoch == epoch
            && let Some(leader) = self.bound()
            && self.common.log.last() == agree
        {
            self.role.matched = Some(agree);
            self.ack(leader, out);
        }
    }

    pub(crate) fn durable(&mut self, durable: &Durable, out: &mut Vec<Effect>) {
        match durable {
            Durable::Entries(_) => {
                if let Some(leader) = self.bound() {
                    let (committed, forced) = (self.common.log.committed(), self.common.log.forced());
                    self.common.commit_and_apply(committed, forced, out);
                    self.ack(leader, out);
                }
            }
            Durable::Bound(promise) => {
                if *promise == self.common.promise
                    && let Some(leader) = promise.leader
                {
                    self.promised(promise.epoch, leader, out);
                }
            }
            Durable::Truncated { epoch, agree } => self.matched(*epoch, *agree, out),
            Durable::Promoted => self.rejoined(durable, out),
            Durable::RejoinMarked => self.forget(out),
            Durable::Candidacy(_) | Durable::LeaseLogged(_) | Durable::Checkpoint => {}
        }
    }

    /// Throws away what differs from the leader's: the mark that says so is durable. A snapshot that is being put in force
    /// comes first.
    fn forget(&mut self, out: &mut Vec<Effect>) {
        match self.common.installing {
            true => self.role.forgetting = true,
            false => out.push(Effect::WipeData),
        }
    }

    /// The store is empty.
    pub(crate) fn cleared(&mut self, outcome: Result<(), String>, out: &mut Vec<Effect>) {
        self.role = Follower::new(self.role.leader, Some(self.common.now));
        self.common.data_wiped(outcome, out);
    }

    /// Tells the winner that we are bound to it.
    pub(crate) fn promised(&self, epoch: Epoch, leader: ReplicaId, out: &mut Vec<Effect>) {
        if self.common.may_not_promise() {
            return;
        }
        let report = self.common.log.report();
        let message = match self.common.is_learner() {
            true => Message::LearnerReport { epoch, report },
            false => Message::Promised { epoch, report },
        };
        self.common.send(leader.node, message, out);
    }

    /// A member's connection is gone, or the leader's znode: if it is the leader, do not wait for silence.
    pub(crate) fn lost(&mut self, node: NodeId) {
        if self.role.leader.is_some_and(|(_, leader)| leader.node == node) {
            self.role.hint = true;
        }
    }

    /// Asks around when the leader is silent; says whether to stand.
    pub(crate) fn tick(&mut self, out: &mut Vec<Effect>) -> Ambition {
        if self.role.forgetting && !self.common.installing {
            self.role.forgetting = false;
            out.push(Effect::WipeData);
        }
        if self.common.is_learner() {
            self.probe_voters(out);
            return Ambition::Stay;
        }
        if self.common.broken.is_some()
            || self.role.leader_alive(&self.common)
            || self.common.lease_runs(None)
            || !self.common.view.session
        {
            self.role.pre_vote.asked_at = None;
            return Ambition::Stay;
        }
        if self.common.majority() == 1 {
            return Ambition::Stand;
        }
        let now = self.common.now;
        let vote = &mut self.role.pre_vote;
        if vote.asked_at.is_none_or(|asked| now >= asked.plus(PRE_VOTE_ROUND)) {
            vote.round += 1;
            vote.asked_at = Some(now);
            vote.agreed.clear();
            let (epoch, _) = self.role.leader.unwrap_or_default();
            let question = Message::PreVote { epoch, last: self.common.log.forced(), round: vote.round };
            for other in self.common.others() {
                self.common.send(other, question.clone(), out);
            }
        }
        Ambition::Stay
    }

    pub(crate) fn pre_vote_answer(
        &mut self,
        from: NodeId,
        round: u64,
        agree: bool,
        promise: Promise,
    ) -> Ambition {
        self.common.knows_promise(promise);
        let vote = &mut self.role.pre_vote;
        if vote.asked_at.is_none() || round != vote.round {
            return Ambition::Stay;
        }
        if agree {
            vote.agreed.insert(from);
        }
        let enough = vote.agreed.len() + 1 >= self.common.majority();
        let free = !self.role.leader_alive(&self.common) && !self.common.lease_runs(None);
        if enough && free && self.common.view.session && self.common.broken.is_none() {
            Ambition::Stand
        } else {
            Ambition::Stay
        }
    }

    /// The leader hands over to us.
    pub(crate) fn leadership_offered(&self, from: ReplicaId, epoch: Epoch, last: Lsn) -> Ambition {
        let whole = self.role.matched == Some(last) && self.common.log.forced() == last;
        if self.bound() == Some(from)
            && !self.common.is_learner()
            && self.common.promise.epoch == epoch
            && whole
            && self.common.view.session
        {
            Ambition::Succeed(epoch)
        } else {
            Ambition::Stay
        }
    }

    /// A client came to the wrong member.
    pub(crate) fn redirect(&self, token: Token, out: &mut Vec<Effect>) {
        let hint =
            self.role.leader.map(|(_, leader)| leader.node).filter(|node| *node != self.common.me().node);
        out.push(Effect::Reply { token, reply: Reply::NotLeader { hint } });
    }
}
