//! Texts into dates, times and timestamps.

use super::calendar::{Civil, MICROS_PER_DAY, MICROS_PER_SECOND, UNIX_EPOCH_DAYS, timestamp};
use super::decode::{Decoded, decode, decode_time};
use super::fault::out_of_range;
use super::style::TextSettings;
use crate::error::SqlError;

/// Reads a date: days since 2000. A time behind it is dropped.
pub(crate) fn parse_date(text: &str, settings: &TextSettings) -> Result<i32, SqlError> {
    match decode(text, settings).map_err(|fault| fault.error("date", text))? {
        Decoded::Infinity => Ok(i32::MAX),
        Decoded::MinusInfinity => Ok(i32::MIN),
        Decoded::Epoch => Ok(-(UNIX_EPOCH_DAYS as i32)),
        Decoded::Civil(civil, _) => civil.date().ok_or_else(|| out_of_range("date", text)),
    }
}

/// Reads a timestamp, dropping a zone: microseconds since 2000 of local time.
pub(crate) fn parse_timestamp(text: &str, settings: &TextSettings) -> Result<i64, SqlError> {
    moment("timestamp", text, settings, |civil, _| civil.micros())
}

/// Reads a timestamptz: microseconds since 2000.
pub(crate) fn parse_timestamptz(text: &str, settings: &TextSettings) -> Result<i64, SqlError> {
    moment("timestamp with time zone", text, settings, |civil, east| {
        civil.micros()?.checked_sub(east * MICROS_PER_SECOND)
    })
}

fn moment(
    ty: &str,
    text: &str,
    settings: &TextSettings,
    micros: impl Fn(&Civil, i64) -> Option<i64>,
) -> Result<i64, SqlError> {
    match decode(text, settings).map_err(|fault| fault.error(ty, text))? {
        Decoded::Infinity => Ok(i64::MAX),
        Decoded::MinusInfinity => Ok(i64::MIN),
        Decoded::Epoch => Ok(-UNIX_EPOCH_DAYS * MICROS_PER_DAY),
        Decoded::Civil(civil, east) => {
            micros(&civil, east).and_then(timestamp).ok_or_else(|| out_of_range("timestamp", text))
        }
    }
}

/// Reads a time: microseconds since midnight.
pub(crate) fn parse_time(text: &str, settings: &TextSettings) -> Result<i64, SqlError> {
    let found = decode_time(text, settings).map_err(|fault| fault.error("time", text))?;
    Ok(found.0.time())
}

/// Reads a timetz: microseconds since midnight, and seconds east of UTC.
pub(crate) fn parse_timetz(text: &str, settings: &TextSettings) -> Result<(i64, i32), SqlError> {
    let found = decode_time(text, settings).map_err(|fault| fault.error("time with time zone", text))?;
    Ok((found.0.time(), found.1 as i32))
}
