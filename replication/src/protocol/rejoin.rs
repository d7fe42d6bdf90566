//! A replica that has lost its log, or part of it, and with it perhaps promises and acknowledged writes (rule 5).
//!
//! It is a *learner*, by a durable mark in its log: it promises nothing, answers no pre-vote, grants no lease, and its acks do not count.
//! The way back:
//!
//! 1. It asks all other members, under a fresh nonce, for their promises. Whatever it promised and forgot, the candidate or
//!    leader that it was promised to holds as high a promise itself, and is among them. So it waits for *all*.
//! 2. It forces a promise as high as the highest of them.
//! 3. A leader of at least that epoch, open, brings it up to date: it follows as a *learner*, matched, sent snapshots and proposed to like
//!    a follower, counted for nothing.
//! 4. When it has forced everything up to where the leader's log ended as that began, the leader says so; it takes
//!    its mark away, durably, and is a member like any other.
//!
//! With two learners of three nobody comes back by itself: what they knew may be lost, and the range stays down.

use std::collections::BTreeMap;

use wal::{Lsn, NodeId, Promise, ReplicaId};

use super::effect::Effect;
use super::follower::Follower;
use super::leader::Leader;
use super::member::{Common, Durable, Member};
use super::message::{Message, Report};
use super::progress::Stage;
use super::time::{Millis, Stamp};

/// How often the others are asked again.
const ROUND: Millis = Millis(100);

/// How far a replica that lost its log has come on its way back.
#[derive(Debug)]
pub(crate) struct Rejoin {
    nonce: u64,
    asked_at: Option<Stamp>,
    /// What the others have promised.
    answers: BTreeMap<NodeId, Promise>,
    /// All have answered, and a promise as high as theirs is forced or being forced.
    prepared: bool,
    /// The mark is being taken away.
    leaving: bool,
}

impl Rejoin {
    pub(crate) fn new(life: u64, now: Stamp) -> Rejoin {
        Rejoin {
            nonce: life.wrapping_add(now.0),
            asked_at: None,
            answers: BTreeMap::new(),
            prepared: false,
            leaving: false,
        }
    }
}

impl Common {
    /// Whether this member must not promise anything to anyone now.
    pub(crate) fn may_not_promise(&self) -> bool {
        self.rejoin.as_ref().is_some_and(|rejoin| !(rejoin.prepared && self.promise_forced))
    }

    /// Whether its acks count, and its grants.
    pub(crate) fn is_learner(&self) -> bool {
        self.rejoin.is_some()
    }

    /// A learner asks what we have promised: said only once it is durable.
    pub(crate) fn answer_voter_probe(&self, to: ReplicaId, nonce: u64, out: &mut Vec<Effect>) {
        if self.rejoin.is_none() && self.promise_forced {
            self.send(to.node, Message::VoterProbeAnswer { nonce, promise: self.promise }, out);
        }
    }
}

impl Member<Follower> {
    /// Asks all others what they have promised, and promises as much.
    pub(crate) fn probe_voters(&mut self, out: &mut Vec<Effect>) {
        let (now, others) = (self.common.now, self.common.others().count());
        let Some(rejoin) = self.common.rejoin.as_mut() else { return };
        if rejoin.prepared {
            return;
        }
        if rejoin.answers.len() == others {
            rejoin.prepared = true;
            let highest = rejoin.answers.values().map(|promise| promise.epoch).max().unwrap_or_default();
            let promise = Promise { epoch: highest, leader: None };
            if promise > self.common.promise {
                self.common.promise(promise, out);
            }
            return;
        }
        if rejoin.asked_at.is_none_or(|asked| now >= asked.plus(ROUND)) {
            rejoin.asked_at = Some(now);
            let (nonce, known) = (rejoin.nonce, rejoin.answers.clone());
            for node in self.common.others().filter(|node| !known.contains_key(node)) {
                self.common.send(node, Message::VoterProbe { nonce }, out);
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
        self.common.knows_promise(promise);
        if let Some(rejoin) = self.common.rejoin.as_mut().filter(|rejoin| rejoin.nonce == nonce) {
            rejoin.answers.insert(from.node, promise);
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
        if let Some(rejoin) = self.common.rejoin.as_mut().filter(|rejoin| !rejoin.leaving) {
            rejoin.leaving = true;
            self.common.clear_rejoin_mark(out);
        }
    }

    /// The mark is gone.
    pub(crate) fn rejoined(&mut self, durable: &Durable, out: &mut Vec<Effect>) {
        if *durable == Durable::Promoted {
            self.common.rejoin = None;
            if let Some(leader) = self.bound() {
                self.ack(leader, out);
            }
        }
    }
}

impl Member<Leader> {
    /// A learner is bound to us and reports its log. Only an open leader brings it up to date: its EpochStart is committed.
    pub(crate) fn catch_up_learner(&mut self, from: ReplicaId, report: &Report, out: &mut Vec<Effect>) {
        let (last, open, flushed) = (self.common.log.last(), self.is_open(), self.common.flushed());
        let Some(progress) = self.role.progress.get_mut(&from.node) else { return };
        progress.learner = true;
        let transfer = matches!(progress.stage, Stage::Snapshot(_)) && report.committed.seq <= flushed.seq;
        if !open || transfer {
            return;
        }
        progress.learner_target = last;
        self.match_or_snapshot(from.node, report, out);
    }

    /// A learner has forced this much, perhaps less than before it lost its log.
    pub(crate) fn learner_ack(&mut self, from: ReplicaId, forced: Lsn, out: &mut Vec<Effect>) {
        let now = self.common.now;
        let Some(progress) = self.role.progress.get_mut(&from.node) else { return };
        progress.learner = true;
        if progress.stage == Stage::Matched && forced.seq < progress.matched.seq {
            progress.match_at(forced, now);
        }
        progress.level(forced, now);
        let target = progress.learner_target;
        if progress.stage == Stage::Matched && forced.seq >= target.seq && self.is_open() {
            let epoch = self.role.epoch;
            self.common.send(from.node, Message::Promote { epoch, upto: target }, out);
        }
        self.send_to(from.node, out);
    }

    fn is_open(&self) -> bool {
        self.role.is_open() && self.common.broken.is_none()
    }
}
