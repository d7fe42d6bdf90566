//! Functions on arrays.

use super::function::{Arguments, Function, boolean, count, function, text};
use crate::error::{SqlError, sqlstate};
use crate::expression::subscript;
use crate::expression::value_limit::check_value_bytes;
use crate::types::declared::{ANYARRAY, ANYELEMENT, BOOL, INT4, INT4S, TEXT, TEXTS};
use crate::types::{Array, Datum, Dimension, Type, Value};

pub(super) const FUNCTIONS: &[Function] = &[
    function("array_append", &[ANYARRAY, ANYELEMENT], ANYARRAY, |a| extend(a, 0, 1)).accepts_null(),
    function("array_cat", &[ANYARRAY, ANYARRAY], ANYARRAY, array_cat).accepts_null(),
    function("array_dims", &[ANYARRAY], TEXT, array_dims),
    function("array_fill", &[ANYELEMENT, INT4S, INT4S], ANYARRAY, array_fill).optional(1).accepts_null(),
    function("array_length", &[ANYARRAY, INT4], INT4, |a| dimension(a, |own| own.length)),
    function("array_lower", &[ANYARRAY, INT4], INT4, |a| dimension(a, |own| own.lower)),
    function("array_ndims", &[ANYARRAY], INT4, array_ndims),
    function("array_position", &[ANYARRAY, ANYELEMENT, INT4], INT4, array_position)
        .optional(1)
        .accepts_null(),
    function("array_positions", &[ANYARRAY, ANYELEMENT], INT4S, array_positions).accepts_null(),
    function("array_prepend", &[ANYELEMENT, ANYARRAY], ANYARRAY, |a| extend(a, 1, 0)).accepts_null(),
    function("array_remove", &[ANYARRAY, ANYELEMENT], ANYARRAY, array_remove).accepts_null(),
    function("array_replace", &[ANYARRAY, ANYELEMENT, ANYELEMENT], ANYARRAY, array_replace).accepts_null(),
    function("array_to_string", &[ANYARRAY, TEXT, TEXT], TEXT, array_to_string).optional(1).accepts_null(),
    function("array_upper", &[ANYARRAY, INT4], INT4, |a| dimension(a, |own| own.lower + own.length - 1)),
    function("arraycontained", &[ANYARRAY, ANYARRAY], BOOL, |a| contains(a, 1, 0)),
    function("arraycontains", &[ANYARRAY, ANYARRAY], BOOL, |a| contains(a, 0, 1)),
    function("arrayoverlap", &[ANYARRAY, ANYARRAY], BOOL, arrayoverlap),
    function("cardinality", &[ANYARRAY], INT4, |a| count(items(a, 0).len())),
    function("string_to_array", &[TEXT, TEXT, TEXT], TEXTS, string_to_array).optional(1).accepts_null(),
    function("trim_array", &[ANYARRAY, INT4], ANYARRAY, trim_array),
];

fn array<'a>(a: &Arguments<'a>, at: usize) -> Option<&'a Array> {
    match a.value(at) {
        Some(Value::Array(array)) => Some(array),
        _ => None,
    }
}

/// The elements of an argument.
fn items<'a>(a: &Arguments<'a>, at: usize) -> &'a [Datum] {
    array(a, at).map_or(&[], |array| &array.items)
}

fn result(array: Array) -> Result<Datum, SqlError> {
    Ok(Some(Value::Array(array.into())))
}

fn extend(a: &Arguments<'_>, at: usize, value: usize) -> Result<Datum, SqlError> {
    subscript::extend(array(a, at), a.value(value).cloned(), value < at).map(Some)
}

fn array_cat(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    match (array(a, 0), array(a, 1)) {
        (Some(left), Some(right)) => result(subscript::join(left, right)?),
        (left, right) => Ok(left.or(right).map(|own| Value::Array(own.clone().into()))),
    }
}

fn array_dims(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    let dimensions = array(a, 0).map_or(&[][..], |array| &array.dimensions);
    if dimensions.is_empty() {
        return Ok(None);
    }
    let shown = |own: &Dimension| format!("[{}:{}]", own.lower, own.lower + own.length - 1);
    text(dimensions.iter().map(shown).collect::<String>())
}

fn array_ndims(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    match array(a, 0).map_or(0, |array| array.dimensions.len()) {
        0 => Ok(None),
        dimensions => count(dimensions),
    }
}

/// Something of a dimension, which is counted from 1: NULL if there is no such dimension.
fn dimension(a: &Arguments<'_>, of: fn(&Dimension) -> i32) -> Result<Datum, SqlError> {
    let at = usize::try_from(a.integer(1) - 1).ok();
    let found = at.and_then(|at| array(a, 0)?.dimensions.get(at));
    Ok(found.map(|own| Value::Int4(of(own))))
}

/// The values of a list of whole numbers, none of which may be NULL.
fn numbers(a: &Arguments<'_>, at: usize) -> Result<Vec<i32>, SqlError> {
    let number = |item: &Datum| match item {
        Some(Value::Int4(number)) => Ok(*number),
        _ => Err(SqlError::new(sqlstate::NULL_NOT_ALLOWED, "dimension values cannot be null")),
    };
    items(a, at).iter().map(number).collect()
}

fn array_fill(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    if a.value(1).is_none() || a.values.len() > 2 && a.value(2).is_none() {
        let text = "dimension array or low bound array cannot be null";
        return Err(SqlError::new(sqlstate::NULL_NOT_ALLOWED, text));
    }
    let (lengths, lowers) = (numbers(a, 1)?, numbers(a, 2)?);
    if a.values.len() > 2 && lengths.len() != lowers.len() {
        return Err(SqlError::new(sqlstate::ARRAY_SUBSCRIPT, "wrong number of array subscripts")
            .detail("Low bound array has different size than dimensions array."));
    }
    if lengths.len() > Array::DIMENSIONS_MAX {
        return Err(Array::too_many_dimensions(lengths.len()));
    }
    let element = a.value(0).map_or(Type::Text, Value::natural_type);
    let mut total = usize::from(!lengths.is_empty());
    let mut dimensions = Vec::with_capacity(lengths.len());
    for (at, length) in lengths.iter().enumerate() {
        total = total.saturating_mul(usize::try_from(*length).unwrap_or(0));
        dimensions.push(Dimension { length: *length, lower: lowers.get(at).copied().unwrap_or(1) });
    }
    let value = a.value(0).cloned();
    let each = size_of::<Datum>() + crate::memory::heap_bytes(&value) as usize;
    check_value_bytes(total.saturating_mul(each))?;
    if total == 0 {
        dimensions.clear();
    }
    result(Array { element, items: vec![value; total], dimensions })
}

/// Are two elements the same? NULL is the same as NULL.
fn same(a: Option<&Value>, b: Option<&Value>) -> Result<bool, SqlError> {
    match (a, b) {
        (Some(a), Some(b)) => Ok(a.compare(b)?.is_eq()),
        (a, b) => Ok(a.is_none() && b.is_none()),
    }
}

fn one_dimension<'a>(a: &Arguments<'a>, what: &str) -> Result<Option<&'a Array>, SqlError> {
    match array(a, 0) {
        Some(array) if array.dimensions.len() > 1 => {
            let text = format!("{what} multidimensional arrays is not supported");
            Err(SqlError::new(sqlstate::FEATURE_NOT_SUPPORTED, text))
        }
        found => Ok(found),
    }
}

fn array_position(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    let Some(array) = one_dimension(a, "searching for elements in")? else { return Ok(None) };
    let lower = array.dimensions.first().map_or(1, |own| i64::from(own.lower));
    if a.values.len() > 2 && a.value(2).is_none() {
        return Err(SqlError::new(sqlstate::NULL_NOT_ALLOWED, "initial position must not be null"));
    }
    let start = if a.values.len() > 2 { a.integer(2) - lower } else { 0 };
    let skipped = usize::try_from(start).unwrap_or(0);
    for (at, item) in array.items.iter().enumerate().skip(skipped) {
        if same(item.as_ref(), a.value(1))? {
            return Ok(Some(Value::Int4((at as i64 + lower) as i32)));
        }
    }
    Ok(None)
}

fn array_positions(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    let Some(array) = one_dimension(a, "searching for elements in")? else { return Ok(None) };
    let lower = array.dimensions.first().map_or(1, |own| i64::from(own.lower));
    let mut found = Vec::new();
    for (at, item) in array.items.iter().enumerate() {
        if same(item.as_ref(), a.value(1))? {
            found.push(Some(Value::Int4((at as i64 + lower) as i32)));
        }
    }
    result(Array::new(Type::Int4, found))
}

fn array_remove(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    let Some(array) = one_dimension(a, "removing elements from")? else { return Ok(None) };
    let mut kept = Vec::with_capacity(array.items.len());
    for item in &array.items {
        if !same(item.as_ref(), a.value(1))? {
            kept.push(item.clone());
        }
    }
    if kept.len() == array.items.len() {
        return result(array.clone());
    }
    let mut left = Array::new(array.element.clone(), kept);
    if let (Some(own), Some(before)) = (left.dimensions.first_mut(), array.dimensions.first()) {
        own.lower = before.lower;
    }
    result(left)
}

fn array_replace(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    let Some(array) = array(a, 0) else { return Ok(None) };
    let mut replaced = array.clone();
    for item in &mut replaced.items {
        if same(item.as_ref(), a.value(1))? {
            *item = a.value(2).cloned();
        }
    }
    result(replaced)
}

fn array_to_string(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    let (Some(array), Some(separator)) = (array(a, 0), a.optional_text(1)) else {
        return Ok(None);
    };
    let null = a.optional_text(2).map(String::from);
    let shown = |item: &Datum| item.as_ref().map(Value::to_string_text).or_else(|| null.clone());
    let parts: Vec<String> = array.items.iter().filter_map(shown).collect();
    let bytes: usize = parts.iter().map(String::len).sum();
    check_value_bytes(bytes.saturating_add(separator.len().saturating_mul(parts.len())))?;
    text(parts.join(&separator))
}

/// Is every element of one argument found in the other? NULL is never found.
fn contains(a: &Arguments<'_>, whole: usize, part: usize) -> Result<Datum, SqlError> {
    for wanted in items(a, part) {
        a.env.interrupt.check()?;
        if !is_in(wanted.as_ref(), items(a, whole))? {
            return boolean(false);
        }
    }
    boolean(true)
}

fn is_in(wanted: Option<&Value>, items: &[Datum]) -> Result<bool, SqlError> {
    let Some(wanted) = wanted else { return Ok(false) };
    for item in items.iter().flatten() {
        if item.compare(wanted)?.is_eq() {
            return Ok(true);
        }
    }
    Ok(false)
}

fn arrayoverlap(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    for wanted in items(a, 0) {
        a.env.interrupt.check()?;
        if is_in(wanted.as_ref(), items(a, 1))? {
            return boolean(true);
        }
    }
    boolean(false)
}

/// string_to_array(text, separator[, null]): without a separator each character by itself.
fn string_to_array(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    let Some(whole) = a.optional_text(0) else { return Ok(None) };
    let parts: Vec<String> = match a.optional_text(1) {
        _ if whole.is_empty() => Vec::new(),
        None => whole.chars().map(String::from).collect(),
        Some(separator) if separator.is_empty() => vec![whole.into_owned()],
        Some(separator) => whole.split(&*separator).map(String::from).collect(),
    };
    check_value_bytes(parts.len().saturating_mul(size_of::<Datum>()))?;
    let null = a.optional_text(2);
    let item = |part: String| (null.as_deref() != Some(part.as_str())).then_some(Value::Text(part));
    result(Array::new(Type::Text, parts.into_iter().map(item).collect()))
}

/// trim_array(array, count): without its last elements.
fn trim_array(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    let Some(array) = array(a, 0) else { return Ok(None) };
    let length = array.dimensions.first().map_or(0, |own| i64::from(own.length));
    let count = a.integer(1);
    if !(0..=length).contains(&count) {
        let text = format!("number of elements to trim must be between 0 and {length}");
        return Err(SqlError::new(sqlstate::ARRAY_SUBSCRIPT, text));
    }
    let last = array.dimensions.first().map(|own| i64::from(own.lower) + length - 1 - count);
    result(subscript::slice(array, &[(None, last)]))
}
