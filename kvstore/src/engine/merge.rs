//! One row out of many sources: the newest version of each column wins, deletions hide what is older.
//!
//! A version is distinguished from another by its LSN alone, so the order of the sources does not matter here, and a source may
//! be read again after a flush has moved its content elsewhere.

use std::cmp::Reverse;

use bytes::Bytes;
use wal::Lsn;

use super::row_source::RowSource;
use crate::request::{Cell, Columns, Row, key_after};
use crate::table::{CellVersion, RowVersions, TableError};

/// Merges what the sources hold of one row: the newest version of each column, deletions among them, by column.
/// What a deletion of the row hides is gone [newest-version-wins] [row-deletion-hides-older].
pub(crate) fn merge_row(parts: Vec<RowVersions>) -> Vec<CellVersion> {
    let mut cells: Vec<CellVersion> = match parts.len() {
        // A source holds each column once, sorted.
        1 => parts.into_iter().flat_map(|part| part.cells).collect(),
        _ => {
            let mut all: Vec<CellVersion> = parts.into_iter().flat_map(|part| part.cells).collect();
            all.sort_unstable_by(|a, b| (&a.column, Reverse(a.lsn)).cmp(&(&b.column, Reverse(b.lsn))));
            all.dedup_by(|older, newer| older.column == newer.column);
            all
        }
    };
    // The deletion of the row stands under the empty column, which sorts first.
    if let Some(deleted) = cells.first().filter(|cell| cell.column.is_empty()).map(|cell| cell.lsn) {
        // A put of the very write that deleted the row stands.
        cells.retain(|cell| cell.lsn >= deleted);
    }
    cells
}

/// The live row, with the columns asked for. Its version counts deletions, and all columns ([row-version-grows]); that
/// of a row that does not exist is `absent`.
pub(crate) fn visible(key: Bytes, parts: Vec<RowVersions>, columns: &Columns, absent: Lsn) -> Row {
    let selected = |column: &Bytes| match columns {
        Columns::All => true,
        Columns::Some(some) => some.contains(column),
    };
    let merged = merge_row(parts);
    let exists = merged.iter().any(|cell| cell.value.is_some());
    let version = newest(&merged).filter(|_| exists).unwrap_or(absent);
    let cells = merged
        .into_iter()
        .filter(|cell| selected(&cell.column))
        .filter_map(|cell| cell.value.map(|value| Cell { column: cell.column, value, version: cell.lsn }));
    Row { key, cells: cells.collect(), version }
}

/// The LSN of the last write that the cells know of.
pub(crate) fn newest<'a>(cells: impl IntoIterator<Item = &'a CellVersion>) -> Option<Lsn> {
    cells.into_iter().map(|cell| cell.lsn).max()
}

/// Walks over the rows of sources in key order, or backwards. Each source's next row is at hand; the nearest one is
/// merged from all that have it.
pub(crate) struct Walk {
    sources: Vec<RowSource>,
    read_lsn: Lsn,
    reverse: bool,
    /// Bounds of what is left.
    start: Bytes,
    end: Option<Bytes>,
    /// Next row of each source; `None` at its end. Filled at the first step.
    heads: Vec<Option<RowVersions>>,
    /// A step has failed: going on could leave rows out.
    failed: bool,
}

impl Walk {
    pub(crate) fn new(
        sources: Vec<RowSource>,
        read_lsn: Lsn,
        start: Bytes,
        end: Option<Bytes>,
        reverse: bool,
    ) -> Walk {
        Walk { sources, read_lsn, reverse, start, end, heads: Vec::new(), failed: false }
    }

    /// The next row's key and parts; `None` at the end, and forever after an error.
    pub(crate) fn step(&mut self) -> Result<Option<(Bytes, Vec<RowVersions>)>, TableError> {
        if self.failed {
            return Ok(None);
        }
        let step = self.advance();
        self.failed = step.is_err();
        step
    }

    fn advance(&mut self) -> Result<Option<(Bytes, Vec<RowVersions>)>, TableError> {
        while self.heads.len() < self.sources.len() {
            let head = self.head(self.heads.len())?;
            self.heads.push(head);
        }
        let nearest = |a: &&Bytes, b: &&Bytes| if self.reverse { b.cmp(a) } else { a.cmp(b) };
        let Some(key) = self.heads.iter().flatten().map(|row| &row.key).min_by(nearest).cloned() else {
            return Ok(None);
        };
        if self.reverse {
            self.end = Some(key.clone());
        } else {
            self.start = key_after(&key);
        }
        let mut parts = Vec::new();
        for source in 0..self.heads.len() {
            if self.heads[source].as_ref().is_some_and(|row| row.key == key) {
                parts.extend(self.heads[source].take());
                self.heads[source] = self.head(source)?;
            }
        }
        Ok(Some((key, parts)))
    }

    /// The source's next row within the bounds.
    fn head(&mut self, source: usize) -> Result<Option<RowVersions>, TableError> {
        let (start, end, source) = (&self.start, self.end.as_deref(), &mut self.sources[source]);
        match self.reverse {
            false => source.first_from(start, end, self.read_lsn),
            true => source.last_below(start, end, self.read_lsn),
        }
    }
}
