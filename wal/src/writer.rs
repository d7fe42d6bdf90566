//! The log's writing side: one batch at a time, one force per batch, no threads.
//!
//! [`LogWriter::append`] encodes into the open batch; [`LogWriter::force`] writes it behind the last one and
//! forces. A failed force is final (the page cache may show bytes that the disk lacks): the log is poisoned. A
//! full disk is not: space is taken when an append is accepted, so it is refused whole, and the log goes on when
//! space is back. At start the last batch, which nothing yet proves to be on the disk, is written again in its
//! place, byte for byte, and forced, before anything counts on it.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, RwLock};

use crate::disk::Disk;
use crate::error::{LogError, OpenError};
use crate::format::{
    BATCH_HEADER, BLOCK, Before, Logged, SegmentHeader, blocks, put_record, seal_batch, segment_header,
};
use crate::index::Place;
use crate::lsn::CohortId;
use crate::reader::{LogReader, Shared};
use crate::record::{Append, Checkpoint, Promise, Record};
use crate::recovery::{self, Recovery, Segment, path, scan};
use crate::sync;

/// Sizes of the log.
#[derive(Clone, Copy, Debug)]
pub struct LogOptions {
    /// Length of a segment, preallocated.
    pub segment_bytes: u64,
    /// Segments that no cohort needs are kept up to this sum, for followers that were away.
    pub retention_bytes: u64,
    /// Free space that client writes may not touch, so that Promise, Skip and Checkpoint always fit (rule 18).
    pub reserve_bytes: u64,
}

impl Default for LogOptions {
    fn default() -> LogOptions {
        LogOptions { segment_bytes: 64 << 20, retention_bytes: 256 << 20, reserve_bytes: 8 << 20 }
    }
}

/// What the writer knows of a cohort.
#[derive(Clone, Debug, Default)]
struct Control {
    ordinal: u64,
    seq: u64,
    checkpoint: Checkpoint,
    /// Segment of the newest record that holds the whole control state.
    segment: u64,
}

/// The writer.
pub struct LogWriter {
    disk: Arc<dyn Disk>,
    options: LogOptions,
    shared: Arc<RwLock<Shared>>,
    segments: Vec<Segment>,
    controls: BTreeMap<CohortId, Control>,
    /// The open batch: room for its header, then records.
    batch: Vec<u8>,
    /// What the open batch will add to the index, relative to the batch's start.
    pending: Vec<Pending>,
    /// What was known of each cohort that the open batch touches, before it.
    before_batch: BTreeMap<CohortId, Control>,
    /// Number of the last batch written.
    number: u64,
    poison: Option<Arc<io::Error>>,
    /// Whether the last batch is known forced by a later one's `forced_to`.
    marked: bool,
    /// There was no space for a mark; not tried again before the next batch.
    mark_refused: bool,
}

/// A change of the index that waits for its batch.
#[derive(Debug)]
enum Pending {
    Entry { cohort: CohortId, lsn: crate::Lsn, prev: crate::Lsn, at: usize, bytes: u32, copy: bool },
    Truncate { cohort: CohortId, seq: u64 },
    Restart { cohort: CohortId, flushed: crate::Lsn },
    Forget { cohort: CohortId },
}

impl LogWriter {
    /// Opens or makes the log in directory `wal`, reads it once, and forces its last batch again.
    pub fn open(disk: Arc<dyn Disk>, options: LogOptions) -> Result<(LogWriter, Recovery), OpenError> {
        disk.create_dir("wal")?;
        let found = scan(&*disk)?;
        if let (Some(segment), Some(at)) = (found.segments.last(), found.last_batch_at) {
            let mut bytes = vec![0; (segment.used - at) as usize];
            segment.file.read_exact_at(&mut bytes, at)?;
            segment.file.write_all_at(&bytes, at)?;
            // Whatever a torn write left behind the last batch must not look like the beginning of one later.
            let rest = (segment.length - segment.used).min(1 << 20);
            segment.file.write_all_at(&vec![0; rest as usize], segment.used)?;
            segment.file.sync()?;
        }
        disk.sync_dir("wal")?;
        let mut controls: BTreeMap<CohortId, Control> = BTreeMap::new();
        for (&cohort, state) in &found.recovery.cohorts {
            let mut checkpoint = state.checkpoint.clone();
            checkpoint.promise = state.promise;
            checkpoint.committed = state.committed;
            let ordinal = found.ordinals.get(&cohort).copied().unwrap_or(0);
            let seq = found.index.get(&cohort).map_or(0, |index| index.last().seq);
            controls.insert(cohort, Control { ordinal, seq, checkpoint, segment: 0 });
        }
        let files = found.segments.iter().map(|segment| (segment.id, segment.file.clone())).collect();
        let mut writer = LogWriter {
            disk,
            options,
            shared: Arc::new(RwLock::new(Shared { index: found.index, files })),
            segments: found.segments,
            controls,
            batch: vec![0; BATCH_HEADER],
            pending: Vec::new(),
            before_batch: BTreeMap::new(),
            number: found.batch,
            poison: None,
            marked: false,
            mark_refused: false,
        };
        if writer.segments.is_empty() {
            writer.add_segment()?;
        }
        Ok((writer, found.recovery))
    }

    /// A reader of what is forced.
    pub fn reader(&self) -> LogReader {
        LogReader::new(self.shared.clone())
    }

    /// Takes an append into the open batch. Client entries are refused when space is short; control records may
    /// use the reserve. Entries that were made behind a refused one are refused like it, until the cohort appends
    /// again from where the log ends: the log never has a hole.
    pub fn append(&mut self, append: Append) -> Result<(), LogError> {
        self.check_poison()?;
        if self.leaves_hole(&append) {
            return Err(LogError::DiskFull);
        }
        let control = append.records.iter().all(|record| !matches!(record, Record::Entry(_)));
        let (batch_before, pending_before) = (self.batch.len(), self.pending.len());
        let known = self.controls.get(&append.cohort);
        let (ordinal_before, seq_before) = known.map_or((0, 0), |known| (known.ordinal, known.seq));
        for record in &append.records {
            self.encode(append.cohort, record, false);
        }
        if let Err(error) = self.make_room(control) {
            self.batch.truncate(batch_before);
            self.pending.truncate(pending_before);
            if let Some(known) = self.controls.get_mut(&append.cohort) {
                (known.ordinal, known.seq) = (ordinal_before, seq_before);
            }
            return Err(error);
        }
        for record in append.records {
            self.note(append.cohort, record);
        }
        Ok(())
    }

    /// Whether an entry does not follow what the log holds of the cohort, the open batch included.
    fn leaves_hole(&self, append: &Append) -> bool {
        let mut last = self.controls.get(&append.cohort).map_or(0, |control| control.seq);
        append.records.iter().any(|record| {
            let hole = matches!(record, Record::Entry(entry) if entry.lsn.seq > last + 1);
            last = seq_after(last, record);
            hole
        })
    }

    fn encode(&mut self, cohort: CohortId, record: &Record, copy: bool) {
        let control = self.controls.entry(cohort).or_default();
        self.before_batch.entry(cohort).or_insert_with(|| control.clone());
        control.ordinal += 1;
        let at = self.batch.len();
        put_record(&mut self.batch, cohort, control.ordinal, &Logged::Record(record.clone()));
        let bytes = (self.batch.len() - at) as u32;
        control.seq = seq_after(control.seq, record);
        match record {
            Record::Entry(entry) => {
                self.pending.push(Pending::Entry {
                    cohort,
                    lsn: entry.lsn,
                    prev: entry.prev,
                    at,
                    bytes,
                    copy,
                });
            }
            Record::Skip(skip) => {
                if let Some(seq) = skip.0.values().filter_map(roaring::RoaringTreemap::min).min() {
                    self.pending.push(Pending::Truncate { cohort, seq });
                }
            }
            Record::Snapshot(checkpoint) => {
                self.pending.push(Pending::Restart { cohort, flushed: checkpoint.flushed });
            }
            Record::Promise(_) | Record::Commit(_) | Record::Checkpoint(_) => {}
        }
    }

    /// Keeps the control state as of the records taken.
    fn note(&mut self, cohort: CohortId, record: Record) {
        let segment = self.segments.last().map_or(0, |segment| segment.id);
        let Some(control) = self.controls.get_mut(&cohort) else { return };
        match record {
            Record::Promise(promise) => {
                control.checkpoint.promise = control.checkpoint.promise.max(promise);
            }
            Record::Commit(lsn) => control.checkpoint.committed = control.checkpoint.committed.max(lsn),
            Record::Checkpoint(checkpoint) | Record::Snapshot(checkpoint) => {
                control.checkpoint = checkpoint;
                control.segment = segment;
            }
            Record::Entry(entry) => {
                let known = &mut control.checkpoint.promise;
                *known = (*known).max(Promise { epoch: entry.lsn.epoch, leader: None });
            }
            Record::Skip(_) => {}
        }
    }

    /// Makes sure that the open batch will fit: rolls to a new segment if the current one is full.
    fn make_room(&self, control: bool) -> Result<(), LogError> {
        let need = blocks(self.batch.len() as u64);
        let Some(current) = self.segments.last() else { return Err(LogError::Closed) };
        if current.used + need <= current.length {
            return Ok(());
        }
        let free = self.disk.free_bytes().map_err(|_| LogError::DiskFull)?;
        let length = self.segment_length(need);
        let reserve = if control { 0 } else { self.options.reserve_bytes };
        if free < length + reserve && !(control && free >= need * 2) {
            return Err(LogError::DiskFull);
        }
        Ok(())
    }

    fn segment_length(&self, need: u64) -> u64 {
        self.options.segment_bytes.max(need + blocks(64 + 32 * self.controls.len() as u64))
    }

    /// Writes and forces the open batch; nothing to do if it is empty. On [`LogError::DiskFull`] the
    /// batch is dropped: none of it is or will be in the log, and later appends may succeed.
    pub fn force(&mut self) -> Result<(), LogError> {
        self.check_poison()?;
        if self.batch.len() == BATCH_HEADER {
            return Ok(());
        }
        let need = blocks(self.batch.len() as u64);
        let fits = self.segments.last().is_some_and(|current| current.used + need <= current.length);
        if !fits && let Err(error) = self.add_segment() {
            if is_full(&error) {
                self.discard_batch();
                return Err(LogError::DiskFull);
            }
            return Err(self.poison(error));
        }
        let Some(current) = self.segments.last_mut() else { return Err(LogError::Closed) };
        let (id, offset) = (current.id, current.used);
        seal_batch(&mut self.batch, id, offset, self.number + 1, self.number);
        let written = current.file.write_all_at(&self.batch, offset).and_then(|()| current.file.sync());
        if let Err(error) = written {
            return Err(self.poison(error));
        }
        current.used += self.batch.len() as u64;
        self.number += 1;
        (self.marked, self.mark_refused) = (false, false);
        let mut shared = sync::write(&self.shared);
        for change in self.pending.drain(..) {
            match change {
                Pending::Entry { cohort, lsn, prev, at, bytes, copy } => {
                    let highest = current.entries.entry(cohort).or_default();
                    *highest = (*highest).max(lsn.seq);
                    let place = Place { epoch: lsn.epoch, bytes, segment: id, offset: offset + at as u64 };
                    let index = shared.index.entry(cohort).or_default();
                    if copy { index.moved(lsn.seq, place) } else { index.push(lsn, prev, place) }
                }
                Pending::Truncate { cohort, seq } => {
                    shared.index.entry(cohort).or_default().truncate(seq);
                }
                Pending::Restart { cohort, flushed } => {
                    shared.index.entry(cohort).or_default().restart(flushed);
                }
                Pending::Forget { cohort } => {
                    shared.index.remove(&cohort);
                }
            }
        }
        drop(shared);
        self.clear_batch();
        Ok(())
    }

    fn clear_batch(&mut self) {
        self.batch.clear();
        self.batch.resize(BATCH_HEADER, 0);
        self.pending.clear();
        self.before_batch.clear();
    }

    /// Drops the open batch, as if its appends had never been taken.
    fn discard_batch(&mut self) {
        for (cohort, before) in std::mem::take(&mut self.before_batch) {
            // A cohort that the batch forgot is gone here; its records are superseded once it is forgotten again after a start.
            if let Some(control) = self.controls.get_mut(&cohort) {
                *control = before;
            }
        }
        self.clear_batch();
    }

    /// Whether a mark batch would prove the last batch forced (rule 9); call [`LogWriter::mark`] when idle.
    pub fn wants_mark(&self) -> bool {
        !self.marked
            && !self.mark_refused
            && self.number > 0
            && self.poison.is_none()
            && self.batch.len() == BATCH_HEADER
    }

    /// Whether everything that was forced is proven to have been (rule 9): damage to any of it will be noticed.
    pub fn is_proven(&self) -> bool {
        (self.marked || self.number == 0) && self.batch.len() == BATCH_HEADER
    }

    /// Writes a batch without records, whose `forced_to` shows that the one before is whole.
    pub fn mark(&mut self) -> Result<(), LogError> {
        self.check_poison()?;
        let full = self.segments.last().is_none_or(|current| current.used + BLOCK > current.length);
        if full && let Err(error) = self.add_segment() {
            if !is_full(&error) {
                return Err(self.poison(error));
            }
            // The last batch stays unproven until the next one comes.
            self.mark_refused = true;
            return Ok(());
        }
        let Some(current) = self.segments.last_mut() else { return Err(LogError::Closed) };
        let mut batch = vec![0; BATCH_HEADER];
        seal_batch(&mut batch, current.id, current.used, self.number + 1, self.number);
        let written = current.file.write_all_at(&batch, current.used).and_then(|()| current.file.sync());
        if let Err(error) = written {
            return Err(self.poison(error));
        }
        current.used += batch.len() as u64;
        self.number += 1;
        self.marked = true;
        Ok(())
    }

    /// Makes the next segment: allocated, zeroed, its header and name forced.
    fn add_segment(&mut self) -> io::Result<()> {
        let id = self.segments.last().map_or(1, |segment| segment.id + 1);
        let length = self.segment_length(blocks(self.batch.len() as u64));
        let before = self
            .controls
            .iter()
            .map(|(&cohort, control)| {
                let Control { ordinal, seq, .. } = self.before_batch.get(&cohort).unwrap_or(control);
                (cohort, Before { ordinal: *ordinal, seq: *seq })
            })
            .collect();
        let header = segment_header(&SegmentHeader { id, first_batch: self.number + 1, before });
        let made = (|| {
            let file = self.disk.create(&path(id))?;
            file.allocate(length)?;
            // Zeros written once: a later force then changes data only, no file system metadata.
            let zeros = vec![0; 1 << 20];
            let mut offset = 0;
            while offset < length {
                let bytes = (length - offset).min(zeros.len() as u64);
                file.write_all_at(&zeros[..bytes as usize], offset)?;
                offset += bytes;
            }
            file.write_all_at(&header, 0)?;
            file.sync()?;
            self.disk.sync_dir("wal")?;
            Ok(file)
        })();
        let file = match made {
            Ok(file) => file,
            Err(error) => {
                let _ = self.disk.remove(&path(id));
                return Err(error);
            }
        };
        let mut shared = sync::write(&self.shared);
        shared.files.insert(id, file.clone());
        drop(shared);
        let used = header.len() as u64;
        self.segments.push(Segment { id, file, used, length, entries: BTreeMap::new() });
        Ok(())
    }

    /// Remembers a cohort's control state and appends it as a Checkpoint record.
    pub fn set_checkpoint(&mut self, cohort: CohortId, checkpoint: Checkpoint) -> Result<(), LogError> {
        self.append(Append { cohort, records: vec![Record::Checkpoint(checkpoint)] })
    }

    /// The cohort was dropped: its records hold no segment any more and are superseded at the next start.
    pub fn forget(&mut self, cohort: CohortId) {
        if let Some(control) = self.controls.remove(&cohort) {
            put_record(&mut self.batch, cohort, control.ordinal + 1, &Logged::Forget);
            self.pending.push(Pending::Forget { cohort });
        }
    }

    /// Removes segments, oldest first, while the log is longer than its retention. Returns the cohorts whose
    /// entries above their checkpoint keep the oldest segment: they should be flushed.
    pub fn reclaim(&mut self) -> Result<Vec<CohortId>, LogError> {
        let limit = self.options.retention_bytes.max(2 * self.options.segment_bytes);
        // What is copied forward makes new segments: they are not for this call, which would never end.
        let newest = self.segments.last().map_or(0, |segment| segment.id);
        loop {
            let total: u64 = self.segments.iter().map(|segment| segment.length).sum();
            let oldest = &self.segments[0];
            let id = oldest.id;
            if total <= limit || self.segments.len() < 2 || id >= newest {
                return Ok(Vec::new());
            }
            let holding: Vec<CohortId> = oldest
                .entries
                .iter()
                .filter(|&(cohort, &seq)| {
                    self.controls
                        .get(cohort)
                        .is_some_and(|control| control.checkpoint.flushed.seq < seq.min(control.seq))
                })
                .map(|(&cohort, _)| cohort)
                .collect();
            if !holding.is_empty() && total <= 2 * limit {
                return Ok(holding);
            }
            for &cohort in &holding {
                self.copy_forward(cohort, id)?;
            }
            let stale: Vec<CohortId> = self
                .controls
                .iter()
                .filter(|(_, control)| control.segment <= id)
                .map(|(&cohort, _)| cohort)
                .collect();
            for cohort in stale {
                if let Some(control) = self.controls.get(&cohort) {
                    let checkpoint = control.checkpoint.clone();
                    self.set_checkpoint(cohort, checkpoint)?;
                }
            }
            self.force()?;
            self.segments.remove(0);
            let mut shared = sync::write(&self.shared);
            shared.files.remove(&id);
            for index in shared.index.values_mut() {
                index.drop_below(id + 1);
            }
            drop(shared);
            let removed = self.disk.remove(&path(id)).and_then(|()| self.disk.sync_dir("wal"));
            removed.map_err(|error| self.poison(error))?;
        }
    }

    /// Appends again the entries above the cohort's checkpoint that stand in segment `id` (rule 2).
    fn copy_forward(&mut self, cohort: CohortId, id: u64) -> Result<(), LogError> {
        self.force()?;
        let flushed = self.controls.get(&cohort).map(|control| control.checkpoint.flushed.seq).unwrap_or(0);
        let entries = self.reader().read_segment(cohort, flushed, id).map_err(|error| {
            self.poison(io::Error::other(format!("copying a live tail forward: {error}")))
        })?;
        for entry in entries {
            self.encode(cohort, &Record::Entry(entry), true);
        }
        self.force()
    }

    fn check_poison(&self) -> Result<(), LogError> {
        match &self.poison {
            None => Ok(()),
            Some(error) => Err(LogError::Poisoned(error.clone())),
        }
    }

    fn poison(&mut self, error: io::Error) -> LogError {
        let error = Arc::new(error);
        self.poison = Some(error.clone());
        LogError::Poisoned(error)
    }
}

impl std::fmt::Debug for LogWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogWriter")
            .field("batch", &self.number)
            .field("segments", &self.segments.len())
            .finish()
    }
}

/// Sequence number of a cohort's last entry once `record` stands behind one with `seq`.
fn seq_after(seq: u64, record: &Record) -> u64 {
    match record {
        Record::Entry(entry) => seq.max(entry.lsn.seq),
        Record::Skip(skip) => {
            let first = skip.0.values().filter_map(roaring::RoaringTreemap::min).min();
            first.map_or(seq, |first| seq.min(first.saturating_sub(1)))
        }
        Record::Checkpoint(checkpoint) => seq.max(checkpoint.flushed.seq),
        Record::Snapshot(checkpoint) => checkpoint.flushed.seq,
        Record::Promise(_) | Record::Commit(_) => seq,
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Path of a segment, for messages.
pub(crate) fn segment_path(id: u64) -> String {
    recovery::path(id)
}
