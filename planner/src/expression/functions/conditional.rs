//! Functions that choose one of their arguments. (COALESCE and CASE do not evaluate all of theirs, so they are
//! expressions of their own.)

use std::cmp::Ordering;

use super::function::{Arguments, Function, function};
use crate::error::SqlError;
use crate::types::Datum;
use crate::types::declared::ANYELEMENT;

pub(super) const FUNCTIONS: &[Function] = &[
    function("greatest", &[ANYELEMENT], ANYELEMENT, |a| extreme(a, Ordering::Greater))
        .variadic()
        .accepts_null(),
    function("least", &[ANYELEMENT], ANYELEMENT, |a| extreme(a, Ordering::Less)).variadic().accepts_null(),
    function("nullif", &[ANYELEMENT, ANYELEMENT], ANYELEMENT, nullif).accepts_null(),
];

/// The argument that compares to all others so; NULLs do not count.
fn extreme(a: &Arguments<'_>, wanted: Ordering) -> Result<Datum, SqlError> {
    let mut values = a.values.iter().flatten();
    let Some(mut best) = values.next() else { return Ok(None) };
    for value in values {
        if value.compare(best)? == wanted {
            best = value;
        }
    }
    Ok(Some(best.clone()))
}

fn nullif(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    match (a.value(0), a.value(1)) {
        (Some(value), Some(other)) if value.compare(other)?.is_eq() => Ok(None),
        (value, _) => Ok(value.cloned()),
    }
}
