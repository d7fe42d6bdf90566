//! WITH RECURSIVE: a query whose later rows are computed from its earlier ones, step by step until a step gives no more.

use std::mem;
use std::sync::Arc;
use std::vec;

use super::plan::RecursivePlan;
use super::row_sets::Seen;
use crate::error::SqlError;
use crate::expression::{Env, OpenQuery, RunQuery, Scope};
use crate::memory::HeldRows;
use crate::types::Row;

/// A recursive query that runs.
pub(super) struct RecursiveRows {
    plan: Arc<RecursivePlan>,
    /// The part that is not recursive, until it has ended.
    first: Option<Box<dyn OpenQuery>>,
    /// Rows that were given, if each is given once.
    seen: Option<Seen>,
    /// The rows of the step at hand: what the next one is computed from.
    rows: HeldRows,
    /// Rows of the last step that were not given yet.
    ready: vec::IntoIter<Row>,
}

impl RecursiveRows {
    /// A query that has not begun.
    pub(super) fn new(plan: &Arc<RecursivePlan>, env: &Env) -> RecursiveRows {
        RecursiveRows {
            first: Some(plan.first.open()),
            seen: (!plan.all).then(|| Seen::new(env)),
            rows: env.memory.rows(),
            ready: Vec::new().into_iter(),
            plan: plan.clone(),
        }
    }

    /// The next row.
    pub(super) fn next(&mut self, env: &Env, outer: Option<&Scope<'_>>) -> Result<Option<Row>, SqlError> {
        while let Some(first) = &mut self.first {
            env.interrupt.check()?;
            match first.next(env, outer)? {
                Some(row) => {
                    if self.seen.as_mut().map_or(Ok(true), |seen| seen.is_new(&row))? {
                        self.rows.push(row.clone())?;
                        return Ok(Some(row));
                    }
                }
                None => self.first = None,
            }
        }
        loop {
            if let Some(row) = self.ready.next() {
                return Ok(Some(row));
            }
            if self.rows.rows.is_empty() {
                return Ok(None);
            }
            self.step(env, outer)?;
        }
    }

    /// Computes the rows that follow from those of the last step.
    fn step(&mut self, env: &Env, outer: Option<&Scope<'_>>) -> Result<(), SqlError> {
        let working = Arc::new(mem::replace(&mut self.rows, env.memory.rows()));
        env.tables.results().keep_rows(self.plan.number, &working);
        let mut step = self.plan.step.open();
        let mut ready = Vec::new();
        while let Some(row) = step.next(env, outer)? {
            env.interrupt.check()?;
            if self.seen.as_mut().map_or(Ok(true), |seen| seen.is_new(&row))? {
                ready.push(row.clone());
                self.rows.push(row)?;
            }
        }
        // The rows to be given are as many as those that are held.
        let bytes = self.rows.held.bytes();
        self.rows.held.add(bytes)?;
        self.ready = ready.into_iter();
        Ok(())
    }
}
