//! Protobuf messages, generated from `proto/`, and their conversion, where bytes are checked as they come in.
//!
//! - [`errors`]: errors as gRPC statuses and back.
//! - `peer`: operations and answers between nodes. `public`: the messages of the public interface.
//! - [`v1`] and `gateway`: the generated types.

pub mod errors;
pub(crate) mod peer;
pub(crate) mod public;
mod size;

pub use self::size::MESSAGE_BYTES_MAX;

/// The public interface, package `spinnaker.kv.v1`.
#[allow(missing_docs, clippy::all, unreachable_pub)]
pub mod v1 {
    tonic::include_proto!("spinnaker.kv.v1");
}

/// Between nodes, package `spinnaker.kv.gateway`.
#[allow(missing_docs, clippy::all, unreachable_pub)]
pub(crate) mod gateway {
    tonic::include_proto!("spinnaker.kv.gateway");
}

/// Descriptors of the public interface, for reflection.
pub(crate) const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/kv.descriptors"));
