//! Calls of gateways to replicas: how a node serves them, by the rules of the production read and write paths (a strong
//! read looks at the lease, reads, and looks again; without a lease it asks for a confirmation first). Each step is an
//! event of its own, so that a pause or a change of leadership can come between.

use kvstore::request::{Columns, Row};
use kvstore::testing::MachineRefusal;
use replication::drive::{Input, ReplicaError, WriteReply};
use replication::protocol::effect::Unavailable;
use replication::store::Outcome;
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;
use wal::{Epoch, Lsn};

use super::call::{Answer, Call, Mode, Request, Select, Step};
use super::history::{Node, Range};
use super::machine::Receiver;
use super::world::{Action, World};

/// How often and how long a timeline read looks whether the replica has reached its floor.
const FLOOR_POLL: u64 = 10_000;
const FLOOR_POLLS: u32 = 10;

impl World {
    /// A call arrives at its replica, or goes on there.
    pub(super) fn serve(&mut self, id: u64, step: Step) {
        let Some(life) = self.calls.get(&id).map(|call| self.life(call.target)) else { return };
        let Some(call) = self.calls.get_mut(&id) else { return };
        match step {
            Step::Begin(0) => (call.life, call.began) = (life, self.now),
            // The process that served it has ended, and it with it.
            _ if call.life != life => return,
            _ => {}
        }
        let Call { target, range, request, began, .. } = call.clone();
        if self.replica(target, range).is_none() {
            let answer = match self.runs(target) {
                true => Answer::NotLeader { hint: None },
                false => Answer::Lost,
            };
            return self.reply(id, answer);
        }
        match (request, step) {
            (Request::Write(write), _) => {
                let (sender, receiver) = oneshot::channel();
                if let Some(replica) = self.replica(target, range) {
                    replica.waiting.push((id, Receiver::Write(receiver)));
                }
                self.take(target, range, Input::Write { request: write, sender });
            }
            (Request::Read { mode: Mode::Strong, .. }, Step::Begin(_)) => match self.leased(target, range) {
                Some(epoch) => self.go_on(id, target, Step::Look { epoch }),
                None => self.confirm(id, target, range),
            },
            (Request::Read { select, .. }, Step::Look { epoch }) => match self.read(target, range, &select) {
                Some((rows, lsn)) => {
                    let served = self.now;
                    self.go_on(id, target, Step::Recheck { epoch, rows, lsn, served });
                }
                None => self.reply(id, Answer::Unavailable),
            },
            (Request::Read { .. }, Step::Recheck { epoch, rows, lsn, served }) => {
                if self.leased(target, range) == Some(epoch) {
                    self.reply(id, Answer::Rows { rows, lsn, served, staleness_ms: Some(0) });
                } else {
                    self.confirm(id, target, range);
                }
            }
            (Request::Read { select, mode: Mode::Strong }, Step::Confirmed) => {
                // Nothing was committed elsewhere before the request came; afterwards, perhaps.
                let answer = match self.read(target, range, &select) {
                    Some((rows, lsn)) => Answer::Rows { rows, lsn, served: began, staleness_ms: Some(0) },
                    None => Answer::Unavailable,
                };
                self.reply(id, answer);
            }
            (Request::Read { select, mode: Mode::Timeline { floor, max_staleness_ms } }, step) => {
                let polls = match step {
                    Step::Begin(polls) => polls,
                    Step::Look { .. } | Step::Recheck { .. } | Step::Confirmed => FLOOR_POLLS,
                };
                self.timeline(id, target, range, &select, (floor, max_staleness_ms), polls);
            }
        }
    }

    /// Serves on a moment later; sometimes the process stands still just then.
    fn go_on(&mut self, id: u64, node: Node, step: Step) {
        if self.options.kinds.pauses && self.random.one_in(20) {
            let during = self.random.below(3000 * u64::from(self.options.settings.lease.0));
            self.pause(node, during);
        }
        let gap = self.random.below(60);
        self.plan(gap, Action::Serve { call: id, step });
    }

    fn timeline(
        &mut self,
        id: u64,
        target: Node,
        range: Range,
        select: &Select,
        (floor, max_staleness_ms): (Lsn, Option<u64>),
        polls: u32,
    ) {
        let now = self.machines[&target].clock.at(self.now);
        let Some(replica) = self.replica(target, range) else { return };
        let cohort = replica.drive.cohort();
        let hint = cohort.leader().map(|leader| leader.0).filter(|leader| *leader != target);
        let staleness_ms = cohort.staleness(now).map(|stale| u64::from(stale.0));
        if replica.drive.applied_chain().0 < floor {
            if polls < FLOOR_POLLS {
                return self.plan(FLOOR_POLL, Action::Serve { call: id, step: Step::Begin(polls + 1) });
            }
            return self.reply(id, Answer::NotLeader { hint });
        }
        let takes_part = cohort.takes_part();
        if !takes_part || max_staleness_ms.is_some_and(|max| staleness_ms.is_none_or(|stale| stale > max)) {
            return self.reply(id, Answer::NotLeader { hint });
        }
        let served = self.now;
        let answer = match self.read(target, range, select) {
            Some((rows, lsn)) => Answer::Rows { rows, lsn, served, staleness_ms },
            None => Answer::Unavailable,
        };
        self.reply(id, answer);
    }

    /// The epoch under which the replica may serve strong reads now.
    fn leased(&mut self, node: Node, range: Range) -> Option<Epoch> {
        let now = self.machines.get(&node)?.clock.at(self.now);
        let lease = self.replica(node, range)?.lease?;
        (now < lease.until).then_some(lease.epoch)
    }

    /// Asks for a confirmation of the leadership.
    fn confirm(&mut self, id: u64, node: Node, range: Range) {
        let (sender, receiver) = oneshot::channel();
        if let Some(replica) = self.replica(node, range) {
            replica.waiting.push((id, Receiver::Barrier(receiver)));
        }
        self.take(node, range, Input::Read { after: Lsn::ZERO, sender });
    }

    fn read(&mut self, node: Node, range: Range, select: &Select) -> Option<(Vec<Row>, Lsn)> {
        let engine = self.replica(node, range)?.drive.store().engine();
        match select {
            Select::Keys(keys) => engine.get_all(keys, &Columns::All).ok(),
            Select::Scan { start, end, reverse } => {
                let rows = engine.scan(start, end.as_deref(), *reverse, &Columns::All).ok()?;
                let lsn = rows.read_lsn();
                Some((rows.collect::<Result<_, _>>().ok()?, lsn))
            }
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
                Settled::Barrier(Ok(())) => self.go_on(id, node, Step::Confirmed),
                Settled::Barrier(Err(error)) => self.reply(id, refusal(error)),
                Settled::Write(result) => self.written(id, node, range, result),
            }
        }
    }

    fn written(&mut self, id: u64, node: Node, range: Range, result: WriteResult) {
        let answer = match result {
            Ok(WriteReply::Logged(Outcome { lsn, refused: false })) => Answer::Written(lsn),
            Ok(WriteReply::Logged(Outcome { lsn, refused: true })) => {
                Answer::Refused { at: lsn, current: None }
            }
            Ok(WriteReply::Refused(MachineRefusal::Condition { current, at })) => {
                Answer::Refused { at, current: Some(current) }
            }
            Ok(WriteReply::Refused(MachineRefusal::Forgotten)) => {
                let applied =
                    self.replica(node, range).map_or(Lsn::ZERO, |replica| replica.drive.applied_chain().0);
                Answer::Forgotten { applied }
            }
            Ok(WriteReply::Refused(MachineRefusal::Unreadable(_))) => Answer::Unavailable,
            Err(error) => refusal(error),
        };
        self.reply(id, answer);
    }

    /// Sends an answer back to the gateway.
    pub(super) fn reply(&mut self, id: u64, answer: Answer) {
        let Some(call) = self.calls.get(&id) else { return };
        let (from, to) = (call.target, call.gateway);
        if !self.network.carries(from, to) {
            return;
        }
        // A connection delivers once or breaks.
        if let Some(delay) = self.network.send(&mut self.random, self.now, from, to).first().copied() {
            self.plan(delay, Action::Answer { call: id, answer });
        }
    }
}

type WriteResult = Result<WriteReply<MachineRefusal>, ReplicaError>;

enum Settled {
    Write(WriteResult),
    Barrier(Result<(), ReplicaError>),
}

fn refusal(error: ReplicaError) -> Answer {
    match error {
        ReplicaError::NotLeader { hint } => Answer::NotLeader { hint: hint.map(|node| node.0) },
        ReplicaError::Unavailable(Unavailable::Overloaded | Unavailable::DiskFull) => Answer::Refusing,
        ReplicaError::Unavailable(
            Unavailable::TakingOver | Unavailable::Suspended | Unavailable::Transferring,
        )
        | ReplicaError::Behind { .. } => Answer::Unavailable,
        ReplicaError::Unknown => Answer::Unknown,
        ReplicaError::Closed => Answer::NotLeader { hint: None },
    }
}
