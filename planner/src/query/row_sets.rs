//! Lists of rows: sorted, and without duplicates.

use std::cmp::Ordering;

use super::plan::SortKey;
use crate::error::SqlError;
use crate::expression::Env;
use crate::interrupt::Interrupt;
use crate::memory::HeldRows;
use crate::row_index::RowIndex;
use crate::row_order::{order_keys, order_rows, order_values};
use crate::types::{Datum, Row};

/// A sort asks once in so many comparisons whether its statement must end.
const COMPARISONS: u32 = 1024;

/// Sorts rows by keys, stably.
pub(super) fn sort(rows: &mut [Row], keys: &[SortKey], interrupt: &Interrupt) -> Result<(), SqlError> {
    sort_by(rows, interrupt, |a, b| {
        for key in keys {
            let order = order_keys(&a[key.at], &b[key.at], key.descending, key.nulls_first)?;
            if order != Ordering::Equal {
                return Ok(order);
            }
        }
        Ok(Ordering::Equal)
    })
}

/// Sorts with a comparison that may fail; the first failure is the result.
fn sort_by(
    rows: &mut [Row],
    interrupt: &Interrupt,
    mut order: impl FnMut(&Row, &Row) -> Result<Ordering, SqlError>,
) -> Result<(), SqlError> {
    let (mut failure, mut compared) = (None, 0u32);
    rows.sort_by(|a, b| {
        if failure.is_some() {
            return Ordering::Equal;
        }
        compared = compared.wrapping_add(1);
        let due = if compared % COMPARISONS == 0 { interrupt.check() } else { Ok(()) };
        due.and_then(|()| order(a, b)).unwrap_or_else(|error| {
            failure = Some(error);
            Ordering::Equal
        })
    });
    failure.map_or(Ok(()), Err)
}

/// Sorts rows by all their values.
pub(super) fn order_all(rows: &mut [Row], interrupt: &Interrupt) -> Result<(), SqlError> {
    sort_by(rows, interrupt, |a, b| order_rows(a, b))
}

/// Of neighbours that are equal in some columns the first stays.
pub(super) fn first_of_each(
    rows: &mut HeldRows,
    columns: &[usize],
    interrupt: &Interrupt,
) -> Result<(), SqlError> {
    let mut kept: Vec<Row> = Vec::new();
    for row in std::mem::take(&mut rows.rows) {
        interrupt.check()?;
        let again = match kept.last() {
            Some(last) => columns.iter().try_fold(true, |equal, at| -> Result<bool, SqlError> {
                Ok(equal && order_values(&last[*at], &row[*at], false)?.is_eq())
            })?,
            None => false,
        };
        if !again {
            kept.push(row);
        }
    }
    rows.rows = kept;
    Ok(())
}

/// Rows that have come, to find those that come again. NULL is a value like others.
pub(super) struct Seen {
    rows: HeldRows,
    index: RowIndex,
}

impl Seen {
    /// None yet.
    pub(super) fn new(env: &Env) -> Seen {
        Seen { rows: env.memory.rows(), index: RowIndex::default() }
    }

    /// Is it the first of its kind? From now on it has come.
    pub(super) fn is_new(&mut self, row: &[Datum]) -> Result<bool, SqlError> {
        if self.index.find(row, |at| &self.rows.rows[at])?.is_some() {
            return Ok(false);
        }
        self.index.insert(row, self.rows.rows.len(), &mut self.rows.held)?;
        self.rows.push(row.to_vec())?;
        Ok(true)
    }
}
