//! Functions on arrays.

use super::function::{Arguments, Function, count, function, text};
use crate::error::SqlError;
use crate::expression::value_limit::check_value_bytes;
use crate::types::declared::{ANYARRAY, ANYELEMENT, INT4, TEXT};
use crate::types::{Datum, Value};

pub(super) const FUNCTIONS: &[Function] = &[
    function("array_length", &[ANYARRAY, INT4], INT4, array_length),
    function("array_position", &[ANYARRAY, ANYELEMENT], INT4, array_position).accepts_null(),
    function("array_to_string", &[ANYARRAY, TEXT, TEXT], TEXT, array_to_string).optional(1).accepts_null(),
    function("array_upper", &[ANYARRAY, INT4], INT4, array_length),
    function("cardinality", &[ANYARRAY], INT4, |a| count(items(a).len())),
];

/// The elements of the first argument.
fn items<'a>(a: &Arguments<'a>) -> &'a [Datum] {
    match a.value(0) {
        Some(Value::Array(array)) => &array.items,
        _ => &[],
    }
}

fn array_length(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    let items = items(a);
    // Arrays have one dimension here; of another one nothing is known, as in PostgreSQL.
    let first = matches!(a.value(1), Some(Value::Int4(1)));
    if items.is_empty() || !first { Ok(None) } else { count(items.len()) }
}

fn array_position(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    // NULL is found like any other element.
    for (at, item) in items(a).iter().enumerate() {
        let found = match (item, a.value(1)) {
            (Some(item), Some(wanted)) => item.compare(wanted)?.is_eq(),
            (item, wanted) => item.is_none() && wanted.is_none(),
        };
        if found {
            return count(at + 1);
        }
    }
    Ok(None)
}

fn array_to_string(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    let (Some(Value::Array(array)), Some(separator)) = (a.value(0), a.optional_text(1)) else {
        return Ok(None);
    };
    let null = a.optional_text(2).map(String::from);
    let shown = |item: &Datum| item.as_ref().map(Value::to_string_text).or_else(|| null.clone());
    let parts: Vec<String> = array.items.iter().filter_map(shown).collect();
    let bytes: usize = parts.iter().map(String::len).sum();
    check_value_bytes(bytes.saturating_add(separator.len().saturating_mul(parts.len())))?;
    text(parts.join(&separator))
}
