//! Where rows come from in a walk: a memtable, or a run of tables.

use std::sync::Arc;

use wal::Lsn;

use super::memtable::Memtable;
use crate::table::{RowVersions, RunCursor, TableError};

/// One source.
pub(crate) enum RowSource {
    Memtable(Arc<Memtable>),
    Run(RunCursor),
}

impl RowSource {
    /// The first row at or above `start` and below `end`.
    pub(crate) fn first_from(
        &mut self,
        start: &[u8],
        end: Option<&[u8]>,
        read_lsn: Lsn,
    ) -> Result<Option<RowVersions>, TableError> {
        let row = match self {
            RowSource::Memtable(memtable) => memtable.first_from(start, read_lsn),
            RowSource::Run(run) => run.first_from(start, end)?,
        };
        Ok(row.filter(|row| end.is_none_or(|end| &row.key[..] < end)))
    }

    /// The last row below `end` and at or above `start`.
    pub(crate) fn last_below(
        &mut self,
        start: &[u8],
        end: Option<&[u8]>,
        read_lsn: Lsn,
    ) -> Result<Option<RowVersions>, TableError> {
        let row = match self {
            RowSource::Memtable(memtable) => memtable.last_below(end, read_lsn),
            RowSource::Run(run) => run.last_below(end, start)?,
        };
        Ok(row.filter(|row| &row.key[..] >= start))
    }
}
