//! Reading entries back, for followers that were away, while the writer goes on.

use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};

use bytes::Bytes;

use crate::disk::DiskFile;
use crate::error::ReadError;
use crate::format::{Logged, get_record};
use crate::index::{Index, Place};
use crate::lsn::{CohortId, Lsn};
use crate::record::{Entry, Record};
use crate::segments::path;
use crate::sync;

/// What writer and readers share.
pub(crate) struct Shared {
    pub(crate) index: Index,
    pub(crate) files: BTreeMap<u64, Arc<dyn DiskFile>>,
}

/// Reads forced entries; cheap to clone.
#[derive(Clone)]
pub struct LogReader(Arc<RwLock<Shared>>);

impl std::fmt::Debug for LogReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LogReader")
    }
}

impl LogReader {
    pub(crate) fn new(shared: Arc<RwLock<Shared>>) -> LogReader {
        LogReader(shared)
    }

    /// The last forced live entry of a cohort.
    pub fn last(&self, cohort: CohortId) -> Lsn {
        let shared = sync::read(&self.0);
        shared.index.get(&cohort).map_or(Lsn::ZERO, |index| index.last())
    }

    /// Entries behind `after`, in order, until `bytes_max` of log is read (at least one if there is one).
    pub fn read(&self, cohort: CohortId, after: Lsn, bytes_max: u64) -> Result<Vec<Entry>, ReadError> {
        let mut places = Vec::new();
        {
            let shared = sync::read(&self.0);
            let Some(index) = shared.index.get(&cohort) else { return Ok(Vec::new()) };
            if after.seq < index.oldest().seq {
                return Err(ReadError::Gone { oldest: index.oldest() });
            }
            let known = if after.seq == index.oldest().seq {
                Some(index.oldest().epoch)
            } else {
                index.at(after.seq).map(|place| place.epoch)
            };
            if known != Some(after.epoch) {
                return Err(ReadError::NotLive(after));
            }
            let mut bytes = 0;
            for seq in after.seq + 1.. {
                let Some(place) = index.at(seq) else { break };
                if bytes > 0 && bytes + u64::from(place.bytes) > bytes_max {
                    break;
                }
                bytes += u64::from(place.bytes);
                let file = shared.files.get(&place.segment).cloned();
                places.push((place, file.ok_or(ReadError::Gone { oldest: index.oldest() })?));
            }
        }
        places.iter().map(|(place, file)| read_entry(&**file, *place, cohort)).collect()
    }

    /// Entries of a cohort above `base` that stand in one segment, in order, until `bytes_max` of log is read.
    pub(crate) fn read_segment(
        &self,
        cohort: CohortId,
        base: u64,
        id: u64,
        bytes_max: u64,
    ) -> Result<Vec<Entry>, ReadError> {
        let shared = sync::read(&self.0);
        let Some(index) = shared.index.get(&cohort) else { return Ok(Vec::new()) };
        let (mut entries, mut bytes) = (Vec::new(), 0);
        for seq in (base + 1).max(index.oldest().seq + 1).. {
            let Some(place) = index.at(seq).filter(|_| bytes < bytes_max) else { break };
            if place.segment == id
                && let Some(file) = shared.files.get(&id)
            {
                bytes += u64::from(place.bytes);
                entries.push(read_entry(&**file, place, cohort)?);
            }
        }
        Ok(entries)
    }
}

fn read_entry(file: &dyn DiskFile, place: Place, cohort: CohortId) -> Result<Entry, ReadError> {
    let mut bytes = vec![0; place.bytes as usize];
    file.read_exact_at(&mut bytes, place.offset)?;
    let corrupt = || ReadError::Corrupt { segment: path(place.segment), offset: place.offset };
    let found =
        get_record(&mut Bytes::from(bytes)).filter(|found| found.cohort == cohort).ok_or_else(corrupt)?;
    match found.record {
        // The chain hash stands for the record's checksum here.
        Logged::Record(Record::Entry(entry)) if entry.lsn.epoch == place.epoch => Ok(entry),
        _ => Err(corrupt()),
    }
}
