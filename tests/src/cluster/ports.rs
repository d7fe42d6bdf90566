//! Free ports of the loopback interface.

use std::net::TcpListener;

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
