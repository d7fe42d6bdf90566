//! Processes of nodes: their start on what the disk holds, their end, and the background work in between.

use std::collections::BTreeMap;
use std::sync::Arc;

use kvstore::testing::{self, BlockCache, CallError, Found, OpenScans, Pinned};
use replication::drive::Drive;
use replication::protocol::Config;
use replication::protocol::event::Event as CohortEvent;
use wal::disk::{Disk, MemoryDisk};
use wal::{Budget, CohortId, History, LogError, LogOptions, LogWriter, NodeId, Recovery};

use super::history::{Event, Node, Range};
use super::machine::{Process, Replica};
use super::world::{Action, World};

impl World {
    pub(super) fn ranges_of(&self, node: Node) -> Vec<Range> {
        (0..self.options.ranges).filter(|&range| self.options.members(range).contains(&node)).collect()
    }

    /// Starts a node's process on what its disk holds.
    pub(super) fn start(&mut self, node: Node) {
        if self.runs(node) {
            return;
        }
        let Some(machine) = self.machines.get_mut(&node) else { return };
        let disk: Arc<dyn Disk> = Arc::new(machine.disk.clone());
        let history = if machine.log_noted { History::Noted } else { History::Unknown };
        let opened = LogWriter::open(Arc::clone(&disk), LogOptions { history, ..self.options.log });
        if machine.disk.stopped() {
            self.lose_power(node, 0);
            return;
        }
        let (writer, mut recovery) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                // The disk is full, or fails: a supervisor tries again.
                self.note(|| format!("n{node} cannot open its log: {error}"));
                return self.plan(100_000, Action::Start { node });
            }
        };
        machine.log_noted = true;
        machine.life += 1;
        machine.session += 1;
        machine.session_lives = true;
        let life = machine.life;
        let cache = Arc::new(BlockCache::new(1 << 20));
        let mut process = Process {
            writer,
            replicas: BTreeMap::new(),
            cache,
            queue: Vec::new(),
            open: Vec::new(),
            forcing: false,
            gateway: BTreeMap::new(),
            scans: OpenScans::new(self.options.scans),
            scan_memory: Budget::new("scans", self.options.scan_memory),
            silence: Arc::default(),
        };
        let ranges = self.ranges_of(node);
        for range in &ranges {
            let Some(replica) = self.open_replica(node, *range, &mut recovery, &process.cache) else {
                return;
            };
            process.replicas.insert(*range, replica);
        }
        self.note(|| format!("n{node} starts (life {life})"));
        if let Some(machine) = self.machines.get_mut(&node) {
            machine.process = Some(process);
        }
        for range in ranges {
            self.settle(node, range);
            let me = self.member(node);
            self.services[range as usize].expire(me);
            self.announce(range);
        }
        let stagger = self.random.below(10_000);
        self.plan(stagger, Action::Tick { node, life });
        self.plan(stagger, Action::Maintain { node, life });
    }

    /// Opens a replica on what its node's disk holds. `None`: the node is down again, and will be started later.
    fn open_replica(
        &mut self,
        node: Node,
        range: Range,
        recovery: &mut Recovery,
        cache: &Arc<BlockCache>,
    ) -> Option<Replica> {
        let (machine, cohort) = (&self.machines[&node], World::cohort(range));
        let (now, life, disk) = (machine.clock.at(self.now), machine.life, Arc::new(machine.disk.clone()));
        let found = Found {
            log: recovery.cohorts.remove(&cohort),
            damaged: recovery.damaged.as_ref(),
            rebuilt: machine.disks_lost > 0,
            listed_at_start: true,
        };
        let (engine, window) = (self.options.engine, self.options.window);
        let opened = testing::open_store(disk, cohort, engine, Arc::clone(cache), window, found);
        let (store, recovered) = match opened {
            Ok((store, recovered)) => (Arc::new(store), recovered),
            Err(why) => {
                let why = why.to_string();
                if self.machines[&node].disk.stopped() {
                    self.lose_power(node, 0);
                } else if ["StorageFull", "simulated EIO", "storage", "open files"]
                    .iter()
                    .any(|part| why.contains(part))
                {
                    self.plan(100_000, Action::Start { node });
                } else {
                    self.violated("restart", format!("n{node} refuses range {range}: {why}"));
                }
                return None;
            }
        };
        self.counts.rejoins += u64::from(recovered.must_rejoin);
        self.happened(Event::Recovered {
            node,
            range,
            flushed: recovered.log.checkpoint.flushed,
            entries: recovered.log.entries.iter().map(|entry| entry.lsn).collect(),
            promise: recovered.log.promise,
            must_rejoin: recovered.must_rejoin,
        });
        let config = Config {
            cohort,
            me: self.member(node),
            members: self.members(range),
            life,
            settings: self.options.settings.clone(),
        };
        let drive = Drive::recover(config, recovered, store, now);
        let change = self.services[range as usize].change;
        Some(Replica { drive, leader: None, lease: None, waiting: Vec::new(), change })
    }

    /// The process ends; what it did not force is still in the disk's cache.
    pub(super) fn kill(&mut self, node: Node, expiry: u64) {
        let Some(machine) = self.machines.get_mut(&node) else { return };
        if machine.process.take().is_none() {
            return;
        }
        machine.disk = machine.disk.kill();
        self.ended(node, expiry);
    }

    /// The machine loses power.
    pub(super) fn lose_power(&mut self, node: Node, expiry: u64) {
        let seed = self.random.number();
        let Some(machine) = self.machines.get_mut(&node) else { return };
        let ran = machine.process.take().is_some();
        machine.disk = machine.disk.crash(seed);
        // The boot-time clock begins anew, anywhere.
        machine.clock.offset = seed % 1_000_000_000;
        if ran {
            self.ended(node, expiry);
        } else {
            // It was just starting.
            self.plan(10_000, Action::Start { node });
        }
    }

    pub(super) fn ended(&mut self, node: Node, expiry: u64) {
        self.counts.crashes += 1;
        let Some(machine) = self.machines.get_mut(&node) else { return };
        machine.paused_until = 0;
        machine.hung_until = 0;
        machine.doom = None;
        machine.ended_at = self.now;
        let session = machine.session;
        self.note(|| format!("n{node} ends"));
        self.happened(Event::Ended { node });
        self.plan(expiry, Action::Expire { node, session });
        for call in
            self.calls.iter().filter(|(_, call)| call.target == node).map(|(&id, _)| id).collect::<Vec<_>>()
        {
            if self.random.one_in(2) {
                let result = Err(CallError::Lost("its process has ended".into()));
                self.plan(1000, Action::Answer { call, result });
            }
        }
        for other in self.nodes() {
            if other != node && self.random.one_in(2) {
                let life = self.life(other);
                for range in self.ranges_of(other) {
                    let event = CohortEvent::Unreachable(NodeId(node));
                    self.plan(1000, Action::Tell { node: other, life, range, event });
                }
            }
        }
    }

    /// The machine's disk is gone with all that it held; a node with an empty one takes its number over, as an operator
    /// starts it: not before the service has given the old one's session up. The others hear of it in time.
    pub(super) fn lose_disk(&mut self, node: Node) {
        self.kill(node, 0);
        let me = self.member(node);
        let Some(machine) = self.machines.get_mut(&node) else { return };
        machine.session_lives = false;
        machine.disk = MemoryDisk::new();
        machine.disks_lost += 1;
        machine.log_noted = false;
        self.counts.disks += 1;
        self.happened(Event::DiskLost { node });
        for range in self.ranges_of(node) {
            self.services[range as usize].expire(me);
            self.announce(range);
            for other in self.options.members(range).into_iter().filter(|other| *other != node) {
                let (delay, life) = (self.random.below(300_000), self.life(other));
                self.plan(delay, Action::Members { node: other, life, range });
            }
        }
        let delay = self.random.below(200_000);
        self.plan(delay, Action::Start { node });
    }

    /// Files of the log are gone: all of them, as when a mount fails, or the newest, the oldest, what says how many there
    /// were [lost-log-is-seen].
    pub(super) fn lose_log(&mut self, node: Node, pick: u64) {
        self.kill(node, 1000);
        let Some(machine) = self.machines.get_mut(&node) else { return };
        let mut lost: Vec<String> = machine.disk.files().into_iter().map(|(name, _)| name).collect();
        lost.retain(|name| name.ends_with(".seg"));
        let extent = (pick / 8).is_multiple_of(4);
        match pick % 4 {
            0 => {}
            1 => lost.truncate(1),
            2 if extent => lost.clear(),
            _ => drop(lost.drain(..lost.len().saturating_sub(1))),
        }
        if extent && machine.log_noted {
            lost.push("EXTENT".to_owned());
        }
        for file in &lost {
            // A file that a crash has left without its name is gone already.
            let _ = machine.disk.remove(file);
        }
        for dir in ["wal", ""] {
            // A disk in memory, without faults.
            let _ = machine.disk.sync_dir(dir);
        }
        let whole = !machine.disk.files().iter().any(|(name, _)| name.ends_with(".seg"));
        self.counts.disks += 1;
        self.note(|| format!("n{node} has lost {lost:?}"));
        self.happened(Event::LogDamaged { node, whole });
        self.plan(10_000, Action::Start { node });
    }

    /// After something touched the disk: the node may have reached its crash point.
    pub(super) fn stopped(&mut self, node: Node) -> bool {
        let stopped = self.machines.get(&node).is_some_and(|machine| machine.disk.stopped());
        if stopped {
            self.lose_power(node, 200_000);
        }
        stopped
    }

    pub(super) fn lift(&mut self, node: Node) {
        if let Some(machine) = self.machines.get_mut(&node) {
            machine.disk.set_capacity(None);
            machine.disk.set_faults(wal::disk::Faults::default());
        }
    }

    // Background work

    /// Ends scans that nobody continues, or that keep too much.
    fn sweep(&mut self, node: Node) {
        let now = self.instant(self.now);
        let Some(process) = self.machines.get_mut(&node).and_then(|machine| machine.process.as_mut()) else {
            return;
        };
        let (replicas, scans) = (&process.replicas, &mut process.scans);
        let kept = |cohort: CohortId, pinned: &Pinned| {
            let replica = replicas.iter().find(|(range, _)| World::cohort(**range) == cohort);
            replica.map_or_else(Vec::new, |(_, replica)| replica.drive.store().engine().kept_for(pinned))
        };
        scans.sweep(now, kept);
    }

    pub(super) fn maintain(&mut self, node: Node) {
        let life = self.life(node);
        self.sweep(node);
        for range in self.ranges_of(node) {
            if self.lives(node, life) && self.violation.is_none() {
                self.maintain_range(node, range);
            }
        }
        if !self.lives(node, life) || !self.random.one_in(4) {
            return;
        }
        // In production a thread does it beside the log's, at any time.
        let ahead = self.random.one_in(2);
        let Some(process) = self.machines.get_mut(&node).and_then(|machine| machine.process.as_mut()) else {
            return;
        };
        if ahead {
            process.writer.make_segment_ahead();
        }
        let reclaimed = if process.writer.wants_mark() && !process.forcing {
            process.writer.mark().map(|()| Vec::new())
        } else {
            process.writer.reclaim()
        };
        if self.stopped(node) {
            return;
        }
        match reclaimed {
            Ok(holding) => {
                for range in self.ranges_of(node) {
                    if holding.contains(&World::cohort(range)) && self.lives(node, life) {
                        self.flush(node, range, true);
                    }
                }
            }
            Err(LogError::DiskFull | LogError::Segment(_)) => {}
            Err(LogError::Poisoned(_) | LogError::Closed) => self.fail(node),
        }
    }

    pub(super) fn maintain_range(&mut self, node: Node, range: Range) {
        let Some(replica) = self.replica(node, range) else { return };
        let store = Arc::clone(replica.drive.store());
        store.pass_second();
        if store.engine().needs_flush() {
            // In production writes go on between the freezing and the flush.
            let freeze = self.random.one_in(2);
            self.flush(node, range, !freeze);
        } else if store.engine().needs_compaction() {
            let compacted = store.engine().compact();
            if self.stopped(node) {
                return;
            }
            match compacted {
                Ok(did) => self.counts.compactions += u64::from(did),
                Err(error) => self.note(|| format!("n{node} r{range} cannot compact: {error}")),
            }
        } else if self.options.kinds.rot && self.random.one_in(4) {
            store.engine().scrub(4 << 10);
        }
    }

    pub(super) fn flush(&mut self, node: Node, range: Range, whole: bool) {
        let Some(replica) = self.replica(node, range) else { return };
        let store = Arc::clone(replica.drive.store());
        store.freeze();
        if !whole {
            return;
        }
        let forced = replica.drive.cohort().status().forced;
        let flushed = store.flush(|flushed| match forced.seq >= flushed.seq {
            true => Ok(()),
            false => Err(std::io::ErrorKind::TimedOut.into()),
        });
        if self.stopped(node) {
            return;
        }
        match flushed {
            Ok(flushed_state) => {
                self.counts.flushes += 1;
                let (flushed, flushed_chain) = (flushed_state.lsn, flushed_state.chain);
                self.happened(Event::Flushed { node, range, flushed });
                self.tell(node, range, CohortEvent::Flushed { flushed, flushed_chain });
            }
            Err(error) => self.note(|| format!("n{node} r{range} cannot flush: {error}")),
        }
    }
}
