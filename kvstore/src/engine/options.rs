//! Sizes of an engine, those that it keeps to and those that it has.

use crate::config::Limits;

/// Levels of tables. With the default sizes the last one but one is full at 25 TB.
pub(crate) const LEVELS: usize = 7;

/// Sizes of an engine.
#[derive(Clone, Copy, Debug)]
pub struct EngineOptions {
    /// A memtable over this is due to be flushed.
    pub memtable_bytes: u64,
    /// So many tables of level 0 are due to be compacted.
    pub level0_tables: usize,
    /// A range with so many tables in level 0, or with a full memtable behind one that still waits, is
    /// [`Engine::stalled`](super::Engine::stalled).
    pub level0_stall: usize,
    /// Level 1 over this is due to be compacted; each deeper level may be ten times larger.
    pub level1_bytes: u64,
    /// Compaction starts a new table at this size.
    pub table_bytes: u64,
    /// No write makes a row larger: its key and all its columns, names and values.
    pub row_bytes_max: usize,
}

impl Default for EngineOptions {
    fn default() -> EngineOptions {
        EngineOptions {
            memtable_bytes: 32 << 20,
            level0_tables: 4,
            level0_stall: 20,
            level1_bytes: 256 << 20,
            table_bytes: 32 << 20,
            row_bytes_max: Limits::default().row_bytes_max,
        }
    }
}

/// Hashes over all live rows of an engine, whatever their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checksum {
    /// Over all cells: key, column, value and version of each. Every release makes it so.
    pub cells: u64,
    /// Over key and version of each row.
    pub rows: u64,
}

/// Numbers of an engine.
#[cfg(any(test, feature = "testing"))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EngineStats {
    /// Bytes in memtables.
    pub memtable_bytes: u64,
    /// How many tables there are.
    pub tables: usize,
    /// Tables of each level.
    pub levels: [usize; LEVELS],
    /// Bytes of tables.
    pub table_bytes: u64,
    /// Rows in tables; one that is in several counts several times.
    pub rows: u64,
    /// Versions of cells in tables, deletions among them.
    pub cells: u64,
    /// Whether new writes should be turned away ([`Engine::stalled`](super::Engine::stalled)).
    pub stalled: bool,
}
