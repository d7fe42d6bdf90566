//! replication
pub mod coordination;
pub mod protocol;
pub mod store;
