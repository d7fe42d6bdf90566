//! From a key to the replica that must answer, through whatever goes wrong until the deadline.
//!
//! The gateway knows the ranges from the cluster map, and guesses the leader: what the replica in this process thinks,
//! else the last one that answered, else one member after the other. A wrong guess is corrected by the answer
//! (`NotLeader` with a hint). A replica in this process is asked by a plain function call.
//!
//! - `kv`: the [`Kv`](crate::request::Kv) that planner and gRPC service call.
//! - `write`, `scan`, `read`: what each is made of. `routing`: calls at work.
//! - `range_scan`: one range of a scan, at one LSN. `limits`: how large keys and rows may be.
//! - `call`: one call over many attempts. `search`: whom to ask next for the leader. `forward`: for a node that cannot
//!   reach it.
//!
//! What to do is decided by plain data that sends nothing (`call`, `search`, `range_scan`); the methods of
//! [`Gateway`] send and wait.

mod kv;
mod write;
mod scan;
mod read;
mod routing;
pub(crate) mod range_scan;
pub(crate) mod limits;
pub(crate) mod forward;
pub(crate) mod call;
mod search;

pub(crate) use self::call::Identity;
pub(crate) use self::routing::Gateway;
