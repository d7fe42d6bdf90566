//! Writes what changes at the cohorts of a node to its log, one line a change ([`Notice`]), and few lines when thousands of
//! ranges change at once.
//!
//! A thread writes: a cohort that has something to say must not wait for whoever reads standard error. In one second
//! the changes of the first [`RANGES_MAX`] ranges get their lines; what else happens in that second is summed up in one
//! line at its end.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use tracing::{error, info};
use wal::{CohortId, NodeId};

use crate::protocol::notice::Notice;

/// Ranges whose changes are written line by line in one second.
const RANGES_MAX: usize = 20;
/// Lines of one second at most, whatever one range does.
const LINES_MAX: u64 = 200;
/// Changes that wait for the thread at most; more are only counted.
const QUEUE_MAX: usize = 4096;
/// Over this long changes are counted together.
const PERIOD: Duration = Duration::from_secs(1);

/// One change of one range.
struct Change {
    range: CohortId,
    /// The range in words, see [`crate::store::Store::label`].
    label: Arc<str>,
    notice: Notice,
}

/// Where cohorts tell what has changed. The thread ends with it.
pub(crate) struct Journal {
    changes: Option<SyncSender<Change>>,
    /// Changes for which there was no room in the queue.
    lost: Arc<AtomicU64>,
}

impl Journal {
    /// Starts the thread that writes for `node`.
    pub(crate) fn start(node: NodeId) -> Journal {
        let (sender, receiver) = sync_channel(QUEUE_MAX);
        let lost = Arc::new(AtomicU64::new(0));
        let missed = Arc::clone(&lost);
        let thread = std::thread::Builder::new().name("journal".to_owned());
        let started = thread.spawn(move || write(node, &receiver, &missed));
        let changes = match started {
            Ok(_) => Some(sender),
            Err(error) => {
                error!(%node, %error, "no thread for the lines about ranges: changes of roles are not logged");
                None
            }
        };
        Journal { changes, lost }
    }

    /// Has a line written; never waits.
    pub(crate) fn tell(&self, range: CohortId, label: &Arc<str>, notice: Notice) {
        let change = Change { range, label: Arc::clone(label), notice };
        if let Some(changes) = &self.changes
            && changes.try_send(change).is_err()
        {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// What was written, and what was not, since the period began.
#[derive(Default)]
struct Throttle {
    begun: Option<Instant>,
    lines: u64,
    written: HashSet<CohortId>,
    silent: HashSet<CohortId>,
    kinds: BTreeMap<&'static str, u64>,
}

impl Throttle {
    /// The time until the period ends; `None` if none runs.
    fn left(&self, now: Instant) -> Option<Duration> {
        self.begun.map(|begun| (begun + PERIOD).saturating_duration_since(now))
    }

    /// Whether the change gets a line of its own; if not, it is counted.
    fn admits(&mut self, range: CohortId, kind: &'static str, now: Instant) -> bool {
        self.begun.get_or_insert(now);
        let known = self.written.contains(&range);
        let admitted = self.lines < LINES_MAX && (known || self.written.len() < RANGES_MAX);
        if admitted {
            self.lines += 1;
            self.written.insert(range);
        } else {
            self.silent.insert(range);
            *self.kinds.entry(kind).or_default() += 1;
        }
        admitted
    }

    /// Ends the period; says what got no line in it, if there was anything.
    fn end(&mut self) -> Option<String> {
        let ended = std::mem::take(self);
        let kinds: Vec<String> = ended.kinds.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        (!kinds.is_empty())
            .then(|| format!("{} ranges have changed, too: {}", ended.silent.len(), kinds.join(", ")))
    }
}

/// Writes until nobody can tell anything any more.
fn write(node: NodeId, changes: &Receiver<Change>, lost: &AtomicU64) {
    let mut throttle = Throttle::default();
    loop {
        let next = match throttle.left(Instant::now()) {
            None => changes.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(left) => changes.recv_timeout(left),
        };
        // A queue that is never empty must not keep a period from ending.
        if throttle.left(Instant::now()).is_some_and(|left| left.is_zero()) || next.is_err() {
            if let Some(summary) = throttle.end() {
                info!(%node, "{summary}");
            }
            match lost.swap(0, Ordering::Relaxed) {
                0 => {}
                lost => info!(%node, lost, "more changes of ranges than could be written"),
            }
        }
        match next {
            Ok(Change { range, label, notice }) => {
                if throttle.admits(range, notice.kind(), Instant::now()) {
                    info!(%node, %range, span = %label, "{notice}");
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_of_ranges_get_few_lines_and_a_summary() {
        let (mut throttle, now) = (Throttle::default(), Instant::now());
        let mut lines = 0;
        for range in 0..5000 {
            for kind in ["suspicions", "changes of role"] {
                lines += u64::from(throttle.admits(CohortId(range), kind, now));
            }
        }
        assert_eq!(lines, 40);
        let summary = throttle.end().unwrap();
        assert_eq!(summary, "4980 ranges have changed, too: 4980 changes of role, 4980 suspicions");
        assert!(throttle.admits(CohortId(4999), "suspicions", now), "the next second begins anew");
        assert_eq!(throttle.end(), None);
    }

    #[test]
    fn one_range_that_flaps_is_bounded_too() {
        let (mut throttle, now) = (Throttle::default(), Instant::now());
        let lines = (0..100_000).filter(|_| throttle.admits(CohortId(1), "suspicions", now)).count();
        assert_eq!(lines as u64, LINES_MAX);
        assert!(throttle.end().is_some());
    }
}
