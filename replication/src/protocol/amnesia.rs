//! A replica that has lost its log, or part of it, and with it perhaps promises and acknowledged writes (rule 5).
//!
//! It is *amnesiac*, by a durable mark: it promises nothing, answers no pre-vote, grants no lease, and its acks do not count.
//! The way back:
//!
//! 1. It asks all other members, under a fresh nonce, for their promises. Whatever it promised and forgot, the candidate or
//!    leader that it was promised to holds as high a promise itself, and is among them. So it waits for *all*.
//! 2. It forces a promise as high as the highest of them.
//! 3. A leader of at least that epoch, open, teaches it: it follows as a *learner*, matched, sent snapshots and proposed to like
//!    a follower, counted for nothing.
//! 4. When it has forced everything up to where the leader's log ended as the teaching began, the leader says so; it takes
//!    its mark away, durably, and is a member like any other.
//!
//! With two amnesiac members of three nobody comes back by itself: what they knew may be lost, and the range stays down.

use std::collections::BTreeMap;

use wal::planted::{Bug, planted};
use wal::{Lsn, Member as Peer, NodeId, Promise};

use super::effect::Effect;
use super::follower::Follower;
use super::leader::Leader;
use super::member::{Common, Durable, Member};
use super::message::{Message, Report};
use super::progress::Stage;
use super::time::{Millis, Stamp};

/// How often the others are asked again.
const ROUND: Millis = Millis(100);

/// How far an amnesiac has come.
#[derive(Debug)]
pub(crate) struct Amnesia {
    nonce: u64,
    asked_at: Option<Stamp>,
    /// What the others have promised.
    answers: BTreeMap<NodeId, Promise>,
    /// All have answered, and a promise as high as theirs is forced or being forced.
    prepared: bool,
    /// The mark is being taken away.
    leaving: bool,
}

impl Amnesia {
    pub(crate) fn new(life: u64, now: Stamp) -> Amnesia {
        Amnesia {
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
    pub(crate) fn has_forgotten(&self) -> bool {
        self.amnesia.as_ref().is_some_and(|amnesia| !(amnesia.prepared && self.promise_forced))
            && !planted(Bug::AmnesiacVotes)
    }

    /// Whether its acks count, and its grants.
    pub(crate) fn is_learner(&self) -> bool {
        self.amnesia.is_some() && !planted(Bug::AmnesiacVotes)
    }

    /// An amnesiac member asks what we have promised: said only once it is durable.
    pub(crate) fn recalled(&self, to: Peer, nonce: u64, out: &mut Vec<Effect>) {
        if self.amnesia.is_none() && self.promise_forced {
            self.send(to.node, Message::Recollection { nonce, promise: self.promise }, out);
        }
    }
}

impl Member<Follower> {
    /// Asks all others what they have promised, and promises as much.
    pub(crate) fn recall(&mut self, out: &mut Vec<Effect>) {
        let (now, others) = (self.common.now, self.common.others().count());
        let Some(amnesia) = self.common.amnesia.as_mut() else { return };
        if amnesia.prepared {
            return;
        }
        if amnesia.answers.len() == others {
            amnesia.prepared = true;
            let highest = amnesia.answers.values().map(|promise| promise.epoch).max().unwrap_or_default();
            let promise = Promise { epoch: highest, leader: None };
            if promise > self.common.promise {
                self.common.promise(promise, out);
            }
            return;
        }
        if amnesia.asked_at.is_none_or(|asked| now >= asked.plus(ROUND)) {
            amnesia.asked_at = Some(now);
            let (nonce, known) = (amnesia.nonce, amnesia.answers.clone());
            for node in self.common.others().filter(|node| !known.contains_key(node)) {
                self.common.send(node, Message::Recall { nonce }, out);
            }
        }
    }

    /// Another member's promise.
    pub(crate) fn recollected(&mut self, from: Peer, nonce: u64, promise: Promise, out: &mut Vec<Effect>) {
        self.common.knows_promise(promise);
        if let Some(amnesia) = self.common.amnesia.as_mut().filter(|amnesia| amnesia.nonce == nonce) {
            amnesia.answers.insert(from.node, promise);
            self.recall(out);
        }
    }

    /// The leader says that we have all that it had when the teaching began.
    pub(crate) fn remembered(&mut self, from: Peer, upto: Lsn, out: &mut Vec<Effect>) {
        let whole = self.role.matched.is_some_and(|matched| matched.seq >= upto.seq)
            && self.common.log.forced().seq >= upto.seq;
        if self.bound() != Some(from) || !whole {
            return;
        }
        if let Some(amnesia) = self.common.amnesia.as_mut().filter(|amnesia| !amnesia.leaving) {
            amnesia.leaving = true;
            self.common.unmark(out);
        }
    }

    /// The mark is gone.
    pub(crate) fn healed(&mut self, durable: &Durable, out: &mut Vec<Effect>) {
        if *durable == Durable::Remembered {
            self.common.amnesia = None;
            if let Some(leader) = self.bound() {
                self.ack(leader, out);
            }
        }
    }
}

impl Member<Leader> {
    /// An amnesiac member is bound to us and wants to learn. Only an open leader teaches: its EpochStart is committed.
    pub(crate) fn teach(&mut self, from: Peer, report: &Report, out: &mut Vec<Effect>) {
        let (last, open, tables) = (self.common.log.last(), self.is_open(), self.common.tables());
        let Some(progress) = self.role.progress.get_mut(&from.node) else { return };
        progress.learner = true;
        let transfer = matches!(progress.stage, Stage::Snapshot(_)) && report.committed.seq <= tables.seq;
        if !open || transfer {
            return;
        }
        progress.learner_target = last;
        self.match_or_snapshot(from.node, report, out);
    }

    /// A learner has forced this much, perhaps less than before it lost its log.
    pub(crate) fn learned(&mut self, from: Peer, forced: Lsn, out: &mut Vec<Effect>) {
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
            self.common.send(from.node, Message::Remembered { epoch, upto: target }, out);
        }
        self.send_to(from.node, out);
    }

    fn is_open(&self) -> bool {
        self.role.is_open() && self.common.broken.is_none()
    }
}
