//! Functions on numbers.

use bigdecimal::num_bigint::BigInt;
use bigdecimal::{BigDecimal, RoundingMode, Zero};

use super::function::{Arguments, Function, count, function};
use crate::error::{SqlError, sqlstate};
use crate::expression::arithmetic::{self, float_overflow, float_underflow};
use crate::statement::Operator;
use crate::types::declared::{FLOAT4, FLOAT8, INT2, INT4, INT8, NUMERIC};
use crate::types::{Datum, Numeric, Type, Value};

pub(super) const FUNCTIONS: &[Function] = &[
    function("abs", &[FLOAT4], FLOAT4, abs),
    function("abs", &[FLOAT8], FLOAT8, abs),
    function("abs", &[INT2], INT2, abs),
    function("abs", &[INT4], INT4, abs),
    function("abs", &[INT8], INT8, abs),
    function("abs", &[NUMERIC], NUMERIC, abs),
    function("cbrt", &[FLOAT8], FLOAT8, |a| float(a, f64::cbrt)),
    function("ceil", &[FLOAT8], FLOAT8, ceil),
    function("ceil", &[NUMERIC], NUMERIC, ceil),
    function("ceiling", &[FLOAT8], FLOAT8, ceil),
    function("ceiling", &[NUMERIC], NUMERIC, ceil),
    function("div", &[NUMERIC, NUMERIC], NUMERIC, |a| numeric2(a, Numeric::divide_whole)),
    function("exp", &[FLOAT8], FLOAT8, exp),
    function("exp", &[NUMERIC], NUMERIC, exp),
    function("factorial", &[INT8], NUMERIC, factorial),
    function("floor", &[FLOAT8], FLOAT8, floor),
    function("floor", &[NUMERIC], NUMERIC, floor),
    function("gcd", &[INT4, INT4], INT4, |a| divisor(a, &Type::Int4)),
    function("gcd", &[INT8, INT8], INT8, |a| divisor(a, &Type::Int8)),
    function("gcd", &[NUMERIC, NUMERIC], NUMERIC, |a| numeric2(a, numeric_divisor)),
    function("lcm", &[INT4, INT4], INT4, |a| multiple(a, &Type::Int4)),
    function("lcm", &[INT8, INT8], INT8, |a| multiple(a, &Type::Int8)),
    function("lcm", &[NUMERIC, NUMERIC], NUMERIC, |a| numeric2(a, numeric_multiple)),
    function("ln", &[FLOAT8], FLOAT8, |a| logarithm(a, f64::ln)),
    function("ln", &[NUMERIC], NUMERIC, |a| numeric1(a, Numeric::ln)),
    function("log", &[FLOAT8], FLOAT8, |a| logarithm(a, f64::log10)),
    function("log", &[NUMERIC], NUMERIC, |a| numeric1(a, log10)),
    function("log", &[NUMERIC, NUMERIC], NUMERIC, |a| numeric2(a, |base, value| value.log(base))),
    function("log10", &[FLOAT8], FLOAT8, |a| logarithm(a, f64::log10)),
    function("log10", &[NUMERIC], NUMERIC, |a| numeric1(a, log10)),
    function("min_scale", &[NUMERIC], INT4, |a| scale(a, true)),
    function("mod", &[INT2, INT2], INT2, |a| arithmetic(a, Operator::Modulo, &Type::Int2)),
    function("mod", &[INT4, INT4], INT4, |a| arithmetic(a, Operator::Modulo, &Type::Int4)),
    function("mod", &[INT8, INT8], INT8, |a| arithmetic(a, Operator::Modulo, &Type::Int8)),
    function("mod", &[NUMERIC, NUMERIC], NUMERIC, |a| numeric2(a, Numeric::remainder)),
    function("pi", &[], FLOAT8, |_| Ok(Some(Value::Float8(std::f64::consts::PI)))),
    function("pow", &[FLOAT8, FLOAT8], FLOAT8, |a| arithmetic(a, Operator::Power, &Type::Float8)),
    function("pow", &[NUMERIC, NUMERIC], NUMERIC, |a| numeric2(a, Numeric::power)),
    function("power", &[FLOAT8, FLOAT8], FLOAT8, |a| arithmetic(a, Operator::Power, &Type::Float8)),
    function("power", &[NUMERIC, NUMERIC], NUMERIC, |a| numeric2(a, Numeric::power)),
    function("round", &[FLOAT8], FLOAT8, round),
    function("round", &[NUMERIC, INT4], NUMERIC, round).optional(1),
    function("scale", &[NUMERIC], INT4, |a| scale(a, false)),
    function("sign", &[FLOAT8], FLOAT8, |a| float(a, sign)),
    function("sign", &[NUMERIC], NUMERIC, |a| numeric1(a, numeric_sign)),
    function("sqrt", &[FLOAT8], FLOAT8, sqrt),
    function("sqrt", &[NUMERIC], NUMERIC, sqrt),
    function("trim_scale", &[NUMERIC], NUMERIC, |a| numeric1(a, trim_scale)),
    function("trunc", &[FLOAT8], FLOAT8, trunc),
    function("trunc", &[NUMERIC, INT4], NUMERIC, trunc).optional(1),
    function("width_bucket", &[FLOAT8, FLOAT8, FLOAT8, INT4], INT4, float_bucket),
    function("width_bucket", &[NUMERIC, NUMERIC, NUMERIC, INT4], INT4, numeric_bucket),
];

fn abs(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    let Some(value) = a.value(0) else { return Ok(None) };
    let negative = match value {
        Value::Float4(number) => return Ok(Some(Value::Float4(number.abs()))),
        Value::Float8(number) => return Ok(Some(Value::Float8(number.abs()))),
        Value::Numeric(number) => number.signum() < 0,
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

/// A function of one double precision number that has no range of its own.
fn float(a: &Arguments<'_>, code: fn(f64) -> f64) -> Result<Datum, SqlError> {
    match a.value(0) {
        Some(Value::Float8(number)) => Ok(Some(Value::Float8(code(*number)))),
        other => Ok(other.cloned()),
    }
}

fn numeric1(a: &Arguments<'_>, code: fn(&Numeric) -> Result<Numeric, SqlError>) -> Result<Datum, SqlError> {
    match a.value(0) {
        Some(Value::Numeric(number)) => code(number).map(|number| Some(Value::Numeric(number))),
        other => Ok(other.cloned()),
    }
}

fn numeric2(
    a: &Arguments<'_>,
    code: fn(&Numeric, &Numeric) -> Result<Numeric, SqlError>,
) -> Result<Datum, SqlError> {
    match (a.value(0), a.value(1)) {
        (Some(Value::Numeric(left)), Some(Value::Numeric(right))) => {
            code(left, right).map(|number| Some(Value::Numeric(number)))
        }
        _ => Ok(None),
    }
}

fn rounded(a: &Arguments<'_>, mode: RoundingMode, float: fn(f64) -> f64) -> Result<Datum, SqlError> {
    Ok(match a.value(0) {
        Some(Value::Float8(number)) => Some(Value::Float8(float(*number))),
        Some(Value::Numeric(Numeric::Finite(number))) => {
            let scale = a.integer(1).clamp(-2000, 2000);
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

fn exp(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    let Some(Value::Float8(number)) = a.value(0) else { return numeric1(a, Numeric::exp) };
    let result = number.exp();
    if number.is_finite() && result.is_infinite() {
        return Err(float_overflow());
    }
    if number.is_finite() && result == 0.0 {
        return Err(float_underflow());
    }
    Ok(Some(Value::Float8(result)))
}

fn logarithm(a: &Arguments<'_>, code: fn(f64) -> f64) -> Result<Datum, SqlError> {
    let failed = |text: &str| Err(SqlError::new(sqlstate::INVALID_LOGARITHM, text));
    match a.value(0) {
        Some(Value::Float8(number)) if *number == 0.0 => failed("cannot take logarithm of zero"),
        Some(Value::Float8(number)) if *number < 0.0 => failed("cannot take logarithm of a negative number"),
        _ => float(a, code),
    }
}

fn log10(value: &Numeric) -> Result<Numeric, SqlError> {
    value.log(&Numeric::from_i64(10))
}

fn sqrt(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    match a.value(0) {
        Some(Value::Float8(number)) if *number < 0.0 => {
            Err(SqlError::new(sqlstate::INVALID_POWER, "cannot take square root of a negative number"))
        }
        Some(Value::Float8(number)) => Ok(Some(Value::Float8(number.sqrt()))),
        _ => numeric1(a, Numeric::sqrt),
    }
}

fn sign(number: f64) -> f64 {
    if number > 0.0 {
        1.0
    } else if number < 0.0 {
        -1.0
    } else if number.is_nan() {
        number
    } else {
        0.0
    }
}

fn numeric_sign(value: &Numeric) -> Result<Numeric, SqlError> {
    Ok(if value.is_nan() { Numeric::NaN } else { Numeric::from_i64(value.signum()) })
}

/// The number of digits behind the point, of which zeros at the end may not count.
fn scale(a: &Arguments<'_>, least: bool) -> Result<Datum, SqlError> {
    let Some(Value::Numeric(Numeric::Finite(number))) = a.value(0) else { return Ok(None) };
    let number = if least { least_scale(number) } else { number.clone() };
    count(usize::try_from(number.fractional_digit_count()).unwrap_or(0))
}

fn least_scale(number: &BigDecimal) -> BigDecimal {
    let normal = number.normalized();
    if normal.fractional_digit_count() < 0 || normal.is_zero() { normal.with_scale(0) } else { normal }
}

fn trim_scale(value: &Numeric) -> Result<Numeric, SqlError> {
    Ok(match value {
        Numeric::Finite(number) => Numeric::Finite(least_scale(number)),
        other => other.clone(),
    })
}

fn factorial(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    let number = a.integer(0);
    if number < 0 {
        return Err(SqlError::new(sqlstate::OUT_OF_RANGE, "factorial of a negative number is undefined"));
    }
    // The last one that fits.
    if number > 32_177 {
        return Err(SqlError::new(sqlstate::OUT_OF_RANGE, "value overflows numeric format"));
    }
    let mut product = BigInt::from(1);
    for factor in 2..=number {
        if factor % 1024 == 0 {
            a.env.interrupt.check()?;
        }
        product *= factor;
    }
    Numeric::new(BigDecimal::new(product, 0)).map(|number| Some(Value::Numeric(number)))
}

fn greatest_divisor(mut a: i128, mut b: i128) -> i128 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a.abs()
}

fn divisor(a: &Arguments<'_>, ty: &Type) -> Result<Datum, SqlError> {
    let (first, second) = (i128::from(a.integer(0)), i128::from(a.integer(1)));
    arithmetic::integer(ty, greatest_divisor(first, second)).map(Some)
}

fn multiple(a: &Arguments<'_>, ty: &Type) -> Result<Datum, SqlError> {
    let (first, second) = (i128::from(a.integer(0)), i128::from(a.integer(1)));
    if first == 0 || second == 0 {
        return arithmetic::integer(ty, 0).map(Some);
    }
    arithmetic::integer(ty, (first / greatest_divisor(first, second) * second).abs()).map(Some)
}

fn numeric_divisor(a: &Numeric, b: &Numeric) -> Result<Numeric, SqlError> {
    let (Numeric::Finite(x), Numeric::Finite(y)) = (a, b) else { return Ok(Numeric::NaN) };
    let scale = x.fractional_digit_count().max(y.fractional_digit_count());
    let (mut a, mut b) = (a.clone(), b.clone());
    while b.signum() != 0 {
        let rest = a.remainder(&b)?;
        (a, b) = (b, rest);
    }
    let size = if a.signum() < 0 { a.negated() } else { a };
    Ok(match size {
        Numeric::Finite(size) => Numeric::Finite(size.with_scale(scale)),
        other => other,
    })
}

fn numeric_multiple(a: &Numeric, b: &Numeric) -> Result<Numeric, SqlError> {
    let (Numeric::Finite(x), Numeric::Finite(y)) = (a, b) else { return Ok(Numeric::NaN) };
    let scale = x.fractional_digit_count().max(y.fractional_digit_count());
    if a.signum() == 0 || b.signum() == 0 {
        return Ok(Numeric::Finite(BigDecimal::zero().with_scale(scale)));
    }
    let product = a.divide_whole(&numeric_divisor(a, b)?)?.multiply(b)?;
    let size = if product.signum() < 0 { product.negated() } else { product };
    Ok(match size {
        Numeric::Finite(size) => Numeric::Finite(size.with_scale(scale)),
        other => other,
    })
}

/// Whether a value lies before or behind the buckets. Falling bounds are counted from above. 2201G if the bounds are none.
fn outside<T: PartialOrd>(
    value: &T,
    low: &T,
    high: &T,
    is_nan: bool,
    is_infinite: bool,
) -> Result<(bool, bool), SqlError> {
    let text = match (is_nan, is_infinite) {
        (true, _) => "operand, lower bound, and upper bound cannot be NaN",
        (_, true) => "lower and upper bounds must be finite",
        _ if low == high => "lower bound cannot equal upper bound",
        _ => return Ok(if low < high { (value < low, value >= high) } else { (value > low, value <= high) }),
    };
    Err(SqlError::new(sqlstate::INVALID_WIDTH_BUCKET, text))
}

/// The number of buckets. 2201G if it is none.
fn buckets(a: &Arguments<'_>) -> Result<i64, SqlError> {
    match a.integer(3) {
        count @ 1.. => Ok(count),
        _ => Err(SqlError::new(sqlstate::INVALID_WIDTH_BUCKET, "count must be greater than zero")),
    }
}

fn float_bucket(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    let (Some(Value::Float8(value)), Some(Value::Float8(low)), Some(Value::Float8(high))) =
        (a.value(0), a.value(1), a.value(2))
    else {
        return Ok(None);
    };
    let count = buckets(a)?;
    let is_nan = value.is_nan() || low.is_nan() || high.is_nan();
    let is_infinite = low.is_infinite() || high.is_infinite();
    let (before, behind) = outside(&value, &low, &high, is_nan, is_infinite)?;
    let bucket = match (before, behind) {
        (true, _) => 0,
        (_, true) => count + 1,
        _ => {
            // Halves, so that the difference of the bounds cannot overflow.
            let part = (value / 2.0 - low / 2.0) / (high / 2.0 - low / 2.0);
            ((part * count as f64) as i64).min(count - 1) + 1
        }
    };
    arithmetic::integer(&Type::Int4, bucket.into()).map(Some)
}

fn numeric_bucket(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    let (Some(Value::Numeric(value)), Some(Value::Numeric(low)), Some(Value::Numeric(high))) =
        (a.value(0), a.value(1), a.value(2))
    else {
        return Ok(None);
    };
    let count = buckets(a)?;
    let is_nan = value.is_nan() || low.is_nan() || high.is_nan();
    let is_infinite = low.finite().is_none() || high.finite().is_none();
    let (before, behind) = outside(value, low, high, is_nan, is_infinite)?;
    let bucket = match (before, behind) {
        (true, _) => 0,
        (_, true) => count + 1,
        _ => {
            let part = value.subtract(low)?.multiply(&Numeric::from_i64(count))?;
            let whole = part.divide_whole(&high.subtract(low)?)?;
            whole.to_i64().unwrap_or(0) + 1
        }
    };
    arithmetic::integer(&Type::Int4, bucket.into()).map(Some)
}
