//! Where the rows of a query come from.

use std::sync::Arc;
use std::vec;

use bytes::Bytes;

use super::function::FunctionSource;
use super::open_rows::OpenRows;
use super::plan::{CommonPlan, Input};
use super::recursive::RecursiveRows;
use super::set::SetRows;
use crate::access::Access;
use crate::catalog::TableSchema;
use crate::error::SqlError;
use crate::expression::{Env, Expr, OpenQuery, RunQuery, Scope, StoredScan};
use crate::memory::{Held, HeldRows};
use crate::types::Row;

/// Keys of a list that are read together.
const KEYS_IN_STEP: usize = 2_000;

/// An input that is being read.
pub(super) enum Source {
    Nothing,
    /// One row without columns.
    Once,
    /// A key span of a stored table.
    Scan {
        scan: Box<dyn StoredScan>,
        read: vec::IntoIter<Row>,
        /// For the rows that were read.
        held: Option<Held>,
    },
    /// Keys of a stored table.
    Points {
        table: Arc<TableSchema>,
        keys: vec::IntoIter<Vec<u8>>,
        read: vec::IntoIter<Row>,
    },
    Rows(vec::IntoIter<Row>, #[expect(dead_code, reason = "held until the rows are given")] Held),
    /// A query, and whether it sees the row before it in FROM.
    Query(Box<dyn OpenQuery>, bool),
    Function(FunctionSource),
    Values(Arc<Vec<Vec<Expr>>>, usize),
    /// A query of WITH, so many queries further out.
    Common(Box<dyn OpenQuery>, usize),
    /// Rows that others read, too.
    Shared(Arc<HeldRows>, usize),
    Recursive(Box<RecursiveRows>),
    Set(Box<SetRows>),
    Join(Box<dyn OpenRows>),
}

impl Input {
    /// Begins to read. `scope` holds the row before the input in FROM, with the rows of the queries around.
    pub(super) fn open(&self, env: &Env, scope: &Scope<'_>) -> Result<Box<dyn OpenRows>, SqlError> {
        Ok(Box::new(Source::open(self, env, scope, None)?))
    }
}

impl Source {
    /// Begins to read. `scope` holds the row before the input in FROM, with the rows of the queries around. At most `limit`
    /// rows are needed.
    pub(super) fn open(
        input: &Input,
        env: &Env,
        scope: &Scope<'_>,
        limit: Option<u64>,
    ) -> Result<Source, SqlError> {
        Ok(match input {
            Input::Nothing => Source::Once,
            Input::Table { table, access } => open_table(table, access, env, scope, limit)?,
            Input::System(relation) => {
                let mut rows = env.memory.rows();
                rows.extend(relation.rows(env))?;
                Source::of_rows(rows)
            }
            Input::Query { plan, lateral } => Source::Query(plan.open(), *lateral),
            Input::Common { plan, up } if plan.is_shared() => {
                Source::Shared(shared(plan, *up, env, scope)?, 0)
            }
            Input::Common { plan, up } => Source::Common(plan.query().open(), *up),
            Input::Recursive(plan) => Source::Recursive(Box::new(RecursiveRows::new(plan, env))),
            Input::Working(number) => {
                let rows = env.tables.results().rows(*number);
                Source::Shared(rows.unwrap_or_else(|| Arc::new(env.memory.rows())), 0)
            }
            Input::Function(function) => Source::Function(FunctionSource::open(function, env, scope)?),
            Input::Values(rows) => Source::Values(rows.clone(), 0),
            Input::Set(set) => Source::Set(Box::new(SetRows::new(set))),
            Input::Join { join, width } => Source::Join(join.open(*width, env, scope)?),
        })
    }

    /// Rows that are there.
    pub(super) fn of_rows(rows: HeldRows) -> Source {
        let HeldRows { rows, held } = rows;
        Source::Rows(rows.into_iter(), held)
    }
}

impl OpenRows for Source {
    fn next(&mut self, env: &Env, scope: &Scope<'_>) -> Result<Option<Row>, SqlError> {
        match self {
            Source::Nothing => Ok(None),
            Source::Once => {
                *self = Source::Nothing;
                Ok(Some(Row::new()))
            }
            Source::Scan { scan, read, held } => loop {
                if let Some(row) = read.next() {
                    return Ok(Some(row));
                }
                match scan.next(&env.interrupt)? {
                    Some(rows) => {
                        *read = rows.rows.into_iter();
                        *held = Some(rows.held);
                    }
                    None => return Ok(None),
                }
            },
            Source::Points { table, keys, read } => loop {
                if let Some(row) = read.next() {
                    return Ok(Some(row));
                }
                let step: Vec<Bytes> = keys.by_ref().take(KEYS_IN_STEP).map(Bytes::from).collect();
                if step.is_empty() {
                    return Ok(None);
                }
                let found = env.tables.get(table, step, &env.interrupt)?;
                *read = found.into_iter().flatten().collect::<Vec<_>>().into_iter();
            },
            Source::Rows(rows, _) => Ok(rows.next()),
            Source::Query(query, true) => query.next(env, Some(scope)),
            Source::Query(query, false) => query.next(env, scope.outer),
            Source::Common(query, up) => query.next(env, around(scope, *up)),
            Source::Shared(rows, at) => {
                *at += 1;
                Ok(rows.rows.get(*at - 1).cloned())
            }
            Source::Recursive(rows) => rows.next(env, scope.outer),
            Source::Function(function) => Ok(function.next()),
            Source::Values(rows, at) => {
                let Some(row) = rows.get(*at) else { return Ok(None) };
                *at += 1;
                row.iter().map(|expr| expr.eval(scope, env)).collect::<Result<_, _>>().map(Some)
            }
            Source::Set(set) => set.next(env, scope.outer),
            Source::Join(join) => join.next(env, scope),
        }
    }
}

/// The rows around a query that is so many queries further out.
fn around<'a>(scope: &Scope<'a>, up: usize) -> Option<&'a Scope<'a>> {
    (0..up).fold(scope.outer, |outer, _| outer.and_then(|outer| outer.outer))
}

/// The rows of a query of WITH, which are computed once.
fn shared(plan: &CommonPlan, up: usize, env: &Env, scope: &Scope<'_>) -> Result<Arc<HeldRows>, SqlError> {
    let results = env.tables.results();
    if let Some(rows) = results.rows(plan.number()) {
        return Ok(rows);
    }
    let mut rows = env.memory.rows();
    let mut open = plan.query().open();
    while let Some(row) = open.next(env, around(scope, up))? {
        env.interrupt.check()?;
        rows.push(row)?;
    }
    let rows = Arc::new(rows);
    results.keep_rows(plan.number(), &rows);
    Ok(rows)
}

fn open_table(
    table: &Arc<TableSchema>,
    access: &Access,
    env: &Env,
    scope: &Scope<'_>,
    limit: Option<u64>,
) -> Result<Source, SqlError> {
    if access.is_points() {
        let keys = access.keys_in(table, scope, env)?.into_iter();
        return Ok(Source::Points { table: table.clone(), keys, read: Vec::new().into_iter() });
    }
    Ok(match access.span_in(table, scope, env)? {
        Some(span) => {
            let scan = env.tables.scan(table, span, access.is_reverse(), limit, &env.interrupt);
            Source::Scan { scan, read: Vec::new().into_iter(), held: None }
        }
        None => Source::Nothing,
    })
}
