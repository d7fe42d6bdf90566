//! What the HTTP listener shows: health, readiness and metrics.

use std::sync::Arc;
use std::time::Instant;

use replication::runtime::Runtime;
use wal::Log;
use wal::descriptors::DESCRIPTORS;

use super::http::Pages;
use super::range_numbers;
use crate::cluster::map::ClusterMap;
use crate::cluster::peers::Peers;
use crate::cluster::tables::REPLICAS;
use crate::config::MemoryConfig;
use crate::engine::BlockCache;
use crate::error_lines;
use crate::gateway::Gateway;
use crate::metrics::{self, Metrics};
use crate::ranges::Ranges;
use crate::readiness::Readiness;
use crate::space::Space;

/// The pages of a node.
pub(super) struct NodePages {
    pub(super) ranges: Arc<Ranges>,
    pub(super) runtime: Runtime,
    pub(super) metrics: Arc<Metrics>,
    pub(super) log: Log,
    pub(super) space: Space,
    pub(super) readiness: Arc<Readiness>,
    pub(super) map: Arc<ClusterMap>,
    /// Directories of ranges that the coordinator did not know at the start.
    pub(super) orphans: usize,
    /// Whether the numbers of each range are shown.
    pub(super) range_metrics: bool,
    pub(super) started: Instant,
    pub(super) gateway: Arc<Gateway>,
    pub(super) peers: Arc<Peers>,
    pub(super) cache: Arc<BlockCache>,
    pub(super) memory: MemoryConfig,
}

impl Pages for NodePages {
    fn not_ready(&self) -> Option<String> {
        self.readiness.reason()
    }

    fn caution(&self) -> Option<String> {
        self.map.belonging.trouble()
    }

    fn health(&self) -> String {
        let all = self.ranges.all();
        let refused = all.iter().filter(|range| range.replica.is_err()).count();
        let mut text = format!("{} ranges, {refused} out of service", all.len());
        if let Some(why) = self.map.belonging.trouble() {
            text += &format!("\n{why}");
        }
        for why in self.map.view().unreadable.values() {
            text += &format!("\n{why}");
        }
        if self.orphans > 0 {
            text += &format!(
                "\n{} range directories that the coordinator does not know: see the log",
                self.orphans
            );
        }
        text
    }

    fn metrics(&self) -> String {
        let mut out = String::new();
        self.metrics.write(&mut out);
        let all = self.ranges.all();
        let leading = all.iter().filter_map(|range| range.replica.as_ref().ok());
        let leading = leading.filter(|replica| replica.cohort.lease().is_some()).count();
        let refused = all.iter().filter(|range| range.replica.is_err()).count();
        metrics::gauge(&mut out, "spinnaker_ranges", "Ranges this node is a member of.", all.len() as u64);
        metrics::gauge(&mut out, "spinnaker_ranges_leading", "Ranges led with a lease.", leading as u64);
        metrics::gauge(&mut out, "spinnaker_ranges_refused", "Ranges out of service here.", refused as u64);
        self.cluster(&mut out);
        self.system(&mut out);
        self.queues(&mut out);
        self.budgets(&mut out);
        if self.range_metrics {
            let view = self.map.view();
            let names = view.by_id.iter().map(|(id, table)| (*id, table.table.name.clone())).collect();
            range_numbers::write(&mut out, &all, &names);
        }
        let scans = self.ranges.open_scans() as u64;
        metrics::gauge(&mut out, "spinnaker_open_scans", "Scans that wait for their next page here.", scans);
        let done = self.runtime.metrics();
        let counters = [
            ("spinnaker_proposals_total", "Writes proposed here.", &done.proposals),
            ("spinnaker_commits_total", "Writes answered as committed here.", &done.commits),
            ("spinnaker_applied_total", "Entries applied.", &done.applied),
            ("spinnaker_messages_sent_total", "Replication messages sent.", &done.messages_sent),
            ("spinnaker_messages_received_total", "Replication messages received.", &done.messages_received),
            ("spinnaker_messages_dropped_total", "Replication messages dropped.", &done.messages_dropped),
            ("spinnaker_entries_refused_total", "Messages with entries refused.", &done.proposals_refused),
            ("spinnaker_messages_skipped_total", "Messages not understood.", &done.messages_skipped),
            ("spinnaker_frames_sent_total", "Frames sent.", &done.frames_sent),
            ("spinnaker_elections_total", "Leaderships opened here.", &done.elections),
            ("spinnaker_suspicions_total", "Times a leader was suspected here.", &done.suspicions),
            ("spinnaker_candidacies_total", "Times a replica here stood for election.", &done.candidacies),
            ("spinnaker_leader_changes_total", "Times a replica here got a leader.", &done.leader_changes),
            ("spinnaker_step_downs_total", "Times a replica here ceased to lead.", &done.step_downs),
            ("spinnaker_transfers_total", "Transfers of leadership begun here.", &done.transfers),
            (
                "spinnaker_majorities_lost_total",
                "Times a leader here lost its majority.",
                &done.majorities_lost,
            ),
            ("spinnaker_catch_ups_total", "Followers brought level by leaders here.", &done.catch_ups),
            ("spinnaker_rejoins_total", "Times a replica here rejoined as a learner.", &done.rejoins),
            ("spinnaker_snapshots_sent_total", "Snapshots sent.", &done.snapshots_sent),
            ("spinnaker_snapshot_sent_bytes_total", "Bytes of snapshots sent.", &done.snapshot_bytes_sent),
            ("spinnaker_snapshots_received_total", "Snapshots put in place here.", &done.snapshots),
            (
                "spinnaker_snapshot_received_bytes_total",
                "Bytes of snapshots put in place here.",
                &done.snapshot_bytes_received,
            ),
        ];
        for (name, help, value) in counters {
            metrics::counter(&mut out, name, help, value.get());
        }
        // Each alarm of a range is an error in the log, too, but for a process that keeps none.
        let alarms = error_lines::count().max(done.alarms.get());
        metrics::counter(&mut out, "spinnaker_alarms_total", "Conditions that need an operator.", alarms);
        out
    }
}

impl NodePages {
    /// What the coordinator has of the cluster.
    fn cluster(&self, out: &mut String) {
        metrics::joined(out, self.map.belonging.is_confirmed());
        let foreign = self.map.belonging.is_foreign();
        let name = "spinnaker_coordinator_foreign";
        metrics::gauge(
            out,
            name,
            "1 while the coordinator does not hold this node's cluster.",
            foreign.into(),
        );
        let view = self.map.view();
        let ranges = view.by_id.values().flat_map(|table| &table.ranges);
        let few = ranges.filter(|range| range.descriptor.members.len() < REPLICAS).count();
        let name = "spinnaker_ranges_under_replicated";
        metrics::gauge(out, name, "Ranges of the cluster with fewer than three members.", few as u64);
        let unreadable = view.unreadable.len();
        let name = "spinnaker_tables_unreadable";
        metrics::gauge(out, name, "Tables whose znodes are lost or damaged.", unreadable as u64);
        let name = "spinnaker_range_directories_unknown";
        metrics::gauge(
            out,
            name,
            "Ranges here that the coordinator did not know at the start.",
            self.orphans as u64,
        );
    }

    /// What waits in this process.
    fn queues(&self, out: &mut String) {
        let (messages, bytes) = self.runtime.unsent();
        metrics::gauge(
            out,
            "spinnaker_unsent_messages",
            "Messages that wait to be sent to other nodes.",
            messages,
        );
        metrics::gauge(out, "spinnaker_unsent_bytes", "Bytes of proposals and snapshots among them.", bytes);
        let calls = self.peers.calls_waiting();
        metrics::gauge(
            out,
            "spinnaker_calls_waiting",
            "Requests to other nodes that wait for an answer.",
            calls,
        );
    }

    /// Memory that clients can make grow, by what it is for.
    fn budgets(&self, out: &mut String) {
        let replicas = self.ranges.all().into_iter().filter_map(|range| range.replica.ok());
        let memtables = replicas.map(|replica| replica.store.engine().memtable_bytes()).sum();
        let scans = self.gateway.scan_memory();
        let parts = [
            ("memtables", memtables, self.memory.memtable_bytes),
            ("blocks", self.cache.bytes(), self.memory.block_cache_bytes),
            ("scans", scans.used(), scans.max()),
        ];
        let used = parts.map(|(part, used, _)| (part, used));
        metrics::by_label(out, "spinnaker_memory_bytes", "Memory in use.", "part", &used);
        let max = parts.map(|(part, _, max)| (part, max));
        metrics::by_label(out, "spinnaker_memory_max_bytes", "What it may be.", "part", &max);
        let name = "spinnaker_memory_refusals_total";
        metrics::counter(out, name, "Scans refused for want of memory.", scans.refused());
    }

    /// The log, and what the process takes of the system.
    fn system(&self, out: &mut String) {
        let log = self.log.stats();
        metrics::histogram(out, "spinnaker_log_force_seconds", "Forces of the log.", &log.force_times);
        let commits = self.runtime.metrics().commit_times.durations();
        let name = "spinnaker_commit_seconds";
        metrics::histogram(out, name, "Writes from their proposal here to their commit.", &commits);
        metrics::counter(out, "spinnaker_log_forces_total", "Forces of the log.", log.forces);
        let failures = log.segment_failures;
        metrics::counter(
            out,
            "spinnaker_log_segment_failures_total",
            "Segments of the log that could not be begun and were tried again.",
            failures,
        );
        let waiting = log.waiting_bytes;
        metrics::gauge(
            out,
            "spinnaker_log_waiting_bytes",
            "Bytes that wait for a force of the log.",
            waiting,
        );
        let (free, full) = (self.space.free_bytes().unwrap_or_default(), self.space.is_full());
        metrics::gauge(out, "spinnaker_disk_free_bytes", "Free bytes of the data directory's disk.", free);
        metrics::gauge(
            out,
            "spinnaker_disk_full",
            "1: tables are not written for lack of space.",
            full.into(),
        );
        let connections = DESCRIPTORS.connections();
        metrics::gauge(out, "spinnaker_files_open", "Files of log and tables.", DESCRIPTORS.files());
        metrics::gauge(out, "spinnaker_connections_open", "Connections of clients.", connections);
        let open = DESCRIPTORS.open();
        metrics::gauge(out, "spinnaker_descriptors_open", "File descriptors of the process.", open);
        let uptime = self.started.elapsed().as_secs();
        metrics::gauge(out, "spinnaker_uptime_seconds", "Time since the node began to serve.", uptime);
        let version = [(env!("CARGO_PKG_VERSION"), 1)];
        metrics::by_label(out, "spinnaker_build_info", "1, with the program's version.", "version", &version);
        let limit = DESCRIPTORS.limit();
        metrics::gauge(out, "spinnaker_descriptors_max", "Limit of open files of the process.", limit);
    }
}
