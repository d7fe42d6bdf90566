//! The numbers of each range of a node, for `--range-metrics`: a cluster of many ranges makes many series.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::Arc;

use replication::protocol::Status;

use crate::ranges::LocalRange;
use crate::replica::RangeReplica;
use crate::request::TableId;

/// One range's replica here, as it is now.
struct Seen {
    labels: String,
    status: Status,
    replica: Arc<RangeReplica>,
}

/// A family of numbers: name, what it is, and the number of a range.
type Family = (&'static str, &'static str, fn(&Seen) -> u64);

const FAMILIES: [Family; 9] = [
    ("spinnaker_range_leading", "1 if the range is led here.", |one| u64::from(one.status.open)),
    ("spinnaker_range_epoch", "The epoch that is led, followed or stood for.", |one| {
        u64::from(one.status.epoch.0)
    }),
    ("spinnaker_range_last", "Sequence number of the last entry in the log.", |one| one.status.last.seq),
    ("spinnaker_range_committed", "The same of the last one that is known committed.", |one| {
        one.status.committed.seq
    }),
    ("spinnaker_range_applied", "The same of the last one that is in the store.", |one| {
        one.status.applied.seq
    }),
    ("spinnaker_range_follower_lag", "Entries that the furthest follower of a leader here lacks.", lag),
    ("spinnaker_range_reads_waiting", "Strong reads that wait for a confirmation.", |one| {
        one.status.reads_waiting as u64
    }),
    ("spinnaker_range_memtable_bytes", "Bytes in memtables.", |one| {
        one.replica.store.engine().memtable_bytes()
    }),
    ("spinnaker_range_flushed", "Sequence number of the last entry in SSTables.", |one| {
        one.replica.store.engine().flushed().seq
    }),
];

/// Appends the numbers of these ranges; `names` are those of their tables.
pub(super) fn write(out: &mut String, ranges: &[LocalRange], names: &HashMap<TableId, String>) {
    let mut all: Vec<Seen> = ranges.iter().filter_map(|range| seen(range, names)).collect();
    all.sort_by(|a, b| a.labels.cmp(&b.labels));
    for (name, help, number) in FAMILIES {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} gauge");
        for one in &all {
            let _ = writeln!(out, "{name}{{{}}} {}", one.labels, number(one));
        }
    }
}

fn seen(range: &LocalRange, names: &HashMap<TableId, String>) -> Option<Seen> {
    let replica = Arc::clone(range.replica.as_ref().ok()?);
    let table = names.get(&range.descriptor.table).map_or("?", String::as_str);
    let start = range.descriptor.start.escape_ascii().to_string();
    let (table, start) = (escaped(table), escaped(&start));
    let labels = format!("range=\"{}\",table=\"{table}\",start=\"{start}\"", range.descriptor.id);
    Some(Seen { labels, status: replica.cohort.status(), replica })
}

/// As Prometheus wants the value of a label.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn lag(one: &Seen) -> u64 {
    let last = one.status.last.seq;
    let lags = one.status.followers.values().map(|follower| last.saturating_sub(follower.matched.seq));
    lags.max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_hold_any_name() {
        assert_eq!(escaped("a\"b\\c\nd"), "a\\\"b\\\\c\\nd");
    }
}
