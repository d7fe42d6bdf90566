//! Arithmetic on numeric, with PostgreSQL's choice of how many digits a result shows.
//!
//! Sums and products are exact. Quotients, roots, powers, exponentials and logarithms are computed with more digits than
//! are shown, and rounded. How many are shown follows PostgreSQL: 16 significant ones at least, no fewer behind the
//! point than the operands have, 1000 at most.

use bigdecimal::num_bigint::{BigInt, Sign};
use bigdecimal::{BigDecimal, RoundingMode, Signed, ToPrimitive, Zero};

use super::numeric::{INTEGER_DIGITS_MAX, Numeric, overflow};
use crate::error::{SqlError, sqlstate};

/// Significant digits of a result at least.
const SIGNIFICANT_DIGITS: i64 = 16;
/// Digits behind the point of a result at most.
const SHOWN_SCALE_MAX: i64 = 1000;
/// An exponential of a number beyond this is out of range.
const EXPONENT_MAX: f64 = 6000.0;
/// Bits more than the digits need.
const GUARD_BITS: i64 = 96;

fn division_by_zero() -> SqlError {
    SqlError::new(sqlstate::DIVISION_BY_ZERO, "division by zero")
}

fn invalid_power(text: &str) -> SqlError {
    SqlError::new(sqlstate::INVALID_POWER, text)
}

fn invalid_logarithm(text: &str) -> SqlError {
    SqlError::new(sqlstate::INVALID_LOGARITHM, text)
}

/// Digits to be shown, within the limits.
fn shown(scale: i64, operands: &[&BigDecimal]) -> i64 {
    let scales = operands.iter().map(|value| value.fractional_digit_count());
    scales.fold(scale, i64::max).clamp(0, SHOWN_SCALE_MAX)
}

fn ten(power: i64) -> BigInt {
    BigInt::from(10).pow(power.unsigned_abs() as u32)
}

impl Numeric {
    pub(crate) fn add(&self, other: &Numeric) -> Result<Numeric, SqlError> {
        match (self, other) {
            (Numeric::Finite(a), Numeric::Finite(b)) => {
                // The library drops digits of a sum with zero. PostgreSQL shows them.
                let scale = a.fractional_digit_count().max(b.fractional_digit_count());
                Numeric::new((a + b).with_scale(scale))
            }
            (Numeric::NaN, _) | (_, Numeric::NaN) => Ok(Numeric::NaN),
            (Numeric::Finite(_), infinite) | (infinite, Numeric::Finite(_)) => Ok(infinite.clone()),
            (a, b) => Ok(if a == b { a.clone() } else { Numeric::NaN }),
        }
    }

    pub(crate) fn subtract(&self, other: &Numeric) -> Result<Numeric, SqlError> {
        self.add(&other.negated())
    }

    pub(crate) fn multiply(&self, other: &Numeric) -> Result<Numeric, SqlError> {
        match (self, other) {
            (Numeric::Finite(a), Numeric::Finite(b)) => {
                let scale = a.fractional_digit_count() + b.fractional_digit_count();
                Numeric::new((a * b).with_scale(scale))
            }
            (Numeric::NaN, _) | (_, Numeric::NaN) => Ok(Numeric::NaN),
            (a, b) => Ok(match a.signum() * b.signum() {
                0 => Numeric::NaN,
                1 => Numeric::Infinity,
                _ => Numeric::MinusInfinity,
            }),
        }
    }

    pub(crate) fn divide(&self, other: &Numeric) -> Result<Numeric, SqlError> {
        match (self, other) {
            (Numeric::NaN, _) | (_, Numeric::NaN) => Ok(Numeric::NaN),
            (_, Numeric::Finite(b)) if b.is_zero() => Err(division_by_zero()),
            (Numeric::Finite(a), Numeric::Finite(b)) => {
                Ok(Numeric::Finite(quotient(a, b, division_scale(a, b), RoundingMode::HalfUp)))
            }
            (Numeric::Finite(_), _) => Ok(Numeric::from_i64(0)),
            (infinite, Numeric::Finite(b)) => {
                Ok(if b.is_negative() { infinite.negated() } else { infinite.clone() })
            }
            _ => Ok(Numeric::NaN),
        }
    }

    /// The whole part of the quotient.
    pub(crate) fn divide_whole(&self, other: &Numeric) -> Result<Numeric, SqlError> {
        match (self, other) {
            (Numeric::Finite(a), Numeric::Finite(b)) if !b.is_zero() => {
                Ok(Numeric::Finite(quotient(a, b, 0, RoundingMode::Down)))
            }
            (a, b) => a.divide(b),
        }
    }

    /// What is left of a division; it has the sign of the first.
    pub(crate) fn remainder(&self, other: &Numeric) -> Result<Numeric, SqlError> {
        match (self, other) {
            (Numeric::NaN, _) | (_, Numeric::NaN) => Ok(Numeric::NaN),
            (_, Numeric::Finite(b)) if b.is_zero() => Err(division_by_zero()),
            (Numeric::Finite(a), Numeric::Finite(b)) => {
                let scale = a.fractional_digit_count().max(b.fractional_digit_count());
                let whole = quotient(a, b, 0, RoundingMode::Down);
                Numeric::new((a - whole * b).with_scale(scale))
            }
            (Numeric::Finite(_), _) => Ok(self.clone()),
            _ => Ok(Numeric::NaN),
        }
    }

    pub(crate) fn sqrt(&self) -> Result<Numeric, SqlError> {
        let failed = || invalid_power("cannot take square root of a negative number");
        let value = match self {
            Numeric::NaN | Numeric::Infinity => return Ok(self.clone()),
            Numeric::MinusInfinity => return Err(failed()),
            Numeric::Finite(value) if value.is_negative() => return Err(failed()),
            Numeric::Finite(value) => value,
        };
        let weight = (leading(value).0 + 1) * 4 / 2 - 1;
        Ok(Numeric::Finite(root(value, shown(SIGNIFICANT_DIGITS - weight, &[value]))))
    }

    /// The square root with as many digits behind the point as the number has.
    pub(crate) fn sqrt_of_scale(&self) -> Result<Numeric, SqlError> {
        match self {
            Numeric::Finite(value) if !value.is_negative() => {
                Ok(Numeric::Finite(root(value, value.fractional_digit_count())))
            }
            other => other.sqrt(),
        }
    }

    /// e to the power of the number.
    pub(crate) fn exp(&self) -> Result<Numeric, SqlError> {
        let value = match self {
            Numeric::NaN | Numeric::Infinity => return Ok(self.clone()),
            Numeric::MinusInfinity => return Ok(Numeric::from_i64(0)),
            Numeric::Finite(value) => value,
        };
        let digits = (self.to_f64() * std::f64::consts::LOG10_E).clamp(-2000.0, 2000.0) as i64;
        exponential(value, shown(SIGNIFICANT_DIGITS - digits, &[value]))
    }

    /// The natural logarithm.
    pub(crate) fn ln(&self) -> Result<Numeric, SqlError> {
        let value = match self {
            Numeric::NaN | Numeric::Infinity => return Ok(self.clone()),
            other => positive(other)?,
        };
        let scale = shown(SIGNIFICANT_DIGITS - logarithm_weight(value), &[value]);
        let bits = bits(scale) + GUARD_BITS;
        Ok(Numeric::Finite(from_fixed(&logarithm(value, bits), bits, scale)))
    }

    /// The logarithm of `self` to a base.
    pub(crate) fn log(&self, base: &Numeric) -> Result<Numeric, SqlError> {
        if self.is_nan() || base.is_nan() {
            return Ok(Numeric::NaN);
        }
        for value in [base, self] {
            if *value != Numeric::Infinity {
                positive(value)?;
            }
        }
        let (value, base) = match (self, base) {
            (Numeric::Finite(value), Numeric::Finite(base)) => (value, base),
            (Numeric::Infinity, Numeric::Infinity) => return Ok(Numeric::NaN),
            (Numeric::Infinity, _) => return Ok(Numeric::Infinity),
            _ => return Ok(Numeric::from_i64(0)),
        };
        let (weight, base_weight) = (logarithm_weight(value), logarithm_weight(base));
        let scale = shown(SIGNIFICANT_DIGITS - (weight - base_weight), &[value, base]);
        // The quotient is as precise as the logarithm of the base, which may be near zero.
        let bits = bits(scale + (weight - 2 * base_weight).max(0) + base_weight.abs()) + GUARD_BITS;
        let (value, base) = (logarithm(value, bits), logarithm(base, bits));
        if base.is_zero() {
            return Err(division_by_zero());
        }
        Ok(Numeric::Finite(from_fixed(&((value << bits) / base), bits, scale)))
    }

    /// The number to a power.
    pub(crate) fn power(&self, exponent: &Numeric) -> Result<Numeric, SqlError> {
        let one = Numeric::from_i64(1);
        if self.is_nan() || exponent.is_nan() {
            // 1 to any power is 1, and so is any number to the power of 0.
            let known = *self == one || exponent.signum() == 0;
            return Ok(if known { one } else { Numeric::NaN });
        }
        if self.signum() == 0 && exponent.signum() < 0 {
            return Err(invalid_power("zero raised to a negative power is undefined"));
        }
        let whole = exponent.finite().is_none_or(BigDecimal::is_integer);
        if self.signum() < 0 && !whole {
            return Err(invalid_power(
                "a negative number raised to a non-integer power yields a complex result",
            ));
        }
        let (Numeric::Finite(base), Numeric::Finite(power)) = (self, exponent) else {
            return Ok(self.infinite_power(exponent));
        };
        if whole && let Some(power) = power.to_i32() {
            return integer_power(base, power);
        }
        real_power(base, power)
    }

    /// A power where the number or the exponent is infinite.
    fn infinite_power(&self, exponent: &Numeric) -> Numeric {
        let one = Numeric::from_i64(1);
        let (zero, infinity) = (Numeric::from_i64(0), Numeric::Infinity);
        match exponent {
            Numeric::Finite(power) => match (power.is_zero(), power.is_negative()) {
                (true, _) => one,
                (_, true) => zero,
                _ if *self == Numeric::MinusInfinity && is_odd(power) => Numeric::MinusInfinity,
                _ => infinity,
            },
            _ => {
                let size = if self.signum() < 0 { self.negated() } else { self.clone() };
                let grows = *exponent == Numeric::Infinity;
                match size.cmp(&one) {
                    std::cmp::Ordering::Equal => one,
                    order if order.is_gt() == grows => infinity,
                    _ => zero,
                }
            }
        }
    }
}

fn is_odd(value: &BigDecimal) -> bool {
    value.with_scale_round(0, RoundingMode::Down).as_bigint_and_scale().0.bit(0)
}

/// 2201E if there is no logarithm.
fn positive(value: &Numeric) -> Result<&BigDecimal, SqlError> {
    match (value.signum(), value) {
        (0, _) => Err(invalid_logarithm("cannot take logarithm of zero")),
        (1, Numeric::Finite(value)) => Ok(value),
        _ => Err(invalid_logarithm("cannot take logarithm of a negative number")),
    }
}

/// Weight (the power of 10000) and value of the first base-10000 digit.
fn leading(value: &BigDecimal) -> (i64, i64) {
    let (sign, exponent, digits) = Numeric::scientific(value);
    if sign == Sign::NoSign {
        return (0, 0);
    }
    let weight = (exponent - 1).div_euclid(4);
    let count = exponent - weight * 4;
    let digit = |at: i64| i64::from(digits.get(at as usize).copied().unwrap_or(0));
    (weight, (0..count).fold(0, |first, at| first * 10 + digit(at)))
}

/// PostgreSQL's digits behind the point of a quotient: it estimates the quotient's weight from the first digits.
fn division_scale(a: &BigDecimal, b: &BigDecimal) -> i64 {
    let ((weight_a, first_a), (weight_b, first_b)) = (leading(a), leading(b));
    let weight = weight_a - weight_b - i64::from(first_a <= first_b);
    shown(SIGNIFICANT_DIGITS - weight * 4, &[a, b])
}

fn quotient(a: &BigDecimal, b: &BigDecimal, scale: i64, mode: RoundingMode) -> BigDecimal {
    let ((unscaled_a, scale_a), (unscaled_b, scale_b)) =
        (a.as_bigint_and_exponent(), b.as_bigint_and_exponent());
    // One digit more than needed, then rounded.
    let shift = scale + 1 + scale_b - scale_a;
    let quotient = match shift >= 0 {
        true => unscaled_a * ten(shift) / unscaled_b,
        false => unscaled_a / (unscaled_b * ten(shift)),
    };
    BigDecimal::new(quotient, scale + 1).with_scale_round(scale, mode)
}

fn root(value: &BigDecimal, scale: i64) -> BigDecimal {
    let (unscaled, own) = value.as_bigint_and_exponent();
    // One digit more than needed. A root is rational only if it is shown whole, so the rest does not count.
    let shift = 2 * (scale + 1) - own;
    let widened = if shift >= 0 { unscaled * ten(shift) } else { unscaled / ten(shift) };
    BigDecimal::new(widened.sqrt(), scale + 1).with_scale_round(scale, RoundingMode::HalfUp)
}

/// Bits that so many decimal digits need.
fn bits(digits: i64) -> i64 {
    digits.max(0) * 3322 / 1000 + 1
}

/// A number as a multiple of 2^-bits.
fn to_fixed(value: &BigDecimal, bits: i64) -> BigInt {
    let (unscaled, scale) = value.as_bigint_and_exponent();
    if scale >= 0 { (unscaled << bits) / ten(scale) } else { (unscaled * ten(scale)) << bits }
}

/// A multiple of 2^-bits (which may be negative) with so many digits behind the point.
fn from_fixed(value: &BigInt, bits: i64, scale: i64) -> BigDecimal {
    let widened = value * ten(scale + 1);
    let widened = if bits >= 0 { divide_by_power(widened, bits) } else { widened << -bits };
    BigDecimal::new(widened, scale + 1).with_scale_round(scale, RoundingMode::HalfUp)
}

/// Divides by 2^bits. What differs from a whole number by less than the computation is precise becomes it.
fn divide_by_power(value: BigInt, bits: i64) -> BigInt {
    let half = BigInt::from(1) << (bits - GUARD_BITS / 2).max(0);
    match value.is_negative() {
        true => -((-value + half) >> bits),
        false => (value + half) >> bits,
    }
}

/// The decimal exponent of a logarithm, as PostgreSQL estimates it from the number's first digits.
fn logarithm_weight(value: &BigDecimal) -> i64 {
    let difference = value - BigDecimal::from(1);
    if difference.abs() <= BigDecimal::new(1.into(), 1) {
        // Near 1, the logarithm is about as large as the difference.
        let (weight, first) = leading(&difference);
        return if first == 0 { 0 } else { weight * 4 + (first as f64).log10() as i64 };
    }
    let (_, exponent, digits) = Numeric::scientific(value);
    // PostgreSQL looks at two digits of base 10000.
    let (weight, _) = leading(value);
    let aligned = exponent - weight * 4 + 4;
    let count = if digits.len() as i64 > aligned - 4 { aligned } else { aligned - 4 };
    let digit = |at: i64| f64::from(digits.get(at as usize).copied().unwrap_or(0));
    let first = (0..count).fold(0.0, |first, at| first * 10.0 + digit(at));
    let power = exponent - count;
    let logarithm: f64 = first.ln() + power as f64 * std::f64::consts::LN_10;
    logarithm.abs().log10() as i64
}

/// The natural logarithm of a positive number as a multiple of 2^-bits.
fn logarithm(value: &BigDecimal, bits: i64) -> BigInt {
    let wide = bits + GUARD_BITS;
    // value = m * 2^k, m from 1 up to 2.
    let (unscaled, scale) = value.as_bigint_and_exponent();
    let estimate = unscaled.bits() as i64 - bits_of_ten(scale);
    let shift = wide - estimate;
    let divisor = if scale >= 0 { ten(scale) } else { BigInt::from(1) };
    let unscaled = if scale >= 0 { unscaled } else { unscaled * ten(scale) };
    let mut mantissa = match shift >= 0 {
        true => (unscaled << shift) / divisor,
        false => unscaled / (divisor << -shift),
    };
    let mut power = estimate;
    let excess = mantissa.bits() as i64 - wide - 1;
    mantissa = if excess >= 0 { mantissa >> excess } else { mantissa << -excess };
    power += excess;
    // Roots bring the mantissa near to 1, where the series is short.
    const ROOTS: i64 = 8;
    for _ in 0..ROOTS {
        mantissa = (mantissa << wide).sqrt();
    }
    let one = BigInt::from(1) << wide;
    let ratio = ((&mantissa - &one) << wide) / (&mantissa + &one);
    let series = inverse_tangent_series(ratio, wide) << (ROOTS + 1);
    let two = (inverse_tangent_series(one / 3, wide) << 1) * power;
    (series + two) >> GUARD_BITS
}

/// Binary digits of 10^scale, roughly.
fn bits_of_ten(scale: i64) -> i64 {
    scale * 3322 / 1000
}

/// z + z^3/3 + z^5/5 + ..: half of the logarithm of (1 + z) / (1 - z).
fn inverse_tangent_series(z: BigInt, bits: i64) -> BigInt {
    let square = (&z * &z) >> bits;
    let (mut sum, mut power, mut at) = (z.clone(), z, 1i64);
    loop {
        power = (power * &square) >> bits;
        at += 2;
        let addend = &power / at;
        // A shift rounds down: a negative number goes to -1, and stays there.
        if addend.is_zero() || power.bits() <= 1 {
            return sum;
        }
        sum += addend;
    }
}

/// e to the power of a multiple of 2^-bits, as one. The power is not negative.
fn exponential_series(value: BigInt, bits: i64) -> BigInt {
    // e^x = (e^(x / 2^k))^(2^k)
    let halvings = (value.bits() as i64 - bits).max(0) + 16;
    let wide = bits + halvings * 2 + GUARD_BITS;
    let small = (value << (wide - bits)) >> halvings;
    let one = BigInt::from(1) << wide;
    let (mut sum, mut addend, mut at) = (&one + &small, small.clone(), 1i64);
    loop {
        at += 1;
        addend = ((addend * &small) >> wide) / at;
        if addend.is_zero() {
            break;
        }
        sum += &addend;
    }
    for _ in 0..halvings {
        sum = (&sum * &sum) >> wide;
    }
    sum >> (wide - bits)
}

fn exponential(value: &BigDecimal, scale: i64) -> Result<Numeric, SqlError> {
    let size = Numeric::Finite(value.clone()).to_f64();
    if size.abs() >= EXPONENT_MAX {
        return if size > 0.0 { Err(overflow()) } else { Ok(zero(scale)) };
    }
    let digits = (size.abs() * std::f64::consts::LOG10_E) as i64 + 1;
    let bits = bits(scale + 2 * digits) + GUARD_BITS;
    let fixed = to_fixed(value, bits);
    Ok(Numeric::Finite(from_fixed(&exponential_of(fixed, bits), bits, scale)))
}

/// e to the power of a multiple of 2^-bits, as one.
fn exponential_of(value: BigInt, bits: i64) -> BigInt {
    if value.is_negative() {
        return (BigInt::from(1) << (2 * bits)) / exponential_series(-value, bits);
    }
    exponential_series(value, bits)
}

fn zero(scale: i64) -> Numeric {
    Numeric::Finite(BigDecimal::new(0.into(), scale))
}

/// A power that is no whole number, or a very large one.
fn real_power(base: &BigDecimal, power: &BigDecimal) -> Result<Numeric, SqlError> {
    if base.is_zero() {
        return Ok(zero(SIGNIFICANT_DIGITS));
    }
    let negative = base.is_negative() && is_odd(power);
    let base = &base.abs();
    // First with few digits, to learn how large the result is.
    let rough = 24 + logarithm_weight(base).abs();
    let rough_bits = bits(rough) + GUARD_BITS;
    let logarithm_of_base = from_fixed(&logarithm(base, rough_bits), rough_bits, rough);
    let size = Numeric::Finite(logarithm_of_base * power).to_f64();
    if size.abs() > EXPONENT_MAX + 20.0 {
        return if size > 0.0 { Err(overflow()) } else { Ok(zero(SHOWN_SCALE_MAX)) };
    }
    let digits = (size * std::f64::consts::LOG10_E) as i64;
    let scale = shown(SIGNIFICANT_DIGITS - digits, &[base, power]);
    let whole_digits = (power.digits() as i64 - power.fractional_digit_count()).max(0);
    let bits = bits(scale + 2 * digits.abs() + whole_digits + 10) + GUARD_BITS;
    let (unscaled, own) = power.as_bigint_and_exponent();
    let product = logarithm(base, bits) * unscaled;
    let exponent = if own >= 0 { product / ten(own) } else { product * ten(own) };
    if size.abs() >= EXPONENT_MAX {
        return if size > 0.0 { Err(overflow()) } else { Ok(zero(scale)) };
    }
    let result = from_fixed(&exponential_of(exponent, bits), bits, scale);
    Ok(Numeric::Finite(if negative { -result } else { result }))
}

/// A whole power.
fn integer_power(base: &BigDecimal, power: i32) -> Result<Numeric, SqlError> {
    let scale = shown(SIGNIFICANT_DIGITS, &[base]);
    let rounded = |value: BigDecimal| {
        let value = value.with_scale_round(scale, RoundingMode::HalfUp);
        match value.digits() as i64 - scale > INTEGER_DIGITS_MAX {
            true => Err(overflow()),
            false => Ok(Numeric::Finite(value)),
        }
    };
    match power {
        0 => return rounded(BigDecimal::from(1)),
        1 => return rounded(base.clone()),
        -1 => return Ok(Numeric::Finite(quotient(&1.into(), base, scale, RoundingMode::HalfUp))),
        2 => return rounded(base * base),
        _ if base.is_zero() => return Ok(zero(scale)),
        _ => {}
    }
    let (sign, exponent, digits) = Numeric::scientific(base);
    let first = digits.iter().take(16).rev().fold(0.0, |rest, digit| (rest + f64::from(*digit)) / 10.0);
    let size = f64::from(power) * (first.log10() + exponent as f64);
    if size > INTEGER_DIGITS_MAX as f64 {
        return Err(overflow());
    }
    if size + 1.0 < -(scale as f64) {
        return Ok(zero(scale));
    }
    let precision = bits(size.abs() as i64 + scale) + GUARD_BITS * 2 + 64;
    let (mantissa, exponent) = float_power(base, power.unsigned_abs(), precision);
    let (mantissa, exponent) = match power < 0 {
        false => (mantissa, exponent),
        true => ((BigInt::from(1) << (2 * precision)) / mantissa, -exponent - 2 * precision),
    };
    let result = from_fixed(&mantissa, -exponent, scale);
    rounded(if sign == Sign::Minus && power % 2 != 0 { -result } else { result })
}

/// The size of a number to a whole power: a number of about so many bits, and the power of 2 that it is multiplied by.
fn float_power(base: &BigDecimal, power: u32, precision: i64) -> (BigInt, i64) {
    let cut = |mantissa: BigInt, exponent: i64| {
        let excess = (mantissa.bits() as i64 - precision).max(0);
        (mantissa >> excess, exponent + excess)
    };
    let (unscaled, scale) = base.abs().as_bigint_and_exponent();
    let (mut square, mut square_exponent) = match scale > 0 {
        true => {
            let shift = (precision + bits_of_ten(scale) + 8 - unscaled.bits() as i64).max(0);
            let divisor = ten(scale);
            cut((unscaled << shift) / divisor, -shift)
        }
        false => cut(unscaled * ten(scale), 0),
    };
    let (mut result, mut exponent) = (BigInt::from(1), 0);
    let mut rest = power;
    loop {
        if rest & 1 == 1 {
            (result, exponent) = cut(result * &square, exponent + square_exponent);
        }
        rest >>= 1;
        if rest == 0 {
            return (result, exponent);
        }
        (square, square_exponent) = cut(&square * &square, 2 * square_exponent);
    }
}
