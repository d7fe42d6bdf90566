//! Three nodes in one process, over loopback, with the embedded coordinator.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt;
use kvstore::NodeId;
use kvstore::config::NodeConfig;
use kvstore::coordination::embedded::{Embedded, EmbeddedClient};
use kvstore::error::KvError;
use kvstore::node::Node;
use kvstore::request::{
    Columns, Consistency, Kv, Mutation, ReadOptions, Row, Scan, Table, Write, WriteOutcome, Written,
};
use tempfile::TempDir;

/// What a killed node's session lives on for.
pub(crate) const SESSION: Duration = Duration::from_millis(300);

pub(crate) struct Cluster {
    pub(crate) service: Embedded,
    pub(crate) directory: TempDir,
    pub(crate) nodes: Vec<Option<(Node, Arc<EmbeddedClient>)>>,
    /// Whether blocks of tables are cached.
    pub(crate) cached: bool,
    /// Largest row, if not the default.
    pub(crate) row_bytes_max: Option<usize>,
    /// Calm after which leaderships go back, if not the default.
    pub(crate) spread_after: Option<Duration>,
    /// Whether metrics are shown for each range.
    pub(crate) range_metrics: bool,
    /// Where each node shows its metrics; empty: nowhere.
    pub(crate) http: Vec<String>,
}

impl Cluster {
    pub(crate) async fn start(count: u32) -> Cluster {
        let mut cluster = Cluster::empty(count);
        cluster.start_all().await;
        cluster
    }

    /// Nodes that are not started yet.
    pub(crate) fn empty(count: u32) -> Cluster {
        let directory = tempfile::tempdir().unwrap();
        let nodes = (0..count).map(|_| None).collect();
        let (service, http) = (Embedded::new(), Vec::new());
        Cluster {
            service,
            directory,
            nodes,
            cached: true,
            row_bytes_max: None,
            spread_after: None,
            range_metrics: false,
            http,
        }
    }

    pub(crate) async fn start_all(&mut self) {
        for index in 0..self.nodes.len() {
            self.restart(index).await;
        }
    }

    pub(crate) async fn restart(&mut self, index: usize) {
        let number = u32::try_from(index).unwrap() + 1;
        let data = self.directory.path().join(format!("n{number}"));
        let mut config = NodeConfig::new(NodeId(number), data, "127.0.0.1:0");
        if !self.cached {
            config.memory.block_cache_bytes = 0;
        }
        config.allow_fewer_replicas = self.nodes.len() < 3;
        config.limits.row_bytes_max = self.row_bytes_max.unwrap_or(config.limits.row_bytes_max);
        config.spread_leaders_after = self.spread_after.or(config.spread_leaders_after);
        config.range_metrics = self.range_metrics;
        config.http_listen = self.http.get(index).cloned();
        let coordinator = self.service.client();
        let node = Node::start(config, coordinator.clone()).await.unwrap();
        self.nodes[index] = Some((node, coordinator));
    }

    pub(crate) fn kill(&mut self, index: usize) {
        let (node, coordinator) = self.nodes[index].take().unwrap();
        node.kill();
        coordinator.kill(SESSION);
    }

    pub(crate) fn node(&self, index: usize) -> &Node {
        &self.nodes[index].as_ref().unwrap().0
    }

    pub(crate) fn kv(&self, index: usize) -> Arc<dyn Kv> {
        self.node(index).kv()
    }

    pub(crate) async fn table(&self, name: &str, splits: &[&str]) -> Table {
        let splits = splits.iter().map(|split| Bytes::copy_from_slice(split.as_bytes())).collect();
        self.kv(0).create_table(name, Bytes::new(), splits, soon()).await.unwrap()
    }

    /// The files of a node with this ending, in all its directories of a kind.
    pub(crate) fn files(&self, index: usize, ending: &str) -> BTreeSet<PathBuf> {
        let node = self.directory.path().join(format!("n{}", index + 1));
        let entries = |path: &Path| std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
        let directories = entries(&node).filter(|path| path.is_dir());
        let files = directories.flat_map(|path| entries(&path).collect::<Vec<_>>());
        files.filter(|path| path.to_string_lossy().ends_with(ending)).collect()
    }

    /// Waits until all replicas of all ranges are at the same LSN, and returns that their contents agree.
    pub(crate) async fn settle(&self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let status = self.node(0).cluster_status(true).await;
            let mut seen = BTreeSet::new();
            let (mut ranges, mut replicas, mut refused) = (BTreeSet::new(), 0, 0);
            for replica in status.nodes.iter().flat_map(|node| &node.replicas) {
                ranges.insert(replica.range.clone());
                replicas += 1;
                refused += usize::from(!replica.refusal.is_empty() || !replica.trouble.is_empty());
                let at = replica.checksum_lsn.unwrap_or_default();
                let checksum = (replica.checksum, replica.row_checksum);
                seen.insert((replica.range.clone(), at.epoch, at.sequence, checksum));
            }
            if refused == 0 && seen.len() == ranges.len() && replicas == ranges.len() * 3 {
                return;
            }
            assert!(Instant::now() < deadline, "replicas did not come to agree:\n{status}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

pub(crate) fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

pub(crate) fn strong() -> ReadOptions {
    ReadOptions { consistency: Consistency::Strong, max_staleness: None, min_lsn: None, deadline: soon() }
}

pub(crate) fn timeline() -> ReadOptions {
    ReadOptions { consistency: Consistency::Timeline, ..strong() }
}

pub(crate) fn put(table: &Table, key: &str, value: &str) -> Write {
    let mutation = Mutation::Put { column: "v".into(), value: Bytes::copy_from_slice(value.as_bytes()) };
    Write {
        table: table.id,
        key: Bytes::copy_from_slice(key.as_bytes()),
        conditions: Vec::new(),
        mutations: vec![mutation],
        request: None,
    }
}

pub(crate) fn written(outcome: Result<WriteOutcome, KvError>) -> Written {
    match outcome.unwrap() {
        WriteOutcome::Written(written) => written,
        WriteOutcome::ConditionFailed { current, .. } => panic!("a condition failed: {current:?}"),
    }
}

pub(crate) fn value(row: &Row) -> Option<String> {
    row.cells.first().map(|cell| String::from_utf8(cell.value.to_vec()).unwrap())
}

pub(crate) async fn get(kv: &Arc<dyn Kv>, table: &Table, key: &str, options: ReadOptions) -> Option<String> {
    let key = Bytes::copy_from_slice(key.as_bytes());
    value(&kv.get(table.id, key, Columns::All, &options, None).await.unwrap().row)
}

pub(crate) async fn scan(kv: &Arc<dyn Kv>, table: &Table, reverse: bool, limit: Option<u64>) -> Vec<String> {
    let scan =
        Scan { table: table.id, start: Bytes::new(), end: None, reverse, limit, columns: Columns::All };
    let options = strong();
    let mut pages = kv.scan(scan, &options, None);
    let mut keys = Vec::new();
    while let Some(page) = pages.next().await {
        keys.extend(page.unwrap().rows.iter().map(|row| String::from_utf8(row.key.to_vec()).unwrap()));
    }
    keys
}
