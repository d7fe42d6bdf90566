//! The order of rows and values, NULL among them.

use std::cmp::Ordering;

use crate::error::SqlError;
use crate::types::Datum;

/// Are all values equal, NULL to NULL (as DISTINCT and set operations see it)?
pub(crate) fn same(a: &[Datum], b: &[Datum]) -> Result<bool, SqlError> {
    Ok(order_rows(a, b)? == Ordering::Equal)
}

/// The order of rows by all their values, NULL behind all others.
pub(crate) fn order_rows(a: &[Datum], b: &[Datum]) -> Result<Ordering, SqlError> {
    for (x, y) in a.iter().zip(b) {
        let order = order_values(x, y, false)?;
        if order != Ordering::Equal {
            return Ok(order);
        }
    }
    Ok(Ordering::Equal)
}

/// The order of two values as a sort key has it. NULLs are placed by their own rule, whatever the direction.
pub(crate) fn order_keys(
    a: &Datum,
    b: &Datum,
    descending: bool,
    nulls_first: bool,
) -> Result<Ordering, SqlError> {
    let order = order_values(a, b, nulls_first)?;
    Ok(if descending && a.is_some() && b.is_some() { order.reverse() } else { order })
}

/// The order of two values.
pub(crate) fn order_values(a: &Datum, b: &Datum, nulls_first: bool) -> Result<Ordering, SqlError> {
    Ok(match (a, b) {
        (Some(a), Some(b)) => a.compare(b)?,
        (None, None) => Ordering::Equal,
        (None, Some(_)) if nulls_first => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (Some(_), None) if nulls_first => Ordering::Greater,
        (Some(_), None) => Ordering::Less,
    })
}
