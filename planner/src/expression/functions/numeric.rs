//! Functions on numbers.

use bigdecimal::RoundingMode;

use super::function::{Arguments, Function, function};
use crate::error::SqlError;
use crate::expression::arithmetic;
use crate::statement::Operator;
use crate::types::declared::{FLOAT8, INT2, INT4, INT8, NUMERIC};
use crate::types::{Datum, Numeric, Type, Value};

pub(super) const FUNCTIONS: &[Function] = &[
    function("abs", &[FLOAT8], FLOAT8, abs),
    function("abs", &[INT2], INT2, abs),
    function("abs", &[INT4], INT4, abs),
    function("abs", &[INT8], INT8, abs),
    function("abs", &[NUMERIC], NUMERIC, abs),
    function("ceil", &[FLOAT8], FLOAT8, ceil),
    function("ceil", &[NUMERIC], NUMERIC, ceil),
    function("ceiling", &[FLOAT8], FLOAT8, ceil),
    function("ceiling", &[NUMERIC], NUMERIC, ceil),
    function("floor", &[FLOAT8], FLOAT8, floor),
    function("floor", &[NUMERIC], NUMERIC, floor),
    function("mod", &[INT2, INT2], INT2, |a| arithmetic(a, Operator::Modulo, &Type::Int2)),
    function("mod", &[INT4, INT4], INT4, |a| arithmetic(a, Operator::Modulo, &Type::Int4)),
    function("mod", &[NUMERIC, NUMERIC], NUMERIC, |a| arithmetic(a, Operator::Modulo, &Type::Numeric(None))),
    function("mod", &[INT8, INT8], INT8, |a| arithmetic(a, Operator::Modulo, &Type::Int8)),
    function("power", &[FLOAT8, FLOAT8], FLOAT8, |a| arithmetic(a, Operator::Power, &Type::Float8)),
    function("round", &[NUMERIC, INT4], NUMERIC, round).optional(1),
    function("round", &[FLOAT8], FLOAT8, round),
    function("sign", &[NUMERIC], NUMERIC, sign),
    function("sqrt", &[FLOAT8], FLOAT8, sqrt),
    function("trunc", &[NUMERIC, INT4], NUMERIC, trunc).optional(1),
    function("trunc", &[FLOAT8], FLOAT8, trunc),
];

fn abs(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    let Some(value) = a.value(0) else { return Ok(None) };
    let negative = match value {
        Value::Float8(number) => return Ok(Some(Value::Float8(number.abs()))),
        Value::Numeric(number) => *number < Numeric::from_i64(0),
        whole => whole.as_i64().is_some_and(|number| number < 0),
    };
    if negative { arithmetic::negate(value.clone()).map(Some) } else { Ok(Some(value.clone())) }
}

fn arithmetic(a: &Arguments<'_>, op: Operator, ty: &Type) -> Result<Datum, SqlError> {
    match (a.value(0), a.value(1)) {
        (Some(left), Some(right)) => arithmetic::binary(op, ty, left.clone(), right.clone()).map(Some),
        _ => Ok(None),
    }
}

fn rounded(a: &Arguments<'_>, mode: RoundingMode, float: fn(f64) -> f64) -> Result<Datum, SqlError> {
    Ok(match a.value(0) {
        Some(Value::Float8(number)) => Some(Value::Float8(float(*number))),
        Some(Value::Numeric(Numeric::Finite(number))) => {
            let scale = a.integer(1).clamp(-1000, 1000);
            Some(Value::Numeric(Numeric::new(number.with_scale_round(scale, mode))?))
        }
        other => other.cloned(),
    })
}

fn ceil(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    rounded(a, RoundingMode::Ceiling, f64::ceil)
}

fn floor(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    rounded(a, RoundingMode::Floor, f64::floor)
}

/// Halves go away from zero in numeric, to the even neighbour in double precision, as in PostgreSQL.
fn round(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    rounded(a, RoundingMode::HalfUp, f64::round_ties_even)
}

fn trunc(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    rounded(a, RoundingMode::Down, f64::trunc)
}

fn sign(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    let zero = Numeric::from_i64(0);
    Ok(a.value(0).map(|value| match value {
        Value::Numeric(number) => Value::Numeric(Numeric::from_i64(number.cmp(&zero) as i64)),
        other => other.clone(),
    }))
}

fn sqrt(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    match a.value(0) {
        Some(Value::Float8(number)) if *number < 0.0 => {
            Err(SqlError::new("2201F", "cannot take square root of a negative number"))
        }
        Some(Value::Float8(number)) => Ok(Some(Value::Float8(number.sqrt()))),
        other => Ok(other.cloned()),
    }
}
