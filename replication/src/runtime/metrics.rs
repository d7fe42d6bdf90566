//! What the replication of this node has done so far, as plain counters; exported by the layers above.

use std::sync::atomic::{AtomicU64, Ordering};

use wal::Histogram;

use crate::protocol::RoleName;
use crate::protocol::notice::Notice;

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
    /// Messages with entries that were not taken because too much waits for this node's disk; they are sent again.
    pub proposals_refused: Counter,
    /// Messages for cohorts that this node does not hold.
    pub rejected_peers: Counter,
    /// Messages received that were not understood, and skipped.
    pub messages_skipped: Counter,
    /// Streams to peers that came to stand.
    pub reconnects: Counter,
    /// Leaderships opened here.
    pub elections: Counter,
    /// Snapshots of a range that were taken from its leader, because the log no longer reached back.
    pub snapshots: Counter,
    /// Bytes of snapshots put in place here.
    pub snapshot_bytes_received: Counter,
    /// Snapshots sent whole to another member.
    pub snapshots_sent: Counter,
    /// Bytes of those.
    pub snapshot_bytes_sent: Counter,
    /// Times that a leader was suspected here, or none was known.
    pub suspicions: Counter,
    /// Times that a replica here stood for election.
    pub candidacies: Counter,
    /// Times that a replica here learnt of another leader, or became it.
    pub leader_changes: Counter,
    /// Times that a replica here ceased to lead.
    pub step_downs: Counter,
    /// Transfers of leadership begun here.
    pub transfers: Counter,
    /// Times that a leader here heard no majority any more.
    pub majorities_lost: Counter,
    /// Followers that were brought level by a leader here.
    pub catch_ups: Counter,
    /// Times that a replica here rejoined as a learner.
    pub rejoins: Counter,
    /// From a client's write at the leader to its commit here, refusals left out.
    pub commit_times: Histogram,
    /// Facts that an operator must see.
    pub alarms: Counter,
}

impl Metrics {
    /// Counts a change of a cohort.
    pub(crate) fn note(&self, notice: &Notice) {
        match notice {
            Notice::Suspected { .. } => self.suspicions.count(),
            Notice::LeaderHeard { .. } | Notice::Opened { .. } => self.leader_changes.count(),
            Notice::Role { was, role, leader, .. } => {
                if *was == RoleName::Leader && *role != RoleName::Leader {
                    self.step_downs.count();
                }
                if *role == RoleName::Candidate {
                    self.candidacies.count();
                }
                if leader.is_some() {
                    self.leader_changes.count();
                }
            }
            Notice::TransferBegun { .. } => self.transfers.count(),
            Notice::MajorityLost => self.majorities_lost.count(),
            Notice::CatchUpEnded { .. } => self.catch_ups.count(),
            Notice::SnapshotSent { bytes, .. } => {
                self.snapshots_sent.count();
                self.snapshot_bytes_sent.add(*bytes);
            }
            Notice::SnapshotInstalled { bytes, .. } => self.snapshot_bytes_received.add(*bytes),
            Notice::Learning { .. } => self.rejoins.count(),
            Notice::MajorityBack
            | Notice::FollowerLost { .. }
            | Notice::FollowerBack { .. }
            | Notice::TransferGivenUp { .. }
            | Notice::CatchUpBegun { .. }
            | Notice::SnapshotBegun { .. }
            | Notice::SnapshotComing { .. }
            | Notice::Promoted
            | Notice::LearnerPromoted { .. } => {}
        }
    }
}
