//! wal
pub mod disk;
mod lsn;
mod record;
pub use lsn::*;
pub use record::*;
