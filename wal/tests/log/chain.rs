//! A cohort with entries to append, and a log with small segments.

use std::sync::Arc;

use bytes::Bytes;
use roaring::RoaringTreemap;
use wal::disk::MemoryDisk;
use wal::{
    Append, ChainHash, Checkpoint, CohortId, Entry, EntryKind, Epoch, LogOptions, LogWriter, Lsn, Record,
    Recovery, SkipList,
};

pub(crate) const A: CohortId = CohortId(0xA);

pub(crate) const B: CohortId = CohortId(0xB);

pub(crate) fn options() -> LogOptions {
    LogOptions {
        segment_bytes: 64 << 10,
        retention_bytes: 256 << 10,
        reserve_bytes: 64 << 10,
        ..LogOptions::default()
    }
}

pub(crate) fn open(disk: &MemoryDisk) -> (LogWriter, Recovery) {
    LogWriter::open(Arc::new(disk.clone()), options()).expect("opens")
}

/// A cohort's chain of entries, made on demand.
#[derive(Clone)]
pub(crate) struct Chain {
    cohort: CohortId,
    pub(crate) entries: Vec<Entry>,
}

impl Chain {
    pub(crate) fn new(cohort: CohortId) -> Chain {
        Chain { cohort, entries: Vec::new() }
    }

    pub(crate) fn last(&self) -> (Lsn, ChainHash) {
        self.entries.last().map_or((Lsn::ZERO, ChainHash::ZERO), |entry| (entry.lsn, entry.chain))
    }

    pub(crate) fn next(&mut self, epoch: u32, bytes: usize) -> Append {
        let (last, chain) = self.last();
        let payload = Bytes::from(vec![self.entries.len() as u8; bytes]);
        let entry = Entry::next(last, chain, Epoch(epoch), EntryKind::Write, payload);
        self.entries.push(entry.clone());
        Append { cohort: self.cohort, records: vec![Record::Entry(entry)] }
    }

    pub(crate) fn skip_after(&mut self, seq: u64) -> Append {
        let mut skip = SkipList::default();
        for entry in self.entries.split_off(seq as usize) {
            skip.0.entry(entry.lsn.epoch).or_insert_with(RoaringTreemap::new).insert(entry.lsn.seq);
        }
        Append { cohort: self.cohort, records: vec![Record::Skip(skip)] }
    }

    pub(crate) fn checkpoint(&self, seq: u64) -> Checkpoint {
        let entry = &self.entries[seq as usize - 1];
        Checkpoint {
            flushed: entry.lsn,
            flushed_chain: entry.chain,
            committed: entry.lsn,
            ..Checkpoint::default()
        }
    }
}
