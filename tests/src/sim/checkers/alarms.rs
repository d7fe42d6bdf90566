//! Whoever has lost something says so, and nobody else does.
//!
//! A node whose log is gone must come back as a learner; one that has lost nothing must not. A full disk is told to the
//! operator; and there is no alarm without a reason for it.

use std::collections::{HashMap, HashSet};

use crate::sim::history::{Checker, Event, Node, Range};

/// Keeps what each node may have lost, what it has held, and what it has told.
#[derive(Default)]
pub(crate) struct Alarms {
    /// Replicas that may have lost a part of their log, until they are promoted; and those that have lost all of it, until
    /// they come back.
    may_have_lost: HashSet<(Node, Range)>,
    have_lost: HashSet<(Node, Range)>,
    /// Replicas of whose log something was forced on the disk that they have now; what is not forced yet.
    forced: HashSet<(Node, Range)>,
    appended: HashSet<(Node, Range)>,
    /// All replicas that were ever seen.
    replicas: HashMap<Node, HashSet<Range>>,
    /// Nodes whose disks were troubled; replicas that have told of it since their process started.
    troubled: HashSet<Node>,
    told: HashSet<(Node, Range)>,
}

impl Checker for Alarms {
    fn name(&self) -> &'static str {
        "alarms"
    }

    fn see(&mut self, _: u64, event: &Event) -> Result<(), String> {
        match event {
            Event::LogDamaged { node, whole } => self.damaged(*node, *whole),
            Event::DiskLost { node } => {
                // Whatever stands on the new one, its number says that there was another.
                self.forced.extend(self.replicas_of(*node));
                self.damaged(*node, true);
            }
            Event::DiskTroubled { node } => {
                self.troubled.insert(*node);
            }
            Event::Appended { node, range, .. } => {
                self.appended.insert((*node, *range));
            }
            Event::Forced { node } => {
                let forced = self.appended.iter().copied().filter(|(on, _)| on == node).collect::<Vec<_>>();
                self.forced.extend(forced);
            }
            Event::Recovered { node, range, must_rejoin, .. } => {
                return self.recovered((*node, *range), *must_rejoin);
            }
            Event::Learning { node, range } => {
                self.may_have_lost.insert((*node, *range));
            }
            Event::Promoted { node, range } => {
                self.may_have_lost.remove(&(*node, *range));
            }
            Event::Ended { node } => {
                self.told.retain(|(on, _)| on != node);
                self.appended.retain(|(on, _)| on != node);
            }
            Event::AppendRefused { node, range } if !self.told.contains(&(*node, *range)) => {
                return Err(format!("n{node} could not write its log of range {range}, and tells nobody"));
            }
            Event::Alarm { node, range, text } => return self.alarm((*node, *range), text),
            _ => {}
        }
        Ok(())
    }
}

impl Alarms {
    fn replicas_of(&self, node: Node) -> Vec<(Node, Range)> {
        self.replicas.get(&node).into_iter().flatten().map(|range| (node, *range)).collect()
    }

    fn damaged(&mut self, node: Node, whole: bool) {
        for replica in self.replicas_of(node) {
            self.may_have_lost.insert(replica);
            if whole && self.forced.remove(&replica) {
                self.have_lost.insert(replica);
            }
        }
    }

    fn recovered(&mut self, replica: (Node, Range), must_rejoin: bool) -> Result<(), String> {
        let (node, range) = replica;
        self.replicas.entry(node).or_default().insert(range);
        if self.have_lost.remove(&replica) && !must_rejoin {
            return Err(format!("n{node} has lost its log of range {range}, and does not say so"));
        }
        if must_rejoin && !self.may_have_lost.contains(&replica) {
            return Err(format!(
                "n{node} says that its log of range {range} is lost, and nothing has damaged it"
            ));
        }
        Ok(())
    }

    fn alarm(&mut self, replica: (Node, Range), text: &str) -> Result<(), String> {
        let (node, range) = replica;
        let full = text.contains("disk full");
        if full {
            self.told.insert(replica);
        }
        // A snapshot that could not be read or kept is tried again.
        let reason = if full { self.troubled.contains(&node) } else { text.contains("snapshot") };
        match reason {
            true => Ok(()),
            false => Err(format!("alarm of n{node}, range {range}: {text}")),
        }
    }
}
