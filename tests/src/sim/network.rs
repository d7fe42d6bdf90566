//! Who can talk to whom, and how long it takes. Messages of one link may overtake each other, as they do across
//! reconnects and between the lanes of a stream.

use std::collections::{BTreeMap, BTreeSet};

use replication::testing::options::Random;

use super::history::Node;

/// The network.
#[derive(Debug, Default)]
pub(crate) struct Network {
    cut: BTreeSet<(Node, Node)>,
    /// Links that hold everything back until then (real time).
    clogged: BTreeMap<(Node, Node), u64>,
    /// Most a message takes, in microseconds.
    pub(crate) delay_max: u64,
    /// One in so many is lost (0: none).
    pub(crate) loss: u64,
    /// One in so many comes twice (0: none).
    pub(crate) duplication: u64,
}

impl Network {
    /// A network in which all links work.
    pub(crate) fn new(delay_max: u64, loss: u64, duplication: u64) -> Network {
        Network { delay_max, loss, duplication, ..Network::default() }
    }

    /// Nothing passes this way.
    pub(crate) fn cut(&mut self, from: Node, to: Node) {
        if from != to {
            self.cut.insert((from, to));
        }
    }

    /// It passes again.
    pub(crate) fn mend(&mut self, from: Node, to: Node) {
        self.cut.remove(&(from, to));
    }

    /// Everything passes again.
    pub(crate) fn heal(&mut self) {
        self.cut.clear();
        self.clogged.clear();
    }

    /// What is sent this way arrives after `until` only.
    pub(crate) fn clog(&mut self, from: Node, to: Node, until: u64) {
        self.clogged.insert((from, to), until);
    }

    /// Whether the link carries anything.
    pub(crate) fn carries(&self, from: Node, to: Node) -> bool {
        !self.cut.contains(&(from, to))
    }

    /// How long each copy of a message takes that is sent now; none if it is lost.
    pub(crate) fn send(&self, random: &mut Random, now: u64, from: Node, to: Node) -> Vec<u64> {
        if from == to {
            return vec![random.below(50)];
        }
        if self.loss > 0 && random.one_in(self.loss) {
            return Vec::new();
        }
        let held = self.clogged.get(&(from, to)).map_or(0, |until| until.saturating_sub(now));
        let mut copies = vec![held + 50 + random.below(self.delay_max)];
        if self.duplication > 0 && random.one_in(self.duplication) {
            copies.push(held + 50 + random.below(self.delay_max * 20));
        }
        copies
    }
}
