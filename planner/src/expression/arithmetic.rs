//! Operators on numbers: every overflow is 22003, every division by zero 22012.

use crate::error::{SqlError, sqlstate};
use crate::statement::Operator;
use crate::types::{Numeric, Type, Value};

fn out_of_range(ty: &Type) -> SqlError {
    SqlError::new(sqlstate::OUT_OF_RANGE, format!("{ty} out of range"))
}

fn division_by_zero() -> SqlError {
    SqlError::new(sqlstate::DIVISION_BY_ZERO, "division by zero")
}

/// A whole number as a value of the type; 22003 if it does not fit.
pub(crate) fn integer(ty: &Type, value: i128) -> Result<Value, SqlError> {
    let fitted = match ty {
        Type::Int2 => i16::try_from(value).ok().map(Value::Int2),
        Type::Int4 => i32::try_from(value).ok().map(Value::Int4),
        Type::Int8 => i64::try_from(value).ok().map(Value::Int8),
        _ => None,
    };
    fitted.ok_or_else(|| out_of_range(ty))
}

/// `left op right`, both already of the operand type; `ty` is the type of the result.
pub(crate) fn binary(op: Operator, ty: &Type, left: Value, right: Value) -> Result<Value, SqlError> {
    match (&left, &right) {
        (Value::Float4(a), Value::Float4(b)) => float4(op, *a, *b),
        (Value::Float8(a), Value::Float8(b)) if op == Operator::Power => power(*a, *b),
        (Value::Float8(a), Value::Float8(b)) => float8(op, *a, *b),
        (Value::Numeric(a), Value::Numeric(b)) => numeric(op, a, b),
        _ => match (left.as_i64(), right.as_i64()) {
            (Some(a), Some(b)) => whole(op, ty, i128::from(a), i128::from(b)),
            _ => Err(SqlError::internal("arithmetic on values that are not numbers")),
        },
    }
}

fn whole(op: Operator, ty: &Type, a: i128, b: i128) -> Result<Value, SqlError> {
    let result = match op {
        Operator::Plus => a + b,
        Operator::Minus => a - b,
        Operator::Times => a * b,
        Operator::Divide | Operator::Modulo if b == 0 => return Err(division_by_zero()),
        Operator::Divide => a / b,
        Operator::Modulo => a % b,
        Operator::BitAnd => a & b,
        Operator::BitOr => a | b,
        other => return Err(SqlError::internal(format!("{} on whole numbers", other.symbol()))),
    };
    integer(ty, result)
}

/// Arithmetic on real or double precision numbers.
macro_rules! float {
    ($name:ident, $float:ty, $value:path) => {
        fn $name(op: Operator, a: $float, b: $float) -> Result<Value, SqlError> {
            let result = match op {
                Operator::Plus => a + b,
                Operator::Minus => a - b,
                Operator::Times => a * b,
                Operator::Divide if b == 0.0 && !a.is_nan() => return Err(division_by_zero()),
                Operator::Divide => a / b,
                other => return Err(SqlError::internal(format!("{} on this type", other.symbol()))),
            };
            if result.is_infinite() && a.is_finite() && b.is_finite() {
                return Err(float_overflow());
            }
            // A product or quotient of other numbers is zero only by underflow.
            let product = matches!(op, Operator::Times | Operator::Divide);
            if product && result == 0.0 && a != 0.0 && b != 0.0 && b.is_finite() {
                return Err(float_underflow());
            }
            Ok($value(result))
        }
    };
}

float!(float4, f32, Value::Float4);
float!(float8, f64, Value::Float8);

/// 22003 for a floating point number that would be infinite.
pub(super) fn float_overflow() -> SqlError {
    SqlError::new(sqlstate::OUT_OF_RANGE, "value out of range: overflow")
}

/// 22003 for a floating point number that would be zero.
pub(super) fn float_underflow() -> SqlError {
    SqlError::new(sqlstate::OUT_OF_RANGE, "value out of range: underflow")
}

/// `a ^ b`, with PostgreSQL's errors: 2201F where there is no such power, 22003 where it is out of range.
fn power(a: f64, b: f64) -> Result<Value, SqlError> {
    let undefined = |text: &str| Err(SqlError::new(sqlstate::INVALID_POWER, text));
    if a.is_nan() || b.is_nan() {
        // 1 to any power is 1, and so is any number to the power of 0.
        return Ok(Value::Float8(if a == 1.0 || b == 0.0 { 1.0 } else { f64::NAN }));
    }
    if a == 0.0 && b < 0.0 {
        return undefined("zero raised to a negative power is undefined");
    }
    if a < 0.0 && b.is_finite() && b.fract() != 0.0 {
        return undefined("a negative number raised to a non-integer power yields a complex result");
    }
    let result = a.powf(b);
    if a.is_finite() && b.is_finite() {
        if result.is_infinite() {
            return Err(float_overflow());
        }
        if result == 0.0 && a != 0.0 {
            return Err(float_underflow());
        }
    }
    Ok(Value::Float8(result))
}

fn numeric(op: Operator, a: &Numeric, b: &Numeric) -> Result<Value, SqlError> {
    let result = match op {
        Operator::Plus => a.add(b),
        Operator::Minus => a.subtract(b),
        Operator::Times => a.multiply(b),
        Operator::Divide => a.divide(b),
        Operator::Modulo => a.remainder(b),
        Operator::Power => a.power(b),
        other => return Err(SqlError::internal(format!("{} on numeric", other.symbol()))),
    };
    result.map(Value::Numeric)
}

/// `-value`.
pub(crate) fn negate(value: Value) -> Result<Value, SqlError> {
    match value {
        Value::Float4(v) => Ok(Value::Float4(-v)),
        Value::Float8(v) => Ok(Value::Float8(-v)),
        Value::Numeric(v) => Ok(Value::Numeric(v.negated())),
        other => {
            let ty = other.natural_type();
            let value = other
                .as_i64()
                .ok_or_else(|| SqlError::internal("the negative of a value that is not a number"))?;
            integer(&ty, -i128::from(value))
        }
    }
}
