//! Dates, times and timestamps as texts.

use super::calendar::{Civil, EPOCH_JULIAN, MICROS_PER_SECOND, weekday};
use super::style::{DateForm, DateOrder, TextSettings};

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const WEEKDAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
/// The longest abbreviation of a zone that is shown.
const ABBREVIATION_MAX: usize = 10;

/// A fraction of a second behind a point, without zeros at its end; nothing for none.
pub(super) fn fraction(micros: i64) -> String {
    match micros {
        0 => String::new(),
        micros => format!(".{micros:06}").trim_end_matches('0').to_string(),
    }
}

fn clock(civil: &Civil) -> String {
    let Civil { hour, minute, second, micros, .. } = civil;
    format!("{hour:02}:{minute:02}:{second:02}{}", fraction(*micros))
}

/// `+hh[:mm[:ss]]`.
pub(super) fn offset(east: i64) -> String {
    let sign = if east < 0 { '-' } else { '+' };
    let seconds = east.abs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (minutes, seconds) {
        (0, 0) => format!("{sign}{hours:02}"),
        (_, 0) => format!("{sign}{hours:02}:{minutes:02}"),
        _ => format!("{sign}{hours:02}:{minutes:02}:{seconds:02}"),
    }
}

/// The year as it is shown, and its era.
fn year(civil: &Civil) -> (i64, &'static str) {
    if civil.year > 0 { (civil.year, "") } else { (1 - civil.year, " BC") }
}

fn day(civil: &Civil, settings: &TextSettings) -> String {
    let (year, _) = year(civil);
    let Civil { month, day, .. } = civil;
    let dmy = settings.order == DateOrder::Dmy;
    match settings.form {
        DateForm::Iso => format!("{year:04}-{month:02}-{day:02}"),
        DateForm::German => format!("{day:02}.{month:02}.{year:04}"),
        DateForm::Sql if dmy => format!("{day:02}/{month:02}/{year:04}"),
        DateForm::Sql => format!("{month:02}/{day:02}/{year:04}"),
        DateForm::Postgres if dmy => format!("{day:02}-{month:02}-{year:04}"),
        DateForm::Postgres => format!("{month:02}-{day:02}-{year:04}"),
    }
}

/// A date's text.
pub(crate) fn date_to_text(days: i32, settings: &TextSettings) -> String {
    match days {
        i32::MAX => "infinity".into(),
        i32::MIN => "-infinity".into(),
        _ => {
            let civil = Civil::of_julian(i64::from(days) + EPOCH_JULIAN);
            day(&civil, settings) + year(&civil).1
        }
    }
}

fn infinity(micros: i64) -> Option<String> {
    match micros {
        i64::MAX => Some("infinity".into()),
        i64::MIN => Some("-infinity".into()),
        _ => None,
    }
}

/// A timestamp's text; `zone` is the text of its zone, with a space in front if it takes one.
fn moment(civil: &Civil, zone: &str, settings: &TextSettings) -> String {
    let (year, era) = year(civil);
    let time = clock(civil);
    if settings.form != DateForm::Postgres {
        return format!("{} {time}{zone}{era}", day(civil, settings));
    }
    let week_day = WEEKDAYS[weekday(civil.julian()) as usize];
    let month = MONTHS[(civil.month - 1) as usize];
    let day = civil.day;
    let date = if settings.order == DateOrder::Dmy {
        format!("{day:02} {month}")
    } else {
        format!("{month} {day:02}")
    };
    format!("{week_day} {date} {time} {year:04}{zone}{era}")
}

/// A timestamp's text.
pub(crate) fn timestamp_to_text(micros: i64, settings: &TextSettings) -> String {
    infinity(micros).unwrap_or_else(|| moment(&Civil::of_micros(micros), "", settings))
}

/// A timestamptz's text, in the zone of the session.
pub(crate) fn timestamptz_to_text(micros: i64, settings: &TextSettings) -> String {
    if let Some(text) = infinity(micros) {
        return text;
    }
    let east = settings.zone.offset(micros);
    let civil = Civil::of_micros(micros.saturating_add(east * MICROS_PER_SECOND));
    let zone = match settings.form {
        DateForm::Iso => offset(east),
        _ => {
            let name = settings.zone.abbreviation(micros);
            format!(" {}", name.chars().take(ABBREVIATION_MAX).collect::<String>())
        }
    };
    moment(&civil, &zone, settings)
}

/// A time's text.
pub(crate) fn time_to_text(micros: i64) -> String {
    let mut civil = Civil::default();
    civil.set_time(micros);
    clock(&civil)
}

/// A timetz's text.
pub(crate) fn timetz_to_text(micros: i64, east: i32) -> String {
    time_to_text(micros) + &offset(east.into())
}

/// A moment as timeofday() gives it.
pub(crate) fn time_of_day(civil: &Civil, zone: &str) -> String {
    let Civil { year, day, hour, minute, second, micros, .. } = civil;
    let week_day = WEEKDAYS[weekday(civil.julian()) as usize];
    let month = MONTHS[(civil.month - 1) as usize];
    format!("{week_day} {month} {day:02} {hour:02}:{minute:02}:{second:02}.{micros:06} {year} {zone}")
}
