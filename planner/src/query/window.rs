//! Window functions: values over the rows around a row, in its partition.

use std::cmp::Ordering;
use std::ops::Range;

use super::frame::Partition;
use super::plan::{WindowCall, WindowFunction};
use crate::error::SqlError;
use crate::expression::{AggregateFunction, Env, Scope};
use crate::memory::{Held, HeldRows, heap_bytes};
use crate::row_order::{order_keys, order_values};
use crate::types::{Datum, Row, Value};

/// invalid_argument_for_ntile_function.
const BAD_NTILE: &str = "22014";
/// invalid_argument_for_nth_value_function.
const BAD_NTH_VALUE: &str = "22016";

/// A sort asks once in so many comparisons whether its statement must end.
const COMPARISONS: u32 = 1024;

/// Adds the values of window functions to rows, each behind those before it. The rows come in the order of the last
/// function's window.
pub(super) fn add_values(
    calls: &[WindowCall],
    mut rows: HeldRows,
    env: &Env,
    outer: Option<&Scope<'_>>,
) -> Result<HeldRows, SqlError> {
    for (at, call) in calls.iter().enumerate() {
        let same = at.checked_sub(1).is_some_and(|before| calls[before].has_window_of(call));
        if !same {
            rows = sorted(call, rows, env, outer)?;
        }
        // Its keys are computed once more: the sort has moved the rows.
        let keys = keys(call, &rows, env, outer)?;
        let mut held = env.memory.hold();
        let mut values = Vec::with_capacity(rows.rows.len());
        let mut start = 0;
        while start < rows.rows.len() {
            let end = end_of_partition(call, &keys.rows, start, env)?;
            let partition = Partition::new(call, &rows.rows[start..end], &keys.rows[start..end], env, outer)?;
            Values { call, partition: &partition, env, outer }.compute(&mut values, &mut held)?;
            start = end;
        }
        for (row, value) in rows.rows.iter_mut().zip(values) {
            row.push(value);
        }
        rows.held.add((rows.rows.len() * size_of::<Datum>()) as u64)?;
        rows.held.take_over(held);
    }
    Ok(rows)
}

/// The values that partitions are made by, then those that order them, of each row.
fn keys(
    call: &WindowCall,
    rows: &HeldRows,
    env: &Env,
    outer: Option<&Scope<'_>>,
) -> Result<HeldRows, SqlError> {
    let mut keys = env.memory.rows();
    for row in &rows.rows {
        env.interrupt.check()?;
        let scope = Scope { row, outer };
        let exprs = call.partition.iter().chain(call.order.iter().map(|(expr, _)| expr));
        keys.push(exprs.map(|expr| expr.eval(&scope, env)).collect::<Result<Row, _>>()?)?;
    }
    Ok(keys)
}

/// The rows by partitions, in the order of the window.
fn sorted(
    call: &WindowCall,
    rows: HeldRows,
    env: &Env,
    outer: Option<&Scope<'_>>,
) -> Result<HeldRows, SqlError> {
    let keys = keys(call, &rows, env, outer)?;
    let mut held = env.memory.hold();
    held.add((rows.rows.len() * size_of::<usize>()) as u64)?;
    let mut order: Vec<usize> = (0..rows.rows.len()).collect();
    let (mut failure, mut compared) = (None, 0u32);
    order.sort_by(|a, b| {
        if failure.is_some() {
            return Ordering::Equal;
        }
        compared = compared.wrapping_add(1);
        let due = if compared % COMPARISONS == 0 { env.interrupt.check() } else { Ok(()) };
        due.and_then(|()| compare(call, &keys.rows[*a], &keys.rows[*b])).unwrap_or_else(|error| {
            failure = Some(error);
            Ordering::Equal
        })
    });
    if let Some(error) = failure {
        return Err(error);
    }
    let HeldRows { rows: mut unsorted, held } = rows;
    let rows = order.into_iter().map(|at| std::mem::take(&mut unsorted[at])).collect();
    Ok(HeldRows { rows, held })
}

/// The order of rows in a window: by partitions, then as it says.
fn compare(call: &WindowCall, a: &Row, b: &Row) -> Result<Ordering, SqlError> {
    let partitions = call.partition.len();
    for (x, y) in a.iter().zip(b).take(partitions) {
        let order = order_values(x, y, false)?;
        if order.is_ne() {
            return Ok(order);
        }
    }
    for (at, (_, key)) in call.order.iter().enumerate() {
        let (x, y) = (&a[partitions + at], &b[partitions + at]);
        let order = order_keys(x, y, key.descending, key.nulls_first)?;
        if order.is_ne() {
            return Ok(order);
        }
    }
    Ok(Ordering::Equal)
}

/// Where the partition ends that begins at `start`.
fn end_of_partition(call: &WindowCall, keys: &[Row], start: usize, env: &Env) -> Result<usize, SqlError> {
    let partitions = call.partition.len();
    let mut end = start + 1;
    while end < keys.len() {
        env.interrupt.check()?;
        let pairs = keys[start].iter().zip(&keys[end]).take(partitions);
        for (x, y) in pairs {
            if order_values(x, y, false)?.is_ne() {
                return Ok(end);
            }
        }
        end += 1;
    }
    Ok(end)
}

/// The values of a function for the rows of a partition.
struct Values<'a> {
    call: &'a WindowCall,
    partition: &'a Partition<'a>,
    env: &'a Env,
    outer: Option<&'a Scope<'a>>,
}

impl Values<'_> {
    fn compute(&self, out: &mut Vec<Datum>, held: &mut Held) -> Result<(), SqlError> {
        if let WindowFunction::Aggregate(function) = self.call.function {
            return self.aggregate(function, out, held);
        }
        let rows = self.partition.rows.len();
        for at in 0..rows {
            self.env.interrupt.check()?;
            let value = self.value(at, rows)?;
            held.add(heap_bytes(&value))?;
            out.push(value);
        }
        Ok(())
    }

    /// The value of a function that is no aggregate.
    fn value(&self, at: usize, rows: usize) -> Result<Datum, SqlError> {
        let peers = self.partition.peers(at);
        let whole = |number: usize| Some(Value::Int8(number as i64));
        Ok(match self.call.function {
            WindowFunction::RowNumber => whole(at + 1),
            WindowFunction::Rank => whole(peers.start + 1),
            WindowFunction::DenseRank => whole(self.partition.group(at) + 1),
            WindowFunction::PercentRank if rows == 1 => Some(Value::Float8(0.0)),
            WindowFunction::PercentRank => Some(Value::Float8(peers.start as f64 / (rows - 1) as f64)),
            WindowFunction::CumeDist => Some(Value::Float8(peers.end as f64 / rows as f64)),
            WindowFunction::Ntile => self.tile(at, rows)?,
            WindowFunction::Lag | WindowFunction::Lead => self.neighbour(at, rows)?,
            WindowFunction::FirstValue => self.in_frame(at, |frame| Some(frame.start))?,
            WindowFunction::LastValue => self.in_frame(at, |frame| frame.end.checked_sub(1))?,
            WindowFunction::NthValue => {
                let Some(nth) = self.number(1, at)? else { return Ok(None) };
                let nth = usize::try_from(nth).ok().and_then(|nth| nth.checked_sub(1)).ok_or_else(|| {
                    SqlError::new(BAD_NTH_VALUE, "argument of nth_value must be greater than zero")
                })?;
                self.in_frame(at, |frame| frame.start.checked_add(nth))?
            }
            WindowFunction::Aggregate(_) => {
                return Err(SqlError::internal("an aggregate among other functions"));
            }
        })
    }

    fn argument(&self, nth: usize, at: usize) -> Result<Datum, SqlError> {
        match self.call.arguments.get(nth) {
            Some(expr) => expr.eval(&Scope { row: &self.partition.rows[at], outer: self.outer }, self.env),
            None => Ok(None),
        }
    }

    /// An argument that is a whole number.
    fn number(&self, nth: usize, at: usize) -> Result<Option<i64>, SqlError> {
        Ok(self.argument(nth, at)?.and_then(|value| value.as_i64()))
    }

    /// The first argument for the row of the frame that `choose` names.
    fn in_frame(
        &self,
        at: usize,
        choose: impl FnOnce(&Range<usize>) -> Option<usize>,
    ) -> Result<Datum, SqlError> {
        let frame = self.partition.frame(at)?;
        match choose(&frame).filter(|chosen| frame.contains(chosen)) {
            Some(chosen) => self.argument(0, chosen),
            None => Ok(None),
        }
    }

    /// lag and lead: the argument for a row so many rows away, else the third one.
    fn neighbour(&self, at: usize, rows: usize) -> Result<Datum, SqlError> {
        let offset = match self.call.arguments.len() {
            1 => Some(1),
            _ => self.number(1, at)?,
        };
        let Some(offset) = offset else { return Ok(None) };
        let offset =
            if self.call.function == WindowFunction::Lag { -i128::from(offset) } else { i128::from(offset) };
        match usize::try_from(at as i128 + offset).ok().filter(|other| *other < rows) {
            Some(other) => self.argument(0, other),
            None => self.argument(2, at),
        }
    }

    /// ntile: the first parts have one row more if the rows cannot be divided.
    fn tile(&self, at: usize, rows: usize) -> Result<Datum, SqlError> {
        // The number of parts is that of the partition's first row.
        let Some(parts) = self.number(0, 0)? else { return Ok(None) };
        let parts = usize::try_from(parts)
            .ok()
            .filter(|parts| *parts > 0)
            .ok_or_else(|| SqlError::new(BAD_NTILE, "argument of ntile must be greater than zero"))?;
        let (small, larger) = (rows / parts, rows % parts);
        let in_larger = larger * (small + 1);
        let part = if at < in_larger { at / (small + 1) } else { larger + (at - in_larger) / small.max(1) };
        Ok(Some(Value::Int4(i32::try_from(part + 1).unwrap_or(i32::MAX))))
    }

    /// An aggregate over each row's frame.
    fn aggregate(
        &self,
        function: &'static AggregateFunction,
        out: &mut Vec<Datum>,
        held: &mut Held,
    ) -> Result<(), SqlError> {
        let mut gathered = (function.start)(&self.call.ty);
        let (mut from, mut to) = (0, 0);
        let mut last: Option<(Range<usize>, Datum)> = None;
        for at in 0..self.partition.rows.len() {
            self.env.interrupt.check()?;
            let frame = self.partition.frame(at)?;
            if let Some((_, value)) = last.as_ref().filter(|(own, _)| *own == frame) {
                let value = value.clone();
                held.add(heap_bytes(&value))?;
                out.push(value);
                continue;
            }
            if frame.start != from || frame.end < to {
                // What has left the frame cannot be taken back.
                gathered = (function.start)(&self.call.ty);
                (from, to) = (frame.start, frame.start);
            }
            while to < frame.end {
                self.env.interrupt.check()?;
                self.add(function, gathered.as_mut(), to)?;
                to += 1;
            }
            let value = gathered.copy().finish()?;
            held.add(heap_bytes(&value))?;
            out.push(value.clone());
            last = Some((frame, value));
        }
        Ok(())
    }

    /// Adds a row of the partition to what is gathered.
    fn add(
        &self,
        function: &AggregateFunction,
        gathered: &mut dyn crate::expression::Accumulator,
        at: usize,
    ) -> Result<(), SqlError> {
        let scope = Scope { row: &self.partition.rows[at], outer: self.outer };
        if let Some(filter) = &self.call.filter
            && !filter.holds(&scope, self.env)?
        {
            return Ok(());
        }
        let arguments = self.call.arguments.iter().map(|argument| argument.eval(&scope, self.env));
        let arguments: Row = arguments.collect::<Result<_, _>>()?;
        if arguments.first().is_some_and(Option::is_none) && !function.accepts_null {
            return Ok(());
        }
        gathered.add(&arguments)
    }
}
