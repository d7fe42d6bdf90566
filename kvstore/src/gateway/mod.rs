//! From a key to the replica that must answer, through whatever goes wrong until the deadline.
//!
//! The gateway knows the ranges from the cluster map, and guesses the leader: what the replica in this process thinks,
//! else the last one that answered, else one member after the other. A wrong guess is corrected by the answer
//! (`NotLeader` with a hint). A replica in this process is asked by a plain function call.
//!
//! - `kv`: the [`Kv`](crate::request::Kv) that planner and gRPC service call.
//! - `write`: one write over many attempts, done exactly once. `scan`, `read`: from the replica that the options allow.
//!   `range_scan`: one range of a scan, at one LSN.
//! - `routing`: which range, which node, one question and its answer.
//! - `search`: whom to ask next for the leader. `limits`: how large keys and rows may be.
//!
//! What to do is decided by plain data that sends nothing (`search::LeaderSearch`, `write::Attempts`,
//! `range_scan::RangeScanSteps`); the methods of
//! [`Gateway`] send and wait.

mod kv;
mod write;
mod scan;
mod range_scan;
mod read;
mod routing;
mod limits;
mod search;

pub(crate) use self::routing::Gateway;
pub(crate) use self::write::Identity;
