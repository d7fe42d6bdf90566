//! numeric's binary format: digit count, weight, sign, display scale, base-10000 digits.

use bigdecimal::num_bigint::{BigInt, Sign};
use bigdecimal::{BigDecimal, RoundingMode};

use super::numeric::{Numeric, SCALE_MAX};
use crate::error::{SqlError, sqlstate};

/// The sign's word of a number that is negative, and of what is no number.
const NEGATIVE: u16 = 0x4000;
const NAN: u16 = 0xC000;
const INFINITY: u16 = 0xD000;
const MINUS_INFINITY: u16 = 0xF000;

/// Appends the binary format.
pub(super) fn to_binary(value: &Numeric, out: &mut Vec<u8>) {
    let value = match value {
        Numeric::Finite(value) => value,
        Numeric::NaN => return special(NAN, out),
        Numeric::Infinity => return special(INFINITY, out),
        Numeric::MinusInfinity => return special(MINUS_INFINITY, out),
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
    out.extend_from_slice(&(if sign == Sign::Minus { NEGATIVE } else { 0 }).to_be_bytes());
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
        NAN => return Ok(Numeric::NaN),
        INFINITY => return Ok(Numeric::Infinity),
        MINUS_INFINITY => return Ok(Numeric::MinusInfinity),
        0 | NEGATIVE => {}
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
    if sign == NEGATIVE {
        unscaled = -unscaled;
    }
    let own_scale = (count as i64 - i64::from(weight) - 1) * 4;
    Numeric::new(
        BigDecimal::new(unscaled, own_scale).with_scale_round(i64::from(scale), RoundingMode::HalfUp),
    )
}

fn special(sign: u16, out: &mut Vec<u8>) {
    for word in [0, 0, sign, 0] {
        out.extend_from_slice(&word.to_be_bytes());
    }
}
