//! A replica that says "at most so stale" has applied everything that was committed before then.

use std::collections::HashMap;

use crate::sim::history::{Checker, Event, OpId, Range, Response};

/// Uncertainty of figures that are whole milliseconds.
const SLACK: u64 = 1000;

/// Keeps when each write was acknowledged, to know how old an answer really was.
pub(crate) struct Staleness {
    drift_per_mille: u64,
    ranges: HashMap<OpId, Range>,
    /// When, and up to which sequence number, writes were acknowledged by their leaders.
    acknowledged: HashMap<Range, Vec<(u64, u64)>>,
}

impl Staleness {
    /// With clocks that drift so much.
    pub(crate) fn new(drift_per_mille: u64) -> Staleness {
        Staleness { drift_per_mille, ranges: HashMap::new(), acknowledged: HashMap::new() }
    }
}

impl Checker for Staleness {
    fn name(&self) -> &'static str {
        "staleness"
    }

    fn see(&mut self, at: u64, event: &Event) -> Result<(), String> {
        match event {
            Event::Invoked { op, range, .. } => {
                self.ranges.insert(*op, *range);
            }
            Event::Acknowledged { range, lsn, .. } => {
                let all = self.acknowledged.entry(*range).or_default();
                let highest = all.last().map_or(0, |(_, seq)| *seq).max(lsn.seq);
                all.push((at, highest));
            }
            Event::Page { op, lsn, node, served, staleness_ms: Some(stale), .. }
            | Event::Returned {
                op,
                outcome: Response::Rows { lsn, node, served, staleness_ms: Some(stale), .. },
            } => {
                let Some(range) = self.ranges.get(op) else { return Ok(()) };
                let stale_us = stale * 1000 * (1000 + 2 * self.drift_per_mille) / 1000 + SLACK;
                let before = served.saturating_sub(stale_us);
                let all = self.acknowledged.get(range).map_or(&[][..], |all| &all[..]);
                let count = all.partition_point(|(when, _)| *when <= before);
                let highest = all[..count].last().map_or(0, |(_, seq)| *seq);
                if lsn.seq < highest {
                    return Err(format!(
                        "n{node} says {stale} ms stale at {lsn} of range {range}; seq {highest} was acknowledged before \
                         (op {op})"
                    ));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
