//! PostgreSQL's text format of every type.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

use super::numeric::Numeric;
use super::sql_type::Type;
use super::value::{Array, Value};
use super::{TextSettings, array_literal, datetime, float, json};
use crate::error::{SqlError, sqlstate};

impl Value {
    /// Reads PostgreSQL's text format. Errors are PostgreSQL's: 22P02 and 22007 for a malformed text, 22003 and 22008
    /// for a value out of range, 22001 for one that is too long. Dates and times are read as ISO 8601, in UTC.
    pub fn from_text(ty: &Type, text: &str) -> Result<Value, SqlError> {
        parse(ty, text, &TextSettings::plain())
    }

    /// The same by the settings of a session.
    pub fn from_text_in(ty: &Type, text: &str, settings: &TextSettings) -> Result<Value, SqlError> {
        parse(ty, text, settings)
    }

    /// Appends PostgreSQL's text format; dates and times as ISO 8601, in UTC.
    pub fn to_text(&self, out: &mut Vec<u8>) {
        format(self, &TextSettings::plain(), out);
    }

    /// The same by the settings of a session.
    pub fn to_text_in(&self, settings: &TextSettings, out: &mut Vec<u8>) {
        format(self, settings, out);
    }

    /// The text format by the settings of a session, as a string.
    pub fn to_string_text_in(&self, settings: &TextSettings) -> String {
        if let Value::Text(text) | Value::Jsonb(text) = self {
            return text.clone();
        }
        let mut out = Vec::new();
        self.to_text_in(settings, &mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    /// The text format, by reference if the value is one.
    pub(crate) fn as_text(&self) -> Cow<'_, str> {
        match self {
            Value::Text(text) | Value::Bpchar(text) | Value::Json(text) | Value::Jsonb(text) => {
                Cow::Borrowed(text)
            }
            other => Cow::Owned(other.to_string_text()),
        }
    }

    /// The text format as a string.
    pub fn to_string_text(&self) -> String {
        if let Value::Text(text) | Value::Bpchar(text) | Value::Json(text) | Value::Jsonb(text) = self {
            return text.clone();
        }
        let mut out = Vec::new();
        self.to_text(&mut out);
        String::from_utf8_lossy(&out).into_owned()
    }
}

fn invalid(ty: &Type, text: &str) -> SqlError {
    SqlError::new(sqlstate::INVALID_TEXT, format!("invalid input syntax for type {}: \"{text}\"", ty.plain()))
}

/// Reads a value of the type.
pub(super) fn parse(ty: &Type, text: &str, settings: &TextSettings) -> Result<Value, SqlError> {
    if text.contains('\0') {
        return Err(SqlError::new(
            sqlstate::BAD_ENCODING,
            "invalid byte sequence for encoding \"UTF8\": 0x00",
        ));
    }
    Ok(match ty {
        Type::Bool => Value::Bool(parse_bool(text).ok_or_else(|| invalid(ty, text))?),
        Type::Int2 => Value::Int2(integer(ty, text)?),
        Type::Int4 => Value::Int4(integer(ty, text)?),
        Type::Int8 => Value::Int8(integer(ty, text)?),
        Type::Float4 => Value::Float4(float::parse4(text)?),
        Type::Float8 => Value::Float8(float::parse(text)?),
        Type::Numeric(limits) => {
            let value = Numeric::parse(text)?;
            Value::Numeric(match limits {
                Some((precision, scale)) => value.fit(*precision, *scale)?,
                None => value,
            })
        }
        Type::Text | Type::Unknown | Type::Opaque(..) | Type::Varchar(None) => Value::text(text),
        Type::Varchar(Some(limit)) => Value::Text(fit_varchar(text.to_string(), *limit as usize)?),
        Type::Bpchar(length) => Value::Bpchar(fit_bpchar(text, *length, false)?),
        Type::Name => Value::text(truncate(text, 63)),
        Type::Char => Value::text(truncate(text, 1)),
        Type::Bytea => Value::Bytea(bytea(text)?),
        Type::Uuid => Value::Uuid(Uuid::parse_str(text.trim()).map_err(|_| invalid(ty, text))?),
        Type::Date
        | Type::Time(_)
        | Type::Timetz(_)
        | Type::Timestamp(_)
        | Type::Timestamptz(_)
        | Type::Interval(_) => parse_datetime(ty, text, settings)?,
        Type::Json => {
            json::parse(text)?;
            Value::Json(text.to_string())
        }
        Type::Jsonb => Value::Jsonb(json::canonical(text)?),
        Type::Oid | Type::Regclass | Type::Regtype => {
            let number: i64 = text.trim().parse().map_err(|_| invalid(ty, text))?;
            let wrapped =
                if number < 0 { i32::try_from(number).map(|n| n as u32) } else { u32::try_from(number) };
            Value::Oid(wrapped.map_err(|_| {
                SqlError::new(
                    sqlstate::OUT_OF_RANGE,
                    format!("value \"{text}\" is out of range for type oid"),
                )
            })?)
        }
        Type::Array(element) => Value::Array(Arc::new(array(element, text, settings)?)),
    })
}

/// Reads a date, a time, a timestamp or an interval.
fn parse_datetime(ty: &Type, text: &str, settings: &TextSettings) -> Result<Value, SqlError> {
    Ok(match ty {
        Type::Time(digits) => Value::Time(datetime::rounded(datetime::parse_time(text, settings)?, *digits)),
        Type::Timetz(digits) => {
            let (micros, east) = datetime::parse_timetz(text, settings)?;
            Value::Timetz(datetime::rounded(micros, *digits), east)
        }
        Type::Timestamp(digits) => {
            Value::Timestamp(datetime::rounded(datetime::parse_timestamp(text, settings)?, *digits))
        }
        Type::Timestamptz(digits) => {
            Value::Timestamptz(datetime::rounded(datetime::parse_timestamptz(text, settings)?, *digits))
        }
        Type::Interval(limit) => Value::Interval(datetime::parse_interval(text, *limit, settings)?),
        _ => Value::Date(datetime::parse_date(text, settings)?),
    })
}

/// Cuts to at most `limit` bytes at a character boundary (name's silent truncation).
fn truncate(text: &str, limit: usize) -> &str {
    let mut end = text.len().min(limit);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// varchar(n): too many characters are an error unless the excess is spaces, which are cut.
pub(crate) fn fit_varchar(text: String, limit: usize) -> Result<String, SqlError> {
    match text.char_indices().nth(limit) {
        None => Ok(text),
        Some((at, _)) if text[at..].bytes().all(|b| b == b' ') => Ok(text[..at].to_string()),
        Some(_) => Err(SqlError::new(
            sqlstate::STRING_TOO_LONG,
            format!("value too long for type character varying({limit})"),
        )),
    }
}

/// char(n): filled up with blanks. Too many characters are an error unless the excess is blanks or the cast is
/// written, which cuts.
pub(crate) fn fit_bpchar(text: &str, length: Option<u32>, explicit: bool) -> Result<String, SqlError> {
    let Some(length) = length else { return Ok(text.to_string()) };
    match text.char_indices().nth(length as usize) {
        None => {
            let missing = length as usize - text.chars().count();
            Ok(format!("{text}{}", " ".repeat(missing)))
        }
        Some((at, _)) if explicit || text[at..].bytes().all(|b| b == b' ') => Ok(text[..at].to_string()),
        Some(_) => Err(SqlError::new(
            sqlstate::STRING_TOO_LONG,
            format!("value too long for type character({length})"),
        )),
    }
}

/// PostgreSQL's spellings of true and false, and their unique prefixes.
pub(crate) fn parse_bool(text: &str) -> Option<bool> {
    let lower = text.trim().to_ascii_lowercase();
    let prefix = |word: &str, least: usize| lower.len() >= least && word.starts_with(&lower);
    if lower == "1" || prefix("true", 1) || prefix("yes", 1) || prefix("on", 2) {
        Some(true)
    } else if lower == "0" || prefix("false", 1) || prefix("no", 1) || prefix("off", 2) {
        Some(false)
    } else {
        None
    }
}

fn integer<T: TryFrom<i64>>(ty: &Type, text: &str) -> Result<T, SqlError> {
    let trimmed = text.trim_matches(|c: char| c.is_ascii_whitespace());
    let digits = trimmed.strip_prefix(['+', '-']).unwrap_or(trimmed);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(invalid(ty, text));
    }
    trimmed.parse::<i64>().ok().and_then(|v| T::try_from(v).ok()).ok_or_else(|| {
        SqlError::new(sqlstate::OUT_OF_RANGE, format!("value \"{trimmed}\" is out of range for type {ty}"))
    })
}

/// bytea's hex (`\x..`) and escape formats.
fn bytea(text: &str) -> Result<Bytes, SqlError> {
    let bad = |message: String| SqlError::new(sqlstate::INVALID_TEXT, message);
    let mut out = Vec::with_capacity(text.len() / 2);
    if let Some(hex) = text.strip_prefix("\\x") {
        let mut digits = hex.chars().filter(|c| !c.is_ascii_whitespace());
        while let Some(high) = digits.next() {
            let value = |c: char| {
                c.to_digit(16).ok_or_else(|| {
                    SqlError::new(sqlstate::INVALID_PARAMETER, format!("invalid hexadecimal digit: \"{c}\""))
                })
            };
            let low = digits.next().ok_or_else(|| {
                SqlError::new(sqlstate::INVALID_PARAMETER, "invalid hexadecimal data: odd number of digits")
            })?;
            out.push((value(high)? * 16 + value(low)?) as u8);
        }
        return Ok(out.into());
    }
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] != b'\\' {
            out.push(bytes[at]);
            at += 1;
        } else if bytes.get(at + 1) == Some(&b'\\') {
            out.push(b'\\');
            at += 2;
        } else {
            let octal = bytes
                .get(at + 1..at + 4)
                .filter(|d| (b'0'..=b'3').contains(&d[0]) && d.iter().all(|b| (b'0'..=b'7').contains(b)))
                .ok_or_else(|| bad("invalid input syntax for type bytea".into()))?;
            out.push(octal.iter().fold(0u8, |acc, d| (acc << 3) | (d - b'0')));
            at += 4;
        }
    }
    Ok(out.into())
}

/// An array: `{1,NULL,"a b"}`.
fn array(element: &Type, text: &str, settings: &TextSettings) -> Result<Array, SqlError> {
    let array_literal::Literal { items, dimensions } = array_literal::split(text)?;
    let items = items.into_iter().map(|item| item.map(|item| parse(element, &item, settings)).transpose());
    Ok(Array { element: element.clone(), items: items.collect::<Result<_, _>>()?, dimensions })
}

/// Appends the text format.
fn format(value: &Value, settings: &TextSettings, out: &mut Vec<u8>) {
    use std::io::Write;
    // Writing into a Vec does not fail.
    let _ = match value {
        Value::Bool(v) => write!(out, "{}", if *v { 't' } else { 'f' }),
        Value::Int2(v) => write!(out, "{v}"),
        Value::Int4(v) => write!(out, "{v}"),
        Value::Int8(v) => write!(out, "{v}"),
        Value::Oid(v) => write!(out, "{v}"),
        Value::Float4(v) => write!(out, "{}", float::format4(*v)),
        Value::Float8(v) => write!(out, "{}", float::format(*v)),
        Value::Numeric(v) => write!(out, "{v}"),
        Value::Text(v) | Value::Bpchar(v) | Value::Json(v) | Value::Jsonb(v) => {
            out.extend_from_slice(v.as_bytes());
            Ok(())
        }
        Value::Bytea(v) => {
            const DIGITS: &[u8; 16] = b"0123456789abcdef";
            out.reserve(2 + v.len() * 2);
            out.extend_from_slice(b"\\x");
            for byte in v {
                out.push(DIGITS[usize::from(byte >> 4)]);
                out.push(DIGITS[usize::from(byte & 15)]);
            }
            Ok(())
        }
        Value::Uuid(v) => write!(out, "{v}"),
        Value::Date(v) => write!(out, "{}", datetime::date_to_text(*v, settings)),
        Value::Time(v) => write!(out, "{}", datetime::time_to_text(*v)),
        Value::Timetz(v, east) => write!(out, "{}", datetime::timetz_to_text(*v, *east)),
        Value::Timestamp(v) => write!(out, "{}", datetime::timestamp_to_text(*v, settings)),
        Value::Timestamptz(v) => write!(out, "{}", datetime::timestamptz_to_text(*v, settings)),
        Value::Interval(v) => write!(out, "{}", datetime::interval_to_text(v, settings)),
        Value::Array(v) => {
            out.extend_from_slice(format_array(v, settings).as_bytes());
            Ok(())
        }
    };
}

/// An array's text.
fn format_array(array: &Array, settings: &TextSettings) -> String {
    let text = |value: &Value| value.to_string_text_in(settings);
    let mut items = array.items.iter().map(|item| item.as_ref().map(text));
    array_literal::join(&mut items, &array.dimensions)
}
