//! The simple protocol: a text of statements, run one after the other, all results in text format.
//!
//! PostgreSQL runs such a text as one transaction. Here each statement outside of a block commits by itself; an
//! error ends the text, and what was done before it stays done. That is the store's promise (a row is atomic, a
//! text of statements is not) and the README says so.

use std::io;
use std::sync::Arc;

use planner::{Execution, SqlError};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::cancel::Scope;
use crate::connection::{Connection, State};
use crate::message::Formats;
use crate::query::portal::Cursor;

/// The simple protocol knows no other.
const TEXT: Formats = Formats::Uniform { count: 0, binary: false };

/// How far [`Connection::send_rows`] came.
pub(crate) enum Sent {
    /// To the end: so many rows.
    All(u64),
    /// To the row limit.
    Limit,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Query.
    pub(crate) async fn query(&mut self, sql: &str) -> io::Result<State> {
        self.finish_all().await?;
        // As in PostgreSQL, a simple query ends the life of the unnamed statement and portal.
        self.session.close_statement("");
        self.portals.close("");
        let scope = self.registration.scope();
        match self.server.planner.split(sql) {
            Ok(statements) if statements.is_empty() => self.out().empty_query(),
            Ok(statements) => {
                for statement in statements {
                    if let Err(error) = self.statement(&statement.sql, &scope).await? {
                        self.report(&error, statement.offset);
                        break;
                    }
                }
            }
            Err(error) => self.report(&error, 0),
        }
        self.ready_for_query();
        Ok(State::Ready)
    }

    async fn statement(&mut self, sql: &str, scope: &Scope) -> io::Result<Result<(), SqlError>> {
        let work = scope.guard(self.server.planner.prepare(&self.session, sql, &[]));
        let prepared = match self.wire.attend(work).await? {
            Ok(Ok(prepared)) => prepared,
            Ok(Err(error)) => return Ok(Err(error)),
            Err(cancelled) => return Ok(Err(cancelled.error(false))),
        };
        let work = scope.guard(self.server.planner.execute(&self.session, &prepared, Vec::new()));
        let execution = match self.wire.attend(work).await? {
            Ok(Ok(execution)) => execution,
            Ok(Err(error)) => return Ok(Err(error)),
            Err(cancelled) => return Ok(Err(cancelled.error(prepared.writes()))),
        };
        let tag = match execution {
            Execution::Empty => {
                self.notices();
                self.out().empty_query();
                return Ok(Ok(()));
            }
            Execution::Done { tag } => tag,
            Execution::Rows(rows) => {
                let mut cursor = Cursor::new(rows);
                let columns = Arc::clone(&cursor.rows.columns);
                self.out().row_description(&columns, &TEXT);
                match self.send_rows(&mut cursor, &TEXT, None, scope).await? {
                    Ok(Sent::All(count)) => cursor.rows.tag(count),
                    Ok(Sent::Limit) => cursor.rows.tag(0),
                    Err(error) => return Ok(Err(error)),
                }
            }
            Execution::CopyIn(copy) => match self.copy_in(*copy, scope).await? {
                Ok(tag) => tag,
                Err(error) => return Ok(Err(error)),
            },
            Execution::CopyOut(copy) => match self.copy_out(copy, scope).await? {
                Ok(tag) => tag,
                Err(error) => return Ok(Err(error)),
            },
        };
        self.notices();
        self.out().command_complete(&tag);
        Ok(Ok(()))
    }

    /// Sends rows, as many as there are or as the limit allows, at the pace at which the client takes them.
    pub(crate) async fn send_rows(
        &mut self,
        cursor: &mut Cursor,
        formats: &Formats,
        rows_max: Option<u32>,
        scope: &Scope,
    ) -> io::Result<Result<Sent, SqlError>> {
        let mut sent: u64 = 0;
        loop {
            // Also when these were the last rows: whether more follow is not known yet (as in PostgreSQL).
            if rows_max.is_some_and(|max| u64::from(max) == sent) {
                return Ok(Ok(Sent::Limit));
            }
            if let Some(row) = cursor.batch.next() {
                self.wire.outbox.data_row(&row, &cursor.rows.columns, formats);
                sent += 1;
                self.wire.flush_large().await?;
                continue;
            }
            match self.wire.attend(scope.guard(cursor.rows.rows.next())).await? {
                Ok(Ok(Some(batch))) => cursor.batch = batch.into_iter(),
                Ok(Ok(None)) => return Ok(Ok(Sent::All(sent))),
                Ok(Err(error)) => return Ok(Err(error)),
                // Rows come from reads, or from writes that are done.
                Err(cancelled) => return Ok(Err(cancelled.error(false))),
            }
        }
    }
}
