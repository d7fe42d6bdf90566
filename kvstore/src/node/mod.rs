//! A node assembled: one data directory, one log, the replicas of its ranges, and the listeners.
//!
//! Start: bind the ports, open the storage (lock, identity, one scan of the log), join the cluster, open all ranges in
//! parallel, serve. Until it serves the ports say so, and why. A coordinator that is away is waited for; a node whose
//! disk knows its tables serves meanwhile with what it knows. Whatever is wrong with one range takes that range out of
//! service here and nothing else; whatever is wrong with the node as a whole is one clear [`StartError`].
//!
//! End: `shutdown` transfers leaderships and drains; `kill` stops like a crash. After either, nothing of this node
//! acts any more, so that another life of it can start in the same process.

mod lifecycle;
mod joining;
mod starting;
mod server;
mod pages;
mod range_numbers;
mod storage;
mod http;
mod listener;

pub use self::lifecycle::Node;
pub use self::starting::Starting;
pub use crate::error::StartError;
