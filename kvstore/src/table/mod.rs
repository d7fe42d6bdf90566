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
//! index:  per block: | last key | offset | length |, then first key, counts, bytes of the largest row
//! filter: bloom filter over row keys
//! footer: | index offset, length | filter offset, length | version u32 | CRC32C u32 | magic 8 bytes |
//! ```
//!
//! Every byte is covered by a checksum; what does not match is an error, never a wrong value. A file of another version
//! is refused as such. A file without its footer is an unfinished flush: no manifest names it.

mod cursor;
mod reader;
mod builder;
mod bloom;
mod damage;
mod row;
mod format;

pub(crate) use builder::TableBuilder;
pub(crate) use cursor::RunCursor;
pub(crate) use damage::Damage;
pub use format::TableError;
pub(crate) use format::{file_name, io_error};
pub use reader::BlockCache;
pub(crate) use reader::{Caching, Table};
pub(crate) use row::{CellVersion, RowVersions, put_cells, take_cells};
