//! date and timestamptz: ISO texts in, ISO texts in UTC out.
//!
//! A session's time zone is always UTC: an input without offset is taken as UTC, and output carries `+00`.

use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, NaiveTime, Timelike, Utc};

use crate::error::{SqlError, sqlstate};

/// Microseconds of a day.
pub(crate) const MICROS_PER_DAY: i64 = 86_400_000_000;
/// Days from 1970-01-01 to 2000-01-01.
const EPOCH_DAYS: i64 = 10_957;

fn invalid(ty: &str, text: &str) -> SqlError {
    SqlError::new(sqlstate::INVALID_DATETIME, format!("invalid input syntax for type {ty}: \"{text}\""))
}

fn out_of_range(text: &str) -> SqlError {
    SqlError::new(sqlstate::DATETIME_OVERFLOW, format!("date/time field value out of range: \"{text}\""))
}

/// The clock, in microseconds since 2000-01-01 UTC.
pub(crate) fn now_micros() -> i64 {
    Utc::now().timestamp_micros() - EPOCH_DAYS * MICROS_PER_DAY
}

fn days_of(date: NaiveDate) -> i32 {
    date.num_days_from_ce() - 730_120
}

fn date_of(days: i32) -> Option<NaiveDate> {
    NaiveDate::from_num_days_from_ce_opt(days.checked_add(730_120)?)
}

fn infinity(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "infinity" => Some(true),
        "-infinity" => Some(false),
        _ => None,
    }
}

/// Reads `year-month-day` at the start; gives the rest.
fn leading_date<'a>(ty: &str, whole: &str, text: &'a str) -> Result<(NaiveDate, &'a str), SqlError> {
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '-')).unwrap_or(text.len());
    let (date, rest) = text.split_at(end);
    let fields: Vec<&str> = if date.len() == 8 && !date.contains('-') {
        vec![&date[..4], &date[4..6], &date[6..]]
    } else {
        date.split('-').collect()
    };
    let [year, month, day] = fields.as_slice() else { return Err(invalid(ty, whole)) };
    if year.len() < 4 || month.is_empty() || day.is_empty() || month.len() > 2 || day.len() > 2 {
        return Err(invalid(ty, whole));
    }
    let number = |s: &str| s.parse::<u32>().map_err(|_| out_of_range(whole));
    let (year, month, day) = (number(year)? as i32, number(month)?, number(day)?);
    if year == 0 {
        // The year before 1 is 1 BC.
        return Err(out_of_range(whole));
    }
    let (rest, year) = match rest.strip_suffix(" BC") {
        Some(rest) => (rest, 1 - year),
        None => (rest, year),
    };
    let date = NaiveDate::from_ymd_opt(year, month, day).ok_or_else(|| out_of_range(whole))?;
    Ok((date, rest))
}

/// Reads a date.
pub(crate) fn parse_date(text: &str) -> Result<i32, SqlError> {
    let trimmed = text.trim();
    match infinity(trimmed) {
        Some(true) => return Ok(i32::MAX),
        Some(false) => return Ok(i32::MIN),
        None => {}
    }
    if trimmed.eq_ignore_ascii_case("epoch") {
        return Ok(-(EPOCH_DAYS as i32));
    }
    if let Some(days) = relative_day(trimmed) {
        return Ok(days);
    }
    let (date, rest) = leading_date("date", text, trimmed)?;
    // A time after the date is allowed and dropped, as in PostgreSQL.
    if !rest.is_empty() {
        let rest = rest.strip_prefix(['T', ' ']).ok_or_else(|| invalid("date", text))?;
        time_and_offset("date", text, rest)?;
    }
    Ok(days_of(date))
}

fn relative_day(text: &str) -> Option<i32> {
    let today = now_micros().div_euclid(MICROS_PER_DAY) as i32;
    match text.to_ascii_lowercase().as_str() {
        "today" | "now" => Some(today),
        "yesterday" => Some(today - 1),
        "tomorrow" => Some(today + 1),
        _ => None,
    }
}

/// Reads `hh:mm[:ss[.ffffff]]` and an offset: (microseconds of the day, offset in seconds).
fn time_and_offset(ty: &str, whole: &str, text: &str) -> Result<(i64, i64), SqlError> {
    let bad = || invalid(ty, whole);
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == ':' || c == '.')).unwrap_or(text.len());
    let (time, zone) = text.split_at(end);
    let mut parts = time.split(':');
    let number = |s: Option<&str>| -> Result<i64, SqlError> {
        let s = s.ok_or_else(bad)?;
        if s.is_empty() || s.len() > 2 {
            return Err(bad());
        }
        s.parse().map_err(|_| bad())
    };
    let (hour, minute) = (number(parts.next())?, number(parts.next())?);
    let (second, micros) = match parts.next() {
        None => (0, 0),
        Some(seconds) => {
            let (second, fraction) = seconds.split_once('.').unwrap_or((seconds, ""));
            if !fraction.bytes().all(|b| b.is_ascii_digit()) {
                return Err(bad());
            }
            // Rounded to microseconds.
            let mut digits: String = fraction.chars().take(7).collect();
            while digits.len() < 7 {
                digits.push('0');
            }
            (number(Some(second))?, (digits.parse::<i64>().map_err(|_| bad())? + 5) / 10)
        }
    };
    if parts.next().is_some() {
        return Err(bad());
    }
    let total = ((hour * 60 + minute) * 60 + second) * 1_000_000 + micros;
    if hour > 24 || minute > 59 || second > 60 || total > MICROS_PER_DAY {
        return Err(out_of_range(whole));
    }
    Ok((total, offset(zone.trim()).ok_or_else(bad)??))
}

/// Reads an offset: `Z`, `UTC`, `+02`, `+0530`, `-08:30`. Other zone names are refused clearly.
fn offset(zone: &str) -> Option<Result<i64, SqlError>> {
    match zone.to_ascii_lowercase().as_str() {
        "" | "z" | "utc" | "gmt" => return Some(Ok(0)),
        _ => {}
    }
    let sign = match zone.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ if zone.bytes().all(|b| b.is_ascii_alphabetic() || b == b'/' || b == b'_') => {
            return Some(Err(SqlError::unsupported(format!("time zone \"{zone}\""))
                .hint("Give the offset from UTC, as in 2026-01-31 12:00:00+02.")));
        }
        _ => return None,
    };
    let body: String = zone[1..].chars().filter(|c| *c != ':').collect();
    if body.is_empty() || body.len() > 6 || body.len() == 5 || !body.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let field = |at: usize| body.get(at..at + 2).and_then(|s| s.parse::<i64>().ok()).unwrap_or(0);
    let (hours, minutes, seconds) = match body.len() {
        1 => (body.parse::<i64>().ok()?, 0, 0),
        3 => (body[..1].parse::<i64>().ok()?, body[1..].parse::<i64>().ok()?, 0),
        _ => (field(0), field(2), field(4)),
    };
    if hours > 15 || minutes > 59 || seconds > 59 {
        return None;
    }
    Some(Ok(sign * (hours * 3600 + minutes * 60 + seconds)))
}

/// Reads a timestamptz.
pub(crate) fn parse_timestamp(text: &str) -> Result<i64, SqlError> {
    let ty = "timestamp with time zone";
    let trimmed = text.trim();
    match infinity(trimmed) {
        Some(true) => return Ok(i64::MAX),
        Some(false) => return Ok(i64::MIN),
        None => {}
    }
    if trimmed.eq_ignore_ascii_case("epoch") {
        return Ok(-EPOCH_DAYS * MICROS_PER_DAY);
    }
    if trimmed.eq_ignore_ascii_case("now") {
        return Ok(now_micros());
    }
    if let Some(days) = relative_day(trimmed) {
        return Ok(i64::from(days) * MICROS_PER_DAY);
    }
    let (date, rest) = leading_date(ty, text, trimmed)?;
    let (micros, offset) = if rest.is_empty() {
        (0, 0)
    } else {
        let rest = rest.strip_prefix(['T', 't', ' ']).ok_or_else(|| invalid(ty, text))?;
        time_and_offset(ty, text, rest.trim_start())?
    };
    i64::from(days_of(date))
        .checked_mul(MICROS_PER_DAY)
        .and_then(|days| days.checked_add(micros - offset * 1_000_000))
        .filter(|micros| timestamp_of(*micros).is_some())
        .ok_or_else(|| out_of_range(text))
}

fn timestamp_of(micros: i64) -> Option<NaiveDateTime> {
    let unix = micros.checked_add(EPOCH_DAYS * MICROS_PER_DAY)?;
    DateTime::<Utc>::from_timestamp_micros(unix).map(|stamp| stamp.naive_utc())
}

fn write_date(date: NaiveDate) -> (String, &'static str) {
    if date.year() <= 0 {
        (format!("{:04}-{:02}-{:02}", 1 - date.year(), date.month(), date.day()), " BC")
    } else {
        (format!("{:04}-{:02}-{:02}", date.year(), date.month(), date.day()), "")
    }
}

/// A date's text.
pub(crate) fn date_to_text(days: i32) -> String {
    match days {
        i32::MAX => "infinity".into(),
        i32::MIN => "-infinity".into(),
        _ => match date_of(days) {
            Some(date) => {
                let (text, era) = write_date(date);
                text + era
            }
            None => format!("{days} days since 2000-01-01"),
        },
    }
}

/// A timestamptz's text, in UTC.
pub(crate) fn timestamp_to_text(micros: i64) -> String {
    match micros {
        i64::MAX => return "infinity".into(),
        i64::MIN => return "-infinity".into(),
        _ => {}
    }
    let Some(stamp) = timestamp_of(micros) else { return format!("{micros} microseconds since 2000-01-01") };
    let (date, era) = write_date(stamp.date());
    let time: NaiveTime = stamp.time();
    let fraction = match time.nanosecond() / 1000 {
        0 => String::new(),
        micros => format!(".{micros:06}").trim_end_matches('0').to_string(),
    };
    format!("{date} {:02}:{:02}:{:02}{fraction}+00{era}", time.hour(), time.minute(), time.second())
}
