//! Ranges of dropped tables, remembered for a while: who still asks for one hears at once that its table is gone.

use std::collections::{HashMap, VecDeque};
use std::sync::RwLock;

use wal::CohortId;
use wal::sync::{read, write};

/// Ranges that are remembered; the oldest are forgotten first.
const REMEMBERED_MAX: usize = 10_000;

/// The ranges, each with the name that its table had. Their ids never come back ([random-cohort-ids]).
#[derive(Debug, Default)]
pub(crate) struct Gone(RwLock<Remembered>);

#[derive(Debug, Default)]
struct Remembered {
    tables: HashMap<CohortId, String>,
    order: VecDeque<CohortId>,
}

impl Gone {
    /// The table with these ranges was dropped.
    pub(crate) fn add(&self, table: &str, ranges: impl Iterator<Item = CohortId>) {
        let mut gone = write(&self.0);
        for range in ranges {
            if gone.tables.insert(range, table.to_owned()).is_none() {
                gone.order.push_back(range);
            }
        }
        while gone.order.len() > REMEMBERED_MAX {
            if let Some(oldest) = gone.order.pop_front() {
                gone.tables.remove(&oldest);
            }
        }
    }

    /// The table stands (again): a coordinator that was restored says so.
    pub(crate) fn take_back(&self, ranges: impl Iterator<Item = CohortId>) {
        let mut gone = write(&self.0);
        for range in ranges {
            if gone.tables.remove(&range).is_some() {
                gone.order.retain(|known| *known != range);
            }
        }
    }

    /// The dropped table that the range belonged to.
    pub(crate) fn table(&self, range: CohortId) -> Option<String> {
        read(&self.0).tables.get(&range).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_are_forgotten() {
        let gone = Gone::default();
        let more = REMEMBERED_MAX as u128 + 5;
        gone.add("t", (0..more).map(CohortId));
        assert_eq!(gone.table(CohortId(4)), None);
        assert_eq!(gone.table(CohortId(5)), Some("t".to_owned()));
        gone.take_back([CohortId(5)].into_iter());
        assert_eq!(gone.table(CohortId(5)), None);
    }
}
