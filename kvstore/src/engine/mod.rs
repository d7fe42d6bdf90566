//! One range's data: a memtable, a frozen one on its way out, and tables in levels.
//!
//! - `memtable`: the newest writes, in memory. `version`: the sources of one moment. `source`, `merge`: rows out of
//!   many sources.
//! - `flush` writes the frozen memtable as one table of level 0 and names it in the `manifest`, together with the LSN
//!   and chain hash up to which the tables now hold everything, and the store's attachment. Then the log may let go.
//! - `snapshot`: the tables, shipped to a replica that the log no longer reaches, and installed there.
//! - `scrub` reads the tables again and again, lest damage be found when it is too late.
//! - `compaction` carries out what `choice` decides: levels are merged downwards, deletions end at the bottom.
//!
//! A reader pins the version as it is and the last applied LSN. Neither flush nor compaction disturbs
//! them: what they replace stays readable as long as someone holds it.
//!
//! The engine starts no thread. One caller at a time applies (and freezes), any number read; one thread flushes, one
//! compacts. The latter two run beside each other: a flush only adds to level 0, a compaction takes away only what it
//! has read; the manifest's lock is held for the edit alone.
//!
//! The key of a version is (row key, column, LSN descending). It is compared part by part, in the memtable as in
//! tables, which store a row once for all its cells; so no byte needs escaping.

mod choice;
mod compaction;
mod flush;
mod manifest;
mod memtable;
mod merge;
mod scrub;
mod snapshot;
mod source;
mod version;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;
use wal::disk::Disk;
use wal::{ChainHash, Lsn};

use self::manifest::Manifest;
use self::merge::Walk;
pub use self::snapshot::{Receipt, Snapshot, SnapshotHead};
use self::version::{LEVELS, Version, sort_run};
use crate::request::{Columns, Mutation, Row};
use crate::table::format::io_error;
pub use crate::table::{BlockCache, TableError as EngineError};
use crate::table::{Caching, Damage, Table, file_name};

/// Sizes of an engine.
#[derive(Clone, Copy, Debug)]
pub struct EngineOptions {
    /// A memtable over this is due to be flushed.
    pub memtable_bytes: u64,
    /// So many tables of level 0 are due to be compacted.
    pub level0_tables: usize,
    /// A range with so many tables in level 0, or with a full memtable behind one that still waits, is
    /// [`Engine::stalled`].
    pub level0_stall: usize,
    /// Level 1 over this is due to be compacted; each deeper level may be ten times larger.
    pub level1_bytes: u64,
    /// Compaction starts a new table at this size.
    pub table_bytes: u64,
}

impl Default for EngineOptions {
    fn default() -> EngineOptions {
        EngineOptions {
            memtable_bytes: 32 << 20,
            level0_tables: 4,
            level0_stall: 20,
            level1_bytes: 256 << 20,
            table_bytes: 32 << 20,
        }
    }
}

/// Up to where the tables hold everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlushedState {
    /// Last LSN.
    pub flushed: Lsn,
    /// Chain hash there.
    pub flushed_chain: ChainHash,
    /// What the store above gave with the flush.
    pub attachment: Bytes,
    /// Base of the last snapshot that was installed: a log that does not hold it holds another time's entries.
    pub snapshot: Lsn,
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
    /// Tables have changed since the last look for something to compact.
    compaction_due: AtomicBool,
    /// A flush is wanted though the memtable is small.
    flush_requested: AtomicBool,
    /// While a table is damaged nothing is read, flushed or compacted: a whole snapshot from another replica repairs it.
    damage: Arc<Damage>,
    scrubbed: Mutex<scrub::Place>,
}

struct State {
    version: Arc<Version>,
    /// Readers see what is at or below.
    applied: Lsn,
    chain: ChainHash,
}

/// Numbers of an engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EngineStats {
    /// Bytes in memtables.
    pub memtable_bytes: u64,
    /// Tables.
    pub tables: usize,
    /// Tables of each level.
    pub levels: [usize; LEVELS],
    /// Bytes of tables.
    pub table_bytes: u64,
    /// Rows in tables; one that is in several counts several times.
    pub rows: u64,
    /// Versions of cells in tables, deletions among them.
    pub cells: u64,
    /// See [`Engine::stalled`].
    pub stalled: bool,
}

impl Engine {
    /// Opens the range's directory, made if absent; files that the manifest does not name are removed. It is an error
    /// if the manifest is missing and tables are there: nothing is thrown away for lack of a word about it. A damaged
    /// table is none: the engine opens, [`Engine::damaged`].
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &str,
        options: EngineOptions,
        cache: Arc<BlockCache>,
    ) -> Result<(Engine, FlushedState), EngineError> {
        disk.create_dir(dir).map_err(|error| io_error(dir, error))?;
        let manifest = Manifest::open(&*disk, dir)?;
        remove_leftovers(&*disk, dir, &manifest)?;
        let mut levels = vec![Vec::new(); LEVELS];
        let damage = Arc::<Damage>::default();
        for (level, number) in &manifest.tables {
            match Table::open(&*disk, dir, *number, cache.clone(), damage.clone()) {
                Ok(table) => levels[usize::from(*level)].push(Arc::new(table)),
                Err(error) if error.is_damage() => damage.note(*number, &error),
                Err(error) => return Err(error),
            }
        }
        for run in &mut levels[1..] {
            sort_run(run);
            for pair in run.windows(2) {
                if pair[0].summary().last_key >= pair[1].summary().first_key {
                    let file = pair[1].name().to_owned();
                    return Err(EngineError::Corrupt { file, offset: 0, what: "it overlaps its neighbour" });
                }
            }
        }
        let flushed_state = manifest.flushed();
        let version =
            Version { active: Arc::default(), frozen: None, levels, flushed: flushed_state.flushed };
        let state = State {
            version: Arc::new(version),
            applied: flushed_state.flushed,
            chain: flushed_state.flushed_chain,
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
            compaction_due: AtomicBool::new(true),
            flush_requested: AtomicBool::new(false),
            damage,
            scrubbed: Mutex::default(),
        };
        Ok((engine, flushed_state))
    }

    /// Applies a write; readers see all of it or nothing. One caller at a time, in LSN order.
    pub fn apply(&self, lsn: Lsn, chain: ChainHash, row: &Bytes, mutations: &[Mutation]) {
        // Whoever freezes waits until the write is whole; readers go by `applied`, set at the end.
        let version = self.version();
        // All versions of one write have one LSN, so what a deletion of the row hides within it is left out here.
        let last = mutations.iter().rposition(|mutation| *mutation == Mutation::DeleteRow).unwrap_or(0);
        for mutation in &mutations[last..] {
            let (column, value) = match mutation {
                Mutation::Put { column, value } => (column.clone(), Some(value.clone())),
                Mutation::Delete { column } => (column.clone(), None),
                Mutation::DeleteRow => (Bytes::new(), None),
            };
            version.active.insert(row.clone(), column, lsn, value);
        }
        self.skip(lsn, chain);
    }

    /// Advances over an entry that changes nothing.
    pub fn skip(&self, lsn: Lsn, chain: ChainHash) {
        let mut state = self.write_state();
        state.applied = lsn;
        state.chain = chain;
    }

    /// The last applied LSN.
    pub fn applied(&self) -> Lsn {
        self.read_state().applied
    }

    /// The last LSN that is in tables.
    pub fn flushed(&self) -> Lsn {
        self.read_state().version.flushed
    }

    /// The highest LSN of a deletion that is no longer in the tables: a member that has applied less can only be brought
    /// up to date from the tables by a whole snapshot.
    pub fn gc_lsn(&self) -> Lsn {
        lock(&self.manifest).gc_lsn
    }

    /// The row at the last applied LSN, which is returned, too.
    pub fn get(&self, key: &[u8], columns: &Columns) -> Result<(Row, Lsn), EngineError> {
        self.check()?;
        let (version, read_lsn) = self.pin();
        let parts = version.get(key, read_lsn)?;
        Ok((merge::visible(Bytes::copy_from_slice(key), parts, columns), read_lsn))
    }

    /// Rows by key, all at the last applied LSN, which is returned, too; in the order of the keys.
    pub fn get_all(&self, keys: &[Bytes], columns: &Columns) -> Result<(Vec<Row>, Lsn), EngineError> {
        self.check()?;
        let (version, read_lsn) = self.pin();
        let row = |key: &Bytes| Ok(merge::visible(key.clone(), version.get(key, read_lsn)?, columns));
        Ok((keys.iter().map(row).collect::<Result<_, EngineError>>()?, read_lsn))
    }

    /// Rows between the bounds at the last applied LSN, which holds for the whole scan.
    pub fn scan(
        &self,
        start: &[u8],
        end: Option<&[u8]>,
        reverse: bool,
        columns: &Columns,
    ) -> Result<ScanIter, EngineError> {
        self.check()?;
        let (start, end) = (Bytes::copy_from_slice(start), end.map(Bytes::copy_from_slice));
        Ok(self.rows(start, end, reverse, columns, Caching::Fill))
    }

    fn rows(
        &self,
        start: Bytes,
        end: Option<Bytes>,
        reverse: bool,
        columns: &Columns,
        caching: Caching,
    ) -> ScanIter {
        let (version, read_lsn) = self.pin();
        ScanIter {
            walk: Walk::new(version.sources(caching), read_lsn, start, end, reverse),
            columns: columns.clone(),
            read_lsn,
        }
    }

    /// Whether a flush is due.
    pub fn needs_flush(&self) -> bool {
        if self.damage.any() {
            return false;
        }
        let version = self.version();
        let wanted = self.flush_requested.load(Ordering::Acquire) && self.applied() > version.flushed;
        wanted || version.frozen.is_some() || version.active.bytes() >= self.options.memtable_bytes
    }

    /// Makes a flush due, however small the memtable is.
    pub fn request_flush(&self) {
        self.flush_requested.store(true, Ordering::Release);
    }

    /// Whether a table of this engine cannot be read: it must take a whole snapshot ([`Engine::install_snapshot`]).
    pub fn damaged(&self) -> bool {
        self.check().is_err()
    }

    fn check(&self) -> Result<(), EngineError> {
        if !self.damage.any() {
            return Ok(());
        }
        let in_use = |table| lock(&self.manifest).tables.iter().any(|(_, number)| *number == table);
        self.damage.first(in_use).map_or(Ok(()), Err)
    }

    /// Whether flush or compaction cannot keep up with the writes, or tables are damaged and the memtable grows. New writes
    /// should be turned away until they have; the engine itself never blocks one.
    pub fn stalled(&self) -> bool {
        let version = self.version();
        let full = version.active.bytes() >= self.options.memtable_bytes;
        let waiting = full && (version.frozen.is_some() || self.damage.any());
        waiting || version.levels[0].len() >= self.options.level0_stall
    }

    /// A hash over all live cells (key, column, value, version), whatever their order, and the LSN it holds for.
    pub fn checksum(&self) -> Result<(Lsn, u64), EngineError> {
        self.check()?;
        let rows = self.rows(Bytes::new(), None, false, &Columns::All, Caching::Bypass);
        let (read_lsn, mut sum) = (rows.read_lsn, 0u64);
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
        Ok((read_lsn, sum))
    }

    /// Numbers.
    pub fn stats(&self) -> EngineStats {
        let version = self.version();
        let frozen: u64 = version.frozen.iter().map(|frozen| frozen.memtable.bytes()).sum();
        let mut stats = EngineStats {
            memtable_bytes: version.active.bytes() + frozen,
            stalled: self.stalled(),
            ..EngineStats::default()
        };
        for (level, tables) in version.levels.iter().enumerate() {
            stats.levels[level] = tables.len();
            stats.tables += tables.len();
            for summary in tables.iter().map(|table| table.summary()) {
                stats.table_bytes += summary.bytes;
                stats.rows += summary.rows;
                stats.cells += summary.cells;
            }
        }
        stats
    }

    fn read_state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_state(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn version(&self) -> Arc<Version> {
        self.read_state().version.clone()
    }

    fn pin(&self) -> (Arc<Version>, Lsn) {
        let state = self.read_state();
        (state.version.clone(), state.applied)
    }
}

/// Removes what a crash has left: tables that no manifest names, and a manifest that never came into force.
fn remove_leftovers(disk: &dyn Disk, dir: &str, manifest: &Manifest) -> Result<(), EngineError> {
    let failed = |error| io_error(dir, error);
    for file in disk.list(dir).map_err(failed)? {
        let path = format!("{dir}/{file}");
        let named = manifest.tables.iter().any(|(_, number)| file_name(dir, *number) == path);
        if !named && (file.ends_with(".sst") || file == manifest::ASIDE) {
            disk.remove(&path).map_err(failed)?;
        }
    }
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What they guard is replaced whole, so a panic leaves the old value.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Rows of a scan, all at one LSN.
pub struct ScanIter {
    walk: Walk,
    columns: Columns,
    read_lsn: Lsn,
}

impl ScanIter {
    /// The LSN at which the rows are read.
    pub fn read_lsn(&self) -> Lsn {
        self.read_lsn
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
