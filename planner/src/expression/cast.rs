//! Casts: which are allowed where, and what they do.

use std::sync::Arc;

use super::{Env, arithmetic};
use crate::error::{SqlError, sqlstate};
use crate::types::{Array, MICROS_PER_DAY, Numeric, Type, Value, fit_varchar};

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

fn rank(ty: &Type) -> Option<u8> {
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

/// May a value of `from` become one of `to` at this strength?
pub(crate) fn implicit(from: &Type, to: &Type, strength: Strength) -> bool {
    if from.plain() == to.plain() || *from == Type::Unknown || *to == Type::Unknown {
        return true;
    }
    if let (Some(a), Some(b)) = (rank(from), rank(to)) {
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
        (Type::Date, Type::Timestamptz) => true,
        (Type::Timestamptz, Type::Date) => strength >= Strength::Assignment,
        (Type::Json, Type::Jsonb) | (Type::Jsonb, Type::Json) => strength >= Strength::Assignment,
        (Type::Array(a), Type::Array(b)) => implicit(a, b, strength),
        (Type::Int4, Type::Bool) | (Type::Bool, Type::Int4) => strength == Strength::Explicit,
        (Type::Jsonb, to) if to.is_number() || *to == Type::Bool => strength == Strength::Explicit,
        // Through text: into text by storing, out of text only when written.
        (_, to) if to.is_text() => strength >= Strength::Assignment,
        (from, _) if from.is_text() => strength == Strength::Explicit,
        _ => false,
    }
}

/// Casts a value. The pair was allowed when the expression was bound.
pub(crate) fn cast(
    value: Value,
    from: &Type,
    to: &Type,
    explicit: bool,
    env: &Env,
) -> Result<Value, SqlError> {
    // Names of relations and types need the catalog.
    match (to, &value) {
        (Type::Regclass, Value::Text(text)) => return crate::pg_catalog::to_regclass(text, env),
        (Type::Regtype, Value::Text(text)) => return crate::pg_catalog::to_regtype(text),
        (Type::Opaque(..), Value::Oid(_)) => return Ok(value),
        (to, Value::Oid(oid)) if to.is_text() && !matches!(from, Type::Oid) => {
            return Ok(Value::Text(crate::pg_catalog::oid_text(*oid, from, env)));
        }
        _ => {}
    }
    simple(value, to, explicit)
}

/// 2^63: the first whole number beyond bigint.
const TWO_TO_63: f64 = (1u64 << 63) as f64;

/// The casts that need no catalog.
pub(crate) fn simple(value: Value, to: &Type, explicit: bool) -> Result<Value, SqlError> {
    let cannot = |value: &Value| {
        SqlError::new(sqlstate::CANNOT_COERCE, format!("cannot cast type {} to {to}", value.natural_type()))
    };
    match to {
        Type::Unknown => Ok(value),
        Type::Bool => match &value {
            Value::Bool(_) => Ok(value),
            Value::Int4(v) => Ok(Value::Bool(*v != 0)),
            Value::Text(text) | Value::Jsonb(text) => Value::from_text(to, text),
            _ => Err(cannot(&value)),
        },
        Type::Int2 | Type::Int4 | Type::Int8 => match &value {
            Value::Text(text) => Value::from_text(to, text),
            Value::Bool(v) => Ok(Value::Int4(i32::from(*v))),
            Value::Jsonb(text) => simple(Value::Numeric(Numeric::parse(text)?), to, explicit),
            Value::Float8(v) => {
                let rounded = v.round_ties_even();
                // 2^63 itself does not fit; NaN is in no range.
                if (-TWO_TO_63..TWO_TO_63).contains(&rounded) {
                    arithmetic::integer(to, rounded as i128)
                } else {
                    Err(SqlError::new(sqlstate::OUT_OF_RANGE, format!("{to} out of range")))
                }
            }
            Value::Numeric(Numeric::NaN) => Err(SqlError::unsupported(format!("converting NaN to {to}"))),
            Value::Numeric(v) => match v.to_i64() {
                Some(v) => arithmetic::integer(to, i128::from(v)),
                None => Err(SqlError::new(sqlstate::OUT_OF_RANGE, format!("{to} out of range"))),
            },
            value => match value.as_i64() {
                Some(v) => arithmetic::integer(to, i128::from(v)),
                None => Err(cannot(value)),
            },
        },
        Type::Float4 | Type::Float8 => match &value {
            Value::Float8(v) if *to == Type::Float4 => {
                let narrow = *v as f32;
                if narrow.is_infinite() && v.is_finite() {
                    return Err(SqlError::new(sqlstate::OUT_OF_RANGE, "value out of range: overflow"));
                }
                Ok(Value::Float8(f64::from(narrow)))
            }
            Value::Float8(_) => Ok(value),
            Value::Text(text) | Value::Jsonb(text) => Value::from_text(to, text),
            Value::Numeric(v) => Ok(Value::Float8(v.to_f64())),
            value => value.as_i64().map(|v| Value::Float8(v as f64)).ok_or_else(|| cannot(value)),
        },
        Type::Numeric(limits) => {
            let number = match value {
                Value::Numeric(v) => v,
                Value::Text(text) | Value::Jsonb(text) => Numeric::parse(&text)?,
                // 15 significant digits, as PostgreSQL gives.
                Value::Float8(v) if v.is_nan() => Numeric::NaN,
                Value::Float8(v) if v.is_infinite() => {
                    return Err(SqlError::unsupported("numeric infinity"));
                }
                Value::Float8(v) => {
                    let text: f64 = format!("{v:.14e}").parse().unwrap_or(v);
                    Numeric::parse(&text.to_string())?
                }
                value => Numeric::from_i64(value.as_i64().ok_or_else(|| cannot(&value))?),
            };
            Ok(Value::Numeric(match limits {
                Some((precision, scale)) => number.fit(*precision, *scale)?,
                None => number,
            }))
        }
        Type::Varchar(Some(limit)) => {
            let text = into_text(value);
            if explicit {
                // A written cast cuts silently.
                let end = text.char_indices().nth(*limit as usize).map_or(text.len(), |(at, _)| at);
                return Ok(Value::Text(text[..end].to_string()));
            }
            fit_varchar(text, *limit).map(Value::Text)
        }
        Type::Name | Type::Char => Value::from_text(to, &into_text(value)),
        Type::Text | Type::Varchar(None) | Type::Opaque(..) | Type::Json => Ok(Value::Text(into_text(value))),
        Type::Date => match value {
            Value::Timestamptz(i64::MAX) => Ok(Value::Date(i32::MAX)),
            Value::Timestamptz(i64::MIN) => Ok(Value::Date(i32::MIN)),
            Value::Timestamptz(v) => Ok(Value::Date(v.div_euclid(MICROS_PER_DAY) as i32)),
            other => through_text(other, to),
        },
        Type::Timestamptz => match value {
            Value::Date(i32::MAX) => Ok(Value::Timestamptz(i64::MAX)),
            Value::Date(i32::MIN) => Ok(Value::Timestamptz(i64::MIN)),
            Value::Date(v) => i64::from(v)
                .checked_mul(MICROS_PER_DAY)
                .map(Value::Timestamptz)
                .ok_or_else(|| SqlError::new(sqlstate::DATETIME_OVERFLOW, "date out of range for timestamp")),
            other => through_text(other, to),
        },
        Type::Oid | Type::Regclass | Type::Regtype => match &value {
            Value::Oid(_) => Ok(value),
            Value::Text(text) => Value::from_text(&Type::Oid, text),
            value => match value.as_i64().map(u32::try_from) {
                Some(Ok(oid)) => Ok(Value::Oid(oid)),
                Some(Err(_)) => Err(SqlError::new(sqlstate::OUT_OF_RANGE, "OID out of range")),
                None => Err(cannot(value)),
            },
        },
        Type::Array(element) => match value {
            Value::Array(array) if array.element == **element => Ok(Value::Array(array)),
            Value::Array(array) => {
                let cast_item = |item: &Option<Value>| {
                    item.clone().map(|item| simple(item, element, explicit)).transpose()
                };
                let items = array.items.iter().map(cast_item).collect::<Result<_, _>>()?;
                Ok(Value::Array(Arc::new(Array { element: (**element).clone(), items })))
            }
            other => through_text(other, to),
        },
        Type::Uuid | Type::Bytea | Type::Jsonb => through_text(value, to),
    }
}

fn into_text(value: Value) -> String {
    match value {
        Value::Text(text) | Value::Jsonb(text) => text,
        // boolean's text is its name, unlike its output.
        Value::Bool(v) => v.to_string(),
        other => other.to_string_text(),
    }
}

fn through_text(value: Value, to: &Type) -> Result<Value, SqlError> {
    match value {
        Value::Text(text) => Value::from_text(to, &text),
        value if value.natural_type() == to.plain() => Ok(value),
        value => Err(SqlError::new(
            sqlstate::CANNOT_COERCE,
            format!("cannot cast type {} to {to}", value.natural_type()),
        )),
    }
}
