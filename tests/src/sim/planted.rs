//! How sharp the simulator is: each planted bug is run under seed after seed until somebody notices.

use wal::planted::{Bug, plant};

use super::run;

/// A bug that is not found in so many seeds is missed.
pub const SEEDS_MAX: u64 = 5000;

/// Who found a bug, after how many seeds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Catch {
    /// The checker, or `crash` or `liveness`.
    pub finder: &'static str,
    /// Seeds run, the last one included.
    pub seeds: u64,
    /// The seed that showed it.
    pub seed: u64,
}

/// Hunts one bug in this thread, from a first seed on.
pub fn hunt(bug: Bug, first: u64, seeds: u64) -> Option<Catch> {
    plant(Some(bug));
    let caught = (first..first + seeds).find_map(|seed| {
        let finder = run(seed, None, false).ending.finder()?;
        Some(Catch { finder, seeds: seed - first + 1, seed })
    });
    plant(None);
    caught
}
