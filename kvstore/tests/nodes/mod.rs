//! Nodes in this process, with the embedded coordinator, for tests of the cluster's metadata.

#![allow(dead_code, reason = "each test program uses a part of it")]

pub(crate) mod away;
pub(crate) mod interposed;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kvstore::NodeId;
use kvstore::config::NodeConfig;
use kvstore::coordination::Coordinator;
use kvstore::coordination::embedded::{Embedded, EmbeddedClient};
use kvstore::error::{KvError, StartError};
use kvstore::node::Node;
use kvstore::request::{
    Columns, Consistency, Kv, Mutation, ReadOptions, Table, TableId, Write, WriteOutcome,
};
use tempfile::TempDir;

/// A cluster whose nodes stop and start one by one.
pub(crate) struct Cluster {
    pub(crate) service: Embedded,
    pub(crate) directory: TempDir,
    nodes: Vec<Option<(Node, Arc<EmbeddedClient>)>>,
    /// Nodes with coordinators of their own, behind the others.
    added: Vec<Node>,
}

impl Cluster {
    /// Nodes 1 to `count`, all running.
    pub(crate) async fn start(count: usize) -> Cluster {
        let directory = tempfile::tempdir().unwrap();
        let nodes = (0..count).map(|_| None).collect();
        let mut cluster = Cluster { service: Embedded::new(), directory, nodes, added: Vec::new() };
        for number in 1..=count {
            cluster.restart(number).await;
        }
        cluster
    }

    pub(crate) fn data_dir(&self, number: usize) -> PathBuf {
        self.directory.path().join(format!("n{number}"))
    }

    pub(crate) fn config(&self, number: usize) -> NodeConfig {
        NodeConfig::new(NodeId(number as u32), self.data_dir(number), "127.0.0.1:0")
    }

    pub(crate) async fn restart(&mut self, number: usize) {
        self.try_restart(number).await.unwrap();
    }

    pub(crate) async fn try_restart(&mut self, number: usize) -> Result<(), StartError> {
        let client = self.service.client();
        let node = Node::start(self.config(number), client.clone()).await?;
        self.nodes[number - 1] = Some((node, client));
        Ok(())
    }

    /// As a crash does; the coordinator's session ends at once.
    pub(crate) fn kill(&mut self, number: usize) {
        let (node, client) = self.nodes[number - 1].take().unwrap();
        node.kill();
        client.kill(Duration::ZERO);
    }

    /// Starts one more node, with this coordinator.
    pub(crate) async fn add(&mut self, coordinator: Arc<dyn Coordinator>) {
        let number = self.nodes.len() + self.added.len() + 1;
        self.added.push(Node::start(self.config(number), coordinator).await.unwrap());
    }

    /// Kills the nodes that were added.
    pub(crate) fn stop_added(&mut self) {
        self.added.clear();
    }

    pub(crate) fn node(&self, number: usize) -> &Node {
        match self.nodes.get(number - 1) {
            Some(node) => &node.as_ref().unwrap().0,
            None => &self.added[number - 1 - self.nodes.len()],
        }
    }

    /// A node's session at the coordinator.
    pub(crate) fn client(&self, number: usize) -> &Arc<EmbeddedClient> {
        &self.nodes[number - 1].as_ref().unwrap().1
    }

    pub(crate) fn kv(&self, number: usize) -> Arc<dyn Kv> {
        self.node(number).kv()
    }

    /// Names of the directories that a node keeps ranges in.
    pub(crate) fn range_dirs(&self, number: usize) -> Vec<String> {
        let entries = std::fs::read_dir(self.data_dir(number)).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with("r-")).collect()
    }
}

pub(crate) fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

pub(crate) fn strong() -> ReadOptions {
    ReadOptions { consistency: Consistency::Strong, max_staleness: None, min_lsn: None, deadline: soon() }
}

pub(crate) async fn create(kv: &Arc<dyn Kv>, name: &str) -> Result<Table, KvError> {
    kv.create_table(name, Bytes::new(), Vec::new(), soon()).await
}

pub(crate) fn put(table: TableId, key: &str, value: &str) -> Write {
    let mutation = Mutation::Put { column: "v".into(), value: Bytes::copy_from_slice(value.as_bytes()) };
    let key = Bytes::copy_from_slice(key.as_bytes());
    Write { table, key, conditions: Vec::new(), mutations: vec![mutation], request: None }
}

pub(crate) async fn write(kv: &Arc<dyn Kv>, table: TableId, key: &str, value: &str) -> Result<(), KvError> {
    match kv.write(put(table, key, value), soon(), None).await? {
        WriteOutcome::Written(_) => Ok(()),
        WriteOutcome::ConditionFailed { .. } => panic!("there was no condition"),
    }
}

pub(crate) async fn read(kv: &Arc<dyn Kv>, table: TableId, key: &str) -> Result<Option<String>, KvError> {
    let key = Bytes::copy_from_slice(key.as_bytes());
    let found = kv.get(table, key, Columns::All, &strong(), None).await?;
    Ok(found.row.cells.first().map(|cell| String::from_utf8(cell.value.to_vec()).unwrap()))
}

/// Waits until it holds.
pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
