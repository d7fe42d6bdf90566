//! Frames: which rows of a partition a window function sees for a row.

use std::ops::Range;

use super::plan::{FrameEnd, WindowCall};
use crate::error::{SqlError, sqlstate};
use crate::expression::{Env, Expr, Scope, arithmetic};
use crate::row_order::order_keys;
use crate::statement::{FrameUnits, Operator};
use crate::types::{Datum, Row, Value};

/// invalid_preceding_or_following_size.
const BAD_OFFSET: &str = "22013";

/// The rows of a partition, in the order of the window.
pub(super) struct Partition<'a> {
    pub(super) rows: &'a [Row],
    call: &'a WindowCall,
    /// The values that order the rows, behind those that make the partition.
    keys: &'a [Row],
    /// Where groups of peers begin, and where the last one ends.
    groups: Vec<usize>,
    /// The group of each row.
    group_of: Vec<usize>,
    start: Option<Value>,
    end: Option<Value>,
}

impl<'a> Partition<'a> {
    /// Rows of a partition with their keys.
    pub(super) fn new(
        call: &'a WindowCall,
        rows: &'a [Row],
        keys: &'a [Row],
        env: &Env,
        outer: Option<&Scope<'_>>,
    ) -> Result<Partition<'a>, SqlError> {
        let (mut groups, mut group_of) = (vec![0], Vec::with_capacity(rows.len()));
        for at in 0..rows.len() {
            env.interrupt.check()?;
            if at > 0 && !are_peers(call, &keys[at - 1], &keys[at])? {
                groups.push(at);
            }
            group_of.push(groups.len() - 1);
        }
        groups.push(rows.len());
        let offset = |end: &FrameEnd| match end {
            FrameEnd::Preceding(expr) | FrameEnd::Following(expr) => {
                size(expr, call.frame.units, env, outer).map(Some)
            }
            FrameEnd::Unbounded | FrameEnd::CurrentRow => Ok(None),
        };
        let (start, end) = (offset(&call.frame.start)?, offset(&call.frame.end)?);
        Ok(Partition { rows, call, keys, groups, group_of, start, end })
    }

    /// The rows that the window's order does not tell from this one.
    pub(super) fn peers(&self, at: usize) -> Range<usize> {
        let group = self.group_of[at];
        self.groups[group]..self.groups[group + 1]
    }

    /// How many groups of peers come before that of a row.
    pub(super) fn group(&self, at: usize) -> usize {
        self.group_of[at]
    }

    /// The frame of a row.
    pub(super) fn frame(&self, at: usize) -> Result<Range<usize>, SqlError> {
        let frame = &self.call.frame;
        let rows = self.rows.len();
        let start = match &frame.start {
            FrameEnd::Unbounded => 0,
            other => self.bound(at, other, &self.start, frame.units, true)?,
        };
        let end = match &frame.end {
            FrameEnd::Unbounded => rows,
            other => self.bound(at, other, &self.end, frame.units, false)?,
        };
        Ok(start.min(rows)..end.clamp(start.min(rows), rows))
    }

    /// Where a frame begins (or ends, exclusively).
    fn bound(
        &self,
        at: usize,
        end: &FrameEnd,
        offset: &Option<Value>,
        units: FrameUnits,
        is_start: bool,
    ) -> Result<usize, SqlError> {
        let whole = offset.as_ref().and_then(Value::as_i64).unwrap_or(0);
        let back = matches!(end, FrameEnd::Preceding(_));
        // Far away is beyond the partition.
        let distance = usize::try_from(whole).unwrap_or(usize::MAX);
        let moved = |from: usize| match back {
            true => from.checked_sub(distance),
            false => Some(from.saturating_add(distance)),
        };
        let last = usize::from(!is_start);
        Ok(match (units, end) {
            (FrameUnits::Rows, _) => moved(at).map_or(0, |row| row.saturating_add(last)),
            (FrameUnits::Range | FrameUnits::Groups, FrameEnd::CurrentRow) => {
                let peers = self.peers(at);
                if is_start { peers.start } else { peers.end }
            }
            (FrameUnits::Groups, _) => match moved(self.group_of[at]) {
                None => 0,
                Some(group) => {
                    let group = group.saturating_add(last).min(self.groups.len() - 1);
                    self.groups[group]
                }
            },
            (FrameUnits::Range, _) => self.by_value(at, offset, back, is_start)?,
        })
    }

    /// Where a frame ends whose end is so far from the row's own value.
    fn by_value(
        &self,
        at: usize,
        offset: &Option<Value>,
        back: bool,
        is_start: bool,
    ) -> Result<usize, SqlError> {
        let (Some((_, key)), Some(offset)) = (self.call.order.first(), offset) else {
            return Err(SqlError::internal("a frame by values without an order"));
        };
        let value_at = |row: usize| &self.keys[row][self.call.partition.len()];
        let Some(own) = value_at(at).clone() else {
            // NULLs are peers of one another, and far from everything else.
            let peers = self.peers(at);
            return Ok(if is_start { peers.start } else { peers.end });
        };
        let op = if back == key.descending { Operator::Plus } else { Operator::Minus };
        let ty = own.natural_type();
        let bound: Datum = match arithmetic(op, &ty, own, offset.clone()) {
            Ok(bound) => Some(bound),
            // It is beyond all values.
            Err(error) if error.sqlstate == sqlstate::OUT_OF_RANGE => {
                return Ok(if back { 0 } else { self.rows.len() });
            }
            Err(error) => return Err(error),
        };
        // The rows that come before the bound (or are no further than it).
        let (mut low, mut high) = (0, self.rows.len());
        while low < high {
            let middle = low + (high - low) / 2;
            let order = order_keys(value_at(middle), &bound, key.descending, key.nulls_first)?;
            if order.is_lt() || (!is_start && order.is_eq()) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }
}

fn are_peers(call: &WindowCall, a: &Row, b: &Row) -> Result<bool, SqlError> {
    for (x, y) in a.iter().zip(b).skip(call.partition.len()) {
        if order_keys(x, y, false, false)?.is_ne() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The offset of a frame's end. 22004 for NULL, 22013 for a negative one.
fn size(expr: &Expr, units: FrameUnits, env: &Env, outer: Option<&Scope<'_>>) -> Result<Value, SqlError> {
    let value = expr.eval(&Scope { row: &[], outer }, env)?;
    let value = value.ok_or_else(|| SqlError::new("22004", "frame starting offset must not be null"))?;
    let negative = match (&value, units) {
        (value, FrameUnits::Rows | FrameUnits::Groups) => value.as_i64().is_some_and(|offset| offset < 0),
        (value, FrameUnits::Range) => value.to_string_text().starts_with('-'),
    };
    if negative {
        let text = match units {
            FrameUnits::Range => "invalid preceding or following size in window function",
            FrameUnits::Rows | FrameUnits::Groups => "frame starting offset must not be negative",
        };
        return Err(SqlError::new(BAD_OFFSET, text));
    }
    Ok(value)
}
