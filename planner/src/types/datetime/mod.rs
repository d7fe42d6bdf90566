//! Dates, times, timestamps and intervals, as PostgreSQL reads, writes and computes them.
//!
//! Years before Christ, infinity, and all of PostgreSQL's range are there, which is wider than that of most libraries:
//! the calendar is our own. Only the changes of time zones come from the tz database.

mod moments;
mod input;
mod interval_output;
mod output;
mod interval_input;
mod decode;
mod interval;
mod style;
mod tokens;
mod numbers;
mod fault;
mod zone;
mod abbreviations;
mod posix_zone;
mod calendar;

pub(crate) use calendar::*;
pub(crate) use fault::{overflow, unknown_zone};
pub(crate) use input::{parse_date, parse_time, parse_timestamp, parse_timestamptz, parse_timetz};
pub(crate) use interval::{
    ALL_DIGITS, ALL_FIELDS, DAY_FIELD, HOUR_FIELD, MINUTE_FIELD, MONTH_FIELD, SECOND_FIELD, YEAR_FIELD,
};
pub use interval::{Interval, IntervalLimit};
pub(crate) use interval_input::parse_interval;
pub(crate) use interval_output::interval_to_text;
pub(crate) use moments::{age, bin, difference, is_infinite, shifted};
pub(crate) use output::{
    date_to_text, time_of_day, time_to_text, timestamp_to_text, timestamptz_to_text, timetz_to_text,
};
pub use style::TextSettings;
pub(crate) use style::{DateForm, DateOrder, IntervalForm};
pub(crate) use zone::{Zone, ZoneName};
