//! numeric: exact decimals that remember their display scale, and NaN.
//!
//! The digits are [`BigDecimal`]'s; this file adds what PostgreSQL does around them: NaN, limits (131072 digits
//! before the point, 16383 after it), rounding half away from zero, and the binary format's base-10000 digits.

use std::cmp::Ordering;
use std::fmt;

use bigdecimal::num_bigint::{BigInt, Sign};
use bigdecimal::{BigDecimal, RoundingMode, ToPrimitive, Zero};

use crate::error::{SqlError, sqlstate};

/// Digits before the decimal point at most.
const INTEGER_DIGITS_MAX: i64 = 131_072;
/// Digits after the decimal point at most.
const SCALE_MAX: i64 = 16_383;

/// A numeric value.
#[derive(Clone, Debug)]
pub enum Numeric {
    /// A decimal number; its scale is the number of digits shown after the point (never negative).
    Finite(BigDecimal),
    /// Not a number: equal to itself and larger than all numbers.
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
        match (self, other) {
            (Numeric::Finite(a), Numeric::Finite(b)) => a.cmp(b),
            (Numeric::NaN, Numeric::NaN) => Ordering::Equal,
            (Numeric::NaN, Numeric::Finite(_)) => Ordering::Greater,
            (Numeric::Finite(_), Numeric::NaN) => Ordering::Less,
        }
    }
}

fn overflow() -> SqlError {
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
        let unsigned = trimmed.trim_start_matches(['+', '-']);
        if unsigned.eq_ignore_ascii_case("infinity") || unsigned.eq_ignore_ascii_case("inf") {
            return Err(SqlError::unsupported("numeric infinity").hint("Use double precision, or NaN."));
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
    pub(crate) fn fit(self, precision: u16, scale: u16) -> Result<Numeric, SqlError> {
        let Numeric::Finite(value) = self else { return Ok(Numeric::NaN) };
        let rounded = value.with_scale_round(i64::from(scale), RoundingMode::HalfUp);
        let whole = i64::from(precision) - i64::from(scale);
        if !rounded.is_zero() && rounded.digits() as i64 - i64::from(scale) > whole {
            return Err(SqlError::new(sqlstate::OUT_OF_RANGE, "numeric field overflow").detail(format!(
                "A field with precision {precision}, scale {scale} must round to an absolute value less than {}.",
                if whole == 0 { "1".to_string() } else { format!("10^{whole}") }
            )));
        }
        Ok(Numeric::Finite(rounded))
    }

    /// Rounds half away from zero to a whole number, if it fits.
    pub(crate) fn to_i64(&self) -> Option<i64> {
        match self {
            Numeric::Finite(value) => value.with_scale_round(0, RoundingMode::HalfUp).to_i64(),
            Numeric::NaN => None,
        }
    }

    /// The nearest double.
    pub(crate) fn to_f64(&self) -> f64 {
        match self {
            Numeric::Finite(value) => value.to_string().parse().unwrap_or(f64::NAN),
            Numeric::NaN => f64::NAN,
        }
    }

    /// Bytes that it takes behind its fixed size.
    pub(crate) fn heap_bytes(&self) -> u64 {
        self.finite().map_or(0, |value| value.as_bigint_and_scale().0.bits() / 8)
    }

    /// The decimal, unless NaN.
    pub(crate) fn finite(&self) -> Option<&BigDecimal> {
        match self {
            Numeric::Finite(value) => Some(value),
            Numeric::NaN => None,
        }
    }

    /// Quotient with PostgreSQL's choice of scale: at least 16 significant digits, at least each operand's scale.
    pub(crate) fn divide(&self, other: &Numeric) -> Result<Numeric, SqlError> {
        let (Numeric::Finite(a), Numeric::Finite(b)) = (self, other) else { return Ok(Numeric::NaN) };
        if b.is_zero() {
            return Err(SqlError::new(sqlstate::DIVISION_BY_ZERO, "division by zero"));
        }
        // PostgreSQL estimates the weight of the quotient in base-10000 digits (select_div_scale).
        let (weight_a, first_a) = leading(a);
        let (weight_b, first_b) = leading(b);
        let mut weight = weight_a - weight_b;
        if first_a <= first_b {
            weight -= 1;
        }
        let scale =
            (16 - weight * 4).max(a.fractional_digit_count()).max(b.fractional_digit_count()).clamp(0, 1000);
        let (unscaled_a, scale_a) = a.as_bigint_and_exponent();
        let (unscaled_b, scale_b) = b.as_bigint_and_exponent();
        // a / b = ua * 10^-sa / (ub * 10^-sb); one digit more than needed, then rounded.
        let shift = scale + 1 + scale_b - scale_a;
        let ten = |power: i64| BigInt::from(10).pow(power.unsigned_abs() as u32);
        let quotient = if shift >= 0 {
            unscaled_a * ten(shift) / unscaled_b
        } else {
            unscaled_a / (unscaled_b * ten(shift))
        };
        Ok(Numeric::Finite(
            BigDecimal::new(quotient, scale + 1).with_scale_round(scale, RoundingMode::HalfUp),
        ))
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

/// Weight and value of the first base-10000 digit.
fn leading(value: &BigDecimal) -> (i64, i64) {
    let (sign, exponent, digits) = Numeric::scientific(value);
    if sign == Sign::NoSign {
        return (0, 0);
    }
    let weight = (exponent - 1).div_euclid(4);
    let count = exponent - weight * 4;
    let first =
        (0..count).fold(0, |acc, i| acc * 10 + i64::from(digits.get(i as usize).copied().unwrap_or(0)));
    (weight, first)
}

impl fmt::Display for Numeric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Numeric::NaN => f.write_str("NaN"),
            Numeric::Finite(value) => f.write_str(&value.to_plain_string()),
        }
    }
}

/// The binary format: digit count, weight, sign, display scale, base-10000 digits.
pub(super) fn to_binary(value: &Numeric, out: &mut Vec<u8>) {
    let Numeric::Finite(value) = value else {
        for word in [0u16, 0, 0xC000, 0] {
            out.extend_from_slice(&word.to_be_bytes());
        }
        return;
    };
    let scale = value.fractional_digit_count().max(0);
    let (sign, exponent, digits) = Numeric::scientific(value);
    let weight = if digits.is_empty() { 0 } else { (exponent - 1).div_euclid(4) };
    // Align to base 10000: `lead` zero digits come before the first decimal digit.
    let lead = if digits.is_empty() { 0 } else { (weight + 1) * 4 - exponent };
    let mut aligned = vec![0u8; lead as usize];
    aligned.extend_from_slice(&digits);
    aligned.resize(aligned.len().div_ceil(4) * 4, 0);
    out.extend_from_slice(&((aligned.len() / 4) as i16).to_be_bytes());
    out.extend_from_slice(&(weight as i16).to_be_bytes());
    out.extend_from_slice(&(if sign == Sign::Minus { 0x4000u16 } else { 0 }).to_be_bytes());
    out.extend_from_slice(&(scale as u16).to_be_bytes());
    for four in aligned.chunks(4) {
        let digit = four.iter().fold(0u16, |acc, d| acc * 10 + u16::from(*d));
        out.extend_from_slice(&digit.to_be_bytes());
    }
}

/// Reads the binary format.
pub(super) fn from_binary(bytes: &[u8]) -> Result<Numeric, SqlError> {
    let invalid = || SqlError::new(sqlstate::INVALID_BINARY, "invalid binary format for numeric");
    let word =
        |at: usize| bytes.get(at..at + 2).map(|b| u16::from_be_bytes([b[0], b[1]])).ok_or_else(invalid);
    let (count, weight, sign, scale) = (word(0)? as usize, word(2)? as i16, word(4)?, word(6)?);
    match sign {
        0xC000 => return Ok(Numeric::NaN),
        0xD000 | 0xF000 => return Err(SqlError::unsupported("numeric infinity")),
        0 | 0x4000 => {}
        _ => return Err(invalid()),
    }
    if bytes.len() != 8 + count * 2 || i64::from(scale) > SCALE_MAX {
        return Err(invalid());
    }
    let mut text = String::with_capacity(count * 4 + 1);
    for i in 0..count {
        let digit = word(8 + i * 2)?;
        if digit > 9999 {
            return Err(invalid());
        }
        text.push_str(&format!("{digit:04}"));
    }
    let mut unscaled: BigInt =
        if text.is_empty() { BigInt::from(0) } else { text.parse().map_err(|_| invalid())? };
    if sign == 0x4000 {
        unscaled = -unscaled;
    }
    let own_scale = (count as i64 - i64::from(weight) - 1) * 4;
    Numeric::new(
        BigDecimal::new(unscaled, own_scale).with_scale_round(i64::from(scale), RoundingMode::HalfUp),
    )
}
