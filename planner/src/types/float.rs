//! double precision: order and text as PostgreSQL has them.

use std::cmp::Ordering;

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

/// Shortest text that reads back as the same number; exponents below -4 and from 15 are written as such.
pub(super) fn format(value: f64) -> String {
    if value.is_nan() {
        return "NaN".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "Infinity".into() } else { "-Infinity".into() };
    }
    let scientific = format!("{value:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if value != 0.0 && !(-4..15).contains(&exponent) {
        format!("{mantissa}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
    } else {
        format!("{value}")
    }
}

/// Reads PostgreSQL's text format.
pub(super) fn parse(text: &str, type_name: &str) -> Result<f64, SqlError> {
    let trimmed = text.trim_matches(|c: char| c.is_ascii_whitespace());
    let lower = trimmed.to_ascii_lowercase();
    let special = match lower.trim_start_matches(['+', '-']) {
        "nan" => Some(f64::NAN),
        "inf" | "infinity" => Some(f64::INFINITY),
        _ => None,
    };
    if let Some(value) = special {
        return Ok(if lower.starts_with('-') { -value } else { value });
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
    let value: f64 = trimmed.parse().map_err(|_| invalid())?;
    let nonzero =
        trimmed.split(['e', 'E']).next().is_some_and(|m| m.bytes().any(|b| (b'1'..=b'9').contains(&b)));
    if value.is_infinite() || (value == 0.0 && nonzero) {
        return Err(SqlError::new(
            sqlstate::OUT_OF_RANGE,
            format!("\"{trimmed}\" is out of range for type {type_name}"),
        ));
    }
    Ok(value)
}
