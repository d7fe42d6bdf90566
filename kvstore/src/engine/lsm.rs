//! The engine itself: opened, applied to, read.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;
use wal::disk::Disk;
use wal::sync::{lock, read, write};
use wal::{ChainHash, Lsn};

use super::manifest::{self, FlushedState, Manifest};
use super::merge::{self, Walk};
#[cfg(any(test, feature = "testing"))]
use super::options::EngineStats;
use super::options::{Checksum, EngineOptions, LEVELS};
use super::version::{Version, sort_run};
use crate::request::{Columns, Mutation, Row};
use crate::table::{
    BlockCache, Caching, Damage, RowVersions, Table, TableError as EngineError, file_name, io_error,
};

/// Ending of the names of files that were set aside.
const DAMAGED: &str = ".damaged";

/// What tables hold of one row that is about to be written.
pub(crate) struct TableParts {
    parts: Vec<RowVersions>,
    /// They held everything up to here.
    flushed: Lsn,
}

/// One range's data.
pub struct Engine {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) dir: String,
    pub(super) options: EngineOptions,
    pub(super) cache: Arc<BlockCache>,
    pub(super) state: RwLock<State>,
    /// The manifest in force. Never held over the disk.
    pub(super) manifest: Mutex<Manifest>,
    /// One edit of it at a time.
    pub(super) editing: Mutex<()>,
    /// Number of the next table file.
    pub(super) next: AtomicU64,
    /// One flush, and one compaction, at a time.
    pub(super) flushing: Mutex<()>,
    pub(super) compacting: Mutex<()>,
    /// Tables have changed since the last look for something to compact.
    pub(super) compaction_due: AtomicBool,
    /// A flush was asked for though the memtable is small.
    pub(super) flush_requested: AtomicBool,
    /// While a table is damaged nothing is read, flushed or compacted: a whole snapshot from another replica repairs it.
    pub(super) damage: Arc<Damage>,
    pub(super) scrubbed: Mutex<ScrubPosition>,
}

pub(super) struct State {
    pub(super) version: Arc<Version>,
    /// Readers see what is at or below.
    pub(super) applied: Lsn,
    pub(super) chain: ChainHash,
}

/// Up to where tables have been read in this round of scrubbing.
#[derive(Clone, Copy, Default)]
pub(super) struct ScrubPosition {
    pub(super) table: u64,
    pub(super) block: usize,
}

impl Engine {
    /// Opens the range's directory, made if absent; files that the manifest does not name are removed. It is an error
    /// if the manifest is missing and tables are there: no table is deleted because metadata is missing. A damaged table
    /// is no error: the engine opens, [`Engine::damaged`].
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &str,
        options: EngineOptions,
        cache: Arc<BlockCache>,
    ) -> Result<(Engine, FlushedState), EngineError> {
        disk.create_dir(dir).map_err(|error| io_error(dir, error))?;
        let manifest = Manifest::open(&*disk, dir)?;
        remove_leftovers(&*disk, dir, &manifest)?;
        let damage = Arc::<Damage>::default();
        let levels = open_levels(&*disk, dir, &manifest, &cache, &damage)?;
        let flushed = manifest.flushed.clone();
        let state = State {
            version: Arc::new(Version::of_tables(levels, flushed.lsn, manifest.gc_lsn)),
            applied: flushed.lsn,
            chain: flushed.chain,
        };
        let engine = Engine {
            disk,
            dir: dir.to_owned(),
            options,
            cache,
            state: RwLock::new(state),
            next: AtomicU64::new(manifest.next),
            manifest: Mutex::new(manifest),
            editing: Mutex::default(),
            flushing: Mutex::default(),
            compacting: Mutex::default(),
            compaction_due: AtomicBool::new(true),
            flush_requested: AtomicBool::new(false),
            damage,
            scrubbed: Mutex::default(),
        };
        Ok((engine, flushed))
    }

    /// Renames what a directory holds that cannot be opened, so that the range can start over in it. It is removed when a
    /// later start finds the range whole again.
    pub(crate) fn set_aside(disk: &dyn Disk, dir: &str) -> Result<(), EngineError> {
        let failed = |error| io_error(dir, error);
        for file in disk.list(dir).map_err(failed)? {
            if file.ends_with(".sst") || file == manifest::IN_FORCE {
                let path = format!("{dir}/{file}");
                disk.rename(&path, &format!("{path}{DAMAGED}")).map_err(failed)?;
            }
        }
        disk.sync_dir(dir).map_err(failed)
    }

    /// Whether something has been set aside in the directory and not been replaced yet.
    pub(crate) fn has_set_aside(disk: &dyn Disk, dir: &str) -> Result<bool, EngineError> {
        let files = disk.list(dir).map_err(|error| io_error(dir, error))?;
        Ok(files.iter().any(|file| file.ends_with(DAMAGED)))
    }

    /// The sizes that it keeps to.
    pub(crate) fn options(&self) -> &EngineOptions {
        &self.options
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
    #[cfg(any(test, feature = "testing"))]
    pub fn gc_lsn(&self) -> Lsn {
        self.version().gc_lsn
    }

    /// The row at the last applied LSN, which is returned, too.
    pub fn get(&self, key: &[u8], columns: &Columns) -> Result<(Row, Lsn), EngineError> {
        self.check()?;
        let (version, read_lsn) = self.current();
        let parts = version.get(key, read_lsn)?;
        Ok((merge::visible(Bytes::copy_from_slice(key), parts, columns, read_lsn), read_lsn))
    }

    /// What the tables hold of a row, for [`Engine::row_for_decision`].
    pub(crate) fn read_tables(&self, key: &[u8]) -> Result<TableParts, EngineError> {
        self.check()?;
        let (version, _) = self.current();
        Ok(TableParts { parts: version.get_from_tables(key)?, flushed: version.flushed })
    }

    /// The row as [`Engine::get`] finds it, for the decision of a write, without a look at the disk; `None` if the tables
    /// have grown since they were read. If it does not exist its version is an LSN above which no write has touched it: its
    /// deletion's, or, if that was forgotten, that of the last deletion forgotten.
    pub(crate) fn row_for_decision(&self, key: &Bytes, tables: TableParts) -> Option<(Row, Lsn)> {
        let (version, read_lsn) = self.current();
        if tables.flushed != version.flushed {
            return None;
        }
        let mut parts = version.get_from_memory(key, read_lsn);
        parts.extend(tables.parts);
        let touched = merge::newest(parts.iter().flat_map(|part| &part.cells)).unwrap_or(version.gc_lsn);
        Some((merge::visible(key.clone(), parts, &Columns::All, touched), read_lsn))
    }

    /// How many bytes the row has at most ([`Row::content_bytes`]), by what is known without reading a table; `None`: nothing is.
    pub(crate) fn row_bytes_bound(&self, key: &[u8]) -> Option<u64> {
        let (version, read_lsn) = self.current();
        version.row_bytes_bound(key, read_lsn)
    }

    /// Rows by key, all at the last applied LSN, which is returned, too; in the order of the keys.
    #[cfg(feature = "testing")]
    pub fn get_all(&self, keys: &[Bytes], columns: &Columns) -> Result<(Vec<Row>, Lsn), EngineError> {
        self.check()?;
        let (version, read_lsn) = self.current();
        let row =
            |key: &Bytes| Ok(merge::visible(key.clone(), version.get(key, read_lsn)?, columns, read_lsn));
        Ok((keys.iter().map(row).collect::<Result<_, EngineError>>()?, read_lsn))
    }

    /// Rows between the bounds at the last applied LSN, which holds for the whole scan.
    #[cfg(any(test, feature = "testing"))]
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
        let (version, read_lsn) = self.current();
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
        let requested = self.flush_requested.load(Ordering::Acquire) && self.applied() > version.flushed;
        requested || version.frozen.is_some() || version.active.bytes() >= self.options.memtable_bytes
    }

    /// Bytes in memtables.
    pub fn memtable_bytes(&self) -> u64 {
        let version = self.version();
        let frozen: u64 = version.frozen.iter().map(|frozen| frozen.memtable.bytes()).sum();
        version.active.bytes() + frozen
    }

    /// Makes a flush due, however small the memtable is.
    pub fn request_flush(&self) {
        self.flush_requested.store(true, Ordering::Release);
    }

    /// Whether a table of this engine cannot be read: it must take a whole snapshot ([`Engine::install_snapshot`]).
    pub fn damaged(&self) -> bool {
        self.check().is_err()
    }

    pub(super) fn check(&self) -> Result<(), EngineError> {
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

    /// Hashes over all live rows, and the LSN they hold for.
    pub fn checksum(&self) -> Result<(Lsn, Checksum), EngineError> {
        self.check()?;
        let rows = self.rows(Bytes::new(), None, false, &Columns::All, Caching::Bypass);
        let (read_lsn, mut sum) = (rows.read_lsn, Checksum::default());
        let hash = |parts: &[&Bytes], version: Lsn| {
            let mut hasher = xxhash_rust::xxh3::Xxh3::new();
            for part in parts {
                hasher.update(&(part.len() as u64).to_le_bytes());
                hasher.update(part);
            }
            hasher.update(&version.epoch.0.to_le_bytes());
            hasher.update(&version.seq.to_le_bytes());
            hasher.digest()
        };
        for row in rows {
            let row = row?;
            for cell in &row.cells {
                let cell = hash(&[&row.key, &cell.column, &cell.value], cell.version);
                sum.cells = sum.cells.wrapping_add(cell);
            }
            sum.rows = sum.rows.wrapping_add(hash(&[&row.key], row.version));
        }
        Ok((read_lsn, sum))
    }

    /// Numbers.
    #[cfg(any(test, feature = "testing"))]
    pub fn stats(&self) -> EngineStats {
        let version = self.version();
        let mut stats = EngineStats {
            memtable_bytes: self.memtable_bytes(),
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

    pub(super) fn read_state(&self) -> RwLockReadGuard<'_, State> {
        read(&self.state)
    }

    pub(super) fn write_state(&self) -> RwLockWriteGuard<'_, State> {
        write(&self.state)
    }

    pub(super) fn version(&self) -> Arc<Version> {
        self.read_state().version.clone()
    }

    pub(super) fn current(&self) -> (Arc<Version>, Lsn) {
        let state = self.read_state();
        (state.version.clone(), state.applied)
    }
}

/// Opens the tables that the manifest names. Damaged ones are noted, and left out.
fn open_levels(
    disk: &dyn Disk,
    dir: &str,
    manifest: &Manifest,
    cache: &Arc<BlockCache>,
    damage: &Arc<Damage>,
) -> Result<Vec<Vec<Arc<Table>>>, EngineError> {
    let mut levels = vec![Vec::new(); LEVELS];
    for (level, number) in &manifest.tables {
        match Table::open(disk, dir, *number, cache.clone(), damage.clone()) {
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
    Ok(levels)
}

/// Removes what a crash has left: tables that no manifest names, and a manifest that never came into force.
fn remove_leftovers(disk: &dyn Disk, dir: &str, manifest: &Manifest) -> Result<(), EngineError> {
    let failed = |error| io_error(dir, error);
    for file in disk.list(dir).map_err(failed)? {
        let path = format!("{dir}/{file}");
        let named = manifest.tables.iter().any(|(_, number)| file_name(dir, *number) == path);
        // What was set aside goes when the range has something again.
        let replaced = file.ends_with(DAMAGED) && manifest.flushed.lsn > Lsn::ZERO;
        if !named && (file.ends_with(".sst") || file == manifest::ASIDE || replaced) {
            disk.remove(&path).map_err(failed)?;
        }
    }
    Ok(())
}

/// Rows of a scan, all at one LSN.
pub struct ScanIter {
    walk: Walk,
    columns: Columns,
    read_lsn: Lsn,
}

impl ScanIter {
    /// The LSN at which the rows are read.
    #[cfg(any(test, feature = "testing"))]
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
                    let row = merge::visible(key, parts, &self.columns, self.read_lsn);
                    if !row.cells.is_empty() {
                        return Some(Ok(row));
                    }
                }
            }
        }
    }
}
