//! What the clients of a trial share, and what they find.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use wal::sync::lock;

use crate::chaos::record::Record;
use crate::chaos::site::NODES;

/// The key-value table; a key's first letter tells its range.
pub(super) const KV_TABLE: &str = "chaos_kv";
/// First letters of keys, one for each range.
pub const LETTERS: [&str; 3] = ["a", "m", "z"];
/// How long a client waits for an answer before it takes the outcome for unknown.
pub(super) const ANSWER_MAX: Duration = Duration::from_secs(10);

/// What all clients of a trial share.
pub struct Shared {
    /// The trial's number: a part of all keys.
    pub trial: u64,
    /// What is seen goes here.
    pub record: Record,
    /// When each range acknowledged writes.
    pub gaps: Gaps,
    stop: AtomicBool,
}

impl Shared {
    /// For a trial.
    pub fn new(trial: u64) -> Arc<Shared> {
        Arc::new(Shared {
            trial,
            record: Record::default(),
            gaps: Gaps::default(),
            stop: AtomicBool::new(false),
        })
    }

    /// Whether clients are to end.
    pub(super) fn stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Clients are to end.
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// When each range acknowledged writes, and which errors came at the surviving gateways.
#[derive(Default)]
pub struct Gaps {
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    /// By range, in microseconds since the trial began.
    acknowledged: BTreeMap<usize, Vec<u64>>,
    errors: BTreeMap<String, u64>,
}

impl Gaps {
    /// A range acknowledged a write at this time.
    pub(super) fn acknowledged(&self, range: usize, at: u64) {
        lock(&self.seen).acknowledged.entry(range).or_default().push(at);
    }

    /// A write of a probe failed.
    pub(super) fn failed(&self, why: String) {
        *lock(&self.seen).errors.entry(why).or_default() += 1;
    }

    /// The longest time without an acknowledgement in a range, of the time from `from` to `to` (microseconds).
    pub fn longest(&self, range: usize, from: u64, to: u64) -> Duration {
        let seen = lock(&self.seen);
        let inside =
            seen.acknowledged.get(&range).into_iter().flatten().filter(|at| (from..to).contains(*at));
        let mut last = from;
        let mut longest = 0;
        for at in inside.copied().chain([to]) {
            longest = longest.max(at - last);
            last = at;
        }
        Duration::from_micros(longest)
    }

    /// Errors by their text.
    pub fn errors(&self) -> BTreeMap<String, u64> {
        lock(&self.seen).errors.clone()
    }
}

/// What clients know when they have ended: to be compared with what is there in the end.
#[derive(Debug, Default)]
pub struct Found {
    /// Broken promises.
    pub violations: Vec<String>,
    pub(super) rows: Written,
    pub(super) counts: Counts,
}

impl Found {
    /// What another client found, too.
    pub(super) fn add(&mut self, other: Found) {
        self.violations.extend(other.violations);
        self.rows.add(other.rows);
        self.counts.add(other.counts);
    }
}

/// Keys, by what became of their INSERT.
#[derive(Debug, Default)]
pub(super) struct Written {
    pub(super) acknowledged: BTreeSet<String>,
    pub(super) unknown: BTreeSet<String>,
}

impl Written {
    fn add(&mut self, mut other: Written) {
        self.acknowledged.append(&mut other.acknowledged);
        self.unknown.append(&mut other.unknown);
    }
}

/// Increments of each counter.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) acknowledged: BTreeMap<String, u64>,
    pub(super) unknown: BTreeMap<String, u64>,
}

impl Counts {
    fn add(&mut self, other: Counts) {
        for (to, from) in [(&mut self.acknowledged, other.acknowledged), (&mut self.unknown, other.unknown)] {
            for (key, count) in from {
                *to.entry(key).or_default() += count;
            }
        }
    }
}

/// The nodes in the order in which a client at home at this one tries them.
pub(super) fn from_home(home: usize, attempt: usize) -> usize {
    NODES[(home + attempt) % NODES.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_reaches_to_the_ends_of_the_time_looked_at() {
        let gaps = Gaps::default();
        lock(&gaps.seen).acknowledged.insert(0, vec![10, 100, 350, 400]);
        let longest = |range, from, to| gaps.longest(range, from, to).as_micros();
        assert_eq!(longest(0, 0, 500), 250);
        assert_eq!(longest(0, 100, 300), 200, "nothing more until the end");
        assert_eq!(longest(1, 0, 500), 500, "a range that never answered");
    }
}
