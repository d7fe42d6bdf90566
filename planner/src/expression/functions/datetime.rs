//! Functions on dates and times.

use super::function::{Arguments, Function, function};
use crate::error::SqlError;
use crate::expression::cast::cast_value;
use crate::types::declared::{DATE, FLOAT8, TEXT, TIMESTAMPTZ};
use crate::types::{Datum, MICROS_PER_DAY, Type, Value, now_micros, timestamp_to_text};

pub(super) const FUNCTIONS: &[Function] = &[
    function("clock_timestamp", &[], TIMESTAMPTZ, |_| Ok(Some(Value::Timestamptz(now_micros())))).volatile(),
    function("current_date", &[], DATE, current_date),
    function("current_timestamp", &[], TIMESTAMPTZ, now),
    function("date_part", &[TEXT, TIMESTAMPTZ], FLOAT8, date_part),
    function("date_trunc", &[TEXT, TIMESTAMPTZ], TIMESTAMPTZ, date_trunc),
    function("now", &[], TIMESTAMPTZ, now),
    function("statement_timestamp", &[], TIMESTAMPTZ, now),
    function("transaction_timestamp", &[], TIMESTAMPTZ, now),
];

/// Seconds from 1970-01-01 to 2000-01-01.
const EPOCH_SECONDS: f64 = 946_684_800.0;

fn now(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    Ok(Some(Value::Timestamptz(a.env.now)))
}

fn current_date(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    Ok(Some(Value::Date(a.env.now.div_euclid(MICROS_PER_DAY) as i32)))
}

fn date_part(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    let Some(Value::Timestamptz(micros)) = a.value(1) else { return Ok(None) };
    if matches!(*micros, i64::MAX | i64::MIN) {
        return infinite_part(&a.text(0), *micros > 0);
    }
    // A year may have more than four digits, and years before Christ count down from -1.
    let text = timestamp_to_text(*micros);
    let date: Vec<&str> = text.split([' ', 'T']).next().unwrap_or("").split('-').collect();
    let number = |at: usize| date.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    let of_day = micros.rem_euclid(MICROS_PER_DAY);
    let part = match &*a.text(0) {
        "year" if text.ends_with(" BC") => -number(0),
        "year" => number(0),
        "month" => number(1),
        "day" => number(2),
        "hour" => (of_day / 3_600_000_000) as f64,
        "minute" => (of_day / 60_000_000 % 60) as f64,
        "second" => (of_day % 60_000_000) as f64 / 1e6,
        "epoch" => *micros as f64 / 1e6 + EPOCH_SECONDS,
        // 2000-01-01 was a Saturday.
        "dow" => (micros.div_euclid(MICROS_PER_DAY) + 6).rem_euclid(7) as f64,
        other => return Err(SqlError::unsupported(format!("the field \"{other}\" of a timestamp"))),
    };
    Ok(Some(Value::Float8(part)))
}

/// A field of infinity: infinite if it grows forever, NULL if it goes round.
fn infinite_part(field: &str, positive: bool) -> Result<Datum, SqlError> {
    match field {
        "year" | "epoch" => Ok(Some(Value::Float8(if positive { f64::INFINITY } else { f64::NEG_INFINITY }))),
        "month" | "day" | "hour" | "minute" | "second" | "dow" => Ok(None),
        other => Err(SqlError::unsupported(format!("the field \"{other}\" of a timestamp"))),
    }
}

fn date_trunc(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    let Some(Value::Timestamptz(micros)) = a.value(1) else { return Ok(None) };
    // Infinity is the same in every unit.
    if matches!(*micros, i64::MAX | i64::MIN) {
        return Ok(Some(Value::Timestamptz(*micros)));
    }
    // The text of the date, cut behind so many of its three parts (a year may have more than four digits), filled up
    // again, and with the era that it had.
    let start = |parts: usize, rest: &str| {
        let whole = timestamp_to_text(*micros);
        let era = if whole.ends_with(" BC") { " BC" } else { "" };
        let kept: Vec<&str> = whole.splitn(3, '-').take(parts).collect();
        let text = format!("{}{rest}{era}", kept.join("-"));
        cast_value(Value::Text(text), &Type::Timestamptz, true).map(Some)
    };
    let unit = match &*a.text(0) {
        "microseconds" => 1,
        "milliseconds" => 1000,
        "second" => 1_000_000,
        "minute" => 60_000_000,
        "hour" => 3_600_000_000,
        "day" => MICROS_PER_DAY,
        "month" => return start(2, "-01"),
        "year" => return start(1, "-01-01"),
        other => return Err(SqlError::unsupported(format!("truncating a timestamp to \"{other}\""))),
    };
    Ok(Some(Value::Timestamptz(micros - micros.rem_euclid(unit))))
}
