//! What is wrong with a date's, time's or interval's text.

use crate::error::{SqlError, sqlstate};

/// What is wrong with a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is of no form that is known.
    Format,
    /// A field is out of range.
    Field,
    /// Month or day is out of range: perhaps they are in another order.
    MonthOrDay,
    /// An offset is out of range.
    Displacement,
    /// A field of an interval is out of range.
    Interval,
    /// There is no zone of that name.
    Zone(String),
}

impl Fault {
    /// The error, with PostgreSQL's code and words. `ty` is the name of the type.
    pub(crate) fn error(self, ty: &str, text: &str) -> SqlError {
        let field = || out_of_range("date/time field value", text);
        match self {
            Fault::Format => SqlError::new(
                sqlstate::INVALID_DATETIME,
                format!("invalid input syntax for type {ty}: \"{text}\""),
            ),
            Fault::Field => field(),
            Fault::MonthOrDay => field().hint("Perhaps you need a different \"datestyle\" setting."),
            Fault::Displacement => SqlError::new(
                sqlstate::ZONE_DISPLACEMENT,
                format!("time zone displacement out of range: \"{text}\""),
            ),
            Fault::Interval => SqlError::new(
                sqlstate::INTERVAL_OVERFLOW,
                format!("interval field value out of range: \"{text}\""),
            ),
            Fault::Zone(name) => unknown_zone(&name),
        }
    }
}

/// 22008 for a text.
pub(super) fn out_of_range(what: &str, text: &str) -> SqlError {
    SqlError::new(sqlstate::DATETIME_OVERFLOW, format!("{what} out of range: \"{text}\""))
}

/// 22008.
pub(crate) fn overflow(what: &str) -> SqlError {
    SqlError::new(sqlstate::DATETIME_OVERFLOW, format!("{what} out of range"))
}

/// 22023.
pub(crate) fn unknown_zone(name: &str) -> SqlError {
    SqlError::new(sqlstate::INVALID_PARAMETER, format!("time zone \"{name}\" not recognized"))
}
