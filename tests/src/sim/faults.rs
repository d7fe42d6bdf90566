//! Faults at work, and the end of all faults.

use replication::drive::Input;
use replication::protocol::event::Event as Told;
use tokio::sync::oneshot;
use wal::NodeId;
use wal::disk::Faults;

use super::history::Node;
use super::schedule::Fault;
use super::world::{Action, World};

impl World {
    /// A fault happens.
    pub(crate) fn strike(&mut self, fault: Fault) {
        self.note(|| format!("fault: {fault:?}"));
        match fault {
            Fault::Kill { node, expiry } => self.kill(node, expiry),
            Fault::PowerLoss { node, expiry } => {
                if self.runs(node) {
                    self.lose_power(node, expiry);
                }
            }
            Fault::StopAfter { node, operations } => {
                if let Some(machine) = self.machines.get(&node).filter(|machine| machine.process.is_some()) {
                    let last = machine.disk.operations() + operations;
                    machine.disk.set_faults(Faults { stop_after: Some(last), ..Faults::default() });
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
            Fault::Start { node } => self.start(node),
            Fault::Pause { node, during } => self.pause(node, during),
            Fault::Cut { from, to } => self.network.cut(from, to),
            Fault::Isolate { node } => {
                for other in self.nodes() {
                    self.network.cut(node, other);
                    self.network.cut(other, node);
                }
            }
            Fault::Bridges => {
                for a in self.nodes() {
                    for b in self.nodes() {
                        let apart = a.abs_diff(b);
                        if apart > 1 && apart < self.options.nodes - 1
                            || (self.options.nodes == 3 && a + b == 4)
                        {
                            self.network.cut(a, b);
                        }
                    }
                }
            }
            Fault::Mend { from, to } => {
                self.network.mend(from, to);
                self.connected(from, to);
            }
            Fault::Heal => {
                self.network.heal();
                for from in self.nodes() {
                    for to in self.nodes() {
                        self.connected(from, to);
                    }
                }
            }
            Fault::Clog { from, to, during } => self.network.clog(from, to, self.now + during),
            Fault::LoseSession { node } => {
                if let Some(session) = self.machines.get(&node).map(|machine| machine.session) {
                    self.expire(node, session);
                }
            }
            Fault::CutCoordinator { node, during } => self.lose_coordinator(node, during),
            Fault::Outage { during } => self.outage_until = self.outage_until.max(self.now + during),
            Fault::Delete { range, what } => {
                self.services[range as usize].delete(what);
                self.announce(range);
            }
            Fault::BackUp => self.backup = Some(self.services.clone()),
            Fault::Restore => {
                if let Some(backup) = self.backup.clone() {
                    for (range, service) in backup.iter().enumerate() {
                        self.services[range].restore(service);
                        self.announce(range as u32);
                    }
                }
            }
            Fault::Hang { node, during } => {
                if let Some(machine) = self.machines.get_mut(&node) {
                    machine.hung_until = machine.hung_until.max(self.now + during);
                }
            }
            Fault::Full { node, left, during } => {
                if let Some(machine) = self.machines.get(&node) {
                    let used: u64 = machine.disk.files().iter().map(|(_, length)| length).sum();
                    machine.disk.set_capacity(Some(used + left));
                    self.plan(during, Action::Lift { node });
                }
            }
            Fault::SyncError { node } => {
                self.disk_faults(node, Faults { sync_eio: true, ..Faults::default() })
            }
            Fault::WriteError { node, during } => {
                self.disk_faults(node, Faults { write_eio: true, ..Faults::default() });
                self.plan(during, Action::Lift { node });
            }
            Fault::Transfer { range, to } => {
                let leads = |world: &mut World, node: Node| {
                    world.replica(node, range).is_some_and(|replica| replica.drive.open().is_some())
                };
                let members = self.options.members(range);
                if let Some(leader) = members.into_iter().find(|&node| leads(self, node)) {
                    let (sender, _) = oneshot::channel();
                    self.take(leader, range, Input::Transfer { target: to.map(NodeId), sender });
                }
            }
        }
    }

    fn disk_faults(&mut self, node: Node, faults: Faults) {
        if let Some(machine) = self.machines.get(&node).filter(|machine| machine.process.is_some()) {
            machine.disk.set_faults(faults);
        }
    }

    fn pause(&mut self, node: Node, during: u64) {
        let Some(machine) = self.machines.get_mut(&node).filter(|machine| machine.process.is_some()) else {
            return;
        };
        machine.paused_until = machine.paused_until.max(self.now + during);
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
                let event = Told::Connected(NodeId(to));
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
        self.outage_until = 0;
        for node in self.nodes() {
            if let Some(machine) = self.machines.get_mut(&node) {
                machine.adrift_until = 0;
                machine.hung_until = 0;
                machine.paused_until = 0;
                machine.disk.set_capacity(None);
                machine.disk.set_faults(Faults::default());
            }
            self.start(node);
            self.plan(0, Action::Renew { node });
        }
    }
}
