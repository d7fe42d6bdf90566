//! Elements and parts of arrays, and arrays put together.

use crate::error::{SqlError, sqlstate};
use crate::memory::heap_bytes;
use crate::types::{Array, Datum, Dimension, Value};

use super::value_limit::check_value_bytes;

/// The element at a subscript of each dimension: NULL outside of the array.
pub(super) fn element(array: &Array, at: &[i64]) -> Datum {
    if at.len() != array.dimensions.len() {
        return None;
    }
    let mut position = 0;
    for (Dimension { length, lower }, at) in array.dimensions.iter().zip(at) {
        let offset = at - i64::from(*lower);
        if offset < 0 || offset >= i64::from(*length) {
            return None;
        }
        position = position * *length as usize + offset as usize;
    }
    array.items.get(position).cloned().flatten()
}

/// The part between two bounds of each dimension, with subscripts from 1; a bound that is missing is the array's own.
pub(super) fn slice(array: &Array, bounds: &[(Option<i64>, Option<i64>)]) -> Array {
    let nothing = Array::new(array.element.clone(), Vec::new());
    if bounds.len() > array.dimensions.len() {
        return nothing;
    }
    let mut spans = Vec::with_capacity(array.dimensions.len());
    for (at, Dimension { length, lower }) in array.dimensions.iter().enumerate() {
        let (first, last) = (i64::from(*lower), i64::from(*lower) + i64::from(*length) - 1);
        let (from, to) = bounds.get(at).copied().unwrap_or((None, None));
        let (from, to) = (from.unwrap_or(first).max(first), to.unwrap_or(last).min(last));
        if from > to {
            return nothing;
        }
        spans.push(((from - first) as usize, (to - from + 1) as usize, *length as usize));
    }
    let mut items = vec![0usize];
    for (start, count, length) in &spans {
        let (start, count, length) = (*start, *count, *length);
        let inner = |position: usize| (start..start + count).map(move |at| position * length + at);
        items = items.into_iter().flat_map(inner).collect();
    }
    let dimensions =
        spans.iter().map(|(_, count, _)| Dimension { length: *count as i32, lower: 1 }).collect();
    let items = items.into_iter().map(|at| array.items[at].clone()).collect();
    Array { element: array.element.clone(), items, dimensions }
}

/// `||` of two arrays: one behind the other, or one as a row of the other.
pub(super) fn join(left: &Array, right: &Array) -> Result<Array, SqlError> {
    if left.items.is_empty() {
        return Ok(right.clone());
    }
    if right.items.is_empty() {
        return Ok(left.clone());
    }
    let bytes: u64 = left.items.iter().chain(&right.items).map(heap_bytes).sum();
    let fixed = (left.items.len() + right.items.len()) * size_of::<Datum>();
    check_value_bytes(usize::try_from(bytes).unwrap_or(usize::MAX).saturating_add(fixed))?;
    let (a, b) = (&left.dimensions, &right.dimensions);
    let (mut dimensions, inner, outer) = match a.len() as i64 - b.len() as i64 {
        0 => (a.clone(), a[1..] == b[1..], b[0].length),
        1 => (a.clone(), same_lengths(&a[1..], b), 1),
        -1 => (b.clone(), same_lengths(a, &b[1..]), 1),
        _ => {
            let detail = format!(
                "Arrays of {} and {} dimensions are not compatible for concatenation.",
                a.len(),
                b.len()
            );
            return Err(incompatible().detail(detail));
        }
    };
    if !inner {
        let equal = a.len() == b.len();
        return Err(incompatible().detail(if equal {
            "Arrays with differing element dimensions are not compatible for concatenation."
        } else {
            "Arrays with differing dimensions are not compatible for concatenation."
        }));
    }
    dimensions[0].length += outer;
    let items = left.items.iter().chain(&right.items).cloned().collect();
    Ok(Array { element: left.element.clone(), items, dimensions })
}

fn same_lengths(a: &[Dimension], b: &[Dimension]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.length == b.length)
}

fn incompatible() -> SqlError {
    SqlError::new(sqlstate::ARRAY_SUBSCRIPT, "cannot concatenate incompatible arrays")
}

/// A one-dimensional array with a value in front of it or behind it; none counts as an empty one.
pub(super) fn extend(array: Option<&Array>, value: Datum, in_front: bool) -> Result<Value, SqlError> {
    let natural = || value.as_ref().map_or(crate::types::Type::Text, Value::natural_type);
    let mut array = match array {
        Some(array) => array.clone(),
        None => Array::new(natural(), Vec::new()),
    };
    match array.dimensions.as_mut_slice() {
        [] => array.dimensions.push(Dimension { length: 1, lower: 1 }),
        [only] => only.length += 1,
        _ => {
            let text = "argument must be empty or one-dimensional array";
            return Err(SqlError::new("22000", text));
        }
    }
    check_value_bytes((array.items.len() + 1) * size_of::<Datum>())?;
    let at = if in_front { 0 } else { array.items.len() };
    array.items.insert(at, value);
    Ok(Value::Array(array.into()))
}
