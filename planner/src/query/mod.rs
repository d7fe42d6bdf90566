//! A SELECT as a plan: where rows come from, which stay, how they are grouped, computed, sorted and cut.
//!
//! Over virtual tables a plan runs here, all in memory ([`SelectPlan::run`]). Over a stored table the executor
//! brings the rows and uses the same pieces: filter and projection per batch, or [`Groups`] and
//! [`SelectPlan::finish`] where all rows are needed.

mod aggregate;

pub(crate) use aggregate::{Aggregate, AggregateKind, Groups};

use std::cmp::Ordering;
use std::sync::Arc;

use crate::access::Access;
use crate::catalog::TableSchema;
use crate::error::{SqlError, sqlstate};
use crate::expression::{Env, Expr, Scope};
use crate::pg_catalog::VirtualTable;
use crate::result::Column;
use crate::statement::SetOp;
use crate::types::{Datum, Row, Value};

/// Where the rows of a query come from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Input {
    /// One row without columns (SELECT without FROM).
    Nothing,
    /// A table of the store: only as the sole source of a top-level query.
    Table {
        table: Arc<TableSchema>,
        access: Access,
    },
    /// A table of the catalog.
    System(VirtualTable),
    Query(Arc<SelectPlan>),
    /// generate_series(first, last).
    Series {
        first: Expr,
        last: Expr,
    },
    /// unnest(array).
    Unnest(Expr),
    Values(Vec<Vec<Expr>>),
    Set {
        op: SetOp,
        all: bool,
        left: Arc<SelectPlan>,
        right: Arc<SelectPlan>,
    },
    /// A nested loop. `base` columns of the row stand before the join's own; `right_width` fills missing ones.
    Join {
        left: Box<Input>,
        right: Box<Input>,
        outer: bool,
        on: Option<Expr>,
        base: usize,
        right_width: usize,
    },
}

/// A sort key: an output column (perhaps a hidden one), its direction, and where NULLs go.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SortKey {
    pub(crate) at: usize,
    pub(crate) descending: bool,
    pub(crate) nulls_first: bool,
}

/// A query that is ready to run.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SelectPlan {
    pub(crate) input: Input,
    pub(crate) filter: Option<Expr>,
    /// Group expressions and aggregates; the projection then sees the group's values, then the aggregates'.
    pub(crate) grouping: Option<Grouping>,
    /// The visible columns, then hidden ones that only sort.
    pub(crate) projection: Vec<Expr>,
    pub(crate) columns: Vec<Column>,
    pub(crate) distinct: bool,
    pub(crate) order: Vec<SortKey>,
    pub(crate) limit: Option<Expr>,
    pub(crate) offset: Option<Expr>,
}

/// GROUP BY.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Grouping {
    pub(crate) keys: Vec<Expr>,
    pub(crate) aggregates: Vec<Aggregate>,
    pub(crate) having: Option<Expr>,
}

/// Rows that one query may hold in memory.
pub(crate) const ROWS_MAX: usize = 1_000_000;

/// 53200: the result does not fit.
pub(crate) fn too_many_rows() -> SqlError {
    SqlError::new(
        sqlstate::OUT_OF_MEMORY,
        format!("more than {ROWS_MAX} rows would have to be sorted in memory"),
    )
    .hint("Order by the primary key, or add a LIMIT with a WHERE on the key.")
}

impl Input {
    /// Its rows; `left` is the row before it, for functions over its columns.
    fn rows(&self, env: &Env, outer: Option<&Scope<'_>>, left: &[Datum]) -> Result<Vec<Row>, SqlError> {
        let lateral = Scope { row: left, outer };
        Ok(match self {
            Input::Nothing => vec![Vec::new()],
            Input::Table { table, .. } => {
                return Err(SqlError::internal(format!("table \"{}\" inside of a query", table.name)));
            }
            Input::System(table) => table.rows(env)?,
            Input::Query(plan) => plan.run(env, outer)?,
            Input::Series { first, last } => {
                let bound = |expr: &Expr| -> Result<Option<i64>, SqlError> {
                    Ok(expr.eval(&lateral, env)?.and_then(|value| value.as_i64()))
                };
                match (bound(first)?, bound(last)?) {
                    (Some(first), Some(last)) if last.saturating_sub(first) >= ROWS_MAX as i64 => {
                        return Err(too_many_rows());
                    }
                    (Some(first), Some(last)) => {
                        (first..=last).map(|v| vec![Some(Value::Int4(v as i32))]).collect()
                    }
                    _ => Vec::new(),
                }
            }
            Input::Unnest(array) => match array.eval(&lateral, env)? {
                Some(Value::Array(array)) => array.items.iter().map(|item| vec![item.clone()]).collect(),
                _ => Vec::new(),
            },
            Input::Values(rows) => {
                let row = |row: &Vec<Expr>| row.iter().map(|expr| expr.eval(&lateral, env)).collect();
                rows.iter().map(row).collect::<Result<_, _>>()?
            }
            Input::Set { op, all, left, right } => {
                set(*op, *all, left.run(env, outer)?, right.run(env, outer)?)?
            }
            Input::Join { left: first, right, outer: keep, on, base, right_width } => {
                let mut joined = Vec::new();
                // Without functions over the left row, the right side is the same for all of it.
                let lateral_right = matches!(**right, Input::Series { .. } | Input::Unnest(_));
                let fixed = if lateral_right { Vec::new() } else { right.rows(env, outer, left)? };
                for left_row in first.rows(env, outer, left)? {
                    let own;
                    let right_rows = if lateral_right {
                        own = right.rows(env, outer, &left_row)?;
                        &own
                    } else {
                        &fixed
                    };
                    let mut matched = false;
                    for right_row in right_rows {
                        let mut row: Row = vec![None; *base];
                        row.extend(left_row.iter().cloned());
                        row.extend(right_row.iter().cloned());
                        let holds = match on {
                            Some(on) => on.holds(&Scope { row: &row, outer }, env)?,
                            None => true,
                        };
                        if holds {
                            matched = true;
                            joined.push(row.split_off(*base));
                            if joined.len() > ROWS_MAX {
                                return Err(too_many_rows());
                            }
                        }
                    }
                    if *keep && !matched {
                        let mut row = left_row;
                        row.resize(row.len() + right_width, None);
                        joined.push(row);
                    }
                }
                joined
            }
        })
    }
}

/// Are all values equal, NULL to NULL (as DISTINCT and set operations see it)?
fn same(a: &[Datum], b: &[Datum]) -> Result<bool, SqlError> {
    Ok(order_rows(a, b)? == Ordering::Equal)
}

fn order_rows(a: &[Datum], b: &[Datum]) -> Result<Ordering, SqlError> {
    for (x, y) in a.iter().zip(b) {
        let order = order_datums(x, y, false)?;
        if order != Ordering::Equal {
            return Ok(order);
        }
    }
    Ok(Ordering::Equal)
}

fn order_datums(a: &Datum, b: &Datum, nulls_first: bool) -> Result<Ordering, SqlError> {
    Ok(match (a, b) {
        (Some(a), Some(b)) => a.compare(b)?,
        (None, None) => Ordering::Equal,
        (None, Some(_)) if nulls_first => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (Some(_), None) if nulls_first => Ordering::Greater,
        (Some(_), None) => Ordering::Less,
    })
}

/// Sorts with a comparison that may fail; the first failure is the result.
fn sort_rows(
    rows: &mut [Row],
    mut order: impl FnMut(&Row, &Row) -> Result<Ordering, SqlError>,
) -> Result<(), SqlError> {
    let mut failure = None;
    rows.sort_by(|a, b| {
        order(a, b).unwrap_or_else(|error| {
            failure.get_or_insert(error);
            Ordering::Equal
        })
    });
    failure.map_or(Ok(()), Err)
}

fn distinct(mut rows: Vec<Row>) -> Result<Vec<Row>, SqlError> {
    sort_rows(&mut rows, |a, b| order_rows(a, b))?;
    let mut unique: Vec<Row> = Vec::with_capacity(rows.len());
    for row in rows {
        if !unique.last().map(|last| same(last, &row)).transpose()?.unwrap_or(false) {
            unique.push(row);
        }
    }
    Ok(unique)
}

fn set(op: SetOp, all: bool, left: Vec<Row>, right: Vec<Row>) -> Result<Vec<Row>, SqlError> {
    if op == SetOp::Union {
        let mut rows = left;
        rows.extend(right);
        return if all { Ok(rows) } else { distinct(rows) };
    }
    let mut rest = right;
    let mut kept = Vec::new();
    for row in if all { left } else { distinct(left)? } {
        let mut found = None;
        for (at, other) in rest.iter().enumerate() {
            if same(&row, other)? {
                found = Some(at);
                break;
            }
        }
        if let (Some(at), true) = (found, all) {
            rest.swap_remove(at);
        }
        if found.is_some() == (op == SetOp::Intersect) {
            kept.push(row);
        }
    }
    Ok(kept)
}

/// The number in a LIMIT or OFFSET.
fn count(expr: &Option<Expr>, env: &Env, code: &'static str, name: &str) -> Result<Option<u64>, SqlError> {
    let Some(expr) = expr else { return Ok(None) };
    match expr.eval(&Scope::EMPTY, env)?.map(|value| value.as_i64()) {
        None => Ok(None),
        Some(Some(number)) => u64::try_from(number)
            .map(Some)
            .map_err(|_| SqlError::new(code, format!("{name} must not be negative"))),
        Some(None) => Err(SqlError::new(sqlstate::DATATYPE_MISMATCH, format!("{name} must be a number"))),
    }
}

impl SelectPlan {
    /// All rows of an input, computed into columns.
    pub(crate) fn new(input: Input, projection: Vec<Expr>, columns: Vec<Column>) -> SelectPlan {
        SelectPlan {
            input,
            filter: None,
            grouping: None,
            projection,
            columns,
            distinct: false,
            order: Vec::new(),
            limit: None,
            offset: None,
        }
    }

    /// LIMIT and OFFSET of an execution.
    pub(crate) fn limits(&self, env: &Env) -> Result<(Option<u64>, u64), SqlError> {
        Ok((
            count(&self.limit, env, sqlstate::INVALID_LIMIT, "LIMIT")?,
            count(&self.offset, env, sqlstate::INVALID_OFFSET, "OFFSET")?.unwrap_or(0),
        ))
    }

    /// Runs over virtual tables.
    pub(crate) fn run(&self, env: &Env, outer: Option<&Scope<'_>>) -> Result<Vec<Row>, SqlError> {
        let rows = self.input.rows(env, outer, &[])?;
        let mut kept = Vec::with_capacity(rows.len());
        for row in rows {
            if self.keeps(&row, env, outer)? {
                kept.push(row);
            }
        }
        let rows = match &self.grouping {
            None => kept,
            Some(grouping) => {
                let mut groups = Groups::new(grouping);
                for row in &kept {
                    groups.add(&Scope { row, outer }, env)?;
                }
                groups.finish(env)?
            }
        };
        self.finish(rows, env, outer)
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
            if let Some(having) = having
                && !having.holds(&Scope { row, outer }, env)?
            {
                continue;
            }
            out.push(self.project(row, env, outer)?);
        }
        if self.distinct {
            out = distinct(out)?;
        }
        if !self.order.is_empty() {
            sort_rows(&mut out, |a, b| {
                for key in &self.order {
                    let (x, y) = (&a[key.at], &b[key.at]);
                    // NULLs are placed by their own rule, whatever the direction.
                    let mut order = order_datums(x, y, key.nulls_first)?;
                    if key.descending && x.is_some() && y.is_some() {
                        order = order.reverse();
                    }
                    if order != Ordering::Equal {
                        return Ok(order);
                    }
                }
                Ok(Ordering::Equal)
            })?;
        }
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

    /// The stored table it reads, with its access.
    pub(crate) fn stored(&self) -> Option<(&Arc<TableSchema>, &Access)> {
        match &self.input {
            Input::Table { table, access } => Some((table, access)),
            _ => None,
        }
    }
}
