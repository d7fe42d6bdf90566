//! replication
pub mod coordination;
pub mod protocol;
