//! All replicas apply the same entries in the same order, without gaps, and hold the same rows at the same LSN.

use std::collections::HashMap;

use wal::{Entry, Lsn};

use crate::sim::history::{Checker, Event, Node, Range};

/// Keeps what was applied at each sequence number, and the contents of replicas by their LSN.
#[derive(Default)]
pub(crate) struct Replicas {
    entries: HashMap<(Range, u64), Entry>,
    applied: HashMap<(Node, Range), u64>,
    contents: HashMap<(Range, Lsn), (Node, u64)>,
}

impl Checker for Replicas {
    fn name(&self) -> &'static str {
        "replicas"
    }

    fn see(&mut self, _: u64, event: &Event) -> Result<(), String> {
        match event {
            Event::Recovered { node, range, flushed, .. }
            | Event::SnapshotInstalled { node, range, flushed } => {
                self.applied.insert((*node, *range), flushed.seq);
            }
            Event::Applied { node, range, entry, .. } => {
                let applied = self.applied.entry((*node, *range)).or_default();
                if entry.lsn.seq != *applied + 1 {
                    return Err(format!("n{node} applies {} of range {range} behind {applied}", entry.lsn));
                }
                *applied = entry.lsn.seq;
                let known = self.entries.entry((*range, entry.lsn.seq)).or_insert_with(|| entry.clone());
                if *known != *entry {
                    return Err(format!(
                        "n{node} applies {} of range {range} where {} was applied ({})",
                        entry.lsn,
                        known.lsn,
                        if known.lsn == entry.lsn { "other content" } else { "another LSN" }
                    ));
                }
            }
            Event::Contents { node, range, lsn, hash } => {
                let (first, known) = *self.contents.entry((*range, *lsn)).or_insert((*node, *hash));
                if known != *hash {
                    return Err(format!("n{first} and n{node} differ in range {range} at {lsn}"));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
