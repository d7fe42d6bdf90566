//! What the replication of this node has done so far, as plain counters; exported by the layers above.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds one.
    pub fn count(&self) {
        self.add(1);
    }

    /// Adds `amount`.
    pub fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    /// The number now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counters of one node, over all its cohorts, since it was started.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Writes of clients that were proposed here.
    pub proposals: Counter,
    /// Writes of clients that were answered as committed here.
    pub commits: Counter,
    /// Entries applied to stores.
    pub applied: Counter,
    /// Messages handed to the transport.
    pub messages_sent: Counter,
    /// Messages received.
    pub messages_received: Counter,
    /// Frames handed to the transport; messages per frame show how well they batch.
    pub frames_sent: Counter,
    /// Payload bytes handed to the transport.
    pub bytes_sent: Counter,
    /// Payload bytes received.
    pub bytes_received: Counter,
    /// Messages that were not sent because the peer was not connected or its queue was full.
    pub messages_dropped: Counter,
    /// Messages for cohorts that this node does not hold.
    pub rejected_peers: Counter,
    /// Streams to peers that came to stand.
    pub reconnects: Counter,
    /// Leaderships opened here.
    pub elections: Counter,
    /// Snapshots of a range that were taken from its leader, because the log no longer reached back.
    pub snapshots: Counter,
    /// Facts that an operator must see.
    pub alarms: Counter,
}
