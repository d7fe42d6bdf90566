//! The newest writes of a range, in a concurrent skip list: one writer, readers that never wait.
//!
//! Every version stays until the memtable is written out, so a reader takes what is visible at its LSN and is
//! not disturbed by what comes later.

use std::cmp::Reverse;
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use crossbeam_skiplist::SkipMap;
use wal::{Epoch, Lsn};

use crate::request::key_after;
use crate::table::{CellVersion, RowVersions};

/// What a version takes beside its bytes, roughly.
const VERSION_BYTES: usize = 160;

/// Row key, column, newest first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct CellKey {
    row: Bytes,
    column: Bytes,
    lsn: Reverse<Lsn>,
}

/// The memtable.
#[derive(Default)]
pub(crate) struct Memtable {
    cells: SkipMap<CellKey, Option<Bytes>>,
    bytes: AtomicU64,
}

impl CellKey {
    /// Before everything of the row.
    fn start_of(row: Bytes) -> CellKey {
        CellKey { row, column: Bytes::new(), lsn: Reverse(Lsn { epoch: Epoch(u32::MAX), seq: u64::MAX }) }
    }
}

impl Memtable {
    /// Adds a version (the same key again replaces it: within one write the later mutation wins).
    pub(crate) fn insert(&self, row: Bytes, column: Bytes, lsn: Lsn, value: Option<Bytes>) {
        let bytes = row.len() + column.len() + value.as_ref().map_or(0, Bytes::len) + VERSION_BYTES;
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.cells.insert(CellKey { row, column, lsn: Reverse(lsn) }, value);
    }

    /// Memory taken, roughly.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// What is visible of the row at `read_lsn`.
    pub(crate) fn get(&self, key: &[u8], read_lsn: Lsn) -> Option<RowVersions> {
        let row = Bytes::copy_from_slice(key);
        self.collect(row, read_lsn)
    }

    /// The first row at or above the key that shows something at `read_lsn`.
    pub(crate) fn first_from(&self, key: &[u8], read_lsn: Lsn) -> Option<RowVersions> {
        let mut from = Bytes::copy_from_slice(key);
        loop {
            let row = self.cells.lower_bound(Bound::Included(&CellKey::start_of(from)))?.key().row.clone();
            let next = key_after(&row);
            if let Some(found) = self.collect(row, read_lsn) {
                return Some(found);
            }
            from = next;
        }
    }

    /// The last row below the key (`None`: the last row) that shows something at `read_lsn`.
    pub(crate) fn last_below(&self, key: Option<&[u8]>, read_lsn: Lsn) -> Option<RowVersions> {
        let mut below = key.map(Bytes::copy_from_slice);
        loop {
            let row = match below {
                None => self.cells.back()?.key().row.clone(),
                Some(key) => {
                    let end = CellKey::start_of(key);
                    self.cells.upper_bound(Bound::Excluded(&end))?.key().row.clone()
                }
            };
            if let Some(found) = self.collect(row.clone(), read_lsn) {
                return Some(found);
            }
            below = Some(row);
        }
    }

    /// The row's newest visible version of each column.
    fn collect(&self, row: Bytes, read_lsn: Lsn) -> Option<RowVersions> {
        let mut cells: Vec<CellVersion> = Vec::new();
        let mut deleted = None;
        let mut next = self.cells.lower_bound(Bound::Included(&CellKey::start_of(row.clone())));
        while let Some(entry) = next {
            let at = entry.key();
            if at.row != row {
                break;
            }
            let lsn = at.lsn.0;
            if lsn > read_lsn {
                // Rarely more than the write under way.
                next = entry.next();
                continue;
            }
            if at.column.is_empty() {
                deleted = Some(lsn);
            }
            // What the row's deletion hides need not be carried on; the deletion itself must be.
            if deleted.is_none_or(|deleted| lsn >= deleted) {
                cells.push(CellVersion { column: at.column.clone(), lsn, value: entry.value().clone() });
            }
            // A column written often has many older versions: leap over them, if there are any.
            next = match entry.next() {
                Some(older) if older.key().row == row && older.key().column == at.column => {
                    let end =
                        CellKey { row: row.clone(), column: at.column.clone(), lsn: Reverse(Lsn::ZERO) };
                    self.cells.lower_bound(Bound::Excluded(&end))
                }
                other => other,
            };
        }
        (!cells.is_empty()).then_some(RowVersions { key: row, cells })
    }
}
