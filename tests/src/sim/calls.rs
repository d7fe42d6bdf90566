//! Calls of gateways to replicas: how a node serves them. What to do is decided by production code; here each step is an
//! event of its own, so that a pause or a change of leadership can come between, and reads may be slow, hang or fail.

use std::time::Duration;

use kvstore::error::KvError;
use kvstore::request::{Columns, Row, Source};
use kvstore::testing::{
    Answer, CallError, FORWARD_MAX, Mode, Operation, ReadStep, Refusal, ReplicaRead, Standing, forward_to,
    passed_back, refusal,
};
use replication::drive::{Input, ReplicaError, WriteResult};
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;
use wal::{Epoch, Lsn, NodeId};

use super::call::{Call, Caller, Result, Served, Stage};
use super::history::{Node, Range};
use super::machine::Receiver;
use super::world::{Action, World};

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
        Operation::Next(_)
        | Operation::Rest { .. }
        | Operation::Close(_)
        | Operation::Write(_)
        | Operation::Transfer(_) => None,
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
            _ => self.step_read(id),
        }
    }

    /// The read takes its next step.
    fn step_read(&mut self, id: u64) {
        let Some(Call { target, range, began, confirmed, .. }) = self.calls.get(&id).cloned() else { return };
        let Some(shown) = self.shown(target, range) else { return };
        let Some(call) = self.calls.get_mut(&id) else { return };
        let Some(read) = call.read.as_mut() else { return };
        match read.step(&shown) {
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
                let Some((rows, lsn, served)) = call.found.take() else { return };
                // Nothing was committed elsewhere before a confirmed read came; afterwards, perhaps.
                let served = if confirmed { began } else { served };
                call.found = Some((Vec::new(), lsn, served));
                let source = Source { range: World::cohort(range), replica: NodeId(target), lsn, staleness };
                self.reply(id, Ok(Answer::Rows { rows, source, cursor: None }));
            }
            ReadStep::Elsewhere => {
                let error = self.elsewhere(target, range);
                self.reply(id, Err(error));
            }
        }
    }

    /// The store is read.
    fn read(&mut self, id: u64) {
        let Some(Call { target, range, operation, .. }) = self.calls.get(&id).cloned() else { return };
        let fails = self.options.kinds.errors && self.random.one_in(200);
        let Some(replica) = self.replica(target, range) else { return };
        let store = std::sync::Arc::clone(replica.drive.store());
        let (found, damaged) = (look(store.engine(), &operation), store.engine().damaged());
        let now = self.now;
        let Some(call) = self.calls.get_mut(&id) else { return };
        let served = match mode(&operation) {
            Some(Mode::Timeline { .. }) => call.looked,
            Some(Mode::Strong) | None => now,
        };
        match found.filter(|_| !fails) {
            Some((rows, lsn)) => {
                call.found = Some((rows, lsn, served));
                self.go_on(id, target, Stage::Steps);
            }
            None if call.read.as_ref().is_some_and(|read| read.leaves(damaged)) => {
                let error = self.elsewhere(target, range);
                self.reply(id, Err(error));
            }
            None => self.reply(id, Err(KvError::Unavailable("the row cannot be read".into()))),
        }
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
        let onward =
            Call { caller, gateway: call.target, target: leader, forward: false, read: None, ..call };
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
            first.found = onward.found;
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

/// Rows, all at one LSN; `None` if they cannot be read.
fn look(engine: &kvstore::testing::Engine, operation: &Operation) -> Option<(Vec<Row>, Lsn)> {
    match operation {
        Operation::Get { key, columns, .. } => {
            engine.get(key, columns).ok().map(|(row, lsn)| (vec![row], lsn))
        }
        Operation::MultiGet { keys, columns, .. } => engine.get_all(keys, columns).ok(),
        Operation::Scan { scan, .. } => {
            let rows = engine.scan(&scan.start, scan.end.as_deref(), scan.reverse, &Columns::All).ok()?;
            let lsn = rows.read_lsn();
            Some((rows.collect::<std::result::Result<_, _>>().ok()?, lsn))
        }
        Operation::Next(_)
        | Operation::Rest { .. }
        | Operation::Close(_)
        | Operation::Write(_)
        | Operation::Transfer(_) => None,
    }
}

enum Settled {
    Write(WriteResult<Refusal>),
    Barrier(std::result::Result<(), ReplicaError>),
}
