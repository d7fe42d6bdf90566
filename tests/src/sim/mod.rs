//! The deterministic simulator: a whole cluster, its clients and all that can go wrong, in one thread and in made-up time.
//!
//! seed → [`options`] (printed first) → [`schedule`] of faults, as data → run ([`world`]) → checkers, which see nothing but
//! the [`history`] → the faults end, and every range must serve again within a bound ([`Ending::NoProgress`] otherwise).
//!
//! - `world`: the agenda; `processes`, `replicas`: what the nodes do; `faults`: what is done to them; `sessions`: nodes and
//!   the coordinator.
//! - `machine`, `network`: the parts of the world.
//! - `catalog`: a world of its own, in which tables are made and dropped; `catalog_crashes`: the end of a process at each of
//!   its steps.
//! - `client`, `workload`, `gateway`, `scans`: clients, what they do, and their gateways. `calls`: how replicas serve them.
//! - [`checkers`]: the promises, one file each. [`coverage`]: what seeds have met, and what they have not.
//! - [`scenarios`]: named kinds of trouble, and what shows that the system stands each.
//!
//! Nodes run the production code of `replication::protocol` and `drive`, of `wal`, of the storage engine, of a read at a
//! replica and of a gateway's calls. What stands around that code in production and not here: the tokio runtime, the gRPC
//! streams, ZooKeeper's client. The same seed gives the same run, always: see [`Report::hash`].

pub mod checkers;
mod catalog_crashes;
mod catalog;
mod catalog_node;
mod catalog_history;
mod stepped;
mod calls;
mod faults;
mod gateway;
mod scans;
mod processes;
mod replicas;
mod sessions;
pub mod world;
pub mod coverage;
mod client;
mod call;
mod machine;
mod network;
mod report;
pub mod scenarios;
pub mod schedule;
mod workload;
pub mod options;
pub mod history;

use std::any::Any;
use std::fmt;
use std::panic::{self, AssertUnwindSafe};

use replication::testing::options::Random;

use self::coverage::Coverage;
use self::history::Violation;
use self::options::Options;
use self::scenarios::Scenario;
use self::schedule::Schedule;
use self::world::{Counts, World};

// Each step of a cohort ends with a check of its invariants, in a release build, too.
const _: () = assert!(replication::protocol::INVARIANTS_CHECKED, "replication is to be built with `checks`");

/// After the faults have ended every range must acknowledge a write within so many microseconds.
const RECOVERY: u64 = 2_000_000;
/// And every replica must have applied everything within so many more.
const CATCH_UP: u64 = 20_000_000;

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// All promises were kept.
    Kept,
    /// One was broken.
    Violation(Violation),
    /// The code under test panicked.
    Crash(String),
    /// The faults had ended, and still something did not go on.
    NoProgress(String),
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ending::Kept => write!(f, "all promises kept"),
            Ending::Violation(violation) => write!(f, "broken promise: {violation}"),
            Ending::Crash(what) => write!(f, "crash: {what}"),
            Ending::NoProgress(what) => write!(f, "no progress: {what}"),
        }
    }
}

impl Ending {
    /// Who found fault, in a word.
    pub fn finder(&self) -> Option<&'static str> {
        match self {
            Ending::Kept => None,
            Ending::Violation(violation) => Some(violation.checker),
            Ending::Crash(_) => Some("crash"),
            Ending::NoProgress(_) => Some("liveness"),
        }
    }
}

/// What a run was and did.
#[derive(Clone, Debug)]
pub struct Report {
    /// How it ended.
    pub ending: Ending,
    /// A hash of everything that happened, in order.
    pub hash: u64,
    /// Figures.
    pub counts: Counts,
    /// What was met.
    pub coverage: Coverage,
    /// Lines for people, if asked for.
    pub trace: Vec<String>,
}

/// What a seed means, in a scenario if one is given.
pub fn draw(seed: u64, ops: Option<u32>, scenario: Option<&Scenario>) -> (Options, Schedule) {
    let mut random = Random(seed);
    let mut options = Options::draw(&mut random, ops);
    if let Some(scenario) = scenario {
        (scenario.shape)(&mut options);
    }
    let schedule = schedule::draw(&mut random, &options);
    (options, schedule)
}

/// Runs one seed.
pub fn run(seed: u64, ops: Option<u32>, trace: bool) -> Report {
    run_in(seed, ops, None, trace)
}

/// Runs one seed in a scenario, if one is given.
pub fn run_in(seed: u64, ops: Option<u32>, scenario: Option<&Scenario>, trace: bool) -> Report {
    let (options, schedule) = draw(seed, ops, scenario);
    let checkers = checkers::all(&options);
    let mut world = World::new(seed ^ 0x5eed, options, checkers, trace);
    let ran = panic::catch_unwind(AssertUnwindSafe(|| play(&mut world, &schedule)));
    let mut ending = ran.unwrap_or_else(crashed);
    if ending == Ending::Kept && scenario.is_none() {
        ending = match panic::catch_unwind(|| catalog::run(seed)) {
            Ok(catalog::Ran { steps, met, kept }) => {
                world.hash ^= steps;
                met.into_iter().for_each(|kind| world.coverage.met(kind));
                let broken = |what| Ending::Violation(Violation { checker: "catalog", what });
                kept.and_then(|()| catalog_crashes::run(seed)).map_or_else(broken, |()| Ending::Kept)
            }
            Err(payload) => crashed(payload),
        };
    }
    let World { hash, counts, coverage, trace, .. } = world;
    Report { ending, hash, counts, coverage, trace: trace.unwrap_or_default() }
}

fn crashed(payload: Box<dyn Any + Send>) -> Ending {
    let text = payload.downcast_ref::<String>().cloned();
    let text = text.or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    Ending::Crash(text.unwrap_or_else(|| "a panic without a text".to_owned()))
}

fn play(world: &mut World, schedule: &Schedule) -> Ending {
    world.employ();
    for (at, fault) in schedule {
        world.run_until(*at);
        if world.violation.is_some() {
            break;
        }
        world.strike(*fault);
    }
    let end = world.planned_end();
    world.run_until(end);
    if let Some(violation) = world.violation.take() {
        return Ending::Violation(violation);
    }
    world.calm();
    if let Err(what) = recover(world) {
        return match world.violation.take() {
            Some(violation) => Ending::Violation(violation),
            None => Ending::NoProgress(what),
        };
    }
    world.conclude();
    world.violation.take().map_or(Ending::Kept, Ending::Violation)
}

/// Everyone is well: every range must serve, and every replica must get everything.
fn recover(world: &mut World) -> Result<(), String> {
    world.dismiss();
    for range in world.ranges() {
        world.probe(range);
    }
    let began = world.time();
    while world.probes().iter().any(|probe| probe.written.is_none()) {
        world.run_until(world.time() + 10_000);
        if world.violation.is_some() {
            return Err(String::new());
        }
        if world.time() > began + RECOVERY {
            let late: Vec<u32> = world
                .probes()
                .iter()
                .filter(|probe| probe.written.is_none())
                .map(|probe| probe.range)
                .collect();
            return Err(format!("ranges {late:?} took no write within {RECOVERY} us:\n{}", world.statuses()));
        }
    }
    let began = world.time();
    let read = |world: &World| world.probes().iter().all(|probe| probe.read);
    while !(world.level() && world.idle() && read(world) && world.scans_closed() && world.sound()) {
        world.run_until(world.time() + 10_000);
        if world.violation.is_some() {
            return Err(String::new());
        }
        if world.time() > began + CATCH_UP {
            let what = "replicas do not come level, or clients or scans do not end";
            return Err(format!("{what} within {CATCH_UP} us:\n{}", world.statuses()));
        }
    }
    world.compare();
    Ok(())
}
