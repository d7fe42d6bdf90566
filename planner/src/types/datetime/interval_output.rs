//! Intervals as texts.

use super::calendar::{MICROS_PER_HOUR, MICROS_PER_MINUTE, MICROS_PER_SECOND};
use super::interval::Interval;
use super::output::fraction;
use super::style::{IntervalForm, TextSettings};

/// An interval in fields, each with its sign.
struct Fields {
    years: i64,
    months: i64,
    days: i64,
    hours: i64,
    minutes: i64,
    seconds: i64,
    micros: i64,
}

/// An interval's text.
pub(crate) fn interval_to_text(interval: &Interval, settings: &TextSettings) -> String {
    let (months, micros) = (i64::from(interval.months), interval.micros);
    let fields = Fields {
        years: months / 12,
        months: months % 12,
        days: interval.days.into(),
        hours: micros / MICROS_PER_HOUR,
        minutes: micros / MICROS_PER_MINUTE % 60,
        seconds: micros / MICROS_PER_SECOND % 60,
        micros: micros % MICROS_PER_SECOND,
    };
    match settings.intervals {
        IntervalForm::Postgres => postgres(&fields),
        IntervalForm::Verbose => verbose(&fields),
        IntervalForm::SqlStandard => sql_standard(&fields),
        IntervalForm::Iso8601 => iso(&fields),
    }
}

impl Fields {
    fn time(&self) -> [i64; 4] {
        [self.hours, self.minutes, self.seconds, self.micros]
    }

    fn has_time(&self) -> bool {
        self.time().iter().any(|part| *part != 0)
    }

    fn time_is_negative(&self) -> bool {
        self.time().iter().any(|part| *part < 0)
    }

    fn seconds(&self) -> String {
        format!("{}{}", self.seconds.abs(), fraction(self.micros.abs()))
    }

    /// `mm:ss.f`.
    fn minutes_and_seconds(&self) -> String {
        format!("{:02}:{:02}{}", self.minutes.abs(), self.seconds.abs(), fraction(self.micros.abs()))
    }
}

fn postgres(fields: &Fields) -> String {
    let mut parts = Vec::new();
    let mut before_is_negative = false;
    for (value, unit) in [(fields.years, "year"), (fields.months, "mon"), (fields.days, "day")] {
        if value == 0 {
            continue;
        }
        let sign = if before_is_negative && value > 0 { "+" } else { "" };
        let plural = if value == 1 { "" } else { "s" };
        parts.push(format!("{sign}{value} {unit}{plural}"));
        before_is_negative = value < 0;
    }
    if parts.is_empty() || fields.has_time() {
        let sign = match (fields.time_is_negative(), before_is_negative) {
            (true, _) => "-",
            (false, true) => "+",
            (false, false) => "",
        };
        parts.push(format!("{sign}{:02}:{}", fields.hours.abs(), fields.minutes_and_seconds()));
    }
    parts.join(" ")
}

fn verbose(fields: &Fields) -> String {
    let mut text = String::from("@");
    let (mut empty, mut ago) = (true, false);
    let units = [
        (fields.years, "year"),
        (fields.months, "mon"),
        (fields.days, "day"),
        (fields.hours, "hour"),
        (fields.minutes, "min"),
    ];
    for (value, unit) in units {
        if value == 0 {
            continue;
        }
        ago = if empty { value < 0 } else { ago };
        let value = if ago { -value } else { value };
        text += &format!(" {value} {unit}{}", if value == 1 { "" } else { "s" });
        empty = false;
    }
    if fields.seconds != 0 || fields.micros != 0 {
        let negative = fields.seconds < 0 || fields.micros < 0;
        ago = if empty { negative } else { ago };
        let sign = if negative == ago { "" } else { "-" };
        let plural = if fields.seconds.abs() != 1 || fields.micros != 0 { "s" } else { "" };
        text += &format!(" {sign}{} sec{plural}", fields.seconds());
        empty = false;
    }
    if empty {
        text += " 0";
    }
    if ago {
        text += " ago";
    }
    text
}

fn iso(fields: &Fields) -> String {
    let mut text = String::from("P");
    for (value, unit) in [(fields.years, 'Y'), (fields.months, 'M'), (fields.days, 'D')] {
        if value != 0 {
            text += &format!("{value}{unit}");
        }
    }
    if fields.has_time() {
        text.push('T');
        for (value, unit) in [(fields.hours, 'H'), (fields.minutes, 'M')] {
            if value != 0 {
                text += &format!("{value}{unit}");
            }
        }
        if fields.seconds != 0 || fields.micros != 0 {
            let sign = if fields.seconds < 0 || fields.micros < 0 { "-" } else { "" };
            text += &format!("{sign}{}S", fields.seconds());
        }
    }
    if text == "P" { "PT0S".into() } else { text }
}

fn sql_standard(fields: &Fields) -> String {
    let dates = [fields.years, fields.months, fields.days];
    let all = || dates.into_iter().chain(fields.time());
    let (negative, positive) = (all().any(|part| part < 0), all().any(|part| part > 0));
    let has_months = fields.years != 0 || fields.months != 0;
    let has_days = fields.days != 0;
    let hours = fields.hours.abs();
    let clock = || format!("{hours}:{}", fields.minutes_and_seconds());
    if !negative && !positive {
        return "0".into();
    }
    let (years, months, days) = (fields.years.abs(), fields.months.abs(), fields.days.abs());
    if negative && positive || has_months && (has_days || fields.has_time()) {
        let sign = |negative: bool| if negative { '-' } else { '+' };
        let month_sign = sign(fields.years < 0 || fields.months < 0);
        let (day_sign, time_sign) = (sign(fields.days < 0), sign(fields.time_is_negative()));
        return format!("{month_sign}{years}-{months} {day_sign}{days} {time_sign}{}", clock());
    }
    let sign = if negative { "-" } else { "" };
    if has_months {
        format!("{sign}{years}-{months}")
    } else if has_days {
        format!("{sign}{days} {}", clock())
    } else {
        format!("{sign}{}", clock())
    }
}
