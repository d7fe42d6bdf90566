//! The simulated cluster: what happens next happens here, one thing at a time, in an order that the seed decides.
//!
//! The nodes run production code: the protocol and its drive, the log, the storage engine with its opening and its
//! background work. Around them everything is made up: time, network, disks, coordinator, clients. Nothing here
//! consults a real clock, a thread or a hash map's order, so a seed always gives the same run.

use std::collections::BTreeMap;
use std::mem;
use std::sync::Arc;

use kvstore::engine::BlockCache;
use kvstore::testing::RangeMachine;
use replication::drive::{Drive, Input};
use replication::protocol::Config;
use replication::protocol::coordination::{CoordinationOutcome, CoordinationRequest, RangeView};
use replication::protocol::effect::Reply;
use replication::protocol::event::{Event as Told, Received, Ticket};
use replication::protocol::message::{Envelope, ImagePart, Message};
use replication::store::Store;
use replication::testing::options::Random;
use wal::disk::{Disk, MemoryDisk};
use wal::{Append, CohortId, EntryKind, Incarnation, LogError, LogWriter, Member, NodeId, Record};

use super::calls::Call;
use super::client::Client;
use super::coordinator::Service;
use super::history::{Checker, Event, Node, Range, Violation};
use super::machine::{Around, Clock, Machine, Process, Replica, Wish, owner};
use super::network::Network;
use super::options::Options;
use super::schedule::Fault;

/// Something that will happen.
pub(crate) enum Action {
    /// A message arrives.
    Deliver { range: Range, envelope: Envelope },
    /// Time passes for all replicas of a node.
    Tick { node: Node, life: u64 },
    /// The node's log forces.
    Force { node: Node, life: u64 },
    /// A round of background work.
    Maintain { node: Node, life: u64 },
    /// A replica is told something.
    Tell { node: Node, life: u64, range: Range, event: Told },
    /// A store keeps a part of an image.
    Receive { node: Node, life: u64, range: Range, image: u64, part: ImagePart },
    /// A request reaches the coordinator.
    Coordinate { node: Node, life: u64, range: Range, request: CoordinationRequest },
    /// Its outcome reaches the replica.
    Coordinated { node: Node, life: u64, range: Range, outcome: CoordinationOutcome, change: u64 },
    /// A view reaches the replica; one that is read on arrival if it is not given.
    View { node: Node, life: u64, range: Range, view: Option<(RangeView, u64)> },
    /// The service gives a session up.
    Expire { node: Node, session: u64 },
    /// The node makes a new session.
    Renew { node: Node },
    /// A node that is down starts.
    Start { node: Node },
    /// A disk has space again, and takes writes.
    Lift { node: Node },
    /// A call reaches its replica, or goes on there.
    Serve { call: u64, step: super::calls::Step },
    /// An answer reaches the gateway.
    Answer { call: u64, answer: super::calls::Answer },
    /// The gateway gives an attempt up.
    Timeout { call: u64 },
    /// A client does its next step.
    Client { client: u32 },
    /// A fault that another one has set off.
    Strike { fault: Fault },
}

/// How long an append that nobody waits for may stay in memory.
const LINGER: u64 = 50_000;

/// What was done, for reports.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Client operations begun.
    pub operations: u64,
    /// Writes acknowledged to clients.
    pub written: u64,
    /// Reads answered.
    pub read: u64,
    /// Leaderships opened.
    pub elections: u64,
    /// Crashes of processes.
    pub crashes: u64,
    /// Flushes and compactions.
    pub flushes: u64,
    /// See above.
    pub compactions: u64,
    /// Images of ranges taken.
    pub images: u64,
}

/// The world.
pub struct World {
    pub(super) options: Options,
    pub(super) random: Random,
    /// Real time, in microseconds.
    pub(super) now: u64,
    pub(super) machines: BTreeMap<Node, Machine>,
    pub(super) network: Network,
    pub(super) services: Vec<Service>,
    pub(super) backup: Option<Vec<Service>>,
    /// Ranges whose next leader is struck as it appends its EpochStart.
    pub(super) traps: Vec<bool>,
    /// The coordinator is out of everybody's reach until then.
    pub(super) outage_until: u64,
    agenda: BTreeMap<(u64, u64), Action>,
    number: u64,
    pub(super) clients: Vec<Client>,
    pub(super) calls: BTreeMap<u64, Call>,
    pub(super) operations: u32,
    /// Values drawn, so that each is unique.
    pub(super) values: u32,
    checkers: Vec<Box<dyn Checker>>,
    /// The first broken promise.
    pub violation: Option<Violation>,
    /// A hash of all that happened.
    pub hash: u64,
    /// Lines for people; kept only if asked for.
    pub trace: Option<Vec<String>>,
    /// Figures.
    pub counts: Counts,
}

impl World {
    /// A new cluster on empty disks; its nodes start at once.
    pub fn new(seed: u64, options: Options, checkers: Vec<Box<dyn Checker>>, trace: bool) -> World {
        let mut random = Random(seed);
        let machines = (1..=options.nodes)
            .map(|node| {
                let most = i64::try_from(options.drift_per_mille).unwrap_or(0);
                let drift = i64::try_from(random.below(2 * options.drift_per_mille + 1)).unwrap_or(0);
                let clock = Clock { offset: random.below(1_000_000_000), rate_per_mille: drift - most };
                let machine = Machine {
                    disk: MemoryDisk::new(),
                    clock,
                    process: None,
                    life: 0,
                    hung_until: 0,
                    paused_until: 0,
                    adrift_until: 0,
                    doom: None,
                    session: 0,
                    session_lives: false,
                };
                (node, machine)
            })
            .collect();
        let network = Network::new(options.delay_max, options.loss, options.duplication);
        let mut world = World {
            services: vec![Service::default(); options.ranges as usize],
            traps: vec![false; options.ranges as usize],
            options,
            random,
            now: 0,
            machines,
            network,
            backup: None,
            outage_until: 0,
            agenda: BTreeMap::new(),
            number: 0,
            clients: Vec::new(),
            calls: BTreeMap::new(),
            operations: 0,
            values: 0,
            checkers,
            violation: None,
            hash: seed,
            trace: trace.then(Vec::new),
            counts: Counts::default(),
        };
        for node in world.nodes() {
            world.start(node);
        }
        world
    }

    /// All nodes.
    pub fn nodes(&self) -> Vec<Node> {
        self.machines.keys().copied().collect()
    }

    /// The identity of a range.
    pub fn cohort(range: Range) -> CohortId {
        CohortId(0xc0_0000 + u128::from(range))
    }

    pub(super) fn member(node: Node) -> Member {
        Member { node: NodeId(node), incarnation: Incarnation(u64::from(node)) }
    }

    pub(super) fn runs(&self, node: Node) -> bool {
        self.machines.get(&node).is_some_and(|machine| machine.process.is_some())
    }

    pub(super) fn replica(&mut self, node: Node, range: Range) -> Option<&mut Replica> {
        self.machines.get_mut(&node)?.process.as_mut()?.replicas.get_mut(&range)
    }

    pub(super) fn life(&self, node: Node) -> u64 {
        self.machines.get(&node).map_or(0, |machine| machine.life)
    }

    fn lives(&self, node: Node, life: u64) -> bool {
        self.runs(node) && self.life(node) == life
    }

    // History

    /// Something happened: checkers look at it, the first violation ends the run.
    pub(super) fn happened(&mut self, event: Event) {
        if let Some(trace) = &mut self.trace {
            let line = super::report::line(self.now, &event);
            trace.push(line);
        }
        for checker in &mut self.checkers {
            if let Err(what) = checker.see(self.now, &event)
                && self.violation.is_none()
            {
                self.violation = Some(Violation { checker: checker.name(), what });
            }
        }
    }

    /// The history has ended.
    pub fn conclude(&mut self) {
        for checker in &mut self.checkers {
            if self.violation.is_some() {
                return;
            }
            if let Err(what) = checker.end() {
                self.violation = Some(Violation { checker: checker.name(), what });
            }
        }
    }

    pub(super) fn note(&mut self, text: impl FnOnce() -> String) {
        let now = self.now;
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>9.3} ms  {}", now as f64 / 1000.0, text()));
        }
    }

    pub(super) fn violated(&mut self, checker: &'static str, what: String) {
        self.violation.get_or_insert(Violation { checker, what });
    }

    fn mix(&mut self, value: u64) {
        self.hash = (self.hash ^ value).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
    }

    // Time

    pub(super) fn plan(&mut self, after: u64, action: Action) {
        self.number += 1;
        self.agenda.insert((self.now + after, self.number), action);
    }

    /// Runs until `end`, or until a promise is broken.
    pub fn run_until(&mut self, end: u64) {
        while self.violation.is_none() && self.agenda.first_key_value().is_some_and(|((at, _), _)| *at <= end)
        {
            self.step();
        }
        self.now = self.now.max(end);
    }

    /// The next thing happens.
    fn step(&mut self) {
        let Some(((at, number), action)) = self.agenda.pop_first() else { return };
        self.now = self.now.max(at);
        self.mix(self.now.wrapping_add(number << 40));
        let node = self.place(&action);
        if let Some(until) = self.machines.get(&node).map(|machine| machine.paused_until)
            && until > self.now
        {
            // The process stands still; what comes waits, in order.
            self.number += 1;
            self.agenda.insert((until, self.number), action);
            return;
        }
        self.mix(u64::from(node));
        self.perform(action);
        self.count_down(node);
    }

    /// On which node an action takes place; 0: on none.
    fn place(&self, action: &Action) -> Node {
        match action {
            Action::Deliver { envelope, .. } => envelope.to.0,
            Action::Tick { node, .. }
            | Action::Force { node, .. }
            | Action::Maintain { node, .. }
            | Action::Tell { node, .. }
            | Action::Receive { node, .. }
            | Action::Coordinated { node, .. }
            | Action::View { node, .. }
            | Action::Renew { node } => *node,
            Action::Serve { call, .. } => self.calls.get(call).map_or(0, |call| call.target),
            Action::Coordinate { .. }
            | Action::Expire { .. }
            | Action::Start { .. }
            | Action::Lift { .. }
            | Action::Answer { .. }
            | Action::Timeout { .. }
            | Action::Strike { .. }
            | Action::Client { .. } => 0,
        }
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Deliver { range, envelope } => {
                if self.network.carries(envelope.from.node.0, envelope.to.0) {
                    let node = envelope.to.0;
                    self.tell(node, range, Told::Received(envelope));
                }
            }
            Action::Tick { node, life } => {
                if self.lives(node, life) {
                    let tick = u64::from(self.options.settings.tick.0) * 1000;
                    self.plan(tick, Action::Tick { node, life });
                    for range in self.ranges_of(node) {
                        self.tell(node, range, Told::Tick);
                    }
                }
            }
            Action::Force { node, life } => {
                if self.lives(node, life) {
                    self.force(node);
                }
            }
            Action::Maintain { node, life } => {
                if self.lives(node, life) {
                    let period = 1 + self.random.below(2 * self.options.maintenance_period);
                    self.plan(period, Action::Maintain { node, life });
                    self.maintain(node);
                }
            }
            Action::Tell { node, life, range, event } => {
                if self.lives(node, life) {
                    self.tell(node, range, event);
                }
            }
            Action::Receive { node, life, range, image, part } => {
                if self.lives(node, life) {
                    self.receive(node, range, image, part);
                }
            }
            Action::Coordinate { node, life, range, request } => {
                self.coordinate(node, life, range, request);
            }
            Action::Coordinated { node, life, range, outcome, change } => {
                if self.lives(node, life) {
                    if let Some(replica) = self.replica(node, range) {
                        replica.change = replica.change.max(change);
                    }
                    self.tell(node, range, Told::Coordinated(outcome));
                }
            }
            Action::View { node, life, range, view } => self.show(node, life, range, view),
            Action::Expire { node, session } => self.expire(node, session),
            Action::Renew { node } => self.renew(node),
            Action::Start { node } => self.start(node),
            Action::Lift { node } => self.lift(node),
            Action::Serve { call, step } => self.serve(call, step),
            Action::Answer { call, answer } => self.answered(call, answer),
            Action::Timeout { call } => self.timed_out(call),
            Action::Client { client } => self.client_step(client),
            Action::Strike { fault } => self.strike(fault),
        }
    }

    // Nodes

    pub(super) fn ranges_of(&self, node: Node) -> Vec<Range> {
        (0..self.options.ranges).filter(|&range| self.options.members(range).contains(&node)).collect()
    }

    /// Starts a node's process on what its disk holds.
    pub(super) fn start(&mut self, node: Node) {
        if self.runs(node) {
            return;
        }
        let Some(machine) = self.machines.get_mut(&node) else { return };
        let now = machine.clock.at(self.now);
        let disk: Arc<dyn Disk> = Arc::new(machine.disk.clone());
        let opened = LogWriter::open(Arc::clone(&disk), self.options.log);
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
            forcing: false,
            gateway: BTreeMap::new(),
        };
        let mut settling = Vec::new();
        for range in self.ranges_of(node) {
            let cohort = World::cohort(range);
            let opened = RangeMachine::open(
                Arc::clone(&disk),
                cohort,
                self.options.engine,
                Arc::clone(&process.cache),
                self.options.window_len,
                recovery.cohorts.remove(&cohort),
            );
            let (store, recovered) = match opened {
                Ok(opened) => opened,
                Err(why) => {
                    if self.machines[&node].disk.stopped() {
                        return self.lose_power(node, 0);
                    }
                    if why.contains("StorageFull") || why.contains("simulated EIO") || why.contains("storage")
                    {
                        return self.plan(100_000, Action::Start { node });
                    }
                    return self.violated("restart", format!("n{node} refuses range {range}: {why}"));
                }
            };
            let event = Event::Recovered {
                node,
                range,
                base: recovered.checkpoint.base,
                entries: recovered.entries.iter().map(|entry| entry.lsn).collect(),
                promise: recovered.promise,
            };
            self.happened(event);
            let config = Config {
                cohort,
                me: World::member(node),
                members: self.options.members(range).into_iter().map(NodeId).collect(),
                settings: self.options.settings.clone(),
            };
            let drive = Drive::recover(config, recovered, store, now);
            let change = self.services[range as usize].change;
            let replica = Replica { drive, lease: None, waiting: Vec::new(), change };
            process.replicas.insert(range, replica);
            settling.push(range);
        }
        self.note(|| format!("n{node} starts (life {life})"));
        if let Some(machine) = self.machines.get_mut(&node) {
            machine.process = Some(process);
        }
        for range in settling {
            self.settle(node, range);
            self.services[range as usize].expire(World::member(node));
            self.announce(range);
        }
        let stagger = self.random.below(10_000);
        self.plan(stagger, Action::Tick { node, life });
        self.plan(stagger, Action::Maintain { node, life });
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
        if ran {
            self.ended(node, expiry);
        } else {
            // It was just starting.
            self.plan(10_000, Action::Start { node });
        }
    }

    fn ended(&mut self, node: Node, expiry: u64) {
        self.counts.crashes += 1;
        let Some(machine) = self.machines.get_mut(&node) else { return };
        machine.paused_until = 0;
        machine.hung_until = 0;
        machine.doom = None;
        let session = machine.session;
        self.note(|| format!("n{node} ends"));
        self.happened(Event::Ended { node });
        self.plan(expiry, Action::Expire { node, session });
        for call in
            self.calls.iter().filter(|(_, call)| call.target == node).map(|(&id, _)| id).collect::<Vec<_>>()
        {
            if self.random.one_in(2) {
                self.plan(1000, Action::Answer { call, answer: super::calls::Answer::Lost });
            }
        }
        for other in self.nodes() {
            if other != node && self.random.one_in(2) {
                let life = self.life(other);
                for range in self.ranges_of(other) {
                    let event = Told::Unreachable(NodeId(node));
                    self.plan(1000, Action::Tell { node: other, life, range, event });
                }
            }
        }
    }

    /// After something touched the disk: the node may have reached its crash point.
    fn stopped(&mut self, node: Node) -> bool {
        let stopped = self.machines.get(&node).is_some_and(|machine| machine.disk.stopped());
        if stopped {
            self.lose_power(node, 200_000);
        }
        stopped
    }

    fn lift(&mut self, node: Node) {
        if let Some(machine) = self.machines.get_mut(&node) {
            machine.disk.set_capacity(None);
            machine.disk.set_faults(wal::disk::Faults::default());
        }
    }

    // Replicas

    /// Tells a replica something.
    pub(super) fn tell(&mut self, node: Node, range: Range, event: Told) {
        self.take(node, range, Input::Event(event));
    }

    /// Hands a replica an input, and grants what it wishes.
    pub(super) fn take(&mut self, node: Node, range: Range, input: Input<RangeMachine>) {
        self.turn(node, range, |drive, around| drive.take(input, around));
    }

    fn settle(&mut self, node: Node, range: Range) {
        self.turn(node, range, |drive, around| drive.settle(around));
    }

    fn turn(
        &mut self,
        node: Node,
        range: Range,
        turn: impl FnOnce(&mut Drive<RangeMachine>, &mut Around<'_>),
    ) {
        let Some(machine) = self.machines.get_mut(&node) else { return };
        let now = machine.clock.at(self.now);
        let Some(replica) = machine.process.as_mut().and_then(|process| process.replicas.get_mut(&range))
        else {
            return;
        };
        let mut wishes = Vec::new();
        let mut around = Around { now, lease: &mut replica.lease, wishes: &mut wishes };
        turn(&mut replica.drive, &mut around);
        let life = self.life(node);
        for wish in wishes {
            if !self.lives(node, life) {
                return;
            }
            self.grant(node, life, range, wish);
        }
        self.collect(node, range);
    }

    fn grant(&mut self, node: Node, life: u64, range: Range, wish: Wish) {
        match wish {
            Wish::Append(records, ticket) => self.append(node, life, range, records, ticket),
            Wish::Send(envelope) => self.send(node, range, envelope),
            Wish::ReadLog { to, after, bytes_max } => {
                let Some(process) = self.machines.get(&node).and_then(|machine| machine.process.as_ref())
                else {
                    return;
                };
                let read = process.writer.reader().read(World::cohort(range), after, bytes_max);
                if let Err(error) = &read {
                    let error = error.to_string();
                    self.note(|| format!("n{node} r{range} cannot read its log behind {after}: {error}"));
                }
                let entries = read.ok();
                let delay = 200 + self.random.below(self.options.force_max);
                let event = Told::LogRead { to, after, entries };
                self.plan(delay, Action::Tell { node, life, range, event });
            }
            Wish::ReadImage { to, image, part, tables } => {
                let Some(replica) = self.replica(node, range) else { return };
                let part = replica.drive.store().read_image(to, part, tables).ok();
                let delay = 200 + self.random.below(self.options.force_max);
                let event = Told::ImageRead { to, image, part };
                self.plan(delay, Action::Tell { node, life, range, event });
            }
            Wish::ReceiveImage { image, part } => {
                let delay = 200 + self.random.below(self.options.force_max);
                self.plan(delay, Action::Receive { node, life, range, image, part });
            }
            Wish::Imaged => self.counts.images += 1,
            Wish::Coordinate(request) => {
                if matches!(request, CoordinationRequest::Stand { .. }) {
                    self.promised(node, range);
                }
                let delay = 200 + self.random.below(self.options.delay_max);
                self.plan(delay, Action::Coordinate { node, life, range, request });
            }
            Wish::Applied(entries) => {
                for entry in entries {
                    let request = owner(&entry);
                    self.happened(Event::Applied { node, range, entry, request });
                }
            }
            Wish::Answering(Reply::Written(lsn)) => self.happened(Event::Acknowledged { node, range, lsn }),
            Wish::Answering(_) => {}
            Wish::Opened(epoch) => {
                self.counts.elections += 1;
                self.happened(Event::Opened { node, range, epoch });
            }
            Wish::Alarm(text) => self.happened(Event::Alarm { node, range, text }),
        }
    }

    fn append(&mut self, node: Node, life: u64, range: Range, records: Vec<Record>, ticket: Option<Ticket>) {
        let start = records.iter().any(|record| match record {
            Record::Entry(entry) => entry.kind == EntryKind::EpochStart && entry.lsn.epoch.0 > 0,
            Record::Promise(_)
            | Record::Commit(_)
            | Record::Skip(_)
            | Record::Checkpoint(_)
            | Record::Image(_) => false,
        });
        let Some(process) = self.machines.get_mut(&node).and_then(|machine| machine.process.as_mut()) else {
            return;
        };
        process.queue.push((range, records, ticket));
        let urgent = ticket.is_some() && !process.forcing;
        process.forcing |= urgent;
        if urgent {
            let delay = 100 + self.random.below(self.options.force_max);
            self.plan(delay, Action::Force { node, life });
        } else if ticket.is_none() {
            self.plan(LINGER, Action::Force { node, life });
        }
        if start {
            self.spring(node, range);
        }
    }

    /// What the log's thread does in a round: takes what has been queued, writes it as one batch, forces, tells.
    fn force(&mut self, node: Node) {
        let (now, life) = (self.now, self.life(node));
        let Some(machine) = self.machines.get_mut(&node) else { return };
        let Some(process) = machine.process.as_mut() else { return };
        if machine.hung_until > now {
            let left = machine.hung_until - now;
            return self.plan(left, Action::Force { node, life });
        }
        process.forcing = false;
        let (mut taken, mut refused, mut events) = (Vec::new(), Vec::new(), Vec::new());
        let mut poisoned = false;
        for (range, records, ticket) in mem::take(&mut process.queue) {
            let happened =
                records.iter().filter_map(|record| logged(node, range, record)).collect::<Vec<_>>();
            match process.writer.append(Append { cohort: World::cohort(range), records }) {
                Ok(()) => {
                    events.extend(happened);
                    taken.extend(ticket.map(|ticket| (range, ticket)));
                }
                Err(LogError::DiskFull) => refused.extend(ticket.map(|ticket| (range, ticket))),
                Err(LogError::Poisoned(_) | LogError::Closed) => poisoned = true,
            }
        }
        let forced = process.writer.force();
        events.into_iter().for_each(|event| self.happened(event));
        if self.stopped(node) {
            return;
        }
        match forced {
            Ok(()) if !poisoned => self.happened(Event::Forced { node }),
            Err(LogError::DiskFull) => {
                self.happened(Event::Discarded { node });
                refused.append(&mut taken);
            }
            Ok(()) | Err(LogError::Poisoned(_) | LogError::Closed) => return self.fail(node),
        }
        let told = |fate: fn(Ticket) -> Told| move |(range, ticket)| (range, fate(ticket));
        let taken = taken.into_iter().map(told(Told::Forced));
        let refused = refused.into_iter().map(told(Told::AppendFailed));
        // Who was refused is told so before the force, in production, too: what was taken behind it is void.
        for (range, event) in refused.chain(taken).collect::<Vec<_>>() {
            if self.lives(node, life) {
                self.tell(node, range, event);
            }
        }
    }

    /// The log can no longer be trusted: the process ends, and is started again.
    fn fail(&mut self, node: Node) {
        self.note(|| format!("n{node} fails: its log is poisoned"));
        self.kill(node, 100_000);
        let delay = 10_000 + self.random.below(200_000);
        self.plan(delay, Action::Start { node });
    }

    fn send(&mut self, node: Node, range: Range, envelope: Envelope) {
        if matches!(envelope.message, Message::Promised { .. }) {
            self.promised(node, range);
        }
        let to = envelope.to.0;
        for delay in self.network.send(&mut self.random, self.now, node, to) {
            self.plan(delay, Action::Deliver { range, envelope: envelope.clone() });
        }
    }

    /// The store keeps a part of an image; what is in force then, replication is told a moment later.
    fn receive(&mut self, node: Node, range: Range, image: u64, part: ImagePart) {
        let Some(replica) = self.replica(node, range) else { return };
        let number = part.number;
        let outcome = replica.drive.store().receive_image(part);
        if self.stopped(node) {
            return;
        }
        if let Received::Installed { base, .. } = &outcome {
            let base = *base;
            self.happened(Event::Imaged { node, range, base });
        }
        let (life, delay) = (self.life(node), self.random.below(self.options.force_max));
        let event = Told::ImageReceived { image, part: number, outcome };
        self.plan(delay, Action::Tell { node, life, range, event });
    }

    fn promised(&mut self, node: Node, range: Range) {
        if let Some(replica) = self.replica(node, range) {
            let promise = replica.drive.cohort().status().promise;
            self.happened(Event::Promised { node, range, promise });
        }
    }

    // Background work

    fn maintain(&mut self, node: Node) {
        let life = self.life(node);
        for range in self.ranges_of(node) {
            if self.lives(node, life) && self.violation.is_none() {
                self.maintain_range(node, range);
            }
        }
        if !self.lives(node, life) || !self.random.one_in(4) {
            return;
        }
        let Some(process) = self.machines.get_mut(&node).and_then(|machine| machine.process.as_mut()) else {
            return;
        };
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
            Err(LogError::DiskFull) => {}
            Err(LogError::Poisoned(_) | LogError::Closed) => self.fail(node),
        }
    }

    fn maintain_range(&mut self, node: Node, range: Range) {
        let Some(replica) = self.replica(node, range) else { return };
        let (store, status) = (Arc::clone(replica.drive.store()), replica.drive.cohort().status());
        if store.engine().needs_flush() {
            // In production writes go on between the freezing and the flush.
            let freeze = self.random.one_in(2);
            self.flush(node, range, !freeze);
        } else if store.engine().needs_compaction() {
            let compacted = store.compact(&status);
            if self.stopped(node) {
                return;
            }
            match compacted {
                Ok(did) => self.counts.compactions += u64::from(did),
                Err(error) => self.note(|| format!("n{node} r{range} cannot compact: {error}")),
            }
        }
    }

    fn flush(&mut self, node: Node, range: Range, whole: bool) {
        let Some(replica) = self.replica(node, range) else { return };
        let store = Arc::clone(replica.drive.store());
        store.freeze();
        if !whole {
            return;
        }
        let forced = replica.drive.cohort().status().forced;
        let flushed = store.flush(|base| forced.seq >= base.seq);
        if self.stopped(node) {
            return;
        }
        match flushed {
            Ok(durable) => {
                self.counts.flushes += 1;
                let (base, base_chain) = (durable.base, durable.base_chain);
                self.happened(Event::Flushed { node, range, base });
                self.tell(node, range, Told::Checkpointed { base, base_chain });
            }
            Err(error) => self.note(|| format!("n{node} r{range} cannot flush: {error}")),
        }
    }
}

/// What the history says of a record.
fn logged(node: Node, range: Range, record: &Record) -> Option<Event> {
    match record {
        Record::Entry(entry) => Some(Event::Appended { node, range, lsn: entry.lsn, chain: entry.chain }),
        Record::Skip(skip) => {
            let from = skip.0.values().filter_map(|sequences| sequences.min()).min()?;
            Some(Event::Skipped { node, range, from })
        }
        Record::Promise(_) | Record::Commit(_) | Record::Checkpoint(_) | Record::Image(_) => None,
    }
}

// For whoever runs the world.
impl World {
    /// Real time, in microseconds.
    pub fn time(&self) -> u64 {
        self.now
    }

    /// All ranges.
    pub fn ranges(&self) -> std::ops::Range<Range> {
        0..self.options.ranges
    }

    /// When the last operation should have begun, and the last fault struck.
    pub fn planned_end(&self) -> u64 {
        self.options.duration
    }

    /// Whether all replicas of each range have applied the same, and everything that their leader has.
    pub fn level(&self) -> bool {
        self.ranges().all(|range| {
            let mut positions = self.options.members(range).into_iter().map(|node| {
                let replica = self.machines.get(&node)?.process.as_ref()?.replicas.get(&range)?;
                let status = replica.drive.cohort().status();
                Some((status.applied, status.last))
            });
            let first = positions.next().flatten();
            first.is_some_and(|(applied, last)| applied == last) && positions.all(|other| other == first)
        })
    }

    /// Has every replica show what it holds.
    pub fn compare(&mut self) {
        for range in self.ranges() {
            for node in self.options.members(range) {
                let contents =
                    self.replica(node, range).map(|replica| replica.drive.store().engine().checksum());
                match contents {
                    Some(Ok((lsn, hash))) => self.happened(Event::Contents { node, range, lsn, hash }),
                    Some(Err(error)) => self.violated("replicas", format!("n{node} r{range}: {error}")),
                    None => {}
                }
            }
        }
    }

    /// All replicas, a line each.
    pub fn statuses(&self) -> String {
        let mut text = String::new();
        for range in self.ranges() {
            for node in self.options.members(range) {
                let replica =
                    self.machines[&node].process.as_ref().and_then(|process| process.replicas.get(&range));
                let status =
                    replica.map_or("down".to_owned(), |replica| replica.drive.cohort().status().to_string());
                text.push_str(&format!("  r{range} {status}\n"));
            }
        }
        text
    }
}
