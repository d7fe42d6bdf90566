//! Statements about the session: settings, blocks, prepared statements.

use std::sync::Arc;

use super::run::Run;
use super::writer;
use crate::error::{SqlError, sqlstate};
use crate::execution::Execution;
use crate::result::{Column, RowStream, Rows};
use crate::session::{Commit, Session};
use crate::statement::Statement;
use crate::types::Value;

/// Runs a statement of the session.
pub(super) async fn run(
    run: &Run<'_>,
    statement: &Statement,
    columns: Option<&Arc<[Column]>>,
) -> Result<Execution, SqlError> {
    if let Statement::Show(name) = statement {
        return show(run.session, name.as_deref(), columns);
    }
    let tag = command(run, statement).await?;
    Ok(Execution::Done { tag: tag.into() })
}

/// SHOW.
fn show(
    session: &Session,
    name: Option<&str>,
    columns: Option<&Arc<[Column]>>,
) -> Result<Execution, SqlError> {
    let text = |text: String| Some(Value::Text(text));
    let rows = match name {
        Some(name) => vec![vec![text(session.show(name)?)]],
        None => session
            .show_all()
            .into_iter()
            .map(|(name, value, about)| vec![text(name), text(value), text(about.into())])
            .collect(),
    };
    let columns = columns.cloned().unwrap_or_else(|| Arc::from([]));
    Ok(Execution::Rows(Rows::new(columns, RowStream::ready(rows), session.text_settings(), "SHOW")))
}

/// Runs a statement that gives no rows, and gives its tag.
async fn command(run: &Run<'_>, statement: &Statement) -> Result<&'static str, SqlError> {
    let session = run.session;
    match statement {
        Statement::Set { name, value, local } => session.set(name, value.as_deref(), *local)?,
        Statement::SetTransaction { read_only: None, .. } => {}
        Statement::SetTransaction { read_only: Some(on), session: true } => {
            session.set("default_transaction_read_only", Some(if *on { "on" } else { "off" }), false)?;
        }
        Statement::SetTransaction { read_only: Some(on), session: false } => session.set_read_only(*on),
        Statement::Reset(Some(name)) => session.set(name, None, false)?,
        Statement::Reset(None) => session.reset_all(),
        Statement::Begin { read_only } => session.begin(*read_only),
        Statement::Commit => return commit(run).await,
        Statement::Rollback => rollback(session),
        Statement::Savepoint(name) => session.savepoint(name)?,
        Statement::Release(name) => session.release(name)?,
        Statement::RollbackTo(name) => session.rollback_to(name)?,
        Statement::Close(Some(name)) => session.close_cursor(name)?,
        Statement::Close(None) => session.close_cursors(),
        Statement::Deallocate(Some(name)) => {
            session.statement(name)?;
            session.close_statement(name);
        }
        Statement::Deallocate(None) => session.close_statements(),
        Statement::DiscardAll => {
            if session.in_block() {
                return Err(SqlError::new(
                    sqlstate::ACTIVE_TRANSACTION,
                    "DISCARD ALL cannot run inside a transaction block",
                ));
            }
            session.close_cursors();
            session.close_statements();
            session.reset_all();
        }
        _ => {}
    }
    tag(statement)
}

/// The command tag of a statement of the session.
fn tag(statement: &Statement) -> Result<&'static str, SqlError> {
    Ok(match statement {
        Statement::Set { .. } | Statement::SetTransaction { .. } => "SET",
        Statement::Reset(_) => "RESET",
        Statement::Begin { .. } => "BEGIN",
        Statement::Rollback | Statement::RollbackTo(_) => "ROLLBACK",
        Statement::Savepoint(_) => "SAVEPOINT",
        Statement::Release(_) => "RELEASE",
        Statement::Close(Some(_)) => "CLOSE CURSOR",
        Statement::Close(None) => "CLOSE CURSOR ALL",
        Statement::Deallocate(Some(_)) => "DEALLOCATE",
        Statement::Deallocate(None) => "DEALLOCATE ALL",
        Statement::DiscardAll => "DISCARD ALL",
        Statement::NoEffect(tag) => tag,
        _ => return Err(SqlError::internal("a statement with a plan of its own")),
    })
}

/// COMMIT: sends the block's write, and gives the tag. A failed block ends by rolling back, and the tag says so.
async fn commit(run: &Run<'_>) -> Result<&'static str, SqlError> {
    match run.session.commit() {
        Commit::NoBlock => no_transaction(run.session),
        Commit::RolledBack => return Ok("ROLLBACK"),
        Commit::Send(None) => {}
        Commit::Send(Some(write)) => writer::commit(run, write).await?,
    }
    Ok("COMMIT")
}

fn rollback(session: &Session) {
    if !session.rollback() {
        no_transaction(session);
    }
}

fn no_transaction(session: &Session) {
    session.warning(sqlstate::NO_ACTIVE_TRANSACTION, "there is no transaction in progress");
}
