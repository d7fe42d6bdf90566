//! The log's writing side: one batch at a time, one force per batch, no threads.
//!
//! [`LogWriter::append`] encodes into the open batch; [`LogWriter::force`] writes it behind the last one and forces. A
//! failed force is final [failed-force-is-final]: the page cache may show bytes that the disk lacks, so the log is
//! poisoned. A full disk is not: an append that would not fit is refused whole, and the log goes on when space is back.
//! At start the last batch, which nothing yet proves to be on the disk, is written again in its place, byte for byte,
//! and forced, before anything counts on it [tail-rewrite-in-place].
//!
//! A segment is noted in EXTENT before its first batch, and from time to time the number of the last batch is
//! [lost-log-is-seen].

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, RwLock};

use crate::batch::{Batch, Change, Control};
use crate::disk::{Disk, is_full};
use crate::error::{LogError, LogOpenError};
use crate::extent::{Extent, ExtentFile};
use crate::format::{BATCH_HEADER, Before, SegmentHeader, seal_batch};
use crate::index::Place;
use crate::lsn::CohortId;
use crate::reader::{LogReader, Shared};
use crate::record::{Append, Checkpoint, EntryKind, Record};
use crate::recovery::{Recovery, scan};
use crate::segments::{LogOptions, SameThread, SegmentSource, Segments};
use crate::sync;

/// The writer.
pub struct LogWriter {
    pub(crate) segments: Segments,
    disk: Arc<dyn Disk>,
    extent: ExtentFile,
    pub(crate) shared: Arc<RwLock<Shared>>,
    pub(crate) controls: BTreeMap<CohortId, Control>,
    batch: Batch,
    source: Box<dyn SegmentSource>,
    /// Number of the last batch written.
    number: u64,
    /// A part of the log was lost once, or damaged: kept in EXTENT, for the damage itself may go with its segment.
    lost: bool,
    poison: Option<Arc<io::Error>>,
    /// Whether the last batch is known forced by a later one's `forced_to`.
    marked: bool,
    /// There was no space for a mark; not tried again before the next batch.
    mark_refused: bool,
}

impl LogWriter {
    /// Opens or makes the log in directory `wal`, reads it once, and forces its last batch again.
    pub fn open(disk: Arc<dyn Disk>, options: LogOptions) -> Result<(LogWriter, Recovery), LogOpenError> {
        disk.create_dir("wal")?;
        let mut extent = ExtentFile::open(&*disk)?;
        let found = scan(&*disk, extent.extent(), options.history)?;
        if found.lost {
            // Until the gap is made, a next start must find the same: more was noted than is there.
            let noted = extent.extent().unwrap_or_default();
            let newest = found.segments.last().map_or(0, |segment| segment.id).max(noted.newest) + 1;
            let batch = found.batch.max(noted.batch) + 1;
            extent.note(&*disk, Extent { oldest: 0, newest, batch, lost: true, ..noted })?;
        }
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
            // Nor may what retention repeats of it look whole.
            checkpoint.must_rejoin |= state.corrupt.is_some();
            // A gap: no later record or header may vouch for a cohort that may have lost some [lost-log-is-seen].
            let ordinal =
                found.ordinals.get(&cohort).copied().unwrap_or(0) + u64::from(state.corrupt.is_some());
            let seq = found.index.get(&cohort).map_or(0, |index| index.last().seq);
            controls.insert(cohort, Control { ordinal, seq, checkpoint, segment: 0 });
        }
        let files = found.segments.iter().map(|segment| (segment.id, segment.file.clone())).collect();
        let mut writer = LogWriter {
            segments: Segments::new(disk.clone(), options, found.segments),
            disk,
            extent,
            shared: Arc::new(RwLock::new(Shared { index: found.index, files })),
            controls,
            batch: Batch::new(),
            source: Box::new(SameThread::default()),
            number: found.batch,
            lost: found.recovery.damaged.is_some(),
            poison: None,
            marked: false,
            mark_refused: false,
        };
        if writer.segments.current().is_none() || found.lost {
            // After a loss its header is what shows the gap, before EXTENT is content with what is there.
            writer.add_segment()?;
        } else {
            writer.order_segment();
        }
        writer.note_extent()?;
        Ok((writer, found.recovery))
    }

    /// Bytes of the segments on the disk.
    pub fn bytes(&self) -> u64 {
        self.segments.bytes()
    }

    /// Notes in EXTENT how far the log reaches now [lost-log-is-seen].
    fn note_extent(&mut self) -> io::Result<()> {
        let oldest = self.segments.oldest().map_or(0, |segment| segment.id);
        self.note_from(oldest)
    }

    /// The same, and that segments below `oldest` may be missing.
    pub(crate) fn note_from(&mut self, oldest: u64) -> io::Result<()> {
        let Some(current) = self.segments.current() else { return Ok(()) };
        let extent = Extent {
            // Never lowered: the removal of a segment may fail, and have removed it all the same.
            oldest: self.extent.extent().map_or(oldest, |noted| noted.oldest.max(oldest)),
            newest: current.id,
            length: current.length,
            batch: self.number,
            lost: self.lost,
        };
        self.extent.note(&*self.disk, extent)
    }

    /// Sees to a segment with room for a batch of so many bytes, and to its note in EXTENT.
    fn make_room(&mut self, batch: u64) -> io::Result<()> {
        if !self.segments.fits(batch) {
            self.add_segment()?;
        }
        let current = self.segments.current().map(|segment| segment.id);
        if current > self.extent.extent().map(|extent| extent.newest) {
            self.note_extent()?;
        }
        Ok(())
    }

    /// Notes the last batch in EXTENT: from here on it cannot be missing unseen. For clean ends and now and then.
    pub fn note(&mut self) -> Result<(), LogError> {
        self.check_poison()?;
        self.note_extent().map_err(|error| LogError::Segment(Arc::new(error)))
    }

    /// A reader of what is forced.
    pub fn reader(&self) -> LogReader {
        LogReader::new(self.shared.clone())
    }

    /// Takes an append into the open batch. Clients' entries are refused when space is short; what makes a leader, and
    /// control records, may use the reserve. Entries that were made behind a refused one are refused like it, until the cohort appends
    /// again from where the log ends: the log never has a hole.
    pub fn append(&mut self, append: Append) -> Result<(), LogError> {
        self.check_poison()?;
        let Append { cohort, records } = append;
        let (ordinal, seq) = self.controls.get(&cohort).map_or((0, 0), |known| (known.ordinal, known.seq));
        if Control::leaves_hole(seq, &records) {
            return Err(LogError::DiskFull);
        }
        let write =
            |record: &Record| matches!(record, Record::Entry(entry) if entry.kind == EntryKind::Write);
        let control = !records.iter().any(write);
        let mark = self.batch.mark();
        for record in &records {
            self.put(cohort, record, false);
        }
        let (bytes, cohorts) = (self.batch.len(), self.controls.len());
        if let Err(error) = self.segments.check_space(bytes, cohorts, control, self.source.ahead()) {
            self.batch.take_back(&mark);
            if let Some(known) = self.controls.get_mut(&cohort) {
                (known.ordinal, known.seq) = (ordinal, seq);
            }
            return Err(error);
        }
        let segment = self.segments.current().map_or(0, |segment| segment.id);
        if let Some(known) = self.controls.get_mut(&cohort) {
            records.into_iter().for_each(|record| known.note(record, segment));
        }
        Ok(())
    }

    /// Adds a record to the open batch, whatever the space. A copy is one that retention appends again.
    pub(crate) fn put(&mut self, cohort: CohortId, record: &Record, copy: bool) {
        self.batch.put(cohort, self.controls.entry(cohort).or_default(), record, copy);
    }

    /// Writes and forces the open batch; nothing to do if it is empty. On [`LogError::DiskFull`] the
    /// batch is dropped: none of it is or will be in the log, and later appends may succeed. On [`LogError::Segment`] it
    /// stays as it is, to be forced later.
    pub fn force(&mut self) -> Result<(), LogError> {
        self.check_poison()?;
        if self.batch.is_empty() {
            return Ok(());
        }
        if let Err(error) = self.make_room(self.batch.len()) {
            if is_full(&error) {
                self.discard_batch();
                return Err(LogError::DiskFull);
            }
            return Err(LogError::Segment(Arc::new(error)));
        }
        let Some(current) = self.segments.current_mut() else { return Err(LogError::Closed) };
        let (id, offset) = (current.id, current.used);
        seal_batch(&mut self.batch.bytes, id, offset, self.number + 1, self.number);
        let written = current.file.write_all_at(&self.batch.bytes, offset).and_then(|()| current.file.sync());
        if let Err(error) = written {
            return Err(self.poison(error));
        }
        current.used += self.batch.len();
        self.number += 1;
        (self.marked, self.mark_refused) = (false, false);
        let mut shared = sync::write(&self.shared);
        for change in self.batch.changes.drain(..) {
            match change {
                Change::Entry { cohort, lsn, prev, at, bytes, copy } => {
                    let highest = current.entries.entry(cohort).or_default();
                    *highest = (*highest).max(lsn.seq);
                    let place = Place { epoch: lsn.epoch, bytes, segment: id, offset: offset + at as u64 };
                    let index = shared.index.entry(cohort).or_default();
                    if copy { index.moved(lsn.seq, place) } else { index.push(lsn, prev, place) }
                }
                Change::Truncate { cohort, seq } => {
                    shared.index.entry(cohort).or_default().truncate(seq);
                }
                Change::Restart { cohort, flushed } => {
                    shared.index.entry(cohort).or_default().restart(flushed);
                }
                Change::Forget { cohort } => {
                    shared.index.remove(&cohort);
                }
            }
        }
        drop(shared);
        self.batch.clear();
        Ok(())
    }

    /// Drops the open batch, as if its appends had never been taken.
    fn discard_batch(&mut self) {
        for (cohort, before) in self.batch.clear() {
            // One that the batch forgot is back, too, to be forgotten again.
            self.controls.insert(cohort, before);
        }
    }

    /// Whether a mark batch would prove the last batch forced [torn-or-corrupt]; call [`LogWriter::mark`] when idle.
    pub fn wants_mark(&self) -> bool {
        !self.marked
            && !self.mark_refused
            && self.number > 0
            && self.poison.is_none()
            && self.batch.is_empty()
    }

    /// Whether everything that was forced is proven to have been [torn-or-corrupt]: damage to any of it will be noticed.
    pub fn is_proven(&self) -> bool {
        (self.marked || self.number == 0) && self.batch.is_empty()
    }

    /// Writes a batch without records, whose `forced_to` shows that the one before is whole.
    pub fn mark(&mut self) -> Result<(), LogError> {
        self.check_poison()?;
        if self.make_room(BATCH_HEADER as u64).is_err() {
            // The last batch stays unproven until the next one comes.
            self.mark_refused = true;
            return Ok(());
        }
        let Some(current) = self.segments.current_mut() else { return Err(LogError::Closed) };
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

    /// Begins the next segment, with what the segments before it hold of each cohort in its header. An error leaves all
    /// as it was: no batch is written to a segment whose header was not forced.
    fn add_segment(&mut self) -> io::Result<()> {
        let before: BTreeMap<_, _> = self
            .controls
            .iter()
            .map(|(&cohort, control)| {
                let Control { ordinal, seq, .. } = self.batch.before(cohort).unwrap_or(control);
                (cohort, Before { ordinal: *ordinal, seq: *seq })
            })
            .collect();
        let made = self.source.take(&self.segments.next(self.batch.len(), before.len()))?;
        let header = SegmentHeader { id: 0, first_batch: self.number + 1, before };
        let begun = self.segments.begin(made, header)?;
        sync::write(&self.shared).files.insert(begun.id, begun.file.clone());
        self.order_segment();
        Ok(())
    }

    /// Has the segment behind the current one made ahead, unless it is or there is no space.
    pub(crate) fn order_segment(&mut self) {
        if self.source.ahead() == 0
            && let Some(make) = self.segments.next_ahead(self.controls.len())
        {
            self.source.order(make);
        }
    }

    /// From now on segments come from here.
    pub(crate) fn set_source(&mut self, source: Box<dyn SegmentSource>) {
        self.source = source;
        self.order_segment();
    }

    /// Makes the next segment ahead now, if there is space: for callers without a [`crate::Log`], which does it on a
    /// thread.
    pub fn make_segment_ahead(&mut self) {
        self.order_segment();
        self.source.work();
    }

    /// Appends a cohort's control state as a Checkpoint record.
    pub fn set_checkpoint(&mut self, cohort: CohortId, checkpoint: Checkpoint) -> Result<(), LogError> {
        self.append(Append { cohort, records: vec![Record::Checkpoint(checkpoint)] })
    }

    /// The cohort was dropped: its records hold no segment any more and are superseded at the next start.
    pub fn forget(&mut self, cohort: CohortId) {
        if let Some(control) = self.controls.remove(&cohort) {
            self.batch.put_forget(cohort, control);
        }
    }

    fn check_poison(&self) -> Result<(), LogError> {
        match &self.poison {
            None => Ok(()),
            Some(error) => Err(LogError::Poisoned(error.clone())),
        }
    }

    /// From now on nothing more is written.
    pub(crate) fn poison(&mut self, error: io::Error) -> LogError {
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
