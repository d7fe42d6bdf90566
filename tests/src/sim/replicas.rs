//! Replicas: they are handed inputs, and what they wish of the world is granted, by the node's log above all.

use std::mem;

use kvstore::testing::RangeStore;
use replication::drive::{Drive, Input};
use replication::protocol::coordination::CoordinationRequest;
use replication::protocol::effect::Reply;
use replication::protocol::event::{Event as CohortEvent, Received, Ticket};
use replication::protocol::message::{Envelope, Message, SnapshotPart, ToLeader};
use replication::protocol::notice::Notice;
use replication::store::Store;
use wal::{Append, EntryKind, LogError, Record};

use super::coverage::Kinds;
use super::history::{Event, Node, Range};
use super::machine::{ReplicaEnvironment, Wish, owner};
use super::schedule::Snare;
use super::world::{Action, World};

/// Pause before a segment that could not be made is tried again.
const SEGMENT_PAUSE: u64 = 10_000;
/// How long an append that nobody waits for may stay in memory.
const LINGER: u64 = 50_000;

impl World {
    /// Tells a replica something.
    pub(super) fn tell(&mut self, node: Node, range: Range, event: CohortEvent) {
        self.take(node, range, Input::Event(event));
    }

    /// Hands a replica an input, and grants what it wishes.
    pub(super) fn take(&mut self, node: Node, range: Range, input: Input<RangeStore>) {
        self.coverage.met(input.kind());
        self.turn(node, range, |drive, environment| drive.take(input, environment));
    }

    pub(super) fn settle(&mut self, node: Node, range: Range) {
        self.turn(node, range, |drive, environment| drive.settle(environment));
    }

    pub(super) fn turn(
        &mut self,
        node: Node,
        range: Range,
        turn: impl FnOnce(&mut Drive<RangeStore>, &mut ReplicaEnvironment<'_>),
    ) {
        let Some(machine) = self.machines.get_mut(&node) else { return };
        let now = machine.clock.at(self.now);
        let Some(replica) = machine.process.as_mut().and_then(|process| process.replicas.get_mut(&range))
        else {
            return;
        };
        let mut wishes = Vec::new();
        let mut environment = ReplicaEnvironment { now, lease: &mut replica.lease, wishes: &mut wishes };
        turn(&mut replica.drive, &mut environment);
        let life = self.life(node);
        for wish in wishes {
            if !self.lives(node, life) {
                return;
            }
            self.grant(node, life, range, wish);
        }
        self.collect(node, range);
        let Some(replica) = self.replica(node, range) else { return };
        let leader = replica.drive.cohort().leader();
        if std::mem::replace(&mut replica.leader, leader) != leader {
            self.wake(node, range);
        }
    }

    pub(super) fn grant(&mut self, node: Node, life: u64, range: Range, wish: Wish) {
        self.coverage.met(wish.kind());
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
                let event = CohortEvent::LogRead { to, after, entries };
                self.plan(delay, Action::Tell { node, life, range, event });
            }
            Wish::ReadSnapshot { to, snapshot, part, flushed } => {
                let fails = self.options.kinds.errors && self.random.one_in(30);
                let Some(replica) = self.replica(node, range) else { return };
                let read = replica.drive.store().read_snapshot(to, snapshot, part, flushed);
                let part = read.ok().filter(|_| !fails);
                let delay = 200 + self.random.below(self.options.force_max);
                let event = CohortEvent::SnapshotRead { to, snapshot, part };
                self.plan(delay, Action::Tell { node, life, range, event });
            }
            Wish::ReceiveSnapshot { snapshot, part } => {
                let delay = 200 + self.random.below(self.options.force_max);
                self.plan(delay, Action::Receive { node, life, range, snapshot, part });
            }
            Wish::WipeData => {
                let Some(replica) = self.replica(node, range) else { return };
                let wiped = replica.drive.store().wipe();
                self.tell(node, range, CohortEvent::DataWiped(wiped));
            }
            Wish::SnapshotInstalled => self.counts.snapshots += 1,
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
                    if let Some((request, true)) = request {
                        self.refusals.insert(request, entry.lsn);
                    }
                    self.happened(Event::Applied { node, range, entry, request });
                }
            }
            Wish::Publish(_) => {}
            Wish::Notice(notice) => self.noticed(node, range, &notice),
            Wish::Answering(reply) => self.answering(node, range, &reply),
            Wish::Opened(epoch) => {
                self.counts.elections += 1;
                self.happened(Event::Opened { node, range, epoch });
            }
            Wish::Alarm(text) => self.happened(Event::Alarm { node, range, text }),
        }
    }

    /// A replica tells of a change.
    fn noticed(&mut self, node: Node, range: Range, notice: &Notice) {
        self.coverage.met(Kinds::kind(notice));
        match notice {
            Notice::Role { why, .. } => self.coverage.met(why.kind()),
            Notice::Suspected { why, .. } => self.coverage.met(why.kind()),
            Notice::TransferBegun { why, .. } => self.coverage.met(why.kind()),
            Notice::Learning { wiped: true } => self.happened(Event::Learning { node, range }),
            Notice::Promoted => self.happened(Event::Promoted { node, range }),
            _ => {}
        }
    }

    fn answering(&mut self, node: Node, range: Range, reply: &Reply) {
        self.coverage.met(reply.kind());
        match reply {
            Reply::Written(lsn) => self.happened(Event::Acknowledged { node, range, lsn: *lsn }),
            Reply::Unavailable(why) => self.coverage.met(why.kind()),
            _ => {}
        }
    }

    pub(super) fn append(
        &mut self,
        node: Node,
        life: u64,
        range: Range,
        records: Vec<Record>,
        ticket: Option<Ticket>,
    ) {
        let start = records.iter().any(|record| match record {
            Record::Entry(entry) => entry.kind == EntryKind::EpochStart && entry.lsn.epoch.0 > 0,
            Record::Promise(_)
            | Record::Commit(_)
            | Record::Skip(_)
            | Record::Checkpoint(_)
            | Record::Snapshot(_) => false,
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
            self.spring(node, range, Snare::Start);
        }
    }

    /// What the log's thread does in a round: takes what has been queued, writes it as one batch, forces, tells.
    pub(super) fn force(&mut self, node: Node) {
        let (now, life) = (self.now, self.life(node));
        let Some(machine) = self.machines.get_mut(&node) else { return };
        let Some(process) = machine.process.as_mut() else { return };
        if machine.hung_until > now {
            let left = machine.hung_until - now;
            return self.plan(left, Action::Force { node, life });
        }
        process.forcing = false;
        let (mut taken, mut refused, mut events) = (mem::take(&mut process.open), Vec::new(), Vec::new());
        let mut poisoned = false;
        for (range, records, ticket) in mem::take(&mut process.queue) {
            let happened =
                records.iter().filter_map(|record| logged(node, range, record)).collect::<Vec<_>>();
            match process.writer.append(Append { cohort: World::cohort(range), records }) {
                Ok(()) => {
                    events.extend(happened);
                    taken.extend(ticket.map(|ticket| (range, ticket)));
                }
                Err(error @ (LogError::DiskFull | LogError::Segment(_))) => {
                    self.coverage.met(error.kind());
                    refused.extend(ticket.map(|ticket| (range, ticket)))
                }
                Err(LogError::Poisoned(_) | LogError::Closed) => poisoned = true,
            }
        }
        let forced = process.writer.force();
        if let Err(error) = &forced {
            self.coverage.met(error.kind());
        }
        events.into_iter().for_each(|event| self.happened(event));
        if self.stopped(node) {
            return;
        }
        match forced {
            Ok(()) if !poisoned => self.happened(Event::Forced { node }),
            Err(LogError::Segment(_)) if !poisoned => self.wait_for_segment(node, mem::take(&mut taken)),
            Err(LogError::DiskFull) => {
                self.happened(Event::Discarded { node });
                refused.append(&mut taken);
            }
            Ok(()) | Err(LogError::Segment(_) | LogError::Poisoned(_) | LogError::Closed) => {
                return self.fail(node);
            }
        }
        let settled = |fate: fn(Ticket) -> CohortEvent| move |(range, ticket)| (range, fate(ticket));
        let taken = taken.into_iter().map(settled(CohortEvent::Forced));
        let refused = refused.into_iter().map(settled(CohortEvent::AppendFailed));
        // Who was refused is answered before the force, in production, too: what was taken behind it is superseded.
        for (range, event) in refused.chain(taken).collect::<Vec<_>>() {
            if self.lives(node, life) {
                let refused = matches!(event, CohortEvent::AppendFailed(_));
                self.tell(node, range, event);
                if refused && self.lives(node, life) {
                    self.happened(Event::AppendRefused { node, range });
                }
            }
        }
    }

    /// The log had no segment for its batch: what it has taken waits for the next force.
    fn wait_for_segment(&mut self, node: Node, taken: Vec<(Range, Ticket)>) {
        let life = self.life(node);
        if let Some(process) = self.machines.get_mut(&node).and_then(|machine| machine.process.as_mut()) {
            (process.open, process.forcing) = (taken, true);
            self.counts.segments_late += 1;
            self.plan(SEGMENT_PAUSE, Action::Force { node, life });
        }
    }

    /// The log can no longer be trusted: the process ends, and is started again.
    pub(super) fn fail(&mut self, node: Node) {
        self.note(|| format!("n{node} fails: its log is poisoned"));
        self.kill(node, 100_000);
        let delay = 10_000 + self.random.below(200_000);
        self.plan(delay, Action::Start { node });
    }

    pub(super) fn send(&mut self, node: Node, range: Range, envelope: Envelope) {
        if matches!(envelope.message, Message::ToLeader(_, ToLeader::Promised(_))) {
            self.promised(node, range);
        }
        let to = envelope.to.0;
        for delay in self.network.send(&mut self.random, self.now, node, to) {
            self.plan(delay, Action::Deliver { range, envelope: envelope.clone() });
        }
    }

    /// The store keeps a part of a snapshot; what is in force then, replication is notified a moment later.
    pub(super) fn receive(&mut self, node: Node, range: Range, snapshot: u64, part: SnapshotPart) {
        let fails = self.options.kinds.errors && self.random.one_in(30);
        let Some(replica) = self.replica(node, range) else { return };
        let number = part.number;
        let outcome = match fails {
            true => Received::Failed("simulated EIO".into()),
            false => replica.drive.store().receive_snapshot(part),
        };
        let applied = replica.drive.store().applied();
        if self.stopped(node) {
            return;
        }
        if let Received::Installed { flushed, .. } = &outcome {
            let flushed = *flushed;
            // Damaged tables are repaired under what is applied.
            self.counts.repairs += u64::from(flushed < applied);
            self.happened(match flushed < applied {
                true => Event::Flushed { node, range, flushed },
                false => Event::SnapshotInstalled { node, range, flushed },
            });
        }
        let (life, delay) = (self.life(node), self.random.below(self.options.force_max));
        let event = CohortEvent::SnapshotReceived { snapshot, part: number, outcome };
        self.plan(delay, Action::Tell { node, life, range, event });
    }

    pub(super) fn promised(&mut self, node: Node, range: Range) {
        if let Some(replica) = self.replica(node, range) {
            let promise = replica.drive.cohort().status().promise;
            self.happened(Event::Promised { node, range, promise });
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
        // What stands before it is superseded, what it does not reach included: appended again behind a refused append, it may
        // come after entries that were forced, but that nobody was notified of.
        Record::Snapshot(checkpoint) => {
            Some(Event::Skipped { node, range, from: checkpoint.flushed.seq + 1 })
        }
        Record::Promise(_) | Record::Commit(_) | Record::Checkpoint(_) => None,
    }
}
