//! The gRPC face: generated types, their conversion, the public service, and errors as statuses.
//!
//! `service` serves clients, `batch` its stream of many requests; `gateway` serves other nodes (see `cluster::peers`
//! for their side). `convert` and `status` translate and check, once, where bytes come in.

pub(crate) mod batch;
pub(crate) mod convert;
pub(crate) mod gateway;
pub(crate) mod service;
pub mod status;
pub(crate) mod wire;

/// Types and stubs generated from `proto/`.
#[allow(missing_docs, clippy::all, unreachable_pub)]
pub mod proto {
    /// The public interface, package `spinnaker.kv.v1`.
    pub mod v1 {
        tonic::include_proto!("spinnaker.kv.v1");
    }
    /// Between nodes, package `spinnaker.kv.gateway`.
    pub(crate) mod gateway {
        tonic::include_proto!("spinnaker.kv.gateway");
    }
}

/// Descriptors of the public interface, for reflection.
pub(crate) const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/kv.descriptors"));

/// Largest gRPC message: a page of rows, each up to the row limit, with room to spare.
pub const MESSAGE_BYTES_MAX: usize = 64 << 20;
