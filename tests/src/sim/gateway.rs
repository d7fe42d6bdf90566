//! Clients and the gateways that they use.
//!
//! A client works one operation at a time through a gateway on some node. What the gateway does is decided by production
//! code ([`kvstore::testing::Call`]); here its questions travel, its waits end, and its node may die or stand still. A
//! client whose gateway is lost may repeat its write through another one, with the same request id.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kvstore::error::KvError;
use kvstore::request::{Columns, RequestId, SessionToken, TableId, Write, WriteOutcome};
use kvstore::row_update::{RowUpdate, UpdateStep};
use kvstore::testing::{
    Answer, Around, Call as Asking, CallError, Identity, Mode, Operation, RangeRoute, RangeScan, Silence,
    Step, learn,
};
use wal::NodeId;

use super::call::{Call, Caller, Result, Stage};
use super::client::{Client, Probe, Work};
use super::coverage::Kinds;
use super::history::{Call as Asked, Consistency, Event, Node, Range, Response};
use super::options::Style;
use super::scans::whole;
use super::workload::{self, FollowUp, Intent};
use super::world::{Action, World};

impl World {
    /// Adds the clients of a run and sets them to work.
    pub(crate) fn employ(&mut self) {
        let options = self.options.clone();
        for number in 0..options.clients {
            let left = options.ops / options.clients;
            let think = options.duration / u64::from(left.max(1));
            let home = 1 + self.random.below(options.nodes.into()) as u32;
            let session = self.random.one_in(2).then(SessionToken::default);
            self.add_client(Client {
                session,
                home,
                sequence: 0,
                left,
                think,
                work: None,
                next: None,
                update: None,
                intent: None,
                probe: None,
            });
            let delay = self.random.below(think);
            self.plan(delay, Action::Client { client: number });
        }
    }

    fn add_client(&mut self, client: Client) -> u32 {
        self.clients.push(client);
        self.clients.len() as u32 - 1
    }

    /// A client that writes in a range until it is answered, then reads the whole range.
    pub(crate) fn probe(&mut self, range: Range) {
        let home = self.options.members(range)[0];
        let client = self.add_client(Client {
            session: None,
            home,
            sequence: 0,
            left: u32::MAX,
            think: 10_000,
            work: None,
            next: None,
            update: None,
            intent: None,
            probe: Some(Probe { range, written: None, read: false }),
        });
        self.plan(0, Action::Client { client });
    }

    /// Whether all clients but probes have nothing left to do.
    pub(crate) fn idle(&self) -> bool {
        self.clients
            .iter()
            .filter(|client| client.probe.is_none())
            .all(|client| client.left == 0 && client.work.is_none() && client.intent.is_none())
    }

    /// No more operations are begun.
    pub(crate) fn dismiss(&mut self) {
        for client in self.clients.iter_mut().filter(|client| client.probe.is_none()) {
            client.left = 0;
            (client.intent, client.next, client.update) = (None, None, None);
        }
    }

    /// What the probes have reached.
    pub(crate) fn probes(&self) -> Vec<Probe> {
        self.clients.iter().filter_map(|client| client.probe).collect()
    }

    pub(super) fn client(&mut self, client: u32) -> &mut Client {
        &mut self.clients[client as usize]
    }

    /// A client begins its next operation.
    pub(super) fn client_step(&mut self, number: u32) {
        if self.client(number).work.is_some() {
            return;
        }
        let op = self.operations;
        let Some((range, intent, next)) = self.intend(number) else { return };
        let mut gateways: Vec<Node> = self.nodes().into_iter().filter(|&node| self.runs(node)).collect();
        if gateways.is_empty() {
            self.client(number).intent = Some((range, intent));
            self.client(number).next = next;
            return self.plan(20_000, Action::Client { client: number });
        }
        let home = self.client(number).home;
        let away = !gateways.contains(&home) || self.random.one_in(10);
        let gateway =
            if away { gateways.swap_remove(self.random.below(gateways.len() as u64) as usize) } else { home };
        self.operations += 1;
        self.counts.operations += 1;
        let max_staleness_ms = self.random.one_in(4).then(|| self.random.below(500));
        let client = &mut self.clients[number as usize];
        client.next = next;
        client.sequence += u64::from(matches!(intent, Intent::Write { .. }));
        let id = RequestId { client: u128::from(number) + 1, sequence: client.sequence };
        let session = client.session.is_some();
        self.happened(Event::Invoked {
            op,
            client: number,
            session,
            range,
            call: told(&intent, id, max_staleness_ms),
        });
        let (deadline, gateway_life) = (self.now + self.wait_max(number), self.life(gateway));
        let Some((route, _)) = self.known_at(gateway, range) else { return };
        let write = match &intent {
            Intent::Write { key, conditions, mutations } => Some(Write {
                table: TableId(1),
                key: Bytes::from(key.clone()),
                conditions: conditions.clone(),
                mutations: mutations.clone(),
                request: Some(id),
            }),
            Intent::Get { .. } | Intent::Scan { .. } => None,
        };
        let scan = self.new_scan(range, &intent, max_staleness_ms, deadline);
        let until = self.instant(deadline);
        let call = match write.clone() {
            Some(write) => Asking::write(self.new_call(), &route, write, Identity::New(id), until),
            None => self.read_call(number, (gateway, range), &intent, None, max_staleness_ms, until),
        };
        self.client(number).work = Some(Work {
            op,
            range,
            intent,
            write,
            max_staleness_ms,
            began: self.now,
            deadline,
            gateway,
            gateway_life,
            call,
            scan,
            era: 0,
            adrift: false,
            attempts: 0,
            served: 0,
        });
        self.drive(number);
    }

    /// How long a client waits: one that looks at the end takes whatever time it needs.
    fn wait_max(&self, number: u32) -> u64 {
        match self.clients[number as usize].probe {
            Some(_) => self.options.deadline.max(1_500_000),
            None => self.options.deadline,
        }
    }

    /// A read as a gateway carries it out.
    pub(super) fn read_call(
        &mut self,
        number: u32,
        (gateway, range): (Node, Range),
        intent: &Intent,
        page: Option<(RangeScan, usize)>,
        max_staleness_ms: Option<u64>,
        deadline: Instant,
    ) -> Asking {
        let cohort = World::cohort(range);
        let floor = self.client(number).session.as_ref().map(|session| session.floor(cohort));
        let floor = floor.unwrap_or(wal::Lsn::ZERO);
        let (call, nearest) = (self.new_call(), self.nearest(gateway, range));
        let route = self.known_at(gateway, range).map(|known| known.0);
        let route = route.unwrap_or_else(|| Arc::new(self.new_route(range)));
        let (consistency, operation): (_, Box<dyn Fn(Mode) -> Operation>) = match intent {
            Intent::Get { keys, consistency } if keys.len() == 1 => {
                let (key, columns) = (Bytes::from(keys[0].clone()), Columns::All);
                let get = move |mode| Operation::Get { key: key.clone(), columns: columns.clone(), mode };
                (*consistency, Box::new(get))
            }
            Intent::Get { keys, consistency } => {
                let keys: Vec<Bytes> = keys.iter().map(|key| Bytes::from(key.clone())).collect();
                let columns = Columns::All;
                let get = move |mode| Operation::MultiGet {
                    keys: keys.clone(),
                    columns: columns.clone(),
                    mode,
                    at: None,
                    partial: false,
                };
                (*consistency, Box::new(get))
            }
            Intent::Scan { consistency, .. } => {
                let (scan, page_bytes) = page.unwrap_or_else(|| (whole(intent), 0));
                let first = move |mode| Operation::Scan { scan: scan.clone(), mode, page_bytes };
                (*consistency, Box::new(first))
            }
            // Writes are made elsewhere.
            Intent::Write { .. } => (Consistency::Strong, Box::new(|_| Operation::Close(0))),
        };
        match consistency {
            Consistency::Strong => Asking::strong(call, &route, operation(Mode::Strong), floor, deadline),
            Consistency::Timeline => {
                let max_staleness = max_staleness_ms.map(Duration::from_millis);
                Asking::timeline(call, &route, operation, (floor, max_staleness), nearest, deadline)
            }
        }
    }

    /// Members for a timeline read: the one on the gateway's node, else all in turn.
    fn nearest(&mut self, gateway: Node, range: Range) -> Vec<NodeId> {
        let mut members: Vec<NodeId> = self.options.members(range).into_iter().map(NodeId).collect();
        match members.iter().position(|node| node.0 == gateway) {
            Some(here) => members.swap(0, here),
            None => {
                let turn = self.random.below(members.len() as u64) as usize;
                members.rotate_left(turn);
            }
        }
        members
    }

    fn new_call(&mut self) -> u64 {
        self.last_call += 1;
        self.last_call
    }

    /// A moment of real time as the gateways' code takes it.
    pub(super) fn instant(&self, at: u64) -> Instant {
        self.origin + Duration::from_micros(at)
    }

    fn new_route(&self, range: Range) -> RangeRoute {
        let members: Vec<NodeId> = self.options.members(range).into_iter().map(NodeId).collect();
        kvstore::testing::route(World::cohort(range), &members)
    }

    /// What a gateway knows of a range, and of which nodes it hears nothing; `None` if it does not run.
    pub(super) fn known_at(
        &mut self,
        gateway: Node,
        range: Range,
    ) -> Option<(Arc<RangeRoute>, Arc<Silence>)> {
        let new = self.new_route(range);
        let process = self.machines.get_mut(&gateway)?.process.as_mut()?;
        let route = process.gateway.entry(range).or_insert_with(|| Arc::new(new));
        Some((Arc::clone(route), Arc::clone(&process.silence)))
    }

    /// What a client will do; `None`: nothing any more.
    fn intend(&mut self, number: u32) -> Option<(Range, Intent, Option<FollowUp>)> {
        self.values += 1;
        let unique = self.values;
        let client = &mut self.clients[number as usize];
        if let Some((range, intent)) = client.intent.take() {
            let next = client.next.take();
            return Some((range, intent, next));
        }
        if let Some(probe) = client.probe {
            let intent = match probe.written {
                None => {
                    let column = Bytes::from_static(b"p");
                    let value = Bytes::from(unique.to_string());
                    let mutations = vec![kvstore::request::Mutation::Put { column, value }];
                    Intent::Write { key: "probe".into(), conditions: Vec::new(), mutations }
                }
                Some(_) if probe.read => return None,
                Some(_) => Intent::Scan {
                    start: String::new(),
                    end: None,
                    reverse: false,
                    limit: None,
                    consistency: Consistency::Strong,
                    enough: None,
                },
            };
            return Some((probe.range, intent, None));
        }
        if client.left == 0 {
            return None;
        }
        client.left -= 1;
        Some(workload::draw(&mut self.random, &self.options, unique))
    }

    /// The gateway goes on with what a client has asked for, as far as it can.
    pub(super) fn drive(&mut self, number: u32) {
        loop {
            let Some(work) = self.clients[number as usize].work.as_ref() else { return };
            let (gateway, range) = (work.gateway, work.range);
            if !self.lives(gateway, work.gateway_life) {
                return self.gateway_lost(number);
            }
            if work.scan.as_ref().is_some_and(|scan| !scan.opens()) {
                return self.drive_scan(number);
            }
            let Some((route, silence)) = self.known_at(gateway, range) else { return };
            let local = self.replica(gateway, range).map(|replica| replica.drive.cohort().leader());
            local.iter().for_each(|local| route.heard_locally(*local));
            let now = self.instant(self.now);
            let around = Around { me: NodeId(gateway), route: &route, silence: &silence };
            let Some(work) = self.client(number).work.as_mut() else { return };
            let abandoned = work.call.abandoned();
            self.close_scans(number, abandoned);
            let Some(work) = self.client(number).work.as_mut() else { return };
            match work.call.step(now, &around) {
                Step::Ask { attempt, node, operation, forward } => {
                    self.ask(number, attempt, node.0, operation, forward);
                }
                Step::Wait(until) => {
                    let wait = until.saturating_duration_since(now).as_micros() as u64;
                    return self.plan(wait.max(1), Action::Wake { client: number });
                }
                Step::Done(result) if work.scan.is_some() => {
                    if let Ok(answer) = &result {
                        learn(answer, &route, self.client(number).session.as_ref());
                    }
                    return self.scan_opened(number, result);
                }
                Step::Done(result) => return self.done(number, &route, result),
            }
        }
    }

    /// Something has happened on a node that calls of its gateway may wait for.
    pub(super) fn wake(&mut self, gateway: Node, range: Range) {
        let waits = |client: &Client| {
            client.work.as_ref().is_some_and(|work| (work.gateway, work.range) == (gateway, range))
        };
        let waiting: Vec<u32> =
            (0..).zip(&self.clients).filter(|(_, client)| waits(client)).map(|(number, _)| number).collect();
        for client in waiting {
            self.plan(1, Action::Wake { client });
        }
    }

    /// The gateway asks a node.
    pub(super) fn ask(
        &mut self,
        number: u32,
        attempt: u32,
        target: Node,
        operation: Operation,
        forward: bool,
    ) -> u64 {
        let Some(work) = self.client(number).work.as_mut() else { return 0 };
        let id = u64::from(work.op) << 20 | u64::from(work.attempts & 0xf_ffff);
        work.attempts += 1;
        let caller = Caller::Client { client: number, era: work.era, attempt };
        let (gateway, range) = (work.gateway, work.range);
        self.send_call(id, Call { forward, ..Call::new(caller, (gateway, target), range, operation) });
        id
    }

    /// A call sets out. Its stream may break at any time, and a blackhole is found out after a while.
    pub(super) fn send_call(&mut self, id: u64, call: Call) {
        let (gateway, target) = (call.gateway, call.target);
        self.coverage.met(call.operation.kind());
        self.calls.insert(id, call);
        let lossy = self.network.loss > 0;
        if !self.network.carries(gateway, target) {
            if self.random.one_in(2) {
                let refused = CallError::NotSent("no route".into());
                self.plan(1000, Action::Answer { call: id, result: Err(refused) });
            }
        } else if let Some(delay) =
            self.network.send(&mut self.random, self.now, gateway, target).first().copied()
        {
            // Now and then a request is stuck somewhere, and arrives when its gateway has long repeated it.
            let stuck = lossy && self.random.one_in(8);
            let delay = if stuck { delay + self.random.below(600_000) } else { delay };
            self.plan(delay, Action::Serve { call: id, stage: Stage::Arrives });
        }
        if gateway != target {
            let breaks = match lossy {
                true => 20_000 + self.random.below(500_000),
                false => 1_000_000 + self.random.below(2_000_000),
            };
            self.plan(breaks, Action::Timeout { call: id });
        }
    }

    /// The client's gateway has died: what it had under way is lost.
    fn gateway_lost(&mut self, number: u32) {
        let gateways: Vec<Node> = self.nodes().into_iter().filter(|&node| self.runs(node)).collect();
        let again = self.random.one_in(2) && !gateways.is_empty();
        let pick = self.random.below(gateways.len().max(1) as u64) as usize;
        let Some(work) = self.clients[number as usize].work.as_ref() else { return };
        let op = work.op;
        self.happened(Event::Adrift { op });
        let Some(work) = self.clients[number as usize].work.as_ref() else { return };
        // Rows of a scan that were handed on cannot be taken back.
        let again = again && work.scan.as_ref().is_none_or(|scan| scan.rows.is_empty());
        if !again || self.now >= work.deadline {
            let write = work.write.is_some();
            return self.finish(number, if write { Response::Unknown } else { Response::Failed });
        }
        let (gateway, range, write) = (gateways[pick], work.range, work.write.clone());
        let (intent, max_staleness_ms) = (work.intent.clone(), work.max_staleness_ms);
        let scan = self.new_scan(range, &intent, max_staleness_ms, work.deadline);
        let Some(work) = self.clients[number as usize].work.as_ref() else { return };
        let deadline = self.instant(work.deadline);
        let Some((route, _)) = self.known_at(gateway, range) else { return };
        let call = match write {
            Some(write) => {
                let id = write.request.unwrap_or(RequestId { client: 0, sequence: 0 });
                // The other gateway does not know when the first attempt was.
                Asking::write(self.new_call(), &route, write, Identity::Repeated(id), deadline)
            }
            None => self.read_call(number, (gateway, range), &intent, None, max_staleness_ms, deadline),
        };
        let life = self.life(gateway);
        if let Some(work) = self.client(number).work.as_mut() {
            (work.gateway, work.gateway_life, work.call, work.scan) = (gateway, life, call, scan);
            work.era += 1;
            work.adrift = true;
        }
        // Some clients take their time.
        let pause = self.random.below(self.options.retry_max);
        self.plan(pause, Action::Wake { client: number });
    }

    /// A stream breaks: what is on its way may still arrive and be served, but nobody listens any more.
    pub(super) fn timed_out(&mut self, call: u64) {
        if self.random.one_in(2) {
            self.leave(call);
        }
        self.answered(call, Err(CallError::Lost("the stream broke".into())));
    }

    /// An answer reaches the gateway.
    pub(super) fn answered(&mut self, id: u64, result: Result) {
        let Some(call) = self.calls.get(&id) else { return };
        let (gateway, target, served) = (call.gateway, call.target, call.served);
        let (client, era, attempt) = match call.caller {
            Caller::Client { client, era, attempt } => (client, era, attempt),
            Caller::Call { call, life } => return self.passed_back(id, call, life, result),
        };
        let Some(work) = self.clients[client as usize].work.as_ref() else { return };
        if (work.era, work.gateway) != (era, gateway) || u64::from(work.op) != id >> 20 {
            return;
        }
        if !self.lives(gateway, work.gateway_life) {
            return self.gateway_lost(client);
        }
        let (op, range, is_write) = (work.op, work.range, work.write.is_some());
        self.told_of_cursor(client, &result);
        let Some((route, silence)) = self.known_at(gateway, range) else { return };
        let (now, before) = (self.instant(self.now), route.news());
        match &result {
            Ok(answer) => self.coverage.met(answer.kind()),
            Err(error) => self.coverage.met(error.kind()),
        }
        match &result {
            Err(CallError::NotSent(_)) => silence.lost(NodeId(target), now),
            Err(CallError::Lost(_)) => {
                if is_write && self.random.one_in(10) {
                    // A gateway whose own client has gone.
                    self.happened(Event::Adrift { op });
                    return self.finish(client, Response::Unknown);
                }
            }
            Ok(_) | Err(CallError::Refused(_)) => silence.heard(NodeId(target), now),
        }
        let around = Around { me: NodeId(gateway), route: &route, silence: &silence };
        if let Some(work) = self.client(client).work.as_mut() {
            work.served = served.unwrap_or(work.served);
            match &work.scan {
                Some(scan) if !scan.opens() => self.page_answered(client, attempt, served, result),
                Some(_) | None => work.call.answered(attempt, result, now, &around),
            }
        }
        self.drive(client);
        if route.news() != before {
            self.wake(gateway, range);
        }
    }

    /// A call has ended.
    fn done(&mut self, number: u32, route: &RangeRoute, result: std::result::Result<Answer, KvError>) {
        if let Ok(answer) = &result {
            learn(answer, route, self.client(number).session.as_ref());
        }
        if self.clients[number as usize].work.is_none() {
            return;
        }
        self.updated(number, &result);
        if let Err(error) = &result {
            self.coverage.met(error.kind());
        }
        let Some(work) = self.clients[number as usize].work.as_ref() else { return };
        let logged = work.write.as_ref().and_then(|write| self.refusals.get(&write.request?)).copied();
        let outcome = match result {
            Ok(Answer::Write(WriteOutcome::Written(written))) => Response::Written(written.lsn),
            // What stands in the log is that it was refused there; the row that came with it is a later one, perhaps.
            Ok(Answer::Write(WriteOutcome::ConditionFailed { current, at })) => match logged {
                Some(at) => Response::Refused { at, current: None },
                None => Response::Refused { at: at.lsn, current: Some(current) },
            },
            Ok(Answer::Rows { rows, source, .. }) => Response::Rows {
                rows,
                lsn: source.lsn,
                node: source.replica.0,
                served: work.served,
                staleness_ms: source.staleness.map(|staleness| staleness.as_millis() as u64),
            },
            Ok(Answer::Row { row, source }) => Response::Rows {
                rows: vec![row],
                lsn: source.lsn,
                node: source.replica.0,
                served: work.served,
                staleness_ms: source.staleness.map(|staleness| staleness.as_millis() as u64),
            },
            Err(KvError::Internal(what)) => return self.violated("calls", what),
            Ok(Answer::Forgotten { .. } | Answer::Done) => {
                return self.violated("calls", "an answer that does not fit the question".to_owned());
            }
            Err(KvError::OutcomeUnknown(_)) => Response::Unknown,
            // The other gateway speaks of its own attempts only.
            Err(_) if work.adrift && work.write.is_some() => Response::Unknown,
            Err(_) => Response::Failed,
        };
        self.finish(number, outcome);
    }

    /// A write that was computed from a row is done, or has to be computed again from the row as it was found.
    fn updated(&mut self, number: u32, result: &std::result::Result<Answer, KvError>) {
        let give_up = self.random.one_in(4);
        let client = self.client(number);
        let Some((_, update)) = client.update.as_mut() else { return };
        let Ok(Answer::Write(outcome)) = result else { return client.update = None };
        let step = update.answered(outcome.clone());
        if give_up || matches!(step, UpdateStep::Written(_)) {
            client.update = None;
        }
    }

    /// Whoever falls silent, gateways that are well answer soon [silent-is-passed-over].
    fn check_delay(&mut self, number: u32, work: &Work) {
        let about = self.options.style == Style::Silence && !self.calm;
        let Some(most) = self.options.answer_max.filter(|_| about) else { return };
        let well = self.machines.get(&work.gateway).is_some_and(|one| one.unwell_until < work.began);
        let took = self.now - work.began;
        if well && took > most {
            let (op, gateway, range) = (work.op, work.gateway, work.range);
            self.violated(
                "answers",
                format!(
                    "op {op} of client {number} in range {range} took {took} us through gateway n{gateway}"
                ),
            );
        }
    }

    /// The operation ends, and the client thinks of the next one.
    pub(super) fn finish(&mut self, number: u32, outcome: Response) {
        let Some(work) = self.client(number).work.take() else { return };
        self.check_delay(number, &work);
        match &outcome {
            Response::Written(_) => self.counts.written += 1,
            Response::Rows { .. } => self.counts.read += 1,
            Response::Refused { .. } | Response::Failed | Response::Unknown => {}
        }
        self.values += 1;
        let (unique, now) = (self.values, self.now);
        let client = self.client(number);
        if let (Some(next), Response::Rows { rows, .. }) = (client.next.take(), &outcome)
            && let [row] = &rows[..]
        {
            client.update = Some((next, RowUpdate::new(row.clone())));
        }
        if matches!(outcome, Response::Failed | Response::Unknown) {
            client.update = None;
        }
        let mut follows = false;
        if let Some((next, update)) = &client.update {
            follows = !matches!(next, FollowUp::Edit);
            client.intent = Some((work.range, workload::follow(*next, update, unique)));
        }
        if let Some(probe) = &mut client.probe {
            match &outcome {
                Response::Written(_) => probe.written = Some(now),
                Response::Rows { .. } => probe.read = probe.written.is_some(),
                Response::Refused { .. } | Response::Failed | Response::Unknown => {}
            }
        }
        let think = client.think;
        self.happened(Event::Returned { op: work.op, outcome });
        let pause = if follows { 100 } else { self.random.below(2 * think) };
        self.plan(pause, Action::Client { client: number });
    }
}

/// How the history tells an intent.
fn told(intent: &Intent, request: RequestId, max_staleness_ms: Option<u64>) -> Asked {
    match intent.clone() {
        Intent::Write { key, conditions, mutations } => Asked::Write { key, conditions, mutations, request },
        Intent::Get { keys, consistency } => Asked::Get { keys, consistency },
        Intent::Scan { start, end, reverse, limit, consistency, .. } => {
            Asked::Scan { start, end, reverse, limit, consistency, max_staleness_ms }
        }
    }
}
