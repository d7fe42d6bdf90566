//! The log's files: where the next batch goes, whether there is space for it, making and removing segments.
//!
//! Space is looked for when an append is accepted, so that it can be refused whole: what is accepted fits into the
//! current segment or into one more. A segment is allocated and zeroed when it is made; a force then changes data only,
//! no file system metadata. It is made ahead, while the one before it is filled, and begins to count when its header is
//! forced.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::disk::{Disk, DiskFile, is_full};
use crate::error::LogError;
use crate::extent::History;
use crate::format::{SegmentHeader, blocks, segment_header};
use crate::lsn::CohortId;

/// Zeros are written in parts of this size, and forced in parts of that one.
const ZEROS_BYTES: u64 = 1 << 20;
const ZEROS_FORCED: u64 = 4 << 20;
/// Longest and shortest segment, if its length follows from the retention.
const SEGMENT_BYTES_MAX: u64 = 64 << 20;
const SEGMENT_BYTES_MIN: u64 = 1 << 20;

/// Sizes of the log.
#[derive(Clone, Copy, Debug)]
pub struct LogOptions {
    /// Length of a segment, preallocated.
    pub segment_bytes: u64,
    /// Segments that no cohort needs are kept up to this sum, for followers that were away.
    pub retention_bytes: u64,
    /// Free space that client writes may not touch, so that promises, skips and checkpoints always fit.
    pub reserve_bytes: u64,
    /// What is known of the log before it is opened: whether it can be missing at all.
    pub history: History,
}

impl Default for LogOptions {
    fn default() -> LogOptions {
        LogOptions::retaining(256 << 20)
    }
}

impl LogOptions {
    /// Sizes that fit a retention: four segments, each of 1 to 64 MiB.
    pub fn retaining(retention_bytes: u64) -> LogOptions {
        LogOptions {
            segment_bytes: (retention_bytes / 4).clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX),
            retention_bytes,
            reserve_bytes: 8 << 20,
            history: History::Unknown,
        }
    }

    /// The most that the log needs on the disk, in bytes: twice its retention while ranges are behind with flushing, then
    /// the segment that a tail is copied to, the one that is filled, the one that is made ahead, and the reserve.
    pub fn disk_bytes_max(&self) -> u64 {
        2 * self.retention_bytes.max(2 * self.segment_bytes) + 3 * self.segment_bytes + self.reserve_bytes
    }
}

/// One file of the log.
pub(crate) struct Segment {
    pub(crate) id: u64,
    pub(crate) file: Arc<dyn DiskFile>,
    /// Bytes of header and valid batches.
    pub(crate) used: u64,
    /// Allocated length.
    pub(crate) length: u64,
    /// Highest seq of each cohort with an entry here.
    pub(crate) entries: BTreeMap<CohortId, u64>,
}

/// Path of a segment.
pub(crate) fn path(id: u64) -> String {
    format!("wal/{id:016x}.seg")
}

/// Length of a segment that holds a batch of so many bytes behind a header that names so many cohorts.
fn least_length(batch: u64, cohorts: usize) -> u64 {
    blocks(batch) + blocks(64 + 32 * cohorts as u64)
}

/// An order to make the file of a segment: allocated, zeroed, named, and all of that forced. It has no header yet, so it
/// does not count: a restart removes it.
pub(crate) struct MakeSegment {
    disk: Arc<dyn Disk>,
    pub(crate) id: u64,
    /// Length that it is to have.
    pub(crate) length: u64,
    /// Length that will do when the disk is nearly full: what the open batch needs.
    pub(crate) least: u64,
}

/// A segment's file without a header.
pub(crate) struct MadeSegment {
    pub(crate) id: u64,
    file: Arc<dyn DiskFile>,
    pub(crate) length: u64,
}

impl MakeSegment {
    /// Makes it. Zeros are written as long as `hurry` is not set: without them a force has to change metadata, too. Of a
    /// failure nothing is left but a name that a later try replaces.
    pub(crate) fn make(&self, hurry: &AtomicBool) -> io::Result<MadeSegment> {
        match self.make_long(self.length, hurry) {
            Err(error) if is_full(&error) && self.least < self.length => self.make_long(self.least, hurry),
            made => made,
        }
    }

    fn make_long(&self, length: u64, hurry: &AtomicBool) -> io::Result<MadeSegment> {
        let made = self.try_make(length, hurry);
        made.map(|file| MadeSegment { id: self.id, file, length }).inspect_err(|_| {
            // If this fails too, the next try removes it.
            let _ = self.disk.remove(&path(self.id));
        })
    }

    fn try_make(&self, length: u64, hurry: &AtomicBool) -> io::Result<Arc<dyn DiskFile>> {
        let path = path(self.id);
        let file = match self.disk.create(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                // Left by an earlier try; no batch was ever written to it.
                self.disk.remove(&path)?;
                self.disk.create(&path)?
            }
            created => created?,
        };
        file.allocate(length)?;
        let zeros = vec![0; ZEROS_BYTES.min(length) as usize];
        let mut offset = 0;
        while offset < length && !hurry.load(Ordering::Relaxed) {
            let bytes = (length - offset).min(ZEROS_BYTES);
            file.write_all_at(&zeros[..bytes as usize], offset)?;
            offset += bytes;
            if offset.is_multiple_of(ZEROS_FORCED) {
                // In small parts: a force of the log may have to wait for this one.
                file.sync()?;
            }
        }
        file.sync()?;
        self.disk.sync_dir("wal")?;
        Ok(file)
    }
}

/// Where the log gets its next segment from.
pub(crate) trait SegmentSource: Send {
    /// The file of the segment; made now if it was not made ahead.
    fn take(&mut self, make: &MakeSegment) -> io::Result<MadeSegment>;
    /// This one will be needed next: it may be made ahead.
    fn order(&mut self, make: MakeSegment);
    /// Length of the one that was made ahead, or is being made; 0: there is none.
    fn ahead(&self) -> u64;
    /// Does what was ordered, for a source without a thread.
    fn work(&mut self) {}
}

/// Makes segments on the thread of the log: when they are needed, or when it is told to.
#[derive(Default)]
pub(crate) struct SameThread {
    ordered: Option<MakeSegment>,
    made: Option<MadeSegment>,
}

impl SegmentSource for SameThread {
    fn take(&mut self, make: &MakeSegment) -> io::Result<MadeSegment> {
        self.ordered = None;
        match self.made.take().filter(|made| made.id == make.id && made.length >= make.least) {
            Some(made) => Ok(made),
            None => make.make(&AtomicBool::new(false)),
        }
    }

    fn order(&mut self, make: MakeSegment) {
        self.ordered = Some(make);
    }

    fn ahead(&self) -> u64 {
        self.made.as_ref().map_or(0, |made| made.length)
    }

    fn work(&mut self) {
        if let Some(make) = self.ordered.take() {
            // What could not be made ahead is made when it is needed.
            self.made = make.make(&AtomicBool::new(false)).ok();
        }
    }
}

/// All segments, oldest first.
pub(crate) struct Segments {
    disk: Arc<dyn Disk>,
    options: LogOptions,
    list: Vec<Segment>,
}

impl Segments {
    pub(crate) fn new(disk: Arc<dyn Disk>, options: LogOptions, list: Vec<Segment>) -> Segments {
        Segments { disk, options, list }
    }

    pub(crate) fn oldest(&self) -> Option<&Segment> {
        self.list.first()
    }

    /// The one that is the oldest when the oldest is gone.
    pub(crate) fn second(&self) -> Option<&Segment> {
        self.list.get(1)
    }

    /// The one that is written to.
    pub(crate) fn current(&self) -> Option<&Segment> {
        self.list.last()
    }

    pub(crate) fn current_mut(&mut self) -> Option<&mut Segment> {
        self.list.last_mut()
    }

    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    /// Bytes that they take on the disk.
    pub(crate) fn bytes(&self) -> u64 {
        self.list.iter().map(|segment| segment.length).sum()
    }

    /// What they may take before the oldest ones go.
    pub(crate) fn bytes_max(&self) -> u64 {
        self.options.retention_bytes.max(2 * self.options.segment_bytes)
    }

    /// Whether a batch of so many bytes fits into the current one.
    pub(crate) fn fits(&self, batch: u64) -> bool {
        self.current().is_some_and(|current| current.used + blocks(batch) <= current.length)
    }

    /// Whether a batch of so many bytes will find its place, in a new segment for `cohorts` cohorts if need be; one of the
    /// length `ahead` is made already, or being made. Control records may use the reserve.
    pub(crate) fn check_space(
        &self,
        batch: u64,
        cohorts: usize,
        control: bool,
        ahead: u64,
    ) -> Result<(), LogError> {
        let least = least_length(batch, cohorts);
        if self.fits(batch) || least <= ahead {
            return Ok(());
        }
        let free = self.disk.free_bytes().map_err(|_| LogError::DiskFull)?;
        let needed = if control { least } else { self.next_length(least) + self.options.reserve_bytes };
        if free < needed { Err(LogError::DiskFull) } else { Ok(()) }
    }

    fn next_length(&self, least: u64) -> u64 {
        self.options.segment_bytes.max(least)
    }

    /// The order for the segment behind the current one, with room for a batch of so many bytes.
    pub(crate) fn next(&self, batch: u64, cohorts: usize) -> MakeSegment {
        let id = self.current().map_or(1, |segment| segment.id + 1);
        let least = least_length(batch, cohorts);
        MakeSegment { disk: self.disk.clone(), id, length: self.next_length(least), least }
    }

    /// The order for the segment behind the current one, if the disk has so much to spare that it can be made before it
    /// is needed.
    pub(crate) fn next_ahead(&self, cohorts: usize) -> Option<MakeSegment> {
        let make = self.next(0, cohorts);
        let free = self.disk.free_bytes().ok()?;
        (free >= make.length + self.options.reserve_bytes)
            .then_some(MakeSegment { least: make.length, ..make })
    }

    /// From here on the segment counts: its header is written and forced. The header's id is set here.
    pub(crate) fn begin(&mut self, made: MadeSegment, mut header: SegmentHeader) -> io::Result<&Segment> {
        let MadeSegment { id, file, length } = made;
        header.id = id;
        let header = segment_header(&header);
        file.write_all_at(&header, 0)?;
        file.sync()?;
        let at = self.list.len();
        self.list.push(Segment { id, file, used: header.len() as u64, length, entries: BTreeMap::new() });
        Ok(&self.list[at])
    }

    /// Takes the oldest segment out of the log; the caller then removes its file.
    pub(crate) fn forget_oldest(&mut self) {
        self.list.remove(0);
    }

    /// Removes the file of the oldest segment, durably. After an error it may or may not be there: to be tried again
    /// before anything else is removed, for the log may not have a hole.
    pub(crate) fn remove_file(&self, id: u64) -> io::Result<()> {
        match self.disk.remove(&path(id)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        self.disk.sync_dir("wal")
    }
}
