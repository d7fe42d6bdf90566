//! The one way to storage: a small trait over flat directories of files.
//!
//! Real files (`file`) and a simulated disk (`memory`, feature `testing`) stand behind it (`reserve` keeps a part free), for the
//! log, for SSTables, for manifests and for the node's identity. Paths are relative to the disk's root,
//! `/`-separated, at most one directory deep (`wal/00000001.seg`, `r-<cohort>/000007.sst`).
//!
//! Durability contract (what a power loss leaves): bytes written are lost or torn unless the file was
//! synced; a created, renamed or removed *name* is lost or old unless its directory was synced.

mod file;
#[cfg(any(test, feature = "testing"))]
mod memory;
mod reserve;
mod device;

pub use device::{Disk, DiskFile, is_full};
pub use file::FileDisk;
#[cfg(any(test, feature = "testing"))]
pub use memory::{Faults, MemoryDisk};
pub use reserve::ReserveDisk;
