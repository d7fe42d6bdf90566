//! Real processes on this machine: started on free ports in temporary directories, killed when dropped.

pub mod demo;
pub mod nodes;
mod three_nodes;
pub mod zookeeper;
pub mod psql;
pub mod postgres;
pub mod process;
pub mod status;
pub mod provision;
pub mod wire;
mod ports;

pub use self::ports::{free_port, free_ports};
pub use self::three_nodes::Cluster;
