//! Opening, and closing for good, the ranges that this node is a member of.
//!
//! [`Opener::sync`] makes what is open match the cluster map: a range that names this node *and this disk* is opened
//! from its tables and its part of the log; a range marked as dropped is closed and its data destroyed. Nothing is
//! ever destroyed for lack of a word about it.
//!
//! A range starts from two sources that must fit: the tables up to a base LSN with its chain hash, and the log behind.
//! [`join`] decides, by this table (base = what the tables hold):
//!
//! | log of the range     | tables                  | verdict                                         |
//! |----------------------|-------------------------|-------------------------------------------------|
//! | none                 | none                    | fresh: the range was just made                  |
//! | none                 | empty                   | a crash right after that: empty, not fresh      |
//! | none                 | base > 0                | refused: promises and tail are lost             |
//! | none, log damaged    | any                     | learner: all its records may have been there   |
//! | none, disk replaced  | any                     | learner: its records were on the old disk      |
//! | corrupt              | any                     | learner: what it says is not to be trusted     |
//! | checkpoint > base    | any                     | refused: tables are older than the log believes |
//! | same, learner        | any                     | learner: it had thrown its tables away         |
//! | holds base           | same chain hash         | log behind base                                 |
//! | no base, or other hash | base of a snapshot      | the snapshot, nothing behind it: the log is superseded   |
//! | holds base           | another chain hash      | refused: one of them is another history         |
//! | ends before base     | any                     | refused: the log has lost its tail              |
//!
//! A learner keeps its tables, whose content is committed, and is brought level by its leader (rule 5). The last
//! but two is a crash between the two steps of taking a snapshot (rule 4): the tables have it, the log does not
//! say so yet.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use futures::future::join_all;
use replication::protocol::Recovered;
use replication::runtime::Runtime;
use wal::disk::Disk;
use wal::sync::lock;
use wal::{Checkpoint, CohortId, CohortRecovery, Corruption, Entry, Log, Lsn, Promise, ReplicaId};

use crate::cluster::layout::{self, RangeDescriptor};
use crate::cluster::map::ClusterMap;
use crate::dedup::WINDOW_LEN;
use crate::engine::{BlockCache, Engine, EngineOptions, FlushedState};
use crate::ranges::{LocalRange, Ranges};
use crate::replica::{RangeReplica, RangeStore};

/// What opening needs.
pub(crate) struct Opener {
    pub(crate) me: ReplicaId,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) cache: Arc<BlockCache>,
    pub(crate) log: Log,
    pub(crate) runtime: Runtime,
    pub(crate) map: Arc<ClusterMap>,
    pub(crate) ranges: Arc<Ranges>,
    /// What the start's one scan of the log found, until its range is opened.
    pub(crate) recovered: Mutex<HashMap<CohortId, CohortRecovery>>,
    /// Damage that the scan found, wherever it may belong.
    pub(crate) damaged: Option<Corruption>,
}

/// The directory of a range's tables.
pub(crate) fn directory(range: CohortId) -> String {
    format!("r-{range}")
}

/// The range whose tables a directory holds, if any.
pub(crate) fn range_of(directory: &str) -> Option<CohortId> {
    directory.strip_prefix("r-")?.parse().ok()
}

impl Opener {
    /// Opens and drops until this node has what the map says. Called by one task at a time.
    pub(crate) async fn sync(self: &Arc<Opener>) {
        let view = self.map.view();
        for range in &view.dropped {
            if let Err(error) = self.drop_range(*range).await {
                tracing::warn!(%range, %error, "could not finish dropping a range; trying again at the next change");
            }
        }
        let mut missing: Vec<Arc<RangeDescriptor>> = Vec::new();
        for range in view.by_id.values().flat_map(|table| &table.ranges) {
            let descriptor = &range.descriptor;
            if !descriptor.nodes().any(|node| node == self.me.node) {
                continue;
            }
            match self.ranges.find(descriptor.id) {
                None => missing.push(descriptor.clone()),
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
                }
                Some(_) => {}
            }
        }
        // All at once, on blocking threads: each one reads its tables and applies its log.
        let opening = missing.into_iter().map(|descriptor| {
            let (opener, runtime) = (self.clone(), tokio::runtime::Handle::current());
            tokio::task::spawn_blocking(move || {
                let _within = runtime.enter();
                let replica = opener.open(&descriptor);
                match &replica {
                    Ok(_) => tracing::info!(range = %descriptor.id, "opened"),
                    Err(why) => tracing::error!(range = %descriptor.id, why, "range is out of service here"),
                }
                opener.ranges.insert(LocalRange { descriptor, replica });
            })
        });
        for opened in join_all(opening).await {
            if let Err(error) = opened {
                tracing::error!(%error, "opening a range panicked");
            }
        }
    }

    fn open(&self, descriptor: &RangeDescriptor) -> Result<Arc<RangeReplica>, String> {
        let id = descriptor.id;
        let listed = descriptor.members.iter().find(|member| member.node == self.me.node);
        if listed != Some(&self.me) {
            return Err(format!(
                "the range was made with another disk of node {} (incarnation {}): start the node with that data \
                 directory",
                self.me.node.0,
                listed.map(|member| member.incarnation).unwrap_or_default()
            ));
        }
        let log = lock(&self.recovered).remove(&id);
        let dirs = self.disk.list_dirs().map_err(|error| format!("data directory: {error}"))?;
        let rebuilt = descriptor.rebuilt.contains(&self.me.node);
        let fresh = is_fresh(log.is_none() && !dirs.contains(&directory(id)), rebuilt);
        let opened =
            Engine::open(self.disk.clone(), &directory(id), EngineOptions::default(), self.cache.clone());
        let (engine, flushed_state) = opened.map_err(|error| match error.is_damage() {
            true => format!(
                "tables: {error}; the other replicas go on; to mend this one, start the node once with an empty data \
                 directory and --rebuild"
            ),
            false => format!("tables: {error}"),
        })?;
        let recovered = join(log, &flushed_state, fresh, loss(self.damaged.as_ref(), rebuilt))?;
        let store = Arc::new(RangeStore::new(id, engine, flushed_state.attachment, WINDOW_LEN)?);
        let cohort = self.runtime.open(id, descriptor.members.clone(), recovered, store.clone());
        let cohort = cohort.map_err(|error| error.to_string())?;
        Ok(Arc::new(RangeReplica { node: self.me.node, range: id, store, cohort }))
    }

    /// Destroys what this node holds of a dropped range, and says so.
    async fn drop_range(&self, range: CohortId) -> Result<(), String> {
        let path = self.map.paths.dropped(range);
        let mark = self.map.coordinator.get(&path).await.map_err(|error| error.to_string())?;
        let nodes = mark.and_then(|mark| layout::decode_nodes(&mark.data)).unwrap_or_default();
        if !nodes.contains(&self.me.node) && !nodes.is_empty() {
            return Ok(());
        }
        if let Some(LocalRange { replica: Ok(replica), .. }) = self.ranges.remove(range) {
            replica.cohort.clone().close();
        }
        lock(&self.recovered).remove(&range);
        self.log.forget(range);
        // Readers that still hold a table keep their open file; the names go now.
        self.disk.remove_dir(&directory(range)).map_err(|error| error.to_string())?;
        self.map.forgot_range(range, self.me.node).await.map_err(|error| error.to_string())?;
        tracing::info!(%range, "dropped");
        Ok(())
    }
}

/// Whether a replica of which the disk holds nothing was just made: a rebuilt one was not.
pub(crate) fn is_fresh(nothing: bool, rebuilt: bool) -> bool {
    nothing && !rebuilt
}

/// Why a range's part of the log may be missing, if there is a reason.
pub(crate) fn loss(damaged: Option<&Corruption>, rebuilt: bool) -> Option<String> {
    match damaged {
        Some(corruption) => Some(corruption.to_string()),
        None => rebuilt.then(|| "the disk is not the one that the range was made with".to_owned()),
    }
}

/// A replica that has lost its log: its tables stay, what the log says of promises counts at least, all else is superseded.
fn learner(why: &str, flushed_state: &FlushedState, known: Checkpoint, promise: Promise) -> Recovered {
    tracing::warn!(why, flushed = %flushed_state.flushed, "the log is lost: this replica must be brought level");
    Recovered {
        checkpoint: Checkpoint {
            promise,
            flushed: flushed_state.flushed,
            flushed_chain: flushed_state.flushed_chain,
            committed: flushed_state.flushed,
            lease_ms_max: known.lease_ms_max,
            gc_lsn: known.gc_lsn,
            must_rejoin: true,
        },
        promise,
        committed: flushed_state.flushed,
        entries: Vec::new(),
        oldest: flushed_state.flushed,
        epoch_ends: vec![flushed_state.flushed],
        fresh: false,
        log_superseded: true,
        must_rejoin: true,
    }
}

/// See the table at the top.
pub(crate) fn join(
    log: Option<CohortRecovery>,
    flushed_state: &FlushedState,
    fresh: bool,
    loss: Option<String>,
) -> Result<Recovered, String> {
    let Some(log) = log else {
        if let Some(why) = loss.filter(|_| !fresh) {
            return Ok(learner(&why, flushed_state, Checkpoint::default(), Promise::default()));
        }
        if flushed_state.flushed > Lsn::ZERO {
            return Err("the log has lost this range (its tables are there): restore the log, or start the node once with \
                        an empty data directory and --rebuild"
                .into());
        }
        return Ok(Recovered {
            checkpoint: Checkpoint::default(),
            promise: Promise::default(),
            committed: Lsn::ZERO,
            entries: Vec::new(),
            oldest: Lsn::ZERO,
            epoch_ends: vec![Lsn::ZERO],
            fresh,
            log_superseded: false,
            must_rejoin: false,
        });
    };
    if let Some(corruption) = &log.corrupt {
        return Ok(learner(&corruption.to_string(), flushed_state, log.checkpoint, log.promise));
    }
    let mut checkpoint = log.checkpoint;
    if flushed_state.flushed < checkpoint.flushed {
        if checkpoint.must_rejoin {
            // Between the two steps of throwing all away that differed from the others' (rule 19).
            return Ok(learner("it was being thrown away", flushed_state, checkpoint, log.promise));
        }
        return Err(format!(
            "tables end at {}, but the log begins behind {}",
            flushed_state.flushed, checkpoint.flushed
        ));
    }
    let entries: Vec<Entry> =
        log.entries.into_iter().filter(|entry| entry.lsn >= flushed_state.flushed).collect();
    let (chain, entries) = match entries.first() {
        Some(first) if first.lsn == flushed_state.flushed => (Some(first.chain), entries[1..].to_vec()),
        _ if flushed_state.flushed == checkpoint.flushed => (Some(checkpoint.flushed_chain), entries),
        _ => (None, entries),
    };
    let mut recovered = Recovered {
        promise: log.promise,
        committed: log.committed.max(flushed_state.flushed),
        entries,
        oldest: log.oldest,
        epoch_ends: log.epoch_ends,
        fresh: false,
        log_superseded: false,
        must_rejoin: false,
        checkpoint: Checkpoint::default(),
    };
    match chain {
        Some(chain) if chain == flushed_state.flushed_chain => {}
        Some(_) | None
            if flushed_state.snapshot == flushed_state.flushed && flushed_state.flushed > Lsn::ZERO =>
        {
            recovered.entries.clear();
            (recovered.oldest, recovered.epoch_ends) = (flushed_state.flushed, vec![flushed_state.flushed]);
            (recovered.committed, recovered.log_superseded) = (flushed_state.flushed, true);
        }
        Some(_) => {
            return Err(format!("tables and log hold different histories at {}", flushed_state.flushed));
        }
        None => return Err(format!("the log ends before {}, where the tables do", flushed_state.flushed)),
    }
    checkpoint.flushed = flushed_state.flushed;
    checkpoint.flushed_chain = flushed_state.flushed_chain;
    checkpoint.committed = checkpoint.committed.max(recovered.committed);
    recovered.checkpoint = checkpoint;
    Ok(recovered)
}
