//! One trial: clients at work, a fault, its end, and the promises.

use std::thread::sleep;
use std::time::Duration;

use replication::testing::options::Random;
use tokio::runtime::Runtime;

use super::clients::{Clients, LETTERS, Shared, leaders};
use super::faults::Fault;
use super::report::Trial;
use super::site::{NODES, Site};

/// Work before the fault.
const BEFORE: Duration = Duration::from_millis(1000);
/// Work after it has been taken back.
const AFTER: Duration = Duration::from_millis(1500);
/// How long replicas may take to come to agree.
const LEVEL_MAX: Duration = Duration::from_secs(90);

/// Runs trial `number` with a fault.
pub fn run(site: &mut Site, runtime: &Runtime, fault: Fault, number: u64, random: &mut Random) -> Trial {
    let mut trial = Trial::new(fault);
    if let Err(error) = attempt(site, runtime, fault, number, random, &mut trial) {
        trial.violations.push(error);
    }
    for node in site.ended() {
        trial.violations.push(format!("node {node} has ended by itself"));
    }
    for node in NODES {
        let said = site.said(node);
        trial.violations.extend(
            said.lines().find(|line| line.contains("panicked")).map(|line| format!("node {node}: {line}")),
        );
    }
    trial
}

fn attempt(
    site: &mut Site,
    runtime: &Runtime,
    fault: Fault,
    number: u64,
    random: &mut Random,
    trial: &mut Trial,
) -> Result<(), String> {
    let leaders = runtime.block_on(leaders())?;
    let victim = leaders[random.below(leaders.len() as u64) as usize];
    let shared = Shared::new(number);
    let clients = {
        let _inside = runtime.enter();
        Clients::start(&shared, &fault.untouched(victim))
    };
    sleep(BEFORE);
    let began = shared.record.now();
    let done = fault.run(site, victim, random);
    sleep(AFTER);
    let ended = shared.record.now();
    let found = runtime.block_on(clients.stop());
    done?;
    if fault.keeps_majority() {
        let affected = (0..LETTERS.len()).filter(|range| leaders[*range] == victim);
        trial.gaps.extend(affected.map(|range| shared.gaps.longest(range, began, ended)));
        trial.errors = shared.gaps.errors();
    }
    trial.operations = u64::from(shared.record.operations());
    site.wait_level(LEVEL_MAX)?;
    let violations = runtime.block_on(found.conclude(&shared))?;
    trial.violations.extend(violations);
    Ok(())
}
