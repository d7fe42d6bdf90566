//! Time zones: those of the tz database by their names, and those that a POSIX text describes (`UTC+3`, `<+03>-03`,
//! `EST5EDT,M3.2.0,M11.1.0`).

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use chrono::{DateTime, Offset, TimeZone, Utc};
use chrono_tz::{OffsetName, TZ_VARIANTS, Tz};

use super::abbreviations::{self, Abbreviation};
use super::calendar::{Civil, EPOCH_JULIAN, MICROS_PER_DAY, MICROS_PER_SECOND, UNIX_EPOCH_DAYS, is_leap};
use super::calendar::{julian_of_day, weekday};
use super::posix_zone::PosixZone;

/// The last years that the tz database lists change by change. Later ones repeat them: a year has the changes of one
/// among these that begins with the same day of the week and is as long.
const LISTED_YEARS: std::ops::RangeInclusive<i64> = 2060..=2087;
const SECONDS_PER_DAY: i64 = 86_400;

/// A time zone.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Zone {
    /// One of the tz database.
    Region(Tz),
    /// One that a POSIX text describes.
    Posix(Arc<PosixZone>),
}

impl Zone {
    /// UTC.
    pub(crate) const UTC: Zone = Zone::Region(Tz::UTC);

    /// The zone of a name (in any case) or of a POSIX text; `None` if there is none.
    pub(crate) fn find(name: &str) -> Option<Zone> {
        if let Some(zone) = regions().get(name.to_ascii_lowercase().as_str()) {
            return Some(Zone::Region(*zone));
        }
        PosixZone::parse(&name.to_ascii_uppercase()).map(|zone| Zone::Posix(Arc::new(zone)))
    }

    /// A zone that is always so many seconds east of UTC; `None` if that is too far.
    pub(crate) fn fixed(east: i64) -> Option<Zone> {
        PosixZone::fixed(east).map(|zone| Zone::Posix(Arc::new(zone)))
    }

    /// Its name, as SHOW gives it.
    pub(crate) fn name(&self) -> &str {
        match self {
            Zone::Region(zone) => zone.name(),
            Zone::Posix(zone) => &zone.name,
        }
    }

    /// Seconds east of UTC at a time (in microseconds since 2000).
    pub(crate) fn offset(&self, micros: i64) -> i64 {
        match self {
            Zone::Region(Tz::UTC) => 0,
            Zone::Region(zone) => {
                let offset = zone.offset_from_utc_datetime(&listed(micros).naive_utc());
                i64::from(offset.fix().local_minus_utc())
            }
            Zone::Posix(zone) => zone.at(micros).0,
        }
    }

    /// The abbreviation that the zone has at a time ("CEST").
    pub(crate) fn abbreviation(&self, micros: i64) -> String {
        match self {
            Zone::Region(zone) => {
                let offset = zone.offset_from_utc_datetime(&listed(micros).naive_utc());
                offset.abbreviation().unwrap_or_default().to_string()
            }
            Zone::Posix(zone) => zone.at(micros).1.to_string(),
        }
    }

    /// Local time (microseconds since 2000) of a time.
    pub(crate) fn local(&self, micros: i64) -> i64 {
        micros.saturating_add(self.offset(micros) * MICROS_PER_SECOND)
    }

    /// Seconds east of UTC that count for a local time. A time that a change skips is read by the offset before the
    /// change, one that it repeats by the offset after it.
    pub(crate) fn offset_of_local(&self, local: i64) -> i64 {
        let before = self.offset(local.saturating_sub(MICROS_PER_DAY));
        let after = self.offset(local.saturating_add(MICROS_PER_DAY));
        if before == after {
            // A change there and back within two days does not happen.
            return before;
        }
        let holds = |offset: i64| self.offset(local.saturating_sub(offset * MICROS_PER_SECOND)) == offset;
        if holds(after) { after } else { before }
    }

    /// The same for fields; those of a day that is no timestamp take UTC's.
    pub(crate) fn offset_of_civil(&self, civil: &Civil) -> i64 {
        civil.micros().map_or(0, |local| self.offset_of_local(local))
    }

    /// The offset that the zone always had, if it never changed.
    pub(crate) fn only_offset(&self) -> Option<i64> {
        let years = (1850..2040).step_by(1).flat_map(|year| [(year, 1), (year, 4), (year, 7), (year, 10)]);
        let mut offsets = years.map(|(year, month)| {
            self.offset((julian_of_day(year, month, 1) - EPOCH_JULIAN) * MICROS_PER_DAY)
        });
        let first = offsets.next()?;
        offsets.all(|offset| offset == first).then_some(first)
    }

    /// The offset for which an abbreviation stood in this zone at a local time: the one that it has then, or had last
    /// before, or has first after. `None` if the zone never uses it.
    fn offset_of_abbreviation(&self, name: &str, local: i64) -> Option<i64> {
        let time = local.saturating_sub(self.offset_of_local(local) * MICROS_PER_SECOND);
        let steps = (0..800).map(|step| -step).chain(1..400);
        let times = steps.map(|step| time.saturating_add(step * 60 * MICROS_PER_DAY));
        let mut found = times.filter(|time| self.abbreviation(*time).eq_ignore_ascii_case(name));
        found.next().map(|time| self.offset(time))
    }
}

/// What a name in front of or behind a time says of its zone.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ZoneName {
    /// An abbreviation of standard time: seconds east.
    Standard(i64),
    /// An abbreviation of daylight-saving time: seconds east.
    Daylight(i64),
    /// An abbreviation whose offset the zone knows.
    Abbreviation(String, Zone),
}

impl ZoneName {
    /// The meaning of an abbreviation of PostgreSQL's default set, in any case.
    pub(crate) fn abbreviation(name: &str) -> Option<ZoneName> {
        let name = name.to_ascii_lowercase();
        Some(match abbreviations::find(&name)? {
            Abbreviation::Standard(east) => ZoneName::Standard(east.into()),
            Abbreviation::Daylight(east) => ZoneName::Daylight(east.into()),
            Abbreviation::Of(zone) => ZoneName::Abbreviation(name, Zone::find(zone)?),
        })
    }

    /// Seconds east for a local time.
    pub(crate) fn offset_of_local(&self, local: i64) -> i64 {
        match self {
            ZoneName::Standard(east) | ZoneName::Daylight(east) => *east,
            ZoneName::Abbreviation(name, zone) => {
                zone.offset_of_abbreviation(name, local).unwrap_or_else(|| zone.offset_of_local(local))
            }
        }
    }

    /// Seconds east at a time.
    pub(crate) fn offset(&self, micros: i64) -> i64 {
        match self {
            ZoneName::Standard(east) | ZoneName::Daylight(east) => *east,
            ZoneName::Abbreviation(name, zone) => {
                let local = zone.local(micros);
                zone.offset_of_abbreviation(name, local).unwrap_or_else(|| zone.offset(micros))
            }
        }
    }
}

/// The zones of the tz database by their names in lower case.
fn regions() -> &'static HashMap<String, Tz> {
    static REGIONS: OnceLock<HashMap<String, Tz>> = OnceLock::new();
    REGIONS.get_or_init(|| TZ_VARIANTS.iter().map(|zone| (zone.name().to_ascii_lowercase(), *zone)).collect())
}

/// The time, or one in the listed years at which zones are as at that time.
fn listed(micros: i64) -> DateTime<Utc> {
    let seconds = micros.div_euclid(MICROS_PER_SECOND);
    let days = seconds.div_euclid(SECONDS_PER_DAY);
    let seconds = if days > 31_776 { equivalent(days, seconds) } else { seconds };
    DateTime::from_timestamp(seconds + UNIX_EPOCH_DAYS * SECONDS_PER_DAY, 0).unwrap_or_default()
}

/// The same second of the equivalent year. Days from 2087 on are beyond the listed ones.
fn equivalent(days: i64, seconds: i64) -> i64 {
    let year = Civil::of_julian(days + EPOCH_JULIAN).year;
    let first = |year: i64| julian_of_day(year, 1, 1);
    let same = |own: &i64| is_leap(*own) == is_leap(year) && weekday(first(*own)) == weekday(first(year));
    let own = LISTED_YEARS.clone().find(same).unwrap_or(*LISTED_YEARS.end());
    seconds - (first(year) - first(own)) * SECONDS_PER_DAY
}
