//! Counters of one node and their text for Prometheus.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use replication::runtime::Counter;

/// Upper bounds of the latency buckets, in microseconds.
const BOUNDS: [u64; 12] =
    [100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 100_000, 500_000, 2_500_000, 10_000_000];

/// How long calls took.
#[derive(Debug, Default)]
pub(crate) struct Latency {
    buckets: [AtomicU64; BOUNDS.len() + 1],
    sum_micros: AtomicU64,
}

impl Latency {
    /// One call took so long.
    pub(crate) fn took(&self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS.partition_point(|bound| *bound < micros);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum_micros.fetch_add(micros, Ordering::Relaxed);
    }
}

/// What the store of this node has done since it started.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    /// Reads through this node's gateway.
    pub(crate) reads: Latency,
    /// Writes through this node's gateway.
    pub(crate) writes: Latency,
    /// Requests sent to other nodes.
    pub(crate) forwarded: Counter,
    /// Pauses of the search for a leader.
    pub(crate) retries: Counter,
    /// Memtables written out.
    pub(crate) flushes: Counter,
    /// Compactions done.
    pub(crate) compactions: Counter,
}

impl Metrics {
    /// Appends this node's numbers in Prometheus' text format.
    pub(crate) fn write(&self, out: &mut String) {
        counter(out, "spinnaker_forwarded_total", "Requests sent to other nodes.", self.forwarded.get());
        counter(
            out,
            "spinnaker_leader_retries_total",
            "Pauses in the search for a leader.",
            self.retries.get(),
        );
        counter(out, "spinnaker_flushes_total", "Memtables written out.", self.flushes.get());
        counter(out, "spinnaker_compactions_total", "Compactions done.", self.compactions.get());
        histogram(out, "spinnaker_read_seconds", "Reads through this node.", &self.reads);
        histogram(out, "spinnaker_write_seconds", "Writes through this node.", &self.writes);
    }
}

/// Appends one counter.
pub(crate) fn counter(out: &mut String, name: &str, help: &str, value: u64) {
    number(out, name, help, "counter", value);
}

/// Appends one gauge.
pub(crate) fn gauge(out: &mut String, name: &str, help: &str, value: u64) {
    number(out, name, help, "gauge", value);
}

fn number(out: &mut String, name: &str, help: &str, kind: &str, value: u64) {
    // Writing to a string cannot fail.
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}");
}

fn histogram(out: &mut String, name: &str, help: &str, latency: &Latency) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} histogram");
    let mut total = 0;
    for (bound, bucket) in BOUNDS.iter().zip(&latency.buckets) {
        total += bucket.load(Ordering::Relaxed);
        let _ = writeln!(out, "{name}_bucket{{le=\"{}\"}} {total}", *bound as f64 / 1e6);
    }
    total += latency.buckets[BOUNDS.len()].load(Ordering::Relaxed);
    let sum = latency.sum_micros.load(Ordering::Relaxed) as f64 / 1e6;
    let _ = writeln!(out, "{name}_bucket{{le=\"+Inf\"}} {total}\n{name}_sum {sum}\n{name}_count {total}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_add_up() {
        let metrics = Metrics::default();
        metrics.reads.took(Duration::from_micros(80));
        metrics.reads.took(Duration::from_secs(100));
        let mut out = String::new();
        metrics.write(&mut out);
        assert!(out.contains("spinnaker_read_seconds_bucket{le=\"0.0001\"} 1\n"), "{out}");
        assert!(out.contains("spinnaker_read_seconds_bucket{le=\"10\"} 1\n"), "{out}");
        assert!(out.contains("spinnaker_read_seconds_count 2\n"), "{out}");
    }
}
