//! Plans to store calls, rows back.

mod ddl;
mod explain;
mod read;
mod session;
mod write;

pub(crate) use read::stream;

use std::sync::Arc;

use crate::catalog::TableSchema;
use crate::copy::{CopyIn, CopyOut};
use crate::error::SqlError;
use crate::execution::{Execution, RowStream, Rows};
use crate::expression::{Env, Scope};
use crate::plan::{InsertSource, OnConflict, Plan};
use crate::planner::{Planner, Prepared};
use crate::rows;
use crate::session::Session;
use crate::types::{Datum, Row};

/// The environment of an execution.
pub(crate) fn env(planner: &Planner, session: &Session, prepared: &Prepared, params: Vec<Datum>) -> Env {
    Env {
        params,
        session: session.clone(),
        snapshot: prepared.snapshot.clone(),
        info: planner.info().clone(),
        now: session.now(),
    }
}

/// Executes a plan.
pub(crate) async fn execute(
    planner: &Planner,
    session: &Session,
    prepared: &Arc<Prepared>,
    params: Vec<Datum>,
) -> Result<Execution, SqlError> {
    let env = env(planner, session, prepared, params);
    match &prepared.plan {
        Plan::Empty => Ok(Execution::Empty),
        Plan::Select(select) => {
            let stream = stream(planner, select.clone(), env).await?;
            let columns = prepared.columns().cloned().unwrap_or_else(|| Arc::from([]));
            Ok(Execution::Rows(Rows::new(columns, stream, "SELECT")))
        }
        Plan::Insert(insert) => {
            let (count, rows) = write::insert(planner, insert, &env).await?;
            Ok(finished("INSERT 0", count, rows, insert.returning.as_ref().map(|r| r.columns.clone())))
        }
        Plan::Change(change) => {
            let (count, rows) = write::change(planner, change, &env).await?;
            let verb = if change.assignments.is_some() { "UPDATE" } else { "DELETE" };
            Ok(finished(verb, count, rows, change.returning.as_ref().map(|r| r.columns.clone())))
        }
        Plan::CreateTable(create) => ddl::create_table(planner, create, &env).await,
        Plan::DropTable { names, if_exists } => ddl::drop_table(planner, names, *if_exists, &env).await,
        Plan::CopyIn { table, columns, options } => {
            session.check_write("COPY FROM")?;
            if session.in_block() {
                return Err(SqlError::unsupported("COPY FROM in a transaction block")
                    .hint("Run COPY outside of a block (autocommit on): each row is atomic by itself."));
            }
            let copy = CopyIn::new(planner.kv().clone(), env, table.clone(), columns.clone(), options)?;
            Ok(Execution::CopyIn(Box::new(copy)))
        }
        Plan::CopyOut { select, options } => {
            let columns: Vec<String> = select.columns.iter().map(|column| column.name.clone()).collect();
            let rows = stream(planner, select.clone(), env).await?;
            Ok(Execution::CopyOut(CopyOut::new(columns, rows, options)?))
        }
        Plan::Explain { analyze, plan } => {
            let lines = explain::explain(planner, plan, *analyze, &env).await?;
            let rows = lines.into_iter().map(|line| vec![Some(crate::types::Value::Text(line))]).collect();
            let columns = prepared.columns().cloned().unwrap_or_else(|| Arc::from([]));
            Ok(Execution::Rows(Rows::new(columns, RowStream::ready(rows), "EXPLAIN")))
        }
        Plan::Execute { name, arguments } => {
            let inner = session.statement(name)?;
            if inner.parameter_types().len() != arguments.len() {
                return Err(SqlError::new(
                    crate::error::sqlstate::SYNTAX,
                    format!("wrong number of parameters for prepared statement \"{name}\""),
                )
                .detail(format!(
                    "Expected {} parameters but got {}.",
                    inner.parameter_types().len(),
                    arguments.len()
                )));
            }
            let mut values = Vec::with_capacity(arguments.len());
            for (argument, ty) in arguments.iter().zip(inner.parameter_types()) {
                let value = argument.expr.eval(&Scope::EMPTY, &env)?;
                values.push(match value {
                    Some(value) => Some(crate::expression::simple(value, ty, false)?),
                    None => None,
                });
            }
            planner.execute(session, &inner, values).await
        }
        Plan::Session(statement) => session::run(planner, statement, prepared, &env).await,
    }
}

/// The result of a write: rows of RETURNING, or a tag.
fn finished(
    verb: &'static str,
    count: u64,
    rows: Vec<Row>,
    columns: Option<Arc<[crate::execution::Column]>>,
) -> Execution {
    match columns {
        Some(columns) => Execution::Rows(Rows::new(columns, RowStream::ready(rows), verb)),
        None => Execution::Done { tag: format!("{verb} {count}") },
    }
}

/// The one row that a plan touches: its table, its key, and whether it is written.
pub(crate) fn single_row(plan: &Plan, env: &Env) -> Option<(Arc<TableSchema>, Vec<u8>, bool)> {
    match plan {
        Plan::Select(select) => {
            let (table, access) = select.stored()?;
            if !access.is_single_point() {
                return None;
            }
            let key = access.keys(table, env).ok()?.pop()?;
            Some((table.clone(), key, false))
        }
        Plan::Insert(insert) => match &insert.source {
            InsertSource::Rows(source)
                if source.len() == 1 && !matches!(insert.on_conflict, OnConflict::Update { .. }) =>
            {
                let mut row: Row = vec![None; insert.table.columns.len()];
                for at in &insert.table.key {
                    if !source[0][*at].is_constant() {
                        return None;
                    }
                    row[*at] = source[0][*at].eval(&Scope::EMPTY, env).ok()?;
                }
                Some((insert.table.clone(), rows::row_key(&insert.table, &row).ok()?.to_vec(), true))
            }
            _ => None,
        },
        Plan::Change(change) => {
            if !change.access.is_single_point() {
                return None;
            }
            let key = change.access.keys(&change.table, env).ok()?.pop()?;
            Some((change.table.clone(), key, true))
        }
        _ => None,
    }
}
