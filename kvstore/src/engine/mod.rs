//! One range's data: a memtable, a frozen one on its way out, and tables in two levels.
//!
//! - `memtable`: the newest writes, in memory. `merge`: one row out of all sources.
//! - Flush writes the frozen memtable as one table of level 0 and names it in the manifest, together with the LSN and
//!   chain hash up to which the tables now hold everything, and the store's attachment. Then the log may let go.
//! - Compaction merges level 0, once it has [`EngineOptions::level0_tables`] tables, with the tables of level 1 that it
//!   overlaps. Level 1 is one sorted run without overlaps and the bottom: deletions end there.
//!
//! Readers take a snapshot: the sources as they are, and the last applied LSN. Neither flush nor compaction disturbs
//! them: what they replace stays readable as long as someone holds it.
//!
//! One writer applies at a time, one thread flushes, one compacts. The latter two run beside each other: a flush only
//! adds to level 0, a compaction takes away only what it has read; the manifest's lock is held for the edit alone.

mod manifest;
mod memtable;
mod merge;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use bytes::Bytes;
use wal::disk::Disk;
use wal::{ChainHash, Lsn};

use self::manifest::Manifest;
use self::memtable::Memtable;
use self::merge::{Sources, Walk};
use crate::request::{Columns, Mutation, Row};
use crate::table::format::io_error;
pub use crate::table::{BlockCache, TableError as EngineError};
use crate::table::{RowVersions, Table, TableBuilder};

/// Sizes of an engine.
#[derive(Clone, Copy, Debug)]
pub struct EngineOptions {
    /// A memtable over this is due to be flushed.
    pub memtable_bytes: u64,
    /// So many tables of level 0 are due to be compacted.
    pub level0_tables: usize,
    /// Compaction starts a new table at this size.
    pub table_bytes: u64,
}

impl Default for EngineOptions {
    fn default() -> EngineOptions {
        EngineOptions { memtable_bytes: 32 << 20, level0_tables: 4, table_bytes: 64 << 20 }
    }
}

/// Up to where the tables hold everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Durable {
    /// Last LSN.
    pub base: Lsn,
    /// Chain hash there.
    pub base_chain: ChainHash,
    /// What the store above gave with the flush.
    pub attachment: Bytes,
}

/// One range's data.
pub struct Engine {
    disk: Arc<dyn Disk>,
    dir: String,
    options: EngineOptions,
    cache: Arc<BlockCache>,
    state: RwLock<State>,
    /// The manifest in force; held for an edit.
    manifest: Mutex<Manifest>,
    /// Number of the next table file.
    next: AtomicU64,
    /// One flush, and one compaction, at a time.
    flushing: Mutex<()>,
    compacting: Mutex<()>,
}

struct State {
    active: Arc<Memtable>,
    /// On its way into a table, with the position at its freezing.
    frozen: Option<(Arc<Memtable>, Lsn, ChainHash)>,
    /// Newest first.
    level0: Vec<Arc<Table>>,
    /// In key order, without overlaps.
    level1: Vec<Arc<Table>>,
    applied: Lsn,
    chain: ChainHash,
    /// The tables hold everything up to here.
    durable: Lsn,
}

/// Numbers of an engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EngineStats {
    /// Bytes in memtables.
    pub memtable_bytes: u64,
    /// Tables.
    pub tables: usize,
    /// Bytes of tables.
    pub table_bytes: u64,
}

fn table_path(dir: &str, number: u64) -> String {
    format!("{dir}/{number:06}.sst")
}

impl Engine {
    /// Opens the range's directory, made if absent; files that the manifest does not name are removed.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &str,
        options: EngineOptions,
        cache: Arc<BlockCache>,
    ) -> Result<(Engine, Durable), EngineError> {
        let failed = |error| io_error(dir, error);
        disk.create_dir(dir).map_err(failed)?;
        let manifest = Manifest::load(&*disk, dir)?;
        let named: Vec<String> =
            manifest.tables.iter().map(|(_, number)| format!("{number:06}.sst")).collect();
        for file in disk.list(dir).map_err(failed)? {
            if file.ends_with(".sst") && !named.contains(&file) {
                disk.remove(&format!("{dir}/{file}")).map_err(failed)?;
            }
        }
        let (mut level0, mut level1) = (Vec::new(), Vec::new());
        for (level, number) in &manifest.tables {
            let table = Arc::new(Table::open(&*disk, &table_path(dir, *number), cache.clone())?);
            if *level == 0 { level0.push(table) } else { level1.push(table) }
        }
        level1.sort_by(|a, b| a.summary().first_key.cmp(&b.summary().first_key));
        let durable = Durable {
            base: manifest.base,
            base_chain: manifest.base_chain,
            attachment: manifest.attachment.clone(),
        };
        let state = State {
            active: Arc::default(),
            frozen: None,
            level0,
            level1,
            applied: durable.base,
            chain: durable.base_chain,
            durable: durable.base,
        };
        let engine = Engine {
            disk,
            dir: dir.to_owned(),
            options,
            cache,
            state: RwLock::new(state),
            next: AtomicU64::new(manifest.next),
            manifest: Mutex::new(manifest),
            flushing: Mutex::default(),
            compacting: Mutex::default(),
        };
        Ok((engine, durable))
    }

    /// Applies a write; readers see all of it or nothing. One caller at a time.
    pub fn apply(&self, lsn: Lsn, chain: ChainHash, row: &Bytes, mutations: &[Mutation]) {
        // Whoever freezes waits until the write is whole; readers go by `applied`, set at the end.
        let active = self.state.read().unwrap_or_else(PoisonError::into_inner).active.clone();
        for mutation in mutations {
            let (column, value) = match mutation {
                Mutation::Put { column, value } => (column.clone(), Some(value.clone())),
                Mutation::Delete { column } => (column.clone(), None),
                Mutation::DeleteRow => (Bytes::new(), None),
            };
            active.insert(row.clone(), column, lsn, value);
        }
        self.skip(lsn, chain);
    }

    /// Advances over an entry that changes nothing.
    pub fn skip(&self, lsn: Lsn, chain: ChainHash) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.applied = lsn;
        state.chain = chain;
    }

    /// The last applied LSN.
    pub fn applied(&self) -> Lsn {
        self.state.read().unwrap_or_else(PoisonError::into_inner).applied
    }

    /// The last LSN that is in tables.
    pub fn durable(&self) -> Lsn {
        self.state.read().unwrap_or_else(PoisonError::into_inner).durable
    }

    /// The row at the last applied LSN, which is returned, too.
    pub fn get(&self, key: &[u8], columns: &Columns) -> Result<(Row, Lsn), EngineError> {
        let (sources, snapshot) = self.sources();
        let parts = sources.get(key, snapshot)?;
        Ok((merge::visible(Bytes::copy_from_slice(key), parts, columns), snapshot))
    }

    /// Rows between the bounds at the last applied LSN, which holds for the whole scan.
    pub fn scan(
        &self,
        start: &[u8],
        end: Option<&[u8]>,
        reverse: bool,
        columns: &Columns,
    ) -> Result<ScanIter, EngineError> {
        let (sources, snapshot) = self.sources();
        let (start, end) = (Bytes::copy_from_slice(start), end.map(Bytes::copy_from_slice));
        Ok(ScanIter {
            walk: Walk::new(sources, snapshot, start, end, reverse),
            columns: columns.clone(),
            snapshot,
        })
    }

    /// Whether a flush is due.
    pub fn needs_flush(&self) -> bool {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        state.frozen.is_some() || state.active.bytes() >= self.options.memtable_bytes
    }

    /// Starts a new memtable; the old one waits for [`Engine::flush`]. Does nothing while one waits. May not run beside
    /// [`Engine::apply`].
    pub fn freeze(&self) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if state.frozen.is_none() {
            let full = std::mem::take(&mut state.active);
            state.frozen = Some((full, state.applied, state.chain));
        }
    }

    /// Writes what is frozen as one table. `attachment` becomes part of the same step.
    pub fn flush(&self, attachment: Bytes) -> Result<Durable, EngineError> {
        let _one = lock(&self.flushing);
        let frozen = self.state.read().unwrap_or_else(PoisonError::into_inner).frozen.clone();
        let Some((memtable, base, base_chain)) = frozen else {
            let Manifest { base, base_chain, attachment, .. } = lock(&self.manifest).clone();
            return Ok(Durable { base, base_chain, attachment });
        };
        let sources = Sources { memtables: vec![memtable], tables: Vec::new() };
        let (made, _) = self.write(sources, base, false, u64::MAX)?;
        self.edit(|manifest| {
            manifest.tables.splice(0..0, made.iter().map(|(number, _)| (0, *number)));
            (manifest.base, manifest.base_chain) = (base, base_chain);
            manifest.attachment = attachment.clone();
        })?;
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.frozen = None;
        state.durable = base;
        state.level0.splice(0..0, made.into_iter().map(|(_, table)| table));
        Ok(Durable { base, base_chain, attachment })
    }

    /// Merges level 0 into level 1 if that is due; tells whether it did.
    pub fn compact(&self) -> Result<bool, EngineError> {
        let _one = lock(&self.compacting);
        let (level0, level1) = {
            let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
            if state.level0.len() < self.options.level0_tables {
                return Ok(false);
            }
            (state.level0.clone(), state.level1.clone())
        };
        let first = level0.iter().map(|table| &table.summary().first_key).min().cloned().unwrap_or_default();
        let last = level0.iter().map(|table| &table.summary().last_key).max().cloned().unwrap_or_default();
        let (touched, kept): (Vec<_>, Vec<_>) = level1
            .into_iter()
            .partition(|table| table.summary().first_key <= last && table.summary().last_key >= first);
        let tables: Vec<Arc<Table>> = level0.iter().chain(&touched).cloned().collect();
        let old: Vec<String> = tables.iter().map(|table| table.name().to_owned()).collect();
        let sources = Sources { memtables: Vec::new(), tables };
        // Tables hold nothing above the snapshot of any reader to come, so all their versions count.
        let (made, dropped) = self.write(sources, self.durable(), true, self.options.table_bytes)?;
        self.edit(|manifest| {
            manifest.gc_lsn = manifest.gc_lsn.max(dropped);
            manifest.tables.retain(|(_, number)| !old.contains(&table_path(&self.dir, *number)));
            manifest.tables.extend(made.iter().map(|(number, _)| (1, *number)));
        })?;
        {
            let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
            state.level0.retain(|table| !old.iter().any(|name| name == table.name()));
            state.level1 = kept.into_iter().chain(made.into_iter().map(|(_, table)| table)).collect();
            state.level1.sort_by(|a, b| a.summary().first_key.cmp(&b.summary().first_key));
        }
        for name in old {
            // Readers keep the open file; a name that stays is removed at the next start.
            let _ = self.disk.remove(&name);
        }
        Ok(true)
    }

    /// Changes the manifest, durably, after the new tables' names are.
    fn edit(&self, change: impl FnOnce(&mut Manifest)) -> Result<(), EngineError> {
        self.disk.sync_dir(&self.dir).map_err(|error| io_error(&self.dir, error))?;
        let mut manifest = lock(&self.manifest);
        let mut next = manifest.clone();
        change(&mut next);
        next.next = self.next.load(Ordering::Relaxed);
        next.store(&*self.disk, &self.dir)?;
        *manifest = next;
        Ok(())
    }

    /// A hash over all live cells (key, column, value, version), whatever their order, and the LSN it holds for.
    pub fn checksum(&self) -> Result<(Lsn, u64), EngineError> {
        let rows = self.scan(b"", None, false, &Columns::All)?;
        let (snapshot, mut sum) = (rows.snapshot, 0u64);
        for row in rows {
            let row = row?;
            for cell in row.cells {
                let mut hasher = xxhash_rust::xxh3::Xxh3::new();
                for part in [&row.key, &cell.column, &cell.value] {
                    hasher.update(&(part.len() as u64).to_le_bytes());
                    hasher.update(part);
                }
                hasher.update(&cell.version.epoch.0.to_le_bytes());
                hasher.update(&cell.version.seq.to_le_bytes());
                sum = sum.wrapping_add(hasher.digest());
            }
        }
        Ok((snapshot, sum))
    }

    /// Numbers.
    pub fn stats(&self) -> EngineStats {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let frozen: u64 = state.frozen.iter().map(|(memtable, ..)| memtable.bytes()).sum();
        let tables = || state.level0.iter().chain(&state.level1);
        EngineStats {
            memtable_bytes: state.active.bytes() + frozen,
            tables: tables().count(),
            table_bytes: tables().map(|table| table.summary().bytes).sum(),
        }
    }

    /// Writes the joined rows of the sources into new tables of about `bytes`; nothing names them yet.
    fn write(
        &self,
        sources: Sources,
        snapshot: Lsn,
        bottom: bool,
        bytes: u64,
    ) -> Result<(NewTables, Lsn), EngineError> {
        let mut walk = Walk::new(sources, snapshot, Bytes::new(), None, false);
        let (mut made, mut open, mut dropped) = (Vec::new(), None::<(u64, TableBuilder)>, Lsn::ZERO);
        while let Some((key, parts)) = walk.step()? {
            let (cells, gone) = merge::join(parts, bottom);
            dropped = dropped.max(gone);
            if cells.is_empty() {
                continue;
            }
            if open.is_none() {
                let number = self.next.fetch_add(1, Ordering::Relaxed);
                open = Some((number, TableBuilder::create(&*self.disk, &table_path(&self.dir, number))?));
            }
            if let Some((_, builder)) = &mut open {
                builder.add(&RowVersions { key, cells })?;
            }
            if open.as_ref().is_some_and(|(_, builder)| builder.bytes() >= bytes) {
                made.extend(self.finish(open.take())?);
            }
        }
        made.extend(self.finish(open)?);
        Ok((made, dropped))
    }

    fn finish(&self, open: Option<(u64, TableBuilder)>) -> Result<Option<(u64, Arc<Table>)>, EngineError> {
        let Some((number, builder)) = open else { return Ok(None) };
        builder.finish()?;
        let table = Table::open(&*self.disk, &table_path(&self.dir, number), self.cache.clone())?;
        Ok(Some((number, Arc::new(table))))
    }

    fn sources(&self) -> (Sources, Lsn) {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let frozen = state.frozen.iter().map(|(memtable, ..)| memtable.clone());
        let memtables = std::iter::once(state.active.clone()).chain(frozen).collect();
        let tables = state.level0.iter().chain(&state.level1).cloned().collect();
        (Sources { memtables, tables }, state.applied)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What they guard is replaced whole, so a panic leaves the old value.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Tables written and not named yet, with their numbers.
type NewTables = Vec<(u64, Arc<Table>)>;

/// Rows of a scan, all at one snapshot.
pub struct ScanIter {
    walk: Walk,
    columns: Columns,
    snapshot: Lsn,
}

impl ScanIter {
    /// The LSN at which the rows are read.
    pub fn snapshot(&self) -> Lsn {
        self.snapshot
    }
}

impl Iterator for ScanIter {
    type Item = Result<Row, EngineError>;

    fn next(&mut self) -> Option<Result<Row, EngineError>> {
        loop {
            match self.walk.step() {
                Err(error) => return Some(Err(error)),
                Ok(None) => return None,
                Ok(Some((key, parts))) => {
                    let row = merge::visible(key, parts, &self.columns);
                    if !row.cells.is_empty() {
                        return Some(Ok(row));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
