//! One trial: clients at work, a fault, its end, and the promises.

use std::thread::sleep;
use std::time::Duration;

use replication::testing::options::Random;
use tokio::runtime::Runtime;

use super::clients::{Clients, LETTERS, Shared, leaders as current_leaders};
use super::faults::Fault;
use super::report::Trial;
use super::site::{NODES, Site};
use super::upgrade::Change;

/// Work before the fault.
const BEFORE: Duration = Duration::from_millis(1000);
/// Work after it has been taken back.
const AFTER: Duration = Duration::from_millis(1500);
/// How long replicas may take to come to agree.
const LEVEL_MAX: Duration = Duration::from_secs(90);

/// What is done in a trial.
pub struct Plan {
    /// One node goes to another release before the fault.
    pub change: Option<Change>,
    /// What is done to the leader of a range.
    pub fault: Fault,
}

impl Plan {
    /// Nodes to which nothing is done; one at least, to which less is done than to the others.
    fn untouched(&self, victim: usize) -> Vec<usize> {
        let by_fault = self.fault.untouched(victim);
        let changes = |node: &usize| self.change.as_ref().is_some_and(|change| change.node() == *node);
        let by_both: Vec<usize> = by_fault.iter().copied().filter(|node| !changes(node)).collect();
        if by_both.is_empty() { by_fault } else { by_both }
    }
}

/// Runs trial `number`.
pub fn run(site: &mut Site, runtime: &Runtime, plan: &Plan, number: u64, random: &mut Random) -> Trial {
    let mut trial = Trial::new(plan.fault);
    if let Err(error) = attempt(site, runtime, plan, number, random, &mut trial) {
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
    plan: &Plan,
    number: u64,
    random: &mut Random,
    trial: &mut Trial,
) -> Result<(), String> {
    let mut leaders = runtime.block_on(current_leaders())?;
    let victim = leaders[random.below(leaders.len() as u64) as usize];
    let shared = Shared::new(number);
    let clients = {
        let _inside = runtime.enter();
        Clients::start(&shared, &plan.untouched(victim))
    };
    let mut done = Ok(());
    if let Some(change) = &plan.change {
        done = change.perform(site);
        // Leaderships have moved.
        leaders = runtime.block_on(current_leaders())?;
    }
    sleep(BEFORE);
    let began = shared.record.now();
    done = done.and_then(|()| plan.fault.run(site, victim, random));
    sleep(AFTER);
    let ended = shared.record.now();
    let found = runtime.block_on(clients.stop());
    done?;
    if plan.fault.keeps_majority() {
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
