//! The catalog of a simulated cluster: tables made, dropped and made again at different gateways, whose processes end
//! between any two steps, whose servers of the coordinator lag, and whose answers get lost.
//!
//! Gateways and members run the production code of `kvstore::cluster` on the embedded tree of znodes; each call there is a
//! step of its own. What a node does is in `catalog_node`.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::time::Duration;

use kvstore::coordination::Coordinator;
use kvstore::coordination::embedded::{Embedded, EmbeddedClient};
use kvstore::testing::{ClusterMap, Paths};
use wal::sync::lock;
use wal::{CohortId, NodeId};

use super::catalog_history::{Act, Done};
use super::catalog_node::{Shared, carry_out, follow};
use super::coverage::Kind;
use super::stepped::{Dice, Fate, Stepped, Steps, at_once};

/// Names of tables.
const NAMES: [&str; 2] = ["a", "b"];
/// Steps of a run; and most steps until everything is given back when nothing disturbs any more.
const STEPS: u64 = 4000;
const STEPS_QUIET: u64 = 40_000;

type Task = Pin<Box<dyn Future<Output = ()>>>;

/// A node's process.
struct Process {
    client: Arc<EmbeddedClient>,
    map: Arc<ClusterMap>,
    steps: Steps,
    follow: Task,
    /// Statements at its gateway.
    statements: Vec<Task>,
}

/// The world.
pub(super) struct World {
    service: Embedded,
    shared: Shared,
    processes: BTreeMap<u32, Option<Process>>,
    /// Clients of processes that have ended: the service has not given their sessions up yet.
    lingering: Vec<Arc<EmbeddedClient>>,
    ranges: Arc<Mutex<u128>>,
    /// Taken so far.
    steps: u64,
    statements_left: u32,
    /// One call in so many fails; one step in so many brings a fault.
    failing: u64,
    faults: u64,
}

/// What a run did.
pub(super) struct Ran {
    /// Steps that it took.
    pub(super) steps: u64,
    /// What was met, for the coverage.
    pub(super) met: Vec<Kind>,
    /// Or what was broken.
    pub(super) kept: Result<(), String>,
}

/// Runs the catalog of a seed.
pub(super) fn run(seed: u64) -> Ran {
    let dice = Dice::new(seed ^ 0xca7a_1065);
    let mut world = World::new(3 + dice.below(3) as u32, dice.clone());
    world.statements_left = 12 + dice.below(14) as u32;
    world.failing = [0, 40, 400][dice.below(3) as usize];
    world.faults = [60, 200, 1000][dice.below(3) as usize];
    world.start_all();
    while world.steps < STEPS {
        world.disturb();
        world.step();
    }
    world.calm();
    let kept = world.settle().and_then(|()| world.lag()).and_then(|()| world.settle());
    let history = world.shared.history();
    Ran { steps: world.steps, met: history.kinds(), kept: history.check().and(kept) }
}

impl World {
    /// A cluster in which nothing goes wrong yet; its nodes are still to be started.
    pub(super) fn new(nodes: u32, dice: Dice) -> World {
        World {
            service: Embedded::new(),
            shared: Shared::new(dice),
            processes: (1..=nodes).map(|node| (node, None)).collect(),
            lingering: Vec::new(),
            ranges: Arc::default(),
            steps: 0,
            statements_left: 0,
            failing: 0,
            faults: 0,
        }
    }

    /// All processes run.
    pub(super) fn start_all(&mut self) {
        for node in 1..=self.processes.len() as u32 {
            if !self.runs(node) {
                self.start(node);
            }
        }
    }

    pub(super) fn runs(&self, node: u32) -> bool {
        self.processes.get(&node).is_some_and(Option::is_some)
    }

    fn running(&self) -> Vec<u32> {
        self.processes.keys().copied().filter(|node| self.runs(*node)).collect()
    }

    fn start(&mut self, node: u32) {
        let client = self.service.client();
        let steps = Steps::default();
        let coordinator = Stepped::new(client.clone(), self.shared.dice.clone(), self.failing, steps.clone());
        let ranges = self.ranges.clone();
        let new_range = move || {
            let mut last = lock(&ranges);
            *last += 1;
            CohortId(*last)
        };
        let map = ClusterMap::new(Arc::new(coordinator), Paths::new("c"));
        let map = Arc::new(map.simulated(Arc::new(self.shared.clock.clone()), new_range));
        let follow = Box::pin(follow(node, map.clone(), self.shared.clone(), steps.clone()));
        let process = Process { client, map, steps, follow, statements: Vec::new() };
        self.processes.insert(node, Some(process));
    }

    /// The process ends at once; the service gives its session up now or later.
    fn kill(&mut self, node: u32) {
        let Some(process) = self.processes.get_mut(&node).and_then(Option::take) else { return };
        self.shared.held().open.retain(|(on, _)| *on != node);
        match self.shared.dice.one_in(2) {
            true => process.client.kill(Duration::ZERO),
            false => self.lingering.push(process.client),
        }
    }

    /// Something happens, now and then: a fault, the end of one, or a statement.
    fn disturb(&mut self) {
        let dice = self.shared.dice.clone();
        let (running, nodes) = (self.running(), self.processes.len() as u64);
        if dice.one_in(self.faults) {
            let node = 1 + dice.below(nodes) as u32;
            match dice.below(6) {
                0 | 1 => self.kill(node),
                2 => {
                    if let Some(Some(process)) = self.processes.get(&node) {
                        process.client.expire();
                    }
                }
                3 => self.lingering.drain(..).for_each(|client| client.kill(Duration::ZERO)),
                _ => {
                    if let Some(Some(process)) = self.processes.get(&node) {
                        process.client.fall_behind();
                    }
                }
            }
        }
        if dice.one_in(self.faults / 2) {
            let node = 1 + dice.below(nodes) as u32;
            match self.processes.get(&node) {
                Some(Some(process)) => process.client.catch_up(),
                Some(None) | None => self.start(node),
            }
        }
        if self.statements_left > 0 && !running.is_empty() && dice.one_in(STEPS / 60) {
            self.statements_left -= 1;
            let gateway = running[dice.below(running.len() as u64) as usize];
            let act = self.draw();
            self.begin(gateway, act);
        }
    }

    /// Any statement.
    fn draw(&self) -> Act {
        let dice = &self.shared.dice;
        let name = NAMES[dice.below(NAMES.len() as u64) as usize].to_owned();
        let known = self.shared.history().tables();
        let table = (!known.is_empty()).then(|| known[dice.below(known.len() as u64) as usize]);
        match (dice.below(10), table) {
            (0..=2, _) | (8.., None) => Act::Create(name),
            (3 | 4, _) => Act::Drop(name),
            (5 | 6, _) | (_, None) => Act::Look(name),
            (7 | 8, Some(table)) => Act::Write(table),
            (_, Some(table)) => Act::Read(table),
        }
    }

    /// A statement begins at a gateway. Returns its number; `None`: the gateway does not run.
    fn begin(&mut self, gateway: u32, act: Act) -> Option<u64> {
        let shared = self.shared.clone();
        let process = self.processes.get_mut(&gateway)?.as_mut()?;
        let map = process.map.clone();
        let number = shared.history().begin(act.clone(), shared.clock.at());
        let statement = async move {
            let done = carry_out(number, &act, &map, &shared).await;
            shared.history().end(number, done, shared.clock.at());
        };
        process.statements.push(Box::pin(statement));
        Some(number)
    }

    /// Carries a statement out while nothing else is asked for; `None`: its gateway has ended at it, or does not run.
    pub(super) fn ask(&mut self, gateway: u32, act: Act) -> Result<Option<Done>, String> {
        let Some(number) = self.begin(gateway, act.clone()) else { return Ok(None) };
        let last = self.steps + STEPS_QUIET;
        while self.steps < last {
            self.step();
            let outcome = self.shared.history().outcome(number);
            if outcome.is_some() || !self.runs(gateway) {
                return Ok(outcome);
            }
        }
        Err(format!("{act:?} at gateway n{gateway} does not end though nothing disturbs it"))
    }

    /// The same, and it must do what it says.
    pub(super) fn expect(
        &mut self,
        gateway: u32,
        act: Act,
        wanted: impl FnOnce(&Done) -> bool,
    ) -> Result<Done, String> {
        match self.ask(gateway, act.clone())? {
            Some(done) if wanted(&done) => Ok(done),
            done => Err(format!("{act:?} at gateway n{gateway} came to {done:?} though nothing disturbs it")),
        }
    }

    /// At a step of a node's process, that with so many before it, something happens to it.
    pub(super) fn arm(&self, node: u32, before: u64, fate: Fate) {
        if let Some(Some(process)) = self.processes.get(&node) {
            process.steps.arm(before, fate);
        }
    }

    /// Nothing happens to it any more.
    pub(super) fn disarm(&self, node: u32) {
        if let Some(Some(process)) = self.processes.get(&node) {
            process.steps.disarm();
        }
    }

    /// Whether that is still to come.
    pub(super) fn is_armed(&self, node: u32) -> bool {
        matches!(self.processes.get(&node), Some(Some(process)) if process.steps.is_armed())
    }

    /// One task of a process goes one step on.
    fn step(&mut self) {
        self.steps += 1;
        let dice = self.shared.dice.clone();
        self.shared.clock.pass(20 + dice.below(4000));
        let running = self.running();
        if running.is_empty() {
            return;
        }
        let node = running[dice.below(running.len() as u64) as usize];
        let Some(Some(process)) = self.processes.get_mut(&node) else { return };
        let mut context = Context::from_waker(Waker::noop());
        let pick = dice.below(process.statements.len() as u64 + 1) as usize;
        match process.statements.get_mut(pick) {
            Some(statement) => {
                if statement.as_mut().poll(&mut context).is_ready() {
                    drop(process.statements.swap_remove(pick));
                }
            }
            None => {
                let _ = process.follow.as_mut().poll(&mut context);
            }
        }
        if process.steps.has_ended() {
            self.kill(node);
        }
    }

    /// Nothing disturbs any more: all processes run.
    fn calm(&mut self) {
        (self.faults, self.failing, self.statements_left) = (0, 0, 0);
        // A process that was started when calls failed would go on failing.
        self.running().into_iter().for_each(|node| self.kill(node));
        self.start_all();
        self.end_sessions();
    }

    /// The service gives up the sessions of processes that have ended.
    pub(super) fn end_sessions(&mut self) {
        self.lingering.drain(..).for_each(|client| client.kill(Duration::ZERO));
    }

    /// One gateway's server of the coordinator lags and does not catch up by itself, and nothing else is wrong: every
    /// statement does what it says all the same [fresh-reads-sync].
    fn lag(&mut self) -> Result<(), String> {
        let lagging = 2;
        if let Some(Some(process)) = self.processes.get(&lagging) {
            process.client.fall_behind();
        }
        let (y, z) = ("y".to_owned(), "z".to_owned());
        let made = |done: &Done| matches!(done, Done::Made(_));
        let first = self.expect(1, Act::Create(y.clone()), made)?;
        self.expect(lagging, Act::Create(z.clone()), made)?;
        let found = |done: &Done| matches!(done, Done::Found(_));
        self.expect(1, Act::Look(z.clone()), found)?;
        self.expect(lagging, Act::Look(y.clone()), found)?;
        self.expect(1, Act::Drop(y.clone()), |done| matches!(done, Done::Dropped(..) | Done::Gone(..)))?;
        self.expect(lagging, Act::Create(y.clone()), |done| made(done) && *done != first)?;
        self.expect(lagging, Act::Drop(z.clone()), |done| {
            matches!(done, Done::Dropped(..) | Done::Gone(..))
        })?;
        self.expect(1, Act::Look(z), |done| *done == Done::Missing)?;
        if let Some(Some(process)) = self.processes.get(&lagging) {
            process.client.catch_up();
        }
        Ok(())
    }

    /// In the end every node holds exactly what stands in the catalog.
    pub(super) fn settle(&mut self) -> Result<(), String> {
        let mut wrong = String::new();
        for quiet in 0..STEPS_QUIET {
            self.step();
            if let Some((node, _)) = self.processes.iter().find(|(_, process)| process.is_none()) {
                return Err(format!("n{node} does not run"));
            }
            if quiet % 200 == 0 {
                match self.difference() {
                    None => return Ok(()),
                    Some(difference) => wrong = difference,
                }
            }
        }
        Err(format!("when nothing disturbs any more, {wrong}"))
    }

    /// Whether all answers so far are right.
    pub(super) fn check(&self) -> Result<(), String> {
        self.shared.history().check()
    }

    /// How the nodes and the znodes differ from the catalog.
    pub(super) fn difference(&self) -> Option<String> {
        let (mut expected, mut tables, mut names) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for (node, process) in self.processes.iter().filter_map(|(node, one)| Some((node, one.as_ref()?))) {
            for (table, range) in process.map.view().own(NodeId(*node)) {
                expected.insert((*node, range.range()));
                tables.insert(table.table.id.0.to_string());
                names.insert(table.table.name.clone());
            }
        }
        let held = self.shared.held();
        let disks: BTreeSet<(u32, CohortId)> = held.disks.keys().copied().collect();
        if disks != expected {
            return Some(format!("disks hold {disks:?}, and the catalog says {expected:?}"));
        }
        if held.open != expected {
            return Some(format!("open are {:?}, and the catalog says {expected:?}", held.open));
        }
        let observer = self.service.client();
        let list = |dir: &str| {
            let path = format!("/spinnaker/c/{dir}");
            let there = at_once(observer.list(&path)).and_then(Result::ok).unwrap_or_default();
            there.into_iter().collect::<BTreeSet<String>>()
        };
        let ranges: BTreeSet<String> = expected.iter().map(|(_, range)| range.to_string()).collect();
        let nodes = self.processes.keys().map(u32::to_string).collect();
        let wanted = [
            ("nodes", nodes),
            ("dropped", BTreeSet::new()),
            ("ranges", ranges),
            ("tables", tables),
            ("names", names),
        ];
        wanted.into_iter().find_map(|(dir, wanted)| {
            let there = list(dir);
            (there != wanted).then(|| format!("{dir} are {there:?}, and the catalog says {wanted:?}"))
        })
    }
}
