//! Sorted tables: immutable files of rows, written once and read forever.
//!
//! ```text
//! | block | block | .. | index | filter | footer |
//!
//! block:  rows in key order, about 16 KiB, never a part of a row:
//!         | shared | suffix len | suffix | cells | { column, epoch, seq, kind, [value] } .. |   per row
//!         `shared` bytes of the key are those of the row before; numbers are LEB128
//! frame:  | body | raw length u32 | kind u8 (0 plain, 1 lz4) | CRC32C u32 of body, length and kind |
//!         around each block, and around index and filter (always plain)
//! index:  per block: | last key | offset | length |, then first key, counts, min and max LSN
//! filter: bloom filter over row keys
//! footer: | index offset, length | filter offset, length | version u32 | CRC32C u32 | magic 8 bytes |
//! ```
//!
//! Every byte is covered by a checksum; what does not match is an error, never a wrong value. A file without its
//! footer is an unfinished flush: no manifest names it.

mod bloom;
mod builder;
mod cursor;
mod damage;
pub(crate) mod format;
mod reader;

use bytes::Bytes;
use wal::Lsn;

pub use builder::TableBuilder;
pub(crate) use cursor::{Caching, RunCursor};
pub use damage::Damage;
pub use format::TableError;
pub use reader::{BlockCache, Summary, Table};

/// The path of the table `number` in `dir`.
pub(crate) fn file_name(dir: &str, number: u64) -> String {
    format!("{dir}/{number:06}.sst")
}

/// One version of one cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CellVersion {
    /// Column; empty: the version deletes all cells of the row that are older.
    pub column: Bytes,
    /// The write's LSN.
    pub lsn: Lsn,
    /// Value; `None`: deleted.
    pub value: Option<Bytes>,
}

/// What one source holds of a row: by column, of each the newest version only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RowVersions {
    /// Row key.
    pub key: Bytes,
    /// Versions.
    pub cells: Vec<CellVersion>,
}
