//! `cargo sim [FIRST-SEED] [--seeds N] [--ops N]`: runs the deterministic simulator (`spinnaker_tests::sim`), or measures it
//! with planted bugs (`spinnaker_tests::mutants`).

use std::panic;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use clap::Parser;
use spinnaker_tests::mutants::hunt::{self, Effort};
use spinnaker_tests::sim::coverage::Coverage;
use spinnaker_tests::sim::scenarios::{self, Scenario};
use spinnaker_tests::sim::world::Counts;
use spinnaker_tests::sim::{self, Ending, Report};

/// Lines of a failed run's trace that are shown.
const TRACE_LINES: usize = 60;
/// A seed that takes so many seconds is named.
const SLOW: u64 = 5;

/// Simulates whole clusters under faults, one for each seed, and checks what was promised.
///
/// Exit codes: 0 all promises kept, 1 a promise was broken, 2 bad options, 3 the code under test panicked, 4 no progress
/// after the faults had ended, 5 a planted bug was missed.
#[derive(Parser)]
#[command(name = "sim")]
struct Arguments {
    /// The first seed.
    #[arg(default_value_t = 1)]
    first_seed: u64,
    /// How many seeds to run. For one seed alone its options are printed, too.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// Client operations of each seed.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    ops: Option<u32>,
    /// Make every seed one of this kind of trouble.
    #[arg(long, value_name = "NAME", value_parser = scenario)]
    scenario: Option<&'static Scenario>,
    /// Threads, each with seeds of its own.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=64))]
    threads: u64,
    /// Print how often the seeds met each kind of event, message, effect, error, fault and statement, and what none met.
    #[arg(long)]
    coverage: bool,
    /// Print the whole trace of the first seed.
    #[arg(long)]
    trace: bool,
    /// Hunt the planted bugs of these names, or all of them, each for up to `--seeds` seeds (by default 5000).
    #[arg(long, value_name = "NAME", num_args = 0..)]
    planted: Option<Vec<String>>,
    /// Run seed by seed until one fails, and print who found what in which seed: for the hunt of planted bugs.
    #[arg(long, hide = true)]
    hunt: bool,
}

fn scenario(name: &str) -> Result<&'static Scenario, String> {
    scenarios::find(name).ok_or_else(|| {
        let names: Vec<&str> = scenarios::ALL.iter().map(|scenario| scenario.name).collect();
        format!("no scenario has this name; there are: {}", names.join(", "))
    })
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // A caught panic is reported in our own words.
    panic::set_hook(Box::new(|_| {}));
    if let Some(names) = &arguments.planted {
        return hunt_planted(&arguments, names);
    }
    if arguments.hunt {
        return hunt_this(&arguments);
    }
    if (arguments.seeds == 1 || arguments.trace) && !arguments.coverage {
        return one(&arguments);
    }
    many(&arguments)
}

fn one(arguments: &Arguments) -> ExitCode {
    let seed = arguments.first_seed;
    let (options, schedule) = sim::draw(seed, arguments.ops, arguments.scenario);
    println!("seed {seed}\n{options:?}\n{} faults", schedule.len());
    let report = sim::run_in(seed, arguments.ops, arguments.scenario, arguments.trace);
    for line in &report.trace {
        println!("{line}");
    }
    println!("{:?}\nhash {:016x}", report.counts, report.hash);
    if report.ending == Ending::Kept {
        println!("{}", report.ending);
        return ExitCode::SUCCESS;
    }
    if arguments.trace {
        println!("{}", report.ending);
        return code(&report.ending);
    }
    explain(seed, arguments)
}

/// Runs a failing seed again, with a trace.
fn explain(seed: u64, arguments: &Arguments) -> ExitCode {
    let report = sim::run_in(seed, arguments.ops, arguments.scenario, true);
    let (options, _) = sim::draw(seed, arguments.ops, arguments.scenario);
    let again = arguments.scenario.map_or(String::new(), |scenario| format!(" --scenario {}", scenario.name));
    println!(
        "\nseed {seed} fails. Options:\n{options:?}\nThe end of its trace (all of it: cargo sim {seed}{again} --trace):"
    );
    for line in &report.trace[report.trace.len().saturating_sub(TRACE_LINES)..] {
        println!("{line}");
    }
    println!("seed {seed}: {}", report.ending);
    code(&report.ending)
}

fn code(ending: &Ending) -> ExitCode {
    ExitCode::from(match ending {
        Ending::Kept => 0,
        Ending::Violation(_) => 1,
        Ending::Crash(_) => 3,
        Ending::NoProgress(_) => 4,
    })
}

fn many(arguments: &Arguments) -> ExitCode {
    let (first, end) = (arguments.first_seed, arguments.first_seed + arguments.seeds);
    println!("seeds {first}..{end}");
    let (next, stop, failed) = (AtomicU64::new(first), AtomicBool::new(false), AtomicU64::new(u64::MAX));
    let (done, total) = (AtomicU64::new(0), Mutex::new((Counts::default(), Coverage::default())));
    let began = Instant::now();
    thread::scope(|scope| {
        for _ in 0..arguments.threads {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }
                    let started = Instant::now();
                    let Report { ending, counts, coverage, .. } =
                        sim::run_in(seed, arguments.ops, arguments.scenario, false);
                    if started.elapsed().as_secs() >= SLOW {
                        println!("seed {seed} took {} s", started.elapsed().as_secs());
                    }
                    let mut sums = total.lock().expect("no one panics with it");
                    sums.0 += counts;
                    sums.1 += coverage;
                    drop(sums);
                    let finished = done.fetch_add(1, Ordering::Relaxed) + 1;
                    if finished.is_multiple_of(1000) {
                        println!("{finished} seeds, {} s", began.elapsed().as_secs());
                    }
                    if ending != Ending::Kept {
                        failed.fetch_min(seed, Ordering::Relaxed);
                        stop.store(true, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let seconds = began.elapsed().as_secs_f64().max(0.001);
    let (seeds, total) = (done.into_inner(), total.into_inner().expect("no one panics with it"));
    let (total, coverage) = total;
    if arguments.coverage {
        tell_coverage(&coverage);
    }
    println!("{seeds} seeds in {seconds:.1} s ({:.0}/s): {total}", seeds as f64 / seconds);
    match failed.into_inner() {
        u64::MAX => {
            println!("all promises kept");
            ExitCode::SUCCESS
        }
        seed => explain(seed, arguments),
    }
}

/// Prints what was met, and what was not.
fn tell_coverage(coverage: &Coverage) {
    print!("{coverage}");
    for (group, kind) in coverage.holes() {
        println!("never met: {group}: {kind}");
    }
}

/// Builds simulators with planted bugs in them and tells which checker catches each.
fn hunt_planted(arguments: &Arguments, names: &[String]) -> ExitCode {
    let seeds = if arguments.seeds == 1 { hunt::SEEDS_MAX } else { arguments.seeds };
    let effort = Effort { first: arguments.first_seed, seeds, threads: arguments.threads };
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace");
    match hunt::hunt_all(workspace, names, effort) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(5),
        Err(what) => {
            eprintln!("{what}");
            ExitCode::from(2)
        }
    }
}

/// Looks for the first seed that fails in this very build.
fn hunt_this(arguments: &Arguments) -> ExitCode {
    let mut seeds = arguments.first_seed..arguments.first_seed + arguments.seeds;
    let caught = seeds.find_map(|seed| {
        let report = sim::run_in(seed, arguments.ops, arguments.scenario, false);
        report.ending.finder().map(|finder| (finder, seed))
    });
    match caught {
        Some((finder, seed)) => println!("{finder} {seed}"),
        None => println!("nothing"),
    }
    ExitCode::SUCCESS
}
