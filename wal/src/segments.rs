//! The log's files: where the next batch goes, whether there is space for it, making and removing segments.
//!
//! Space is looked for when an append is accepted, so that it can be refused whole: what is accepted fits into the
//! current segment or into one more. A segment is allocated and zeroed when it is made; a force then changes data only,
//! no file system metadata.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use crate::disk::{Disk, DiskFile};
use crate::error::LogError;
use crate::format::{SegmentHeader, blocks, segment_header};
use crate::lsn::CohortId;

/// Sizes of the log.
#[derive(Clone, Copy, Debug)]
pub struct LogOptions {
    /// Length of a segment, preallocated.
    pub segment_bytes: u64,
    /// Segments that no cohort needs are kept up to this sum, for followers that were away.
    pub retention_bytes: u64,
    /// Free space that client writes may not touch, so that promises, skips and checkpoints always fit.
    pub reserve_bytes: u64,
}

impl Default for LogOptions {
    fn default() -> LogOptions {
        LogOptions { segment_bytes: 64 << 20, retention_bytes: 256 << 20, reserve_bytes: 8 << 20 }
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

/// Whether an operation failed for lack of space only.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
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

    /// Whether a batch of so many bytes will find its place, in a new segment for `cohorts` cohorts if need be. Control
    /// records may use the reserve.
    pub(crate) fn check_space(&self, batch: u64, cohorts: usize, control: bool) -> Result<(), LogError> {
        if self.fits(batch) {
            return Ok(());
        }
        let free = self.disk.free_bytes().map_err(|_| LogError::DiskFull)?;
        let length = self.next_length(batch, cohorts);
        let reserve = if control { 0 } else { self.options.reserve_bytes };
        if free < length + reserve && !(control && free >= blocks(batch) * 2) {
            return Err(LogError::DiskFull);
        }
        Ok(())
    }

    fn next_length(&self, batch: u64, cohorts: usize) -> u64 {
        self.options.segment_bytes.max(blocks(batch) + blocks(64 + 32 * cohorts as u64))
    }

    /// Makes the segment behind the current one, with room for a batch of so many bytes: allocated, zeroed, its header
    /// and name forced. The header's id is set here.
    pub(crate) fn add(&mut self, mut header: SegmentHeader, batch: u64) -> io::Result<&Segment> {
        let id = self.current().map_or(1, |segment| segment.id + 1);
        header.id = id;
        let length = self.next_length(batch, header.before.len());
        let header = segment_header(&header);
        let file = match self.make(id, length, &header) {
            Ok(file) => file,
            Err(error) => {
                let _ = self.disk.remove(&path(id));
                return Err(error);
            }
        };
        let used = header.len() as u64;
        let at = self.list.len();
        self.list.push(Segment { id, file, used, length, entries: BTreeMap::new() });
        Ok(&self.list[at])
    }

    fn make(&self, id: u64, length: u64, header: &[u8]) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.disk.create(&path(id))?;
        file.allocate(length)?;
        let zeros = vec![0; 1 << 20];
        let mut offset = 0;
        while offset < length {
            let bytes = (length - offset).min(zeros.len() as u64);
            file.write_all_at(&zeros[..bytes as usize], offset)?;
            offset += bytes;
        }
        file.write_all_at(header, 0)?;
        file.sync()?;
        self.disk.sync_dir("wal")?;
        Ok(file)
    }

    /// Takes the oldest segment out of the log; the caller then removes its file.
    pub(crate) fn forget_oldest(&mut self) {
        self.list.remove(0);
    }

    /// Removes the file of a segment, durably.
    pub(crate) fn remove_file(&self, id: u64) -> io::Result<()> {
        self.disk.remove(&path(id))?;
        self.disk.sync_dir("wal")
    }
}
