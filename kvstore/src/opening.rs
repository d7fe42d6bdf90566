//! Opening, and closing for good, the ranges that this node is a member of.
//!
//! [`Opener::sync`] makes what is open match the cluster map: a range that names this node *and this disk* is opened
//! from its tables and its part of the log; a range marked as dropped is closed and its data deleted. Data is deleted
//! only on an explicit drop record, never because metadata is missing.
//!
//! A range starts from two sources that must fit: its tables, which hold everything up to the flushed LSN, and the log
//! behind it. [`reconcile`] decides by this table:
//!
//! | log of the range                | tables                           | the replica opens as                         |
//! |---------------------------------|----------------------------------|----------------------------------------------|
//! | none                            | none                             | fresh: the range was just created            |
//! | none, the log lost something, and the range is older than this process | none | learner: it may have been lost, too |
//! | none                            | empty                            | empty, not fresh: a crash right after that   |
//! | none                            | hold something                   | learner: promises and the log's tail are lost |
//! | none, the node's log is damaged | any                              | learner: its records may have been there     |
//! | none, the disk was replaced     | any                              | learner: its records were on the old disk    |
//! | corrupt                         | any                              | learner: what the log says is not trusted    |
//! | begins above the flushed LSN    | any                              | learner: newer tables are lost |
//! | the same, marked as a learner   | any                              | learner: a crash while its data were wiped   |
//! | holds the flushed LSN           | same chain hash there            | ready: the tables, and the log behind them   |
//! | does not, or with another hash  | flushed LSN is that of a snapshot | ready: the snapshot alone; the log is superseded |
//! | holds the flushed LSN           | another chain hash there         | learner: two different histories             |
//! | ends before the flushed LSN     | any                              | learner: the log has lost its tail           |
//!
//! A range whose manifest is damaged or missing, or whose tables cannot be used together, is a learner that starts over:
//! what is left of its files stays aside until a snapshot is in force. A learner keeps its tables, whose content is
//! committed, and its leader catches it up ([rejoin-as-learner]). "The snapshot alone" is a crash between the two steps of
//! installing one ([skip-needs-proof]): the tables have it, the log does not say so yet.

use std::collections::HashMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use futures::future::join_all;
use replication::protocol::Recovered;
use replication::runtime::Runtime;
use wal::disk::Disk;
use wal::identity::Identity;
use wal::sync::lock;
use wal::{
    Append, Checkpoint, CohortId, CohortRecovery, Corruption, Entry, History, Log, Lsn, Promise, ReplicaId,
};

use crate::cluster::dropping::Holder;
use crate::cluster::layout::{RangeDescriptor, TableDescriptor};
use crate::cluster::local::KeptRange;
use crate::cluster::map::ClusterMap;
use crate::cluster::route::RangeRoute;
use crate::cluster::view::TableView;
use crate::dedup::WindowLimits;
use crate::engine::{BlockCache, Engine, EngineOptions, FlushedState};
use crate::ranges::{LocalRange, Ranges};
use crate::replica::{RangeReplica, RangeStore};
use crate::table::TableError;

/// What opening needs.
pub(crate) struct Opener {
    pub(crate) me: ReplicaId,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) cache: Arc<BlockCache>,
    /// No write makes a row larger.
    pub(crate) row_bytes_max: usize,
    pub(crate) log: Log,
    pub(crate) runtime: Runtime,
    pub(crate) map: Arc<ClusterMap>,
    pub(crate) ranges: Arc<Ranges>,
    /// What the start's one scan of the log found, until its range is opened.
    pub(crate) recovered: Mutex<HashMap<CohortId, CohortRecovery>>,
    /// Damage that the scan found, wherever it may belong.
    pub(crate) damaged: Option<Corruption>,
    /// Ranges that could not be opened for a reason that may pass, and whether they are older than this process.
    pub(crate) failing: Mutex<HashMap<CohortId, bool>>,
    /// The ranges that the map named when this process started have been opened. Who comes later was made later.
    pub(crate) started: AtomicBool,
}

/// The directory of a range's tables.
pub(crate) fn directory(range: CohortId) -> String {
    format!("r-{range}")
}

/// The range whose tables a directory holds, if any.
pub(crate) fn range_of(directory: &str) -> Option<CohortId> {
    directory.strip_prefix("r-")?.parse().ok()
}

/// What the log of a data directory must hold, by what the rest of the directory says: its identity, and its directories.
pub(crate) fn history(identity: &Identity, dirs: &[String]) -> History {
    match (identity.log_noted, dirs.iter().any(|dir| range_of(dir).is_some())) {
        (true, _) => History::Noted,
        (false, true) => History::Begun,
        (false, false) => History::Unknown,
    }
}

impl Opener {
    /// Opens and drops until this node has what the map says. Called by one task at a time. `false`: something is left
    /// to do, though nothing may change at the coordinator.
    pub(crate) async fn sync(self: &Arc<Opener>) -> bool {
        // Before the view: then the view is the coordinator's, too.
        let confirmed = self.map.belonging.is_confirmed();
        let view = self.map.view();
        let (dropped, doubtful) = view.certainly_dropped();
        let mut done = !doubtful;
        for range in dropped {
            match self.map.give_back(range, self.me.node, &**self).await {
                Ok(true) => tracing::info!(%range, "dropped"),
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(%range, %error, "could not finish dropping a range; trying again");
                    done = false;
                }
            }
        }
        let (seen, later) = view.barriers();
        done &= !later;
        for mark in seen {
            if let Err(error) = self.map.forgot_range(mark, self.me.node).await {
                tracing::warn!(%error, "could not confirm a change of the catalog; trying again");
                done = false;
            }
        }
        let mut missing: Vec<(Arc<TableView>, Arc<RangeRoute>)> = Vec::new();
        for (table, range) in view.own(self.me.node) {
            let descriptor = &range.descriptor;
            match self.ranges.find(descriptor.id) {
                None => missing.push((table.clone(), range.clone())),
                Some(LocalRange { replica: Err(_), .. })
                    if lock(&self.failing).contains_key(&descriptor.id) =>
                {
                    missing.push((table.clone(), range.clone()));
                }
                Some(LocalRange { descriptor: known, .. })
                    if known != *descriptor && descriptor.names_another_disk(self.me) =>
                {
                    let node = self.me.node;
                    self.runtime.fail(format!("the number of {node} was given to another disk (--rebuild)"));
                }
                Some(LocalRange { descriptor: known, replica }) if known != *descriptor => {
                    if let Ok(replica) = &replica {
                        replica.cohort.replaced(descriptor.members.clone());
                    }
                    self.ranges.insert(LocalRange { descriptor: descriptor.clone(), replica });
                    let (opener, table, range) = (self.clone(), table.clone(), range.clone());
                    self.runtime.at_the_disk(move || opener.keep(&table, &range));
                }
                Some(_) => {}
            }
        }
        self.open_all(missing).await;
        // What only the coordinator lists may be as old as what the disk does.
        self.started.fetch_or(confirmed, Ordering::AcqRel);
        done && lock(&self.failing).is_empty()
    }

    /// Opens ranges all at once, on blocking threads: each one reads its tables and applies its log.
    async fn open_all(self: &Arc<Opener>, missing: Vec<(Arc<TableView>, Arc<RangeRoute>)>) {
        let opening = missing.into_iter().map(|(table, range)| {
            let descriptor = range.descriptor.clone();
            let (opener, runtime) = (self.clone(), tokio::runtime::Handle::current());
            self.runtime.at_the_disk(move || {
                let _within = runtime.enter();
                if opener.try_open(descriptor) {
                    opener.keep(&table, &range);
                }
            })
        });
        for opened in join_all(opening).await {
            if let Err(error) = opened {
                tracing::error!(%error, "opening a range panicked");
            }
        }
    }

    /// Keeps the range's description beside its data, from which a lost coordinator can be written anew.
    fn keep(&self, table: &TableView, range: &RangeRoute) {
        let Some(cluster) = self.map.belonging.cluster() else { return };
        let id = range.descriptor.id;
        let ranges = table.ranges.iter().map(|range| range.descriptor.id).collect();
        let kept = KeptRange {
            cluster,
            version: range.version,
            descriptor: (*range.descriptor).clone(),
            table: TableDescriptor { table: table.made.clone(), ranges },
        };
        let dir = directory(id);
        if matches!(KeptRange::read(&*self.disk, &dir, id), Ok(Some(known)) if known == kept) {
            return;
        }
        if let Err(error) = kept.write(&*self.disk, &dir) {
            // The range itself is well; the next start tries again.
            tracing::error!(range = %id, %error, "the range's description could not be kept on this disk");
        }
    }

    /// Directories of ranges that the coordinator does not know and that nobody has dropped, as far as this node sees: they
    /// are kept, and their part of the log with them.
    pub(crate) fn orphans(&self) -> io::Result<Vec<String>> {
        let dirs = self.disk.list_dirs()?;
        let view = self.map.view();
        let unknown = |dir: &String| {
            range_of(dir)
                .is_some_and(|range| self.ranges.find(range).is_none() && !view.dropped.contains(&range))
        };
        Ok(dirs.into_iter().filter(unknown).collect())
    }

    /// Tells the operator of the orphans.
    pub(crate) fn report_orphans(&self) {
        let orphans = self.orphans().unwrap_or_else(|error| {
            tracing::error!(%error, "nobody can say whether this node holds ranges that the coordinator does not know");
            Vec::new()
        });
        for dir in orphans {
            let kept = range_of(&dir).and_then(|id| KeptRange::read(&*self.disk, &dir, id).ok().flatten());
            let table = kept.map_or("a table that is not known".to_owned(), |kept| {
                let table = kept.table.table;
                format!("table \"{}\" (number {})", table.name, table.id.0)
            });
            tracing::error!(
                directory = dir,
                "this node holds a range of {table} that the coordinator does not know, and no record says that it was \
                 dropped: it is kept, with its part of the log; if the coordinator's data were lost or rolled back, see \
                 `spinnaker recover-metadata`, and if the table is known to have been dropped, stop the node and remove \
                 the directory"
            );
        }
    }

    /// Opens a range, or notes why it is not open: whatever happens, what the log holds of it is kept for the next try.
    /// Says whether it is open.
    fn try_open(&self, descriptor: Arc<RangeDescriptor>) -> bool {
        let range = descriptor.id;
        let again = lock(&self.failing).remove(&range);
        let listed_at_start = again.unwrap_or(!self.started.load(Ordering::Acquire));
        let opened = catch_unwind(AssertUnwindSafe(|| self.open(&descriptor, listed_at_start)));
        let opened = opened.unwrap_or_else(|_| {
            Err(Unopened::Final(
                "opening failed: it panicked, which is a bug; the log has the place".to_owned(),
            ))
        });
        let replica = match opened {
            Ok(replica) => {
                tracing::info!(%range, span = self.label(&descriptor), "opened");
                lock(&self.recovered).remove(&range);
                Ok(replica)
            }
            Err(Unopened::Final(why)) => {
                tracing::error!(%range, why, "range is out of service here");
                Err(why)
            }
            Err(Unopened::ForNow(why)) => {
                if again.is_none() {
                    tracing::error!(%range, why, "range is out of service here, and opening it is tried again");
                }
                lock(&self.failing).insert(range, listed_at_start);
                Err(format!("opening failed: {why}; it is tried again"))
            }
        };
        let open = replica.is_ok();
        self.ranges.insert(LocalRange { descriptor, replica });
        open
    }

    fn open(
        &self,
        descriptor: &RangeDescriptor,
        listed_at_start: bool,
    ) -> Result<Arc<RangeReplica>, Unopened> {
        let id = descriptor.id;
        let listed = descriptor.members.iter().find(|member| member.node == self.me.node);
        if listed != Some(&self.me) {
            return Err(Unopened::Final(format!(
                "the range was created with another disk of node {} (incarnation {}): start the node with that data \
                 directory",
                self.me.node.0,
                listed.map(|member| member.incarnation).unwrap_or_default()
            )));
        }
        let found = Found {
            log: lock(&self.recovered).get(&id).cloned(),
            damaged: self.damaged.as_ref(),
            rebuilt: descriptor.rebuilt.contains(&self.me.node),
            listed_at_start,
        };
        let (disk, cache) = (self.disk.clone(), self.cache.clone());
        let options = EngineOptions { row_bytes_max: self.row_bytes_max, ..EngineOptions::default() };
        let (store, recovered) = open_store(disk, id, options, cache, WindowLimits::default(), found)?;
        let store = Arc::new(store.called(self.label(descriptor)));
        let cohort = self.runtime.open(id, descriptor.members.clone(), recovered, store.clone());
        let cohort = cohort.map_err(|error| Unopened::Final(error.to_string()))?;
        Ok(Arc::new(RangeReplica { node: self.me.node, range: id, store, cohort }))
    }

    /// The range in words, for the log.
    fn label(&self, descriptor: &RangeDescriptor) -> String {
        let view = self.map.view();
        let table = view.by_id.get(&descriptor.table).map(|table| table.table.name.as_str());
        descriptor.label(table.unwrap_or("?"))
    }

    /// Waits until all that the log was asked for is on the disk.
    async fn log_forced(&self) -> Result<(), String> {
        let (done, forced) = tokio::sync::oneshot::channel();
        let nothing = Append { cohort: CohortId(0), records: Vec::new() };
        let answer = Box::new(move |result| {
            // Nobody listens any more: the node is ending.
            let _ = done.send(result);
        });
        self.log.append(nothing, true, Some(answer));
        match forced.await {
            Ok(result) => result.map_err(|error| error.to_string()),
            Err(_) => Err("the log is closed".to_owned()),
        }
    }
}

impl Holder for Opener {
    fn close(&self, range: CohortId) {
        if let Some(LocalRange { replica: Ok(replica), .. }) = self.ranges.remove(range) {
            replica.cohort.close();
        }
    }

    async fn forget(&self, range: CohortId) -> Result<(), String> {
        lock(&self.recovered).remove(&range);
        self.log.forget(range);
        self.log_forced().await
    }

    async fn remove(&self, range: CohortId) -> Result<(), String> {
        // Readers that still hold a table keep their open file; the names go now.
        let disk = self.disk.clone();
        let removed = self.runtime.at_the_disk(move || disk.remove_dir(&directory(range))).await;
        let removed = removed.map_err(|error| error.to_string())?;
        removed.ok_or("the node has ended")?.map_err(|error| error.to_string())
    }
}

/// Why a range could not be opened.
#[derive(Debug)]
#[cfg_attr(not(feature = "testing"), allow(unreachable_pub))]
pub enum Unopened {
    /// Trying again will not help.
    Final(String),
    /// No descriptor, no memory, an error of the disk: it may pass.
    ForNow(String),
}

impl std::fmt::Display for Unopened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Unopened::Final(why) | Unopened::ForNow(why) => f.write_str(why),
        }
    }
}

/// What a node knows of a range's part of the log when it opens the range.
#[cfg_attr(not(feature = "testing"), allow(unreachable_pub))]
pub struct Found<'a> {
    /// As the scan recovered it.
    pub log: Option<CohortRecovery>,
    /// Damage that the scan found, wherever it may belong.
    pub damaged: Option<&'a Corruption>,
    /// The range was not created with this disk.
    pub rebuilt: bool,
    /// The range is older than this process: what the disk does not hold of it may have been lost.
    pub listed_at_start: bool,
}

impl Found<'_> {
    /// Whether a range of which the disk holds nothing was just made.
    fn is_fresh(&self, nothing: bool) -> bool {
        let may_be_lost = self.damaged.is_some() && self.listed_at_start;
        nothing && !self.rebuilt && !may_be_lost
    }

    /// Why the range's part of the log may be missing, if there is a reason.
    fn loss(&self) -> Option<String> {
        match self.damaged {
            Some(corruption) => Some(corruption.to_string()),
            None => {
                self.rebuilt.then(|| "the disk is not the one that the range was created with".to_owned())
            }
        }
    }
}

/// Opens a range's tables, and makes them fit its part of the log.
pub fn open_store(
    disk: Arc<dyn Disk>,
    range: CohortId,
    options: EngineOptions,
    cache: Arc<BlockCache>,
    window: WindowLimits,
    found: Found<'_>,
) -> Result<(RangeStore, Recovered), Unopened> {
    let dirs = disk.list_dirs().map_err(|error| Unopened::ForNow(format!("data directory: {error}")))?;
    let dir = directory(range);
    let fresh = found.is_fresh(found.log.is_none() && !dirs.contains(&dir));
    let unopened = |error: TableError| match error {
        TableError::Io { .. } => Unopened::ForNow(format!("tables: {error}")),
        TableError::Corrupt { .. } | TableError::Version { .. } => {
            Unopened::Final(format!("tables: {error}"))
        }
    };
    let (engine, flushed, damage) = match Engine::open(disk.clone(), &dir, options, cache.clone()) {
        Ok((engine, flushed)) => {
            let aside = flushed.lsn == Lsn::ZERO && Engine::has_set_aside(&*disk, &dir).map_err(unopened)?;
            let why = aside.then(|| "its tables could not be used at an earlier start".to_owned());
            (engine, flushed, why)
        }
        Err(error) if error.is_damage() => {
            // One range starts over; what is left of it is kept until it has a snapshot [rejoin-as-learner].
            Engine::set_aside(&*disk, &dir).map_err(unopened)?;
            let (engine, flushed) = Engine::open(disk, &dir, options, cache).map_err(unopened)?;
            (engine, flushed, Some(format!("its tables cannot be used: {error}")))
        }
        Err(error) => return Err(unopened(error)),
    };
    let loss = found.loss();
    let recovered = match damage {
        Some(why) => {
            let log = found.log.unwrap_or_default();
            learner(&why, &flushed, log.checkpoint, log.promise)
        }
        None => reconcile(found.log, &flushed, fresh, loss),
    };
    let store = RangeStore::new(range, engine, flushed.attachment, window).map_err(Unopened::Final)?;
    Ok((store, recovered))
}

/// A replica that has lost its log: its tables stay, what the log says of promises still binds, all else is superseded.
fn learner(why: &str, flushed: &FlushedState, known: Checkpoint, promise: Promise) -> Recovered {
    tracing::warn!(why, flushed = %flushed.lsn, "something is lost: this replica rejoins as a learner");
    let checkpoint = Checkpoint {
        promise,
        flushed: flushed.lsn,
        flushed_chain: flushed.chain,
        committed: flushed.lsn,
        must_rejoin: true,
        ..known
    };
    let epoch_ends = vec![flushed.lsn];
    let log = CohortRecovery {
        checkpoint,
        promise,
        committed: flushed.lsn,
        epoch_ends,
        ..CohortRecovery::default()
    };
    Recovered { log, fresh: false, log_superseded: true, must_rejoin: true }
}

/// Decides what the replica opens as, by the table at the top of this file.
pub(crate) fn reconcile(
    log: Option<CohortRecovery>,
    flushed: &FlushedState,
    fresh: bool,
    loss: Option<String>,
) -> Recovered {
    match log {
        None => without_log(flushed, fresh, loss),
        Some(log) => with_log(log, flushed),
    }
}

/// The first rows of the table.
fn without_log(flushed: &FlushedState, fresh: bool, loss: Option<String>) -> Recovered {
    let loss = loss.filter(|_| !fresh);
    let loss = loss.or_else(|| (flushed.lsn > Lsn::ZERO).then(|| "the log has nothing of it".to_owned()));
    if let Some(why) = loss {
        return learner(&why, flushed, Checkpoint::default(), Promise::default());
    }
    let log = CohortRecovery { epoch_ends: vec![Lsn::ZERO], ..CohortRecovery::default() };
    Recovered { log, fresh, log_superseded: false, must_rejoin: false }
}

/// The other rows of the table.
fn with_log(mut log: CohortRecovery, flushed: &FlushedState) -> Recovered {
    if let Some(corruption) = &log.corrupt {
        return learner(&corruption.to_string(), flushed, log.checkpoint, log.promise);
    }
    let known = log.checkpoint.clone();
    if flushed.lsn < known.flushed {
        // With the mark: between the two steps of wiping data that differed from the others' ([minority-history-is-wiped]).
        let why = match known.must_rejoin {
            true => "its data were being wiped".to_owned(),
            false => format!("tables are gone: the log begins above {}", known.flushed),
        };
        return learner(&why, flushed, known, log.promise);
    }
    let entries: Vec<Entry> =
        std::mem::take(&mut log.entries).into_iter().filter(|entry| entry.lsn >= flushed.lsn).collect();
    let (chain, entries) = match entries.first() {
        Some(first) if first.lsn == flushed.lsn => (Some(first.chain), entries[1..].to_vec()),
        _ if flushed.lsn == known.flushed => (Some(known.flushed_chain), entries),
        _ => (None, entries),
    };
    log.entries = entries;
    log.committed = log.committed.max(flushed.lsn);
    let mut log_superseded = false;
    match chain {
        Some(chain) if chain == flushed.chain => {}
        Some(_) | None if flushed.snapshot == flushed.lsn && flushed.lsn > Lsn::ZERO => {
            log.entries.clear();
            log.epoch_ends = vec![flushed.lsn];
            (log.committed, log_superseded) = (flushed.lsn, true);
        }
        Some(_) => {
            let why = format!("tables and log hold different histories at {}", flushed.lsn);
            return learner(&why, flushed, known, log.promise);
        }
        None => {
            let why = format!("the log ends before {}, up to where the tables reach", flushed.lsn);
            return learner(&why, flushed, known, log.promise);
        }
    }
    log.checkpoint = Checkpoint {
        flushed: flushed.lsn,
        flushed_chain: flushed.chain,
        committed: known.committed.max(log.committed),
        ..known
    };
    Recovered { log, fresh: false, log_superseded, must_rejoin: false }
}

#[cfg(test)]
mod tests;
