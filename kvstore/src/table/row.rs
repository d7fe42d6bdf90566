//! Rows as a source holds them, versions and deletions included, and their bytes.

use bytes::Bytes;
use wal::Lsn;

use crate::encoding::{put_lsn, put_number, put_string, take_byte, take_lsn, take_number, take_string};

/// One version of one cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CellVersion {
    /// Column; empty: the version deletes all cells of the row that are older.
    pub(crate) column: Bytes,
    /// The write's LSN.
    pub(crate) lsn: Lsn,
    /// Value; `None`: deleted.
    pub(crate) value: Option<Bytes>,
}

/// What one source holds of a row: by column, of each the newest version only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RowVersions {
    /// Row key.
    pub(crate) key: Bytes,
    /// Versions.
    pub(crate) cells: Vec<CellVersion>,
}

impl RowVersions {
    /// Its bytes.
    pub(crate) fn bytes(&self) -> usize {
        let cells = self.cells.iter();
        let cells = cells.map(|cell| cell.column.len() + cell.value.as_ref().map_or(0, Bytes::len));
        self.key.len() + cells.sum::<usize>()
    }

    /// Takes the cells behind the first `bytes` of them away; at least one cell stays.
    pub(crate) fn split_off(&mut self, bytes: usize) -> Vec<CellVersion> {
        let mut kept = 0;
        let at = self.cells.iter().position(|cell| {
            kept += cell.column.len() + cell.value.as_ref().map_or(0, Bytes::len);
            kept > bytes
        });
        self.cells.split_off(at.map_or(self.cells.len(), |at| at.max(1)))
    }

    /// Whether `next` holds further columns of the row.
    pub(crate) fn is_continued_by(&self, next: &RowVersions) -> bool {
        let (last, first) = (self.cells.last(), next.cells.first());
        last.zip(first).is_some_and(|(last, first)| last.column < first.column)
    }
}

/// Appends a row's cells, as tables and snapshots hold them:
///
/// ```text
/// | count | { column | epoch | sequence | 0, or 1 and value } .. |
/// ```
pub(crate) fn put_cells(out: &mut Vec<u8>, cells: &[CellVersion]) {
    put_number(out, cells.len() as u64);
    for cell in cells {
        put_string(out, &cell.column);
        put_lsn(out, cell.lsn);
        match &cell.value {
            None => out.push(0),
            Some(value) => {
                out.push(1);
                put_string(out, value);
            }
        }
    }
}

/// Takes a row's cells; `None` if the bytes are not what [`put_cells`] wrote.
pub(crate) fn take_cells(bytes: &mut Bytes) -> Option<Vec<CellVersion>> {
    let count = take_number(bytes)?;
    let mut cells = Vec::new();
    for _ in 0..count {
        let (column, lsn) = (take_string(bytes)?, take_lsn(bytes)?);
        let value = match take_byte(bytes)? {
            0 => None,
            1 => Some(take_string(bytes)?),
            _ => return None,
        };
        cells.push(CellVersion { column, lsn, value });
    }
    Some(cells)
}
