//! Which tables to merge next: a pure decision on the levels' shape, carried out by `compaction`.
//!
//! - Level 0 is due once it has [`EngineOptions::level0_tables`] tables: all of them go, with what they overlap, into
//!   level 1. It comes first, because every table there costs every read.
//! - A deeper level is due once it is over its target, [`EngineOptions::level1_bytes`] for level 1 and ten times more
//!   for each further one. One table goes down, the one that drags the fewest bytes along.

use bytes::Bytes;

use super::options::{EngineOptions, LEVELS};

/// Each level may be so many times larger than the one above.
const GROWTH: u64 = 10;

/// What the decision needs to know of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) number: u64,
    pub(crate) first: Bytes,
    pub(crate) last: Bytes,
    pub(crate) bytes: u64,
}

/// Merge `inputs` of level `from` and `overlaps` of the next level into that next level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) from: usize,
    pub(crate) inputs: Vec<u64>,
    pub(crate) overlaps: Vec<u64>,
}

/// The most urgent merge, if any is due.
pub(crate) fn choose(levels: &[Vec<Shape>], options: &EngineOptions) -> Option<Choice> {
    let (level0, level1) = (levels.first()?, levels.get(1)?);
    if !level0.is_empty() && level0.len() >= options.level0_tables {
        let first = level0.iter().map(|table| &table.first).min()?;
        let last = level0.iter().map(|table| &table.last).max()?;
        let inputs = level0.iter().map(|table| table.number).collect();
        let overlaps = overlapping(level1, first, last).map(|table| table.number).collect();
        return Some(Choice { from: 0, inputs, overlaps });
    }
    let mut target = options.level1_bytes;
    for (from, pair) in levels.windows(2).enumerate().take(LEVELS - 1).skip(1) {
        let (level, below) = (&pair[0], &pair[1]);
        if level.iter().map(|table| table.bytes).sum::<u64>() > target {
            let dragged =
                |table: &&Shape| overlapping(below, &table.first, &table.last).map(|t| t.bytes).sum::<u64>();
            let table = level.iter().min_by_key(dragged)?;
            let overlaps = overlapping(below, &table.first, &table.last).map(|t| t.number).collect();
            return Some(Choice { from, inputs: vec![table.number], overlaps });
        }
        target = target.saturating_mul(GROWTH);
    }
    None
}

fn overlapping<'a>(level: &'a [Shape], first: &'a Bytes, last: &'a Bytes) -> impl Iterator<Item = &'a Shape> {
    level.iter().filter(move |table| table.first <= *last && table.last >= *first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(number: u64, first: &'static str, last: &'static str, bytes: u64) -> Shape {
        Shape { number, first: first.into(), last: last.into(), bytes }
    }

    fn choice(levels: &[Vec<Shape>]) -> Option<(usize, Vec<u64>, Vec<u64>)> {
        let options = EngineOptions { level0_tables: 2, level1_bytes: 100, ..EngineOptions::default() };
        choose(levels, &options).map(|choice| (choice.from, choice.inputs, choice.overlaps))
    }

    #[test]
    fn nothing_is_due_below_the_bounds() {
        assert_eq!(choice(&[vec![], vec![]]), None);
        assert_eq!(choice(&[vec![table(1, "a", "z", 900)], vec![table(2, "a", "z", 100)], vec![]]), None);
    }

    #[test]
    fn level_0_goes_first_and_takes_all_that_it_overlaps() {
        let level0 = vec![table(5, "d", "f", 1), table(4, "h", "k", 1)];
        let level1 = vec![table(1, "a", "c", 50), table(2, "f", "g", 50), table(3, "k", "m", 50)];
        assert_eq!(choice(&[level0, level1, vec![]]), Some((0, vec![5, 4], vec![2, 3])));
    }

    #[test]
    fn a_full_level_sends_down_what_drags_the_least() {
        let level1 = vec![table(1, "a", "f", 60), table(2, "g", "p", 60)];
        let level2 = vec![table(3, "a", "c", 80), table(4, "e", "g", 80), table(5, "x", "z", 80)];
        assert_eq!(choice(&[vec![], level1, level2]), Some((1, vec![2], vec![4])));
    }

    #[test]
    fn the_last_level_grows_forever() {
        let mut levels = vec![Vec::new(); LEVELS];
        levels[LEVELS - 1].push(table(1, "a", "b", u64::MAX));
        assert_eq!(choice(&levels), None);
    }
}
