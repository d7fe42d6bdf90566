//! Calls of gateways to replicas: how a node serves them. What to do is decided by production code; here each step is an
//! event of its own, so that a pause or a change of leadership can come between, and reads may be slow, hang or fail.

use std::time::Duration;

use kvstore::error::KvError;
use kvstore::request::Source;
use kvstore::testing::{
    Answer, CallError, Engine, EngineError, FORWARD_MAX, Mode, Operation, Pinned, RangeScan, ReadStep,
    Refusal, ReplicaRead, Standing, as_of, forward_to, passed_back, pin_at, refusal,
};
use replication::drive::{Input, ReplicaError, WriteResult};
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;
use wal::{Epoch, Lsn, NodeId};

use super::call::{Call, Caller, Content, Result, Served, Stage};
use super::coverage::Kinds;
use super::history::{Node, Range};
use super::machine::Receiver;
use super::world::{Action, World};

/// Rows of a list of keys that are answered at once, in bytes.
const ROWS_BYTES: usize = 1 << 20;
/// Rows that a page looks at in one go.
const SLICE_ROWS: usize = 128;
/// How often a timeline read looks whether the replica has reached its floor.
const FLOOR_POLL: u64 = 10_000;

/// A replica as it stands at this moment.
struct Shown {
    lease: Option<Epoch>,
    applied: Lsn,
    staleness: Option<Duration>,
    takes_part: bool,
}

impl Standing for Shown {
    fn lease(&self) -> Option<Epoch> {
        self.lease
    }

    fn applied(&self) -> Lsn {
        self.applied
    }

    fn staleness(&self) -> Option<Duration> {
        self.staleness
    }

    fn takes_part(&self) -> bool {
        self.takes_part
    }
}

/// How a read is to be answered, if the operation is one.
fn mode(operation: &Operation) -> Option<Mode> {
    match operation {
        Operation::Get { mode, .. } | Operation::MultiGet { mode, .. } | Operation::Scan { mode, .. } => {
            Some(*mode)
        }
        Operation::Rest { at, .. } => Some(Mode::as_of(*at)),
        Operation::Next(_) | Operation::Close(_) | Operation::Write(_) | Operation::Transfer(_) => None,
    }
}

impl World {
    /// A call arrives at its replica, or goes on there.
    pub(super) fn serve(&mut self, id: u64, stage: Stage) {
        let Some(life) = self.calls.get(&id).map(|call| self.life(call.target)) else { return };
        let Some(call) = self.calls.get_mut(&id) else { return };
        match stage {
            Stage::Arrives => {
                (call.life, call.began) = (life, self.now);
                call.read = mode(&call.operation).map(ReplicaRead::new);
            }
            // The process that served it has ended, and it with it.
            _ if call.life != life => return,
            _ => {}
        }
        let (target, range) = (call.target, call.range);
        if self.replica(target, range).is_none() {
            return match self.runs(target) {
                true => self.reply(id, Err(KvError::RangeMoved)),
                false => self.send_back(id, Err(CallError::Lost("its process has ended".into()))),
            };
        }
        match stage {
            Stage::Arrives => self.begin(id),
            Stage::Steps => self.step_read(id),
            Stage::Reads => self.read(id),
            Stage::Answers(staleness) => self.answer_rows(id, staleness),
            Stage::Waits(floor, until) => {
                let applied = self.shown(target, range).map_or(Lsn::ZERO, |shown| shown.applied);
                match applied >= floor || self.now >= until {
                    true => self.step_read(id),
                    false => self.plan(FLOOR_POLL, Action::Serve { call: id, stage }),
                }
            }
        }
    }

    fn begin(&mut self, id: u64) {
        let Some(Call { target, range, operation, .. }) = self.calls.get(&id).cloned() else { return };
        match operation {
            Operation::Write(write) => {
                let Some(replica) = self.replica(target, range) else { return };
                let write = match replica.drive.store().prepare(write) {
                    Ok(write) => write,
                    Err(error) => return self.reply(id, Err(error)),
                };
                let (sender, receiver) = oneshot::channel();
                replica.waiting.push((id, Receiver::Write(receiver)));
                self.take(target, range, Input::Write { request: write, sender });
            }
            Operation::Rest { at, cursor, .. } => {
                let now = self.instant(self.now);
                let process = self.machines.get_mut(&target).and_then(|machine| machine.process.as_mut());
                let open =
                    process.and_then(|process| process.scans.find(cursor, World::cohort(range), at, now));
                if let Some(call) = self.calls.get_mut(&id) {
                    call.open = open;
                }
                self.step_read(id);
            }
            _ => self.step_read(id),
        }
    }

    /// The read takes its next step.
    fn step_read(&mut self, id: u64) {
        let Some(Call { target, range, .. }) = self.calls.get(&id) else { return };
        let (target, range) = (*target, *range);
        let Some(shown) = self.shown(target, range) else { return };
        let Some(call) = self.calls.get_mut(&id) else { return };
        let Some(read) = call.read.as_mut() else { return };
        let step = read.step(&shown);
        self.coverage.met(step.kind());
        let Some(call) = self.calls.get_mut(&id) else { return };
        match step {
            ReadStep::Read => {
                call.looked = self.now;
                self.go_on(id, target, Stage::Reads);
            }
            ReadStep::Confirm => {
                call.confirmed = true;
                self.confirm(id, target, range);
            }
            ReadStep::AwaitApplied(floor, wait_max) => {
                let until = self.now + wait_max.as_micros() as u64;
                self.plan(FLOOR_POLL, Action::Serve { call: id, stage: Stage::Waits(floor, until) });
            }
            ReadStep::Answer(staleness) => {
                // Nothing was committed elsewhere before a confirmed read came; afterwards, perhaps.
                if call.confirmed {
                    call.served = Some(call.began);
                }
                self.go_on(id, target, Stage::Answers(staleness));
            }
            ReadStep::Elsewhere => {
                let error = self.elsewhere(target, range);
                self.reply(id, Err(error));
            }
        }
    }

    /// The store is read: what is found is of this moment, whenever rows are made of it.
    fn read(&mut self, id: u64) {
        let Some(Call { target, range, operation, open, .. }) = self.calls.get(&id).cloned() else { return };
        let fails = self.options.kinds.errors && self.random.one_in(200);
        let Some(replica) = self.replica(target, range) else { return };
        let store = std::sync::Arc::clone(replica.drive.store());
        let (found, damaged) = (look(store.engine(), &operation, open.as_ref()), store.engine().damaged());
        let now = self.now;
        let Some(call) = self.calls.get_mut(&id) else { return };
        let served = match mode(&operation) {
            Some(Mode::Timeline { .. }) => call.looked,
            Some(Mode::Strong) | None => now,
        };
        match found {
            Ok(Some(content)) if !fails => {
                (call.content, call.served) = (Some(content), Some(served));
                self.go_on(id, target, Stage::Steps);
            }
            Err(_) if call.read.as_ref().is_some_and(|read| read.leaves(damaged)) => {
                let error = self.elsewhere(target, range);
                self.reply(id, Err(error));
            }
            Ok(_) | Err(_) => self.reply(id, Err(unreadable())),
        }
    }

    /// Rows are made of what was found.
    fn answer_rows(&mut self, id: u64, staleness: Option<Duration>) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let Some((content, lsn)) = call.content.take() else { return };
        let (target, range, operation) = (call.target, call.range, call.operation.clone());
        let open = call.open.take().is_some();
        let source = Source { range: World::cohort(range), replica: NodeId(target), lsn, staleness };
        let found = match content {
            Content::Row(row) => return self.reply(id, Ok(Answer::Row { row, source })),
            Content::Newest(pinned) => Ok((pinned, source)),
            Content::AsOf(found) => as_of(found, source),
        };
        let answer = found.and_then(|(pinned, source)| match operation {
            Operation::MultiGet { keys, columns, partial, .. } => {
                let bytes_max = if partial { ROWS_BYTES } else { usize::MAX };
                let rows = pinned.get_some(&keys, &columns, bytes_max).map_err(|_| unreadable())?;
                Ok(Answer::Rows { rows, source, cursor: None })
            }
            Operation::Scan { scan, page_bytes, .. } => {
                self.page(target, None, (pinned, source), (scan, page_bytes))
            }
            Operation::Rest { scan, cursor, page_bytes, .. } => {
                self.page(target, open.then_some(cursor), (pinned, source), (scan, page_bytes))
            }
            _ => Err(KvError::Internal("no read".into())),
        });
        self.reply(id, answer);
    }

    /// Reads a page of a scan; what it is read from is kept for the next one.
    fn page(
        &mut self,
        node: Node,
        cursor: Option<u64>,
        (pinned, source): (Pinned, Source),
        (scan, page_bytes): (RangeScan, usize),
    ) -> Served {
        let mut page = pinned.page(scan, page_bytes.min(self.options.page_bytes));
        while page.advance(SLICE_ROWS).map_err(|_| unreadable())? {}
        let (rows, left) = page.finish();
        let (new, now) = (self.random.number(), self.instant(self.now));
        let process = self.machines.get_mut(&node).and_then(|machine| machine.process.as_mut());
        let process = process.ok_or(KvError::ShuttingDown)?;
        let cursor = process.scans.page_read(cursor, || new, (source.range, pinned), left, now);
        self.counts.pages += 1;
        Ok(Answer::Rows { rows, source, cursor })
    }

    fn elsewhere(&mut self, node: Node, range: Range) -> KvError {
        let leader = self.replica(node, range).and_then(|replica| replica.drive.cohort().leader());
        KvError::NotLeader { hint: leader.filter(|leader| leader.0 != node) }
    }

    /// Serves on a moment later; sometimes the process stands still just then, or the disk is slow, or hangs.
    fn go_on(&mut self, id: u64, node: Node, stage: Stage) {
        if self.options.kinds.pauses && self.random.one_in(20) {
            let during = self.random.below(3000 * u64::from(self.options.settings.lease.0));
            self.pause(node, during);
        }
        let hangs = self.options.kinds.hangs && self.random.one_in(50);
        let gap = self.random.below(if hangs { 1_000_000 } else { 60 });
        self.plan(gap, Action::Serve { call: id, stage });
    }

    fn shown(&mut self, node: Node, range: Range) -> Option<Shown> {
        let now = self.machines.get(&node)?.clock.at(self.now);
        let replica = self.replica(node, range)?;
        let staleness = replica.drive.cohort().staleness(now);
        Some(Shown {
            lease: replica.lease.filter(|lease| now < lease.until).map(|lease| lease.epoch),
            applied: replica.drive.applied_chain().0,
            staleness: staleness.map(|stale| Duration::from_millis(stale.0.into())),
            takes_part: replica.drive.cohort().takes_part(),
        })
    }

    /// Asks for a confirmation of the leadership.
    fn confirm(&mut self, id: u64, node: Node, range: Range) {
        let (sender, receiver) = oneshot::channel();
        if let Some(replica) = self.replica(node, range) {
            replica.waiting.push((id, Receiver::Barrier(receiver)));
        }
        self.take(node, range, Input::Read { after: Lsn::ZERO, sender });
    }

    /// The node hears that nobody listens any more: a read that waits for a confirmation waits no more.
    pub(super) fn leave(&mut self, id: u64) {
        let Some(Call { target, range, .. }) = self.calls.get(&id) else { return };
        let (target, range) = (*target, *range);
        let Some(replica) = self.replica(target, range) else { return };
        let waiting = replica.waiting.len();
        replica.waiting.retain(|(call, receiver)| *call != id || matches!(receiver, Receiver::Write(_)));
        if replica.waiting.len() < waiting {
            self.coverage.met(("event", "readers left"));
        }
    }

    /// Looks which of a replica's clients have been answered.
    pub(super) fn collect(&mut self, node: Node, range: Range) {
        let Some(replica) = self.replica(node, range) else { return };
        if replica.waiting.is_empty() {
            return;
        }
        let mut answered = Vec::new();
        let mut index = 0;
        while index < replica.waiting.len() {
            let settled = match &mut replica.waiting[index].1 {
                Receiver::Write(receiver) => match receiver.try_recv() {
                    Err(TryRecvError::Empty) => None,
                    Err(TryRecvError::Closed) => Some(Settled::Write(Err(ReplicaError::Unknown))),
                    Ok(result) => Some(Settled::Write(result)),
                },
                Receiver::Barrier(receiver) => match receiver.try_recv() {
                    Err(TryRecvError::Empty) => None,
                    Err(TryRecvError::Closed) => Some(Settled::Barrier(Err(ReplicaError::Closed))),
                    Ok(result) => Some(Settled::Barrier(result)),
                },
            };
            match settled {
                None => index += 1,
                Some(settled) => answered.push((replica.waiting.swap_remove(index).0, settled)),
            }
        }
        for (id, settled) in answered {
            match settled {
                Settled::Barrier(Ok(())) => self.go_on(id, node, Stage::Steps),
                Settled::Barrier(Err(error)) => self.reply(id, Err(refusal(NodeId(node), error))),
                Settled::Write(result) => self.written(id, node, range, result),
            }
        }
    }

    fn written(&mut self, id: u64, node: Node, range: Range, result: WriteResult<Refusal>) {
        let Some(Call { operation: Operation::Write(write), .. }) = self.calls.get(&id).cloned() else {
            return;
        };
        let Some(replica) = self.replica(node, range) else { return };
        let answer = replica.drive.store().answer(NodeId(node), &write, result);
        self.reply(id, answer);
    }

    /// The replica's answer: it goes back, unless the node passes the call on.
    fn reply(&mut self, id: u64, answer: Served) {
        let Some(call) = self.calls.get(&id).cloned() else { return };
        let process = self.machines.get(&call.target).and_then(|machine| machine.process.as_ref());
        let leader = process
            .filter(|_| call.forward)
            .and_then(|process| forward_to(&answer, NodeId(call.target), &process.silence));
        let Some(NodeId(leader)) = leader else {
            return self.send_back(id, answer.map_err(CallError::Refused));
        };
        let caller = Caller::Call { call: id, life: call.life };
        let onward = Call::new(caller, (call.target, leader), call.range, call.operation);
        self.passed_on += 1;
        let number = 1 << 63 | self.passed_on;
        self.plan(FORWARD_MAX.as_micros() as u64, Action::Timeout { call: number });
        self.send_call(number, onward);
    }

    /// What came of a call that was passed on.
    pub(super) fn passed_back(&mut self, id: u64, call: u64, life: u64, result: Result) {
        let Some(onward) = self.calls.remove(&id) else { return };
        if !self.lives(onward.gateway, life) {
            return;
        }
        if let Some(first) = self.calls.get_mut(&call) {
            first.served = onward.served;
        }
        let answer = passed_back(result, &onward.operation, NodeId(onward.target));
        self.send_back(call, answer.map_err(CallError::Refused));
    }

    /// Sends an answer back to the gateway.
    fn send_back(&mut self, id: u64, result: Result) {
        let Some(call) = self.calls.get(&id) else { return };
        let (from, to) = (call.target, call.gateway);
        if !self.network.carries(from, to) {
            return;
        }
        // A connection delivers once or breaks.
        if let Some(delay) = self.network.send(&mut self.random, self.now, from, to).first().copied() {
            self.plan(delay, Action::Answer { call: id, result });
        }
    }
}

/// What a read finds, and as of which LSN; `None`: it is no read.
fn look(
    engine: &Engine,
    operation: &Operation,
    open: Option<&Pinned>,
) -> std::result::Result<Option<(Content, Lsn)>, EngineError> {
    Ok(match operation {
        Operation::Get { key, columns, .. } => {
            let (row, lsn) = engine.get(key, columns)?;
            Some((Content::Row(row), lsn))
        }
        Operation::MultiGet { .. } | Operation::Scan { .. } => {
            let pinned = engine.pin()?;
            let lsn = pinned.read_lsn();
            Some((Content::Newest(pinned), lsn))
        }
        Operation::Rest { at, .. } => Some((Content::AsOf(pin_at(engine, *at, open)?), *at)),
        Operation::Next(_) | Operation::Close(_) | Operation::Write(_) | Operation::Transfer(_) => None,
    })
}

fn unreadable() -> KvError {
    KvError::Unavailable("the rows cannot be read".into())
}

enum Settled {
    Write(WriteResult<Refusal>),
    Barrier(std::result::Result<(), ReplicaError>),
}
