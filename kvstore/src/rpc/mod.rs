//! The gRPC services: `service` for clients, `batch` for their streams of many requests, `scans` for scans, `calls` for what
//! all share;
//! `peer_service` for other nodes' gateways (their side is `cluster::peers`).

pub(crate) mod peer_service;
pub(crate) mod service;

mod batch;
mod scans;
mod calls;
