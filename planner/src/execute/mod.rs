//! Executes plans: store calls out, rows back.

mod explain;
mod explain_query;
mod explain_access;
mod session;
mod cursor;
mod ddl;
mod insert;
mod change;
mod beside;
mod read;
mod scan;
mod writer;
mod run;
mod tables;
mod scanner;
mod overlay;
mod target;

use std::sync::Arc;

use crate::copy::{CopyIn, CopyOut};
use crate::error::SqlError;
use crate::execution::Execution;
use crate::plan::Plan;
use crate::result::{Column, RowStream, Rows};
use crate::types::Value;

pub(crate) use run::{Run, env};
pub(crate) use target::Target;
use writer::Changed;

/// Executes a plan; `columns` are those of its result. What is rare is boxed, so that the future of a point read or
/// write stays small.
pub(crate) async fn execute(
    run: &Run<'_>,
    plan: &Plan,
    columns: Option<&Arc<[Column]>>,
) -> Result<Execution, SqlError> {
    let rows = |rows, verb| {
        let columns = columns.cloned().unwrap_or_else(|| Arc::from([]));
        Execution::Rows(Rows::new(columns, rows, run.env.text.clone(), verb))
    };
    match plan {
        Plan::Empty => Ok(Execution::Empty),
        Plan::Select(select) => Ok(rows(read::stream(run, select).await?, "SELECT")),
        Plan::Insert(insert) => Ok(written("INSERT 0", insert::insert(run, insert).await?, columns, run)),
        Plan::Change(change) => Ok(written(change.command, change::change(run, change).await?, columns, run)),
        Plan::Truncate(tables) => {
            Box::pin(change::truncate(run, tables)).await?;
            Ok(Execution::Done { tag: "TRUNCATE TABLE".into() })
        }
        Plan::CreateTable(create) => Box::pin(ddl::create_table(run, create)).await,
        Plan::Drop(drop) => Box::pin(ddl::drop(run, drop)).await,
        Plan::AlterTable(alter) => Box::pin(ddl::alter_table(run, alter)).await,
        Plan::CreateSchema(create) => Box::pin(ddl::create_schema(run, create)).await,
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
            let rows = read::stream(run, select).await?;
            Ok(Execution::CopyOut(CopyOut::new(select, rows, options, run.env.text.clone())?))
        }
        Plan::Explain { analyze, plan } => {
            let lines = Box::pin(explain::explain(run, plan, *analyze)).await?;
            let lines = lines.into_iter().map(|line| vec![Some(Value::Text(line))]).collect();
            Ok(rows(RowStream::ready(lines), "EXPLAIN"))
        }
        Plan::Declare(declare) => Box::pin(cursor::declare(run, declare)).await,
        Plan::Fetch { name, direction } => Box::pin(cursor::fetch(run, name, *direction)).await,
        Plan::Move { name, direction } => Box::pin(cursor::skip(run, name, *direction)).await,
        Plan::Session(statement) => Box::pin(session::run(run, statement, columns)).await,
        Plan::Prepare { .. } | Plan::Execute { .. } => {
            Err(SqlError::internal("PREPARE and EXECUTE are the planner's"))
        }
    }
}

/// The result of a write: rows of RETURNING, or a tag.
fn written(
    verb: &'static str,
    changed: Changed,
    columns: Option<&Arc<[Column]>>,
    run: &Run<'_>,
) -> Execution {
    match columns {
        Some(columns) => {
            let (rows, text) = (RowStream::held(changed.returned), run.env.text.clone());
            Execution::Rows(Rows::new(columns.clone(), rows, text, verb))
        }
        None => Execution::Done { tag: format!("{verb} {}", changed.count) },
    }
}
