//! How a session reads and writes values as text.

use super::calendar::now_micros;
use super::zone::Zone;

/// The order of day and month in dates that do not say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DateOrder {
    Mdy,
    Dmy,
    Ymd,
}

/// The form of dates and timestamps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DateForm {
    Iso,
    Sql,
    Postgres,
    German,
}

/// The form of intervals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IntervalForm {
    Postgres,
    Verbose,
    SqlStandard,
    Iso8601,
}

/// How a session reads and writes values as text: by its zone and the forms that it has chosen.
#[derive(Clone, Debug, PartialEq)]
pub struct TextSettings {
    /// TimeZone.
    pub(crate) zone: Zone,
    /// DateStyle's form.
    pub(crate) form: DateForm,
    /// DateStyle's order.
    pub(crate) order: DateOrder,
    /// IntervalStyle.
    pub(crate) intervals: IntervalForm,
    /// What `now` means, in microseconds since 2000.
    pub(crate) now: i64,
}

impl TextSettings {
    /// ISO 8601 in UTC: what stored values, catalogs and messages are written in. `now` is the moment of the call.
    pub fn plain() -> TextSettings {
        TextSettings {
            zone: Zone::UTC,
            form: DateForm::Iso,
            order: DateOrder::Mdy,
            intervals: IntervalForm::Postgres,
            now: now_micros(),
        }
    }
}
