//! Faults at work, and the end of all faults.

use replication::drive::Input;
use replication::protocol::event::Event as CohortEvent;
use replication::testing::coordinator::Service;
use tokio::sync::oneshot;
use wal::NodeId;
use wal::disk::Faults;

use super::coverage::Kinds;
use super::history::{Event, Node, Range};
use super::machine::Doom;
use super::schedule::{Fault, Manner, NodeFault, Snare, Victim};
use super::world::{Action, World};

impl World {
    /// A fault happens.
    pub(crate) fn strike(&mut self, fault: Fault) {
        self.note(|| format!("fault: {fault:?}"));
        self.coverage.met(fault.kind());
        match fault {
            Fault::Node(victim, fault) => {
                let node = match victim {
                    Victim::Node(node) => Some(node),
                    Victim::Leader(range) => self.leader(range),
                };
                if let Some(node) = node {
                    self.strike_node(node, fault);
                }
            }
            Fault::Blackout => {
                for node in self.nodes() {
                    if self.runs(node) {
                        self.lose_power(node, 100_000);
                    }
                    let delay = self.random.below(200_000);
                    self.plan(delay, Action::Start { node });
                }
            }
            Fault::AllFull(left, during) => {
                for node in self.nodes() {
                    self.strike_node(node, NodeFault::Full(left, during));
                }
            }
            Fault::Cut(from, to) => self.network.cut(from, to),
            Fault::Split(group) => {
                let inside = |node: Node| group >> (node - 1) & 1;
                self.cut_where(|a, b| inside(a) != inside(b));
            }
            Fault::Bridges => {
                let nodes = self.options.nodes;
                self.cut_where(|a, b| match nodes {
                    3 => a + b == 4,
                    _ => (2..nodes - 1).contains(&a.abs_diff(b)),
                });
            }
            Fault::Mend(from, to) => {
                self.network.mend(from, to);
                self.connected(from, to);
            }
            Fault::Heal => {
                self.network.heal();
                for machine in self.machines.values_mut() {
                    machine.unwell_until = machine.unwell_until.min(self.now.max(machine.paused_until));
                }
                for from in self.nodes() {
                    for to in self.nodes() {
                        self.connected(from, to);
                    }
                }
            }
            Fault::Clog(from, to, during) => self.network.clog(from, to, self.now + during),
            Fault::Outage(during) => self.outage_until = self.outage_until.max(self.now + during),
            Fault::Delete(range, what) => {
                self.services[range as usize].delete(what);
                self.announce(range);
            }
            Fault::BackUp => self.backup = Some(self.services.iter().map(Service::back_up).collect()),
            Fault::Restore => {
                if let Some(backup) = self.backup.clone() {
                    for (range, backup) in backup.iter().enumerate() {
                        self.services[range].restore(backup);
                        self.announce(range as u32);
                    }
                }
            }
            Fault::Trap(range, snare) => self.traps[range as usize] = Some(snare),
            Fault::Relieve(range) => {
                let members = self.options.members(range);
                let away = members.iter().copied().filter(|node| !self.runs(*node));
                if away.clone().count() + 1 >= members.len()
                    && let Some(node) = away.min_by_key(|node| self.machines[node].ended_at)
                {
                    self.start(node);
                }
            }
            Fault::Depose(range, manner) => {
                if let Some(leader) = self.leader(range) {
                    self.depose(leader, range, manner);
                }
            }
            Fault::Transfer(range, to) => {
                if let Some(leader) = self.leader(range) {
                    let (sender, _) = oneshot::channel();
                    self.take(leader, range, Input::Transfer { target: to.map(NodeId), sender });
                }
            }
        }
    }

    fn strike_node(&mut self, node: Node, fault: NodeFault) {
        self.coverage.met(fault.kind());
        let now = self.now;
        match fault {
            NodeFault::Kill(expiry) => self.kill(node, expiry),
            NodeFault::PowerLoss(expiry) => {
                if self.runs(node) {
                    self.lose_power(node, expiry);
                }
            }
            NodeFault::StopAfter(operations) => {
                if let Some(machine) = self.machines.get(&node).filter(|machine| machine.process.is_some()) {
                    let last = machine.disk.operations() + operations;
                    machine.disk.set_faults(Faults { stop_after: Some(last), ..Faults::default() });
                }
            }
            NodeFault::KillAfter(steps) => self.doom(node, Doom { steps, power: false }),
            NodeFault::PowerLossAfter(steps) => self.doom(node, Doom { steps, power: true }),
            NodeFault::Restart(_) if !self.runs(node) => {}
            NodeFault::Restart(after) => {
                self.kill(node, after);
                self.plan(after, Action::Start { node });
            }
            NodeFault::Start => self.start(node),
            NodeFault::Pause(during) => self.pause(node, during),
            NodeFault::Isolate => self.cut_where(|a, b| a == node || b == node),
            NodeFault::LoseSession => {
                if let Some(session) = self.machines.get(&node).map(|machine| machine.session) {
                    self.expire(node, session);
                }
            }
            NodeFault::CutCoordinator(during) => self.lose_coordinator(node, during),
            NodeFault::Hang(during) => {
                if let Some(machine) = self.machines.get_mut(&node) {
                    machine.hung_until = machine.hung_until.max(now + during);
                }
            }
            NodeFault::Full(left, during) => {
                self.happened(Event::DiskTroubled { node });
                if let Some(machine) = self.machines.get(&node) {
                    let used: u64 = machine.disk.files().iter().map(|(_, length)| length).sum();
                    machine.disk.set_capacity(Some(used + left));
                    self.plan(during, Action::Lift { node });
                }
            }
            NodeFault::Rot(pick) => {
                // Damage to a last batch that nothing has followed looks like a torn write ([torn-or-corrupt]): the log was idle.
                let process = self.machines.get_mut(&node).and_then(|machine| machine.process.as_mut());
                let marked = process.is_some_and(|process| {
                    let writer = &mut process.writer;
                    process.queue.is_empty()
                        && (!writer.wants_mark() || writer.mark().is_ok())
                        && writer.is_proven()
                });
                if marked && !self.stopped(node) {
                    self.kill(node, 1000);
                    self.rot(node, ".seg", pick);
                    self.plan(10_000, Action::Start { node });
                }
            }
            NodeFault::LoseDisk => self.lose_disk(node),
            NodeFault::LoseLog(pick) => self.lose_log(node, pick),
            NodeFault::RotTable(pick, restart) => {
                self.rot(node, ".sst", pick);
                if restart && self.runs(node) {
                    self.kill(node, 1000);
                    self.plan(10_000, Action::Start { node });
                }
            }
            NodeFault::SyncError => self.disk_faults(node, Faults { sync_eio: true, ..Faults::default() }),
            NodeFault::NoDescriptors(during) => {
                self.disk_faults(node, Faults { no_descriptors: true, ..Faults::default() });
                self.plan(during, Action::Lift { node });
            }
            NodeFault::WriteError(during) => {
                self.disk_faults(node, Faults { write_eio: true, ..Faults::default() });
                self.plan(during, Action::Lift { node });
            }
        }
    }

    fn depose(&mut self, leader: Node, range: Range, manner: Manner) {
        self.coverage.met(manner.kind());
        let others: Vec<Node> =
            self.options.members(range).into_iter().filter(|node| *node != leader).collect();
        match manner {
            Manner::Clean => {
                if let Some(machine) = self.machines.get_mut(&leader) {
                    machine.unwell_until = u64::MAX;
                }
                self.cut_where(|a, b| a == leader || b == leader);
            }
            Manner::Restart => {
                self.cut_where(|a, b| a == leader || b == leader);
                for node in others {
                    self.kill(node, 1000);
                    self.plan(500, Action::Start { node });
                }
            }
            Manner::Late => {
                let settings = &self.options.settings;
                let (late, heartbeats) =
                    (u64::from(settings.lease.0) * 700, u64::from(settings.heartbeat.0) * 1500);
                for node in others {
                    self.network.clog(node, leader, self.now + late);
                    self.plan(heartbeats, Action::Strike { fault: Fault::Cut(leader, node) });
                }
            }
            Manner::Pair => {
                let friend = others[self.random.below(others.len() as u64) as usize];
                let inside = |node: Node| node == leader || node == friend;
                self.cut_where(|a, b| inside(a) != inside(b));
            }
        }
    }

    /// Something has happened that a trap may wait for.
    pub(crate) fn spring(&mut self, node: Node, range: Range, snare: Snare) {
        if self.traps[range as usize] != Some(snare) {
            return;
        }
        self.traps[range as usize] = None;
        self.note(|| format!("n{node} r{range}: the trap springs"));
        self.coverage.met(snare.kind());
        match snare {
            Snare::Start => {
                self.cut_where(|a, b| a == node || b == node);
                let end = 500 + self.random.below(2 * self.options.force_max);
                let fault = Fault::Node(Victim::Node(node), NodeFault::Kill(1000));
                self.plan(end, Action::Strike { fault });
            }
            Snare::Ack => self.kill(node, 1000),
        }
    }

    /// Who leads a range.
    fn leader(&self, range: Range) -> Option<Node> {
        let open = |node: &Node| {
            let process = self.machines.get(node)?.process.as_ref()?;
            process.replicas.get(&range)?.drive.open()
        };
        self.options.members(range).into_iter().filter(|node| open(node).is_some()).max_by_key(open)
    }

    fn cut_where(&mut self, apart: impl Fn(Node, Node) -> bool) {
        for from in self.nodes() {
            for to in self.nodes() {
                if apart(from, to) {
                    self.network.cut(from, to);
                }
            }
        }
    }

    fn doom(&mut self, node: Node, doom: Doom) {
        if let Some(machine) = self.machines.get_mut(&node).filter(|machine| machine.process.is_some()) {
            machine.doom = Some(doom);
        }
    }

    /// A step on a node has been done: it may have been its last.
    pub(crate) fn count_down(&mut self, node: Node) {
        let Some(machine) = self.machines.get_mut(&node) else { return };
        let Some(doom) = machine.doom.as_mut() else { return };
        if doom.steps > 0 {
            doom.steps -= 1;
            return;
        }
        let power = doom.power;
        match power {
            true => self.lose_power(node, 100_000),
            false => self.kill(node, 100_000),
        }
    }

    /// One bit of the node's files of this kind flips, where something is written.
    fn rot(&mut self, node: Node, kind: &str, pick: u64) {
        if kind == ".seg" {
            self.happened(Event::LogDamaged { node, whole: false });
        }
        let Some(machine) = self.machines.get_mut(&node) else { return };
        let segments: Vec<(String, u64)> =
            machine.disk.files().into_iter().filter(|(name, _)| name.ends_with(kind)).collect();
        if segments.is_empty() {
            return;
        }
        let (name, length) = &segments[(pick % segments.len() as u64) as usize];
        let block = (pick >> 8) % (length / 4096).max(1);
        let bit = block * 4096 * 8 + (pick >> 20) % (300 * 8);
        // A file that is shorter has nothing there.
        let _ = machine.disk.flip(name, bit);
    }

    fn disk_faults(&mut self, node: Node, faults: Faults) {
        self.happened(Event::DiskTroubled { node });
        if let Some(machine) = self.machines.get(&node).filter(|machine| machine.process.is_some()) {
            machine.disk.set_faults(faults);
        }
    }

    /// A process stands still for a while.
    pub(crate) fn pause(&mut self, node: Node, during: u64) {
        let Some(machine) = self.machines.get_mut(&node).filter(|machine| machine.process.is_some()) else {
            return;
        };
        machine.paused_until = machine.paused_until.max(self.now + during);
        machine.unwell_until = machine.unwell_until.max(machine.paused_until);
        let (session, timeout) = (machine.session, self.options.session_timeout);
        if during > timeout {
            self.plan(timeout, Action::Expire { node, session });
        }
    }

    /// A new stream stands between two nodes.
    fn connected(&mut self, from: Node, to: Node) {
        if from == to || !self.runs(from) || !self.random.one_in(2) {
            return;
        }
        let life = self.life(from);
        for range in self.ranges_of(from) {
            if self.options.members(range).contains(&to) {
                let event = CohortEvent::Connected(NodeId(to));
                self.plan(500, Action::Tell { node: from, life, range, event });
            }
        }
    }

    /// The faults end: everyone runs, every link carries, disks and coordinator are well.
    pub(crate) fn calm(&mut self) {
        self.note(|| "the faults end".to_owned());
        self.network.heal();
        (self.network.loss, self.network.duplication) = (0, 0);
        self.network.delay_max = self.network.delay_max.min(1000);
        self.options.delay_max = self.network.delay_max;
        self.options.force_max = self.options.force_max.min(1000);
        self.options.kinds.pauses = false;
        self.calm = true;
        self.outage_until = 0;
        self.traps.fill(None);
        for node in self.nodes() {
            if let Some(machine) = self.machines.get_mut(&node) {
                machine.adrift_until = 0;
                machine.hung_until = 0;
                machine.paused_until = 0;
                machine.doom = None;
                machine.disk.set_capacity(None);
                machine.disk.set_faults(Faults::default());
            }
            self.start(node);
            self.plan(0, Action::Renew { node });
        }
    }
}
