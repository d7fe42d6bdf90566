//! Intervals: months, days and microseconds that do not mix, since months and days are not all as long.

use std::cmp::Ordering;

use super::calendar::{MICROS_PER_DAY, MICROS_PER_HOUR, MICROS_PER_MINUTE, rounded};
use super::fault::overflow;
use crate::error::{SqlError, sqlstate};

/// An interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interval {
    /// Months.
    pub months: i32,
    /// Days.
    pub days: i32,
    /// Microseconds.
    pub micros: i64,
}

/// Which fields an interval type keeps (`interval day to second(3)`), and how many digits of a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IntervalLimit {
    /// PostgreSQL's mask of fields: 0x7FFF for all.
    pub(crate) fields: u16,
    /// Digits of the fraction of a second: 0xFFFF for all.
    pub(crate) precision: u16,
}

/// The mask of a type that keeps all fields.
pub(crate) const ALL_FIELDS: u16 = 0x7fff;
/// The precision of a type that keeps all digits.
pub(crate) const ALL_DIGITS: u16 = 0xffff;
pub(crate) const MONTH_FIELD: u16 = 1 << 1;
pub(crate) const YEAR_FIELD: u16 = 1 << 2;
pub(crate) const DAY_FIELD: u16 = 1 << 3;
pub(crate) const HOUR_FIELD: u16 = 1 << 10;
pub(crate) const MINUTE_FIELD: u16 = 1 << 11;
pub(crate) const SECOND_FIELD: u16 = 1 << 12;
/// As PostgreSQL compares intervals.
const DAYS_PER_MONTH: i64 = 30;

fn out_of_range() -> SqlError {
    overflow("interval")
}

impl Interval {
    /// An interval. 22008 if a part is too large.
    pub(crate) fn new(months: i64, days: i64, micros: i64) -> Result<Interval, SqlError> {
        let part = |value: i64| i32::try_from(value).map_err(|_| out_of_range());
        Ok(Interval { months: part(months)?, days: part(days)?, micros })
    }

    /// What it is as microseconds, where a month has 30 days of 24 hours: intervals compare by this.
    pub(crate) fn span(&self) -> i128 {
        let days = i64::from(self.months) * DAYS_PER_MONTH + i64::from(self.days);
        i128::from(days) * i128::from(MICROS_PER_DAY) + i128::from(self.micros)
    }

    /// The interval of days and time that is so long; of months, too, where days alone do not reach.
    pub(crate) fn of_span(span: i128) -> Option<Interval> {
        let (day, month) = (i128::from(MICROS_PER_DAY), i128::from(DAYS_PER_MONTH));
        let within = |value: i128| value.clamp(i32::MIN.into(), i32::MAX.into());
        let all = span / day;
        let months = if within(all) == all { 0 } else { within(all / month) };
        let days = within(all - months * month);
        let micros = span - (months * month + days) * day;
        Some(Interval { months: months as i32, days: days as i32, micros: i64::try_from(micros).ok()? })
    }

    pub(crate) fn compare(&self, other: &Interval) -> Ordering {
        self.span().cmp(&other.span())
    }

    /// `-interval`.
    pub(crate) fn negate(&self) -> Result<Interval, SqlError> {
        let micros = self.micros.checked_neg().ok_or_else(out_of_range)?;
        Interval::new(-i64::from(self.months), -i64::from(self.days), micros)
    }

    /// `interval + interval`.
    pub(crate) fn add(&self, other: &Interval) -> Result<Interval, SqlError> {
        let micros = self.micros.checked_add(other.micros).ok_or_else(out_of_range)?;
        Interval::new(
            i64::from(self.months) + i64::from(other.months),
            i64::from(self.days) + i64::from(other.days),
            micros,
        )
    }

    /// `interval * number`: what is left of a month goes to its days, and of a day to its time.
    pub(crate) fn times(&self, factor: f64) -> Result<Interval, SqlError> {
        self.scaled(|value| value * factor)
    }

    /// `interval / number`. 22012 for zero.
    pub(crate) fn divided(&self, by: f64) -> Result<Interval, SqlError> {
        if by == 0.0 {
            return Err(SqlError::new(sqlstate::DIVISION_BY_ZERO, "division by zero"));
        }
        self.scaled(|value| value / by)
    }

    fn scaled(&self, scale: impl Fn(f64) -> f64) -> Result<Interval, SqlError> {
        let whole = |value: f64| {
            let fits = !value.is_nan() && (f64::from(i32::MIN)..=f64::from(i32::MAX)).contains(&value);
            if fits { Ok(value as i32) } else { Err(out_of_range()) }
        };
        let (scaled_months, scaled_days) = (scale(f64::from(self.months)), scale(f64::from(self.days)));
        let (months, mut days) = (whole(scaled_months)?, whole(scaled_days)?);
        // As PostgreSQL: rounded to what microseconds can say.
        let to_micros = |value: f64| (value * 1e6).round_ties_even() / 1e6;
        let month_days = to_micros((scaled_months - f64::from(months)) * DAYS_PER_MONTH as f64);
        let mut seconds =
            to_micros((scaled_days - f64::from(days) + month_days - month_days.trunc()) * 86_400.0);
        let mut extra = month_days.trunc() as i64;
        if seconds.abs() >= 86_400.0 {
            let more = (seconds / 86_400.0).trunc();
            extra += more as i64;
            seconds -= more * 86_400.0;
        }
        days = i32::try_from(i64::from(days) + extra).map_err(|_| out_of_range())?;
        let micros = (scale(self.micros as f64) + seconds * 1e6).round_ties_even();
        // The first number beyond is 2^63.
        if micros.is_nan() || !(-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&micros) {
            return Err(out_of_range());
        }
        Ok(Interval { months, days, micros: micros as i64 })
    }

    /// justify_hours: 24 hours become a day.
    pub(crate) fn justify_hours(&self) -> Result<Interval, SqlError> {
        let mut days = i64::from(self.days) + self.micros / MICROS_PER_DAY;
        let mut micros = self.micros % MICROS_PER_DAY;
        if days > 0 && micros < 0 {
            (days, micros) = (days - 1, micros + MICROS_PER_DAY);
        } else if days < 0 && micros > 0 {
            (days, micros) = (days + 1, micros - MICROS_PER_DAY);
        }
        Interval::new(self.months.into(), days, micros)
    }

    /// justify_days: 30 days become a month.
    pub(crate) fn justify_days(&self) -> Result<Interval, SqlError> {
        let mut months = i64::from(self.months) + i64::from(self.days) / DAYS_PER_MONTH;
        let mut days = i64::from(self.days) % DAYS_PER_MONTH;
        if months > 0 && days < 0 {
            (months, days) = (months - 1, days + DAYS_PER_MONTH);
        } else if months < 0 && days > 0 {
            (months, days) = (months + 1, days - DAYS_PER_MONTH);
        }
        Interval::new(months, days, self.micros)
    }

    /// justify_interval: both, and all parts get the same sign.
    pub(crate) fn justify(&self) -> Result<Interval, SqlError> {
        let mut days = i64::from(self.days) + self.micros / MICROS_PER_DAY;
        let mut micros = self.micros % MICROS_PER_DAY;
        let mut months = i64::from(self.months) + days / DAYS_PER_MONTH;
        days %= DAYS_PER_MONTH;
        if months > 0 && (days < 0 || days == 0 && micros < 0) {
            (months, days) = (months - 1, days + DAYS_PER_MONTH);
        } else if months < 0 && (days > 0 || days == 0 && micros > 0) {
            (months, days) = (months + 1, days - DAYS_PER_MONTH);
        }
        if days > 0 && micros < 0 {
            (days, micros) = (days - 1, micros + MICROS_PER_DAY);
        } else if days < 0 && micros > 0 {
            (days, micros) = (days + 1, micros - MICROS_PER_DAY);
        }
        Interval::new(months, days, micros)
    }

    /// What a type keeps of it.
    pub(crate) fn limited(&self, limit: Option<IntervalLimit>) -> Interval {
        let Some(IntervalLimit { fields, precision }) = limit else { return *self };
        let Interval { mut months, mut days, mut micros } = *self;
        if fields != ALL_FIELDS {
            if fields & !(YEAR_FIELD | MONTH_FIELD) == 0 {
                (days, micros) = (0, 0);
                if fields == YEAR_FIELD {
                    months = months / 12 * 12;
                }
            } else if fields & SECOND_FIELD != 0 {
            } else if fields & MINUTE_FIELD != 0 {
                micros = micros / MICROS_PER_MINUTE * MICROS_PER_MINUTE;
            } else if fields & HOUR_FIELD != 0 {
                micros = micros / MICROS_PER_HOUR * MICROS_PER_HOUR;
            } else {
                micros = 0;
            }
        }
        let precision = u8::try_from(precision).ok();
        Interval { months, days, micros: rounded(micros, precision) }
    }
}

impl IntervalLimit {
    /// The type's modifier on the wire.
    pub(crate) fn modifier(self) -> i32 {
        (i32::from(self.fields) << 16) | i32::from(self.precision)
    }

    /// What stands behind `interval` in the type's name (" day to second(3)").
    pub(crate) fn suffix(self) -> String {
        let names = [
            (YEAR_FIELD, "year"),
            (MONTH_FIELD, "month"),
            (DAY_FIELD, "day"),
            (HOUR_FIELD, "hour"),
            (MINUTE_FIELD, "minute"),
            (SECOND_FIELD, "second"),
        ];
        let mut text = String::new();
        if self.fields != ALL_FIELDS {
            let mut own = names.iter().filter(|(field, _)| self.fields & field != 0).map(|(_, name)| *name);
            let (first, last) = (own.next(), own.next_back());
            text = [first, last]
                .into_iter()
                .flatten()
                .map(|name| format!(" {name}"))
                .collect::<Vec<_>>()
                .join(" to");
        }
        if self.precision != ALL_DIGITS {
            text += &format!("({})", self.precision);
        }
        text
    }
}
