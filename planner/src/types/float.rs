//! real and double precision: order and text as PostgreSQL has them.

use std::cmp::Ordering;
use std::str::FromStr;

use crate::error::{SqlError, sqlstate};

/// NaN equals NaN and is above everything; -0 equals 0.
pub(super) fn compare(a: f64, b: f64) -> Ordering {
    match (a.is_nan(), b.is_nan()) {
        (true, true) => Ordering::Equal,
        (true, false) => Ordering::Greater,
        (false, true) => Ordering::Less,
        (false, false) => a.partial_cmp(&b).unwrap_or(Ordering::Equal),
    }
}

/// Bits that are the same for numbers that compare as equal: of zero and minus zero, of all that are not a number.
pub(super) fn hash_bits(value: f64) -> u64 {
    if value.is_nan() { f64::NAN.to_bits() } else { (value + 0.0).to_bits() }
}

/// Shortest text that reads back as the same double precision number.
pub(super) fn format(value: f64) -> String {
    shown(value, format!("{value:e}"), 15)
}

/// Shortest text that reads back as the same real number.
pub(super) fn format4(value: f32) -> String {
    shown(f64::from(value), format!("{value:e}"), 6)
}

/// A number's text from its shortest form with an exponent. Exponents below -4 and from `digits` are written as such.
fn shown(value: f64, scientific: String, digits: i32) -> String {
    if value.is_nan() {
        return "NaN".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "Infinity".into() } else { "-Infinity".into() };
    }
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if value != 0.0 && !(-4..digits).contains(&exponent) {
        return format!("{mantissa}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs());
    }
    let (sign, digits) = match mantissa.strip_prefix('-') {
        Some(rest) => ("-", rest.replace('.', "")),
        None => ("", mantissa.replace('.', "")),
    };
    let whole = usize::try_from(exponent + 1).unwrap_or(0);
    match (whole, digits.len()) {
        (0, _) => format!("{sign}0.{}{digits}", "0".repeat((-exponent - 1).unsigned_abs() as usize)),
        (whole, length) if whole >= length => format!("{sign}{digits}{}", "0".repeat(whole - length)),
        (whole, _) => format!("{sign}{}.{}", &digits[..whole], &digits[whole..]),
    }
}

/// Reads PostgreSQL's text format of double precision.
pub(super) fn parse(text: &str) -> Result<f64, SqlError> {
    parse_as(text, "double precision", |value: f64| value.is_infinite(), |value| *value == 0.0)
}

/// Reads PostgreSQL's text format of real.
pub(super) fn parse4(text: &str) -> Result<f32, SqlError> {
    parse_as(text, "real", |value: f32| value.is_infinite(), |value| *value == 0.0)
}

/// Reads a number. 22003 if it is so large that it would be infinite, or so small that it would be zero.
fn parse_as<T: FromStr + From<f32> + Copy>(
    text: &str,
    type_name: &str,
    is_infinite: fn(T) -> bool,
    is_zero: fn(&T) -> bool,
) -> Result<T, SqlError> {
    let trimmed = text.trim_matches(|c: char| c.is_ascii_whitespace());
    let lower = trimmed.to_ascii_lowercase();
    let special = match lower.strip_prefix(['+', '-']).unwrap_or(&lower) {
        "nan" => Some(f32::NAN),
        "inf" | "infinity" => Some(f32::INFINITY),
        _ => None,
    };
    if let Some(value) = special {
        return Ok(T::from(if lower.starts_with('-') { -value } else { value }));
    }
    let invalid = || {
        SqlError::new(
            sqlstate::INVALID_TEXT,
            format!("invalid input syntax for type {type_name}: \"{text}\""),
        )
    };
    if !trimmed.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.' | b'e' | b'E')) {
        return Err(invalid());
    }
    let value: T = trimmed.parse().map_err(|_| invalid())?;
    let nonzero =
        trimmed.split(['e', 'E']).next().is_some_and(|m| m.bytes().any(|b| (b'1'..=b'9').contains(&b)));
    if is_infinite(value) || is_zero(&value) && nonzero {
        return Err(SqlError::new(
            sqlstate::OUT_OF_RANGE,
            format!("\"{trimmed}\" is out of range for type {type_name}"),
        ));
    }
    Ok(value)
}
