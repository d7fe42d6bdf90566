//! The shared log of one node, and the [`disk`] through which the crates above reach their files, too.
//!
//! A node has one log for all its cohorts: one sequential writer, one force (`fdatasync`) per group of appends.
//! Each record names its cohort; one scan at start gives every cohort its own back.
//!
//! What is durable when:
//! * an append whose `done` got `Ok` survives any crash, and so does everything appended before it;
//! * an append that never got an answer may survive or not, but never in part and never without those before it;
//! * an append that got an error is not in the log and will not be.
//!
//! In reading order: [`Lsn`] and [`Record`] (what is said), `format` (the bytes, drawn), [`LogWriter`] (one force
//! per batch) with its `batch` and `segments`, `retention`, `ahead` (the next segment, made before it is needed),
//! [`Log`] (group commit), `recovery` (the decision table of a restart), `extent` (what of a log cannot be missing
//! unseen), [`LogReader`] (catch-up), [`identity`] (whose data directory this is).
//! `golden` runs the golden scripts of all crates.
//!
//! A module uses only modules listed below it.

#[cfg(feature = "golden")]
pub mod golden;
mod group;
mod ahead;
mod retention;
mod writer;
mod recovery;
mod batch;
mod reader;
mod index;
mod segments;
mod extent;
mod format;
mod record;
mod error;
pub mod identity;
pub mod disk;
pub mod descriptors;
mod budget;
mod histogram;
mod lsn;
pub mod sync;
mod random;

pub use budget::{Budget, OverBudget, Reserved};
pub use error::{LogError, LogOpenError, ReadError};
pub use extent::History;
pub use group::{Done, Log, LogStats};
pub use histogram::{BOUNDS_MICROS, Durations, Histogram};
pub use lsn::{
    ChainHash, CohortId, Epoch, Incarnation, Lsn, NodeId, ParseLsnError, ParseNodeIdError, ReplicaId,
};
pub use random::random;
pub use reader::LogReader;
pub use record::{Append, Checkpoint, Entry, EntryKind, Promise, Record, SkipList};
pub use recovery::{CohortRecovery, Corruption, Recovery};
pub use segments::LogOptions;
pub use writer::LogWriter;
