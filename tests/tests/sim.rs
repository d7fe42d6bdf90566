//! The simulator keeps its own promises: a seed always gives the same run, its options are sound, and the seeds that once
//! showed a bug stay quiet. Thousands of seeds run with `cargo sim`.

use std::collections::BTreeSet;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use spinnaker_tests::sim::coverage::{self, Coverage};
use spinnaker_tests::sim::scenarios::{self, Evidence, Scenario};
use spinnaker_tests::sim::{self, Ending, Report};

/// Seeds of a quick look.
const SEEDS: std::ops::Range<u64> = 1..60;

/// Seeds that showed a bug in the code as it was then; what a seed means changes with the simulator, so the number alone
/// proves little: each bug has a test of its own, too, or is planted again by `cargo sim --planted`.
const KEPT: &[(u64, Option<u32>, &str)] = &[
    (15, None, "a proposal without the newest commit point echoed a fresh stamp"),
    (155, None, "a logged refusal was reported as a success once the window had forgotten it"),
    (747, None, "appends behind a refused one"),
    (1629, None, "a leader without a lease claimed that its data were current"),
    (2002064, None, "an entry appended again made the log forget where those before it are"),
    (
        3132323,
        Some(5000),
        "a snapshot for a follower that fell behind left the repair of its tables waiting forever",
    ),
    (
        4055029,
        Some(5000),
        "a late report had the leader send a snapshot older than what the follower has, forever",
    ),
];

/// A seed of any kind or of one scenario, and what came of it.
type Run = (Option<&'static Scenario>, u64, Report);

/// The seeds of a quick look and some of each scenario, run once for all tests, on two threads.
static RUNS: LazyLock<Vec<Run>> = LazyLock::new(|| {
    let any = SEEDS.map(|seed| (None, seed));
    let each = scenarios::ALL.iter().flat_map(|scenario| (1..8).map(move |seed| (Some(scenario), seed)));
    let todo: Vec<(Option<&Scenario>, u64)> = any.chain(each).collect();
    let next = AtomicUsize::new(0);
    let work = || {
        let mut runs = Vec::new();
        while let Some((scenario, seed)) = todo.get(next.fetch_add(1, Ordering::Relaxed)) {
            runs.push((*scenario, *seed, sim::run_in(*seed, None, *scenario, false)));
        }
        runs
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(work);
        let mut runs = work();
        runs.extend(other.join().expect("a seed reports its own panics"));
        runs
    })
});

fn keeps_its_promises(seed: u64, ops: Option<u32>) {
    let report = sim::run(seed, ops, false);
    assert_eq!(
        report.ending,
        Ending::Kept,
        "seed {seed}, operations {ops:?}: cargo sim {seed} shows its trace"
    );
}

#[test]
fn promises_are_kept() {
    for (scenario, seed, report) in RUNS.iter() {
        let of = scenario.map_or(String::new(), |scenario| format!(" --scenario {}", scenario.name));
        assert_eq!(report.ending, Ending::Kept, "cargo sim {seed}{of} --trace shows its trace");
    }
}

/// What no seed generates, no seed finds.
#[test]
fn every_kind_is_met_or_has_its_reason() {
    let mut met = Coverage::default();
    RUNS.iter().for_each(|(.., report)| met += report.coverage.clone());
    let document = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/simulator.md");
    let document = std::fs::read_to_string(document).expect("docs/simulator.md");
    let excused: BTreeSet<(String, String)> = coverage::excused(&document).into_iter().collect();
    let named = |(group, kind): (&str, &str)| (group.to_owned(), kind.to_owned());
    let all: BTreeSet<_> = Coverage::all().map(named).collect();
    let unknown: Vec<_> = excused.difference(&all).collect();
    assert!(unknown.is_empty(), "docs/simulator.md excuses what there is not: {unknown:?}");
    let holes: BTreeSet<_> = met.holes().into_iter().map(named).collect();
    let unexcused: Vec<_> = holes.difference(&excused).collect();
    assert!(
        unexcused.is_empty(),
        "no seed has met {unexcused:#?}: make the simulator meet it, or say in docs/simulator.md why it does not"
    );
}

#[test]
fn seeds_that_showed_a_bug() {
    KEPT.iter().for_each(|(seed, ops, _)| keeps_its_promises(*seed, *ops));
}

#[test]
fn a_seed_always_gives_the_same_run() {
    for seed in 1..20 {
        let (first, second) = (sim::run(seed, Some(100), true), sim::run(seed, Some(100), true));
        assert_eq!(first.hash, second.hash, "seed {seed}");
        assert_eq!(first.trace, second.trace, "seed {seed}");
        assert!(!first.trace.is_empty());
    }
}

#[test]
fn seeds_differ() {
    let hashes: BTreeSet<u64> = (1..20).map(|seed| sim::run(seed, Some(50), false).hash).collect();
    assert_eq!(hashes.len(), 19);
}

#[test]
fn every_scenario_has_its_trouble() {
    for scenario in scenarios::ALL {
        let (mut struck, mut written) = (0, 0);
        let own = |of: &Option<&Scenario>| of.is_some_and(|of| of.name == scenario.name);
        for (_, seed, report) in RUNS.iter().filter(|(of, ..)| own(of)) {
            struck += sim::draw(*seed, None, Some(scenario)).1.len();
            written += report.counts.written;
        }
        assert!(struck > 20 && written > 20, "{}: {struck} faults, {written} writes", scenario.name);
    }
}

/// The table of scenarios names nothing that is not there, and leaves no number out.
#[test]
fn all_scenarios_are_covered() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    let check = |what: String, evidence: &[Evidence]| {
        assert!(!evidence.is_empty(), "{what}");
        for one in evidence {
            match one {
                Evidence::Generator(name) => assert!(scenarios::find(name).is_some(), "{what}: {name}"),
                Evidence::Test(name, file) => {
                    let text = std::fs::read_to_string(root.join(file)).expect(file);
                    let at = text.find(&format!("fn {name}("));
                    let at = at.unwrap_or_else(|| panic!("{what}: no {name} in {file}"));
                    let before: String = text[..at].lines().rev().take(3).collect();
                    assert!(
                        before.contains("test]") || before.contains("test("),
                        "{what}: {name} is no test"
                    );
                }
                Evidence::Golden(script) => {
                    assert!(root.join("replication/testdata").join(script).is_file(), "{what}: {script}");
                }
                Evidence::Planted(name) => {
                    let patch = root.join(format!("tests/mutants/{name}.patch"));
                    assert!(patch.is_file(), "{what}: {name}");
                }
                Evidence::Nothing(why) => assert!(!why.is_empty()),
            }
        }
    };
    for (at, (number, what, evidence)) in scenarios::COVERAGE.iter().enumerate() {
        assert_eq!(at + 1, *number as usize);
        check(format!("scenario {number}, {what}"), evidence);
    }
    assert_eq!(scenarios::COVERAGE.len(), 28);
}
