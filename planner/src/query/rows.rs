//! A query that runs: its rows one by one.

use std::any::Any;
use std::sync::Arc;
use std::vec;

use super::gather::Gather;
use super::open_rows::OpenRows;
use super::plan::{Distinct, SelectPlan};
use super::row_sets::Seen;
use super::source::Source;
use crate::depth::deeper;
use crate::error::{SqlError, sqlstate};
use crate::expression::{Env, Expr, OpenQuery, RunQuery, Scope};
use crate::memory::{Held, HeldRows};
use crate::types::{Datum, Row};

/// A query that runs.
pub(crate) struct SelectRows {
    plan: Arc<SelectPlan>,
    /// The rows of the input, if somebody else has read them.
    input: Option<Source>,
    stage: Stage,
}

enum Stage {
    /// Nothing was asked for yet.
    Start,
    /// Rows come as the source gives them.
    Streaming(Box<Streaming>),
    /// All rows are there.
    Gathered(vec::IntoIter<Row>, #[expect(dead_code, reason = "held until the rows are given")] Held),
    Done,
}

struct Streaming {
    source: Source,
    seen: Option<Seen>,
    /// Rows that OFFSET still skips.
    skip: u64,
    /// Rows that LIMIT still allows.
    left: u64,
}

impl SelectRows {
    /// A query that has not begun.
    pub(crate) fn new(plan: &Arc<SelectPlan>) -> SelectRows {
        SelectRows { plan: plan.clone(), input: None, stage: Stage::Start }
    }

    /// A query over these rows of its input.
    pub(crate) fn over(plan: &Arc<SelectPlan>, input: HeldRows) -> SelectRows {
        SelectRows { input: Some(Source::of_rows(input)), ..SelectRows::new(plan) }
    }

    /// The next row. `outer` is the row of the expression around it: the same from the first call on.
    pub(crate) fn next(&mut self, env: &Env, outer: Option<&Scope<'_>>) -> Result<Option<Row>, SqlError> {
        deeper(|| self.next_here(env, outer))
    }

    fn next_here(&mut self, env: &Env, outer: Option<&Scope<'_>>) -> Result<Option<Row>, SqlError> {
        if let Stage::Start = self.stage {
            self.stage = self.start(env, outer)?;
        }
        let next = match &mut self.stage {
            Stage::Start | Stage::Done => None,
            Stage::Gathered(rows, _) => rows.next(),
            Stage::Streaming(streaming) => streaming.next(&self.plan, env, outer)?,
        };
        if next.is_none() {
            // What was read and held is no longer needed.
            self.stage = Stage::Done;
        }
        Ok(next)
    }

    /// All rows that are left.
    pub(crate) fn collect(mut self, env: &Env) -> Result<HeldRows, SqlError> {
        let mut rows = env.memory.rows();
        while let Some(row) = self.next(env, None)? {
            rows.push(row)?;
        }
        Ok(rows)
    }

    fn start(&mut self, env: &Env, outer: Option<&Scope<'_>>) -> Result<Stage, SqlError> {
        let (plan, given) = (&self.plan, self.input.take());
        // A bad LIMIT fails before anything is read.
        let (limit, offset) = plan.limits(env)?;
        if limit == Some(0) {
            return Ok(Stage::Done);
        }
        let scope = Scope { row: &[], outer };
        if plan.needs_all() {
            let mut gather = Gather::new(plan, env)?;
            let mut source = match given {
                Some(source) => source,
                None => Source::open(&plan.input, env, &scope, None)?,
            };
            while let Some(row) = source.next(env, &scope)? {
                env.interrupt.check()?;
                gather.add(&row, env, outer)?;
            }
            let HeldRows { rows, held } = gather.finish(env, outer)?;
            return Ok(Stage::Gathered(rows.into_iter(), held));
        }
        let seen = (plan.distinct == Distinct::Rows).then(|| Seen::new(env));
        // Rows that the source may stop after: only if none is dropped behind it.
        let enough = limit.map(|limit| limit.saturating_add(offset));
        let enough = enough.filter(|_| plan.filter.is_none() && seen.is_none());
        let source = match given {
            Some(source) => source,
            None => Source::open(&plan.input, env, &scope, enough)?,
        };
        let left = limit.unwrap_or(u64::MAX);
        Ok(Stage::Streaming(Box::new(Streaming { source, seen, skip: offset, left })))
    }
}

impl Streaming {
    fn next(
        &mut self,
        plan: &SelectPlan,
        env: &Env,
        outer: Option<&Scope<'_>>,
    ) -> Result<Option<Row>, SqlError> {
        let scope = Scope { row: &[], outer };
        while self.left > 0 {
            env.interrupt.check()?;
            let Some(row) = self.source.next(env, &scope)? else { return Ok(None) };
            if !plan.keeps(&row, env, outer)? {
                continue;
            }
            let row = plan.project(&row, env, outer)?;
            if let Some(seen) = &mut self.seen
                && !seen.is_new(&row)?
            {
                continue;
            }
            if self.skip > 0 {
                self.skip -= 1;
                continue;
            }
            self.left -= 1;
            return Ok(Some(row));
        }
        Ok(None)
    }
}

impl SelectPlan {
    /// Does WHERE keep the row?
    pub(crate) fn keeps(
        &self,
        row: &[Datum],
        env: &Env,
        outer: Option<&Scope<'_>>,
    ) -> Result<bool, SqlError> {
        match &self.filter {
            Some(filter) => filter.holds(&Scope { row, outer }, env),
            None => Ok(true),
        }
    }

    /// Computes the output columns (hidden ones too).
    pub(crate) fn project(
        &self,
        row: &[Datum],
        env: &Env,
        outer: Option<&Scope<'_>>,
    ) -> Result<Row, SqlError> {
        let scope = Scope { row, outer };
        let mut held = env.memory.hold();
        let mut row = Row::with_capacity(self.projection.len());
        for expr in &self.projection {
            let value = expr.eval(&scope, env)?;
            held.add_value(&value)?;
            row.push(value);
        }
        Ok(row)
    }

    /// LIMIT (if there is one) and OFFSET of an execution. 2201W or 2201X if they are negative.
    pub(crate) fn limits(&self, env: &Env) -> Result<(Option<u64>, u64), SqlError> {
        Ok((
            row_count(&self.limit, env, sqlstate::INVALID_LIMIT, "LIMIT")?,
            row_count(&self.offset, env, sqlstate::INVALID_OFFSET, "OFFSET")?.unwrap_or(0),
        ))
    }
}

impl RunQuery for Arc<SelectPlan> {
    fn open(&self) -> Box<dyn OpenQuery> {
        Box::new(SelectRows::new(self))
    }

    fn is_correlated(&self) -> bool {
        self.correlated
    }

    fn is_same(&self, other: &dyn Any) -> bool {
        other.downcast_ref() == Some(self)
    }
}

impl OpenQuery for SelectRows {
    fn next(&mut self, env: &Env, outer: Option<&Scope<'_>>) -> Result<Option<Row>, SqlError> {
        SelectRows::next(self, env, outer)
    }
}

/// The number in a LIMIT or OFFSET.
fn row_count(
    expr: &Option<Expr>,
    env: &Env,
    code: &'static str,
    name: &str,
) -> Result<Option<u64>, SqlError> {
    let Some(expr) = expr else { return Ok(None) };
    match expr.eval(&Scope::EMPTY, env)?.map(|value| value.as_i64()) {
        None => Ok(None),
        Some(Some(number)) => u64::try_from(number)
            .map(Some)
            .map_err(|_| SqlError::new(code, format!("{name} must not be negative"))),
        Some(None) => Err(SqlError::new(sqlstate::DATATYPE_MISMATCH, format!("{name} must be a number"))),
    }
}
