//! Casts between dates, times, timestamps and intervals.

use crate::error::{SqlError, sqlstate};
use crate::types::datetime::{
    EPOCH_JULIAN, MICROS_PER_DAY, MICROS_PER_SECOND, date_of_julian, overflow, rounded, timestamp,
};
use crate::types::{Interval, TextSettings, Type, Value};

/// Casts to one of these types, from another one of them or from text.
pub(super) fn cast(value: Value, to: &Type, settings: &TextSettings) -> Result<Value, SqlError> {
    Ok(match to {
        Type::Date => Value::Date(match value {
            Value::Date(days) => days,
            Value::Timestamp(micros) => date_of_timestamp(micros),
            Value::Timestamptz(micros) => date_of_timestamp(local(micros, settings)),
            other => return out_of_text(other, to, settings),
        }),
        Type::Timestamp(digits) => {
            let micros = match value {
                Value::Timestamp(micros) => micros,
                Value::Date(days) => timestamp_of_date(days)?,
                Value::Timestamptz(micros) => local(micros, settings),
                other => return out_of_text(other, to, settings),
            };
            Value::Timestamp(rounded(micros, *digits))
        }
        Type::Timestamptz(digits) => {
            let micros = match value {
                Value::Timestamptz(micros) => micros,
                Value::Timestamp(micros) => of_local(micros, settings)?,
                Value::Date(days) => of_local(timestamp_of_date(days)?, settings)?,
                other => return out_of_text(other, to, settings),
            };
            Value::Timestamptz(rounded(micros, *digits))
        }
        Type::Interval(limit) => {
            let interval = match value {
                Value::Interval(interval) => interval,
                Value::Time(micros) => Interval { micros, ..Interval::default() },
                other => return out_of_text(other, to, settings),
            };
            Value::Interval(interval.limited(*limit))
        }
        _ => return cast_time(value, to, settings),
    })
}

/// Casts to time or timetz. Infinity has none: NULL in PostgreSQL, which a cast here cannot give.
fn cast_time(value: Value, to: &Type, settings: &TextSettings) -> Result<Value, SqlError> {
    let of_day = |micros: i64| match micros {
        i64::MIN | i64::MAX => Err(overflow("timestamp")),
        micros => Ok(micros.rem_euclid(MICROS_PER_DAY)),
    };
    let (time, east) = match value {
        Value::Time(micros) => (micros, None),
        Value::Timetz(micros, east) => (micros, Some(east)),
        Value::Timestamp(micros) => (of_day(micros)?, None),
        Value::Timestamptz(micros) => {
            (of_day(local(micros, settings))?, Some(settings.zone.offset(micros) as i32))
        }
        Value::Interval(interval) => (interval.micros.rem_euclid(MICROS_PER_DAY), None),
        other => return out_of_text(other, to, settings),
    };
    Ok(match to {
        Type::Timetz(digits) => {
            let today = || settings.zone.local(settings.now).div_euclid(MICROS_PER_DAY) * MICROS_PER_DAY;
            let east = east.unwrap_or_else(|| settings.zone.offset_of_local(today() + time) as i32);
            Value::Timetz(rounded(time, *digits), east)
        }
        Type::Time(digits) => Value::Time(rounded(time, *digits)),
        _ => return Err(cannot_cast(&Value::Time(time), to)),
    })
}

fn out_of_text(value: Value, to: &Type, settings: &TextSettings) -> Result<Value, SqlError> {
    match value {
        Value::Text(text) => Value::from_text_in(to, &text, settings),
        value => Err(cannot_cast(&value, to)),
    }
}

fn cannot_cast(value: &Value, to: &Type) -> SqlError {
    SqlError::new(sqlstate::CANNOT_COERCE, format!("cannot cast type {} to {to}", value.natural_type()))
}

/// Local time of a timestamptz; infinity stays.
pub(crate) fn local(micros: i64, settings: &TextSettings) -> i64 {
    if matches!(micros, i64::MIN | i64::MAX) { micros } else { settings.zone.local(micros) }
}

/// The timestamptz of a local time. 22008 if there is none so far away.
pub(crate) fn of_local(local: i64, settings: &TextSettings) -> Result<i64, SqlError> {
    if matches!(local, i64::MIN | i64::MAX) {
        return Ok(local);
    }
    let east = settings.zone.offset_of_local(local);
    let micros = local.checked_sub(east * MICROS_PER_SECOND).and_then(timestamp);
    micros.ok_or_else(|| overflow("timestamp"))
}

/// Midnight of a date. 22008 if it is no timestamp.
pub(crate) fn timestamp_of_date(days: i32) -> Result<i64, SqlError> {
    match days {
        i32::MAX => Ok(i64::MAX),
        i32::MIN => Ok(i64::MIN),
        days => {
            let micros = i64::from(days).checked_mul(MICROS_PER_DAY).and_then(timestamp);
            micros
                .ok_or_else(|| SqlError::new(sqlstate::DATETIME_OVERFLOW, "date out of range for timestamp"))
        }
    }
}

/// The day of a timestamp.
pub(crate) fn date_of_timestamp(micros: i64) -> i32 {
    match micros {
        i64::MAX => i32::MAX,
        i64::MIN => i32::MIN,
        // Every timestamp's day is a date.
        micros => date_of_julian(micros.div_euclid(MICROS_PER_DAY) + EPOCH_JULIAN).unwrap_or(i32::MAX),
    }
}
