//! One range's data, an LSM tree: a memtable, a frozen one on its way out, and tables in levels.
//!
//! - `snapshot`: the tables, shipped to a replica that the log no longer reaches, and installed there.
//! - `compaction` carries out what `choice` decides: levels are merged downwards, deletions end at the bottom.
//! - `flush` writes the frozen memtable as one table of level 0 and names it in the `manifest`, together with the LSN
//!   and chain hash up to which the tables now hold everything, and the store's attachment. Then the log may let go.
//! - `pinned`: the content as of one LSN, for reads in several steps.
//! - `scrub` reads the tables again and again, lest damage be found when it is too late.
//! - `edit`: how new tables are written and come into force.
//! - `lsm`: the [`Engine`]: opened, applied to, read.
//! - `memtable`: the newest writes, in memory. `version`: the sources of one moment. `row_source`, `merge`: rows out of
//!   many sources.
//!
//! A reader pins the version as it is and the last applied LSN. Neither flush nor compaction disturbs
//! them: what they replace stays readable as long as someone holds it.
//!
//! The engine starts no thread. One caller at a time applies (and freezes), any number read; one thread flushes, one
//! compacts. The latter two run beside each other: a flush only adds to level 0, a compaction takes away only what it
//! has read; edits of the manifest wait for each other, and nobody else for them.
//!
//! The key of a version is (row key, column, LSN descending). It is compared part by part, in the memtable as in
//! tables, which store a row once for all its cells; so no byte needs escaping.

#[cfg(test)]
mod tests;

mod snapshot;
mod compaction;
mod flush;
mod pinned;
mod scrub;
mod edit;
mod lsm;
mod manifest;
mod choice;
mod merge;
mod version;
mod row_source;
mod memtable;
mod options;

pub use self::lsm::Engine;
pub(crate) use self::lsm::TableParts;
pub use self::manifest::FlushedState;
pub use self::options::EngineOptions;
pub use self::pinned::Pinned;
pub(crate) use self::snapshot::{Receipt, Snapshot, SnapshotHead};
pub use crate::table::{BlockCache, TableError as EngineError};
