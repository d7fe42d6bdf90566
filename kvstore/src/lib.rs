//! The key-value store: rows of versioned cells in tables, ranges of rows on cohorts of three nodes.
//!
//! A file uses only modules that are declared below its own. From the top:
//!
//! - [`command_line`]: what the two programs share.
//! - [`recover`]: a lost coordinator, written anew from the nodes' disks. [`recover_unsafe`]: ranges that lost a majority.
//! - [`node`]: a node assembled and its life. `rpc`: the gRPC services. `reporter`, `readiness`, [`status`], `diagnosis`: what it shows.
//! - `gateway`: from a key to the replica that must answer; every node is one.
//! - `maintenance`, `opening`, `ranges`: the replicas in this process, their background work, their opening.
//! - `replica`: a cohort and its data: decides, applies, reads. `open_scans`, `reading`, `conditions`, `dedup`, `payload`:
//!   its parts.
//! - `engine`: one range's data on disk and in memory; `table`: its files.
//! - `space`: what the disk has. `waiting`: reading a device without holding up others. [`accept`]: what accept loops do alike.
//! - `cluster`: tables, ranges and nodes as the coordinator has them, and streams to the nodes.
//! - [`proto`]: messages. `operation`: what a replica can be asked. [`request`]: what the store can be asked.

#[cfg(feature = "testing")]
pub mod testing;

pub mod command_line;
pub mod recover;
pub mod recover_unsafe;
mod stopped;
pub mod node;
mod rpc;
mod reporter;
mod spreading;
mod readiness;
pub mod status;
mod diagnosis;
#[cfg_attr(not(feature = "testing"), allow(unreachable_pub))]
mod gateway;
mod maintenance;
#[cfg_attr(not(feature = "testing"), allow(unreachable_pub))]
mod opening;
mod ranges;
#[cfg_attr(not(feature = "testing"), allow(unreachable_pub))]
mod replica;
#[cfg_attr(not(feature = "testing"), allow(unreachable_pub))]
mod open_scans;
#[cfg_attr(not(feature = "testing"), allow(unreachable_pub))]
mod reading;
#[cfg_attr(not(feature = "testing"), allow(unreachable_pub))]
mod conditions;
#[cfg_attr(not(feature = "testing"), allow(unreachable_pub))]
mod dedup;
mod payload;
mod shipping;
#[cfg_attr(not(feature = "testing"), allow(unreachable_pub))]
mod engine;
#[cfg_attr(not(feature = "testing"), allow(unreachable_pub))]
mod table;
mod waiting;
mod space;
#[cfg_attr(not(feature = "testing"), allow(unreachable_pub))]
mod cluster;
pub mod accept;
mod metrics;
mod error_lines;
pub mod proto;
pub mod config;
mod memory;
#[cfg_attr(not(feature = "testing"), allow(unreachable_pub))]
mod operation;
pub mod row_update;
pub mod request;
mod encoding;
pub mod error;

// What those above need of the layers below to assemble a node: its number, its disk, its coordinator.
pub use replication::coordination;
pub use wal::{NodeId, disk};
