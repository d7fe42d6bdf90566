//! The simple protocol: a text of statements, run one after the other, all results in text format.
//!
//! PostgreSQL runs such a text as one transaction. Here each statement outside of a block commits by itself; an
//! error ends the text, and what was done before it stays done. That is the store's promise (a row is atomic, a
//! text of statements is not), and docs/limits.md says so.

use std::sync::Arc;

use planner::Execution;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::backend::Backend;
use crate::cancel::Scope;
use crate::client_stream::{ClientStream, HandlerError};
use crate::message::Formats;
use crate::query::copy;
use crate::query::portal::{Cursor, Portals};
use crate::query::rows::{self, Sent};

/// The simple protocol knows no other.
const TEXT: Formats = Formats::Uniform { count: 0, binary: false };
/// What a binary cursor is fetched in.
const BINARY: Formats = Formats::Uniform { count: 1, binary: true };

/// Query: runs the statements of a text up to the first that fails.
pub(crate) async fn query<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut ClientStream<S>,
    backend: &Backend,
    portals: &mut Portals,
    sql: &str,
) -> Result<(), HandlerError> {
    stream.finish_all().await?;
    // As in PostgreSQL, a simple query ends the life of the unnamed statement and portal.
    backend.session().close_statement("");
    portals.close("");
    let scope = backend.scope();
    let statements = stream.attend(&scope, false, backend.split(sql)).await?;
    if statements.is_empty() {
        stream.replies().empty_query();
    }
    for part in statements {
        match statement(stream, backend, &part.sql, &scope).await {
            Err(HandlerError::Statement(error)) => return Err(error.shifted(part.offset).into()),
            done => done?,
        }
    }
    Ok(())
}

async fn statement<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut ClientStream<S>,
    backend: &Backend,
    sql: &str,
    scope: &Scope,
) -> Result<(), HandlerError> {
    let prepared = stream.attend(scope, false, backend.prepare(sql, &[])).await?;
    let execution = stream.attend(scope, prepared.writes(), backend.execute(&prepared, Vec::new())).await?;
    let tag = match execution {
        Execution::Empty => {
            stream.notices();
            stream.replies().empty_query();
            return Ok(());
        }
        Execution::Done { tag } => tag,
        Execution::Rows(rows) => {
            let mut cursor = Cursor::new(rows);
            let columns = Arc::clone(&cursor.rows.columns);
            let formats = if cursor.rows.binary { BINARY } else { TEXT };
            stream.replies().row_description(&columns, &formats);
            match rows::send(stream, &mut cursor, &formats, None, scope).await? {
                Sent::All(count) => cursor.rows.tag(count),
                Sent::Limit => cursor.rows.tag(0),
            }
        }
        Execution::CopyIn(copy) => copy::take_in(stream, *copy, scope).await?,
        Execution::CopyOut(copy) => copy::give_out(stream, copy, scope).await?,
    };
    stream.notices();
    stream.replies().command_complete(&tag);
    Ok(())
}
