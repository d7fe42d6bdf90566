//! What the trials showed, as a table.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use super::faults::Fault;

/// What one trial showed.
#[derive(Debug)]
pub struct Trial {
    /// What was done.
    pub fault: Fault,
    /// Time without an acknowledged write, of each range that the victim led.
    pub gaps: Vec<Duration>,
    /// Errors of writes through nodes to which nothing was done.
    pub errors: BTreeMap<String, u64>,
    /// Recorded operations.
    pub operations: u64,
    /// Broken promises.
    pub violations: Vec<String>,
}

impl Trial {
    /// Nothing is known yet.
    pub fn new(fault: Fault) -> Trial {
        Trial { fault, gaps: Vec::new(), errors: BTreeMap::new(), operations: 0, violations: Vec::new() }
    }
}

/// The trials of each fault.
#[derive(Debug, Default)]
pub struct Report(BTreeMap<Fault, Vec<Trial>>);

impl Report {
    /// Adds a trial.
    pub fn add(&mut self, trial: Trial) {
        self.0.entry(trial.fault).or_default().push(trial);
    }

    /// Broken promises so far.
    pub fn violations(&self) -> usize {
        self.0.values().flatten().map(|trial| trial.violations.len()).sum()
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<22}{:>7}{:>12}{:>9}{:>9}{:>9}{:>8}{:>12}",
            "fault", "trials", "operations", "gap p50", "p99", "max", "errors", "violations"
        )?;
        for (fault, trials) in &self.0 {
            let mut gaps: Vec<Duration> =
                trials.iter().flat_map(|trial| trial.gaps.iter().copied()).collect();
            gaps.sort();
            let gap = |share: usize| {
                let at = (gaps.len().saturating_sub(1) * share).div_ceil(100);
                gaps.get(at).map_or_else(|| "-".into(), |gap| format!("{:.2} s", gap.as_secs_f64()))
            };
            let operations: u64 = trials.iter().map(|trial| trial.operations).sum();
            let errors: u64 = trials.iter().flat_map(|trial| trial.errors.values()).sum();
            let violations: usize = trials.iter().map(|trial| trial.violations.len()).sum();
            let (name, count) = (fault.name(), trials.len());
            let (p50, p99, max) = (gap(50), gap(99), gap(100));
            writeln!(
                f,
                "{name:<22}{count:>7}{operations:>12}{p50:>9}{p99:>9}{max:>9}{errors:>8}{violations:>12}"
            )?;
        }
        let mut errors: BTreeMap<&str, u64> = BTreeMap::new();
        for (text, count) in self.0.values().flatten().flat_map(|trial| &trial.errors) {
            *errors.entry(text).or_default() += count;
        }
        errors.iter().try_for_each(|(text, count)| writeln!(f, "{count:>6} x {text}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_all_trials_of_a_fault() {
        let mut report = Report::default();
        for millis in 1..=100 {
            let mut trial = Trial::new(Fault::Kill);
            trial.gaps.push(Duration::from_millis(millis * 10));
            report.add(trial);
        }
        let text = report.to_string();
        assert!(
            text.contains("0.51 s   1.00 s   1.00 s") || text.contains("0.50 s   0.99 s   1.00 s"),
            "{text}"
        );
    }
}
