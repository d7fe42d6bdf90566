//! Real processes on this machine: started on free ports in temporary directories, killed when dropped.

pub mod demo;
pub mod nodes;
pub mod process;
pub mod provision;
pub mod psql;
pub mod status;
pub mod zookeeper;

use std::net::TcpListener;

use self::psql::Psql;
use self::status::Replicas;

/// Three nodes, numbered 1 to 3, that a story can be told of.
pub trait Cluster {
    /// The SQL gateway of a node.
    fn gateway(&self, node: usize) -> &Psql;
    /// Ends a node as a crash does.
    fn crash(&mut self, node: usize);
    /// Starts a node that was ended, on its data, and waits until it is ready.
    fn start_again(&mut self, node: usize);
    /// What `status` says.
    fn status(&mut self) -> Replicas;
}

/// A TCP port of the loopback interface that was free a moment ago.
pub fn free_port() -> u16 {
    free_ports(1)
}

/// The first of `count` consecutive ports that were free a moment ago.
pub fn free_ports(count: u16) -> u16 {
    for _ in 0..1000 {
        let first = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let first = first.expect("a loopback port").port();
        let Some(end) = first.checked_add(count) else { continue };
        let held: Vec<_> =
            (first..end).map_while(|port| TcpListener::bind(("127.0.0.1", port)).ok()).collect();
        if held.len() == usize::from(count) {
            return first;
        }
    }
    panic!("no {count} consecutive free ports");
}
