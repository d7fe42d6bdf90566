//! Lists of rows: sorted, without duplicates, and combined by set operations.

use std::cmp::Ordering;

use super::plan::SortKey;
use crate::error::{SqlError, sqlstate};
use crate::interrupt::Interrupt;
use crate::statement::SetOp;
use crate::types::{Datum, Row};

/// Rows that one query may hold in memory.
pub(crate) const ROWS_MAX: usize = 1_000_000;

/// 53200: the result does not fit.
pub(crate) fn too_many_rows() -> SqlError {
    SqlError::new(
        sqlstate::OUT_OF_MEMORY,
        format!("more than {ROWS_MAX} rows would have to be sorted in memory"),
    )
    .hint("Order by the primary key, or add a LIMIT with a WHERE on the key.")
}

/// A sort asks once in so many comparisons whether its statement must end.
const COMPARISONS: u32 = 1024;

/// Are all values equal, NULL to NULL (as DISTINCT and set operations see it)?
pub(super) fn same(a: &[Datum], b: &[Datum]) -> Result<bool, SqlError> {
    Ok(order_rows(a, b)? == Ordering::Equal)
}

fn order_rows(a: &[Datum], b: &[Datum]) -> Result<Ordering, SqlError> {
    for (x, y) in a.iter().zip(b) {
        let order = order_values(x, y, false)?;
        if order != Ordering::Equal {
            return Ok(order);
        }
    }
    Ok(Ordering::Equal)
}

fn order_values(a: &Datum, b: &Datum, nulls_first: bool) -> Result<Ordering, SqlError> {
    Ok(match (a, b) {
        (Some(a), Some(b)) => a.compare(b)?,
        (None, None) => Ordering::Equal,
        (None, Some(_)) if nulls_first => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (Some(_), None) if nulls_first => Ordering::Greater,
        (Some(_), None) => Ordering::Less,
    })
}

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

/// One of each: sorted, equal rows dropped.
pub(super) fn distinct(mut rows: Vec<Row>, interrupt: &Interrupt) -> Result<Vec<Row>, SqlError> {
    sort_by(&mut rows, interrupt, |a, b| order_rows(a, b))?;
    let mut unique: Vec<Row> = Vec::with_capacity(rows.len());
    for row in rows {
        if !unique.last().map(|last| same(last, &row)).transpose()?.unwrap_or(false) {
            unique.push(row);
        }
    }
    Ok(unique)
}

/// UNION, INTERSECT, EXCEPT; with ALL, a row stays as often as the rule of the operation says.
pub(super) fn combine(
    op: SetOp,
    all: bool,
    left: Vec<Row>,
    right: Vec<Row>,
    interrupt: &Interrupt,
) -> Result<Vec<Row>, SqlError> {
    if op == SetOp::Union {
        let mut rows = left;
        rows.extend(right);
        return if all { Ok(rows) } else { distinct(rows, interrupt) };
    }
    let mut rest = right;
    let mut kept = Vec::new();
    for row in if all { left } else { distinct(left, interrupt)? } {
        interrupt.check()?;
        let mut found = None;
        for (at, other) in rest.iter().enumerate() {
            if same(&row, other)? {
                found = Some(at);
                break;
            }
        }
        if let (Some(at), true) = (found, all) {
            rest.swap_remove(at);
        }
        if found.is_some() == (op == SetOp::Intersect) {
            kept.push(row);
        }
    }
    Ok(kept)
}
