//! Work in the background, on threads of its own: flush, compaction, giving log segments back, scrubbing.
//!
//! None of it is on the path of a write: a memtable is frozen in an instant and written out here. After a flush the
//! cohort is notified of its flushed LSN, and the log may let go of what lies below. A cohort that holds back the oldest
//! segment is flushed though its memtable is small ([control-state-outlives-segment]).

use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use wal::sync::lock;
use wal::{CohortId, Log, Lsn};

use crate::engine::EngineError;
use crate::metrics::Metrics;
use crate::ranges::Ranges;
use crate::replica::RangeReplica;

/// How often a thread looks for work.
const FLUSH_PERIOD: Duration = Duration::from_millis(20);
const COMPACTION_PERIOD: Duration = Duration::from_millis(50);
const RECLAIM_PERIOD: Duration = Duration::from_secs(1);
/// The scrub reads so many bytes in each period, of one range after the other: 2.5 MB/s in all.
const SCRUB_PERIOD: Duration = Duration::from_millis(100);
const SCRUB_BYTES: u64 = 256 << 10;
/// An outgoing snapshot of which nobody asks for a part for so long is let go.
const SNAPSHOT_IDLE_MAX: Duration = Duration::from_secs(60);
/// A flush looks so often, and so many times, whether the log has forced what it is about to write out.
const FORCE_POLL_PERIOD: Duration = Duration::from_millis(5);
const FORCE_POLLS_MAX: u32 = 200;

/// Pause before something that has failed is tried again.
const RETRY_PERIOD: Duration = Duration::from_secs(1);

/// What has failed, range by range: tried again each second, and told once.
struct Troubles {
    /// What is done, for the log.
    work: &'static str,
    failed: Mutex<BTreeMap<CohortId, Trouble>>,
}

/// Something that has failed, and does not work yet.
struct Trouble {
    /// The last time.
    at: Instant,
    /// How often it failed for want of space while the range was led here.
    as_leader: u32,
}

impl Trouble {
    /// Whether the leadership should go to another disk now: the others may be full, too, so ever more seldom.
    fn gives_leadership_away(&self) -> bool {
        self.as_leader.is_power_of_two()
    }
}

impl Troubles {
    fn new(work: &'static str) -> Arc<Troubles> {
        Arc::new(Troubles { work, failed: Mutex::default() })
    }

    fn may_try(&self, range: CohortId) -> bool {
        lock(&self.failed).get(&range).is_none_or(|failed| failed.at.elapsed() >= RETRY_PERIOD)
    }

    fn failed(&self, replica: &RangeReplica, error: &EngineError) {
        let range = replica.range;
        let unfit = error.is_full() && replica.cohort.lease().is_some();
        let (first, leaves) = {
            let mut failed = lock(&self.failed);
            let first = !failed.contains_key(&range);
            let trouble = failed.entry(range).or_insert(Trouble { at: Instant::now(), as_leader: 0 });
            trouble.at = Instant::now();
            trouble.as_leader += u32::from(unfit);
            (first, unfit && trouble.gives_leadership_away())
        };
        if first {
            tracing::error!(%range, %error, "could not {}, and tries again until it can", self.work);
        }
        if leaves {
            // Before the memtable is full, too, and clients must be told [unfit-leader-transfers].
            replica.cohort.give_away();
        }
    }

    fn done(&self, range: CohortId) {
        if lock(&self.failed).remove(&range).is_some() {
            tracing::info!(%range, "{} goes on", self.work);
        }
    }
}

/// Ends the node, with this reason.
pub(crate) type Fail = Arc<dyn Fn(String) + Send + Sync>;

/// The threads; they end when this is stopped.
pub(crate) struct Maintenance {
    threads: Vec<(Sender<()>, JoinHandle<()>)>,
}

impl Maintenance {
    pub(crate) fn start(
        ranges: Arc<Ranges>,
        log: Log,
        metrics: Arc<Metrics>,
        memtable_bytes_max: u64,
        fail: Fail,
    ) -> std::io::Result<Maintenance> {
        let (flushing, compacting, scrubbing, reclaiming) =
            (ranges.clone(), ranges.clone(), ranges.clone(), ranges);
        let mut scrubbed = None;
        let (flushed, compacted) = (metrics.clone(), metrics.clone());
        let (flushes, compactions) = (Troubles::new("flush"), Troubles::new("compact"));
        let reclaim_flushes = flushes.clone();
        let mut threads = vec![
            every("flush", FLUSH_PERIOD, &fail, move || {
                ask_largest(&flushing, memtable_bytes_max);
                flush_full(&flushing, &flushed, &flushes);
            })?,
            every("compaction", COMPACTION_PERIOD, &fail, move || {
                compact(&compacting, &compacted, &compactions)
            })?,
            every("scrub", SCRUB_PERIOD, &fail, move || scrub(&scrubbing, &mut scrubbed))?,
        ];
        threads.push(every("reclaim", RECLAIM_PERIOD, &fail, move || {
            reclaiming.sweep();
            for replica in open_replicas(&reclaiming) {
                replica.store.release_snapshots(SNAPSHOT_IDLE_MAX);
                replica.store.pass_second();
            }
            let (sender, holding) = channel();
            log.reclaim(move |result| {
                // An error: this thread has been stopped meanwhile.
                let _ = sender.send(result);
            });
            match holding.recv() {
                Ok(Ok(holding)) => flush_these(&reclaiming, &holding, &metrics, &reclaim_flushes),
                Ok(Err(error)) => tracing::warn!(%error, "could not give log segments back"),
                // The log has ended, and so does the node.
                Err(_) => {}
            }
        })?);
        Ok(Maintenance { threads })
    }

    /// Returns when nothing runs any more; what has begun is finished.
    pub(crate) fn stop(self) {
        let threads: Vec<_> = self
            .threads
            .into_iter()
            .map(|(stop, thread)| {
                drop(stop);
                thread
            })
            .collect();
        for thread in threads {
            // A panic of it has ended the node, with a word.
            let _ = thread.join();
        }
    }
}

/// Runs `work` again and again, until the sender is dropped. If it panics, the node ends: nothing would be flushed, or
/// reclaimed, any more.
fn every(
    name: &'static str,
    period: Duration,
    fail: &Fail,
    mut work: impl FnMut() + Send + 'static,
) -> std::io::Result<(Sender<()>, JoinHandle<()>)> {
    let (stop, stopped) = channel::<()>();
    let fail = fail.clone();
    let run = move || {
        while stopped.recv_timeout(period) == Err(RecvTimeoutError::Timeout) {
            if catch_unwind(AssertUnwindSafe(&mut work)).is_err() {
                return fail(format!("the thread {name} has panicked"));
            }
        }
    };
    Ok((stop, std::thread::Builder::new().name(name.to_owned()).spawn(run)?))
}

fn open_replicas(ranges: &Ranges) -> impl Iterator<Item = Arc<RangeReplica>> {
    ranges.all().into_iter().filter_map(|range| range.replica.ok())
}

/// If the memtables of all ranges take more than they may, has the largest ones flushed before they are full.
fn ask_largest(ranges: &Ranges, memtable_bytes_max: u64) {
    let sizes: Vec<_> = open_replicas(ranges)
        .map(|replica| (replica.store.engine().memtable_bytes(), replica))
        .filter(|(_, replica)| !replica.store.engine().damaged())
        .collect();
    for replica in over_budget(sizes, memtable_bytes_max) {
        replica.store.engine().request_flush();
    }
}

/// The largest ones, as few as will bring the sum of the rest down to `max`.
fn over_budget<T>(mut sizes: Vec<(u64, T)>, max: u64) -> Vec<T> {
    let mut sum: u64 = sizes.iter().map(|(bytes, _)| bytes).sum();
    sizes.sort_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
    let over = sizes.into_iter().take_while(|(bytes, _)| {
        let over = sum > max;
        sum -= bytes;
        over
    });
    over.map(|(_, one)| one).collect()
}

fn flush_full(ranges: &Ranges, metrics: &Metrics, troubles: &Troubles) {
    for replica in open_replicas(ranges) {
        if replica.store.engine().needs_flush() && troubles.may_try(replica.range) {
            flush(&replica, metrics, troubles);
        }
    }
}

fn flush_these(ranges: &Ranges, these: &[CohortId], metrics: &Metrics, troubles: &Troubles) {
    for range in these {
        if let Ok(replica) = ranges.replica(*range) {
            flush(&replica, metrics, troubles);
        }
    }
}

fn flush(replica: &RangeReplica, metrics: &Metrics, troubles: &Troubles) {
    match replica.store.flush(|applied| wait_forced(replica, applied)) {
        Ok(flushed) => {
            metrics.flushes.count();
            troubles.done(replica.range);
            replica.cohort.note_flushed(flushed.lsn, flushed.chain);
        }
        // The memtable stays, and so does the log: nothing is lost.
        Err(error) => troubles.failed(replica, &error),
    }
}

/// Waits until this node's log holds everything up to `applied`; an error if its disk is full or hangs.
fn wait_forced(replica: &RangeReplica, applied: Lsn) -> io::Result<()> {
    for _ in 0..FORCE_POLLS_MAX {
        if replica.cohort.forced_seq() >= applied.seq {
            return Ok(());
        }
        std::thread::sleep(FORCE_POLL_PERIOD);
    }
    Err(io::Error::new(io::ErrorKind::TimedOut, format!("the log has not yet forced {applied}")))
}

fn compact(ranges: &Ranges, metrics: &Metrics, troubles: &Troubles) {
    for replica in open_replicas(ranges) {
        if !replica.store.engine().needs_compaction() || !troubles.may_try(replica.range) {
            continue;
        }
        match replica.store.compact() {
            Ok(compacted) => {
                metrics.compactions.add(compacted.into());
                troubles.done(replica.range);
            }
            Err(error) => troubles.failed(&replica, &error),
        }
    }
}

/// Checks the next part of the range that is being scrubbed, or of the one behind it.
fn scrub(ranges: &Ranges, scrubbed: &mut Option<CohortId>) {
    let mut replicas: Vec<_> = open_replicas(ranges).collect();
    replicas.sort_by_key(|replica| replica.range);
    let from = replicas.partition_point(|replica| Some(replica.range) < *scrubbed);
    replicas.rotate_left(from);
    let mut left = SCRUB_BYTES;
    for replica in replicas {
        *scrubbed = Some(replica.range);
        left = left.saturating_sub(replica.store.engine().scrub(left));
        if left == 0 {
            return;
        }
    }
    // All have come to their ends: from the first again.
    *scrubbed = None;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_memtables_go_first_and_no_more_than_must() {
        let sizes = || vec![(5, 'a'), (30, 'b'), (10, 'c'), (40, 'd')];
        assert_eq!(over_budget(sizes(), 85), []);
        assert_eq!(over_budget(sizes(), 84), ['d']);
        assert_eq!(over_budget(sizes(), 20), ['d', 'b']);
        assert_eq!(over_budget(sizes(), 0), ['d', 'b', 'c', 'a']);
    }

    #[test]
    fn a_full_node_gives_its_leadership_away_at_once_and_then_ever_more_seldom() {
        let at = Instant::now();
        let tries =
            (0..=20).filter(|as_leader| Trouble { at, as_leader: *as_leader }.gives_leadership_away());
        assert_eq!(tries.collect::<Vec<_>>(), [1, 2, 4, 8, 16]);
    }

    #[test]
    fn a_thread_that_panics_ends_the_node_and_is_named() {
        let (failed, told) = channel();
        let fail: Fail = Arc::new(move |reason| failed.send(reason).unwrap());
        let mut rounds = 0;
        let work = move || {
            rounds += 1;
            assert!(rounds < 3, "for this test");
        };
        let (_stop, thread) = every("scrub", Duration::from_millis(1), &fail, work).unwrap();
        assert_eq!(told.recv().unwrap(), "the thread scrub has panicked");
        thread.join().unwrap();
    }
}
