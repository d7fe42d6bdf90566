//! Functions on dates and times: the clock, making them of numbers, their parts, their zones.

use super::function::{Arguments, Function, boolean, function};
use crate::error::{SqlError, sqlstate};
use crate::expression::arithmetic::binary;
use crate::expression::cast::cast_value_in;
use crate::expression::datetime::{date_of_timestamp, local, of_local, timestamp_of_date};
use crate::expression::parts::{Part, part, truncated, truncated_interval};
use crate::statement::Operator;
use crate::types::datetime::{
    Civil, MICROS_PER_DAY, MICROS_PER_SECOND, Zone, ZoneName, age, bin, days_of_month, is_infinite, overflow,
    time_of_day, timestamp, unknown_zone,
};
use crate::types::declared::{
    BOOL, DATE, FLOAT8, INT4, INTERVAL, NUMERIC, TEXT, TIME, TIMESTAMP, TIMESTAMPTZ, TIMETZ,
};
use crate::types::{Datum, Interval, Numeric, Type, Value, now_micros};

pub(super) const FUNCTIONS: &[Function] = &[
    function("age", &[TIMESTAMP, TIMESTAMP], INTERVAL, age_of),
    function("age", &[TIMESTAMPTZ, TIMESTAMPTZ], INTERVAL, age_of),
    function("age", &[TIMESTAMP], INTERVAL, age_today),
    function("age", &[TIMESTAMPTZ], INTERVAL, age_today),
    function("clock_timestamp", &[], TIMESTAMPTZ, |_| Ok(Some(Value::Timestamptz(now_micros())))).volatile(),
    function("current_date", &[], DATE, |a| Ok(Some(Value::Date(date_of_timestamp(now_local(a)))))),
    function("current_time", &[INT4], TIMETZ, |a| now_as(a, Type::Timetz)).optional(1),
    function("current_timestamp", &[INT4], TIMESTAMPTZ, |a| now_as(a, Type::Timestamptz)).optional(1),
    function("date_bin", &[INTERVAL, TIMESTAMP, TIMESTAMP], TIMESTAMP, date_bin),
    function("date_bin", &[INTERVAL, TIMESTAMPTZ, TIMESTAMPTZ], TIMESTAMPTZ, date_bin),
    function("date_part", &[TEXT, DATE], FLOAT8, date_part),
    function("date_part", &[TEXT, TIME], FLOAT8, date_part),
    function("date_part", &[TEXT, TIMETZ], FLOAT8, date_part),
    function("date_part", &[TEXT, TIMESTAMP], FLOAT8, date_part),
    function("date_part", &[TEXT, TIMESTAMPTZ], FLOAT8, date_part),
    function("date_part", &[TEXT, INTERVAL], FLOAT8, date_part),
    function("date_trunc", &[TEXT, TIMESTAMPTZ], TIMESTAMPTZ, date_trunc),
    function("date_trunc", &[TEXT, TIMESTAMPTZ, TEXT], TIMESTAMPTZ, date_trunc),
    function("date_trunc", &[TEXT, TIMESTAMP], TIMESTAMP, date_trunc),
    function("date_trunc", &[TEXT, INTERVAL], INTERVAL, date_trunc),
    function("extract", &[TEXT, DATE], NUMERIC, extract),
    function("extract", &[TEXT, TIME], NUMERIC, extract),
    function("extract", &[TEXT, TIMETZ], NUMERIC, extract),
    function("extract", &[TEXT, TIMESTAMP], NUMERIC, extract),
    function("extract", &[TEXT, TIMESTAMPTZ], NUMERIC, extract),
    function("extract", &[TEXT, INTERVAL], NUMERIC, extract),
    function("isfinite", &[DATE], BOOL, isfinite),
    function("isfinite", &[TIMESTAMP], BOOL, isfinite),
    function("isfinite", &[TIMESTAMPTZ], BOOL, isfinite),
    function("isfinite", &[INTERVAL], BOOL, isfinite),
    function("justify_days", &[INTERVAL], INTERVAL, |a| of_interval(a, Interval::justify_days)),
    function("justify_hours", &[INTERVAL], INTERVAL, |a| of_interval(a, Interval::justify_hours)),
    function("justify_interval", &[INTERVAL], INTERVAL, |a| of_interval(a, Interval::justify)),
    function("localtime", &[INT4], TIME, |a| now_as(a, Type::Time)).optional(1),
    function("localtimestamp", &[INT4], TIMESTAMP, |a| now_as(a, Type::Timestamp)).optional(1),
    function("make_date", &[INT4, INT4, INT4], DATE, make_date),
    function("make_interval", &[INT4, INT4, INT4, INT4, INT4, INT4, FLOAT8], INTERVAL, make_interval)
        .optional(7),
    function("make_time", &[INT4, INT4, FLOAT8], TIME, |a| Ok(Some(Value::Time(time_of(a, 0)?)))),
    function("make_timestamp", &[INT4, INT4, INT4, INT4, INT4, FLOAT8], TIMESTAMP, make_timestamp),
    function(
        "make_timestamptz",
        &[INT4, INT4, INT4, INT4, INT4, FLOAT8, TEXT],
        TIMESTAMPTZ,
        make_timestamptz,
    )
    .optional(1),
    function("now", &[], TIMESTAMPTZ, now),
    function("statement_timestamp", &[], TIMESTAMPTZ, |a| Ok(Some(Value::Timestamptz(a.env.started)))),
    function("timeofday", &[], TEXT, timeofday).volatile(),
    function("timezone", &[TEXT, TIMESTAMPTZ], TIMESTAMP, timezone),
    function("timezone", &[TEXT, TIMESTAMP], TIMESTAMPTZ, timezone),
    function("timezone", &[TEXT, TIMETZ], TIMETZ, timezone),
    function("timezone", &[INTERVAL, TIMESTAMPTZ], TIMESTAMP, timezone),
    function("timezone", &[INTERVAL, TIMESTAMP], TIMESTAMPTZ, timezone),
    function("timezone", &[INTERVAL, TIMETZ], TIMETZ, timezone),
    function("transaction_timestamp", &[], TIMESTAMPTZ, now),
];

fn now(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    Ok(Some(Value::Timestamptz(a.env.now)))
}

/// now() by the clocks of the session's zone.
fn now_local(a: &Arguments<'_>) -> i64 {
    local(a.env.now, &a.env.text)
}

/// now() as another type, with so many digits of a second.
fn now_as(a: &Arguments<'_>, ty: impl Fn(Option<u8>) -> Type) -> Result<Datum, SqlError> {
    let digits = a.value(0).and_then(Value::as_i64);
    if digits.is_some_and(|digits| digits < 0) {
        return Err(SqlError::new(sqlstate::INVALID_PARAMETER, "precision must not be negative"));
    }
    let ty = ty(digits.map(|digits| digits.min(6) as u8));
    cast_value_in(Value::Timestamptz(a.env.now), &ty, true, &a.env.text).map(Some)
}

fn timeofday(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    let (now, zone) = (now_micros(), &a.env.text.zone);
    let civil = Civil::of_micros(zone.local(now));
    Ok(Some(Value::Text(time_of_day(&civil, &zone.abbreviation(now)))))
}

fn number(a: &Arguments<'_>, at: usize) -> f64 {
    match a.value(at) {
        Some(Value::Float8(number)) => *number,
        _ => 0.0,
    }
}

fn interval(a: &Arguments<'_>, at: usize) -> Interval {
    match a.value(at) {
        Some(Value::Interval(interval)) => *interval,
        _ => Interval::default(),
    }
}

fn of_interval(
    a: &Arguments<'_>,
    code: impl Fn(&Interval) -> Result<Interval, SqlError>,
) -> Result<Datum, SqlError> {
    code(&interval(a, 0)).map(|interval| Some(Value::Interval(interval)))
}

/// Year, month and day of the arguments; a negative year is one before Christ.
fn day_of(a: &Arguments<'_>) -> Result<Civil, SqlError> {
    let (year, month, day) = (a.integer(0), a.integer(1), a.integer(2));
    let civil = Civil { year: if year < 0 { year + 1 } else { year }, month, day, ..Civil::default() };
    let in_month = (1..=12).contains(&month) && (1..=days_of_month(civil.year, month)).contains(&day);
    if year == 0 || !in_month {
        let text = format!("date field value out of range: {year}-{month:02}-{day:02}");
        return Err(SqlError::new(sqlstate::DATETIME_OVERFLOW, text));
    }
    if !civil.is_in_calendar() {
        let text = format!("date out of range: {year}-{month:02}-{day:02}");
        return Err(SqlError::new(sqlstate::DATETIME_OVERFLOW, text));
    }
    Ok(civil)
}

fn make_date(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    day_of(a)?.date().map(|days| Some(Value::Date(days))).ok_or_else(|| overflow("date"))
}

/// Hour, minute and second of the arguments from `at` on.
fn time_of(a: &Arguments<'_>, at: usize) -> Result<i64, SqlError> {
    let (hour, minute, second) = (a.integer(at), a.integer(at + 1), number(a, at + 2));
    let micros = (second * 1e6).round_ties_even();
    let fits = (0..=24).contains(&hour) && (0..60).contains(&minute) && (0.0..=60e6).contains(&micros);
    let total = (hour * 60 + minute) * 60_000_000 + if fits { micros as i64 } else { 0 };
    if fits && total <= MICROS_PER_DAY {
        return Ok(total);
    }
    let text = format!("time field value out of range: {hour}:{minute:02}:{second:02}");
    Err(SqlError::new(sqlstate::DATETIME_OVERFLOW, text))
}

fn moment_of(a: &Arguments<'_>) -> Result<i64, SqlError> {
    let day = day_of(a)?.micros().ok_or_else(|| overflow("timestamp"))?;
    day.checked_add(time_of(a, 3)?).and_then(timestamp).ok_or_else(|| overflow("timestamp"))
}

fn make_timestamp(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    moment_of(a).map(|micros| Some(Value::Timestamp(micros)))
}

fn make_timestamptz(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    let moment = moment_of(a)?;
    if a.value(6).is_none() {
        return of_local(moment, &a.env.text).map(|micros| Some(Value::Timestamptz(micros)));
    }
    let east = NamedZone::find(&a.text(6))?.offset_of_local(moment);
    let micros = moment.checked_sub(east * MICROS_PER_SECOND).and_then(timestamp);
    micros.map(|micros| Some(Value::Timestamptz(micros))).ok_or_else(|| overflow("timestamp"))
}

fn make_interval(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    let seconds = number(a, 6);
    if !seconds.is_finite() {
        return Err(overflow("interval"));
    }
    let micros = (a.integer(4) * 3600 + a.integer(5) * 60) * MICROS_PER_SECOND;
    let micros = micros.saturating_add((seconds * 1e6).round_ties_even() as i64);
    let interval = Interval::new(a.integer(0) * 12 + a.integer(1), a.integer(2) * 7 + a.integer(3), micros)?;
    Ok(Some(Value::Interval(interval)))
}

/// A timestamp's count, or that of a timestamptz by local time.
fn local_micros(a: &Arguments<'_>, at: usize) -> i64 {
    match a.value(at) {
        Some(Value::Timestamptz(micros)) => local(*micros, &a.env.text),
        Some(Value::Timestamp(micros)) => *micros,
        _ => 0,
    }
}

fn age_of(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    age(local_micros(a, 0), local_micros(a, 1)).map(|age| Some(Value::Interval(age)))
}

fn age_today(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    let today = timestamp_of_date(date_of_timestamp(now_local(a)))?;
    age(today, local_micros(a, 0)).map(|age| Some(Value::Interval(age)))
}

fn date_bin(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    let start = |micros: &i64, origin: &i64| bin(&interval(a, 0), *micros, *origin);
    Ok(match (a.value(1), a.value(2)) {
        (Some(Value::Timestamp(micros)), Some(Value::Timestamp(origin))) => {
            Some(Value::Timestamp(start(micros, origin)?))
        }
        (Some(Value::Timestamptz(micros)), Some(Value::Timestamptz(origin))) => {
            Some(Value::Timestamptz(start(micros, origin)?))
        }
        _ => None,
    })
}

fn date_trunc(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    let unit = a.text(0);
    Ok(match a.value(1) {
        Some(Value::Interval(interval)) => Some(Value::Interval(truncated_interval(&unit, interval)?)),
        Some(Value::Timestamp(micros)) => {
            Some(Value::Timestamp(truncated(&unit, *micros, &Type::Timestamp(None), None)?))
        }
        Some(Value::Timestamptz(micros)) => {
            let named = a.optional_text(2).map(|name| NamedZone::find(&name)).transpose()?;
            let zone = match named {
                None => a.env.text.zone.clone(),
                Some(NamedZone::Zone(zone)) => zone,
                // The offset that an abbreviation has at the time.
                Some(named) => Zone::fixed(named.offset(*micros)).unwrap_or(Zone::UTC),
            };
            Some(Value::Timestamptz(truncated(&unit, *micros, &Type::Timestamptz(None), Some(&zone))?))
        }
        _ => None,
    })
}

fn isfinite(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    boolean(match a.value(0) {
        Some(Value::Date(days)) => !matches!(*days, i32::MIN | i32::MAX),
        Some(Value::Timestamp(micros) | Value::Timestamptz(micros)) => !is_infinite(*micros),
        _ => true,
    })
}

fn date_part(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    let value = match a.value(1) {
        Some(Value::Date(days)) => Value::Timestamp(timestamp_of_date(*days)?),
        Some(value) => value.clone(),
        None => return Ok(None),
    };
    Ok(match part(&a.text(0), &value, &a.env.text.zone)? {
        Part::Decimal(units, digits) => Some(Value::Float8(units as f64 / 10f64.powi(digits as i32))),
        Part::Julian(day, time) => Some(Value::Float8(day as f64 + time as f64 / MICROS_PER_DAY as f64)),
        Part::Infinity => Some(Value::Float8(f64::INFINITY)),
        Part::MinusInfinity => Some(Value::Float8(f64::NEG_INFINITY)),
        Part::Null => None,
    })
}

fn extract(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    let Some(value) = a.value(1) else { return Ok(None) };
    let text = match part(&a.text(0), value, &a.env.text.zone)? {
        Part::Decimal(units, 0) => units.to_string(),
        Part::Decimal(units, digits) => {
            let size = 10u128.pow(digits);
            let (whole, rest) = (units.unsigned_abs() / size, units.unsigned_abs() % size);
            let sign = if units < 0 { "-" } else { "" };
            format!("{sign}{whole}.{rest:0width$}", width = digits as usize)
        }
        Part::Julian(day, time) => {
            let of_day = Numeric::from_i64(time).divide(&Numeric::from_i64(MICROS_PER_DAY))?;
            let (day, of_day) = (Value::Numeric(Numeric::from_i64(day)), Value::Numeric(of_day));
            return binary(Operator::Plus, &Type::Numeric(None), day, of_day).map(Some);
        }
        Part::Infinity => "Infinity".into(),
        Part::MinusInfinity => "-Infinity".into(),
        Part::Null => return Ok(None),
    };
    Numeric::parse(&text).map(|number| Some(Value::Numeric(number)))
}

/// A zone that an argument names: by an abbreviation first, as PostgreSQL does.
enum NamedZone {
    Name(ZoneName),
    Zone(Zone),
}

impl NamedZone {
    /// 22023 if there is none.
    fn find(name: &str) -> Result<NamedZone, SqlError> {
        match ZoneName::abbreviation(name) {
            Some(found) => Ok(NamedZone::Name(found)),
            None => Zone::find(name).map(NamedZone::Zone).ok_or_else(|| unknown_zone(name)),
        }
    }

    fn offset(&self, micros: i64) -> i64 {
        match self {
            NamedZone::Name(name) => name.offset(micros),
            NamedZone::Zone(zone) => zone.offset(micros),
        }
    }

    fn offset_of_local(&self, local: i64) -> i64 {
        match self {
            NamedZone::Name(name) => name.offset_of_local(local),
            NamedZone::Zone(zone) => zone.offset_of_local(local),
        }
    }
}

/// The offset that the first argument gives as an interval, if it is one.
fn offset_of_interval(a: &Arguments<'_>) -> Result<Option<i64>, SqlError> {
    match a.value(0) {
        Some(Value::Interval(Interval { months: 0, days: 0, micros })) => {
            Ok(Some(micros / MICROS_PER_SECOND))
        }
        Some(value @ Value::Interval(_)) => {
            let text = value.to_string_text_in(&a.env.text);
            let text = format!("interval time zone \"{text}\" must not include months or days");
            Err(SqlError::new(sqlstate::INVALID_PARAMETER, text))
        }
        _ => Ok(None),
    }
}

/// AT TIME ZONE.
fn timezone(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    let fixed = offset_of_interval(a)?;
    let zone = || NamedZone::find(&a.text(0));
    let out_of_range = || overflow("timestamp");
    Ok(match a.value(1) {
        Some(Value::Timestamp(micros) | Value::Timestamptz(micros)) if is_infinite(*micros) => {
            if fixed.is_none() {
                zone()?;
            }
            match a.value(1) {
                Some(Value::Timestamp(micros)) => Some(Value::Timestamptz(*micros)),
                _ => Some(Value::Timestamp(*micros)),
            }
        }
        Some(Value::Timestamptz(micros)) => {
            let east = fixed.map_or_else(|| zone().map(|zone| zone.offset(*micros)), Ok)?;
            let local = micros.checked_add(east * MICROS_PER_SECOND).and_then(timestamp);
            Some(Value::Timestamp(local.ok_or_else(out_of_range)?))
        }
        Some(Value::Timestamp(local)) => {
            let east = fixed.map_or_else(|| zone().map(|zone| zone.offset_of_local(*local)), Ok)?;
            let micros = local.checked_sub(east * MICROS_PER_SECOND).and_then(timestamp);
            Some(Value::Timestamptz(micros.ok_or_else(out_of_range)?))
        }
        Some(Value::Timetz(micros, from)) => {
            let east = fixed.map_or_else(|| zone().map(|zone| zone.offset(a.env.now)), Ok)?;
            let moved = micros + (east - i64::from(*from)) * MICROS_PER_SECOND;
            Some(Value::Timetz(moved.rem_euclid(MICROS_PER_DAY), east as i32))
        }
        _ => None,
    })
}
