//! Tables, ranges and live nodes as the coordinator has them, cached in one immutable [`View`].
//!
//! A watch on the metadata makes a new view; readers take the current one and never wait for the coordinator. What
//! changes all the time, a range's leader and its last known LSN, lives in the [`RangeRoute`], which the views share.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, RwLock};

use replication::coordination::{CoordinationError, Coordinator};
use replication::runtime::Addresses;
use tokio::sync::watch;
use wal::sync::{lock, read, write};
use wal::{CohortId, Incarnation, Lsn, NodeId, ReplicaId};

use super::layout::{NodeAddresses, Paths, RangeDescriptor, TableDescriptor};
use crate::error::KvError;
use crate::request::{Table, TableId};

/// One range, with what this node's gateway has learned about it from answers.
#[derive(Debug)]
pub(crate) struct RangeRoute {
    pub(crate) descriptor: Arc<RangeDescriptor>,
    /// Node that was last seen leading; 0: unknown.
    leader: AtomicU32,
    /// Highest LSN seen in any answer.
    known: Mutex<Lsn>,
}

impl RangeRoute {
    /// Where the leader is thought to be.
    pub(crate) fn leader(&self) -> Option<NodeId> {
        Some(NodeId(self.leader.load(Ordering::Relaxed))).filter(|node| node.0 != 0)
    }

    /// Notes where the leader is thought to be.
    pub(crate) fn set_leader(&self, leader: Option<NodeId>) {
        self.leader.store(leader.map_or(0, |node| node.0), Ordering::Relaxed);
    }

    /// Highest LSN seen in any answer.
    pub(crate) fn known(&self) -> Lsn {
        *lock(&self.known)
    }

    /// An answer of the range came with this LSN.
    pub(crate) fn saw(&self, lsn: Lsn) {
        let mut known = lock(&self.known);
        *known = lsn.max(*known);
    }
}

/// A table with its ranges in key order; they cover all keys.
#[derive(Debug)]
pub(crate) struct TableView {
    pub(crate) table: Table,
    pub(crate) ranges: Vec<Arc<RangeRoute>>,
}

impl TableView {
    /// Whether a range says another disk of one of these nodes than this.
    fn names_another_disk(&self, disks: &[ReplicaId]) -> bool {
        self.ranges.iter().any(|range| disks.iter().any(|disk| range.descriptor.names_another_disk(*disk)))
    }

    /// Takes over what an older view has learned of the ranges.
    fn learn(&self, old: &TableView) {
        for range in &self.ranges {
            if let Some(known) = old.ranges.iter().find(|known| known.descriptor.id == range.descriptor.id) {
                range.set_leader(known.leader());
                range.saw(known.known());
            }
        }
    }

    /// The range that holds the key.
    pub(crate) fn range_of(&self, key: &[u8]) -> &Arc<RangeRoute> {
        // The first range starts at the empty key, so there is always one that starts at or before.
        let after = self.ranges.partition_point(|range| &range.descriptor.start[..] <= key);
        &self.ranges[after.saturating_sub(1)]
    }
}

/// The metadata at one moment.
#[derive(Debug, Default)]
pub(crate) struct View {
    pub(crate) by_name: BTreeMap<String, Arc<TableView>>,
    pub(crate) by_id: HashMap<TableId, Arc<TableView>>,
    /// Live nodes.
    pub(crate) nodes: BTreeMap<NodeId, NodeAddresses>,
    /// Ranges dropped, whose data some node still holds.
    pub(crate) dropped: BTreeSet<CohortId>,
}

/// The cache.
pub(crate) struct ClusterMap {
    pub(crate) coordinator: Arc<dyn Coordinator>,
    pub(crate) paths: Paths,
    view: RwLock<Arc<View>>,
    /// Addresses last known of nodes that are not registered now: their session may have expired while they live on.
    last_addresses: Mutex<HashMap<NodeId, String>>,
    /// One refresh at a time, so that an older view never replaces a newer one.
    refreshing: tokio::sync::Mutex<()>,
    version: watch::Sender<u64>,
}

impl ClusterMap {
    pub(crate) fn new(coordinator: Arc<dyn Coordinator>, paths: Paths) -> ClusterMap {
        ClusterMap {
            coordinator,
            paths,
            view: RwLock::default(),
            last_addresses: Mutex::default(),
            refreshing: tokio::sync::Mutex::default(),
            version: watch::Sender::new(1),
        }
    }

    /// Makes the directories that everything hangs in.
    pub(crate) async fn ensure(&self) -> Result<(), CoordinationError> {
        for dir in ["registry", "nodes", "names", "tables", "ranges", "dropped"] {
            self.coordinator.ensure(&self.paths.dir(dir)).await?;
        }
        Ok(())
    }

    /// The view now.
    pub(crate) fn view(&self) -> Arc<View> {
        read(&self.view).clone()
    }

    /// Grows with each change of the tables.
    pub(crate) fn version(&self) -> u64 {
        *self.version.borrow()
    }

    /// The table, from the cache or else fresh from the coordinator.
    pub(crate) async fn table(&self, table: TableId) -> Result<Arc<TableView>, KvError> {
        if let Some(found) = self.view().by_id.get(&table) {
            return Ok(found.clone());
        }
        self.refresh().await.map_err(coordination)?;
        self.view().by_id.get(&table).cloned().ok_or_else(|| KvError::NoTable(format!("number {}", table.0)))
    }

    /// The table of that name, from the cache or else fresh from the coordinator.
    pub(crate) async fn table_named(&self, name: &str) -> Result<Arc<TableView>, KvError> {
        if let Some(found) = self.view().by_name.get(name) {
            return Ok(found.clone());
        }
        self.refresh().await.map_err(coordination)?;
        self.view().by_name.get(name).cloned().ok_or_else(|| KvError::NoTable(name.to_owned()))
    }

    /// Reads what changed, and makes the view that shows it. What stands unchanged is not read again: a table's
    /// descriptor never changes, a range's only if a node has another disk than it says.
    pub(crate) async fn refresh(&self) -> Result<(), CoordinationError> {
        let _one = self.refreshing.lock().await;
        let old = self.view();
        let mut new = View::default();
        let mut disks = Vec::new();
        for node in self.coordinator.list(&self.paths.dir("nodes")).await? {
            let Ok(node) = node.parse().map(NodeId) else { continue };
            let found = self.coordinator.get(&self.paths.node(node)).await?;
            if let Some(addresses) = found.and_then(|found| NodeAddresses::decode(&found.data)) {
                let mut last = lock(&self.last_addresses);
                last.insert(node, addresses.grpc.clone());
                disks.extend(addresses.disk.map(|incarnation| ReplicaId { node, incarnation }));
                new.nodes.insert(node, addresses);
            }
        }
        for id in self.coordinator.list(&self.paths.dir("tables")).await? {
            let Ok(id) = id.parse().map(TableId) else { continue };
            let table = match old.by_id.get(&id) {
                Some(known) if !known.names_another_disk(&disks) => known.clone(),
                known => match self.load(id).await? {
                    Some(loaded) => {
                        known.iter().for_each(|known| loaded.learn(known));
                        loaded
                    }
                    // Dropped between the two reads, or not ours to understand: load() has said so.
                    None => continue,
                },
            };
            new.by_name.insert(table.table.name.clone(), table.clone());
            new.by_id.insert(id, table);
        }
        for range in self.coordinator.list(&self.paths.dir("dropped")).await? {
            new.dropped.extend(range.parse::<CohortId>());
        }
        let changed =
            new.by_id.len() != old.by_id.len() || new.by_id.keys().any(|id| !old.by_id.contains_key(id));
        *write(&self.view) = Arc::new(new);
        if changed {
            self.version.send_modify(|version| *version += 1);
        }
        Ok(())
    }

    async fn load(&self, id: TableId) -> Result<Option<Arc<TableView>>, CoordinationError> {
        let Some(found) = self.coordinator.get(&self.paths.table(id)).await? else { return Ok(None) };
        let Some(table) = TableDescriptor::decode(id, &found.data) else {
            tracing::error!(table = id.0, "the table's znode is unreadable; the table is not served");
            return Ok(None);
        };
        let mut ranges = Vec::with_capacity(table.ranges.len());
        for range in table.ranges {
            let found = self.coordinator.get(&self.paths.range(range)).await?;
            let Some(descriptor) = found.and_then(|found| RangeDescriptor::decode(range, &found.data)) else {
                tracing::error!(table = id.0, %range, "a range's znode is missing or unreadable; the table is not served");
                return Ok(None);
            };
            ranges.push(Arc::new(RangeRoute {
                descriptor: Arc::new(descriptor),
                leader: AtomicU32::new(0),
                known: Mutex::default(),
            }));
        }
        ranges.sort_by(|a, b| a.descriptor.start.cmp(&b.descriptor.start));
        if !covers_all_keys(&ranges) {
            tracing::error!(
                table = id.0,
                "the table's ranges leave a gap or overlap; the table is not served"
            );
            return Ok(None);
        }
        Ok(Some(Arc::new(TableView { table: table.table, ranges })))
    }
}

impl Addresses for ClusterMap {
    fn disk(&self, node: NodeId) -> Option<Incarnation> {
        self.view().nodes.get(&node)?.disk
    }

    fn address(&self, node: NodeId) -> Option<String> {
        let view = self.view();
        let live = view.nodes.get(&node).map(|addresses| addresses.grpc.clone());
        live.or_else(|| lock(&self.last_addresses).get(&node).cloned())
    }
}

fn covers_all_keys(ranges: &[Arc<RangeRoute>]) -> bool {
    let first = ranges.first().is_some_and(|range| range.descriptor.start.is_empty());
    let last = ranges.last().is_some_and(|range| range.descriptor.end.is_none());
    let joined =
        ranges.windows(2).all(|pair| pair[0].descriptor.end.as_ref() == Some(&pair[1].descriptor.start));
    first && last && joined
}

/// The coordinator's failures in the store's words.
pub(crate) fn coordination(error: CoordinationError) -> KvError {
    KvError::Coordination(error.to_string())
}
