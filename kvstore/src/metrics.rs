//! Counters of one node and their text for Prometheus.

use std::fmt::Write;

use replication::runtime::Counter;
use wal::{BOUNDS_MICROS, Durations, Histogram};

/// What the store of this node has done since it started.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    /// Reads through this node's gateway.
    pub(crate) reads: Histogram,
    /// Writes through this node's gateway.
    pub(crate) writes: Histogram,
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
        histogram(out, "spinnaker_read_seconds", "Reads through this node.", &self.reads.durations());
        histogram(out, "spinnaker_write_seconds", "Writes through this node.", &self.writes.durations());
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

/// Appends whether the coordinator has been read since the start.
pub(crate) fn joined(out: &mut String, joined: bool) {
    let name = "spinnaker_coordinator_joined";
    gauge(out, name, "1: the coordinator was reached since the node started.", joined.into());
}

/// Appends gauges of one family, which differ in a label whose values need no escapes.
pub(crate) fn by_label(out: &mut String, name: &str, help: &str, label: &str, values: &[(&str, u64)]) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} gauge");
    for (of, value) in values {
        let _ = writeln!(out, "{name}{{{label}=\"{of}\"}} {value}");
    }
}

/// Appends one histogram.
pub(crate) fn histogram(out: &mut String, name: &str, help: &str, durations: &Durations) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} histogram");
    let mut total = 0;
    for (bound, bucket) in BOUNDS_MICROS.iter().zip(&durations.buckets) {
        total += bucket;
        let _ = writeln!(out, "{name}_bucket{{le=\"{}\"}} {total}", *bound as f64 / 1e6);
    }
    total += durations.buckets[BOUNDS_MICROS.len()];
    let sum = durations.sum_micros as f64 / 1e6;
    let _ = writeln!(out, "{name}_bucket{{le=\"+Inf\"}} {total}\n{name}_sum {sum}\n{name}_count {total}");
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

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
