//! The catalog of a simulated cluster: tables made, dropped and made again at different gateways, whose processes end
//! between any two steps, whose servers of the coordinator lag, and whose answers get lost.
//!
//! Gateways and members run the production code of `kvstore::cluster` on the embedded tree of znodes; each call there is a
//! step of its own. What is made up is what a replica does: a write is acknowledged while a majority of the range's members
//! has it open. Ranges are opened, closed and given back by the code of production.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};
use std::time::Duration;

use bytes::Bytes;
use kvstore::coordination::Coordinator;
use kvstore::coordination::embedded::{Embedded, EmbeddedClient};
use kvstore::error::KvError;
use kvstore::request::TableId;
use kvstore::testing::{
    ClusterId, ClusterMap, Holder, JoinError, NodeAddresses, Paths, Rebuild, TableView, Time, register,
    uphold,
};
use wal::{CohortId, Incarnation, NodeId, ReplicaId};

use super::catalog_history::{Act, Done, History};
use super::coverage::Kind;
use super::stepped::{Clock, Dice, Stepped, at_once, step};

/// Names of tables.
const NAMES: [&str; 2] = ["a", "b"];
/// Steps of a run; and most steps until everything is given back when nothing disturbs any more.
const STEPS: u64 = 4000;
const STEPS_QUIET: u64 = 40_000;
/// Longest wait of a statement.
const DEADLINE: Duration = Duration::from_secs(30);

type Task = Pin<Box<dyn Future<Output = ()>>>;

/// What all processes have in memory and on their disks.
#[derive(Default)]
pub(super) struct Held {
    /// Replicas that are open.
    open: BTreeSet<(u32, CohortId)>,
    /// Data on disks: the writes that each replica has.
    disks: BTreeMap<(u32, CohortId), BTreeSet<u64>>,
    /// Which cluster each disk says that it belongs to.
    joined: BTreeMap<u32, ClusterId>,
}

/// What is shared by all that runs.
#[derive(Clone)]
struct Shared {
    held: Arc<Mutex<Held>>,
    history: Arc<Mutex<History>>,
    clock: Clock,
    dice: Dice,
}

impl Shared {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A node's process.
struct Process {
    client: Arc<EmbeddedClient>,
    map: Arc<ClusterMap>,
    follow: Task,
    /// Statements at its gateway.
    statements: Vec<Task>,
}

/// The world.
struct World {
    service: Embedded,
    shared: Shared,
    processes: BTreeMap<u32, Option<Process>>,
    /// Clients of processes that have ended: the service has not given their sessions up yet.
    lingering: Vec<Arc<EmbeddedClient>>,
    ranges: Arc<Mutex<u128>>,
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
    let shared =
        Shared { held: Arc::default(), history: Arc::default(), clock: Clock::new(), dice: dice.clone() };
    let nodes = 3 + dice.below(3) as u32;
    let mut world = World {
        service: Embedded::new(),
        shared,
        processes: (1..=nodes).map(|node| (node, None)).collect(),
        lingering: Vec::new(),
        ranges: Arc::default(),
        statements_left: 12 + dice.below(14) as u32,
        failing: [0, 40, 400][dice.below(3) as usize],
        faults: [60, 200, 1000][dice.below(3) as usize],
    };
    for node in 1..=nodes {
        world.start(node);
    }
    let mut steps = 0;
    while steps < STEPS {
        steps += 1;
        world.disturb();
        world.step();
    }
    world.calm();
    let settled = world.settle(&mut steps);
    let history = world.shared.history();
    Ran { steps, met: history.kinds(), kept: settled.and_then(|()| history.check()) }
}

impl World {
    fn runs(&self, node: u32) -> bool {
        self.processes.get(&node).is_some_and(Option::is_some)
    }

    fn running(&self) -> Vec<u32> {
        self.processes.keys().copied().filter(|node| self.runs(*node)).collect()
    }

    fn start(&mut self, node: u32) {
        let client = self.service.client();
        let coordinator = Stepped::new(client.clone(), self.shared.dice.clone(), self.failing);
        let ranges = self.ranges.clone();
        let new_range = move || {
            let mut last = ranges.lock().unwrap_or_else(PoisonError::into_inner);
            *last += 1;
            CohortId(*last)
        };
        let map = ClusterMap::new(Arc::new(coordinator), Paths::new("c"));
        let map = Arc::new(map.simulated(Arc::new(self.shared.clock.clone()), new_range));
        let follow = Box::pin(follow(node, map.clone(), self.shared.clone()));
        let process = Process { client, map, follow, statements: Vec::new() };
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
            self.begin(gateway);
        }
    }

    /// A statement begins at a gateway.
    fn begin(&mut self, gateway: u32) {
        let (dice, shared) = (self.shared.dice.clone(), self.shared.clone());
        let Some(Some(process)) = self.processes.get_mut(&gateway) else { return };
        let (map, name) = (process.map.clone(), NAMES[dice.below(NAMES.len() as u64) as usize].to_owned());
        let known = shared.history().tables();
        let table = (!known.is_empty()).then(|| known[dice.below(known.len() as u64) as usize]);
        let act = match (dice.below(10), table) {
            (0..=2, _) | (8.., None) => Act::Create(name),
            (3 | 4, _) => Act::Drop(name),
            (5 | 6, _) | (_, None) => Act::Look(name),
            (7 | 8, Some(table)) => Act::Write(table),
            (_, Some(table)) => Act::Read(table),
        };
        let number = shared.history().begin(act.clone(), shared.clock.at());
        let statement = async move {
            let done = carry_out(number, &act, &map, &shared).await;
            shared.history().end(number, done, shared.clock.at());
        };
        process.statements.push(Box::pin(statement));
    }

    /// One task of a process goes one step on.
    fn step(&mut self) {
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
    }

    /// Nothing disturbs any more: all processes run.
    fn calm(&mut self) {
        (self.faults, self.failing, self.statements_left) = (0, 0, 0);
        self.lingering.drain(..).for_each(|client| client.kill(Duration::ZERO));
        for node in 1..=self.processes.len() as u32 {
            // A process that was started when calls failed would go on failing.
            self.kill(node);
            self.start(node);
        }
        self.lingering.drain(..).for_each(|client| client.kill(Duration::ZERO));
    }

    /// In the end every node holds exactly what stands in the catalog.
    fn settle(&mut self, steps: &mut u64) -> Result<(), String> {
        let mut wrong = String::new();
        for quiet in 0..STEPS_QUIET {
            *steps += 1;
            self.step();
            if quiet % 200 == 0 {
                match self.difference() {
                    None => return Ok(()),
                    Some(difference) => wrong = difference,
                }
            }
        }
        Err(format!("when nothing disturbs any more, {wrong}"))
    }

    /// How the nodes and the znodes differ from the catalog.
    fn difference(&self) -> Option<String> {
        let maps = self.processes.values().flatten().map(|process| process.map.clone());
        let maps: Vec<Arc<ClusterMap>> = maps.collect();
        let mut expected = BTreeSet::new();
        for (node, map) in (1..).zip(&maps) {
            let view = map.view();
            expected.extend(view.own(NodeId(node)).map(|(_, range)| (node, range.range())));
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
            at_once(observer.list(&path)).and_then(Result::ok).unwrap_or_default()
        };
        let ranges: BTreeSet<String> = expected.iter().map(|(_, range)| range.to_string()).collect();
        let (marks, znodes) = (list("dropped"), list("ranges").into_iter().collect::<BTreeSet<_>>());
        if !marks.is_empty() || znodes != ranges {
            return Some(format!(
                "marks {marks:?} and ranges {znodes:?} stand there; tables have {ranges:?}"
            ));
        }
        None
    }
}

/// A node's hands on what it holds.
struct Hands {
    node: u32,
    shared: Shared,
}

impl Holder for Hands {
    fn close(&self, range: CohortId) {
        self.shared.held().open.remove(&(self.node, range));
    }

    async fn forget(&self, _: CohortId) -> Result<(), String> {
        step().await;
        Ok(())
    }

    async fn remove(&self, range: CohortId) -> Result<(), String> {
        step().await;
        self.shared.held().disks.remove(&(self.node, range));
        Ok(())
    }
}

/// What a node does about the catalog as long as it lives.
async fn follow(node: u32, map: Arc<ClusterMap>, shared: Shared) {
    let me = ReplicaId { node: NodeId(node), incarnation: Incarnation(node.into()) };
    let addresses =
        NodeAddresses { grpc: format!("n{node}:1"), disk: Some(me.incarnation), ..NodeAddresses::default() };
    let pause = |most: u64| shared.clock.sleep(Duration::from_micros(1000 + shared.dice.below(most)));
    while let Err(error) = join(node, me, &map, &shared).await {
        if !matches!(error, JoinError::Coordination(_)) {
            shared.history().broken(format!("n{node} may not join: {error}"));
        }
        pause(10_000).await;
    }
    let hands = Hands { node, shared: shared.clone() };
    loop {
        if map.refresh().await.is_ok() && uphold(&map, me, &addresses).await.is_ok() {
            let view = map.view();
            let (dropped, _) = view.certainly_dropped();
            for range in dropped {
                // Tried again.
                let _ = map.give_back(range, me.node, &hands).await;
            }
            let mut own: Vec<CohortId> = view.own(me.node).map(|(_, range)| range.range()).collect();
            own.sort_unstable();
            for range in own {
                step().await;
                let mut held = shared.held();
                held.disks.entry((node, range)).or_default();
                held.open.insert((node, range));
            }
        }
        pause(30_000).await;
    }
}

async fn join(node: u32, me: ReplicaId, map: &ClusterMap, shared: &Shared) -> Result<(), JoinError> {
    let (kept, holds) = {
        let held = shared.held();
        (held.joined.get(&node).copied(), held.disks.keys().any(|(on, _)| *on == node))
    };
    let cluster = map.join(me, kept, holds).await?;
    map.ensure().await?;
    register(map, me, Rebuild::Never).await?;
    shared.held().joined.insert(node, cluster);
    Ok(map.refresh().await?)
}

/// What comes of a statement.
async fn carry_out(number: u64, act: &Act, map: &ClusterMap, shared: &Shared) -> Done {
    let deadline = shared.clock.now() + DEADLINE;
    match act {
        Act::Create(name) => match map.create_table(name, Bytes::new(), &[]).await {
            Ok(table) => {
                // That it fails changes nothing about the table.
                let _ = map.refresh().await;
                Done::Made(table.id)
            }
            Err(error @ KvError::TableExists(_)) => {
                shared.history().error(&error);
                Done::Exists
            }
            Err(error) => failed(&error, shared),
        },
        Act::Drop(name) => match map.drop_named(name).await {
            Ok(table) => {
                let confirmed = map.await_drop(&table, deadline).await;
                Done::Dropped(table.table.id, confirmed)
            }
            Err(error @ KvError::NoTable(_)) => {
                shared.history().error(&error);
                Done::Missing
            }
            Err(error) => failed(&error, shared),
        },
        Act::Look(name) => {
            if map.refresh_now().await.is_err() {
                return Done::Nothing;
            }
            match map.table_named(name).await {
                Ok(table) => Done::Found(table.table.id),
                Err(KvError::NoTable(_)) => Done::Missing,
                Err(_) => Done::Nothing,
            }
        }
        Act::Write(table) => write(number, *table, map, shared).await,
        Act::Read(table) => match map.table(*table).await {
            Ok(view) => read(&view, shared).await,
            Err(KvError::NoTable(_)) => Done::Missing,
            Err(_) => Done::Nothing,
        },
    }
}

fn failed(error: &KvError, shared: &Shared) -> Done {
    shared.history().error(error);
    match error {
        // Of a drop: it is done, but not seen.
        KvError::OutcomeUnknown(_) | KvError::Unavailable(_) => Done::Unknown,
        KvError::Overloaded(_) => Done::GaveUp,
        _ => Done::Nothing,
    }
}

/// A write: acknowledged while a majority of its range's members is open, and then held by all that are.
async fn write(number: u64, table: TableId, map: &ClusterMap, shared: &Shared) -> Done {
    for _ in 0..20 {
        let view = match map.table(table).await {
            Ok(view) => view,
            Err(KvError::NoTable(_)) => return Done::Missing,
            Err(_) => return Done::Nothing,
        };
        step().await;
        if let Some((range, open)) = majority(&view, shared) {
            let mut held = shared.held();
            for node in open {
                held.disks.entry((node, range)).or_default().insert(number);
            }
            return Done::Written;
        }
    }
    Done::Nothing
}

async fn read(view: &TableView, shared: &Shared) -> Done {
    for _ in 0..20 {
        step().await;
        if let Some((range, open)) = majority(view, shared) {
            let held = shared.held();
            let rows = open.into_iter().filter_map(|node| held.disks.get(&(node, range)));
            return Done::Rows(rows.flatten().copied().collect());
        }
    }
    Done::Nothing
}

/// The members of the table's range that are open, if they are a majority.
fn majority(view: &TableView, shared: &Shared) -> Option<(CohortId, Vec<u32>)> {
    let range = view.ranges.first()?;
    let (id, members) = (range.range(), range.members());
    let held = shared.held();
    let open: Vec<u32> =
        members.iter().map(|node| node.0).filter(|node| held.open.contains(&(*node, id))).collect();
    (open.len() * 2 > members.len()).then_some((id, open))
}
