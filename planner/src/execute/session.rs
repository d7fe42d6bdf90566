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

fn done(tag: &str) -> Result<Execution, SqlError> {
    Ok(Execution::Done { tag: tag.into() })
}

fn no_transaction(session: &Session) {
    session.warning(sqlstate::NO_ACTIVE_TRANSACTION, "there is no transaction in progress");
}

/// Runs a statement of the session.
pub(super) async fn run(
    run: &Run<'_>,
    statement: &Statement,
    columns: Option<&Arc<[Column]>>,
) -> Result<Execution, SqlError> {
    let session = run.session;
    match statement {
        Statement::Set { name, value, local } => {
            session.set(name, value.as_deref(), *local)?;
            done("SET")
        }
        Statement::SetTransaction { read_only, session: characteristics } => {
            match (read_only, characteristics) {
                (Some(on), true) => {
                    let value = if *on { "on" } else { "off" };
                    session.set("default_transaction_read_only", Some(value), false)?;
                }
                (Some(on), false) => session.set_read_only(*on),
                (None, _) => {}
            }
            done("SET")
        }
        Statement::Show(name) => {
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
            Ok(Execution::Rows(Rows::new(columns, RowStream::ready(rows), "SHOW")))
        }
        Statement::Reset(Some(name)) => {
            session.set(name, None, false)?;
            done("RESET")
        }
        Statement::Reset(None) => {
            session.reset_all();
            done("RESET")
        }
        Statement::Begin { read_only } => {
            session.begin(*read_only);
            done("BEGIN")
        }
        Statement::Commit => match session.commit() {
            Commit::NoBlock => {
                no_transaction(session);
                done("COMMIT")
            }
            // A failed block ends by rolling back, and the tag says so.
            Commit::RolledBack => done("ROLLBACK"),
            Commit::Send(None) => done("COMMIT"),
            Commit::Send(Some(deferred)) => {
                writer::commit(run, deferred).await?;
                done("COMMIT")
            }
        },
        Statement::Rollback => {
            if !session.rollback() {
                no_transaction(session);
            }
            done("ROLLBACK")
        }
        Statement::Savepoint(name) => {
            session.savepoint(name)?;
            done("SAVEPOINT")
        }
        Statement::Release(name) => {
            session.release(name)?;
            done("RELEASE")
        }
        Statement::RollbackTo(name) => {
            session.rollback_to(name)?;
            done("ROLLBACK")
        }
        Statement::Deallocate(Some(name)) => {
            if !session.close_statement(name) {
                return Err(SqlError::new(
                    sqlstate::UNKNOWN_STATEMENT,
                    format!("prepared statement \"{name}\" does not exist"),
                ));
            }
            done("DEALLOCATE")
        }
        Statement::Deallocate(None) => {
            session.close_statements();
            done("DEALLOCATE ALL")
        }
        Statement::DiscardAll => {
            if session.in_block() {
                return Err(SqlError::new(
                    sqlstate::ACTIVE_TRANSACTION,
                    "DISCARD ALL cannot run inside a transaction block",
                ));
            }
            session.close_statements();
            session.reset_all();
            done("DISCARD ALL")
        }
        Statement::Noise(tag) => done(tag),
        Statement::Empty
        | Statement::Query(_)
        | Statement::Insert(_)
        | Statement::Update(_)
        | Statement::Delete(_)
        | Statement::CreateTable(_)
        | Statement::DropTable { .. }
        | Statement::Copy(_)
        | Statement::Explain { .. }
        | Statement::Prepare { .. }
        | Statement::Execute { .. } => Err(SqlError::internal("a statement with a plan of its own")),
    }
}
