//! Zones that a POSIX text describes: `std offset [dst [offset] [,start[/time],end[/time]]]`, where offsets count to
//! the west.

use super::calendar::{
    Civil, EPOCH_JULIAN, MICROS_PER_SECOND, days_of_month, is_leap, julian_of_day, weekday,
};

const SECONDS_PER_DAY: i64 = 86_400;
const SECONDS_PER_HOUR: i64 = 3600;
/// The rule of a zone with daylight-saving time that names none.
const RULE_DEFAULT: &str = ",M3.2.0,M11.1.0";
/// Offsets reach this far.
const HOURS_MAX: i64 = 167;

/// A day of each year, and the second of it by local time.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Day {
    /// `Jn`: 1 to 365, without February 29.
    Julian(i64),
    /// `n`: 0 to 365.
    Ordinal(i64),
    /// `Mm.w.d`: the day d (0 is Sunday) of the week w (5 is the last) of the month.
    Weekday { month: i64, week: i64, day: i64 },
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Change {
    day: Day,
    second: i64,
}

#[derive(Clone, Debug, PartialEq)]
struct Daylight {
    abbreviation: String,
    east: i64,
    start: Change,
    end: Change,
}

/// A zone that a POSIX text describes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PosixZone {
    /// The text.
    pub(super) name: String,
    abbreviation: String,
    east: i64,
    daylight: Option<Daylight>,
}

impl PosixZone {
    /// Reads a text in upper case.
    pub(super) fn parse(text: &str) -> Option<PosixZone> {
        let (abbreviation, rest) = abbreviation(text)?;
        let (west, rest) = offset(rest)?;
        let daylight = if rest.is_empty() { None } else { Some(daylight(rest, -west)?) };
        // As PostgreSQL: whole minutes only, since others look like leap seconds.
        (west % 60 == 0).then(|| PosixZone { name: text.to_string(), abbreviation, east: -west, daylight })
    }

    /// A zone of one offset, named as PostgreSQL names those that are set by a number.
    pub(super) fn fixed(east: i64) -> Option<PosixZone> {
        let (hours, minutes, seconds) = (east.abs() / 3600, east.abs() / 60 % 60, east.abs() % 60);
        if hours > HOURS_MAX || seconds != 0 {
            return None;
        }
        let minutes = if minutes == 0 { String::new() } else { format!(":{minutes:02}") };
        let (own, posix) = if east >= 0 { ('+', '-') } else { ('-', '+') };
        let abbreviation = format!("{own}{hours:02}{minutes}");
        let name = format!("<{abbreviation}>{posix}{hours:02}{minutes}");
        Some(PosixZone { name, abbreviation, east, daylight: None })
    }

    /// Seconds east, and the abbreviation, at a time in microseconds since 2000.
    pub(super) fn at(&self, micros: i64) -> (i64, &str) {
        let standard = (self.east, self.abbreviation.as_str());
        let Some(daylight) = &self.daylight else { return standard };
        let seconds = micros.div_euclid(MICROS_PER_SECOND);
        let year = Civil::of_micros(micros.saturating_add(self.east * MICROS_PER_SECOND)).year;
        let start = daylight.start.second_of(year) - self.east;
        let end = daylight.end.second_of(year) - daylight.east;
        let saves =
            if start < end { (start..end).contains(&seconds) } else { !(end..start).contains(&seconds) };
        if saves { (daylight.east, &daylight.abbreviation) } else { standard }
    }
}

impl Change {
    /// The second since 2000 by local time in a year.
    fn second_of(&self, year: i64) -> i64 {
        let first = julian_of_day(year, 1, 1);
        let julian = match self.day {
            Day::Julian(day) => first + day - 1 + i64::from(is_leap(year) && day >= 60),
            Day::Ordinal(day) => first + day,
            Day::Weekday { month, week, day } => {
                let start = julian_of_day(year, month, 1);
                let within = (day - weekday(start)).rem_euclid(7) + (week - 1) * 7;
                start + if within >= days_of_month(year, month) { within - 7 } else { within }
            }
        };
        (julian - EPOCH_JULIAN) * SECONDS_PER_DAY + self.second
    }
}

/// An abbreviation at the start, in angle brackets or up to what is no letter of it; and the rest.
fn abbreviation(text: &str) -> Option<(String, &str)> {
    if let Some(rest) = text.strip_prefix('<') {
        let (name, rest) = rest.split_once('>')?;
        return Some((name.to_string(), rest));
    }
    let end = text.find(|c: char| c.is_ascii_digit() || matches!(c, ',' | '-' | '+')).unwrap_or(text.len());
    Some((text[..end].to_string(), &text[end..]))
}

/// A whole number of at most `max` at the start, and the rest.
fn number(text: &str, max: i64) -> Option<(i64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let value = text[..end].parse().ok().filter(|value| *value <= max)?;
    Some((value, &text[end..]))
}

/// `hh[:mm[:ss]]` in seconds.
fn seconds(text: &str) -> Option<(i64, &str)> {
    let (hours, mut rest) = number(text, HOURS_MAX)?;
    let mut total = hours * SECONDS_PER_HOUR;
    for size in [60, 1] {
        let Some(more) = rest.strip_prefix(':') else { break };
        let (value, behind) = number(more, if size == 1 { 60 } else { 59 })?;
        (total, rest) = (total + value * size, behind);
    }
    Some((total, rest))
}

/// The same with a sign.
fn offset(text: &str) -> Option<(i64, &str)> {
    match text.strip_prefix('-') {
        Some(rest) => seconds(rest).map(|(value, rest)| (-value, rest)),
        None => seconds(text.strip_prefix('+').unwrap_or(text)),
    }
}

fn daylight(text: &str, standard_east: i64) -> Option<Daylight> {
    let (name, rest) = abbreviation(text)?;
    if name.is_empty() {
        return None;
    }
    let (east, rest) = if rest.is_empty() || rest.starts_with(',') {
        (standard_east + SECONDS_PER_HOUR, rest)
    } else {
        let (west, rest) = offset(rest)?;
        (-west, rest)
    };
    let (start, rest) = change(if rest.is_empty() { RULE_DEFAULT } else { rest })?;
    let (end, rest) = change(rest)?;
    rest.is_empty().then_some(Daylight { abbreviation: name, east, start, end })
}

/// `,day[/time]`.
fn change(text: &str) -> Option<(Change, &str)> {
    let text = text.strip_prefix(',')?;
    let (day, rest) = if let Some(rest) = text.strip_prefix('J') {
        let (day, rest) = number(rest, 365)?;
        (Day::Julian(day), rest)
    } else if let Some(rest) = text.strip_prefix('M') {
        let (month, rest) = number(rest, 12)?;
        let (week, rest) = number(rest.strip_prefix('.')?, 5)?;
        let (day, rest) = number(rest.strip_prefix('.')?, 6)?;
        if month == 0 || week == 0 {
            return None;
        }
        (Day::Weekday { month, week, day }, rest)
    } else {
        let (day, rest) = number(text, 365)?;
        (Day::Ordinal(day), rest)
    };
    match rest.strip_prefix('/') {
        Some(rest) => offset(rest).map(|(second, rest)| (Change { day, second }, rest)),
        None => Some((Change { day, second: 2 * SECONDS_PER_HOUR }, rest)),
    }
}
