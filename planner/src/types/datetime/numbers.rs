//! Numbers within the texts of dates, times and intervals.

use super::calendar::MICROS_PER_SECOND;
use super::fault::Fault;

/// The whole number at the start (0 if there is none), and what is behind it.
pub(super) fn leading(text: &str) -> Result<(i64, &str), Fault> {
    let signs = usize::from(text.starts_with(['+', '-']));
    let end = text[signs..].find(|c: char| !c.is_ascii_digit()).map_or(text.len(), |end| end + signs);
    if end == signs {
        return Ok((0, text));
    }
    let value: i32 = text[..end].parse().map_err(|_| Fault::Field)?;
    Ok((value.into(), &text[end..]))
}

/// The same of 64 bits.
pub(super) fn leading_long(text: &str) -> Result<(i64, &str), Fault> {
    let signs = usize::from(text.starts_with(['+', '-']));
    let end = text[signs..].find(|c: char| !c.is_ascii_digit()).map_or(text.len(), |end| end + signs);
    if end == signs {
        return Ok((0, text));
    }
    Ok((text[..end].parse().map_err(|_| Fault::Field)?, &text[end..]))
}

/// `.digits`, to the end, as a number.
pub(super) fn fraction(text: &str) -> Result<f64, Fault> {
    let digits = text.strip_prefix('.').ok_or(Fault::Format)?;
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Fault::Format);
    }
    if digits.is_empty() {
        return Ok(0.0);
    }
    text.parse().map_err(|_| Fault::Format)
}

/// The same in microseconds, if it is one of a second.
pub(super) fn fraction_micros(text: &str) -> Result<i64, Fault> {
    Ok((fraction(text)? * MICROS_PER_SECOND as f64).round_ties_even() as i64)
}

/// An offset: `+hh`, `+hhmm`, `+hh:mm`, `+hh:mm:ss`, in seconds.
pub(super) fn offset(text: &str) -> Result<i64, Fault> {
    let sign = match text.as_bytes().first() {
        Some(b'+') => 1,
        Some(b'-') => -1,
        _ => return Err(Fault::Format),
    };
    let part = |text| leading(text).map_err(|_| Fault::Displacement);
    let (mut hours, mut rest) = part(&text[1..])?;
    let (mut minutes, mut seconds) = (0, 0);
    if let Some(more) = rest.strip_prefix(':') {
        (minutes, rest) = part(more)?;
        if let Some(more) = rest.strip_prefix(':') {
            (seconds, rest) = part(more)?;
        }
    } else if rest.is_empty() && text.len() > 3 {
        (hours, minutes) = (hours / 100, hours % 100);
    }
    let sixty = 0..60;
    if !(0..=15).contains(&hours) || !sixty.contains(&minutes) || !sixty.contains(&seconds) {
        return Err(Fault::Displacement);
    }
    if !rest.is_empty() {
        return Err(Fault::Format);
    }
    Ok(sign * ((hours * 60 + minutes) * 60 + seconds))
}

/// The fields of `hh:mm:ss.f`.
pub(super) struct Clock {
    pub(super) hour: i64,
    pub(super) minute: i64,
    pub(super) second: i64,
    pub(super) micros: i64,
}

/// Reads `hh:mm[:ss[.f]]`, or `mm:ss.f`; with `seconds_last` also two fields are minutes and seconds. The hour may be
/// beyond a day.
pub(super) fn clock(text: &str, seconds_last: bool) -> Result<Clock, Fault> {
    let (mut hour, rest) = leading_long(text)?;
    let (mut minute, rest) = leading(rest.strip_prefix(':').ok_or(Fault::Format)?)?;
    let (mut second, mut micros) = (0, 0);
    let mut shift = false;
    if rest.is_empty() {
        shift = seconds_last;
    } else if rest.starts_with('.') {
        micros = fraction_micros(rest)?;
        shift = true;
    } else {
        let (value, rest) = leading(rest.strip_prefix(':').ok_or(Fault::Format)?)?;
        second = value;
        if rest.starts_with('.') {
            micros = fraction_micros(rest)?;
        } else if !rest.is_empty() {
            return Err(Fault::Format);
        }
    }
    if shift {
        i32::try_from(hour).map_err(|_| Fault::Field)?;
        (hour, minute, second) = (0, hour, minute);
    }
    let fits = hour >= 0 && (0..60).contains(&minute) && (0..=60).contains(&second) && micros <= 1_000_000;
    if fits { Ok(Clock { hour, minute, second, micros }) } else { Err(Fault::Field) }
}
