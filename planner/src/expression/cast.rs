//! Casts: which are allowed where, what they do, and the type that two values share.

use super::env::Env;
use super::{arithmetic, datetime, object_names};
use crate::error::{SqlError, sqlstate};
use crate::types::{Array, Numeric, TextSettings, Type, Value, fit_bpchar, fit_varchar, unpadded};

/// How a cast is asked for: each level allows all that the one before allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Strength {
    /// In an expression, without being written.
    Implicit,
    /// By storing into a column.
    Assignment,
    /// Written.
    Explicit,
}

/// The order of the number types: each takes the values of those before it. `None` for other types.
fn number_rank(ty: &Type) -> Option<u8> {
    Some(match ty {
        Type::Int2 => 0,
        Type::Int4 => 1,
        Type::Int8 => 2,
        Type::Numeric(_) => 3,
        Type::Float4 => 4,
        Type::Float8 => 5,
        _ => return None,
    })
}

/// The type that two values can share; `None` if there is none.
pub(crate) fn common_type(a: &Type, b: &Type) -> Option<Type> {
    if a == b || *b == Type::Unknown {
        return Some(a.clone());
    }
    if *a == Type::Unknown {
        return Some(b.clone());
    }
    match (a, b) {
        // PostgreSQL compares the two by the rules of character.
        (Type::Bpchar(_), Type::Varchar(_)) | (Type::Varchar(_), Type::Bpchar(_)) => {
            return Some(Type::Bpchar(None));
        }
        _ => {}
    }
    match (number_rank(a), number_rank(b)) {
        (Some(x), Some(y)) => return Some(if x >= y { a.plain() } else { b.plain() }),
        (Some(_), None) if b.is_oid() => return Some(b.clone()),
        (None, Some(_)) if a.is_oid() => return Some(a.clone()),
        _ => {}
    }
    if a.plain() == b.plain() {
        return Some(a.plain());
    }
    if a.is_text() && b.is_text() {
        return Some(Type::Text);
    }
    if a.is_oid() && b.is_oid() {
        return Some(Type::Oid);
    }
    match (a, b) {
        _ if datetime_cast(a, b) == Some(Strength::Implicit) => Some(b.plain()),
        _ if datetime_cast(b, a) == Some(Strength::Implicit) => Some(a.plain()),
        (Type::Array(x), Type::Array(y)) => Some(Type::Array(Box::new(common_type(x, y)?))),
        _ => None,
    }
}

/// At which strength a date, time or interval becomes another one; `None` if it does not.
fn datetime_cast(from: &Type, to: &Type) -> Option<Strength> {
    match (from, to) {
        (Type::Date, Type::Timestamp(_) | Type::Timestamptz(_))
        | (Type::Timestamp(_), Type::Timestamptz(_))
        | (Type::Time(_), Type::Timetz(_) | Type::Interval(_)) => Some(Strength::Implicit),
        (Type::Timestamp(_), Type::Date | Type::Time(_))
        | (Type::Timestamptz(_), Type::Date | Type::Time(_) | Type::Timetz(_) | Type::Timestamp(_))
        | (Type::Timetz(_) | Type::Interval(_), Type::Time(_)) => Some(Strength::Assignment),
        (from, to) if from.plain() == to.plain() => Some(Strength::Implicit),
        _ => None,
    }
}

/// May a value of `from` become one of `to` at this strength?
pub(crate) fn castable(from: &Type, to: &Type, strength: Strength) -> bool {
    if from.plain() == to.plain() || *from == Type::Unknown || *to == Type::Unknown {
        return true;
    }
    if let (Some(a), Some(b)) = (number_rank(from), number_rank(to)) {
        return a <= b || strength >= Strength::Assignment;
    }
    if from.is_text() && to.is_text() {
        return true;
    }
    if from.is_oid() && to.is_oid() || from.is_integer() && to.is_oid() {
        return true;
    }
    match (from, to) {
        (Type::Oid | Type::Regclass | Type::Regtype, Type::Int8 | Type::Int4) => {
            strength >= Strength::Assignment
        }
        _ if from.is_datetime() && to.is_datetime() && !matches!(from, Type::Array(_)) => {
            datetime_cast(from, to).is_some_and(|least| strength >= least)
        }
        (Type::Json, Type::Jsonb) | (Type::Jsonb, Type::Json) => strength >= Strength::Assignment,
        (Type::Array(a), Type::Array(b)) => castable(a, b, strength),
        (Type::Int4, Type::Bool) | (Type::Bool, Type::Int4) => strength == Strength::Explicit,
        (Type::Jsonb, to) if to.is_number() || *to == Type::Bool => strength == Strength::Explicit,
        // Through text: into text by storing, out of text only when written.
        (_, to) if to.is_text() => strength >= Strength::Assignment,
        (from, _) if from.is_text() => strength == Strength::Explicit,
        _ => false,
    }
}

/// Casts a value that an expression has computed. The pair of types was allowed when the expression was bound.
pub(super) fn cast(
    value: Value,
    from: &Type,
    to: &Type,
    explicit: bool,
    env: &Env,
) -> Result<Value, SqlError> {
    // Names of relations and types need the catalog.
    match (to, &value) {
        (Type::Regclass, Value::Text(text)) => object_names::to_regclass(text, env),
        (Type::Regtype, Value::Text(text)) => object_names::to_regtype(text),
        (Type::Opaque(..), Value::Oid(_)) => Ok(value),
        (to, Value::Oid(oid)) if to.is_text() && !matches!(from, Type::Oid) => {
            Ok(Value::Text(object_names::oid_text(*oid, from, env)))
        }
        _ => cast_value_in(value, to, explicit, &env.text),
    }
}

/// Casts a value where neither the catalog is needed nor the session: everything but names of relations and types,
/// dates, times and intervals.
pub(crate) fn cast_value(value: Value, to: &Type, explicit: bool) -> Result<Value, SqlError> {
    cast_value_in(value, to, explicit, &TextSettings::plain())
}

/// Casts a value where no catalog is needed, by the settings of a session.
pub(crate) fn cast_value_in(
    value: Value,
    to: &Type,
    explicit: bool,
    settings: &TextSettings,
) -> Result<Value, SqlError> {
    let into_text = |value| into_text(value, settings);
    match to {
        Type::Unknown => Ok(value),
        Type::Bool => to_bool(value),
        Type::Int2 | Type::Int4 | Type::Int8 => to_integer(value, to),
        Type::Float4 | Type::Float8 => to_float(value, to),
        Type::Numeric(limits) => to_numeric(value, to, *limits).map(Value::Numeric),
        Type::Varchar(Some(limit)) => to_varchar(into_text(value), *limit as usize, explicit),
        Type::Bpchar(length) => to_bpchar(value, *length, explicit, settings),
        Type::Name | Type::Char => Value::from_text(to, &into_text(value)),
        Type::Text | Type::Varchar(None) | Type::Opaque(..) => Ok(Value::Text(into_text(value))),
        Type::Json => match value {
            Value::Json(_) => Ok(value),
            other => Value::from_text(&Type::Json, &into_text(other)),
        },
        to if to.is_datetime() && !matches!(to, Type::Array(_)) => datetime::cast(value, to, settings),
        Type::Oid | Type::Regclass | Type::Regtype => to_oid(value, to),
        Type::Array(element) => to_array(value, to, element, explicit, settings),
        _ => through_text(value, to),
    }
}

fn cannot_cast(value: &Value, to: &Type) -> SqlError {
    SqlError::new(sqlstate::CANNOT_COERCE, format!("cannot cast type {} to {to}", value.natural_type()))
}

fn out_of_range(to: &Type) -> SqlError {
    SqlError::new(sqlstate::OUT_OF_RANGE, format!("{to} out of range"))
}

fn to_bool(value: Value) -> Result<Value, SqlError> {
    match &value {
        Value::Bool(_) => Ok(value),
        Value::Int4(number) => Ok(Value::Bool(*number != 0)),
        Value::Jsonb(text) if text != "true" && text != "false" => Err(no_such_json(text, &Type::Bool)),
        Value::Text(text) | Value::Jsonb(text) | Value::Bpchar(text) => Value::from_text(&Type::Bool, text),
        _ => Err(cannot_cast(&value, &Type::Bool)),
    }
}

/// 2^63: the first whole number beyond bigint.
const TWO_TO_63: f64 = (1u64 << 63) as f64;

fn to_integer(value: Value, to: &Type) -> Result<Value, SqlError> {
    match &value {
        Value::Text(text) | Value::Bpchar(text) => Value::from_text(to, text),
        Value::Bool(truth) => Ok(Value::Int4(i32::from(*truth))),
        Value::Jsonb(text) => to_integer(Value::Numeric(json_number(text, to)?), to),
        Value::Float4(number) => to_integer(Value::Float8(f64::from(*number)), to),
        Value::Float8(number) => {
            let rounded = number.round_ties_even();
            // 2^63 itself does not fit; NaN is in no range.
            if !(-TWO_TO_63..TWO_TO_63).contains(&rounded) {
                return Err(out_of_range(to));
            }
            arithmetic::integer(to, rounded as i128)
        }
        Value::Numeric(number) if number.finite().is_none() => {
            let what = if number.is_nan() { "NaN" } else { "infinity" };
            let text = format!("cannot convert {what} to {to}");
            Err(SqlError::new(sqlstate::FEATURE_NOT_SUPPORTED, text))
        }
        Value::Numeric(number) => {
            arithmetic::integer(to, i128::from(number.to_i64().ok_or_else(|| out_of_range(to))?))
        }
        value => arithmetic::integer(to, i128::from(value.as_i64().ok_or_else(|| cannot_cast(value, to))?)),
    }
}

/// A number as real (rounded to it) or double precision. 22003 if it is too large or too small.
fn narrowed(number: f64, to: &Type) -> Result<Value, SqlError> {
    if *to != Type::Float4 {
        return Ok(Value::Float8(number));
    }
    let narrow = number as f32;
    if narrow.is_infinite() && number.is_finite() {
        return Err(arithmetic::float_overflow());
    }
    if narrow == 0.0 && number != 0.0 {
        return Err(arithmetic::float_underflow());
    }
    Ok(Value::Float4(narrow))
}

fn to_float(value: Value, to: &Type) -> Result<Value, SqlError> {
    match &value {
        Value::Float4(number) if *to == Type::Float8 => Ok(Value::Float8(f64::from(*number))),
        Value::Float4(_) => Ok(value),
        Value::Float8(number) => narrowed(*number, to),
        Value::Text(text) | Value::Bpchar(text) => Value::from_text(to, text),
        Value::Jsonb(text) => Value::from_text(to, &json_number(text, to)?.to_string()),
        Value::Numeric(number) => Value::from_text(to, &number.to_string()),
        value => {
            let whole = value.as_i64().ok_or_else(|| cannot_cast(value, to))?;
            Ok(if *to == Type::Float4 { Value::Float4(whole as f32) } else { Value::Float8(whole as f64) })
        }
    }
}

fn to_numeric(value: Value, to: &Type, limits: Option<(u16, i16)>) -> Result<Numeric, SqlError> {
    let number = match value {
        Value::Numeric(number) => number,
        Value::Text(text) | Value::Bpchar(text) => Numeric::parse(&text)?,
        Value::Jsonb(text) => json_number(&text, to)?,
        // As many digits as the type always has, as PostgreSQL gives.
        Value::Float4(number) => Numeric::from_float(f64::from(number), 6)?,
        Value::Float8(number) => Numeric::from_float(number, 15)?,
        value => Numeric::from_i64(value.as_i64().ok_or_else(|| cannot_cast(&value, to))?),
    };
    match limits {
        Some((precision, scale)) => number.fit(precision, scale),
        None => Ok(number),
    }
}

/// A written cast cuts silently; otherwise only spaces may be lost.
fn to_varchar(text: String, limit: usize, explicit: bool) -> Result<Value, SqlError> {
    if !explicit {
        return fit_varchar(text, limit).map(Value::Text);
    }
    let end = text.char_indices().nth(limit).map_or(text.len(), |(at, _)| at);
    Ok(Value::text(&text[..end]))
}

fn to_bpchar(
    value: Value,
    length: Option<u32>,
    explicit: bool,
    settings: &TextSettings,
) -> Result<Value, SqlError> {
    match value {
        Value::Bpchar(text) => fit_bpchar(&text, length, explicit).map(Value::Bpchar),
        other => fit_bpchar(&into_text(other, settings), length, explicit).map(Value::Bpchar),
    }
}

fn to_oid(value: Value, to: &Type) -> Result<Value, SqlError> {
    match &value {
        Value::Oid(_) => Ok(value),
        Value::Text(text) | Value::Bpchar(text) => Value::from_text(&Type::Oid, text),
        value => {
            let number = value.as_i64().ok_or_else(|| cannot_cast(value, to))?;
            let oid = u32::try_from(number)
                .map_err(|_| SqlError::new(sqlstate::OUT_OF_RANGE, "OID out of range"))?;
            Ok(Value::Oid(oid))
        }
    }
}

fn to_array(
    value: Value,
    to: &Type,
    element: &Type,
    explicit: bool,
    settings: &TextSettings,
) -> Result<Value, SqlError> {
    match value {
        Value::Array(array) if array.element == *element => Ok(Value::Array(array)),
        Value::Array(array) => {
            let items = array.items.iter().cloned();
            let cast = items
                .map(|item| item.map(|item| cast_value_in(item, element, explicit, settings)).transpose());
            let items = cast.collect::<Result<_, _>>()?;
            let dimensions = array.dimensions.clone();
            Ok(Value::Array(Array { element: element.clone(), items, dimensions }.into()))
        }
        Value::Text(text) => Value::from_text_in(to, &text, settings),
        other => through_text(other, to),
    }
}

/// 22023 for a document that is no value of the type.
fn no_such_json(text: &str, to: &Type) -> SqlError {
    let kind = match text.as_bytes().first() {
        Some(b'{') => "object",
        Some(b'[') => "array",
        Some(b'"') => "string",
        Some(b't' | b'f') => "boolean",
        Some(b'n') => "null",
        _ => "numeric",
    };
    SqlError::new(sqlstate::INVALID_PARAMETER, format!("cannot cast jsonb {kind} to type {}", to.plain()))
}

fn json_number(text: &str, to: &Type) -> Result<Numeric, SqlError> {
    match text.as_bytes().first() {
        Some(b'-' | b'0'..=b'9') => Numeric::parse(text),
        _ => Err(no_such_json(text, to)),
    }
}

fn into_text(value: Value, settings: &TextSettings) -> String {
    match value {
        Value::Text(text) | Value::Json(text) | Value::Jsonb(text) => text,
        // Blanks at the end are not part of it.
        Value::Bpchar(text) => unpadded(&text).to_string(),
        // boolean's text is its name, unlike its output.
        Value::Bool(v) => v.to_string(),
        other => other.to_string_text_in(settings),
    }
}

fn through_text(value: Value, to: &Type) -> Result<Value, SqlError> {
    match value {
        Value::Text(text) | Value::Bpchar(text) | Value::Json(text) => Value::from_text(to, &text),
        value if value.natural_type() == to.plain() => Ok(value),
        value => Err(cannot_cast(&value, to)),
    }
}
