//! Work in the background, on threads of its own: flush, compaction, giving log segments back, scrubbing.
//!
//! None of it is on the path of a write: a memtable is frozen in an instant and written out here. After a flush the
//! cohort is notified of its flushed LSN, and the log may let go of what lies below. A cohort that holds back the oldest
//! segment is flushed though its memtable is small ([control-state-outlives-segment]).

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use wal::{CohortId, Log, Lsn};

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
/// A flush looks so often, and so many times, whether the log has forced what it is about to write out.
const FORCE_POLL_PERIOD: Duration = Duration::from_millis(5);
const FORCE_POLLS_MAX: u32 = 200;

/// The threads; they end when this is stopped.
pub(crate) struct Maintenance {
    threads: Vec<(Sender<()>, JoinHandle<()>)>,
}

impl Maintenance {
    pub(crate) fn start(
        ranges: Arc<Ranges>,
        log: Log,
        metrics: Arc<Metrics>,
    ) -> std::io::Result<Maintenance> {
        let (flushing, compacting, scrubbing, reclaiming) =
            (ranges.clone(), ranges.clone(), ranges.clone(), ranges);
        let mut scrubbed = None;
        let (flushed, compacted) = (metrics.clone(), metrics.clone());
        let mut threads = vec![
            every("flush", FLUSH_PERIOD, move || flush_full(&flushing, &flushed))?,
            every("compaction", COMPACTION_PERIOD, move || compact(&compacting, &compacted))?,
            every("scrub", SCRUB_PERIOD, move || scrub(&scrubbing, &mut scrubbed))?,
        ];
        threads.push(every("reclaim", RECLAIM_PERIOD, move || {
            reclaiming.sweep();
            let (sender, holding) = channel();
            log.reclaim(move |result| {
                // An error: this thread has been stopped meanwhile.
                let _ = sender.send(result);
            });
            match holding.recv() {
                Ok(Ok(holding)) => flush_these(&reclaiming, &holding, &metrics),
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
            if thread.join().is_err() {
                tracing::error!("a background thread panicked");
            }
        }
    }
}

/// Runs `work` again and again, until the sender is dropped.
fn every(
    name: &str,
    period: Duration,
    mut work: impl FnMut() + Send + 'static,
) -> std::io::Result<(Sender<()>, JoinHandle<()>)> {
    let (stop, stopped) = channel::<()>();
    let run = move || {
        while stopped.recv_timeout(period) == Err(RecvTimeoutError::Timeout) {
            work();
        }
    };
    Ok((stop, std::thread::Builder::new().name(name.to_owned()).spawn(run)?))
}

fn open_replicas(ranges: &Ranges) -> impl Iterator<Item = Arc<RangeReplica>> {
    ranges.all().into_iter().filter_map(|range| range.replica.ok())
}

fn flush_full(ranges: &Ranges, metrics: &Metrics) {
    for replica in open_replicas(ranges) {
        if replica.store.engine().needs_flush() {
            flush(&replica, metrics);
        }
    }
}

fn flush_these(ranges: &Ranges, these: &[CohortId], metrics: &Metrics) {
    for range in these {
        if let Ok(replica) = ranges.replica(*range) {
            flush(&replica, metrics);
        }
    }
}

fn flush(replica: &RangeReplica, metrics: &Metrics) {
    match replica.store.flush(|applied| wait_forced(replica, applied)) {
        Ok(flushed) => {
            metrics.flushes.count();
            replica.cohort.note_flushed(flushed.lsn, flushed.chain);
        }
        // The memtable stays, and so does the log: nothing is lost, and the next round tries again.
        Err(error) => tracing::error!(range = %replica.range, %error, "could not flush"),
    }
}

/// Waits until this node's log holds everything up to `applied`; an error if its disk is full or hangs.
fn wait_forced(replica: &RangeReplica, applied: Lsn) -> io::Result<()> {
    for _ in 0..FORCE_POLLS_MAX {
        if replica.cohort.status().forced.seq >= applied.seq {
            return Ok(());
        }
        std::thread::sleep(FORCE_POLL_PERIOD);
    }
    Err(io::Error::new(io::ErrorKind::TimedOut, format!("the log has not yet forced {applied}")))
}

fn compact(ranges: &Ranges, metrics: &Metrics) {
    for replica in open_replicas(ranges) {
        let engine = replica.store.engine();
        if !engine.needs_compaction() {
            continue;
        }
        match engine.compact() {
            Ok(true) => metrics.compactions.count(),
            Ok(false) => {}
            Err(error) => tracing::error!(range = %replica.range, %error, "could not compact"),
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
