//! Lists of rows: sorted, without duplicates, and combined by set operations.

use std::cmp::Ordering;

use super::plan::SortKey;
use super::row_index::RowIndex;
use super::row_order::{order_rows, order_values, same};
use crate::error::SqlError;
use crate::interrupt::Interrupt;
use crate::memory::HeldRows;
use crate::statement::SetOp;
use crate::types::Row;

/// A sort asks once in so many comparisons whether its statement must end.
const COMPARISONS: u32 = 1024;

/// Sorts rows by keys, stably.
pub(super) fn sort(rows: &mut [Row], keys: &[SortKey], interrupt: &Interrupt) -> Result<(), SqlError> {
    sort_by(rows, interrupt, |a, b| {
        for key in keys {
            let (x, y) = (&a[key.at], &b[key.at]);
            // NULLs are placed by their own rule, whatever the direction.
            let mut order = order_values(x, y, key.nulls_first)?;
            if key.descending && x.is_some() && y.is_some() {
                order = order.reverse();
            }
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

/// One of each: sorted, equal rows dropped.
pub(super) fn distinct(mut rows: HeldRows, interrupt: &Interrupt) -> Result<HeldRows, SqlError> {
    order_all(&mut rows.rows, interrupt)?;
    let mut unique: Vec<Row> = Vec::new();
    for row in rows.rows {
        if !unique.last().map(|last| same(last, &row)).transpose()?.unwrap_or(false) {
            unique.push(row);
        }
    }
    Ok(HeldRows { rows: unique, held: rows.held })
}

/// UNION, INTERSECT, EXCEPT; with ALL, a row stays as often as the rule of the operation says.
pub(super) fn combine(
    op: SetOp,
    all: bool,
    mut left: HeldRows,
    mut right: HeldRows,
    interrupt: &Interrupt,
) -> Result<HeldRows, SqlError> {
    if op == SetOp::Union {
        left.rows.append(&mut right.rows);
        left.held.take_over(right.held);
        return if all { Ok(left) } else { distinct(left, interrupt) };
    }
    let mut index = RowIndex::default();
    for (at, row) in right.rows.iter().enumerate() {
        interrupt.check()?;
        index.insert(row, at, &mut right.held)?;
    }
    let left = if all { left } else { distinct(left, interrupt)? };
    let mut kept = Vec::new();
    for row in left.rows {
        interrupt.check()?;
        let found = index.find(&row, |at| &right.rows[at])?;
        if let (Some(at), true) = (found, all) {
            index.remove(&row, at);
        }
        if found.is_some() == (op == SetOp::Intersect) {
            kept.push(row);
        }
    }
    Ok(HeldRows { rows: kept, held: left.held })
}
