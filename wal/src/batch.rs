//! The open batch: records that wait for the next force, and what they will change once they are forced.

use std::collections::BTreeMap;

use crate::format::{BATCH_HEADER, put_forget, put_record};
use crate::lsn::{CohortId, Lsn};
use crate::record::{Checkpoint, Promise, Record};

/// What the writer knows of a cohort, the open batch included.
#[derive(Clone, Debug, Default)]
pub(crate) struct Control {
    /// Number of its last record.
    pub(crate) ordinal: u64,
    /// Sequence number of its last entry.
    pub(crate) seq: u64,
    /// The control state that the log must not lose [control-state-outlives-segment].
    pub(crate) checkpoint: Checkpoint,
    /// Segment of the newest record that holds the whole control state.
    pub(crate) segment: u64,
}

impl Control {
    /// Whether an entry among the records would not follow what the log holds.
    pub(crate) fn leaves_hole(seq: u64, records: &[Record]) -> bool {
        let mut last = seq;
        records.iter().any(|record| {
            let hole = matches!(record, Record::Entry(entry) if entry.lsn.seq > last + 1);
            last = seq_after(last, record);
            hole
        })
    }

    /// Keeps the control state as of a record in `segment`.
    pub(crate) fn note(&mut self, record: Record, segment: u64) {
        match record {
            Record::Promise(promise) => self.checkpoint.promise = self.checkpoint.promise.max(promise),
            Record::Commit(lsn) => self.checkpoint.committed = self.checkpoint.committed.max(lsn),
            Record::Checkpoint(checkpoint) | Record::Snapshot(checkpoint) => {
                self.checkpoint = checkpoint;
                self.segment = segment;
            }
            Record::Entry(entry) => {
                let known = &mut self.checkpoint.promise;
                *known = (*known).max(Promise { epoch: entry.lsn.epoch, leader: None });
            }
            Record::Skip(_) => {}
        }
    }
}

/// A change of the index that waits for its batch.
#[derive(Debug)]
pub(crate) enum Change {
    /// An entry stands `at` bytes behind the batch's start; a copy is one that retention has appended again.
    Entry { cohort: CohortId, lsn: Lsn, prev: Lsn, at: usize, bytes: u32, copy: bool },
    /// Entries from `seq` on are skipped.
    Truncate { cohort: CohortId, seq: u64 },
    /// Everything up to `flushed` is in a snapshot, and nothing behind it is in the log yet.
    Restart { cohort: CohortId, flushed: Lsn },
    /// The cohort was dropped.
    Forget { cohort: CohortId },
}

/// The open batch.
pub(crate) struct Batch {
    /// Room for the header, then records.
    pub(crate) bytes: Vec<u8>,
    pub(crate) changes: Vec<Change>,
    /// What was known of each cohort that the batch touches, before it.
    before: BTreeMap<CohortId, Control>,
}

/// Where a batch ended before an append, to take it back.
pub(crate) struct Mark {
    bytes: usize,
    changes: usize,
}

impl Batch {
    pub(crate) fn new() -> Batch {
        Batch { bytes: vec![0; BATCH_HEADER], changes: Vec::new(), before: BTreeMap::new() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.len() == BATCH_HEADER
    }

    pub(crate) fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// What was known of a cohort before the batch, if the batch touches it.
    pub(crate) fn before(&self, cohort: CohortId) -> Option<&Control> {
        self.before.get(&cohort)
    }

    /// Adds a record of a cohort.
    pub(crate) fn put(&mut self, cohort: CohortId, control: &mut Control, record: &Record, copy: bool) {
        self.before.entry(cohort).or_insert_with(|| control.clone());
        control.ordinal += 1;
        control.seq = seq_after(control.seq, record);
        let at = self.bytes.len();
        put_record(&mut self.bytes, cohort, control.ordinal, record);
        let bytes = (self.bytes.len() - at) as u32;
        match record {
            Record::Entry(entry) => {
                let (lsn, prev) = (entry.lsn, entry.prev);
                self.changes.push(Change::Entry { cohort, lsn, prev, at, bytes, copy });
            }
            Record::Skip(skip) => {
                if let Some(seq) = skip.first() {
                    self.changes.push(Change::Truncate { cohort, seq });
                }
            }
            Record::Snapshot(checkpoint) => {
                self.changes.push(Change::Restart { cohort, flushed: checkpoint.flushed });
            }
            Record::Promise(_) | Record::Commit(_) | Record::Checkpoint(_) => {}
        }
    }

    /// Adds that a cohort was dropped, of which this was known.
    pub(crate) fn put_forget(&mut self, cohort: CohortId, control: Control) {
        put_forget(&mut self.bytes, cohort, control.ordinal + 1);
        self.before.entry(cohort).or_insert(control);
        self.changes.push(Change::Forget { cohort });
    }

    pub(crate) fn mark(&self) -> Mark {
        Mark { bytes: self.bytes.len(), changes: self.changes.len() }
    }

    /// Takes back what was added behind the mark.
    pub(crate) fn take_back(&mut self, mark: &Mark) {
        self.bytes.truncate(mark.bytes);
        self.changes.truncate(mark.changes);
    }

    /// Empties the batch, and gives back what was known of the cohorts before it.
    pub(crate) fn clear(&mut self) -> BTreeMap<CohortId, Control> {
        self.bytes.clear();
        self.bytes.resize(BATCH_HEADER, 0);
        self.changes.clear();
        std::mem::take(&mut self.before)
    }
}

/// Sequence number of a cohort's last entry once `record` stands behind one with `seq`.
fn seq_after(seq: u64, record: &Record) -> u64 {
    match record {
        Record::Entry(entry) => seq.max(entry.lsn.seq),
        Record::Skip(skip) => skip.first().map_or(seq, |first| seq.min(first.saturating_sub(1))),
        Record::Checkpoint(checkpoint) => seq.max(checkpoint.flushed.seq),
        Record::Snapshot(checkpoint) => checkpoint.flushed.seq,
        Record::Promise(_) | Record::Commit(_) => seq,
    }
}
