//! Changing a row by what is in it: read it, compute, write on the condition that nobody has written it meanwhile; if
//! somebody has, compute again with the row as it was found.

use crate::request::{Condition, Mutation, Row, TableId, Write, WriteOutcome, Written};

/// The change of one row, between a look at the row and the write that was computed from it. It sends nothing itself.
#[derive(Clone, Debug)]
pub struct RowUpdate {
    row: Row,
}

/// What an answer to the write means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpdateStep {
    /// The row is written.
    Written(Written),
    /// Somebody else wrote the row first, and nothing was done. [`RowUpdate::row`] is the row as it was found here:
    /// compute again.
    Again(Written),
}

impl RowUpdate {
    /// A change that begins with the row as a strong read, or a write whose condition failed, found it.
    pub fn new(row: Row) -> RowUpdate {
        RowUpdate { row }
    }

    /// The row to compute from. One without cells does not exist.
    pub fn row(&self) -> &Row {
        &self.row
    }

    /// The write of what was computed from [`RowUpdate::row`]. It is done only if the row is still that one, or is still
    /// absent ([row-version-grows]).
    pub fn write(&self, table: TableId, mutations: Vec<Mutation>) -> Write {
        let conditions = vec![Condition::RowVersion(self.row.version)];
        Write { table, key: self.row.key.clone(), conditions, mutations, request: None }
    }

    /// Takes the answer to the write.
    pub fn answered(&mut self, outcome: WriteOutcome) -> UpdateStep {
        match outcome {
            WriteOutcome::Written(written) => UpdateStep::Written(written),
            WriteOutcome::ConditionFailed { current, at } => {
                // An absent row may come without its key.
                self.row = Row { key: std::mem::take(&mut self.row.key), ..current };
                UpdateStep::Again(at)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use wal::{CohortId, Lsn};

    use super::*;

    #[test]
    fn a_write_that_came_too_late_is_computed_again_from_the_row_that_was_found() {
        let row = Row { key: "k".into(), version: Lsn::new(1, 7), ..Row::default() };
        let mut update = RowUpdate::new(row);
        let write = update.write(TableId(1), vec![Mutation::DeleteRow]);
        assert_eq!(
            (write.key.as_ref(), &write.conditions[..]),
            (&b"k"[..], &[Condition::RowVersion(Lsn::new(1, 7))][..])
        );

        let at = Written { range: CohortId(1), lsn: Lsn::new(2, 9) };
        let current = Row { version: Lsn::new(2, 8), ..Row::default() };
        assert_eq!(update.answered(WriteOutcome::ConditionFailed { current, at }), UpdateStep::Again(at));
        let write = update.write(TableId(1), vec![Mutation::DeleteRow]);
        assert_eq!(
            (write.key.as_ref(), &write.conditions[..]),
            (&b"k"[..], &[Condition::RowVersion(Lsn::new(2, 8))][..])
        );
        assert_eq!(update.answered(WriteOutcome::Written(at)), UpdateStep::Written(at));
    }
}
