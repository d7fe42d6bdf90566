//! One row out of many sources: the newest version of each column wins, deletions hide what is older.
//!
//! Sources are memtables and tables. A version is told from another by its LSN alone, so the order of the sources does
//! not matter, and a source may be read again after a flush has moved its content elsewhere.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use wal::Lsn;

use super::memtable::{Memtable, successor};
use crate::request::{Cell, Columns, Row};
use crate::table::{CellVersion, RowVersions, Table, TableError};

/// What a reader reads: memtables and tables as they were at one moment.
#[derive(Clone, Default)]
pub(crate) struct Sources {
    pub(crate) memtables: Vec<Arc<Memtable>>,
    pub(crate) tables: Vec<Arc<Table>>,
}

/// Joins what the sources hold of one row: newest version per column, and the row's newest deletion. With
/// `bottom` nothing older exists elsewhere, so deletions have done their work and go; the highest is returned.
pub(crate) fn join(parts: Vec<RowVersions>, bottom: bool) -> (Vec<CellVersion>, Lsn) {
    let mut newest: BTreeMap<Bytes, CellVersion> = BTreeMap::new();
    for cell in parts.into_iter().flat_map(|part| part.cells) {
        match newest.get_mut(&cell.column) {
            Some(known) if known.lsn >= cell.lsn => {}
            Some(known) => *known = cell,
            None => {
                newest.insert(cell.column.clone(), cell);
            }
        }
    }
    let deleted = newest.get(&Bytes::new()).map_or(Lsn::ZERO, |cell| cell.lsn);
    let mut dropped = Lsn::ZERO;
    let cells = newest.into_values().filter(|cell| {
        // A put of the very write that deleted the row stands.
        if cell.lsn < deleted {
            return false;
        }
        if bottom && cell.value.is_none() {
            dropped = dropped.max(cell.lsn);
            return false;
        }
        true
    });
    let cells = cells.collect();
    (cells, dropped)
}

/// The live row, with the columns wanted.
pub(crate) fn visible(key: Bytes, parts: Vec<RowVersions>, columns: &Columns) -> Row {
    let (cells, _) = join(parts, true);
    let wanted = |column: &Bytes| match columns {
        Columns::All => true,
        Columns::Some(some) => some.contains(column),
    };
    let cells = cells
        .into_iter()
        .filter(|cell| wanted(&cell.column))
        .filter_map(|cell| cell.value.map(|value| Cell { column: cell.column, value, version: cell.lsn }));
    Row { key, cells: cells.collect() }
}

impl Sources {
    /// Everything that the sources hold of one row at the snapshot.
    pub(crate) fn get(&self, key: &[u8], snapshot: Lsn) -> Result<Vec<RowVersions>, TableError> {
        let mut parts: Vec<RowVersions> =
            self.memtables.iter().filter_map(|memtable| memtable.get(key, snapshot)).collect();
        for table in &self.tables {
            let summary = table.summary();
            if *key >= summary.first_key[..] && *key <= summary.last_key[..] {
                parts.extend(table.get(key)?);
            }
        }
        Ok(parts)
    }
}

/// Walks over the rows of sources in key order, or backwards. Each source's next row is at hand; the nearest one is
/// joined from all that have it.
pub(crate) struct Walk {
    sources: Sources,
    snapshot: Lsn,
    reverse: bool,
    /// Bounds of what is left.
    start: Bytes,
    end: Option<Bytes>,
    /// Next row of each source; `None` at its end. Filled at the first step.
    heads: Option<Vec<Option<RowVersions>>>,
}

impl Walk {
    pub(crate) fn new(
        sources: Sources,
        snapshot: Lsn,
        start: Bytes,
        end: Option<Bytes>,
        reverse: bool,
    ) -> Walk {
        Walk { sources, snapshot, reverse, start, end, heads: None }
    }

    /// The next row's parts.
    pub(crate) fn step(&mut self) -> Result<Option<(Bytes, Vec<RowVersions>)>, TableError> {
        let count = self.sources.memtables.len() + self.sources.tables.len();
        let mut heads = match self.heads.take() {
            Some(heads) => heads,
            None => (0..count).map(|source| self.head(source)).collect::<Result<_, _>>()?,
        };
        let nearest = |a: &&Bytes, b: &&Bytes| if self.reverse { b.cmp(a) } else { a.cmp(b) };
        let Some(key) = heads.iter().flatten().map(|row| &row.key).min_by(nearest).cloned() else {
            self.heads = Some(heads);
            return Ok(None);
        };
        if self.reverse {
            self.end = Some(key.clone());
        } else {
            self.start = successor(&key);
        }
        let mut parts = Vec::new();
        for (source, head) in heads.iter_mut().enumerate() {
            if head.as_ref().is_some_and(|row| row.key.cmp(&key) == Ordering::Equal) {
                parts.extend(head.take());
                *head = self.head(source)?;
            }
        }
        self.heads = Some(heads);
        Ok(Some((key, parts)))
    }

    /// The source's next row within the bounds.
    fn head(&self, source: usize) -> Result<Option<RowVersions>, TableError> {
        let memtables = &self.sources.memtables;
        let row = match (memtables.get(source), self.reverse) {
            (Some(memtable), false) => memtable.first_from(&self.start, self.snapshot),
            (Some(memtable), true) => memtable.last_below(self.end.as_deref(), self.snapshot),
            (None, false) => self.sources.tables[source - memtables.len()].first_from(&self.start)?,
            (None, true) => self.sources.tables[source - memtables.len()].last_below(self.end.as_deref())?,
        };
        let inside =
            |row: &RowVersions| row.key >= self.start && self.end.as_ref().is_none_or(|end| row.key < *end);
        Ok(row.filter(inside))
    }
}
