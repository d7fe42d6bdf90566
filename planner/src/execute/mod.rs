//! Executes plans: store calls out, rows back.

mod ddl;
mod explain;
mod read;
mod run;
mod session;
mod write;

use std::sync::Arc;

use crate::catalog::TableSchema;
use crate::copy::{CopyIn, CopyOut};
use crate::error::SqlError;
use crate::execution::Execution;
use crate::expression::{Env, Scope};
use crate::plan::{InsertSource, OnConflict, Plan};
use crate::result::{Column, RowStream, Rows};
use crate::row_encoding;
use crate::types::{Row, Value};

pub(crate) use run::Run;

/// Executes a plan; `columns` are those of its result.
pub(crate) async fn execute(
    run: &Run<'_>,
    plan: &Plan,
    columns: Option<&Arc<[Column]>>,
) -> Result<Execution, SqlError> {
    let rows = |rows, verb| {
        let columns = columns.cloned().unwrap_or_else(|| Arc::from([]));
        Execution::Rows(Rows::new(columns, rows, verb))
    };
    match plan {
        Plan::Empty => Ok(Execution::Empty),
        Plan::Select(select) => Ok(rows(read::stream(run, select).await?, "SELECT")),
        Plan::Insert(insert) => {
            let (count, returned) = write::insert(run, insert).await?;
            Ok(finished("INSERT 0", count, returned, columns))
        }
        Plan::Change(change) => {
            let (count, returned) = write::change(run, change).await?;
            Ok(finished(change.command, count, returned, columns))
        }
        Plan::CreateTable(create) => ddl::create_table(run, create).await,
        Plan::DropTable { names, if_exists } => ddl::drop_table(run, names, *if_exists).await,
        Plan::CopyIn(plan) => {
            run.session.check_write("COPY FROM")?;
            if run.session.in_block() {
                return Err(SqlError::unsupported("COPY FROM in a transaction block")
                    .hint("Run COPY outside of a block (autocommit on): each row is atomic by itself."));
            }
            let (kv, session, env) = (run.context.kv.clone(), run.session.clone(), run.env.clone());
            let copy = CopyIn::new(kv, session, env, plan)?;
            Ok(Execution::CopyIn(Box::new(copy)))
        }
        Plan::CopyOut { select, options } => {
            let names: Vec<String> = select.columns.iter().map(|column| column.name.clone()).collect();
            let rows = read::stream(run, select).await?;
            Ok(Execution::CopyOut(CopyOut::new(names, rows, options)?))
        }
        Plan::Explain { analyze, plan } => {
            let lines = explain::explain(run, plan, *analyze).await?;
            let lines = lines.into_iter().map(|line| vec![Some(Value::Text(line))]).collect();
            Ok(rows(RowStream::ready(lines), "EXPLAIN"))
        }
        Plan::Session(statement) => session::run(run, statement, columns).await,
        Plan::Prepare { .. } | Plan::Execute { .. } => {
            Err(SqlError::internal("PREPARE and EXECUTE are the planner's"))
        }
    }
}

/// The result of a write: rows of RETURNING, or a tag.
fn finished(verb: &'static str, count: u64, rows: Vec<Row>, columns: Option<&Arc<[Column]>>) -> Execution {
    match columns {
        Some(columns) => Execution::Rows(Rows::new(columns.clone(), RowStream::ready(rows), verb)),
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
                Some((insert.table.clone(), row_encoding::row_key(&insert.table, &row).ok()?.to_vec(), true))
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
