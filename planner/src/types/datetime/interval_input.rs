//! Texts into intervals: PostgreSQL's words, SQL's fields, and ISO 8601.

use super::calendar::{MICROS_PER_DAY, MICROS_PER_HOUR, MICROS_PER_MINUTE, MICROS_PER_SECOND};
use super::decode::{DAY, HOUR, MINUTE, MONTH, Mask, SECOND, SECONDS, TIME, YEAR};
use super::fault::Fault;
use super::interval::{
    DAY_FIELD, HOUR_FIELD, Interval, IntervalLimit, MINUTE_FIELD, MONTH_FIELD, SECOND_FIELD, YEAR_FIELD,
};
use super::numbers::{clock, fraction, leading, leading_long};
use super::style::{IntervalForm, TextSettings};
use super::tokens::{Kind, Token, cut};
use crate::error::SqlError;

/// A unit of an interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Microsecond,
    Millisecond,
    Second,
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Year,
    Decade,
    Century,
    Millennium,
    /// Known as a word, but not as a unit of an interval.
    Other,
}

/// An interval as it is gathered.
#[derive(Default)]
struct Parts {
    years: i32,
    months: i32,
    days: i32,
    micros: i64,
}

/// Reads an interval. `limit` says what the last number is of, if it has no unit, and what is kept.
pub(crate) fn parse_interval(
    text: &str,
    limit: Option<IntervalLimit>,
    settings: &TextSettings,
) -> Result<Interval, SqlError> {
    let words = cut(text).and_then(|tokens| of_tokens(&tokens, limit, settings));
    let parts = match words {
        Err(Fault::Format) => of_iso(text),
        other => other,
    };
    let parts = parts.map_err(|fault| match fault {
        Fault::Field => Fault::Interval.error("interval", text),
        other => other.error("interval", text),
    })?;
    let months = i64::from(parts.years) * 12 + i64::from(parts.months);
    Ok(Interval::new(months, parts.days.into(), parts.micros)?.limited(limit))
}

fn unit(word: &str) -> Option<Unit> {
    // As PostgreSQL, words count by their first ten letters.
    let word = word.get(..10).unwrap_or(word);
    Some(match word {
        "us" | "usec" | "usecond" | "useconds" | "usecs" | "microsecon" => Unit::Microsecond,
        "ms" | "msec" | "msecond" | "mseconds" | "msecs" | "millisecon" => Unit::Millisecond,
        "s" | "sec" | "second" | "seconds" | "secs" => Unit::Second,
        "m" | "min" | "mins" | "minute" | "minutes" => Unit::Minute,
        "h" | "hour" | "hours" | "hr" | "hrs" => Unit::Hour,
        "d" | "day" | "days" => Unit::Day,
        "w" | "week" | "weeks" => Unit::Week,
        "mon" | "mons" | "month" | "months" => Unit::Month,
        "y" | "year" | "years" | "yr" | "yrs" => Unit::Year,
        "dec" | "decade" | "decades" | "decs" => Unit::Decade,
        "c" | "cent" | "centuries" | "century" => Unit::Century,
        "mil" | "mils" | "millennia" | "millennium" => Unit::Millennium,
        "qtr" | "quarter" | "timezone" | "timezone_h" | "timezone_m" => Unit::Other,
        _ => return None,
    })
}

/// The unit of a last number that has none.
fn last_unit(limit: Option<IntervalLimit>) -> Unit {
    let fields = limit.map_or(SECOND_FIELD, |limit| limit.fields);
    let units = [
        (SECOND_FIELD, Unit::Second),
        (MINUTE_FIELD, Unit::Minute),
        (HOUR_FIELD, Unit::Hour),
        (DAY_FIELD, Unit::Day),
        (MONTH_FIELD, Unit::Month),
        (YEAR_FIELD, Unit::Year),
    ];
    units.iter().find(|(field, _)| fields & field != 0).map_or(Unit::Second, |(_, unit)| *unit)
}

impl Parts {
    fn add_years(&mut self, value: i64, scale: i32, fraction: f64) -> Result<(), Fault> {
        let value = i32::try_from(value).ok().and_then(|value| value.checked_mul(scale));
        self.years = value.and_then(|value| self.years.checked_add(value)).ok_or(Fault::Field)?;
        let months = (fraction * f64::from(scale) * 12.0).round_ties_even() as i32;
        self.months = self.months.checked_add(months).ok_or(Fault::Field)?;
        Ok(())
    }

    fn add_months(&mut self, value: i64, fraction: f64) -> Result<(), Fault> {
        let value = i32::try_from(value).map_err(|_| Fault::Field)?;
        self.months = self.months.checked_add(value).ok_or(Fault::Field)?;
        self.add_fraction_of_days(fraction, 30)
    }

    fn add_days(&mut self, value: i64, scale: i32, fraction: f64) -> Result<(), Fault> {
        let value = i32::try_from(value).ok().and_then(|value| value.checked_mul(scale));
        self.days = value.and_then(|value| self.days.checked_add(value)).ok_or(Fault::Field)?;
        self.add_fraction_of_days(fraction, scale)
    }

    fn add_fraction_of_days(&mut self, fraction: f64, scale: i32) -> Result<(), Fault> {
        let days = fraction * f64::from(scale);
        self.days = self.days.checked_add(days as i32).ok_or(Fault::Field)?;
        self.add_micros(0, MICROS_PER_DAY, days - days.trunc())
    }

    fn add_micros(&mut self, value: i64, scale: i64, fraction: f64) -> Result<(), Fault> {
        let part = fraction * scale as f64;
        let mut whole = part as i64;
        let rest = part - whole as f64;
        if rest > 0.5 {
            whole += 1;
        } else if rest < -0.5 {
            whole -= 1;
        }
        let value = value.checked_mul(scale).and_then(|value| value.checked_add(whole));
        self.micros = value.and_then(|value| self.micros.checked_add(value)).ok_or(Fault::Field)?;
        Ok(())
    }

    /// Adds a number of a unit; the fields that it fills.
    fn add(&mut self, unit: Unit, value: i64, fraction: f64) -> Result<Mask, Fault> {
        let mask = match unit {
            Unit::Microsecond => 1 << 14,
            Unit::Millisecond => 1 << 13,
            Unit::Second if fraction == 0.0 => SECOND,
            Unit::Second => SECONDS | 1 << 14,
            Unit::Minute => MINUTE,
            Unit::Hour => HOUR,
            Unit::Day => DAY,
            Unit::Week => 1 << 24,
            Unit::Month => MONTH,
            Unit::Year => YEAR,
            Unit::Decade => 1 << 25,
            Unit::Century => 1 << 26,
            Unit::Millennium => 1 << 27,
            Unit::Other => return Err(Fault::Format),
        };
        match unit {
            Unit::Microsecond => self.add_micros(value, 1, fraction)?,
            Unit::Millisecond => self.add_micros(value, 1000, fraction)?,
            Unit::Second => self.add_micros(value, MICROS_PER_SECOND, fraction)?,
            Unit::Minute => self.add_micros(value, MICROS_PER_MINUTE, fraction)?,
            Unit::Hour => self.add_micros(value, MICROS_PER_HOUR, fraction)?,
            Unit::Day => {
                self.add_days(value, 1, 0.0)?;
                self.add_micros(0, MICROS_PER_DAY, fraction)?;
            }
            Unit::Week => self.add_days(value, 7, fraction)?,
            Unit::Month => self.add_months(value, fraction)?,
            Unit::Year => self.add_years(value, 1, fraction)?,
            Unit::Decade => self.add_years(value, 10, fraction)?,
            Unit::Century => self.add_years(value, 100, fraction)?,
            Unit::Millennium => self.add_years(value, 1000, fraction)?,
            Unit::Other => {}
        }
        Ok(mask)
    }

    /// Takes a time of day.
    fn take_time(&mut self, text: &str, limit: Option<IntervalLimit>) -> Result<Mask, Fault> {
        let seconds_last = limit.is_some_and(|limit| limit.fields == MINUTE_FIELD | SECOND_FIELD);
        let clock = clock(text, seconds_last)?;
        let rest = clock.minute * MICROS_PER_MINUTE + clock.second * MICROS_PER_SECOND + clock.micros;
        let hours = clock.hour.checked_mul(MICROS_PER_HOUR).ok_or(Fault::Field)?;
        self.micros = hours.checked_add(rest).ok_or(Fault::Field)?;
        Ok(TIME | 1 << 14)
    }

    fn negate(&mut self) -> Result<(), Fault> {
        self.years = self.years.checked_neg().ok_or(Fault::Field)?;
        self.months = self.months.checked_neg().ok_or(Fault::Field)?;
        self.days = self.days.checked_neg().ok_or(Fault::Field)?;
        self.micros = self.micros.checked_neg().ok_or(Fault::Field)?;
        Ok(())
    }
}

/// Reads words from the last to the first, so that a unit is known before its number.
fn of_tokens(
    tokens: &[Token],
    limit: Option<IntervalLimit>,
    settings: &TextSettings,
) -> Result<Parts, Fault> {
    let is_signed = |token: &Token| token.text.starts_with(['+', '-']);
    // SQL has one sign for all.
    let all_negative = settings.intervals == IntervalForm::SqlStandard
        && tokens.first().is_some_and(|token| token.text.starts_with('-'))
        && !tokens[1..].iter().any(is_signed);
    let (mut parts, mut mask, mut ago) = (Parts::default(), 0, false);
    let mut next: Option<Unit> = None;
    for token in tokens.iter().rev() {
        let text = token.text.as_str();
        let own = match token.kind {
            Kind::Time => {
                let own = parts.take_time(text, limit)?;
                if all_negative {
                    parts.micros = -parts.micros;
                }
                next = Some(Unit::Day);
                own
            }
            Kind::Signed if text.contains(':') && clock(&text[1..], false).is_ok() => {
                let own = parts.take_time(&text[1..], limit)?;
                if text.starts_with('-') || all_negative {
                    parts.micros = -parts.micros;
                }
                next = Some(Unit::Day);
                own
            }
            Kind::Signed | Kind::Date | Kind::Number => {
                let (mut unit, value, fraction) = number(text, next.unwrap_or_else(|| last_unit(limit)))?;
                let (value, fraction) =
                    if all_negative { (-value.abs(), -fraction.abs()) } else { (value, fraction) };
                let own = parts.add(unit, value, fraction)?;
                if unit == Unit::Hour {
                    unit = Unit::Day;
                }
                next = Some(unit);
                own
            }
            Kind::Word | Kind::Special => {
                if text == "ago" {
                    ago = true;
                } else {
                    next = Some(unit(text).ok_or(Fault::Format)?);
                }
                0
            }
        };
        if own & mask != 0 {
            return Err(Fault::Format);
        }
        mask |= own;
    }
    if mask == 0 {
        return Err(Fault::Format);
    }
    if ago {
        parts.negate()?;
    }
    Ok(parts)
}

/// A number, or SQL's `years-months`: its unit, its value and its fraction.
fn number(text: &str, unit: Unit) -> Result<(Unit, i64, f64), Fault> {
    let negative = text.starts_with('-');
    let (value, rest) = leading_long(text)?;
    if let Some(months) = rest.strip_prefix('-') {
        let (months, rest) = leading(months)?;
        if !(0..12).contains(&months) {
            return Err(Fault::Field);
        }
        if !rest.is_empty() {
            return Err(Fault::Format);
        }
        let total = value
            .checked_mul(12)
            .and_then(|value| value.checked_add(if negative { -months } else { months }));
        return Ok((Unit::Month, total.ok_or(Fault::Field)?, 0.0));
    }
    if rest.is_empty() {
        return Ok((unit, value, 0.0));
    }
    let fraction = fraction(rest)?;
    Ok((unit, value, if negative { -fraction } else { fraction }))
}

/// Reads ISO 8601's form: `P1Y2M3DT4H5M6S`, `P0001-02-03T04:05:06`.
fn of_iso(text: &str) -> Result<Parts, Fault> {
    let mut rest = text.strip_prefix('P').filter(|rest| !rest.is_empty()).ok_or(Fault::Format)?;
    let mut parts = Parts::default();
    let (mut dates, mut first) = (true, true);
    while !rest.is_empty() {
        if let Some(behind) = rest.strip_prefix('T') {
            (dates, first, rest) = (false, true, behind);
            continue;
        }
        let start = rest;
        let (value, fraction, behind) = iso_number(rest)?;
        let width = start.trim_start_matches('-').bytes().take_while(u8::is_ascii_digit).count();
        let unit = behind.chars().next();
        rest = behind.get(1..).unwrap_or("");
        match (dates, unit) {
            (true, Some('Y')) => parts.add_years(value, 1, fraction)?,
            (true, Some('M')) => parts.add_months(value, fraction)?,
            (true, Some('W')) => parts.add_days(value, 7, fraction)?,
            (true, Some('D')) => drop(parts.add(Unit::Day, value, fraction)?),
            (true, Some('T') | None) if width == 8 && first => {
                parts.add_years(value / 10_000, 1, 0.0)?;
                parts.add_months(value / 100 % 100, 0.0)?;
                parts.add(Unit::Day, value % 100, fraction)?;
                (dates, first) = (false, true);
                continue;
            }
            (true, Some('T' | '-') | None) if first => {
                parts.add_years(value, 1, fraction)?;
                rest = iso_date(&mut parts, unit, rest)?;
                (dates, first) = (false, true);
                continue;
            }
            (false, Some('H')) => parts.add_micros(value, MICROS_PER_HOUR, fraction)?,
            (false, Some('M')) => parts.add_micros(value, MICROS_PER_MINUTE, fraction)?,
            (false, Some('S')) => parts.add_micros(value, MICROS_PER_SECOND, fraction)?,
            (false, None) if width == 6 && first => {
                parts.add_micros(value / 10_000, MICROS_PER_HOUR, 0.0)?;
                parts.add_micros(value / 100 % 100, MICROS_PER_MINUTE, 0.0)?;
                parts.add_micros(value % 100, MICROS_PER_SECOND, 0.0)?;
                parts.add_micros(0, 1, fraction)?;
            }
            (false, Some(':') | None) if first => {
                parts.add_micros(value, MICROS_PER_HOUR, fraction)?;
                if unit.is_some() {
                    iso_time(&mut parts, rest)?;
                }
                return Ok(parts);
            }
            _ => return Err(Fault::Format),
        }
        first = false;
    }
    Ok(parts)
}

/// Months and days behind a year of the form with dashes; what is left is a time or nothing.
fn iso_date<'a>(parts: &mut Parts, unit: Option<char>, rest: &'a str) -> Result<&'a str, Fault> {
    if unit != Some('-') {
        return Ok(rest);
    }
    let (value, fraction, rest) = iso_number(rest)?;
    parts.add_months(value, fraction)?;
    let Some(rest) = rest.strip_prefix('-') else {
        return if rest.is_empty() { Ok(rest) } else { rest.strip_prefix('T').ok_or(Fault::Format) };
    };
    let (value, fraction, rest) = iso_number(rest)?;
    parts.add(Unit::Day, value, fraction)?;
    if rest.is_empty() { Ok(rest) } else { rest.strip_prefix('T').ok_or(Fault::Format) }
}

/// Minutes and seconds behind an hour of the form with colons.
fn iso_time(parts: &mut Parts, rest: &str) -> Result<(), Fault> {
    let (value, fraction, rest) = iso_number(rest)?;
    parts.add_micros(value, MICROS_PER_MINUTE, fraction)?;
    if rest.is_empty() {
        return Ok(());
    }
    let (value, fraction, rest) = iso_number(rest.strip_prefix(':').ok_or(Fault::Format)?)?;
    parts.add_micros(value, MICROS_PER_SECOND, fraction)?;
    if rest.is_empty() { Ok(()) } else { Err(Fault::Format) }
}

/// The number at the start: its whole part, its fraction, and the rest.
fn iso_number(text: &str) -> Result<(i64, f64, &str), Fault> {
    if !text.starts_with(|c: char| c.is_ascii_digit() || c == '-' || c == '.') {
        return Err(Fault::Format);
    }
    let end = text[1..].find(|c: char| !(c.is_ascii_digit() || c == '.')).map_or(text.len(), |end| end + 1);
    let value: f64 = text[..end].parse().map_err(|_| Fault::Format)?;
    if !(-1e15..=1e15).contains(&value) {
        return Err(Fault::Field);
    }
    Ok((value.trunc() as i64, value - value.trunc(), &text[end..]))
}
