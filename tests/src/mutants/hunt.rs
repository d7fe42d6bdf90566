//! How sharp the simulator is: each mutant is run under seed after seed, in a process of its own, until somebody notices.

use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::thread;

use super::patch::{self, Mutant};
use super::scratch::{ACTIVE, batches};

/// A mutant that is not found in so many seeds is missed.
pub const SEEDS_MAX: u64 = 5000;
/// Seeds of a run without any mutant, in which nothing may be found.
const SEEDS_CLEAN: u64 = 20;

/// Which seeds are run, and how many processes at a time.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// The first seed.
    pub first: u64,
    /// Most seeds of each mutant.
    pub seeds: u64,
    /// Mutants that are hunted at the same time.
    pub threads: u64,
}

/// Who found something, and in which seed: what `sim --hunt` prints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Catch {
    /// The checker, or `crash` or `liveness`.
    pub finder: String,
    /// The seed that showed it.
    pub seed: u64,
}

/// Builds and hunts all mutants of the workspace, or those that are named, and prints what became of each. Returns how
/// many were missed.
///
/// # Errors
///
/// If a name is unknown, a patch does not apply, a build fails, or a simulator finds something without any mutant.
pub fn hunt_all(workspace: &Path, names: &[String], effort: Effort) -> Result<usize, String> {
    let all = patch::all(workspace)?;
    if let Some(unknown) = names.iter().find(|name| all.iter().all(|mutant| mutant.name != **name)) {
        let known: Vec<&str> = all.iter().map(|mutant| mutant.name.as_str()).collect();
        return Err(format!("no planted bug has the name {unknown}; there are: {}", known.join(", ")));
    }
    let mut missed = 0;
    let batches = batches(workspace, &all)?;
    for (at, batch) in batches.iter().enumerate() {
        let chosen = batch.mutants.iter().filter(|mutant| names.is_empty() || names.contains(&mutant.name));
        let chosen: Vec<&Mutant> = chosen.collect();
        if chosen.is_empty() {
            continue;
        }
        println!("build {} of {}: {} planted bugs", at + 1, batches.len(), batch.mutants.len());
        let sim = batch.build(workspace, at + 1)?;
        if let Some(Catch { finder, seed }) = run(&sim, None, effort.first, SEEDS_CLEAN)? {
            return Err(format!("{} finds {finder} in seed {seed} without any bug", sim.display()));
        }
        missed += hunt_batch(&sim, &chosen, effort)?;
    }
    Ok(missed)
}

/// Hunts the mutants that one build holds; returns how many were missed.
fn hunt_batch(sim: &Path, mutants: &[&Mutant], effort: Effort) -> Result<usize, String> {
    let waiting = Mutex::new(mutants.iter());
    let next = || waiting.lock().expect("no one panics with it").next();
    let work = || {
        let mut missed = 0;
        while let Some(mutant) = next() {
            let Mutant { name, checker, .. } = mutant;
            match run(sim, Some(name), effort.first, effort.seeds)? {
                Some(Catch { finder, seed }) => {
                    let seeds = seed - effort.first + 1;
                    let other = checker.as_ref().filter(|expected| **expected != finder);
                    let expected = other.map_or(String::new(), |expected| format!(", expected {expected}"));
                    println!("caught {name} by {finder} after {seeds} seeds (seed {seed}{expected})");
                }
                None => {
                    missed += 1;
                    println!("missed {name}: {} {ACTIVE}={name} {}", mutant.what, sim.display());
                }
            }
        }
        Ok(missed)
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..effort.threads).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|thread| thread.join().expect("hunting does not panic")).sum()
    })
}

/// Runs seeds with one mutant active, or none, until something is found.
fn run(sim: &Path, mutant: Option<&str>, first: u64, seeds: u64) -> Result<Option<Catch>, String> {
    let mut command = Command::new(sim);
    command.arg(first.to_string()).args(["--hunt", "--seeds", &seeds.to_string()]);
    match mutant {
        Some(name) => command.env(ACTIVE, name),
        None => command.env_remove(ACTIVE),
    };
    let output = command.output().map_err(|e| format!("{}: {e}", sim.display()))?;
    let said = String::from_utf8_lossy(&output.stdout);
    let mut words = said.split_whitespace();
    match (output.status.success(), words.next(), words.next().map(str::parse)) {
        (true, Some("nothing"), None) => Ok(None),
        (true, Some(finder), Some(Ok(seed))) => Ok(Some(Catch { finder: finder.to_owned(), seed })),
        _ => Err(format!("{} with {mutant:?} active: {}, {said}", sim.display(), output.status)),
    }
}
