//! The key-value store: rows of versioned cells in tables, ranges of rows on cohorts of three nodes.

pub mod config;
pub mod engine;
pub mod error;
pub mod node;
pub mod request;
pub mod status;
pub mod table;

// What those above need of the layers below to assemble a node: its number, its disk, its coordinator.
pub use replication::coordination;
pub use wal::{NodeId, disk};
