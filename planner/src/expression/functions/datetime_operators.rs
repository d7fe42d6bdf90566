//! What the operators `+`, `-`, `*` and `/` do on dates, times and intervals: functions with PostgreSQL's names.

use super::function::{Arguments, Function, function};
use crate::error::{SqlError, sqlstate};
use crate::expression::cast::{Strength, castable};
use crate::expression::datetime::timestamp_of_date;
use crate::statement::Operator;
use crate::types::datetime::{
    EPOCH_JULIAN, MICROS_PER_DAY, MICROS_PER_SECOND, date_of_julian, difference, is_infinite, overflow,
    shifted, timestamp,
};
use crate::types::declared::{DATE, FLOAT8, INT4, INTERVAL, TIME, TIMESTAMP, TIMESTAMPTZ, TIMETZ};
use crate::types::{Datum, Interval, Type, Value};

pub(super) const FUNCTIONS: &[Function] = &[
    function("date_mi", &[DATE, DATE], INT4, date_mi),
    function("date_mi_interval", &[DATE, INTERVAL], TIMESTAMP, |a| shift(a, true)),
    function("date_mii", &[DATE, INT4], DATE, |a| date_by_days(a, -1)),
    function("date_pl_interval", &[DATE, INTERVAL], TIMESTAMP, |a| shift(a, false)),
    function("date_pli", &[DATE, INT4], DATE, |a| date_by_days(a, 1)),
    function("datetime_pl", &[DATE, TIME], TIMESTAMP, datetime_pl),
    function("datetimetz_pl", &[DATE, TIMETZ], TIMESTAMPTZ, datetime_pl),
    function("interval_div", &[INTERVAL, FLOAT8], INTERVAL, |a| {
        scaled(a, |interval, number| interval.divided(number))
    }),
    function("interval_mi", &[INTERVAL, INTERVAL], INTERVAL, |a| {
        of_two(a, |x, y| y.negate().and_then(|y| x.add(&y)))
    }),
    function("interval_mul", &[INTERVAL, FLOAT8], INTERVAL, |a| {
        scaled(a, |interval, number| interval.times(number))
    }),
    function("interval_pl", &[INTERVAL, INTERVAL], INTERVAL, |a| of_two(a, Interval::add)),
    function("interval_um", &[INTERVAL], INTERVAL, |a| {
        interval(a, 0).negate().map(|interval| Some(Value::Interval(interval)))
    }),
    function("time_mi_interval", &[TIME, INTERVAL], TIME, |a| shift(a, true)),
    function("time_mi_time", &[TIME, TIME], INTERVAL, time_mi_time),
    function("time_pl_interval", &[TIME, INTERVAL], TIME, |a| shift(a, false)),
    function("timestamp_mi", &[TIMESTAMP, TIMESTAMP], INTERVAL, moment_mi),
    function("timestamp_mi_interval", &[TIMESTAMP, INTERVAL], TIMESTAMP, |a| shift(a, true)),
    function("timestamp_pl_interval", &[TIMESTAMP, INTERVAL], TIMESTAMP, |a| shift(a, false)),
    function("timestamptz_mi", &[TIMESTAMPTZ, TIMESTAMPTZ], INTERVAL, moment_mi),
    function("timestamptz_mi_interval", &[TIMESTAMPTZ, INTERVAL], TIMESTAMPTZ, |a| shift(a, true)),
    function("timestamptz_pl_interval", &[TIMESTAMPTZ, INTERVAL], TIMESTAMPTZ, |a| shift(a, false)),
    function("timetz_mi_interval", &[TIMETZ, INTERVAL], TIMETZ, |a| shift(a, true)),
    function("timetz_pl_interval", &[TIMETZ, INTERVAL], TIMETZ, |a| shift(a, false)),
];

/// The functions of the operators; those that commute take their arguments in either order.
const OPERATORS: &[(Operator, &str, bool)] = &[
    (Operator::Plus, "date_pli", true),
    (Operator::Plus, "date_pl_interval", true),
    (Operator::Plus, "datetime_pl", true),
    (Operator::Plus, "datetimetz_pl", true),
    (Operator::Plus, "interval_pl", false),
    (Operator::Plus, "time_pl_interval", true),
    (Operator::Plus, "timestamp_pl_interval", true),
    (Operator::Plus, "timestamptz_pl_interval", true),
    (Operator::Plus, "timetz_pl_interval", true),
    (Operator::Minus, "date_mi", false),
    (Operator::Minus, "date_mii", false),
    (Operator::Minus, "date_mi_interval", false),
    (Operator::Minus, "interval_mi", false),
    (Operator::Minus, "time_mi_time", false),
    (Operator::Minus, "time_mi_interval", false),
    (Operator::Minus, "timestamp_mi", false),
    (Operator::Minus, "timestamp_mi_interval", false),
    (Operator::Minus, "timestamptz_mi", false),
    (Operator::Minus, "timestamptz_mi_interval", false),
    (Operator::Minus, "timetz_mi_interval", false),
    (Operator::Times, "interval_mul", true),
    (Operator::Divide, "interval_div", false),
];

/// Several functions suit equally well.
pub(crate) struct NotUnique;

/// The function of an operator.
pub(crate) struct OperatorFunction {
    /// The function.
    pub(crate) function: &'static Function,
    /// The types that the operator's left and right side must be cast to.
    pub(crate) sides: [Type; 2],
    /// Does the function take the right side first?
    pub(crate) swapped: bool,
    /// The type of the result.
    pub(crate) result: Type,
}

/// A function that an operator may mean.
struct Candidate {
    function: &'static Function,
    swapped: bool,
    /// The types of the operator's left and right side.
    sides: [Type; 2],
}

/// The function of an operator on two types, one of them a date, time or interval, and whether it takes the right side
/// first; by PostgreSQL's rules for operators.
pub(crate) fn resolve_operator(
    op: Operator,
    given: &[Type; 2],
) -> Result<Option<OperatorFunction>, NotUnique> {
    let mut found: Vec<Candidate> = candidates(op).filter(|candidate| candidate.takes(given)).collect();
    // An untyped side is of the other's type, if there is such an operator.
    let known = given.iter().find(|ty| **ty != Type::Unknown).map(Type::plain).unwrap_or(Type::Unknown);
    let assumed = given.each_ref().map(|ty| if *ty == Type::Unknown { known.clone() } else { ty.plain() });
    if let Some(at) = found.iter().position(|candidate| candidate.sides == assumed) {
        return Ok(Some(found.swap_remove(at).resolved()));
    }
    keep_best(&mut found, |candidate| candidate.count(given, |own, given| *own == given.plain()));
    keep_best(&mut found, |candidate| {
        candidate
            .count(given, |own, given| *given == Type::Unknown || *own == given.plain() || is_preferred(own))
    });
    if found.len() > 1 && given.contains(&Type::Unknown) {
        found.retain(|candidate| candidate.takes(&assumed));
        if found.is_empty() {
            return Err(NotUnique);
        }
    }
    match found.len() {
        0 => Ok(None),
        1 => Ok(found.pop().map(Candidate::resolved)),
        _ => Err(NotUnique),
    }
}

/// Is it the type that PostgreSQL prefers among those of its kind?
fn is_preferred(ty: &Type) -> bool {
    matches!(ty, Type::Timestamptz(_) | Type::Interval(_) | Type::Float8)
}

fn keep_best(found: &mut Vec<Candidate>, rank: impl Fn(&Candidate) -> usize) {
    let best = found.iter().map(&rank).max().unwrap_or(0);
    found.retain(|candidate| rank(candidate) == best);
}

fn candidates(op: Operator) -> impl Iterator<Item = Candidate> {
    let own = OPERATORS.iter().filter(move |(own, ..)| *own == op);
    own.flat_map(|(_, name, commutes)| {
        let function = FUNCTIONS.iter().find(|function| function.signature.name == *name);
        let ways = if *commutes { &[false, true][..] } else { &[false] };
        function
            .into_iter()
            .flat_map(|function| ways.iter().map(|swapped| Candidate::new(function, *swapped)))
    })
}

impl Candidate {
    fn new(function: &'static Function, swapped: bool) -> Candidate {
        let ty = |at: usize| {
            let declared = function.signature.arguments.get(if swapped { 1 - at } else { at });
            declared.map_or(Type::Unknown, |declared| declared.resolved(&Type::Unknown))
        };
        Candidate { function, swapped, sides: [ty(0), ty(1)] }
    }

    fn takes(&self, given: &[Type; 2]) -> bool {
        self.count(given, |own, given| castable(given, own, Strength::Implicit)) == 2
    }

    fn count(&self, given: &[Type; 2], test: impl Fn(&Type, &Type) -> bool) -> usize {
        self.sides.iter().zip(given).filter(|(own, given)| test(own, given)).count()
    }

    fn resolved(self) -> OperatorFunction {
        let Candidate { function, swapped, sides } = self;
        OperatorFunction {
            function,
            sides,
            swapped,
            result: function.signature.result.resolved(&Type::Unknown),
        }
    }
}

fn interval(a: &Arguments<'_>, at: usize) -> Interval {
    match a.value(at) {
        Some(Value::Interval(interval)) => *interval,
        _ => Interval::default(),
    }
}

fn of_two(
    a: &Arguments<'_>,
    code: impl Fn(&Interval, &Interval) -> Result<Interval, SqlError>,
) -> Result<Datum, SqlError> {
    code(&interval(a, 0), &interval(a, 1)).map(|interval| Some(Value::Interval(interval)))
}

fn scaled(
    a: &Arguments<'_>,
    code: impl Fn(&Interval, f64) -> Result<Interval, SqlError>,
) -> Result<Datum, SqlError> {
    let Some(Value::Float8(number)) = a.value(1) else { return Ok(None) };
    code(&interval(a, 0), *number).map(|interval| Some(Value::Interval(interval)))
}

/// A date, time or timestamp moved by an interval, or back by it.
fn shift(a: &Arguments<'_>, back: bool) -> Result<Datum, SqlError> {
    let by = interval(a, 1);
    let by_time = if back { -i128::from(by.micros) } else { i128::from(by.micros) };
    let of_day = |micros: i64| (i128::from(micros) + by_time).rem_euclid(i128::from(MICROS_PER_DAY)) as i64;
    let by = || if back { by.negate() } else { Ok(by) };
    let zone = Some(&a.env.text.zone);
    Ok(Some(match a.value(0) {
        Some(Value::Date(days)) => Value::Timestamp(shifted(timestamp_of_date(*days)?, &by()?, None)?),
        Some(Value::Timestamp(micros)) => Value::Timestamp(shifted(*micros, &by()?, None)?),
        Some(Value::Timestamptz(micros)) => Value::Timestamptz(shifted(*micros, &by()?, zone)?),
        Some(Value::Time(micros)) => Value::Time(of_day(*micros)),
        Some(Value::Timetz(micros, east)) => Value::Timetz(of_day(*micros), *east),
        _ => return Ok(None),
    }))
}

fn moment_mi(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    match (a.value(0), a.value(1)) {
        (Some(Value::Timestamp(x)), Some(Value::Timestamp(y)))
        | (Some(Value::Timestamptz(x)), Some(Value::Timestamptz(y))) => {
            difference(*x, *y).map(|interval| Some(Value::Interval(interval)))
        }
        _ => Ok(None),
    }
}

fn time_mi_time(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    let (Some(Value::Time(x)), Some(Value::Time(y))) = (a.value(0), a.value(1)) else { return Ok(None) };
    Ok(Some(Value::Interval(Interval { micros: x - y, ..Interval::default() })))
}

fn date_mi(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    let (Some(Value::Date(x)), Some(Value::Date(y))) = (a.value(0), a.value(1)) else { return Ok(None) };
    let infinite = |days: i32| matches!(days, i32::MIN | i32::MAX);
    if infinite(*x) || infinite(*y) {
        return Err(SqlError::new(sqlstate::DATETIME_OVERFLOW, "cannot subtract infinite dates"));
    }
    // Two dates are less than 2^31 days apart, but for the very first and the very last ones.
    Ok(Some(Value::Int4(x.wrapping_sub(*y))))
}

fn date_by_days(a: &Arguments<'_>, sign: i64) -> Result<Datum, SqlError> {
    let Some(Value::Date(days)) = a.value(0) else { return Ok(None) };
    if matches!(*days, i32::MIN | i32::MAX) {
        return Ok(Some(Value::Date(*days)));
    }
    let julian = i64::from(*days) + EPOCH_JULIAN + sign * a.integer(1);
    date_of_julian(julian).map(|days| Some(Value::Date(days))).ok_or_else(|| overflow("date"))
}

/// A day at a time.
fn datetime_pl(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    let Some(Value::Date(days)) = a.value(0) else { return Ok(None) };
    let midnight = timestamp_of_date(*days)?;
    let at = |time: i64| match midnight {
        midnight if is_infinite(midnight) => Ok(midnight),
        midnight => midnight.checked_add(time).and_then(timestamp).ok_or_else(|| overflow("timestamp")),
    };
    Ok(match a.value(1) {
        Some(Value::Time(micros)) => Some(Value::Timestamp(at(*micros)?)),
        Some(Value::Timetz(micros, east)) => {
            Some(Value::Timestamptz(at(micros - i64::from(*east) * MICROS_PER_SECOND)?))
        }
        _ => None,
    })
}
