//! Clients and the gateways that they use.
//!
//! A client works one operation at a time through a gateway on some node. The gateway does what the production router
//! does: it looks for the leader (a guess, a hint, everyone in turn), repeats an attempt whose outcome is not known with
//! the same request id, and says "unknown" only when it must. A client whose gateway is lost may repeat its write through
//! another one, with the same request id.

use std::collections::BTreeMap;

use bytes::Bytes;
use kvstore::request::RequestId;
use kvstore::testing::MachineWrite;
use wal::Lsn;

use super::call::{Answer, Call, Mode, Request, Select, Step};
use super::client::{Client, Probe, Work};
use super::history::{Call as Asked, Consistency, Event, Node, Outcome, Range};
use super::machine::Knowledge;
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
            let session = self.random.one_in(2).then(BTreeMap::new);
            self.add_client(Client {
                session,
                home,
                sequence: 0,
                left,
                think,
                work: None,
                next: None,
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
            (client.intent, client.next) = (None, None);
        }
    }

    /// What the probes have reached.
    pub(crate) fn probes(&self) -> Vec<Probe> {
        self.clients.iter().filter_map(|client| client.probe).collect()
    }

    fn client(&mut self, client: u32) -> &mut Client {
        &mut self.clients[client as usize]
    }

    /// A client begins its next operation, or its gateway makes the next attempt.
    pub(super) fn client_step(&mut self, number: u32) {
        if self.client(number).work.is_some() {
            return self.attempt(number);
        }
        let op = self.operations;
        let (range, intent, next) = match self.intend(number) {
            Some(intended) => intended,
            None => return,
        };
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
        let (request, call) = ask(intent, id, max_staleness_ms);
        let session = client.session.is_some();
        self.happened(Event::Invoked { op, client: number, session, range, call });
        let (deadline, gateway_life) = (self.now + self.options.deadline, self.life(gateway));
        let mut work = Work {
            op,
            range,
            request,
            deadline,
            gateway,
            gateway_life,
            call: None,
            adrift: false,
            asked: 0,
            calls: 0,
            turn: 0,
            hint: None,
        };
        if let Request::Write(write) = &mut work.request {
            write.known = self.knows(gateway, range).known;
        }
        self.client(number).work = Some(work);
        self.attempt(number);
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
                    consistency: Consistency::Strong,
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

    fn knows(&self, gateway: Node, range: Range) -> Knowledge {
        let process = self.machines.get(&gateway).and_then(|machine| machine.process.as_ref());
        process.and_then(|process| process.gateway.get(&range)).copied().unwrap_or_default()
    }

    fn learn(&mut self, gateway: Node, range: Range, learn: impl FnOnce(&mut Knowledge)) {
        if let Some(process) = self.machines.get_mut(&gateway).and_then(|machine| machine.process.as_mut()) {
            learn(process.gateway.entry(range).or_default());
        }
    }

    /// The gateway asks the next node.
    fn attempt(&mut self, number: u32) {
        let Some(work) = self.clients[number as usize].work.as_ref() else { return };
        if work.call.is_some() {
            return;
        }
        let (gateway, range) = (work.gateway, work.range);
        if self.now >= work.deadline {
            let adrift = work.adrift;
            return self.finish(number, if adrift { Outcome::Unknown } else { Outcome::Failed });
        }
        if !self.runs(gateway) || self.life(gateway) != work.gateway_life {
            return self.gateway_lost(number);
        }
        let Some(target) = self.target(number) else {
            let pause = 1000 + self.random.below(self.options.pause_max);
            return self.plan(pause, Action::Client { client: number });
        };
        let floor = self.clients[number as usize].session.as_ref().and_then(|seen| seen.get(&range)).copied();
        let Some(work) = self.clients[number as usize].work.as_ref() else { return };
        let mut request = work.request.clone();
        if let Request::Read { mode, .. } = &mut request
            && let Mode::Timeline { max_staleness_ms, .. } = *mode
        {
            *mode = match work.asked {
                0..=2 => Mode::Timeline { floor: floor.unwrap_or(Lsn::ZERO), max_staleness_ms },
                // No replica could: the leader must.
                _ => Mode::Strong,
            };
        }
        let id = u64::from(work.op) << 20 | u64::from(work.calls & 0xf_ffff);
        self.calls.insert(id, Call { client: number, gateway, target, range, life: 0, began: 0, request });
        if let Some(work) = self.client(number).work.as_mut() {
            work.call = Some(id);
            work.calls += 1;
        }
        if !self.network.carries(gateway, target) {
            if self.random.one_in(2) {
                self.plan(1000, Action::Answer { call: id, answer: Answer::NotSent });
            }
        } else if let Some(delay) =
            self.network.send(&mut self.random, self.now, gateway, target).first().copied()
        {
            // Now and then a request is stuck somewhere, and arrives when its gateway has long repeated it.
            let stuck = self.network.loss > 0 && self.random.one_in(8);
            let delay = if stuck { delay + self.random.below(600_000) } else { delay };
            self.plan(delay, Action::Serve { call: id, step: Step::Begin(0) });
        }
        let wait_max = 20_000 + self.random.below(500_000);
        self.plan(wait_max, Action::Timeout { call: id });
    }

    /// Whom to ask next; `None`: nobody before a pause.
    fn target(&mut self, number: u32) -> Option<Node> {
        let work = self.clients[number as usize].work.as_ref()?;
        let (gateway, range) = (work.gateway, work.range);
        let timeline = matches!(work.request, Request::Read { mode: Mode::Timeline { .. }, .. });
        let known = self.knows(gateway, range).leader;
        let members = self.options.members(range);
        let random = self.random.number();
        let work = self.client(number).work.as_mut()?;
        work.asked += 1;
        if timeline && work.asked <= 3 {
            return match members.contains(&gateway) && work.asked == 1 {
                true => Some(gateway),
                false => Some(members[(random % members.len() as u64) as usize]),
            };
        }
        if let Some(hint) = work.hint.take().or(known.filter(|_| work.asked == 1)) {
            return Some(hint);
        }
        work.turn += 1;
        if work.turn.is_multiple_of(members.len() as u32 + 1) {
            return None;
        }
        Some(members[((random >> 32) as u32 % members.len() as u32) as usize])
    }

    /// The client's gateway has died: what it had under way is lost.
    fn gateway_lost(&mut self, number: u32) {
        let gateways: Vec<Node> = self.nodes().into_iter().filter(|&node| self.runs(node)).collect();
        let again = self.random.one_in(2) && !gateways.is_empty();
        let pick = self.random.below(gateways.len().max(1) as u64) as usize;
        let Some(work) = self.client(number).work.as_mut() else { return };
        if !again {
            let write = matches!(work.request, Request::Write(_));
            return self.finish(number, if write { Outcome::Unknown } else { Outcome::Failed });
        }
        work.gateway = gateways[pick];
        if let Request::Write(write) = &mut work.request {
            // The other gateway does not know when the first attempt was.
            (write.known, write.retry) = (Lsn::ZERO, true);
            work.adrift = true;
        }
        (work.asked, work.hint) = (0, None);
        let life = self.life(gateways[pick]);
        if let Some(work) = self.client(number).work.as_mut() {
            work.gateway_life = life;
        }
        self.attempt(number);
    }

    /// An attempt was given up.
    pub(super) fn timed_out(&mut self, call: u64) {
        // What is on its way may still arrive and be served, but nobody listens any more.
        self.answered(call, Answer::Lost);
    }

    /// An answer reaches the gateway.
    pub(super) fn answered(&mut self, id: u64, answer: Answer) {
        let Some(call) = self.calls.get(&id) else { return };
        let target = call.target;
        let number = call.client;
        let Some(work) = self.client(number).work.as_mut() else { return };
        if work.call != Some(id) {
            return;
        }
        work.call = None;
        let (gateway, life, range) = (work.gateway, work.gateway_life, work.range);
        let write = matches!(work.request, Request::Write(_));
        if !self.runs(gateway) || self.life(gateway) != life {
            return self.gateway_lost(number);
        }
        match answer {
            Answer::Written(lsn) => {
                self.learn(gateway, range, |known| {
                    (known.leader, known.known) = (Some(target), known.known.max(lsn))
                });
                self.saw(number, range, lsn);
                self.finish(number, Outcome::Written(lsn));
            }
            Answer::Refused { at, current } => {
                self.learn(gateway, range, |known| {
                    (known.leader, known.known) = (Some(target), known.known.max(at))
                });
                self.saw(number, range, at);
                self.finish(number, Outcome::Refused { at, current });
            }
            Answer::Rows { rows, lsn, served, staleness_ms } => {
                self.learn(gateway, range, |known| known.known = known.known.max(lsn));
                self.saw(number, range, lsn);
                self.finish(number, Outcome::Rows { rows, lsn, node: target, served, staleness_ms });
            }
            Answer::Forgotten { applied } => {
                self.learn(gateway, range, |known| known.known = known.known.max(applied));
                self.forgotten(number, applied);
            }
            Answer::NotLeader { hint } => {
                self.learn(gateway, range, |known| known.leader = hint);
                if let Some(work) = self.client(number).work.as_mut() {
                    work.hint = hint.filter(|hint| *hint != target);
                }
                self.plan(100, Action::Client { client: number });
            }
            Answer::Unavailable => {
                let pause = 1000 + self.random.below(self.options.pause_max);
                self.plan(pause, Action::Client { client: number });
            }
            Answer::Refusing => {
                let adrift = self.client(number).work.as_ref().is_some_and(|work| work.adrift);
                self.finish(number, if adrift { Outcome::Unknown } else { Outcome::Failed });
            }
            Answer::Unknown | Answer::Lost => {
                self.interrupted(number, write);
            }
            Answer::NotSent => self.attempt(number),
        }
    }

    /// A retry is too old to be found: executed before or never.
    fn forgotten(&mut self, number: u32, applied: Lsn) {
        let Some(Work { request: Request::Write(write), .. }) = self.client(number).work.as_mut() else {
            return;
        };
        if write.retry {
            return self.finish(number, Outcome::Unknown);
        }
        // Never executed, and no attempt is under way: with the newer LSN it is known to be new.
        write.known = applied;
        self.attempt(number);
    }

    /// An attempt ended without a word of what became of it.
    fn interrupted(&mut self, number: u32, is_write: bool) {
        if let Some(work) = self.client(number).work.as_mut()
            && let Request::Write(write) = &mut work.request
        {
            (write.retry, work.adrift) = (true, true);
        }
        if is_write && self.random.one_in(10) {
            // A gateway whose own client has gone.
            return self.finish(number, Outcome::Unknown);
        }
        let pause = self.random.below(self.options.retry_max);
        self.plan(pause, Action::Client { client: number });
    }

    fn saw(&mut self, number: u32, range: Range, lsn: Lsn) {
        if let Some(seen) = self.client(number).session.as_mut() {
            let floor = seen.entry(range).or_default();
            *floor = (*floor).max(lsn);
        }
    }

    /// The operation ends, and the client thinks of the next one.
    fn finish(&mut self, number: u32, outcome: Outcome) {
        let Some(work) = self.client(number).work.take() else { return };
        match &outcome {
            Outcome::Written(_) => self.counts.written += 1,
            Outcome::Rows { .. } => self.counts.read += 1,
            Outcome::Refused { .. } | Outcome::Failed | Outcome::Unknown => {}
        }
        self.values += 1;
        let (unique, now) = (self.values, self.now);
        let client = self.client(number);
        let mut follows = false;
        if let (Some(next), Outcome::Rows { rows, .. }) = (client.next.take(), &outcome)
            && let [row] = &rows[..]
        {
            follows = !matches!(next, FollowUp::Edit);
            client.intent = Some((work.range, workload::follow(&next, row, unique)));
        }
        if let Some(probe) = &mut client.probe {
            match &outcome {
                Outcome::Written(_) => probe.written = Some(now),
                Outcome::Rows { .. } => probe.read = probe.written.is_some(),
                Outcome::Refused { .. } | Outcome::Failed | Outcome::Unknown => {}
            }
        }
        let think = client.think;
        self.happened(Event::Returned { op: work.op, outcome });
        let pause = if follows { 100 } else { self.random.below(2 * think) };
        self.plan(pause, Action::Client { client: number });
    }
}

fn mode(consistency: Consistency, max_staleness_ms: Option<u64>) -> Mode {
    match consistency {
        Consistency::Strong => Mode::Strong,
        Consistency::Timeline => Mode::Timeline { floor: Lsn::ZERO, max_staleness_ms },
    }
}

/// The request that carries an intent out, and how the history tells it.
fn ask(intent: Intent, id: RequestId, max_staleness_ms: Option<u64>) -> (Request, Asked) {
    match intent {
        Intent::Write { key, conditions, mutations } => {
            let write = MachineWrite {
                key: Bytes::from(key.clone()),
                conditions: conditions.clone(),
                mutations: mutations.clone(),
                request: id,
                known: Lsn::ZERO,
                retry: false,
            };
            (Request::Write(write), Asked::Write { key, conditions, mutations, request: id })
        }
        Intent::Get { keys, consistency } => {
            let select = Select::Keys(keys.iter().map(|key| Bytes::from(key.clone())).collect());
            let request = Request::Read { select, mode: mode(consistency, max_staleness_ms) };
            (request, Asked::Get { keys, consistency })
        }
        Intent::Scan { start, end, reverse, consistency } => {
            let (from, to) = (start.clone().into(), end.clone().map(Bytes::from));
            let select = Select::Scan { start: from, end: to, reverse };
            let request = Request::Read { select, mode: mode(consistency, max_staleness_ms) };
            (request, Asked::Scan { start, end, reverse, consistency })
        }
    }
}
