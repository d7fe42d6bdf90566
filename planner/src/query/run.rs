//! A query executed in memory: over system relations whole, over the rows of a stored table from where the executor
//! has brought them.

use std::any::Any;

use super::groups::Groups;
use super::plan::{Input, SelectPlan};
use super::row_sets::{ROWS_MAX, combine, distinct, sort, too_many_rows};
use crate::depth::deeper;
use crate::error::{SqlError, sqlstate};
use crate::expression::{Env, Expr, RunQuery, Scope};
use crate::types::{Datum, Row, Value};

impl SelectPlan {
    /// All rows of a query that reads no stored table. `outer` is the row of the expression around it.
    pub(crate) fn run(&self, env: &Env, outer: Option<&Scope<'_>>) -> Result<Vec<Row>, SqlError> {
        deeper(|| self.over(self.input.rows(env, outer, &[])?, env, outer))
    }

    /// The result over all rows of the input.
    pub(crate) fn over(
        &self,
        input: Vec<Row>,
        env: &Env,
        outer: Option<&Scope<'_>>,
    ) -> Result<Vec<Row>, SqlError> {
        let mut kept = Vec::with_capacity(input.len());
        for row in input {
            env.interrupt.check()?;
            if self.keeps(&row, env, outer)? {
                kept.push(row);
            }
        }
        if let Some(grouping) = &self.grouping {
            let mut groups = Groups::new(grouping);
            for row in &kept {
                env.interrupt.check()?;
                groups.add(&Scope { row, outer }, env)?;
            }
            kept = groups.finish(&env.interrupt)?;
        }
        self.finish(kept, env, outer)
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
        self.projection.iter().map(|expr| expr.eval(&scope, env)).collect()
    }

    /// From filtered (and grouped) rows to the result: HAVING, projection, DISTINCT, order, limits.
    pub(crate) fn finish(
        &self,
        rows: Vec<Row>,
        env: &Env,
        outer: Option<&Scope<'_>>,
    ) -> Result<Vec<Row>, SqlError> {
        let having = self.grouping.as_ref().and_then(|grouping| grouping.having.as_ref());
        let mut out = Vec::with_capacity(rows.len());
        for row in &rows {
            env.interrupt.check()?;
            if let Some(having) = having
                && !having.holds(&Scope { row, outer }, env)?
            {
                continue;
            }
            out.push(self.project(row, env, outer)?);
        }
        if self.distinct {
            out = distinct(out, &env.interrupt)?;
        }
        sort(&mut out, &self.order, &env.interrupt)?;
        let (limit, offset) = self.limits(env)?;
        let limit = limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
        let cut = out.into_iter().skip(usize::try_from(offset).unwrap_or(usize::MAX)).take(limit);
        Ok(cut
            .map(|mut row| {
                row.truncate(self.columns.len());
                row
            })
            .collect())
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
    fn rows(&self, env: &Env, outer: Option<&Scope<'_>>) -> Result<Vec<Row>, SqlError> {
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
    fn rows(&self, env: &Env, outer: Option<&Scope<'_>>, left: &[Datum]) -> Result<Vec<Row>, SqlError> {
        let scope = Scope { row: left, outer };
        match self {
            Input::Nothing => Ok(vec![Vec::new()]),
            Input::Table { table, .. } => {
                Err(SqlError::internal(format!("table \"{}\" inside of a query", table.name)))
            }
            Input::System(relation) => Ok(relation.rows(env)),
            Input::Query(plan) => plan.run(env, outer),
            Input::Series { first, last } => series(first.eval(&scope, env)?, last.eval(&scope, env)?),
            Input::Unnest(array) => match array.eval(&scope, env)? {
                Some(Value::Array(array)) => Ok(array.items.iter().map(|item| vec![item.clone()]).collect()),
                _ => Ok(Vec::new()),
            },
            Input::Values(rows) => {
                let row = |row: &Vec<Expr>| row.iter().map(|expr| expr.eval(&scope, env)).collect();
                rows.iter().map(row).collect()
            }
            Input::Set { op, all, left, right } => {
                let (left, right) = (left.run(env, outer)?, right.run(env, outer)?);
                combine(*op, *all, left, right, &env.interrupt)
            }
            Input::Join { left: first, right, outer: keeps_left, on, base, right_width } => {
                let join = Join { right, on: on.as_ref(), base: *base, before: left };
                let missing = keeps_left.then_some(*right_width);
                let first = deeper(|| first.rows(env, outer, left))?;
                join.rows(first, missing, env, outer)
            }
        }
    }

    /// Do its rows depend on the row before it in FROM?
    fn is_lateral(&self) -> bool {
        matches!(self, Input::Series { .. } | Input::Unnest(_))
    }
}

/// generate_series(first, last).
fn series(first: Datum, last: Datum) -> Result<Vec<Row>, SqlError> {
    let bound = |value: Datum| value.and_then(|value| value.as_i64());
    let (Some(first), Some(last)) = (bound(first), bound(last)) else { return Ok(Vec::new()) };
    if last.saturating_sub(first) >= ROWS_MAX as i64 {
        return Err(too_many_rows());
    }
    Ok((first..=last).map(|number| vec![Some(Value::Int4(number as i32))]).collect())
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
        left_rows: Vec<Row>,
        missing: Option<usize>,
        env: &Env,
        outer: Option<&Scope<'_>>,
    ) -> Result<Vec<Row>, SqlError> {
        // Without functions over the left row, the right side is the same for all of it.
        let lateral = self.right.is_lateral();
        let mut right_rows = if lateral { Vec::new() } else { self.right.rows(env, outer, self.before)? };
        let mut joined = Vec::new();
        for left_row in left_rows {
            if lateral {
                right_rows = self.right.rows(env, outer, &left_row)?;
            }
            let before = joined.len();
            for right_row in &right_rows {
                env.interrupt.check()?;
                joined.extend(self.pair(&left_row, right_row, env, outer)?);
                if joined.len() > ROWS_MAX {
                    return Err(too_many_rows());
                }
            }
            if let (Some(width), true) = (missing, joined.len() == before) {
                let mut row = left_row;
                row.resize(row.len() + width, None);
                joined.push(row);
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
