//! The simulated cluster: what happens next happens here, one thing at a time, in an order that the seed decides.
//!
//! The nodes run production code: the protocol and its drive, the log, the storage engine with its opening and its
//! background work. Around them everything is made up: time, network, disks, coordinator, clients. Nothing here
//! consults a real clock, a thread or a hash map's order, so a seed always gives the same run.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Instant;

use kvstore::request::RequestId;
use replication::protocol::coordination::{CoordinationOutcome, CoordinationRequest, RangeView};
use replication::protocol::event::Event as CohortEvent;
use replication::protocol::message::{Envelope, Message, SnapshotPart, ToLeader};
use replication::testing::options::Random;
use wal::disk::MemoryDisk;
use wal::{CohortId, Incarnation, Lsn, NodeId, ReplicaId};

use super::call::{self, Call, Stage};
use super::client::Client;
use super::coverage::{Coverage, Kinds};
use super::history::{Call as Asked, Checker, Event, Node, Range, Violation};
use super::machine::{Clock, Machine, Replica};
use super::network::Network;
use super::options::{Options, Style};
use super::report;
use super::schedule::{Fault, Snare};
use replication::testing::coordinator::{Backup, Service};

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
    /// An event reaches a replica.
    Tell { node: Node, life: u64, range: Range, event: CohortEvent },
    /// A store keeps a part of a snapshot.
    Receive { node: Node, life: u64, range: Range, snapshot: u64, part: SnapshotPart },
    /// A request reaches the coordinator.
    Coordinate { node: Node, life: u64, range: Range, request: CoordinationRequest },
    /// Its outcome reaches the replica.
    Coordinated { node: Node, life: u64, range: Range, outcome: CoordinationOutcome, change: u64 },
    /// A view reaches the replica; one that is read on arrival if it is not given.
    View { node: Node, life: u64, range: Range, view: Option<(RangeView, u64)> },
    /// A replica hears which disks the members have now.
    Members { node: Node, life: u64, range: Range },
    /// The service gives a session up.
    Expire { node: Node, session: u64 },
    /// The node makes a new session.
    Renew { node: Node },
    /// A node that is down starts.
    Start { node: Node },
    /// A disk has space again, and takes writes.
    Lift { node: Node },
    /// A call reaches its replica, or goes on there.
    Serve { call: u64, stage: Stage },
    /// An answer reaches the gateway.
    Answer { call: u64, result: call::Result },
    /// The stream that a call went out on breaks.
    Timeout { call: u64 },
    /// A client begins its next operation.
    Client { client: u32 },
    /// Its gateway goes on.
    Wake { client: u32 },
    /// A node is told that a scan that is open there needs no more pages.
    CloseScan { from: Node, to: Node, cursor: u64 },
    /// A fault that another one has set off.
    Strike { fault: Fault },
}

/// What was done, for reports.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Client operations begun.
    pub operations: u64,
    /// Writes acknowledged to clients.
    pub written: u64,
    /// Reads answered.
    pub read: u64,
    /// Pages of scans read.
    pub pages: u64,
    /// Leaderships opened.
    pub elections: u64,
    /// Crashes of processes.
    pub crashes: u64,
    /// Damaged tables repaired while their replica went on.
    pub repairs: u64,
    /// Memtables flushed.
    pub flushes: u64,
    /// Compactions done.
    pub compactions: u64,
    /// Snapshots of ranges taken.
    pub snapshots: u64,
    /// Replicas that found their log damaged.
    pub rejoins: u64,
    /// Disks lost, and replaced by empty ones.
    pub disks: u64,
    /// Times that a log had to wait for its next segment.
    pub segments_late: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Counts) {
        self.operations += other.operations;
        self.written += other.written;
        self.read += other.read;
        self.pages += other.pages;
        self.elections += other.elections;
        self.crashes += other.crashes;
        self.repairs += other.repairs;
        self.flushes += other.flushes;
        self.compactions += other.compactions;
        self.snapshots += other.snapshots;
        self.rejoins += other.rejoins;
        self.segments_late += other.segments_late;
        self.disks += other.disks;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { operations, written, read, pages, elections, crashes, .. } = self;
        write!(
            f,
            "{operations} operations ({written} writes acknowledged, {read} reads answered), {pages} pages, "
        )?;
        let Counts { flushes, compactions, snapshots, repairs, rejoins, disks, .. } = self;
        write!(
            f,
            "{elections} leaderships, {crashes} crashes, {flushes} flushes, {compactions} compactions, "
        )?;
        write!(
            f,
            "{snapshots} snapshots, {repairs} tables repaired, {rejoins} logs and {disks} disks lost, "
        )?;
        write!(f, "{} segments late", self.segments_late)
    }
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
    pub(super) backup: Option<Vec<Backup>>,
    /// What waits for the next leader of each range.
    pub(super) traps: Vec<Option<Snare>>,
    /// The faults have ended.
    pub(super) calm: bool,
    /// The coordinator is out of everybody's reach until then.
    pub(super) outage_until: u64,
    /// Boxed: the tree moves its entries about.
    agenda: BTreeMap<(u64, u64), Box<Action>>,
    number: u64,
    pub(super) clients: Vec<Client>,
    pub(super) calls: BTreeMap<u64, Call>,
    /// Calls that nodes have passed on.
    pub(super) passed_on: u64,
    /// Number of the last call that a gateway was asked for.
    pub(super) last_call: u64,
    /// Where the log says that a write was refused.
    pub(super) refusals: BTreeMap<RequestId, Lsn>,
    /// The real time 0, for code that takes moments.
    pub(super) origin: Instant,
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
    /// What was met.
    pub coverage: Coverage,
}

impl World {
    /// A new cluster on empty disks; its nodes start at once.
    pub fn new(seed: u64, options: Options, checkers: Vec<Box<dyn Checker>>, trace: bool) -> World {
        let mut random = Random(seed);
        let slow = 1 + random.below(options.nodes.into()) as u32;
        let machines = (1..=options.nodes)
            .map(|node| {
                let most = i64::try_from(options.drift_per_mille).unwrap_or(0);
                let drift = i64::try_from(random.below(2 * options.drift_per_mille + 1)).unwrap_or(0);
                // Deposed leaders are worst when clocks differ as much as they may.
                let rate_per_mille = match options.style {
                    Style::Deposing if node == slow => -most,
                    Style::Deposing => most,
                    Style::Any | Style::Storm | Style::Full | Style::Silence => drift - most,
                };
                let clock = Clock { offset: random.below(1_000_000_000), rate_per_mille };
                let machine = Machine {
                    disk: MemoryDisk::new(),
                    clock,
                    process: None,
                    life: 0,
                    hung_until: 0,
                    ended_at: 0,
                    log_noted: false,
                    disks_lost: 0,
                    paused_until: 0,
                    unwell_until: 0,
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
            services: (0..options.ranges).map(|_| Service::default()).collect(),
            traps: vec![None; options.ranges as usize],
            options,
            random,
            now: 0,
            machines,
            network,
            backup: None,
            calm: false,
            outage_until: 0,
            agenda: BTreeMap::new(),
            number: 0,
            clients: Vec::new(),
            calls: BTreeMap::new(),
            passed_on: 0,
            last_call: 0,
            refusals: BTreeMap::new(),
            origin: Instant::now(),
            operations: 0,
            values: 0,
            checkers,
            violation: None,
            hash: seed,
            trace: trace.then(Vec::new),
            counts: Counts::default(),
            coverage: Coverage::default(),
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

    /// A node with its disk.
    pub(super) fn member(&self, node: Node) -> ReplicaId {
        let lost = self.machines.get(&node).map_or(0, |machine| machine.disks_lost);
        ReplicaId { node: NodeId(node), incarnation: Incarnation(u64::from(node) + 100 * lost) }
    }

    /// The members of a range, as the coordinator has them.
    pub(super) fn members(&self, range: Range) -> Vec<ReplicaId> {
        self.options.members(range).into_iter().map(|node| self.member(node)).collect()
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

    pub(super) fn lives(&self, node: Node, life: u64) -> bool {
        self.runs(node) && self.life(node) == life
    }

    // History

    /// Something happened: checkers look at it, the first violation ends the run.
    pub(super) fn happened(&mut self, event: Event) {
        self.tell_coverage(&event);
        if let Some(trace) = &mut self.trace {
            let line = report::line(self.now, &event);
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

    fn tell_coverage(&mut self, event: &Event) {
        match event {
            Event::Invoked { call, .. } => {
                self.coverage.met(call.kind());
                if let Asked::Write { conditions, mutations, .. } = call {
                    conditions.iter().for_each(|condition| self.coverage.met(condition.kind()));
                    mutations.iter().for_each(|mutation| self.coverage.met(mutation.kind()));
                }
            }
            Event::Returned { outcome, .. } => self.coverage.met(outcome.kind()),
            _ => {}
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
        self.agenda.insert((self.now + after, self.number), Box::new(action));
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
        self.perform(*action);
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
            | Action::Members { node, .. }
            | Action::Renew { node } => *node,
            Action::Serve { call, .. } => self.calls.get(call).map_or(0, |call| call.target),
            Action::Answer { call, .. } | Action::Timeout { call } => {
                self.calls.get(call).map_or(0, |call| call.gateway)
            }
            Action::Wake { client } => {
                self.clients[*client as usize].work.as_ref().map_or(0, |work| work.gateway)
            }
            Action::CloseScan { to, .. } => *to,
            Action::Coordinate { .. }
            | Action::Expire { .. }
            | Action::Start { .. }
            | Action::Lift { .. }
            | Action::Strike { .. }
            | Action::Client { .. } => 0,
        }
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Deliver { range, envelope } => {
                if self.network.carries(envelope.from.node.0, envelope.to.0) {
                    self.coverage.met(envelope.message.kind());
                    let node = envelope.to.0;
                    let inherited = matches!(envelope.message, Message::ToLeader(epoch, ToLeader::Ack(ack)) if ack.forced.epoch < epoch);
                    self.tell(node, range, CohortEvent::Received(envelope));
                    if inherited {
                        self.spring(node, range, Snare::Ack);
                    }
                }
            }
            Action::Tick { node, life } => {
                if self.lives(node, life) {
                    let tick = u64::from(self.options.settings.tick.0) * 1000;
                    self.plan(tick, Action::Tick { node, life });
                    for range in self.ranges_of(node) {
                        self.tell(node, range, CohortEvent::Tick);
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
            Action::Receive { node, life, range, snapshot, part } => {
                if self.lives(node, life) {
                    self.receive(node, range, snapshot, part);
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
                    self.tell(node, range, CohortEvent::Coordinated(outcome));
                }
            }
            Action::View { node, life, range, view } => self.show(node, life, range, view),
            Action::Members { node, life, range } => {
                if self.lives(node, life) {
                    let members = self.members(range);
                    self.tell(node, range, CohortEvent::Members(members));
                }
            }
            Action::Expire { node, session } => self.expire(node, session),
            Action::Renew { node } => self.renew(node),
            Action::Start { node } => self.start(node),
            Action::Lift { node } => self.lift(node),
            Action::Serve { call, stage } => self.serve(call, stage),
            Action::Answer { call, result } => self.answered(call, result),
            Action::Timeout { call } => self.timed_out(call),
            Action::Client { client } => self.client_step(client),
            Action::Wake { client } => self.drive(client),
            Action::CloseScan { from, to, cursor } => self.scan_closed(from, to, cursor),
            Action::Strike { fault } => {
                if !self.calm {
                    self.strike(fault);
                }
            }
        }
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

    /// Whether all replicas of each range have applied the same, and everything that their leader has, and count again.
    pub fn level(&self) -> bool {
        self.ranges().all(|range| {
            let mut positions = self.options.members(range).into_iter().map(|node| {
                let replica = self.machines.get(&node)?.process.as_ref()?.replicas.get(&range)?;
                let status = replica.drive.cohort().status();
                (!status.learner).then_some((status.applied, status.last))
            });
            let first = positions.next().flatten();
            first.is_some_and(|(applied, last)| applied == last) && positions.all(|other| other == first)
        })
    }

    /// Whether no scan is open any more: what its gateway could not close has ended by itself.
    pub fn scans_closed(&self) -> bool {
        let mut processes = self.machines.values().filter_map(|machine| machine.process.as_ref());
        processes.all(|process| process.scans.count() == 0 && process.scan_memory.used() == 0)
    }

    /// Whether all tables of all replicas can be read.
    pub fn sound(&self) -> bool {
        let rot = self.options.kinds.rot;
        let processes = self.machines.values().filter(|_| rot).filter_map(|machine| machine.process.as_ref());
        processes.flat_map(|process| process.replicas.values()).all(|replica| {
            let engine = replica.drive.store().engine();
            // From where it stands to the end, and everything.
            engine.scrub(u64::MAX);
            engine.scrub(u64::MAX);
            !engine.damaged()
        })
    }

    /// Has every replica show what it holds.
    pub fn compare(&mut self) {
        for range in self.ranges() {
            for node in self.options.members(range) {
                let contents = self
                    .replica(node, range)
                    .map(|replica| kvstore::testing::contents(replica.drive.store()));
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
