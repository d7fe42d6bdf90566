//! One cohort under a seeded (or scripted) world.
//!
//! Checked at every step, by `World::step` and what it calls:
//! * an entry applied at a sequence number is the same at every member, for all time, and is applied in order;
//! * a write answered `Written` is the entry applied at its LSN;
//! * at most one member opens an epoch; promises never go down, over restarts too;
//! * a strong read (leased before and after, or answered `ReadReady`) sees all writes acknowledged before it began.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use wal::disk::MemoryDisk;
use wal::{CohortId, Entry, Epoch, Incarnation, LogOptions, LogWriter, NodeId, Promise, ReplicaId};

use super::coordinator::{Backup, Service};
use super::options::{Options, Random};
use crate::protocol::coordination::{CoordinationOutcome, CoordinationRequest};
use crate::protocol::effect::Lease;
use crate::protocol::event::{Event, Ticket, Token};
use crate::protocol::message::Envelope;
use crate::protocol::time::{Millis, Stamp};
use crate::protocol::{Cohort, Status};

pub(super) const COHORT: CohortId = CohortId(7);
pub(super) const LOG_OPTIONS: LogOptions = LogOptions {
    segment_bytes: 64 << 10,
    retention_bytes: 8 << 20,
    reserve_bytes: 64 << 10,
    history: wal::History::Unknown,
};

/// Something that will happen.
#[derive(Clone, Debug)]
pub(super) enum Action {
    Deliver(Envelope),
    Tick { node: u32, life: u64 },
    Force { node: u32, life: u64 },
    AppendFailed { node: u32, life: u64, ticket: Ticket },
    LogRead { node: u32, life: u64, event: Event },
    Coordinate { node: u32, life: u64, request: CoordinationRequest },
    Coordinated { node: u32, life: u64, outcome: CoordinationOutcome },
    View { node: u32, life: u64 },
    Expire { node: u32, session: u64 },
}

/// A strong read that waits for its answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    pub(super) node: u32,
    /// Acknowledged when it began.
    pub(super) floor: u64,
}

/// One member's machine.
pub(super) struct Machine {
    pub(super) disk: MemoryDisk,
    pub(super) writer: Option<LogWriter>,
    pub(super) cohort: Option<Cohort>,
    /// Grows with each start.
    pub(super) life: u64,
    /// The store: entries applied in this life, by position.
    pub(super) applied: Vec<Entry>,
    pub(super) unforced: Option<Ticket>,
    /// Forces are withheld (a hung disk).
    pub(super) held: bool,
    /// Writes find no space (a full disk).
    pub(super) full: bool,
    pub(super) lease: Option<Lease>,
    pub(super) session: u64,
    pub(super) session_lives: bool,
    pub(super) promise: Promise,
    /// The log was lost while it was down.
    pub(super) lost: bool,
    pub(super) rate_per_mille: i64,
    pub(super) offset: u64,
}

/// The world.
pub struct World {
    pub(super) options: Options,
    pub(super) random: Random,
    /// Real time, in microseconds.
    now: u64,
    pub(super) machines: BTreeMap<u32, Machine>,
    agenda: BTreeMap<(u64, u64), Action>,
    agenda_number: u64,
    pub(super) service: Service,
    pub(super) backup: Option<Backup>,
    /// Whether the coordinator answers.
    pub(super) service_up: bool,
    /// Directed links that carry nothing.
    pub(super) cut: BTreeSet<(u32, u32)>,
    /// What was applied at each sequence number, by anyone ever.
    pub(super) applied: BTreeMap<u64, Entry>,
    /// The highest sequence number acknowledged to a client.
    pub(super) acknowledged: u64,
    pub(super) payloads: BTreeMap<Token, Bytes>,
    pub(super) reads: BTreeMap<Token, Reading>,
    pub(super) openers: BTreeMap<Epoch, u32>,
    pub(super) tokens: u64,
    /// Writes acknowledged, and reads served.
    pub written: u64,
    /// Strong reads served and checked.
    pub served: u64,
    /// Notable things, for scripts; empty unless [`World::noting`].
    pub notes: Vec<String>,
    /// Whether to note what happens.
    pub noting: bool,
    /// Alarms raised.
    pub alarms: Vec<String>,
    /// A member has forgotten what it acked and does not know: two histories are to be expected.
    pub(super) forgotten: bool,
    /// What the members' logs say, in order: `n1 stands for election in ..`; empty unless [`World::noting`].
    pub told: Vec<String>,
}

impl World {
    /// A new cohort on empty disks; its members start at once.
    pub fn new(seed: u64, options: Options) -> World {
        let mut random = Random(seed);
        let mut machines = BTreeMap::new();
        for number in 1..=options.members {
            let drift = i64::try_from(random.below(2 * options.drift_per_mille + 1)).unwrap_or(0);
            let machine = Machine {
                disk: MemoryDisk::new(),
                writer: None,
                cohort: None,
                life: 0,
                applied: Vec::new(),
                unforced: None,
                held: false,
                full: false,
                lease: None,
                session: 0,
                session_lives: false,
                promise: Promise::default(),
                lost: false,
                rate_per_mille: drift - i64::try_from(options.drift_per_mille).unwrap_or(0),
                offset: random.below(1_000_000_000),
            };
            machines.insert(number, machine);
        }
        let mut world = World {
            options,
            random,
            now: 0,
            machines,
            agenda: BTreeMap::new(),
            agenda_number: 0,
            service: Service::default(),
            backup: None,
            service_up: true,
            cut: BTreeSet::new(),
            applied: BTreeMap::new(),
            acknowledged: 0,
            payloads: BTreeMap::new(),
            reads: BTreeMap::new(),
            openers: BTreeMap::new(),
            tokens: 0,
            written: 0,
            served: 0,
            notes: Vec::new(),
            noting: false,
            alarms: Vec::new(),
            forgotten: false,
            told: Vec::new(),
        };
        for number in world.numbers() {
            world.start(number, true);
        }
        world
    }

    /// Numbers of the members.
    pub fn numbers(&self) -> Vec<u32> {
        self.machines.keys().copied().collect()
    }

    /// The members that run.
    pub fn running(&self) -> Vec<u32> {
        self.machines
            .iter()
            .filter(|(_, machine)| machine.cohort.is_some())
            .map(|(&number, _)| number)
            .collect()
    }

    /// A member's state, if it runs.
    pub fn status(&self, number: u32) -> Option<Status> {
        self.machines[&number].cohort.as_ref().map(Cohort::status)
    }

    /// The open leader of the highest epoch.
    pub fn leader(&self) -> Option<u32> {
        let open = self.running().into_iter().filter_map(|number| Some((self.status(number)?, number)));
        open.filter(|(status, _)| status.open && !status.suspended)
            .max_by_key(|(status, _)| status.epoch)
            .map(|(_, number)| number)
    }

    /// How many epochs have been opened.
    pub fn epochs_opened(&self) -> usize {
        self.openers.len()
    }

    /// The highest sequence number acknowledged.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// Entries that a member has applied in this life.
    pub fn applied_by(&self, number: u32) -> &[Entry] {
        &self.machines[&number].applied
    }

    pub(super) fn member(number: u32) -> ReplicaId {
        ReplicaId { node: NodeId(number), incarnation: Incarnation(u64::from(number)) }
    }

    pub(super) fn clock(&self, number: u32) -> Stamp {
        let machine = &self.machines[&number];
        let drift = i64::try_from(self.now).unwrap_or(0) / 1000 * machine.rate_per_mille;
        Stamp(machine.offset + self.now.saturating_add_signed(drift))
    }

    pub(super) fn plan(&mut self, after: u64, action: Action) {
        self.agenda_number += 1;
        self.agenda.insert((self.now + after, self.agenda_number), action);
    }

    pub(super) fn note(&mut self, text: impl FnOnce() -> String) {
        if self.noting {
            let text = text();
            self.notes.push(text);
        }
    }

    // Running

    /// Runs for so many microseconds.
    pub fn run(&mut self, duration: u64) {
        let end = self.now + duration;
        while self.agenda.first_key_value().is_some_and(|((at, _), _)| *at <= end) {
            self.step();
        }
        self.now = end;
    }

    /// The next thing happens.
    fn step(&mut self) {
        let Some(((at, _), action)) = self.agenda.pop_first() else { return };
        self.now = self.now.max(at);
        match action {
            Action::Deliver(envelope) => {
                let link = (envelope.from.node.0, envelope.to.0);
                if !self.cut.contains(&link) {
                    self.event(envelope.to.0, Event::Received(envelope));
                }
            }
            Action::Tick { node, life } => {
                if self.lives(node, life) {
                    let tick = u64::from(self.options.settings.tick.0) * 1000;
                    self.plan(tick, Action::Tick { node, life });
                    self.event(node, Event::Tick);
                }
            }
            Action::Force { node, life } => self.force(node, life),
            Action::AppendFailed { node, life, ticket } => {
                if self.lives(node, life) {
                    self.event(node, Event::AppendFailed(ticket));
                }
            }
            Action::LogRead { node, life, event } => {
                if self.lives(node, life) {
                    self.event(node, event);
                }
            }
            Action::Coordinate { node, life, request } => self.coordinate(node, life, request),
            Action::Coordinated { node, life, outcome } => {
                if self.lives(node, life) {
                    self.event(node, Event::Coordinated(outcome));
                }
            }
            Action::View { node, life } => {
                if self.lives(node, life) {
                    let view = self.service.view(self.machines[&node].session_lives && self.service_up);
                    self.event(node, Event::View(view));
                }
            }
            Action::Expire { node, session } => {
                // A restarted member has withdrawn what its former session held.
                if self.machines[&node].session == session {
                    self.service.expire(World::member(node));
                    self.announce();
                }
            }
        }
    }

    fn lives(&self, node: u32, life: u64) -> bool {
        let machine = &self.machines[&node];
        machine.life == life && machine.cohort.is_some()
    }

    fn force(&mut self, node: u32, life: u64) {
        if !self.lives(node, life) {
            return;
        }
        let Some(machine) = self.machines.get_mut(&node) else { return };
        if machine.held {
            return;
        }
        if let Some(writer) = machine.writer.as_mut() {
            writer.force().expect("the simulated disk takes it");
        }
        if let Some(ticket) = machine.unforced.take() {
            self.event(node, Event::Forced(ticket));
        }
    }

    fn coordinate(&mut self, node: u32, life: u64, request: CoordinationRequest) {
        if !self.lives(node, life) {
            return;
        }
        if !self.service_up || !self.machines[&node].session_lives {
            // The adaptor reports no outcome before it has read back: it tries again.
            return self.plan(20_000, Action::Coordinate { node, life, request });
        }
        let done = self.service.execute(World::member(node), request);
        self.note(|| {
            let what = match request {
                CoordinationRequest::Stand { epoch, last } => {
                    format!("stands in election {epoch} with {last}")
                }
                CoordinationRequest::Win { epoch, .. } => format!("takes epoch {epoch}"),
                CoordinationRequest::Restore { epoch } => format!("puts its znode of epoch {epoch} back"),
                CoordinationRequest::Resign { epoch } => format!("resigns epoch {epoch}"),
            };
            format!("n{node} {what}{}", if done { "" } else { ": refused" })
        });
        let delay = 200 + self.random.below(self.options.delay_max);
        self.plan(delay, Action::Coordinated { node, life, outcome: CoordinationOutcome { request, done } });
        self.announce();
    }

    /// Everyone's watches fire.
    pub(super) fn announce(&mut self) {
        for node in self.running() {
            let life = self.machines[&node].life;
            let delay = 100 + self.random.below(self.options.delay_max);
            self.plan(delay, Action::View { node, life });
        }
    }

    pub(super) fn event(&mut self, number: u32, event: Event) {
        let now = self.clock(number);
        let Some(machine) = self.machines.get_mut(&number) else { return };
        let Some(cohort) = machine.cohort.as_mut() else { return };
        let mut effects = Vec::new();
        let before = cohort.status().promise;
        cohort.step(event, now, &mut effects);
        assert!(cohort.status().promise >= before, "a promise went down on n{number}");
        self.perform(number, effects);
    }

    /// After faults have ended: within `within` microseconds some leader takes a write.
    pub fn must_recover(&mut self, within: u64) {
        let (end, before) = (self.now + within, self.written);
        let mut number = 0;
        while self.now < end {
            self.run(50_000);
            if let Some(leader) = self.leader() {
                number += 1;
                self.write(leader, &format!("recovered {number}"));
            }
            if self.written > before {
                return;
            }
        }
        let statuses: Vec<String> =
            self.running().into_iter().filter_map(|n| self.status(n)).map(|s| s.to_string()).collect();
        panic!("no write within {} ms after the faults ended:\n{}", within / 1000, statuses.join("\n"));
    }

    /// The lease length, for scripts.
    pub fn lease(&self) -> Millis {
        self.options.settings.lease
    }
}
