//! `cargo chaos`: faults from outside on real processes. See `spinnaker_tests::chaos`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use replication::testing::options::Random;
use spinnaker_tests::chaos::clients::Clients;
use spinnaker_tests::chaos::faults::{ALL, Fault};
use spinnaker_tests::chaos::report::Report;
use spinnaker_tests::chaos::site::{NODES, Site};
use spinnaker_tests::chaos::trial::Plan;
use spinnaker_tests::chaos::upgrade::{self, Releases};
use spinnaker_tests::chaos::{network, trial};
use spinnaker_tests::cluster::provision;

/// Three nodes, a ZooKeeper ensemble, clients and faults, each in a network namespace of its own (needs root).
#[derive(Parser)]
#[command(name = "chaos")]
struct Arguments {
    /// The same seed draws the same faults and victims
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Number of trials [default: as many as the time allows]
    #[arg(long)]
    trials: Option<u64>,
    /// Minutes after which no new trial begins
    #[arg(long, default_value_t = 5)]
    minutes: u64,
    /// Faults to draw from, separated by commas [default: all]
    #[arg(long, value_delimiter = ',')]
    faults: Vec<Fault>,
    /// The program under test [default: the one built beside this]
    #[arg(long)]
    binary: Option<PathBuf>,
    /// A program of an earlier release: nodes begin with it, and in each trial one node changes to the other release
    #[arg(long)]
    other_binary: Option<PathBuf>,
    /// The same with the program of this commit, which is built in a worktree of its own
    #[arg(long, value_name = "COMMIT", conflicts_with = "other_binary")]
    upgrade_from: Option<String>,
    /// Where data and the nodes' output go; without it the output is kept after a violation only [default: a temporary directory]
    #[arg(long)]
    dir: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let binary = arguments.binary.clone().unwrap_or_else(|| provision::binary("spinnaker"));
    // What has to be fetched is fetched here: inside there is no way out.
    provision::zookeeper_jars();
    for (program, package) in
        [("java", "default-jre-headless"), ("gcc", "gcc"), ("setpriv", "util-linux"), ("nft", "nftables")]
    {
        provision::program(program, package);
    }
    let old = match &arguments.upgrade_from {
        None => Ok(arguments.other_binary.clone()),
        Some(commit) => {
            let into = provision::profile_dir().join("releases");
            upgrade::built(commit, provision::workspace(), &into, !cfg!(debug_assertions)).map(Some)
        }
    };
    let releases = match old {
        Ok(old) => old.map(|old| Releases { old, new: binary.clone() }),
        Err(error) => {
            eprintln!("chaos: {error}");
            return ExitCode::from(2);
        }
    };
    match network::enter_hub() {
        Ok(Some(status)) => return ExitCode::from(u8::try_from(status.code().unwrap_or(1)).unwrap_or(1)),
        Ok(None) => {}
        Err(error) => {
            eprintln!("chaos: {error}");
            return ExitCode::from(2);
        }
    }
    match run(&arguments, &binary, releases.as_ref()) {
        Ok(report) => {
            println!("\n{report}");
            ExitCode::from(u8::from(report.violations() > 0))
        }
        Err(error) => {
            eprintln!("chaos: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &Arguments, binary: &Path, releases: Option<&Releases>) -> Result<Report, String> {
    let temporary = tempfile::tempdir().map_err(|error| format!("a temporary directory: {error}"))?;
    let dir = arguments.dir.clone().unwrap_or_else(|| temporary.path().to_owned());
    let runtime = tokio::runtime::Runtime::new().map_err(|error| format!("a runtime: {error}"))?;
    let faults = match arguments.faults.is_empty() {
        true => ALL.map(|(_, fault)| fault).to_vec(),
        false => arguments.faults.clone(),
    };
    let mut random = Random(arguments.seed);
    let (mut report, began) = (Report::default(), Instant::now());
    let end = Duration::from_secs(60 * arguments.minutes);
    let mut site: Option<Site> = None;
    let mut turn = 0;
    for number in 0..arguments.trials.unwrap_or(u64::MAX) {
        if began.elapsed() > end {
            break;
        }
        let here = dir.join(format!("from-trial-{number}"));
        let mut now = match site.take() {
            Some(site) => site,
            None => {
                turn = 0;
                start(&here, releases.map_or(binary, |both| &both.old), binary, &runtime)?
            }
        };
        let change = releases.map(|both| both.change(turn));
        turn += 1;
        change.iter().for_each(|change| println!("      {}", change.describe()));
        // In turn, so that a short run tries as many as it can; the seed draws victims and details.
        let fault = faults[usize::try_from(number).unwrap_or(0) % faults.len()];
        let trial = trial::run(&mut now, &runtime, &Plan { change, fault }, number, &mut random);
        let gap = trial.gaps.iter().max().map(|gap| format!(", gap {:.2} s", gap.as_secs_f64()));
        println!(
            "{number:>5} {:<22}{} operations{}",
            fault.name(),
            trial.operations,
            gap.unwrap_or_default()
        );
        trial.violations.iter().for_each(|violation| println!("      VIOLATION {violation}"));
        // What is broken is kept as it is, and the next trial has a site of its own.
        match trial.violations.is_empty() {
            true => site = Some(now),
            false => keep_output(&now, &dir, &format!("trial-{number}"))?,
        }
        report.add(trial);
    }
    // Who names a directory wants to read there.
    if let (Some(site), Some(dir)) = (&site, &arguments.dir) {
        keep_output(site, dir, "end")?;
    }
    drop(site);
    if report.violations() > 0 && arguments.dir.is_none() {
        println!("what the nodes said is in {}", temporary.keep().display());
    }
    Ok(report)
}

fn start(dir: &Path, nodes: &Path, asking: &Path, runtime: &tokio::runtime::Runtime) -> Result<Site, String> {
    std::fs::create_dir_all(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    let site = Site::start(dir, nodes, asking)?;
    runtime.block_on(Clients::make_tables())?;
    Ok(site)
}

fn keep_output(site: &Site, dir: &Path, when: &str) -> Result<(), String> {
    NODES.into_iter().try_for_each(|node| {
        let file = dir.join(format!("{when}-node-{node}.log"));
        std::fs::write(&file, site.said(node)).map_err(|error| format!("{}: {error}", file.display()))
    })
}
