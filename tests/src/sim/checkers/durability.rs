//! What is acknowledged is durable on a majority of the range's members at that moment, and what a member has forced
//! comes back after every crash.

use std::collections::{BTreeMap, HashMap};

use wal::Lsn;

use crate::sim::history::{Checker, Event, Node, Range};
use crate::sim::options::Options;

/// Keeps, for each replica, the log as its disk must hold it, and compares it with what comes back.
pub(crate) struct Durability {
    members: Vec<Vec<Node>>,
    logs: HashMap<(Node, Range), Log>,
}

/// A member's log as its disk must hold it.
#[derive(Default)]
struct Log {
    /// In tables.
    flushed: Lsn,
    forced: BTreeMap<u64, Lsn>,
    /// Was forced, until the disk rotted or was lost: it was durable when it was acked.
    rotten: BTreeMap<u64, Lsn>,
    /// Was in tables, until the disk was lost.
    lost: Lsn,
    /// Not forced yet, in order.
    pending: Vec<Change>,
}

enum Change {
    Append(Lsn),
    Skip(u64),
}

impl Durability {
    /// For the cohorts of these options.
    pub(crate) fn new(options: &Options) -> Durability {
        let members = (0..options.ranges).map(|range| options.members(range)).collect();
        Durability { members, logs: HashMap::new() }
    }
}

impl Checker for Durability {
    fn name(&self) -> &'static str {
        "durability"
    }

    fn see(&mut self, _: u64, event: &Event) -> Result<(), String> {
        match event {
            Event::Appended { node, range, lsn, .. } => {
                self.logs.entry((*node, *range)).or_default().pending.push(Change::Append(*lsn));
            }
            Event::Skipped { node, range, from } => {
                self.logs.entry((*node, *range)).or_default().pending.push(Change::Skip(*from));
            }
            Event::Forced { node } => {
                for (_, log) in self.logs.iter_mut().filter(|((on, _), _)| on == node) {
                    log.force();
                }
            }
            Event::Discarded { node } => {
                for (_, log) in self.logs.iter_mut().filter(|((on, _), _)| on == node) {
                    log.pending.clear();
                }
            }
            Event::Flushed { node, range, flushed } => {
                let log = self.logs.entry((*node, *range)).or_default();
                log.flushed = log.flushed.max(*flushed);
            }
            Event::SnapshotInstalled { node, range, flushed } => {
                // What the snapshot does not continue is superseded [skip-needs-proof].
                let log = self.logs.entry((*node, *range)).or_default();
                if log.flushed != *flushed && log.forced.get(&flushed.seq) != Some(flushed) {
                    log.forced.clear();
                }
                log.flushed = log.flushed.max(*flushed);
            }
            Event::DiskLost { node } => {
                for (_, log) in self.logs.iter_mut().filter(|((on, _), _)| on == node) {
                    let (mut rotten, lost) = (std::mem::take(&mut log.rotten), log.flushed.max(log.lost));
                    rotten.append(&mut log.forced);
                    *log = Log { rotten, lost, ..Log::default() };
                }
            }
            Event::Recovered { node, range, flushed, entries, must_rejoin, .. } => {
                let log = self.logs.entry((*node, *range)).or_default();
                log.recover(*flushed, entries, *must_rejoin)
                    .map_err(|what| format!("n{node}, range {range}: {what}"))?;
            }
            Event::Acknowledged { node, range, lsn } => {
                let members = &self.members[*range as usize];
                let holds =
                    |member: &&Node| self.logs.get(&(**member, *range)).is_some_and(|log| log.holds(*lsn));
                let holders: Vec<Node> = members.iter().filter(holds).copied().collect();
                if holders.len() * 2 <= members.len() {
                    return Err(format!(
                        "{lsn} of range {range} is acknowledged by n{node}, durable on {holders:?} only"
                    ));
                }
            }
            _ => {}
        }
        Ok(())
    }
}

impl Log {
    /// A replica came back with these tables and these entries: all that it had forced must be among them.
    fn recover(&mut self, flushed: Lsn, entries: &[Lsn], must_rejoin: bool) -> Result<(), String> {
        if must_rejoin {
            self.rotten.append(&mut self.forced);
        }
        let found: BTreeMap<u64, Lsn> = entries.iter().map(|lsn| (lsn.seq, *lsn)).collect();
        let hidden = self.pending.iter().filter_map(|change| match change {
            Change::Skip(from) => Some(*from),
            Change::Append(_) => None,
        });
        let hidden = hidden.min().unwrap_or(u64::MAX);
        for (seq, lsn) in &self.forced {
            if *seq > flushed.seq && *seq < hidden && found.get(seq) != Some(lsn) {
                return Err(format!("{lsn} had been forced; it came back as {:?}", found.get(seq)));
            }
        }
        if flushed.seq < self.flushed.seq {
            return Err(format!("the tables held {}, now {flushed}", self.flushed));
        }
        let (rotten, lost) = (std::mem::take(&mut self.rotten), self.lost);
        *self = Log { flushed, forced: found, rotten, lost, pending: Vec::new() };
        Ok(())
    }

    fn force(&mut self) {
        for change in self.pending.drain(..) {
            match change {
                Change::Append(lsn) => {
                    self.forced.insert(lsn.seq, lsn);
                }
                Change::Skip(from) => {
                    self.forced.split_off(&from);
                }
            }
        }
    }

    fn holds(&self, lsn: Lsn) -> bool {
        let skipped =
            self.pending.iter().any(|change| matches!(change, Change::Skip(from) if *from <= lsn.seq));
        (self.forced.get(&lsn.seq) == Some(&lsn) && !skipped)
            || self.rotten.get(&lsn.seq) == Some(&lsn)
            || self.flushed.max(self.lost).seq >= lsn.seq
    }
}
