//! PostgreSQL's binary format of every type.

use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

use super::sql_type::Type;
use super::value::{Array, Dimension, Value};
use super::{datetime, json, numeric_binary};
use crate::error::{SqlError, sqlstate};

impl Value {
    /// Reads PostgreSQL's binary format. 22P03 if it is not that of the type; else the errors of [`Value::from_text`].
    pub fn from_binary(ty: &Type, bytes: &[u8]) -> Result<Value, SqlError> {
        decode(ty, bytes)
    }

    /// Appends PostgreSQL's binary format.
    pub fn to_binary(&self, out: &mut Vec<u8>) {
        encode(self, out);
    }
}

fn invalid(ty: &Type) -> SqlError {
    SqlError::new(sqlstate::INVALID_BINARY, format!("incorrect binary data format for type {ty}"))
}

fn fixed<const N: usize>(ty: &Type, bytes: &[u8]) -> Result<[u8; N], SqlError> {
    bytes.try_into().map_err(|_| invalid(ty))
}

/// The text in some bytes: 22021 if they are not UTF-8, or hold a zero byte.
fn utf8(bytes: &[u8]) -> Result<&str, SqlError> {
    let at = match std::str::from_utf8(bytes) {
        Ok(text) => match bytes.iter().position(|b| *b == 0) {
            None => return Ok(text),
            Some(at) => at,
        },
        Err(error) => error.valid_up_to(),
    };
    Err(bad_utf8(&bytes[at..]))
}

/// The error that PostgreSQL gives for bytes that are no UTF-8 text, naming up to four of them.
pub(crate) fn bad_utf8(bytes: &[u8]) -> SqlError {
    let named: Vec<String> = bytes.iter().take(4).map(|b| format!("0x{b:02x}")).collect();
    SqlError::new(
        sqlstate::BAD_ENCODING,
        format!("invalid byte sequence for encoding \"UTF8\": {}", named.join(" ")),
    )
}

/// Reads a value of the type.
fn decode(ty: &Type, bytes: &[u8]) -> Result<Value, SqlError> {
    Ok(match ty {
        Type::Bool => Value::Bool(fixed::<1>(ty, bytes)?[0] != 0),
        Type::Int2 => Value::Int2(i16::from_be_bytes(fixed(ty, bytes)?)),
        Type::Int4 => Value::Int4(i32::from_be_bytes(fixed(ty, bytes)?)),
        Type::Int8 => Value::Int8(i64::from_be_bytes(fixed(ty, bytes)?)),
        Type::Float4 => Value::Float4(f32::from_be_bytes(fixed(ty, bytes)?)),
        Type::Float8 => Value::Float8(f64::from_be_bytes(fixed(ty, bytes)?)),
        Type::Numeric(limits) => {
            let value = numeric_binary::from_binary(bytes)?;
            Value::Numeric(match limits {
                Some((precision, scale)) => value.fit(*precision, *scale)?,
                None => value,
            })
        }
        Type::Text
        | Type::Varchar(_)
        | Type::Bpchar(_)
        | Type::Name
        | Type::Char
        | Type::Opaque(..)
        | Type::Unknown
        | Type::Json => Value::from_text(ty, utf8(bytes)?)?,
        Type::Bytea => Value::Bytea(Bytes::copy_from_slice(bytes)),
        Type::Uuid => Value::Uuid(Uuid::from_bytes(fixed(ty, bytes)?)),
        Type::Date
        | Type::Time(_)
        | Type::Timetz(_)
        | Type::Timestamp(_)
        | Type::Timestamptz(_)
        | Type::Interval(_) => decode_datetime(ty, bytes)?,
        Type::Jsonb => match bytes.split_first() {
            Some((1, rest)) => Value::Jsonb(json::canonical(utf8(rest)?)?),
            _ => return Err(SqlError::new(sqlstate::INVALID_BINARY, "unsupported jsonb version number")),
        },
        Type::Oid | Type::Regclass | Type::Regtype => Value::Oid(u32::from_be_bytes(fixed(ty, bytes)?)),
        Type::Array(element) => Value::Array(Arc::new(array(ty, element, bytes)?)),
    })
}

/// Reads a date, a time, a timestamp or an interval. 22008 if there is none so far away.
fn decode_datetime(ty: &Type, bytes: &[u8]) -> Result<Value, SqlError> {
    let in_range = |fits: bool, what: &str| if fits { Ok(()) } else { Err(datetime::overflow(what)) };
    let time =
        |micros: i64| in_range((0..=datetime::MICROS_PER_DAY).contains(&micros), "time").map(|()| micros);
    let moment = |bytes: &[u8], digits: &Option<u8>| {
        let micros = i64::from_be_bytes(fixed(ty, bytes)?);
        let infinite = matches!(micros, i64::MIN | i64::MAX);
        in_range(infinite || datetime::timestamp(micros).is_some(), "timestamp")?;
        Ok::<_, SqlError>(datetime::rounded(micros, *digits))
    };
    Ok(match ty {
        Type::Time(digits) => {
            let micros = i64::from_be_bytes(fixed(ty, bytes)?);
            Value::Time(datetime::rounded(time(micros)?, *digits))
        }
        Type::Timetz(digits) => {
            let (micros, west) = bytes.split_at_checked(8).ok_or_else(|| invalid(ty))?;
            let micros = time(i64::from_be_bytes(fixed(ty, micros)?))?;
            let west = i32::from_be_bytes(fixed(ty, west)?);
            if west.unsigned_abs() >= 16 * 3600 {
                let message = "time zone displacement out of range";
                return Err(SqlError::new(sqlstate::ZONE_DISPLACEMENT, message));
            }
            Value::Timetz(datetime::rounded(micros, *digits), -west)
        }
        Type::Timestamp(digits) => Value::Timestamp(moment(bytes, digits)?),
        Type::Timestamptz(digits) => Value::Timestamptz(moment(bytes, digits)?),
        Type::Interval(limit) => {
            let bytes: [u8; 16] = fixed(ty, bytes)?;
            let (micros, rest) = bytes.split_at(8);
            let (days, months) = rest.split_at(4);
            let interval = datetime::Interval {
                micros: i64::from_be_bytes(fixed(ty, micros)?),
                days: i32::from_be_bytes(fixed(ty, days)?),
                months: i32::from_be_bytes(fixed(ty, months)?),
            };
            Value::Interval(interval.limited(*limit))
        }
        _ => {
            let days = i32::from_be_bytes(fixed(ty, bytes)?);
            let infinite = matches!(days, i32::MIN | i32::MAX);
            let julian = i64::from(days) + datetime::EPOCH_JULIAN;
            in_range(infinite || datetime::date_of_julian(julian).is_some(), "date")?;
            Value::Date(days)
        }
    })
}

fn array(ty: &Type, element: &Type, bytes: &[u8]) -> Result<Array, SqlError> {
    let mut at = 0usize;
    let mut word = || {
        let word = bytes.get(at..at + 4).map(|b| i32::from_be_bytes([b[0], b[1], b[2], b[3]]));
        at += 4;
        word.ok_or_else(|| invalid(ty))
    };
    let (count, _nulls, oid) = (word()?, word()?, word()?);
    let count = usize::try_from(count).map_err(|_| invalid(ty))?;
    if count > Array::DIMENSIONS_MAX {
        return Err(Array::too_many_dimensions(count));
    }
    let mut dimensions = Vec::new();
    let mut total = usize::from(count > 0);
    for _ in 0..count {
        let (length, lower) = (word()?, word()?);
        if length < 0 || lower.checked_add(length).is_none() {
            return Err(invalid(ty));
        }
        // Each element has four bytes at least.
        total = total
            .checked_mul(length as usize)
            .filter(|total| *total <= bytes.len())
            .ok_or_else(|| invalid(ty))?;
        dimensions.push(Dimension { length, lower });
    }
    if total == 0 {
        dimensions.clear();
    }
    let element = match Type::from_oid(oid as u32) {
        Some(own) if own != Type::Unknown && own != element.plain() => own,
        _ => element.clone(),
    };
    let mut items = Vec::with_capacity(total);
    for _ in 0..total {
        let length = bytes.get(at..at + 4).ok_or_else(|| invalid(ty))?;
        let length = i32::from_be_bytes([length[0], length[1], length[2], length[3]]);
        at += 4;
        if length < 0 {
            items.push(None);
            continue;
        }
        let item = bytes.get(at..at + length as usize).ok_or_else(|| invalid(ty))?;
        at += length as usize;
        items.push(Some(decode(&element, item)?));
    }
    if at != bytes.len() {
        return Err(invalid(ty));
    }
    Ok(Array { element, items, dimensions })
}

/// Appends the value.
fn encode(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Bool(v) => out.push(u8::from(*v)),
        Value::Int2(v) => out.extend_from_slice(&v.to_be_bytes()),
        Value::Int4(v) => out.extend_from_slice(&v.to_be_bytes()),
        Value::Int8(v) => out.extend_from_slice(&v.to_be_bytes()),
        Value::Oid(v) => out.extend_from_slice(&v.to_be_bytes()),
        Value::Float4(v) => out.extend_from_slice(&v.to_be_bytes()),
        Value::Float8(v) => out.extend_from_slice(&v.to_be_bytes()),
        Value::Numeric(v) => numeric_binary::to_binary(v, out),
        Value::Text(v) | Value::Bpchar(v) | Value::Json(v) => out.extend_from_slice(v.as_bytes()),
        Value::Bytea(v) => out.extend_from_slice(v),
        Value::Uuid(v) => out.extend_from_slice(v.as_bytes()),
        Value::Date(v) => out.extend_from_slice(&v.to_be_bytes()),
        Value::Time(v) | Value::Timestamp(v) | Value::Timestamptz(v) => {
            out.extend_from_slice(&v.to_be_bytes());
        }
        Value::Timetz(v, east) => {
            out.extend_from_slice(&v.to_be_bytes());
            out.extend_from_slice(&(-east).to_be_bytes());
        }
        Value::Interval(v) => {
            out.extend_from_slice(&v.micros.to_be_bytes());
            out.extend_from_slice(&v.days.to_be_bytes());
            out.extend_from_slice(&v.months.to_be_bytes());
        }
        Value::Jsonb(v) => {
            out.push(1);
            out.extend_from_slice(v.as_bytes());
        }
        Value::Array(v) => {
            let nulls = i32::from(v.items.iter().any(Option::is_none));
            let mut head = vec![v.dimensions.len() as i32, nulls, v.element.oid() as i32];
            head.extend(v.dimensions.iter().flat_map(|dimension| [dimension.length, dimension.lower]));
            for word in head {
                out.extend_from_slice(&word.to_be_bytes());
            }
            for item in &v.items {
                match item {
                    None => out.extend_from_slice(&(-1i32).to_be_bytes()),
                    Some(item) => {
                        let at = out.len();
                        out.extend_from_slice(&[0; 4]);
                        encode(item, out);
                        let length = (out.len() - at - 4) as i32;
                        out[at..at + 4].copy_from_slice(&length.to_be_bytes());
                    }
                }
            }
        }
    }
}
