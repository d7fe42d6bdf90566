//! Parts of dates, times and intervals (extract, date_part), and what is left when they are cut (date_trunc).

use crate::error::{SqlError, sqlstate};
use crate::types::datetime::{
    Civil, EPOCH_JULIAN, MICROS_PER_DAY, MICROS_PER_HOUR, MICROS_PER_MINUTE, MICROS_PER_SECOND,
    UNIX_EPOCH_DAYS, Zone, is_infinite, iso_week, julian_of_day, overflow, timestamp, weekday,
};
use crate::types::{Interval, Type, Value};

/// A field of a date or time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Field {
    Microsecond,
    Millisecond,
    Second,
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Quarter,
    Year,
    Decade,
    Century,
    Millennium,
    IsoYear,
    Julian,
    WeekDay,
    IsoWeekDay,
    YearDay,
    Epoch,
    Zone,
    ZoneHour,
    ZoneMinute,
}

/// A part's value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Part {
    /// So many units of 1/10^digits.
    Decimal(i128, u32),
    /// A Julian day and a time of it.
    Julian(i64, i64),
    Infinity,
    MinusInfinity,
    /// Infinity has no such part.
    Null,
}

impl Field {
    /// The field of a name. 22023 if there is none; `ty` is what it is asked of.
    pub(crate) fn find(name: &str, ty: &Type) -> Result<Field, SqlError> {
        let name = name.to_ascii_lowercase();
        let known = match name.get(..10).unwrap_or(&name) {
            "us" | "usec" | "usecond" | "useconds" | "usecs" | "microsecon" => Field::Microsecond,
            "ms" | "msec" | "msecond" | "mseconds" | "msecs" | "millisecon" => Field::Millisecond,
            "s" | "sec" | "second" | "seconds" | "secs" => Field::Second,
            "m" | "min" | "mins" | "minute" | "minutes" => Field::Minute,
            "h" | "hour" | "hours" | "hr" | "hrs" => Field::Hour,
            "d" | "day" | "days" => Field::Day,
            "w" | "week" | "weeks" => Field::Week,
            "mon" | "mons" | "month" | "months" => Field::Month,
            "qtr" | "quarter" => Field::Quarter,
            "y" | "year" | "years" | "yr" | "yrs" => Field::Year,
            "dec" | "decade" | "decades" | "decs" => Field::Decade,
            "c" | "cent" | "centuries" | "century" => Field::Century,
            "mil" | "mils" | "millennia" | "millennium" => Field::Millennium,
            "isoyear" => Field::IsoYear,
            "j" | "jd" | "julian" => Field::Julian,
            "dow" => Field::WeekDay,
            "isodow" => Field::IsoWeekDay,
            "doy" => Field::YearDay,
            "epoch" => Field::Epoch,
            "timezone" => Field::Zone,
            "timezone_h" => Field::ZoneHour,
            "timezone_m" => Field::ZoneMinute,
            _ => return Err(unit_error(sqlstate::INVALID_PARAMETER, &name, "recognized", ty)),
        };
        Ok(known)
    }
}

fn unit_error(code: &'static str, name: &str, what: &str, ty: &Type) -> SqlError {
    SqlError::new(code, format!("unit \"{name}\" not {what} for type {}", ty.plain()))
}

/// 0A000 for a field that a type does not have.
fn unsupported(name: &str, ty: &Type) -> SqlError {
    unit_error(sqlstate::FEATURE_NOT_SUPPORTED, &name.to_ascii_lowercase(), "supported", ty)
}

fn whole(value: i64) -> Part {
    Part::Decimal(value.into(), 0)
}

/// A part of a value that is a date, a time, a timestamp or an interval.
pub(crate) fn part(name: &str, value: &Value, zone: &Zone) -> Result<Part, SqlError> {
    let ty = value.natural_type();
    let field = Field::find(name, &ty)?;
    let none = || unsupported(name, &ty);
    match value {
        Value::Interval(interval) => of_interval(field, interval).ok_or_else(none),
        Value::Time(micros) => of_time(field, *micros, None).ok_or_else(none),
        Value::Timetz(micros, east) => of_time(field, *micros, Some((*east).into())).ok_or_else(none),
        Value::Date(days @ (i32::MIN | i32::MAX)) => {
            of_infinity(field, *days > 0).filter(|_| is_of_date(field)).ok_or_else(none)
        }
        Value::Timestamp(micros) | Value::Timestamptz(micros) if is_infinite(*micros) => {
            let zoned = matches!(value, Value::Timestamptz(_));
            of_infinity(field, *micros > 0).filter(|_| zoned || field < Field::Zone).ok_or_else(none)
        }
        Value::Date(days) => {
            let civil = Civil::of_julian(i64::from(*days) + EPOCH_JULIAN);
            match field {
                Field::Epoch => Ok(whole((i64::from(*days) + UNIX_EPOCH_DAYS) * 86_400)),
                Field::Julian => Ok(whole(civil.julian())),
                field if is_of_date(field) => of_civil(field, &civil, None).ok_or_else(none),
                _ => Err(none()),
            }
        }
        Value::Timestamp(micros) => moment_part(field, *micros, 0, None).ok_or_else(none),
        Value::Timestamptz(micros) => {
            let east = zone.offset(*micros);
            moment_part(field, *micros, east, Some(east)).ok_or_else(none)
        }
        _ => Err(none()),
    }
}

fn is_of_date(field: Field) -> bool {
    field >= Field::Day && field < Field::Zone
}

fn moment_part(field: Field, micros: i64, east: i64, zone: Option<i64>) -> Option<Part> {
    if field == Field::Epoch {
        let epoch = i128::from(UNIX_EPOCH_DAYS) * i128::from(MICROS_PER_DAY);
        return Some(Part::Decimal(i128::from(micros) + epoch, 6));
    }
    of_civil(field, &Civil::of_micros(micros.saturating_add(east * MICROS_PER_SECOND)), zone)
}

/// Infinite if it grows forever, NULL if it goes round.
fn of_infinity(field: Field, positive: bool) -> Option<Part> {
    let grows = matches!(
        field,
        Field::Year
            | Field::Decade
            | Field::Century
            | Field::Millennium
            | Field::IsoYear
            | Field::Julian
            | Field::Epoch
    );
    Some(match (grows, positive) {
        (true, true) => Part::Infinity,
        (true, false) => Part::MinusInfinity,
        (false, _) => Part::Null,
    })
}

fn of_civil(field: Field, civil: &Civil, zone: Option<i64>) -> Option<Part> {
    let Civil { year, month, day, .. } = *civil;
    let shown_year = |year: i64| if year > 0 { year } else { year - 1 };
    let century = |size: i64| {
        if year > 0 { (year + size - 1) / size } else { -((size - 1 - (year - 1)) / size) }
    };
    Some(match field {
        Field::Day => whole(day),
        Field::Month => whole(month),
        Field::Quarter => whole((month - 1) / 3 + 1),
        Field::Year => whole(shown_year(year)),
        Field::Decade => whole(if year >= 0 { year / 10 } else { -((8 - (year - 1)) / 10) }),
        Field::Century => whole(century(100)),
        Field::Millennium => whole(century(1000)),
        Field::Week => whole(iso_week(year, civil.julian()).1),
        Field::IsoYear => whole(shown_year(iso_week(year, civil.julian()).0)),
        Field::WeekDay => whole(weekday(civil.julian())),
        Field::IsoWeekDay => whole((weekday(civil.julian()) + 6) % 7 + 1),
        Field::YearDay => whole(civil.julian() - julian_of_day(year, 1, 1) + 1),
        Field::Julian => Part::Julian(civil.julian(), civil.time()),
        Field::Epoch => return None,
        field => return of_time(field, civil.time(), zone),
    })
}

fn of_time(field: Field, micros: i64, east: Option<i64>) -> Option<Part> {
    Some(match field {
        Field::Microsecond => whole(micros % MICROS_PER_MINUTE),
        Field::Millisecond => Part::Decimal((micros % MICROS_PER_MINUTE).into(), 3),
        Field::Second => Part::Decimal((micros % MICROS_PER_MINUTE).into(), 6),
        Field::Minute => whole(micros / MICROS_PER_MINUTE % 60),
        Field::Hour => whole(micros / MICROS_PER_HOUR),
        Field::Epoch => Part::Decimal((micros - east.unwrap_or(0) * MICROS_PER_SECOND).into(), 6),
        Field::Zone => whole(east?),
        Field::ZoneHour => whole(east? / 3600),
        Field::ZoneMinute => whole(east? / 60 % 60),
        _ => return None,
    })
}

fn of_interval(field: Field, interval: &Interval) -> Option<Part> {
    let (months, days) = (i64::from(interval.months), i64::from(interval.days));
    let years = months / 12;
    Some(match field {
        Field::Day => whole(days),
        Field::Month => whole(months % 12),
        Field::Quarter => whole(months % 12 / 3 + 1),
        Field::Year => whole(years),
        Field::Decade => whole(years / 10),
        Field::Century => whole(years / 100),
        Field::Millennium => whole(years / 1000),
        Field::Epoch => {
            // A year counts 365.25 days, a month 30.
            let seconds = i128::from(1461 * years + 120 * (months % 12) + 4 * days) * 21_600;
            Part::Decimal(seconds * 1_000_000 + i128::from(interval.micros), 6)
        }
        Field::Zone | Field::ZoneHour | Field::ZoneMinute => return None,
        field => return of_time(field, interval.micros, None),
    })
}

/// The start of the unit that a moment is in. With a zone, units of a day or more are those of its local time.
pub(crate) fn truncated(name: &str, micros: i64, ty: &Type, zone: Option<&Zone>) -> Result<i64, SqlError> {
    let field = Field::find(name, ty)?;
    if is_infinite(micros) {
        return if field <= Field::Millennium { Ok(micros) } else { Err(unsupported(name, ty)) };
    }
    let east = zone.map_or(0, |zone| zone.offset(micros));
    let local = micros.saturating_add(east * MICROS_PER_SECOND);
    let cut = |unit: i64| Ok(local - local.rem_euclid(unit) - east * MICROS_PER_SECOND);
    let mut civil = Civil::of_micros(local);
    civil.set_time(0);
    let year = civil.year;
    match field {
        Field::Microsecond => return Ok(micros),
        Field::Millisecond => return cut(1000),
        Field::Second => return cut(MICROS_PER_SECOND),
        Field::Minute => return cut(MICROS_PER_MINUTE),
        Field::Hour => return cut(MICROS_PER_HOUR),
        Field::Day => {}
        Field::Week => {
            let julian = civil.julian();
            civil = Civil::of_julian(julian - (weekday(julian) + 6) % 7);
        }
        Field::Month => civil.day = 1,
        Field::Quarter => (civil.month, civil.day) = ((civil.month - 1) / 3 * 3 + 1, 1),
        Field::Year => (civil.month, civil.day) = (1, 1),
        Field::Decade | Field::Century | Field::Millennium => {
            civil.year = match field {
                Field::Decade if year > 0 => year / 10 * 10,
                Field::Decade => -((8 - (year - 1)) / 10) * 10,
                Field::Century if year > 0 => (year + 99) / 100 * 100 - 99,
                Field::Century => -((99 - (year - 1)) / 100) * 100 + 1,
                _ if year > 0 => (year + 999) / 1000 * 1000 - 999,
                _ => -((999 - (year - 1)) / 1000) * 1000 + 1,
            };
            (civil.month, civil.day) = (1, 1);
        }
        _ => return Err(unsupported(name, ty)),
    }
    let local = civil.micros().ok_or_else(|| overflow("timestamp"))?;
    let east = zone.map_or(0, |zone| zone.offset_of_local(local));
    let start = local.checked_sub(east * MICROS_PER_SECOND).and_then(timestamp);
    start.ok_or_else(|| overflow("timestamp"))
}

/// An interval without what is smaller than a unit.
pub(crate) fn truncated_interval(name: &str, interval: &Interval) -> Result<Interval, SqlError> {
    let ty = Type::Interval(None);
    let field = Field::find(name, &ty)?;
    let of_months = |size: i32| Interval { months: interval.months / size * size, ..Interval::default() };
    let of_micros = |size: i64| Interval { micros: interval.micros / size * size, ..*interval };
    Ok(match field {
        Field::Millennium => of_months(12_000),
        Field::Century => of_months(1200),
        Field::Decade => of_months(120),
        Field::Year => of_months(12),
        Field::Quarter => of_months(3),
        Field::Month => of_months(1),
        Field::Day => Interval { micros: 0, ..*interval },
        Field::Hour => of_micros(MICROS_PER_HOUR),
        Field::Minute => of_micros(MICROS_PER_MINUTE),
        Field::Second => of_micros(MICROS_PER_SECOND),
        Field::Millisecond => of_micros(1000),
        Field::Microsecond => *interval,
        Field::Week => {
            return Err(unsupported(name, &ty).detail("Months usually have fractional weeks."));
        }
        _ => return Err(unsupported(name, &ty)),
    })
}
