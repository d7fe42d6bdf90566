//! The proleptic Gregorian calendar as PostgreSQL counts it: Julian days, astronomical years (1 BC is year 0).

/// Microseconds of a day.
pub(crate) const MICROS_PER_DAY: i64 = 86_400_000_000;
/// Microseconds of an hour.
pub(crate) const MICROS_PER_HOUR: i64 = 3_600_000_000;
/// Microseconds of a minute.
pub(crate) const MICROS_PER_MINUTE: i64 = 60_000_000;
/// Microseconds of a second.
pub(crate) const MICROS_PER_SECOND: i64 = 1_000_000;
/// The Julian day of 2000-01-01, from which dates count.
pub(crate) const EPOCH_JULIAN: i64 = 2_451_545;
/// Days from 1970-01-01 to 2000-01-01.
pub(crate) const UNIX_EPOCH_DAYS: i64 = 10_957;
/// The first timestamp: 4714-11-24 BC.
const TIMESTAMP_MIN: i64 = -211_813_488_000_000_000;
/// The first that is none: 294277-01-01.
const TIMESTAMP_END: i64 = 9_223_371_331_200_000_000;
/// The first Julian day that is no date: 5874898-06-03.
const DATE_END_JULIAN: i64 = 2_147_483_494;

/// A moment in fields: of a calendar day and of its time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Civil {
    /// Astronomical: 0 is 1 BC.
    pub(crate) year: i64,
    /// 1 to 12.
    pub(crate) month: i64,
    /// 1 to 31.
    pub(crate) day: i64,
    pub(crate) hour: i64,
    pub(crate) minute: i64,
    pub(crate) second: i64,
    pub(crate) micros: i64,
}

impl Civil {
    /// The fields of a count of microseconds since 2000 (of local time).
    pub(crate) fn of_micros(micros: i64) -> Civil {
        let (days, time) = (micros.div_euclid(MICROS_PER_DAY), micros.rem_euclid(MICROS_PER_DAY));
        let mut civil = Civil::of_julian(days + EPOCH_JULIAN);
        civil.set_time(time);
        civil
    }

    /// The fields of midnight of a Julian day.
    pub(crate) fn of_julian(julian: i64) -> Civil {
        let (year, month, day) = day_of_julian(julian);
        Civil { year, month, day, ..Civil::default() }
    }

    /// Takes the time of a count of microseconds since midnight.
    pub(crate) fn set_time(&mut self, time: i64) {
        self.hour = time / MICROS_PER_HOUR;
        self.minute = time / MICROS_PER_MINUTE % 60;
        self.second = time / MICROS_PER_SECOND % 60;
        self.micros = time % MICROS_PER_SECOND;
    }

    /// Microseconds since midnight.
    pub(crate) fn time(&self) -> i64 {
        ((self.hour * 60 + self.minute) * 60 + self.second) * MICROS_PER_SECOND + self.micros
    }

    /// The Julian day.
    pub(crate) fn julian(&self) -> i64 {
        julian_of_day(self.year, self.month, self.day)
    }

    /// Is the day one that PostgreSQL's calendar has?
    pub(crate) fn is_in_calendar(&self) -> bool {
        (self.year > -4713 || self.year == -4713 && self.month >= 11)
            && (self.year < 5_874_898 || self.year == 5_874_898 && self.month < 6)
    }

    /// Microseconds since 2000 of these fields, `None` if no timestamp is so far away.
    pub(crate) fn micros(&self) -> Option<i64> {
        if !self.is_in_calendar() {
            return None;
        }
        let days = self.julian() - EPOCH_JULIAN;
        let micros = i128::from(days) * i128::from(MICROS_PER_DAY) + i128::from(self.time());
        i64::try_from(micros).ok()
    }

    /// The date, `None` if there is none so far away.
    pub(crate) fn date(&self) -> Option<i32> {
        if !self.is_in_calendar() {
            return None;
        }
        date_of_julian(self.julian())
    }
}

/// Days since 2000 of a Julian day, `None` if no date is so far away.
pub(crate) fn date_of_julian(julian: i64) -> Option<i32> {
    if !(0..DATE_END_JULIAN).contains(&julian) {
        return None;
    }
    i32::try_from(julian - EPOCH_JULIAN).ok()
}

/// A count of microseconds since 2000, if it is a timestamp (a finite one).
pub(crate) fn timestamp(micros: i64) -> Option<i64> {
    (TIMESTAMP_MIN..TIMESTAMP_END).contains(&micros).then_some(micros)
}

/// The Julian day of a day.
pub(crate) fn julian_of_day(year: i64, month: i64, day: i64) -> i64 {
    let (month, year) = if month > 2 { (month + 1, year + 4800) } else { (month + 13, year + 4799) };
    let century = year.div_euclid(100);
    year * 365 - 32167 + year.div_euclid(4) - century + century.div_euclid(4) + 7834 * month / 256 + day
}

/// Year, month and day of a Julian day.
pub(crate) fn day_of_julian(julian: i64) -> (i64, i64, i64) {
    let mut day = julian + 32044;
    let mut quad = day.div_euclid(146_097);
    let extra = day.rem_euclid(146_097) * 4 + 3;
    day += 60 + quad * 3 + extra / 146_097;
    quad = day.div_euclid(1461);
    day = day.rem_euclid(1461);
    let mut year = day * 4 / 1461;
    day = if year != 0 { (day + 305) % 365 } else { (day + 306) % 366 } + 123;
    year += quad * 4;
    let quad = day * 2141 / 65536;
    ((year - 4800), (quad + 10) % 12 + 1, day - 7834 * quad / 256)
}

/// The day of the week of a Julian day: 0 is Sunday.
pub(crate) fn weekday(julian: i64) -> i64 {
    (julian + 1).rem_euclid(7)
}

/// Is February of the year 29 days long?
pub(crate) fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

/// Days of a month (1 to 12).
pub(crate) fn days_of_month(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// The Julian day of the Monday of the first ISO week of a year.
pub(crate) fn iso_year_start(year: i64) -> i64 {
    let fourth = julian_of_day(year, 1, 4);
    fourth - (weekday(fourth) + 6) % 7
}

/// ISO year and ISO week of a day.
pub(crate) fn iso_week(year: i64, julian: i64) -> (i64, i64) {
    let year = [year + 1, year].into_iter().find(|year| julian >= iso_year_start(*year)).unwrap_or(year - 1);
    (year, (julian - iso_year_start(year)) / 7 + 1)
}

/// Rounds microseconds to so many digits of a second.
pub(crate) fn rounded(micros: i64, precision: Option<u8>) -> i64 {
    let Some(digits) = precision.filter(|digits| *digits < 6) else { return micros };
    if matches!(micros, i64::MIN | i64::MAX) {
        return micros;
    }
    let unit = 10i64.pow(6 - u32::from(digits));
    let nearest = |micros: i64| micros.saturating_add(unit / 2) / unit * unit;
    if micros >= 0 { nearest(micros) } else { -nearest(-micros) }
}

/// The clock, in microseconds since 2000-01-01 UTC.
pub(crate) fn now_micros() -> i64 {
    chrono::Utc::now().timestamp_micros() - UNIX_EPOCH_DAYS * MICROS_PER_DAY
}
