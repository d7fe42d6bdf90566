//! Whether clients should be sent to this node: can its gateway serve what it is asked for?
//!
//! Nothing is asked of anybody: each replica here knows whether it hears a leader that serves, and says so without a lock.
//! So the answer costs next to nothing, and is one second old at most. Ranges of which this node is no member are not
//! looked at: it sees their leaders only when it asks them for something.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use replication::runtime::Runtime;

use crate::cluster::map::ClusterMap;
use crate::ranges::{LocalRange, Ranges};

/// A range that was without a leader for so long is not served. Longer than most fail-overs take: while one is under way
/// the gateway holds requests back, and sending clients elsewhere would not help them.
const LEADERLESS_MAX: Duration = Duration::from_millis(800);

/// Another member is heard far more often than this, if it is there at all and leads or follows here.
const SILENCE_MAX: Duration = Duration::from_millis(400);

/// Judges whether this node is ready.
pub(crate) struct Readiness {
    ranges: Arc<Ranges>,
    map: Arc<ClusterMap>,
    runtime: Runtime,
    stopping: AtomicBool,
}

impl Readiness {
    /// Of the node with these ranges.
    pub(crate) fn new(ranges: Arc<Ranges>, map: Arc<ClusterMap>, runtime: Runtime) -> Readiness {
        Readiness { ranges, map, runtime, stopping: AtomicBool::new(false) }
    }

    /// From now on it is not: the node is about to stop.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    /// Whether the node is about to stop.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Why clients should go elsewhere, in one line; `None` if the node is ready.
    pub(crate) fn reason(&self) -> Option<String> {
        if self.is_stopping() {
            return Some("the node is stopping".to_owned());
        }
        // Afterwards a coordinator that is away, or lost, stops nothing that has a leader.
        if !self.map.belonging.is_confirmed() {
            return self.map.belonging.trouble();
        }
        let ranges = self.ranges.all();
        let without: Vec<(&LocalRange, Duration)> =
            ranges.iter().filter_map(|range| Some((range, leaderless(range)?))).collect();
        let (first, longest) = without.iter().max_by_key(|(_, time)| *time)?;
        let silence = self.silence(&ranges);
        if silence.is_none_or(|silence| silence >= SILENCE_MAX) {
            let heard = match silence {
                Some(silence) => format!("no other node was heard for {:.1} s", silence.as_secs_f64()),
                None => "no other node was heard since the start".to_owned(),
            };
            return Some(format!("isolated from a majority: {heard}"));
        }
        let view = self.map.view();
        let table = view.by_id.get(&first.descriptor.table).map(|table| table.table.name.as_str());
        let span = first.descriptor.label(table.unwrap_or("?"));
        let more = match without.len() - 1 {
            0 => String::new(),
            more => format!(", and for {more} other ranges"),
        };
        Some(format!("no leader for {span} for {:.1} s{more}", longest.as_secs_f64()))
    }

    /// How long all other members of the ranges here have been silent; `None` if none was heard since the start.
    fn silence(&self, ranges: &[LocalRange]) -> Option<Duration> {
        let me = self.ranges.node();
        let others = ranges.iter().flat_map(|range| range.descriptor.nodes()).filter(|node| *node != me);
        others.filter_map(|node| self.runtime.silence(node)).min()
    }
}

/// For how long this range has been without a leader that serves, if that is too long.
fn leaderless(range: &LocalRange) -> Option<Duration> {
    // One that is out of service here is served by the others.
    let replica = range.replica.as_ref().ok()?;
    replica.cohort.leaderless_for().filter(|time| *time >= LEADERLESS_MAX)
}
