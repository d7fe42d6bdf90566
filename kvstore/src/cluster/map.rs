//! Tables, ranges and live nodes as the coordinator has them, cached in one immutable [`View`].
//!
//! A watch on the metadata makes a new view; readers take the current one and never wait for the coordinator. What
//! changes all the time, a range's leader and its last known LSN, lives in the [`RangeRoute`], which the views share.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, RwLock};

use bytes::Bytes;
use replication::coordination::{CoordinationError, Coordinator};
use replication::runtime::Addresses;
use tokio::sync::watch;
use wal::sync::{lock, read, write};
use wal::{CohortId, Incarnation, NodeId, ReplicaId};

use super::belonging::Belonging;
use super::gone::Gone;
use super::layout::{self, ClusterId, NodeAddresses, Paths, RangeDescriptor, TableDescriptor};
use super::local::{KeptObjects, KeptRange};
use super::route::RangeRoute;
use super::time::{MachineTime, Time};
use super::view::{TableView, View, covers_all_keys};
use crate::error::KvError;
use crate::request::{Table, TableId};

/// Random, so that a restored coordinator cannot hand out an old one ([random-cohort-ids]).
pub(super) fn random_range() -> CohortId {
    CohortId(u128::from_le_bytes(wal::random()))
}

/// What the coordinator says of one table.
enum Loaded {
    Table(Arc<TableView>),
    /// It does not stand there (any more).
    Missing,
    /// It stands there, and cannot be understood.
    Unreadable(String),
}

/// The cache.
pub struct ClusterMap {
    pub(crate) coordinator: Arc<dyn Coordinator>,
    pub(crate) paths: Paths,
    /// Ranges of dropped tables.
    pub(crate) gone: Arc<Gone>,
    /// Which cluster this is, once this node has joined it.
    pub(crate) belonging: Belonging,
    /// Whether tables may be made with fewer than three replicas.
    pub(super) fewer_replicas: bool,
    view: RwLock<Arc<View>>,
    /// What this node's disk kept of its ranges when it started.
    kept: Mutex<HashMap<CohortId, KeptRange>>,
    /// The same of the objects.
    kept_objects: Mutex<(u64, BTreeMap<TableId, Arc<Table>>)>,
    /// What waits at the coordinator go by.
    pub(super) time: Arc<dyn Time>,
    /// Makes identities of new ranges.
    pub(super) new_range: Arc<dyn Fn() -> CohortId + Send + Sync>,
    /// Addresses last known of nodes that are not registered now: their session may have expired while they live on.
    last_addresses: Mutex<BTreeMap<NodeId, String>>,
    /// One refresh at a time, so that an older view never replaces a newer one.
    refreshing: tokio::sync::Mutex<()>,
    version: watch::Sender<u64>,
}

impl ClusterMap {
    /// A cache of what stands below these paths, empty.
    pub fn new(coordinator: Arc<dyn Coordinator>, paths: Paths) -> ClusterMap {
        ClusterMap {
            coordinator,
            paths,
            gone: Arc::default(),
            belonging: Belonging::default(),
            fewer_replicas: false,
            view: RwLock::default(),
            kept: Mutex::default(),
            kept_objects: Mutex::default(),
            time: Arc::new(MachineTime),
            new_range: Arc::new(random_range),
            last_addresses: Mutex::default(),
            refreshing: tokio::sync::Mutex::default(),
            version: watch::Sender::new(1),
        }
    }

    /// The same with another clock, as a simulator has it, and with ranges whose identities are made so; no two may be the same
    /// ([random-cohort-ids]).
    #[cfg(feature = "testing")]
    pub fn simulated(
        self,
        time: Arc<dyn Time>,
        new_range: impl Fn() -> CohortId + Send + Sync + 'static,
    ) -> ClusterMap {
        ClusterMap { time, new_range: Arc::new(new_range), ..self }
    }

    /// The same, and tables may be made with fewer than three replicas if `allowed`.
    pub(crate) fn with_fewer_replicas(self, allowed: bool) -> ClusterMap {
        ClusterMap { fewer_replicas: allowed, ..self }
    }

    /// Makes the directories that everything hangs in.
    pub async fn ensure(&self) -> Result<(), CoordinationError> {
        for dir in layout::DIRS {
            self.coordinator.ensure(&self.paths.dir(dir)).await?;
        }
        Ok(())
    }

    /// What this node's disk keeps of the ranges of its cluster, for when the coordinator does not say it.
    pub(crate) fn remember(&self, kept: Vec<KeptRange>, objects: KeptObjects) {
        *lock(&self.kept) = kept.into_iter().map(|kept| (kept.descriptor.id, kept)).collect();
        let all = objects.objects.into_iter().map(|object| (object.id, Arc::new(object)));
        *lock(&self.kept_objects) = (objects.change, all.collect());
    }

    /// Knows, until the coordinator has been read, what was remembered of its cluster: the tables of which it has all
    /// ranges, and where other nodes were reached. If there is no such table it says no, and knows nothing.
    pub(crate) fn start_from(
        &self,
        cluster: ClusterId,
        me: ReplicaId,
        addresses: BTreeMap<NodeId, String>,
    ) -> bool {
        let tables: BTreeSet<TableId> = lock(&self.kept).values().map(|kept| kept.table.table.id).collect();
        let mut view = View::default();
        (view.change, view.objects) = lock(&self.kept_objects).clone();
        for (id, table) in tables.into_iter().filter_map(|id| Some((id, self.kept_view(id)?))) {
            let table = table.as_it_is_now(view.objects.get(&id));
            // Of two with one name, the one with the lower number was dropped before the other was made.
            view.by_name.insert(table.table.name.clone(), table.clone());
            view.by_id.insert(id, table);
        }
        if view.by_id.is_empty() {
            return false;
        }
        lock(&self.last_addresses).extend(addresses);
        self.belonging.join(cluster, me);
        *write(&self.view) = Arc::new(view);
        true
    }

    /// A table as the disk knows it, if it has all its ranges.
    fn kept_view(&self, id: TableId) -> Option<Arc<TableView>> {
        let kept = lock(&self.kept);
        let kept: Vec<&KeptRange> = kept.values().filter(|kept| kept.table.table.id == id).collect();
        let table = kept.first()?.table.table.clone();
        let route =
            |range: &&KeptRange| Arc::new(RangeRoute::new(Arc::new(range.descriptor.clone()), range.version));
        let mut ranges: Vec<_> = kept.iter().map(route).collect();
        ranges.sort_by(|a, b| a.descriptor.start.cmp(&b.descriptor.start));
        covers_all_keys(&ranges).then(|| Arc::new(TableView { made: table.clone(), table, ranges }))
    }

    /// The view now.
    pub fn view(&self) -> Arc<View> {
        read(&self.view).clone()
    }

    /// Grows with each change of the tables.
    pub(crate) fn version(&self) -> u64 {
        *self.version.borrow()
    }

    /// The table, from the cache or else fresh from the coordinator.
    pub async fn table(&self, table: TableId) -> Result<Arc<TableView>, KvError> {
        if let Some(found) = self.view().by_id.get(&table) {
            return Ok(found.clone());
        }
        self.refresh_now().await.map_err(coordination)?;
        let view = self.view();
        match (view.by_id.get(&table), view.unreadable.get(&table)) {
            (Some(found), _) => Ok(found.clone()),
            (None, Some(why)) => Err(KvError::Coordination(why.clone())),
            (None, None) => Err(KvError::NoTable(format!("number {}", table.0))),
        }
    }

    /// The table of that name, from the cache or else fresh from the coordinator.
    pub async fn table_named(&self, name: &str) -> Result<Arc<TableView>, KvError> {
        if let Some(found) = self.view().by_name.get(name) {
            return Ok(found.clone());
        }
        self.refresh_now().await.map_err(coordination)?;
        if let Some(found) = self.view().by_name.get(name) {
            return Ok(found.clone());
        }
        self.check_unreadable(name).await?;
        Err(KvError::NoTable(name.to_owned()))
    }

    /// An error if a table of this name stands at the coordinator and cannot be read there: it must not be taken for one
    /// that does not exist.
    async fn check_unreadable(&self, name: &str) -> Result<(), KvError> {
        let view = self.view();
        if view.unreadable.is_empty() {
            return Ok(());
        }
        let named = self.coordinator.get(&self.paths.name(name)).await.map_err(coordination)?;
        let id =
            named.and_then(|node| std::str::from_utf8(&node.data).ok()?.trim().parse().ok().map(TableId));
        match id.and_then(|id| view.unreadable.get(&id)) {
            Some(why) => Err(KvError::Coordination(why.clone())),
            None => Ok(()),
        }
    }

    /// As [`ClusterMap::refresh`], and what anybody was told before this began is seen: a table that was made, or
    /// dropped, through another gateway a moment ago ([fresh-reads-sync]).
    pub async fn refresh_now(&self) -> Result<(), CoordinationError> {
        self.coordinator.sync().await?;
        self.refresh().await
    }

    /// Reads what changed, and makes the view that shows it. What stands unchanged is not read again: a table's
    /// descriptor never changes, a range's only if a node has another disk than it says.
    pub async fn refresh(&self) -> Result<(), CoordinationError> {
        let _one = self.refreshing.lock().await;
        self.check_cluster().await?;
        let old = self.view();
        let mut new = View::default();
        self.load_objects(&old, &mut new).await?;
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
            if let Some(table) = self.table_view(id, &old, &mut new, &disks).await? {
                let table = table.as_it_is_now(new.objects.get(&id));
                new.by_name.insert(table.table.name.clone(), table.clone());
                new.by_id.insert(id, table);
            }
        }
        for range in self.coordinator.list(&self.paths.dir("dropped")).await? {
            new.dropped.extend(range.parse::<CohortId>());
        }
        self.keep_lost(&old, &mut new);
        let mut changed = new.objects != old.objects;
        for (id, table) in &new.by_id {
            if !old.by_id.contains_key(id) {
                changed = true;
                self.gone.take_back(table.ranges.iter().map(|range| range.descriptor.id));
            }
        }
        for (id, table) in &old.by_id {
            if !new.by_id.contains_key(id) {
                changed = true;
                self.gone.add(&table.table.name, table.ranges.iter().map(|range| range.descriptor.id));
            }
        }
        *write(&self.view) = Arc::new(new);
        self.belonging.confirm();
        if changed {
            self.version.send_modify(|version| *version += 1);
        }
        Ok(())
    }

    /// Reads the objects, unless nothing has changed. The number of the newest change is read first: what was changed up
    /// to it is seen, and perhaps more.
    async fn load_objects(&self, old: &View, new: &mut View) -> Result<(), CoordinationError> {
        let path = self.paths.objects();
        let found = self.coordinator.get(&path).await?;
        let change = found.and_then(|found| layout::decode_change(&found.data));
        new.change = change.unwrap_or(0);
        if change == Some(old.change) && self.belonging.is_confirmed() {
            new.objects = old.objects.clone();
            return Ok(());
        }
        for id in self.coordinator.list(&path).await? {
            let Ok(id) = id.parse().map(TableId) else { continue };
            let path = self.paths.object(id);
            let Some(found) = self.coordinator.get(&path).await? else { continue };
            if let Some(object) = layout::decode_object(id, &found.data) {
                new.objects.insert(id, Arc::new(object));
                continue;
            }
            tracing::error!(
                path,
                "an object of the catalog cannot be read at the coordinator: restore its text"
            );
            new.objects.extend(old.objects.get(&id).map(|known| (id, known.clone())));
        }
        Ok(())
    }

    /// Tables that are not at the coordinator any more though nobody has dropped them: a drop leaves a mark for each
    /// range, which names this node, if it is a member, until it has given its data back. Such a table's znodes were lost,
    /// or rolled back; it is served on as it was known ([empty-coordinator-is-no-news]).
    fn keep_lost(&self, old: &View, new: &mut View) {
        let Some(me) = self.belonging.me() else { return };
        for (id, table) in &old.by_id {
            if new.by_id.contains_key(id) {
                continue;
            }
            let own = |range: &&Arc<RangeRoute>| range.descriptor.has_node(me.node);
            if table.ranges.iter().filter(own).all(|range| new.dropped.contains(&range.descriptor.id)) {
                continue;
            }
            let why = format!(
                "{} vanished, and nobody has dropped table \"{}\": its znodes were lost or rolled back; stop the nodes, \
                 delete all below {} and run `spinnaker recover-metadata`",
                self.paths.table(*id),
                table.table.name,
                self.paths.root
            );
            if old.unreadable.get(id) != Some(&why) {
                tracing::error!(
                    table = id.0,
                    why,
                    "a table was lost at the coordinator; it is served on here"
                );
            }
            new.unreadable.insert(*id, why);
            new.by_name.entry(table.table.name.clone()).or_insert_with(|| table.clone());
            new.by_id.insert(*id, table.clone());
        }
    }

    /// One table for the new view: as it was known if that still holds, else read anew.
    async fn table_view(
        &self,
        id: TableId,
        old: &View,
        new: &mut View,
        disks: &[ReplicaId],
    ) -> Result<Option<Arc<TableView>>, CoordinationError> {
        let known = old.by_id.get(&id);
        // What only the disk says may be old.
        let certain =
            |known: &&Arc<TableView>| self.belonging.is_confirmed() && !known.names_another_disk(disks);
        if let Some(known) = known.filter(certain) {
            return Ok(Some(known.clone()));
        }
        match self.load(id).await? {
            Loaded::Table(loaded) => {
                known.iter().for_each(|known| loaded.learn(known));
                Ok(Some(loaded))
            }
            // Dropped between the two reads.
            Loaded::Missing => Ok(None),
            Loaded::Unreadable(why) => {
                let news = old.unreadable.get(&id) != Some(&why);
                let served = known.cloned().or_else(|| self.kept_view(id));
                if news {
                    let served = match (known, &served) {
                        (Some(_), _) => "as it was known before",
                        (None, Some(_)) => "as this node's disk knows it",
                        (None, None) => "not",
                    };
                    tracing::error!(
                        table = id.0,
                        why,
                        "a table cannot be read at the coordinator; it is served {served}"
                    );
                }
                new.unreadable.insert(id, why);
                Ok(served)
            }
        }
    }

    async fn load(&self, id: TableId) -> Result<Loaded, CoordinationError> {
        let path = self.paths.table(id);
        let Some(found) = self.coordinator.get(&path).await? else { return Ok(Loaded::Missing) };
        let unreadable = |path: &str| {
            Ok(Loaded::Unreadable(format!(
                "{path} is missing or holds what this program does not understand: restore its text"
            )))
        };
        let table = match TableDescriptor::decode(id, &found.data) {
            Some(table) => table,
            None => match self.mend_table(id, &path, found.version).await? {
                Some(table) => table,
                None => return unreadable(&path),
            },
        };
        let mut ranges = Vec::with_capacity(table.ranges.len());
        for range in table.ranges {
            let path = self.paths.range(range);
            let Some(found) = self.coordinator.get(&path).await? else { return unreadable(&path) };
            let known = match RangeDescriptor::decode(range, &found.data) {
                Some(descriptor) => Some((descriptor, found.version)),
                None => self.mend_range(range, &path, found.version).await?,
            };
            let Some((descriptor, version)) = known else { return unreadable(&path) };
            ranges.push(Arc::new(RangeRoute::new(Arc::new(descriptor), version.unsigned_abs())));
        }
        ranges.sort_by(|a, b| a.descriptor.start.cmp(&b.descriptor.start));
        if !covers_all_keys(&ranges) {
            return Ok(Loaded::Unreadable(format!(
                "the ranges of {path} leave a gap or overlap: restore them"
            )));
        }
        Ok(Loaded::Table(Arc::new(TableView { made: table.table.clone(), table: table.table, ranges })))
    }

    /// Writes a table's text anew where somebody has written something else, if the disk keeps it: it never changes.
    async fn mend_table(
        &self,
        id: TableId,
        path: &str,
        version: i32,
    ) -> Result<Option<TableDescriptor>, CoordinationError> {
        let kept =
            lock(&self.kept).values().find(|kept| kept.table.table.id == id).map(|kept| kept.table.clone());
        let Some(table) = kept else { return Ok(None) };
        self.mend(path, table.encode(), version).await?;
        Ok(Some(table))
    }

    /// The same for a range's, if what the disk keeps is what stood there before the last change: members change when a
    /// node gets another disk. With the version that it has then.
    async fn mend_range(
        &self,
        id: CohortId,
        path: &str,
        version: i32,
    ) -> Result<Option<(RangeDescriptor, i32)>, CoordinationError> {
        let kept = lock(&self.kept).get(&id).map(|kept| (kept.descriptor.clone(), kept.version));
        let Some((descriptor, _)) = kept.filter(|(_, kept)| *kept + 1 == version.unsigned_abs()) else {
            return Ok(None);
        };
        self.mend(path, descriptor.encode(), version).await?;
        Ok(Some((descriptor, version + 1)))
    }

    async fn mend(&self, path: &str, text: Bytes, version: i32) -> Result<(), CoordinationError> {
        self.coordinator.set(path, text, Some(version)).await?;
        tracing::error!(
            path,
            "a znode held what nobody understands: its text is written anew from this node's disk"
        );
        Ok(())
    }
}

impl ClusterMap {
    /// Where each node was reached last.
    pub(crate) fn last_addresses(&self) -> BTreeMap<NodeId, String> {
        lock(&self.last_addresses).clone()
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

/// The coordinator's failures in the store's words.
pub(crate) fn coordination(error: CoordinationError) -> KvError {
    KvError::Coordination(error.to_string())
}
