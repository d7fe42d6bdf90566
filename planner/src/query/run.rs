//! A query executed in memory: over system relations whole, over the rows of a stored table from where the executor
//! has brought them.

use std::any::Any;

use super::groups::Groups;
use super::plan::{Input, SelectPlan};
use super::row_sets::{combine, distinct, sort};
use crate::depth::deeper;
use crate::error::{SqlError, sqlstate};
use crate::expression::{Env, Expr, RunQuery, Scope};
use crate::memory::HeldRows;
use crate::types::{Datum, Row, Value};

impl SelectPlan {
    /// All rows of a query that reads no stored table. `outer` is the row of the expression around it.
    pub(crate) fn run(&self, env: &Env, outer: Option<&Scope<'_>>) -> Result<HeldRows, SqlError> {
        deeper(|| self.over(self.input.rows(env, outer, &[])?, env, outer))
    }

    /// The result over all rows of the input.
    pub(crate) fn over(
        &self,
        mut input: HeldRows,
        env: &Env,
        outer: Option<&Scope<'_>>,
    ) -> Result<HeldRows, SqlError> {
        if self.filter.is_some() {
            let mut kept = Vec::new();
            for row in input.rows {
                env.interrupt.check()?;
                if self.keeps(&row, env, outer)? {
                    kept.push(row);
                }
            }
            input.rows = kept;
        }
        if let Some(grouping) = &self.grouping {
            let mut groups = Groups::new(grouping, env);
            for row in &input.rows {
                env.interrupt.check()?;
                groups.add(&Scope { row, outer }, env)?;
            }
            input = groups.finish(env)?;
        }
        self.finish(input, env, outer)
    }

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

    /// From filtered (and grouped) rows to the result: HAVING, projection, DISTINCT, order, limits.
    pub(crate) fn finish(
        &self,
        input: HeldRows,
        env: &Env,
        outer: Option<&Scope<'_>>,
    ) -> Result<HeldRows, SqlError> {
        let having = self.grouping.as_ref().and_then(|grouping| grouping.having.as_ref());
        let mut out = env.memory.rows();
        for row in &input.rows {
            env.interrupt.check()?;
            if let Some(having) = having
                && !having.holds(&Scope { row, outer }, env)?
            {
                continue;
            }
            out.push(self.project(row, env, outer)?)?;
        }
        drop(input);
        if self.distinct {
            out = distinct(out, &env.interrupt)?;
        }
        sort(&mut out.rows, &self.order, &env.interrupt)?;
        let (limit, offset) = self.limits(env)?;
        let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
        let cut = out.rows.into_iter().skip(usize::try_from(offset).unwrap_or(usize::MAX)).take(limit);
        let rows = cut.map(|mut row| {
            row.truncate(self.columns.len());
            row
        });
        Ok(HeldRows { rows: rows.collect(), held: out.held })
    }

    /// LIMIT (if there is one) and OFFSET of an execution. 2201W or 2201X if they are negative.
    pub(crate) fn limits(&self, env: &Env) -> Result<(Option<u64>, u64), SqlError> {
        Ok((
            row_count(&self.limit, env, sqlstate::INVALID_LIMIT, "LIMIT")?,
            row_count(&self.offset, env, sqlstate::INVALID_OFFSET, "OFFSET")?.unwrap_or(0),
        ))
    }
}

impl RunQuery for SelectPlan {
    fn rows(&self, env: &Env, outer: Option<&Scope<'_>>) -> Result<HeldRows, SqlError> {
        self.run(env, outer)
    }

    fn is_same(&self, other: &dyn Any) -> bool {
        other.downcast_ref() == Some(self)
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

impl Input {
    /// Its rows; `left` is the row before it in FROM, which the arguments of functions see.
    fn rows(&self, env: &Env, outer: Option<&Scope<'_>>, left: &[Datum]) -> Result<HeldRows, SqlError> {
        let scope = Scope { row: left, outer };
        let mut rows = env.memory.rows();
        match self {
            Input::Nothing => rows.push(Vec::new())?,
            Input::Table { table, .. } => {
                return Err(SqlError::internal(format!("table \"{}\" inside of a query", table.name)));
            }
            Input::System(relation) => rows.extend(relation.rows(env))?,
            Input::Query(plan) => return plan.run(env, outer),
            Input::Series { first, last } => {
                let bound = |expr: &Expr| -> Result<Option<i64>, SqlError> {
                    Ok(expr.eval(&scope, env)?.and_then(|value| value.as_i64()))
                };
                let (Some(first), Some(last)) = (bound(first)?, bound(last)?) else { return Ok(rows) };
                for number in first..=last {
                    env.interrupt.check()?;
                    rows.push(vec![Some(Value::Int4(number as i32))])?;
                }
            }
            Input::Unnest(array) => {
                if let Some(Value::Array(array)) = array.eval(&scope, env)? {
                    rows.extend(array.items.iter().map(|item| vec![item.clone()]))?;
                }
            }
            Input::Values(values) => {
                for row in values {
                    env.interrupt.check()?;
                    let row = row.iter().map(|expr| expr.eval(&scope, env));
                    rows.push(row.collect::<Result<_, _>>()?)?;
                }
            }
            Input::Set { op, all, left, right } => {
                let (left, right) = (left.run(env, outer)?, right.run(env, outer)?);
                return combine(*op, *all, left, right, &env.interrupt);
            }
            Input::Join { left: first, right, outer: keeps_left, on, base, right_width } => {
                let join = Join { right, on: on.as_ref(), base: *base, before: left };
                let missing = keeps_left.then_some(*right_width);
                let first = deeper(|| first.rows(env, outer, left))?;
                return join.rows(first, missing, env, outer);
            }
        }
        Ok(rows)
    }

    /// Do its rows depend on the row before it in FROM?
    fn is_lateral(&self) -> bool {
        matches!(self, Input::Series { .. } | Input::Unnest(_))
    }
}

/// The inner loop of a join.
struct Join<'a> {
    right: &'a Input,
    on: Option<&'a Expr>,
    /// How many columns stand before the join's own in the row that `on` sees.
    base: usize,
    /// The row before the join in FROM.
    before: &'a [Datum],
}

impl Join<'_> {
    /// The joined rows. With `missing` a left row without a partner stays, with so many NULLs.
    fn rows(
        &self,
        left_rows: HeldRows,
        missing: Option<usize>,
        env: &Env,
        outer: Option<&Scope<'_>>,
    ) -> Result<HeldRows, SqlError> {
        // Without functions over the left row, the right side is the same for all of it.
        let lateral = self.right.is_lateral();
        let mut right_rows =
            if lateral { env.memory.rows() } else { self.right.rows(env, outer, self.before)? };
        let mut joined = env.memory.rows();
        for left_row in left_rows.rows {
            if lateral {
                right_rows = self.right.rows(env, outer, &left_row)?;
            }
            let before = joined.rows.len();
            for right_row in &right_rows.rows {
                env.interrupt.check()?;
                if let Some(row) = self.pair(&left_row, right_row, env, outer)? {
                    joined.push(row)?;
                }
            }
            if let (Some(width), true) = (missing, joined.rows.len() == before) {
                let mut row = left_row;
                row.resize(row.len() + width, None);
                joined.push(row)?;
            }
        }
        Ok(joined)
    }

    /// Two rows as one, if the condition holds.
    fn pair(
        &self,
        left: &[Datum],
        right: &[Datum],
        env: &Env,
        outer: Option<&Scope<'_>>,
    ) -> Result<Option<Row>, SqlError> {
        let mut row: Row = vec![None; self.base];
        row.extend_from_slice(left);
        row.extend_from_slice(right);
        let holds = self.on.map_or(Ok(true), |on| on.holds(&Scope { row: &row, outer }, env))?;
        Ok(holds.then(|| row.split_off(self.base)))
    }
}
