//! UNION, INTERSECT and EXCEPT.

use std::sync::Arc;

use super::plan::SetPlan;
use super::row_sets::Seen;
use crate::error::SqlError;
use crate::expression::{Env, OpenQuery, RunQuery, Scope};
use crate::memory::HeldRows;
use crate::row_index::RowIndex;
use crate::statement::SetOp;
use crate::types::Row;

/// A set operation that runs.
pub(super) struct SetRows {
    plan: Arc<SetPlan>,
    left: Box<dyn OpenQuery>,
    right: Box<dyn OpenQuery>,
    /// The left side of UNION has given all its rows.
    left_ended: bool,
    /// Rows that were given, if they are given once.
    seen: Option<Seen>,
    /// The rows of the right side of INTERSECT and EXCEPT, once they were read.
    others: Option<Others>,
}

/// Rows, each with how often it is there.
struct Others {
    rows: HeldRows,
    index: RowIndex,
    counts: Vec<u64>,
}

impl SetRows {
    /// An operation that has not begun.
    pub(super) fn new(plan: &Arc<SetPlan>) -> SetRows {
        SetRows {
            left: plan.left.open(),
            right: plan.right.open(),
            plan: plan.clone(),
            left_ended: false,
            seen: None,
            others: None,
        }
    }

    /// The next row.
    pub(super) fn next(&mut self, env: &Env, outer: Option<&Scope<'_>>) -> Result<Option<Row>, SqlError> {
        if !self.plan.all && self.seen.is_none() {
            self.seen = Some(Seen::new(env));
        }
        loop {
            env.interrupt.check()?;
            let next = match self.plan.op {
                SetOp::Union => self.of_either(env, outer)?,
                SetOp::Intersect | SetOp::Except => self.of_left(env, outer)?,
            };
            let Some(row) = next else { return Ok(None) };
            let new = self.seen.as_mut().map_or(Ok(true), |seen| seen.is_new(&row))?;
            if new {
                return Ok(Some(row));
            }
        }
    }

    fn of_either(&mut self, env: &Env, outer: Option<&Scope<'_>>) -> Result<Option<Row>, SqlError> {
        if !self.left_ended {
            if let Some(row) = self.left.next(env, outer)? {
                return Ok(Some(row));
            }
            self.left_ended = true;
        }
        self.right.next(env, outer)
    }

    /// The next row of the left side that is (or is not) on the right one.
    fn of_left(&mut self, env: &Env, outer: Option<&Scope<'_>>) -> Result<Option<Row>, SqlError> {
        if self.others.is_none() {
            self.others = Some(Others::read(self.right.as_mut(), env, outer)?);
        }
        let others = self.others.as_mut().ok_or_else(|| SqlError::internal("a side that was not read"))?;
        let wanted = self.plan.op == SetOp::Intersect;
        while let Some(row) = self.left.next(env, outer)? {
            env.interrupt.check()?;
            if others.take(&row, self.plan.all)? == wanted {
                return Ok(Some(row));
            }
        }
        Ok(None)
    }
}

impl Others {
    fn read(side: &mut dyn OpenQuery, env: &Env, outer: Option<&Scope<'_>>) -> Result<Others, SqlError> {
        let mut others = Others { rows: env.memory.rows(), index: RowIndex::default(), counts: Vec::new() };
        while let Some(row) = side.next(env, outer)? {
            env.interrupt.check()?;
            match others.index.find(&row, |at| &others.rows.rows[at])? {
                Some(at) => others.counts[at] += 1,
                None => {
                    others.index.insert(&row, others.rows.rows.len(), &mut others.rows.held)?;
                    others.rows.push(row)?;
                    others.counts.push(1);
                }
            }
        }
        Ok(others)
    }

    /// Is the row there? With ALL each of equal rows serves once.
    fn take(&mut self, row: &Row, all: bool) -> Result<bool, SqlError> {
        let Some(at) = self.index.find(row, |at| &self.rows.rows[at])? else { return Ok(false) };
        let there = self.counts[at] > 0;
        if all {
            self.counts[at] = self.counts[at].saturating_sub(1);
        }
        Ok(there)
    }
}
