//! Ranges that have lost a majority of their replicas for good, made to serve again from what is left: `recover --unsafe`.
//!
//! It works on the data directories of stopped nodes and on the coordinator, and does three things for each such range:
//!
//! 1. The members whose directories were not given are taken for lost: the range's descriptor names a disk for them that
//!    nobody has, and so does the registry. If such a disk comes back it is refused; its node starts with an empty directory
//!    and `--rebuild`, as a learner [rejoin-as-learner].
//! 2. The whole replica with the newest last LSN is copied, tables and log, to the other given members. While it is, they
//!    are learners by a durable mark.
//! 3. With that a majority of the members holds the same log, and elects a leader by the usual rules.
//!
//! What it cannot know is what the lost members had committed without the one that is left: that is what may be lost, and
//! why it is unsafe [lost-majority-is-given-up]. A range with a majority of whole replicas is not touched.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use replication::coordination::Coordinator;
use wal::disk::Disk;
use wal::{
    Append, Checkpoint, CohortId, CohortRecovery, Incarnation, LogWriter, Lsn, NodeId, Promise, Record,
    ReplicaId,
};

use crate::cluster::layout::{self, Paths, RangeDescriptor};
use crate::cluster::local::{self, KeptRange};
use crate::engine::FlushedState;
use crate::opening;
use crate::stopped::Stopped;

/// The disk that a lost member has in the descriptor until it is replaced with `--rebuild`: no disk has this number.
const LOST: Incarnation = Incarnation(0);
/// How much of a file is copied at a time.
const COPY_BYTES: usize = 1 << 20;

/// The data directory of a stopped node, locked.
struct Directory {
    path: PathBuf,
    disk: Arc<dyn Disk>,
    me: ReplicaId,
    name: String,
    writer: LogWriter,
    cohorts: BTreeMap<CohortId, CohortRecovery>,
    damaged: bool,
}

/// A replica in one of the directories.
struct Replica {
    /// Place of its directory.
    at: usize,
    last: Lsn,
    committed: Lsn,
    promise: Promise,
    /// Longest lease, in milliseconds, that it ever granted.
    lease_ms_max: u32,
    /// Why it does not count; `None`: it is whole.
    learner: Option<String>,
}

/// What is to be done for one range.
struct Rescue {
    descriptor: RangeDescriptor,
    version: i32,
    label: String,
    /// The replica that is copied.
    source: Replica,
    /// Where it is copied to.
    targets: Vec<Replica>,
    /// Whose directories were not given.
    lost: Vec<ReplicaId>,
}

/// What is to be done.
pub struct Plan {
    name: String,
    directories: Vec<Directory>,
    rescues: Vec<Rescue>,
    /// Ranges for which nothing can be done, and why.
    hopeless: Vec<String>,
    /// Ranges with a majority of whole replicas.
    whole: usize,
}

/// Reads the directories and the coordinator, and finds out what is to be done. Changes nothing. The error is one line for
/// the operator.
pub async fn plan(paths: &[PathBuf], coordinator: &dyn Coordinator) -> Result<Plan, String> {
    let directories: Vec<Directory> =
        paths.iter().map(|path| Directory::open(path)).collect::<Result<_, _>>()?;
    let first = directories.first().ok_or("no data directory was given")?;
    let names = Paths::new(&first.name);
    let failed = |error: replication::coordination::CoordinationError| error.to_string();
    coordinator.sync().await.map_err(failed)?;
    let id = coordinator.get(&names.id()).await.map_err(failed)?;
    let id = id.and_then(|found| layout::decode_cluster(&found.data));
    let id = id.ok_or("the coordinator does not hold this cluster: see recover-metadata for that, first")?;
    for directory in &directories {
        directory.check(&first.name, id, coordinator, &names).await?;
    }
    let mut plan =
        Plan { name: first.name.clone(), directories, rescues: Vec::new(), hopeless: Vec::new(), whole: 0 };
    for range in coordinator.list(&names.dir("ranges")).await.map_err(failed)? {
        let Ok(range) = range.parse::<CohortId>() else { continue };
        let path = names.range(range);
        let Some(found) = coordinator.get(&path).await.map_err(failed)? else { continue };
        if coordinator.get(&names.dropped(range)).await.map_err(failed)?.is_some() {
            continue;
        }
        let descriptor = RangeDescriptor::decode(range, &found.data)
            .ok_or_else(|| format!("{path} cannot be understood: restore its text first"))?;
        plan.look_at(descriptor, found.version)?;
    }
    for rescue in &plan.rescues {
        for node in rescue.descriptor.nodes() {
            if coordinator.get(&names.node(node)).await.map_err(failed)?.is_some() {
                return Err(format!(
                    "{node} runs, or has been killed some seconds ago: stop all nodes and wait for the end of their \
                     sessions; nothing was done"
                ));
            }
        }
    }
    if plan.rescues.is_empty() && plan.hopeless.is_empty() {
        return Err(format!(
            "each of the {} ranges has a majority of whole replicas: there is nothing to recover; start the nodes",
            plan.whole
        ));
    }
    Ok(plan)
}

impl Directory {
    fn open(path: &Path) -> Result<Directory, String> {
        let stopped = Stopped::open(path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Directory::of(path, stopped))
    }

    fn of(path: &Path, stopped: Stopped) -> Directory {
        let Stopped { disk, me, cluster: name, writer, cohorts, damaged } = stopped;
        Directory { path: path.to_owned(), disk, me, name, writer, cohorts, damaged }
    }

    /// Whether it belongs to the cluster, and has its node's number there.
    async fn check(
        &self,
        name: &str,
        id: layout::ClusterId,
        coordinator: &dyn Coordinator,
        names: &Paths,
    ) -> Result<(), String> {
        let named = |error: String| format!("{}: {error}", self.path.display());
        let kept = local::read_cluster(&*self.disk).map_err(|error| named(error.to_string()))?;
        if self.name != name || kept != Some(id) {
            return Err(named("it belongs to another cluster; nothing was done".into()));
        }
        let found =
            coordinator.get(&names.registry(self.me.node)).await.map_err(|error| error.to_string())?;
        match found.and_then(|found| layout::decode_registration(&found.data)) {
            Some(registered) if registered == self.me.incarnation => Ok(()),
            _ => Err(named(format!(
                "another disk has the number of {} now: this one must not come back; nothing was done",
                self.me.node
            ))),
        }
    }

    fn replica(&self, at: usize, descriptor: &RangeDescriptor) -> Result<Replica, String> {
        let named = |error: &dyn Display| format!("{}: {error}", self.path.display());
        let log = self.cohorts.get(&descriptor.id).cloned();
        let known = log.clone().unwrap_or_default();
        let dir = opening::directory(descriptor.id);
        let there = self.disk.list_dirs().map_err(|error| named(&error))?.contains(&dir);
        let flushed = match there {
            true => FlushedState::read(&*self.disk, &dir).map_err(|error| error.to_string()),
            false if log.is_none() => Err("it holds nothing of the range".to_owned()),
            false => Err("its tables are gone".to_owned()),
        };
        let (last, learner) = match flushed {
            Err(why) => (known.committed, Some(why)),
            Ok(flushed) => {
                let rebuilt =
                    descriptor.rebuilt.contains(&self.me.node).then(|| "its disk is a new one".to_owned());
                let loss = rebuilt.or_else(|| self.damaged.then(|| "its log is damaged".to_owned()));
                let recovered = opening::reconcile(log, &flushed, false, loss);
                let last = recovered.log.entries.last().map_or(flushed.lsn, |entry| entry.lsn);
                let learns = recovered.must_rejoin || recovered.log.checkpoint.must_rejoin;
                (last, learns.then(|| "it has lost something, and is a learner".to_owned()))
            }
        };
        let (committed, promise) = (known.committed, known.promise);
        Ok(Replica { at, last, committed, promise, lease_ms_max: known.checkpoint.lease_ms_max, learner })
    }
}

impl Plan {
    /// Finds out what is left of a range.
    fn look_at(&mut self, descriptor: RangeDescriptor, version: i32) -> Result<(), String> {
        let (mut whole, mut others, mut lost) = (Vec::new(), Vec::new(), Vec::new());
        for member in &descriptor.members {
            match self.directories.iter().position(|directory| directory.me == *member) {
                None => lost.push(*member),
                Some(at) => match self.directories[at].replica(at, &descriptor)? {
                    replica if replica.learner.is_none() => whole.push(replica),
                    replica => others.push(replica),
                },
            }
        }
        let majority = descriptor.members.len() / 2 + 1;
        let label = self.label(&descriptor);
        if whole.len() >= majority {
            self.whole += 1;
            return Ok(());
        }
        whole.sort_by_key(|replica| replica.last);
        let Some(source) = whole.pop() else {
            self.hopeless.push(format!("{label}: none of its replicas is whole in the given directories"));
            return Ok(());
        };
        others.extend(whole);
        if let Some(damaged) = others.iter().find(|other| self.directories[other.at].damaged) {
            let directory = &self.directories[damaged.at];
            self.hopeless.push(format!(
                "{label}: the log in {} is damaged: start {} once with an empty directory and --rebuild, and give that",
                directory.path.display(),
                directory.me.node
            ));
        } else if 1 + others.len() < majority {
            self.hopeless.push(format!(
                "{label}: {} of {majority} directories are there that a majority needs: start another of its nodes once \
                 with an empty directory and --rebuild, and give that, too",
                1 + others.len()
            ));
        } else {
            self.rescues.push(Rescue { descriptor, version, label, source, targets: others, lost });
        }
        Ok(())
    }

    /// The range in words.
    fn label(&self, descriptor: &RangeDescriptor) -> String {
        let dir = opening::directory(descriptor.id);
        let kept = self.directories.iter().find_map(|directory| {
            KeptRange::read(&*directory.disk, &dir, descriptor.id)
                .ok()
                .flatten()
                .map(|kept| kept.table.table.name)
        });
        let table = kept.unwrap_or_else(|| format!("table {}", descriptor.table.0));
        format!("{} (range {})", descriptor.label(&table), descriptor.id)
    }

    /// What would be done, and what may be lost by it, in lines for the operator.
    pub fn describe(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for Rescue { label, source, targets, lost, .. } in &self.rescues {
            let node = |replica: &Replica| self.directories[replica.at].me.node;
            let from = node(source);
            lines.push(format!(
                "{label}: {from} is left, last LSN {}, committed LSN {}",
                source.last, source.committed
            ));
            for target in targets {
                let why = target.learner.as_deref().unwrap_or("it has less");
                lines.push(format!("  {} gets a copy of {from}'s replica ({why})", node(target)));
            }
            for lost in lost {
                lines.push(format!(
                    "  {} (disk {}) is taken for lost, for its directory was not given: it may come back with --rebuild \
                     only",
                    lost.node, lost.incarnation
                ));
            }
            let known = targets.iter().map(|target| target.committed).max().unwrap_or_default();
            lines.push(match known > source.last {
                true => format!(
                    "  LOST: what was committed behind {} up to {known}, and perhaps more",
                    source.last
                ),
                false => format!(
                    "  may be lost: what the others had committed behind {} without {from}",
                    source.last
                ),
            });
        }
        lines.extend(self.hopeless.iter().map(|why| format!("cannot be recovered: {why}")));
        lines.push(format!("not touched: {} ranges that have a majority of whole replicas", self.whole));
        lines
    }

    /// How many ranges would be made to serve again.
    pub fn len(&self) -> usize {
        self.rescues.len()
    }

    /// Whether there is no range that could be made to serve again.
    pub fn is_empty(&self) -> bool {
        self.rescues.is_empty()
    }

    /// Does it. Can be repeated after it was cut off. The error is one line for the operator.
    pub async fn apply(mut self, coordinator: &dyn Coordinator) -> Result<(), String> {
        let names = Paths::new(&self.name);
        // The lost ones first: from then on they cannot come back as voters. The registry before the descriptors, for what
        // is to be written there is known by what still stands here.
        let lost: BTreeMap<NodeId, ReplicaId> = self
            .rescues
            .iter()
            .flat_map(|rescue| &rescue.lost)
            .map(|member| (member.node, *member))
            .collect();
        for member in lost.into_values() {
            let path = names.registry(member.node);
            let found = coordinator.get(&path).await.map_err(|error| error.to_string())?;
            let Some(found) = found else { continue };
            if layout::decode_registration(&found.data) == Some(member.incarnation) {
                let set =
                    coordinator.set(&path, layout::encode_registration(LOST), Some(found.version)).await;
                set.map_err(|error| format!("{error}; run it again"))?;
            }
        }
        for rescue in &mut self.rescues {
            if rescue.lost.iter().any(|member| member.incarnation != LOST) {
                rescue.give_up();
                let path = names.range(rescue.descriptor.id);
                let text = rescue.descriptor.encode();
                let set = coordinator.set(&path, text, Some(rescue.version)).await;
                set.map_err(|error| format!("{error}; run it again"))?;
            }
        }
        for rescue in std::mem::take(&mut self.rescues) {
            for target in &rescue.targets {
                self.copy(&rescue, target)
                    .map_err(|error| format!("{}: {error}; run it again", rescue.label))?;
            }
        }
        Ok(())
    }

    /// Copies the range from its source to a target.
    fn copy(&mut self, rescue: &Rescue, target: &Replica) -> Result<(), String> {
        let (id, dir) = (rescue.descriptor.id, opening::directory(rescue.descriptor.id));
        let text = |error: std::io::Error| error.to_string();
        let source = &self.directories[rescue.source.at];
        let known = source.cohorts.get(&id).cloned().unwrap_or_default();
        let flushed = FlushedState::read(&*source.disk, &dir).map_err(|error| error.to_string())?;
        let recovered = opening::reconcile(Some(known.clone()), &flushed, false, None);
        let checkpoint = Checkpoint {
            promise: known.promise.max(target.promise),
            flushed: flushed.lsn,
            flushed_chain: flushed.chain,
            committed: recovered.log.committed.max(flushed.lsn),
            lease_ms_max: known.checkpoint.lease_ms_max.max(target.lease_ms_max),
            must_rejoin: false,
        };
        let learner =
            Checkpoint { flushed: Lsn::ZERO, committed: Lsn::ZERO, must_rejoin: true, ..checkpoint.clone() };
        // What its log knows of the range counts no more, but for its promise.
        self.directories[target.at].writer.forget(id);
        self.log(target, id, vec![Record::Snapshot(learner)])?;
        let (from, to) = (self.directories[rescue.source.at].disk.clone(), &self.directories[target.at].disk);
        to.remove_dir(&dir).map_err(text)?;
        to.create_dir(&dir).map_err(text)?;
        let mut files: Vec<String> = from.list(&dir).map_err(text)?;
        files.retain(|file| file.ends_with(".sst") || file == "range" || file == "manifest");
        // The manifest comes last: it says that the tables are there.
        files.sort_by_key(|file| (file == "manifest", file.clone()));
        for file in files {
            copy_file(&*from, &**to, &format!("{dir}/{file}")).map_err(text)?;
        }
        to.sync_dir(&dir).map_err(text)?;
        let entries = recovered.log.entries.into_iter().map(Record::Entry);
        self.log(target, id, [Record::Snapshot(checkpoint)].into_iter().chain(entries).collect())
    }

    /// Appends to a target's log, and forces it.
    fn log(&mut self, target: &Replica, cohort: CohortId, records: Vec<Record>) -> Result<(), String> {
        let writer = &mut self.directories[target.at].writer;
        let logged = writer.append(Append { cohort, records }).and_then(|()| writer.force());
        logged.map_err(|error| error.to_string())
    }
}

impl Rescue {
    /// The lost members' disks are nobody's from now on.
    fn give_up(&mut self) {
        for member in &mut self.descriptor.members {
            if self.lost.contains(member) {
                member.incarnation = LOST;
                if !self.descriptor.rebuilt.contains(&member.node) {
                    self.descriptor.rebuilt.push(member.node);
                }
            }
        }
    }
}

fn copy_file(from: &dyn Disk, to: &dyn Disk, path: &str) -> std::io::Result<()> {
    let (source, copy) = (from.open(path)?, to.create(path)?);
    let (len, mut at) = (source.len()?, 0);
    let mut bytes = vec![0; COPY_BYTES];
    while at < len {
        let part = usize::try_from(len - at).unwrap_or(usize::MAX).min(COPY_BYTES);
        source.read_exact_at(&mut bytes[..part], at)?;
        copy.write_all_at(&bytes[..part], at)?;
        at += part as u64;
    }
    copy.sync()
}

#[cfg(test)]
mod tests;
