//! The aggregates of statistics: variance and its like of one number, correlation and its like of two.

use super::accumulator::Accumulator;
use crate::error::SqlError;
use crate::expression::arithmetic::float_overflow;
use crate::types::{Datum, Numeric, Value};

/// The variance, or its root: of double precision by Youngs and Cramer's method, of other numbers exactly.
#[derive(Clone)]
pub(super) struct Spread {
    root: bool,
    sample: bool,
    count: i64,
    sum: f64,
    squares: f64,
    exact_sum: Numeric,
    exact_squares: Numeric,
    is_exact: bool,
}

impl Spread {
    /// The standard deviation if `root`, of a sample or of all.
    pub(super) fn new(root: bool, sample: bool) -> Spread {
        let zero = Numeric::from_i64(0);
        let (exact_sum, exact_squares) = (zero.clone(), zero);
        Spread { root, sample, count: 0, sum: 0.0, squares: 0.0, exact_sum, exact_squares, is_exact: false }
    }

    fn add_float(&mut self, value: f64) -> Result<(), SqlError> {
        let count = self.count as f64;
        self.sum += value;
        if self.count > 1 {
            let difference = value * count - self.sum;
            self.squares += difference * difference / (count * (count - 1.0));
        } else if !value.is_finite() {
            self.squares = f64::NAN;
        }
        if self.squares.is_infinite() || self.sum.is_infinite() {
            if value.is_finite() && !self.squares.is_nan() {
                return Err(float_overflow());
            }
            self.squares = f64::NAN;
        }
        Ok(())
    }

    fn exact(&self) -> Result<Numeric, SqlError> {
        let count = Numeric::from_i64(self.count);
        let squares = count.multiply(&self.exact_squares)?;
        let difference = squares.subtract(&self.exact_sum.multiply(&self.exact_sum)?)?;
        if difference.is_nan() {
            return Ok(Numeric::NaN);
        }
        if difference.signum() <= 0 {
            return Ok(Numeric::from_i64(0));
        }
        let divisor = if self.sample { Numeric::from_i64(self.count - 1) } else { count.clone() };
        let variance = difference.divide(&count.multiply(&divisor)?)?;
        if self.root { variance.sqrt_of_scale() } else { Ok(variance) }
    }
}

impl Accumulator for Spread {
    fn add(&mut self, arguments: &[Datum]) -> Result<(), SqlError> {
        let Some(Some(value)) = arguments.first() else { return Ok(()) };
        self.count += 1;
        let number = match value {
            Value::Float8(number) => return self.add_float(*number),
            Value::Numeric(number) => number.clone(),
            whole => Numeric::from_i64(whole.as_i64().unwrap_or(0)),
        };
        self.is_exact = true;
        self.exact_squares = self.exact_squares.add(&number.multiply(&number)?)?;
        self.exact_sum = self.exact_sum.add(&number)?;
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Datum, SqlError> {
        let divisor = if self.sample { self.count - 1 } else { self.count };
        if divisor <= 0 {
            return Ok(None);
        }
        if self.is_exact {
            return self.exact().map(|number| Some(Value::Numeric(number)));
        }
        let variance = self.squares / divisor as f64;
        Ok(Some(Value::Float8(if self.root { variance.sqrt() } else { variance })))
    }
}

/// Sums of pairs of numbers (y, x), gathered by Youngs and Cramer's method.
#[derive(Clone, Default)]
pub(super) struct Sums {
    count: f64,
    x: f64,
    y: f64,
    xx: f64,
    yy: f64,
    xy: f64,
}

/// An aggregate of pairs. A pair of which one is NULL does not count.
#[derive(Clone)]
pub(super) struct Pairs {
    sums: Sums,
    finish: fn(&Sums) -> Option<Value>,
}

impl Pairs {
    pub(super) fn new(finish: fn(&Sums) -> Option<Value>) -> Pairs {
        Pairs { sums: Sums::default(), finish }
    }
}

impl Accumulator for Pairs {
    fn add(&mut self, arguments: &[Datum]) -> Result<(), SqlError> {
        let [Some(Value::Float8(y)), Some(Value::Float8(x)), ..] = arguments else { return Ok(()) };
        let sums = &mut self.sums;
        sums.count += 1.0;
        sums.x += x;
        sums.y += y;
        if sums.count > 1.0 {
            let (dx, dy) = (x * sums.count - sums.x, y * sums.count - sums.y);
            let scale = 1.0 / (sums.count * (sums.count - 1.0));
            sums.xx += dx * dx * scale;
            sums.yy += dy * dy * scale;
            sums.xy += dx * dy * scale;
        } else if !x.is_finite() || !y.is_finite() {
            sums.xy = f64::NAN;
        }
        let infinite = [sums.x, sums.y, sums.xx, sums.yy, sums.xy].iter().any(|sum| sum.is_infinite());
        if infinite && x.is_finite() && y.is_finite() { Err(float_overflow()) } else { Ok(()) }
    }

    fn finish(self: Box<Self>) -> Result<Datum, SqlError> {
        Ok((self.finish)(&self.sums))
    }
}

/// A result of at least so many pairs.
fn of(sums: &Sums, least: f64, value: impl FnOnce() -> f64) -> Option<Value> {
    (sums.count >= least).then(|| Value::Float8(value()))
}

pub(super) fn pairs(sums: &Sums) -> Option<Value> {
    Some(Value::Int8(sums.count as i64))
}

pub(super) fn correlation(sums: &Sums) -> Option<Value> {
    let varies = sums.xx != 0.0 && sums.yy != 0.0;
    of(sums, 1.0, || sums.xy / (sums.xx * sums.yy).sqrt()).filter(|_| varies)
}

pub(super) fn covariance(sums: &Sums) -> Option<Value> {
    of(sums, 1.0, || sums.xy / sums.count)
}

pub(super) fn sample_covariance(sums: &Sums) -> Option<Value> {
    of(sums, 2.0, || sums.xy / (sums.count - 1.0))
}

pub(super) fn average_x(sums: &Sums) -> Option<Value> {
    of(sums, 1.0, || sums.x / sums.count)
}

pub(super) fn average_y(sums: &Sums) -> Option<Value> {
    of(sums, 1.0, || sums.y / sums.count)
}

pub(super) fn squares_x(sums: &Sums) -> Option<Value> {
    of(sums, 1.0, || sums.xx)
}

pub(super) fn squares_y(sums: &Sums) -> Option<Value> {
    of(sums, 1.0, || sums.yy)
}

pub(super) fn products(sums: &Sums) -> Option<Value> {
    of(sums, 1.0, || sums.xy)
}

pub(super) fn slope(sums: &Sums) -> Option<Value> {
    of(sums, 1.0, || sums.xy / sums.xx).filter(|_| sums.xx != 0.0)
}

pub(super) fn intercept(sums: &Sums) -> Option<Value> {
    of(sums, 1.0, || (sums.y - sums.x * sums.xy / sums.xx) / sums.count).filter(|_| sums.xx != 0.0)
}

pub(super) fn determination(sums: &Sums) -> Option<Value> {
    let share = || if sums.yy == 0.0 { 1.0 } else { (sums.xy * sums.xy) / (sums.xx * sums.yy) };
    of(sums, 1.0, share).filter(|_| sums.xx != 0.0)
}
