//! The rows of a range as of one LSN, for reads in several steps: the pages of a scan, long lists of keys.
//!
//! A version can be read at every LSN between the one up to which its tables hold everything and the one that is
//! applied: memtables keep all versions of a cell until they are written out. So a replica can answer as of an older
//! LSN, also for a scan that began at another replica, until it has written that LSN out. Whoever holds a [`Pinned`]
//! can read on even then, at the price of the memory and the files that it holds.

use std::sync::Arc;

use bytes::Bytes;
use wal::Lsn;

use super::lsm::Engine;
use super::memtable::Memtable;
use super::merge::{self, Walk};
use super::version::Version;
use crate::operation::RangeScan;
use crate::request::{Columns, Row};
use crate::table::{Caching, TableError as EngineError};

/// A page ends after so many rows.
const PAGE_ROWS: usize = 1024;
/// A page ends after so many rows that it has looked at, deleted ones among them.
const PAGE_VISITS: usize = 8192;
/// A page ends after so many bytes that it has looked at, in columns that were not asked for among them.
const PAGE_READ_BYTES: usize = 4 << 20;

/// The content of a range as of one LSN.
#[derive(Clone)]
pub struct Pinned {
    version: Arc<Version>,
    read_lsn: Lsn,
}

impl Engine {
    /// The content at the last applied LSN.
    pub fn pin(&self) -> Result<Pinned, EngineError> {
        self.check()?;
        let (version, read_lsn) = self.current();
        Ok(Pinned { version, read_lsn })
    }

    /// The content as of an LSN; `None` if it is not applied here, or no longer kept.
    pub fn pin_at(&self, read_lsn: Lsn) -> Result<Option<Pinned>, EngineError> {
        self.check()?;
        let (version, applied) = self.current();
        let kept = version.flushed <= read_lsn && read_lsn <= applied;
        Ok(kept.then_some(Pinned { version, read_lsn }))
    }

    /// Whether what was pinned is a part of this engine's present history: not after the content was wiped, or
    /// replaced by another replica's.
    pub fn continues(&self, pinned: &Pinned) -> Result<bool, EngineError> {
        self.check()?;
        Ok(Arc::ptr_eq(&self.version().lineage, &pinned.version.lineage))
    }

    /// The memtables that only `pinned` keeps in memory: an identity and the bytes of each.
    pub fn kept_for(&self, pinned: &Pinned) -> Vec<(usize, u64)> {
        let version = self.version();
        let current: Vec<_> = version.memtables().map(Arc::as_ptr).collect();
        let kept = pinned.version.memtables().filter(|memtable| !current.contains(&Arc::as_ptr(memtable)));
        kept.map(|memtable: &Arc<Memtable>| (Arc::as_ptr(memtable) as usize, memtable.bytes())).collect()
    }
}

impl Pinned {
    /// The LSN as of which everything is read.
    pub fn read_lsn(&self) -> Lsn {
        self.read_lsn
    }

    /// Rows by key, in the order of the keys: as many as fit into `bytes_max`, but one at least.
    pub fn get_some(
        &self,
        keys: &[Bytes],
        columns: &Columns,
        bytes_max: usize,
    ) -> Result<Vec<Row>, EngineError> {
        let (mut rows, mut bytes) = (Vec::with_capacity(keys.len()), 0);
        for key in keys {
            let row =
                merge::visible(key.clone(), self.version.get(key, self.read_lsn)?, columns, self.read_lsn);
            bytes += row.bytes();
            if bytes > bytes_max && !rows.is_empty() {
                break;
            }
            rows.push(row);
        }
        Ok(rows)
    }

    /// Begins a page of about `bytes_max`.
    pub fn page(&self, scan: RangeScan, bytes_max: usize) -> Page {
        let sources = self.version.sources(Caching::Fill);
        let walk = Walk::new(sources, self.read_lsn, scan.start.clone(), scan.end.clone(), scan.reverse);
        let more = scan.limit != Some(0);
        Page {
            walk,
            read_lsn: self.read_lsn,
            rest: scan,
            passed: None,
            rows: Vec::new(),
            bytes: 0,
            read: 0,
            visits: 0,
            bytes_max,
            more,
        }
    }
}

/// A page of a scan, read in slices.
pub struct Page {
    walk: Walk,
    read_lsn: Lsn,
    rest: RangeScan,
    /// The key last looked at.
    passed: Option<Bytes>,
    rows: Vec<Row>,
    /// Of the rows; of all that was read.
    bytes: usize,
    read: usize,
    visits: usize,
    bytes_max: usize,
    /// There may be more to read behind.
    more: bool,
}

impl Page {
    /// Looks at up to `visits` more rows. `false` when the page has ended.
    pub fn advance(&mut self, visits: usize) -> Result<bool, EngineError> {
        for _ in 0..visits {
            if self.is_full() || !self.more {
                return Ok(false);
            }
            let Some((key, parts)) = self.walk.step()? else {
                self.more = false;
                return Ok(false);
            };
            self.visits += 1;
            self.read += parts.iter().map(|part| part.bytes()).sum::<usize>();
            let row = merge::visible(key.clone(), parts, &self.rest.columns, self.read_lsn);
            let found = u64::from(!row.cells.is_empty());
            self.rest.pass(found, &key);
            self.passed = Some(key);
            if found > 0 {
                self.bytes += row.bytes();
                self.rows.push(row);
            }
            self.more = self.rest.limit != Some(0);
        }
        Ok(true)
    }

    fn is_full(&self) -> bool {
        self.bytes > self.bytes_max
            || self.rows.len() >= PAGE_ROWS
            || self.visits >= PAGE_VISITS
            || self.read >= PAGE_READ_BYTES
    }

    /// The rows; if there may be more: the key up to which all was looked at, and what is left of the scan.
    pub fn finish(self) -> (Vec<Row>, Option<(Bytes, RangeScan)>) {
        let rest = self.passed.filter(|_| self.more).map(|passed| (passed, self.rest));
        (self.rows, rest)
    }
}
