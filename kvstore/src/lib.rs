//! The key-value store: rows of versioned cells in tables, ranges of rows on cohorts of three nodes.
//!
//! In reading order, callers above what they call:
//!
//! - [`command_line`]: what the two programs share.
//! - [`node`]: a node assembled; [`config`]: what it is told; [`status`]: what it shows.
//! - `rpc`: the gRPC face; `listener`, `http`: the ports; `metrics`.
//! - `router`: from a key to the replica that must answer; [`request`]: what can be asked; [`error`].
//! - `cluster`: tables, ranges and nodes as the coordinator has them, and streams to the nodes.
//! - `ranges`, `opening`, `maintenance`: the replicas in this process, their birth, their background work.
//! - `replica`: a cohort and its data: decides, applies, reads. `conditions`, `dedup`, `payload`: its parts.
//! - `engine`: one range's data on disk and in memory.

pub mod command_line;
pub mod config;
pub mod engine;
pub mod error;
pub mod node;
pub mod request;
pub mod rpc;
pub mod status;
pub mod table;

// What those above need of the layers below to assemble a node: its number, its disk, its coordinator.
pub use replication::coordination;
pub use wal::{NodeId, disk};

mod cluster;
mod conditions;
mod dedup;
mod http;
mod listener;
mod maintenance;
mod metrics;
mod opening;
mod operation;
mod payload;
mod ranges;
mod replica;
mod router;
#[cfg(feature = "testing")]
pub mod testing;
