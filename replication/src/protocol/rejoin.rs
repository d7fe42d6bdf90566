//! The way back of a replica that has lost its log, or part of it, and with it perhaps promises and acknowledged writes
//! [rejoin-as-learner].
//!
//! It is a *learner*, by a durable mark in its log: it promises nothing, answers no pre-vote, grants no lease, and its acks do
//! not count. The way back:
//!
//! 1. It asks all other members, under a fresh nonce, for their promises. Whatever it promised and forgot, the candidate or
//!    leader that it was promised to holds as high a promise itself, and is among them. So it waits for *all*.
//! 2. It forces a promise as high as the highest of them.
//! 3. A leader of at least that epoch, open, brings it up to date: it is matched, sent snapshots and proposed to like a
//!    follower, and counted for nothing.
//! 4. When it has forced everything up to where the leader's log ended as that began, the leader promotes it; it takes
//!    its mark away, durably, and is a member like any other.
//!
//! With two learners of three nobody comes back by itself: what they knew may be lost, and the range stays down.

use wal::{Lsn, NodeId, Promise, ReplicaId};

use super::effect::Effect;
use super::follower::Follower;
use super::leader::Leader;
use super::member::{Common, Member, ProbeStep};
use super::message::{BetweenPeers, FromLeader, Report};
use super::notice::Notice;

impl Common {
    /// A learner asks what we have promised: answered only once it is durable, and never by another learner.
    pub(crate) fn answer_voter_probe(&self, to: ReplicaId, nonce: u64, out: &mut Vec<Effect>) {
        if !self.health.is_learner() && self.promises.is_forced() {
            let promise = self.promises.current();
            self.to_peer(to.node, BetweenPeers::VoterProbeAnswer { nonce, promise }, out);
        }
    }
}

impl Member<'_, Follower> {
    /// Asks all others what they have promised, and promises as much.
    pub(crate) fn probe_voters(&mut self, out: &mut Vec<Effect>) {
        let (now, others): (_, Vec<NodeId>) = (self.common.now, self.common.others().collect());
        let Some(rejoin) = self.common.health.rejoin_mut() else { return };
        match rejoin.next_step(&others, now) {
            ProbeStep::Wait => {}
            ProbeStep::Ask { nonce, whom } => {
                for node in whom {
                    self.common.to_peer(node, BetweenPeers::VoterProbe { nonce }, out);
                }
            }
            ProbeStep::Promise(epoch) => {
                let promise = Promise { epoch, leader: None };
                if promise > self.common.promises.current() {
                    self.common.promise(promise, out);
                }
            }
        }
    }

    /// Another member's promise.
    pub(crate) fn voter_probe_answered(
        &mut self,
        from: ReplicaId,
        nonce: u64,
        promise: Promise,
        out: &mut Vec<Effect>,
    ) {
        self.common.promises.note_known(promise);
        let rejoin = self.common.health.rejoin_mut();
        if rejoin.is_some_and(|rejoin| rejoin.answered(nonce, from.node, promise)) {
            self.probe_voters(out);
        }
    }

    /// The leader says that we have all that it had when it began to bring us up to date.
    pub(crate) fn promote(&mut self, from: ReplicaId, upto: Lsn, out: &mut Vec<Effect>) {
        let whole = self.role.matched.is_some_and(|matched| matched.seq >= upto.seq)
            && self.common.log.forced().seq >= upto.seq;
        if self.bound() != Some(from) || !whole {
            return;
        }
        if self.common.health.rejoin_mut().is_some_and(|rejoin| rejoin.begin_to_leave()) {
            self.common.clear_rejoin_mark(out);
        }
    }

    /// The mark is gone, durably.
    pub(crate) fn rejoined(&mut self, out: &mut Vec<Effect>) {
        self.common.health.rejoined();
        out.push(Effect::Notice(Notice::Promoted));
        if let Some(leader) = self.bound() {
            self.ack(leader, out);
        }
    }
}

impl Member<'_, Leader> {
    /// A learner is bound to us and reports its log. Only an open leader brings it up to date: its EpochStart is committed.
    pub(crate) fn catch_up_learner(&mut self, from: ReplicaId, report: &Report, out: &mut Vec<Effect>) {
        let (last, open, flushed) = (self.common.log.last(), self.serves(), self.common.flushed());
        let Some(progress) = self.role.progress.get_mut(&from.node) else { return };
        progress.note_learner(last);
        let transfer = progress.takes_snapshot() && report.committed.seq <= flushed.seq;
        if !open || transfer {
            return;
        }
        progress.learner_target = last;
        self.match_or_snapshot(from.node, report, out);
    }

    /// A learner has forced this much, perhaps less than before it lost its log.
    pub(crate) fn learner_ack(&mut self, from: ReplicaId, forced: Lsn, out: &mut Vec<Effect>) {
        let (now, last) = (self.common.now, self.common.log.last());
        let Some(progress) = self.role.progress.get_mut(&from.node) else { return };
        progress.note_learner(last);
        if progress.is_replicating() && forced.seq < progress.matched.seq {
            progress.replicate_from(forced, now);
        }
        progress.acked(forced, now);
        self.note_caught_up(from.node, out);
        let Some(progress) = self.role.progress.get(&from.node) else { return };
        let upto = progress.learner_target;
        if progress.is_replicating() && forced.seq >= upto.seq && self.serves() {
            self.send(from.node, FromLeader::Promote { upto }, out);
        }
        self.send_to(from.node, out);
    }
}
