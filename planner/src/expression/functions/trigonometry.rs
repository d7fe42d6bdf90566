//! Trigonometry, in radians and in degrees. Degrees are exact where the result is, as in PostgreSQL: sind(30) is 0.5.

use super::function::{Arguments, Function, function};
use crate::error::{SqlError, sqlstate};
use crate::expression::arithmetic::{float_overflow, float_underflow};
use crate::types::declared::FLOAT8;
use crate::types::{Datum, Value};

pub(super) const FUNCTIONS: &[Function] = &[
    function("acos", &[FLOAT8], FLOAT8, |a| within(a, -1.0, 1.0, f64::acos)),
    function("acosd", &[FLOAT8], FLOAT8, |a| within(a, -1.0, 1.0, acosd)),
    function("acosh", &[FLOAT8], FLOAT8, |a| within(a, 1.0, f64::INFINITY, f64::acosh)),
    function("asin", &[FLOAT8], FLOAT8, |a| within(a, -1.0, 1.0, f64::asin)),
    function("asind", &[FLOAT8], FLOAT8, |a| within(a, -1.0, 1.0, asind)),
    function("asinh", &[FLOAT8], FLOAT8, |a| within(a, f64::NEG_INFINITY, f64::INFINITY, f64::asinh)),
    function("atan", &[FLOAT8], FLOAT8, |a| within(a, f64::NEG_INFINITY, f64::INFINITY, f64::atan)),
    function("atan2", &[FLOAT8, FLOAT8], FLOAT8, |a| number(first(a).atan2(second(a)))),
    function("atan2d", &[FLOAT8, FLOAT8], FLOAT8, |a| number(first(a).atan2(second(a)) / ATAN_1 * 45.0)),
    function("atand", &[FLOAT8], FLOAT8, |a| number(first(a).atan() / ATAN_1 * 45.0)),
    function("atanh", &[FLOAT8], FLOAT8, |a| within(a, -1.0, 1.0, f64::atanh)),
    function("cos", &[FLOAT8], FLOAT8, |a| finite(a, f64::cos)),
    function("cosd", &[FLOAT8], FLOAT8, |a| finite(a, cosd)),
    function("cosh", &[FLOAT8], FLOAT8, |a| number(first(a).cosh())),
    function("cot", &[FLOAT8], FLOAT8, |a| finite(a, |x| 1.0 / x.tan())),
    function("cotd", &[FLOAT8], FLOAT8, |a| finite(a, cotd)),
    function("degrees", &[FLOAT8], FLOAT8, |a| scaled(a, |x| x / (std::f64::consts::PI / 180.0))),
    function("radians", &[FLOAT8], FLOAT8, |a| scaled(a, |x| x * (std::f64::consts::PI / 180.0))),
    function("sin", &[FLOAT8], FLOAT8, |a| finite(a, f64::sin)),
    function("sind", &[FLOAT8], FLOAT8, |a| finite(a, sind)),
    function("sinh", &[FLOAT8], FLOAT8, |a| number(first(a).sinh())),
    function("tan", &[FLOAT8], FLOAT8, |a| finite(a, f64::tan)),
    function("tand", &[FLOAT8], FLOAT8, |a| finite(a, tand)),
    function("tanh", &[FLOAT8], FLOAT8, |a| number(first(a).tanh())),
];

fn argument(a: &Arguments<'_>, at: usize) -> f64 {
    match a.value(at) {
        Some(Value::Float8(number)) => *number,
        _ => f64::NAN,
    }
}

fn first(a: &Arguments<'_>) -> f64 {
    argument(a, 0)
}

fn second(a: &Arguments<'_>) -> f64 {
    argument(a, 1)
}

fn number(value: f64) -> Result<Datum, SqlError> {
    Ok(Some(Value::Float8(value)))
}

fn out_of_range() -> SqlError {
    SqlError::new(sqlstate::OUT_OF_RANGE, "input is out of range")
}

/// A function of numbers from `low` to `high`.
fn within(a: &Arguments<'_>, low: f64, high: f64, code: fn(f64) -> f64) -> Result<Datum, SqlError> {
    let value = first(a);
    if value < low || value > high {
        return Err(out_of_range());
    }
    number(code(value))
}

/// A function of finite numbers.
fn finite(a: &Arguments<'_>, code: fn(f64) -> f64) -> Result<Datum, SqlError> {
    if first(a).is_infinite() {
        return Err(out_of_range());
    }
    number(code(first(a)))
}

/// A multiple, which may be too large or too small.
fn scaled(a: &Arguments<'_>, code: fn(f64) -> f64) -> Result<Datum, SqlError> {
    let (value, result) = (first(a), code(first(a)));
    if result.is_infinite() && value.is_finite() {
        return Err(float_overflow());
    }
    if result == 0.0 && value != 0.0 {
        return Err(float_underflow());
    }
    number(result)
}

/// The angle of tangent 1, in radians.
const ATAN_1: f64 = std::f64::consts::FRAC_PI_4;
const RADIANS_PER_DEGREE: f64 = std::f64::consts::PI / 180.0;

fn sin_to_30(x: f64) -> f64 {
    (x * RADIANS_PER_DEGREE).sin() / (30.0 * RADIANS_PER_DEGREE).sin() / 2.0
}

fn cos_to_60(x: f64) -> f64 {
    let of_60 = 1.0 - (60.0 * RADIANS_PER_DEGREE).cos();
    1.0 - (1.0 - (x * RADIANS_PER_DEGREE).cos()) / of_60 / 2.0
}

/// Sine of 0 to 90 degrees.
fn sin_to_90(x: f64) -> f64 {
    if x <= 30.0 { sin_to_30(x) } else { cos_to_60(90.0 - x) }
}

/// Cosine of 0 to 90 degrees.
fn cos_to_90(x: f64) -> f64 {
    if x <= 60.0 { cos_to_60(x) } else { sin_to_30(90.0 - x) }
}

/// An angle as one of 0 to 90 degrees, and the signs of its sine and its cosine.
fn quadrant(x: f64) -> (f64, f64, f64) {
    let (mut angle, mut sine, mut cosine) = (x % 360.0, 1.0, 1.0);
    if angle < 0.0 {
        (angle, sine) = (-angle, -sine);
    }
    if angle > 180.0 {
        (angle, sine) = (360.0 - angle, -sine);
    }
    if angle > 90.0 {
        (angle, cosine) = (180.0 - angle, -cosine);
    }
    (angle, sine, cosine)
}

fn sind(x: f64) -> f64 {
    let (angle, sine, _) = quadrant(x);
    sine * sin_to_90(angle)
}

fn cosd(x: f64) -> f64 {
    let (angle, _, cosine) = quadrant(x);
    cosine * cos_to_90(angle)
}

fn tand(x: f64) -> f64 {
    let (angle, sine, cosine) = quadrant(x);
    let of_45 = sin_to_90(45.0) / cos_to_90(45.0);
    // No minus zero.
    sine * cosine * (sin_to_90(angle) / cos_to_90(angle) / of_45) + 0.0
}

fn cotd(x: f64) -> f64 {
    let (angle, sine, cosine) = quadrant(x);
    let of_45 = cos_to_90(45.0) / sin_to_90(45.0);
    sine * cosine * (cos_to_90(angle) / sin_to_90(angle) / of_45) + 0.0
}

fn asin_to_90(x: f64) -> f64 {
    if x <= 0.5 { x.asin() / 0.5f64.asin() * 30.0 } else { 90.0 - x.acos() / 0.5f64.acos() * 60.0 }
}

fn asind(x: f64) -> f64 {
    if x >= 0.0 { asin_to_90(x) } else { -asin_to_90(-x) }
}

fn acosd(x: f64) -> f64 {
    if x < 0.0 {
        return 90.0 + asin_to_90(-x);
    }
    if x <= 0.5 { 90.0 - x.asin() / 0.5f64.asin() * 30.0 } else { x.acos() / 0.5f64.acos() * 60.0 }
}
