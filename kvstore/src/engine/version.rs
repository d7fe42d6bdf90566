//! What a range consists of at one moment: memtables and levels of tables. A version never changes; flush and
//! compaction put another in its place, and whoever holds the old one reads on undisturbed.
//!
//! Level 0 holds flushed memtables, newest first, that may overlap. Each deeper level is one *run*: tables in key order
//! without overlaps. Of two sources the one further down holds the older versions of a cell.

use std::sync::Arc;

use bytes::Bytes;
use wal::{ChainHash, Lsn};

use super::memtable::Memtable;
use super::options::LEVELS;
use super::row_source::RowSource;
use crate::table::{Caching, RowVersions, RunCursor, Table, TableError};

/// A memtable on its way into a table, and what the manifest will say of it.
#[derive(Clone)]
pub(crate) struct Frozen {
    pub(crate) memtable: Arc<Memtable>,
    /// Everything up to here is in it or in tables.
    pub(crate) lsn: Lsn,
    /// Chain hash there.
    pub(crate) chain: ChainHash,
    /// What the store gave at the same moment.
    pub(crate) attachment: Bytes,
}

/// The memtables and tables of one moment.
#[derive(Clone)]
pub(crate) struct Version {
    pub(crate) active: Arc<Memtable>,
    pub(crate) frozen: Option<Frozen>,
    /// [`LEVELS`] of them.
    pub(crate) levels: Vec<Vec<Arc<Table>>>,
    /// The tables hold everything up to here.
    pub(crate) flushed: Lsn,
    /// But for deletions up to here, of rows that do not exist any more.
    pub(crate) gc_lsn: Lsn,
    /// The same in all versions that follow each other; another one after a wipe or an installed snapshot.
    pub(crate) lineage: Arc<()>,
}

impl Version {
    /// Tables alone, with an empty memtable; they hold everything up to `flushed`, but for deletions up to `gc_lsn`.
    pub(crate) fn of_tables(levels: Vec<Vec<Arc<Table>>>, flushed: Lsn, gc_lsn: Lsn) -> Version {
        Version { active: Arc::default(), frozen: None, levels, flushed, gc_lsn, lineage: Arc::default() }
    }

    /// No tables at all.
    pub(crate) fn no_tables() -> Vec<Vec<Arc<Table>>> {
        vec![Vec::new(); LEVELS]
    }

    pub(super) fn memtables(&self) -> impl Iterator<Item = &Arc<Memtable>> {
        std::iter::once(&self.active).chain(self.frozen.iter().map(|frozen| &frozen.memtable))
    }

    /// Everything that is held of one row at `read_lsn`, newest source first.
    pub(crate) fn get(&self, key: &[u8], read_lsn: Lsn) -> Result<Vec<RowVersions>, TableError> {
        let mut parts = self.get_from_memory(key, read_lsn);
        parts.append(&mut self.get_from_tables(key)?);
        Ok(parts)
    }

    /// The part of it that is not in tables.
    pub(crate) fn get_from_memory(&self, key: &[u8], read_lsn: Lsn) -> Vec<RowVersions> {
        self.memtables().filter_map(|memtable| memtable.get(key, read_lsn)).collect()
    }

    /// The part of it that is in tables.
    pub(crate) fn get_from_tables(&self, key: &[u8]) -> Result<Vec<RowVersions>, TableError> {
        let mut parts = Vec::new();
        let (overlapping, runs) = self.levels.split_first().map_or((&[][..], &[][..]), |(a, b)| (&a[..], b));
        for table in overlapping.iter().filter(|table| table.spans(key)) {
            parts.extend(table.get(key)?);
        }
        for run in runs {
            if let Some(table) = table_for(run, key) {
                parts.extend(table.get(key)?);
            }
        }
        Ok(parts)
    }

    /// How many bytes the row has at most, by what is known without reading a table; `None`: nothing is.
    pub(crate) fn row_bytes_bound(&self, key: &[u8], read_lsn: Lsn) -> Option<u64> {
        let rows = self.memtables().filter_map(|memtable| memtable.get(key, read_lsn));
        let in_memory: u64 = rows.map(|row| row.bytes() as u64).sum();
        let (overlapping, runs) = self.levels.split_first().map_or((&[][..], &[][..]), |(a, b)| (&a[..], b));
        let of_runs = runs.iter().filter_map(|run| table_for(run, key));
        let mut tables = overlapping.iter().chain(of_runs).filter(|table| table.may_hold(key));
        tables.try_fold(in_memory, |sum, table| Some(sum.saturating_add(table.summary().row_bytes_max?)))
    }

    /// All sources, for a walk over many rows.
    pub(crate) fn sources(&self, caching: Caching) -> Vec<RowSource> {
        let memtables = self.memtables().map(|memtable| RowSource::Memtable(memtable.clone()));
        let (overlapping, runs) = self.levels.split_first().map_or((&[][..], &[][..]), |(a, b)| (&a[..], b));
        let overlapping = overlapping.iter().map(|table| vec![table.clone()]);
        let runs = runs.iter().filter(|run| !run.is_empty()).cloned();
        let tables = overlapping.chain(runs).map(|run| RowSource::Run(RunCursor::new(run, caching)));
        memtables.chain(tables).collect()
    }

    /// The tables alone, for a walk over all that they hold.
    pub(crate) fn table_sources(&self, caching: Caching) -> Vec<RowSource> {
        let tables_only = Version { active: Arc::default(), frozen: None, ..self.clone() };
        tables_only.sources(caching).split_off(1)
    }

    /// The version after a flush of what is frozen.
    pub(crate) fn flushed(&self, made: Vec<Arc<Table>>, flushed: Lsn) -> Version {
        let mut next = Version { frozen: None, flushed, ..self.clone() };
        next.levels[0].splice(0..0, made);
        next
    }

    /// The version in which the tables with numbers `old` are replaced by `made` in `level`, and deletions up to `dropped`
    /// are gone.
    pub(crate) fn compacted(
        &self,
        old: &[u64],
        level: usize,
        made: Vec<Arc<Table>>,
        dropped: Lsn,
    ) -> Version {
        let mut next = Version { gc_lsn: self.gc_lsn.max(dropped), ..self.clone() };
        for tables in &mut next.levels {
            tables.retain(|table| !old.contains(&table.number()));
        }
        next.levels[level].extend(made);
        sort_run(&mut next.levels[level]);
        next
    }
}

/// Puts tables into key order.
pub(crate) fn sort_run(run: &mut [Arc<Table>]) {
    run.sort_by(|a, b| a.summary().first_key.cmp(&b.summary().first_key));
}

/// The one table of a run that may hold the key.
pub(crate) fn table_for<'a>(run: &'a [Arc<Table>], key: &[u8]) -> Option<&'a Arc<Table>> {
    run.get(run.partition_point(|table| &table.summary().last_key[..] < key)).filter(|table| table.spans(key))
}
