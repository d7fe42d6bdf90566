//! numeric: exact decimals that remember their display scale, infinities, and NaN.
//!
//! The digits are [`BigDecimal`]'s; this file adds what PostgreSQL does around them: what is no finite number, limits
//! (131072 digits before the point, 16383 after it), rounding half away from zero.

use std::cmp::Ordering;
use std::fmt;

use bigdecimal::num_bigint::{BigInt, Sign};
use bigdecimal::{BigDecimal, RoundingMode, ToPrimitive, Zero};

use crate::error::{SqlError, sqlstate};

/// Digits before the decimal point at most.
pub(super) const INTEGER_DIGITS_MAX: i64 = 131_072;
/// Digits after the decimal point at most.
pub(super) const SCALE_MAX: i64 = 16_383;

/// A numeric value.
#[derive(Clone, Debug)]
pub enum Numeric {
    /// A decimal number; its scale is the number of digits shown after the point (never negative).
    Finite(BigDecimal),
    /// Larger than all finite numbers.
    Infinity,
    /// Smaller than all finite numbers.
    MinusInfinity,
    /// Not a number: equal to itself and larger than all numbers, infinity too.
    NaN,
}

impl PartialEq for Numeric {
    fn eq(&self, other: &Numeric) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Numeric {}

impl PartialOrd for Numeric {
    fn partial_cmp(&self, other: &Numeric) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Numeric {
    fn cmp(&self, other: &Numeric) -> Ordering {
        let rank = |value: &Numeric| match value {
            Numeric::MinusInfinity => 0,
            Numeric::Finite(_) => 1,
            Numeric::Infinity => 2,
            Numeric::NaN => 3,
        };
        match (self, other) {
            (Numeric::Finite(a), Numeric::Finite(b)) => a.cmp(b),
            (a, b) => rank(a).cmp(&rank(b)),
        }
    }
}

/// 22003 for a number with too many digits.
pub(super) fn overflow() -> SqlError {
    SqlError::new(sqlstate::OUT_OF_RANGE, "value overflows numeric format")
}

impl Numeric {
    /// Takes a decimal if it is within the limits; negative scales become digits.
    pub(crate) fn new(value: BigDecimal) -> Result<Numeric, SqlError> {
        let (digits, scale) = (value.digits() as i64, value.fractional_digit_count());
        if !value.is_zero() && digits - scale > INTEGER_DIGITS_MAX {
            return Err(overflow());
        }
        let scale = scale.clamp(0, SCALE_MAX);
        Ok(Numeric::Finite(value.with_scale_round(scale, RoundingMode::HalfUp)))
    }

    /// A whole number.
    pub(crate) fn from_i64(value: i64) -> Numeric {
        Numeric::Finite(BigDecimal::from(value))
    }

    /// Reads the text format.
    pub(crate) fn parse(text: &str) -> Result<Numeric, SqlError> {
        let trimmed = text.trim_matches(|c: char| c.is_ascii_whitespace());
        let invalid = || {
            SqlError::new(
                sqlstate::INVALID_TEXT,
                format!("invalid input syntax for type numeric: \"{text}\""),
            )
        };
        if trimmed.eq_ignore_ascii_case("nan") {
            return Ok(Numeric::NaN);
        }
        let unsigned = trimmed.strip_prefix(['+', '-']).unwrap_or(trimmed);
        if unsigned.eq_ignore_ascii_case("infinity") || unsigned.eq_ignore_ascii_case("inf") {
            let negative = trimmed.starts_with('-');
            return Ok(if negative { Numeric::MinusInfinity } else { Numeric::Infinity });
        }
        let (mantissa, exponent) = match trimmed.find(['e', 'E']) {
            Some(at) => (&trimmed[..at], &trimmed[at + 1..]),
            None => (trimmed, "0"),
        };
        let body = mantissa.strip_prefix(['+', '-']).unwrap_or(mantissa);
        let digits = body.bytes().filter(u8::is_ascii_digit).count();
        let points = body.bytes().filter(|b| *b == b'.').count();
        if digits == 0 || points > 1 || digits + points != body.len() {
            return Err(invalid());
        }
        let exponent: i64 = match exponent.parse::<i64>() {
            Ok(exponent) => exponent,
            Err(_) if is_integer(exponent) => return Err(overflow()),
            Err(_) => return Err(invalid()),
        };
        if exponent.abs() > INTEGER_DIGITS_MAX + SCALE_MAX {
            return Err(overflow());
        }
        let point = body.find('.').map_or(0, |at| body.len() - at - 1) as i64;
        let mut plain: String = body.chars().filter(char::is_ascii_digit).collect();
        if mantissa.starts_with('-') {
            plain.insert(0, '-');
        }
        let unscaled: BigInt = plain.parse().map_err(|_| invalid())?;
        Numeric::new(BigDecimal::new(unscaled, point - exponent))
    }

    /// Rounds to `numeric(precision, scale)`; 22003 if it does not fit.
    pub(crate) fn fit(self, precision: u16, scale: i16) -> Result<Numeric, SqlError> {
        let overflow = |why: String| {
            SqlError::new(sqlstate::OUT_OF_RANGE, "numeric field overflow")
                .detail(format!("A field with precision {precision}, scale {scale} {why}."))
        };
        let value = match self {
            Numeric::Finite(value) => value,
            Numeric::NaN => return Ok(Numeric::NaN),
            _ => return Err(overflow("cannot hold an infinite value".into())),
        };
        let rounded = value.with_scale_round(i64::from(scale), RoundingMode::HalfUp);
        let whole = i64::from(precision) - i64::from(scale);
        if !rounded.is_zero() && rounded.digits() as i64 - i64::from(scale) > whole {
            let limit = if whole == 0 { "1".to_string() } else { format!("10^{whole}") };
            return Err(overflow(format!("must round to an absolute value less than {limit}")));
        }
        // A negative scale rounds, and is not shown.
        Ok(Numeric::Finite(rounded.with_scale(i64::from(scale).max(0))))
    }

    /// Minus the number.
    pub(crate) fn negated(&self) -> Numeric {
        match self {
            Numeric::Finite(value) => Numeric::Finite(-value),
            Numeric::Infinity => Numeric::MinusInfinity,
            Numeric::MinusInfinity => Numeric::Infinity,
            Numeric::NaN => Numeric::NaN,
        }
    }

    /// 0 for zero, else 1 or -1 as it is above or below it; NaN is above.
    pub(crate) fn signum(&self) -> i64 {
        self.cmp(&Numeric::from_i64(0)) as i64
    }

    /// Is it NaN?
    pub(crate) fn is_nan(&self) -> bool {
        matches!(self, Numeric::NaN)
    }

    /// The shortest decimal of at most so many digits that a floating point number is near to.
    pub(crate) fn from_float(value: f64, digits: usize) -> Result<Numeric, SqlError> {
        if !value.is_finite() {
            return Numeric::parse(&value.to_string());
        }
        let shown = format!("{value:.*e}", digits - 1);
        let (mantissa, exponent) = shown.split_once('e').unwrap_or((&shown, "0"));
        let mantissa = mantissa.trim_end_matches('0').trim_end_matches('.');
        Numeric::parse(&format!("{mantissa}e{exponent}"))
    }

    /// Rounds half away from zero to a whole number, if it fits.
    pub(crate) fn to_i64(&self) -> Option<i64> {
        match self {
            Numeric::Finite(value) => value.with_scale_round(0, RoundingMode::HalfUp).to_i64(),
            _ => None,
        }
    }

    /// The nearest double.
    pub(crate) fn to_f64(&self) -> f64 {
        match self {
            Numeric::Finite(value) => value.to_string().parse().unwrap_or(f64::NAN),
            Numeric::Infinity => f64::INFINITY,
            Numeric::MinusInfinity => f64::NEG_INFINITY,
            Numeric::NaN => f64::NAN,
        }
    }

    /// Bytes that it takes behind its fixed size.
    pub(crate) fn heap_bytes(&self) -> u64 {
        self.finite().map_or(0, |value| value.as_bigint_and_scale().0.bits() / 8)
    }

    /// The decimal, if it is finite.
    pub(crate) fn finite(&self) -> Option<&BigDecimal> {
        match self {
            Numeric::Finite(value) => Some(value),
            _ => None,
        }
    }

    /// Sign, decimal exponent and digits without trailing zeros: value = ±0.d1d2d3.. × 10^exponent. What the
    /// order-preserving key encoding needs; zero gives no digits.
    pub(crate) fn scientific(value: &BigDecimal) -> (Sign, i64, Vec<u8>) {
        let (unscaled, scale) = value.as_bigint_and_exponent();
        if unscaled.sign() == Sign::NoSign {
            return (Sign::NoSign, 0, Vec::new());
        }
        let mut digits: Vec<u8> = unscaled.magnitude().to_string().bytes().map(|b| b - b'0').collect();
        let exponent = digits.len() as i64 - scale;
        while digits.last() == Some(&0) {
            digits.pop();
        }
        (unscaled.sign(), exponent, digits)
    }
}

fn is_integer(text: &str) -> bool {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
}

impl fmt::Display for Numeric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Numeric::NaN => f.write_str("NaN"),
            Numeric::Infinity => f.write_str("Infinity"),
            Numeric::MinusInfinity => f.write_str("-Infinity"),
            Numeric::Finite(value) => f.write_str(&value.to_plain_string()),
        }
    }
}
