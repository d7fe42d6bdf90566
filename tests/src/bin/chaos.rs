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
    /// A program of another version: nodes take turns between both, one changes before each trial
    #[arg(long)]
    other_binary: Option<PathBuf>,
    /// Where data and, after a violation, the nodes' output go [default: a temporary directory]
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
    match network::enter_hub() {
        Ok(Some(status)) => return ExitCode::from(u8::try_from(status.code().unwrap_or(1)).unwrap_or(1)),
        Ok(None) => {}
        Err(error) => {
            eprintln!("chaos: {error}");
            return ExitCode::from(2);
        }
    }
    match run(&arguments, &binary) {
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

fn run(arguments: &Arguments, binary: &Path) -> Result<Report, String> {
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
    for number in 0..arguments.trials.unwrap_or(u64::MAX) {
        if began.elapsed() > end {
            break;
        }
        let here = dir.join(format!("from-trial-{number}"));
        let mut now = match site.take() {
            Some(site) => site,
            None => start(&here, arguments.other_binary.as_deref().unwrap_or(binary), &runtime)?,
        };
        if let Some(other) = &arguments.other_binary {
            change_version(&mut now, number, binary, other)?;
        }
        // In turn, so that a short run tries as many as it can; the seed draws victims and details.
        let fault = faults[usize::try_from(number).unwrap_or(0) % faults.len()];
        let trial = trial::run(&mut now, &runtime, fault, number, &mut random);
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
            false => keep_output(&now, &dir, number)?,
        }
        report.add(trial);
    }
    drop(site);
    if report.violations() > 0 && arguments.dir.is_none() {
        println!("what the nodes said is in {}", temporary.keep().display());
    }
    Ok(report)
}

fn start(dir: &Path, binary: &Path, runtime: &tokio::runtime::Runtime) -> Result<Site, String> {
    std::fs::create_dir_all(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    let site = Site::start(dir, binary)?;
    runtime.block_on(Clients::make_tables())?;
    Ok(site)
}

/// One node changes to the other version: all go to the one, one after the other, then all to the other.
fn change_version(site: &mut Site, number: u64, binary: &Path, other: &Path) -> Result<(), String> {
    let turn = usize::try_from(number).unwrap_or(0);
    site.use_binary(if (turn / NODES.len()).is_multiple_of(2) { binary } else { other });
    let node = NODES[turn % NODES.len()];
    site.stop(node)?;
    site.start_again(node);
    Ok(())
}

fn keep_output(site: &Site, dir: &Path, number: u64) -> Result<(), String> {
    NODES.into_iter().try_for_each(|node| {
        let file = dir.join(format!("trial-{number}-node-{node}.log"));
        std::fs::write(&file, site.said(node)).map_err(|error| format!("{}: {error}", file.display()))
    })
}
