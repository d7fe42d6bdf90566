//! How far a replica that lost its log has come on its way back; `protocol/rejoin.rs` tells the whole way.

use std::collections::BTreeMap;

use wal::{Epoch, NodeId, Promise};

use crate::protocol::time::{Millis, Stamp};

/// How often the others are asked again.
const ROUND: Millis = Millis(100);

/// A learner's questions and answers.
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

/// What a learner does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ProbeStep {
    /// Wait.
    Wait,
    /// Ask these (again).
    Ask { nonce: u64, whom: Vec<NodeId> },
    /// All have answered: promise this epoch, as high as the highest of theirs.
    Promise(Epoch),
}

impl Rejoin {
    /// Begins; the nonce is fresh, because `life` is random.
    pub(crate) fn new(life: u64, now: Stamp) -> Rejoin {
        Rejoin {
            nonce: life.wrapping_add(now.0),
            asked_at: None,
            answers: BTreeMap::new(),
            prepared: false,
            leaving: false,
        }
    }

    /// Whether all others' promises are known, so that a promise as high can be relied on once it is forced.
    pub(crate) fn is_prepared(&self) -> bool {
        self.prepared
    }

    /// What to do now; `others` are all other members.
    pub(crate) fn next_step(&mut self, others: &[NodeId], now: Stamp) -> ProbeStep {
        if self.prepared {
            return ProbeStep::Wait;
        }
        if self.answers.len() == others.len() {
            self.prepared = true;
            let highest = self.answers.values().map(|promise| promise.epoch).max().unwrap_or_default();
            return ProbeStep::Promise(highest);
        }
        if self.asked_at.is_some_and(|asked| now < asked.plus(ROUND)) {
            return ProbeStep::Wait;
        }
        self.asked_at = Some(now);
        let whom = others.iter().copied().filter(|node| !self.answers.contains_key(node)).collect();
        ProbeStep::Ask { nonce: self.nonce, whom }
    }

    /// Another member's promise; says whether it answers our question.
    pub(crate) fn answered(&mut self, nonce: u64, from: NodeId, promise: Promise) -> bool {
        let ours = nonce == self.nonce;
        if ours {
            self.answers.insert(from, promise);
        }
        ours
    }

    /// The mark is about to be taken away; false if that has begun before.
    pub(crate) fn begin_to_leave(&mut self) -> bool {
        !std::mem::replace(&mut self.leaving, true)
    }
}
