//! Timestamps and intervals in one another.

use super::calendar::{Civil, EPOCH_JULIAN, MICROS_PER_DAY, MICROS_PER_SECOND, days_of_month, timestamp};
use super::fault::overflow;
use super::interval::Interval;
use super::zone::Zone;
use crate::error::{SqlError, sqlstate};

/// Is it -infinity or infinity?
pub(crate) fn is_infinite(micros: i64) -> bool {
    matches!(micros, i64::MIN | i64::MAX)
}

fn out_of_range() -> SqlError {
    overflow("timestamp")
}

/// A moment moved by an interval: months first (a day beyond its month's end becomes the last), then days, then time.
/// With a zone, months and days are those of its local time. 22008 if it goes too far.
pub(crate) fn shifted(micros: i64, by: &Interval, zone: Option<&Zone>) -> Result<i64, SqlError> {
    if is_infinite(micros) {
        return Ok(micros);
    }
    let local = |micros: i64| zone.map_or(micros, |zone| zone.local(micros));
    let of_civil = |civil: &Civil| {
        let local = civil.micros().ok_or_else(out_of_range)?;
        let east = zone.map_or(0, |zone| zone.offset_of_local(local));
        local.checked_sub(east * MICROS_PER_SECOND).and_then(timestamp).ok_or_else(out_of_range)
    };
    let mut moved = micros;
    if by.months != 0 {
        let mut civil = Civil::of_micros(local(moved));
        let month = civil.year * 12 + civil.month - 1 + i64::from(by.months);
        (civil.year, civil.month) = (month.div_euclid(12), month.rem_euclid(12) + 1);
        civil.day = civil.day.min(days_of_month(civil.year, civil.month));
        moved = of_civil(&civil)?;
    }
    if by.days != 0 {
        let own = local(moved);
        let julian = own.div_euclid(MICROS_PER_DAY) + EPOCH_JULIAN + i64::from(by.days);
        if julian < 0 {
            return Err(out_of_range());
        }
        let mut civil = Civil::of_julian(julian);
        civil.set_time(own.rem_euclid(MICROS_PER_DAY));
        moved = of_civil(&civil)?;
    }
    moved.checked_add(by.micros).and_then(timestamp).ok_or_else(out_of_range)
}

/// `a - b` in days and time.
pub(crate) fn difference(a: i64, b: i64) -> Result<Interval, SqlError> {
    if is_infinite(a) || is_infinite(b) {
        return Err(SqlError::new(sqlstate::DATETIME_OVERFLOW, "cannot subtract infinite timestamps"));
    }
    let micros = a.checked_sub(b).ok_or_else(|| overflow("interval"))?;
    Interval { micros, ..Interval::default() }.justify_hours()
}

/// The same in years, months and days: age().
pub(crate) fn age(a: i64, b: i64) -> Result<Interval, SqlError> {
    if is_infinite(a) || is_infinite(b) {
        return Err(out_of_range());
    }
    let (later, earlier) = (Civil::of_micros(a.max(b)), Civil::of_micros(a.min(b)));
    // The month that a negative number of days borrows from is the second argument's, or the first one's if that is
    // the earlier one: in both cases the earlier's.
    let borrowed = days_of_month(earlier.year, earlier.month);
    let mut months = (later.year - earlier.year) * 12 + later.month - earlier.month;
    let mut days = later.day - earlier.day;
    let mut micros = later.time() - earlier.time();
    if micros < 0 {
        (micros, days) = (micros + MICROS_PER_DAY, days - 1);
    }
    while days < 0 {
        (days, months) = (days + borrowed, months - 1);
    }
    let age = Interval::new(months, days, micros)?;
    if a < b { age.negate() } else { Ok(age) }
}

/// date_bin: the start of the bin that a moment is in. 22008 or 0A000 for strides that are none.
pub(crate) fn bin(stride: &Interval, moment: i64, origin: i64) -> Result<i64, SqlError> {
    if is_infinite(moment) {
        return Ok(moment);
    }
    if is_infinite(origin) {
        return Err(overflow("origin"));
    }
    if stride.months != 0 {
        return Err(SqlError::new(
            sqlstate::FEATURE_NOT_SUPPORTED,
            "timestamps cannot be binned into intervals containing months or years",
        ));
    }
    let width = i64::try_from(stride.span()).map_err(|_| overflow("interval"))?;
    if width <= 0 {
        return Err(SqlError::new(sqlstate::DATETIME_OVERFLOW, "stride must be greater than zero"));
    }
    let distance = moment.checked_sub(origin).ok_or_else(|| overflow("interval"))?;
    let start = origin.checked_add(distance - distance.rem_euclid(width));
    start.and_then(timestamp).ok_or_else(out_of_range)
}
