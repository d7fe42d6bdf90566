//! The extended protocol: Parse, Bind, Describe, Execute, Close.
//!
//! The hot path is Bind and Execute of a prepared statement on one key: no text is parsed, names are slices of the
//! frame, parameters become values once, and the row goes from the planner into the outgoing buffer.

use std::io;
use std::sync::Arc;

use planner::types::{Datum, TextSettings, Type, Value};
use planner::{Execution, Prepared, Session, SqlError, sqlstate};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::backend::Backend;
use crate::cancel::Scope;
use crate::client_stream::{ClientStream, HandlerError};
use crate::message::{Bind, Formats, Target, check_utf8};
use crate::pipeline::Answer;
use crate::query::copy;
use crate::query::portal::{Cursor, Portal, Portals, Progress};
use crate::query::rows::{self, Sent};
use crate::response::Outbox;

/// Before Bind, no formats are chosen: a described statement's columns say text.
const UNDECIDED: Formats = Formats::Uniform { count: 0, binary: false };

/// Parse: prepares a statement under a name.
pub(crate) async fn parse<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut ClientStream<S>,
    backend: &Backend,
    name: &str,
    sql: &str,
    types: &[u32],
) -> Result<(), HandlerError> {
    // A type that the planner does not know is left to it to find: the value comes as text mostly.
    let hints: Vec<Type> = types.iter().map(|oid| Type::from_oid(*oid).unwrap_or(Type::Unknown)).collect();
    // The unnamed statement that was goes also when this one fails.
    if name.is_empty() {
        backend.session().close_statement(name);
    }
    let scope = backend.scope();
    let prepared = stream.attend(&scope, false, backend.prepare(sql, &hints)).await?;
    backend.session().store_statement(name, prepared)?;
    stream.replies().parse_complete();
    Ok(())
}

/// Bind: makes a portal of a prepared statement and its parameters.
pub(crate) fn bind(
    replies: &mut Outbox,
    session: &Session,
    portals: &mut Portals,
    bind: &Bind,
) -> Result<(), SqlError> {
    let prepared = session.statement(&bind.statement)?;
    if !prepared.ends_block() {
        session.check_not_failed()?;
    }
    if session.has_cursor(&bind.portal) {
        return Err(Portals::duplicate(&bind.portal));
    }
    let portal = portal(prepared, bind, &session.text_settings())?;
    let bytes = portal.bytes(bind);
    portals.bind(&bind.portal, portal, bytes)?;
    replies.bind_complete();
    Ok(())
}

/// Describe: the types of a statement's parameters and the columns of its result.
pub(crate) fn describe(
    replies: &mut Outbox,
    session: &Session,
    portals: &Portals,
    target: Target,
    name: &str,
) -> Result<(), SqlError> {
    let columns = |replies: &mut Outbox, prepared: &Prepared, formats: &Formats| match prepared.columns() {
        Some(columns) => replies.row_description(columns, formats),
        None => replies.no_data(),
    };
    match target {
        Target::Statement => {
            let prepared = session.statement(name)?;
            if prepared.columns().is_some() {
                session.check_not_failed()?;
            }
            replies.parameter_description(prepared.parameter_types());
            columns(replies, &prepared, &UNDECIDED);
        }
        Target::Portal => {
            let portal = portals.get(name)?;
            columns(replies, &portal.prepared, &portal.formats);
        }
    }
    Ok(())
}

/// Close: it is no error if there is nothing of that name.
pub(crate) fn close(
    replies: &mut Outbox,
    session: &Session,
    portals: &mut Portals,
    target: Target,
    name: &str,
) {
    match target {
        Target::Statement => {
            session.close_statement(name);
        }
        Target::Portal => portals.close(name),
    }
    replies.close_complete();
}

/// Execute: runs a portal, or goes on with it, ahead of its reply if that is allowed.
pub(crate) async fn execute<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut ClientStream<S>,
    backend: &Arc<Backend>,
    portals: &mut Portals,
    name: &str,
    rows_max: Option<u32>,
) -> Result<(), HandlerError> {
    let portal = portals.take(name)?;
    let Some(mut portal) = start_ahead(stream, backend, portal, rows_max).await? else { return Ok(()) };
    stream.start_in_turn().await?;
    let scope = backend.scope();
    match run(stream, backend, name, &mut portal, rows_max, &scope).await {
        Ok(()) => {
            portals.put_back(name, portal);
            Ok(())
        }
        Err(error) => {
            portals.close(name);
            Err(error)
        }
    }
}

/// Starts a portal ahead of its reply, if [`crate::pipeline`]'s conditions hold; gives it back if not.
async fn start_ahead<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut ClientStream<S>,
    backend: &Arc<Backend>,
    portal: Portal,
    rows_max: Option<u32>,
) -> io::Result<Option<Portal>> {
    let limited = rows_max.is_some() && portal.prepared.columns().is_some();
    if limited || !stream.may_start_ahead() {
        return Ok(Some(portal));
    }
    let Portal { prepared, formats, progress: Progress::Bound(parameters) } = portal else {
        return Ok(Some(portal));
    };
    let statement = match backend.on_one_row(&prepared, parameters) {
        Ok(statement) => statement,
        Err(parameters) => {
            return Ok(Some(Portal { prepared, formats, progress: Progress::Bound(parameters) }));
        }
    };
    let overlap = statement.overlap();
    let scope = backend.scope();
    let backend = Arc::clone(backend);
    let work = async move {
        let execution = scope.guard(backend.execute_on_one_row(statement)).await;
        Answer::of(execution.map_err(|cancelled| cancelled.error(prepared.writes()))??).await
    };
    stream.start_ahead(overlap, formats, Box::pin(work)).await?;
    Ok(None)
}

/// Runs a portal, or goes on with it, and sends what it gives.
async fn run<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut ClientStream<S>,
    backend: &Backend,
    name: &str,
    portal: &mut Portal,
    rows_max: Option<u32>,
    scope: &Scope,
) -> Result<(), HandlerError> {
    let mut cursor = match std::mem::replace(&mut portal.progress, Progress::Finished(None)) {
        Progress::Suspended(cursor) => cursor,
        Progress::Finished(Some(tag)) => {
            stream.replies().command_complete(&tag);
            portal.progress = Progress::Finished(Some(tag));
            return Ok(());
        }
        Progress::Finished(None) => return Err(Portal::cannot_run(name).into()),
        Progress::Bound(parameters) => {
            let work = backend.execute(&portal.prepared, parameters);
            let execution = stream.attend(scope, portal.prepared.writes(), work).await?;
            match without_rows(stream, execution, scope).await? {
                Some(cursor) => cursor,
                None => return Ok(()),
            }
        }
    };
    match rows::send(stream, &mut cursor, &portal.formats, rows_max, scope).await? {
        Sent::Limit => {
            stream.replies().portal_suspended();
            portal.progress = Progress::Suspended(cursor);
        }
        Sent::All(count) => {
            stream.notices();
            stream.replies().command_complete(&cursor.rows.tag(count));
            portal.progress = Progress::Finished(Some(cursor.rows.tag(0)));
        }
    }
    Ok(())
}

/// Answers an execution, unless it gives rows: those are returned.
async fn without_rows<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut ClientStream<S>,
    execution: Execution,
    scope: &Scope,
) -> Result<Option<Cursor>, HandlerError> {
    let tag = match execution {
        Execution::Rows(rows) => return Ok(Some(Cursor::new(rows))),
        Execution::Empty => {
            stream.replies().empty_query();
            return Ok(None);
        }
        Execution::Done { tag } => tag,
        // Boxed, so that the state of an idle session needs no room for a COPY.
        Execution::CopyIn(copy) => Box::pin(copy::take_in(stream, *copy, scope)).await?,
        Execution::CopyOut(copy) => Box::pin(copy::give_out(stream, copy, scope)).await?,
    };
    stream.notices();
    stream.replies().command_complete(&tag);
    Ok(None)
}

/// Makes a portal: checks the numbers of parameters and formats, and reads the parameters.
fn portal(prepared: Arc<Prepared>, bind: &Bind, settings: &TextSettings) -> Result<Portal, SqlError> {
    let types = prepared.parameter_types();
    let violation = |message: String| Err(SqlError::new(sqlstate::PROTOCOL_VIOLATION, message));
    if bind.count != types.len() {
        return violation(format!(
            "bind message supplies {} parameters, but prepared statement \"{}\" requires {}",
            bind.count,
            &*bind.statement,
            types.len()
        ));
    }
    if !bind.formats.fit(bind.count) {
        return violation(format!(
            "bind message has {} parameter formats but {} parameters",
            bind.formats.count(),
            bind.count
        ));
    }
    let columns = prepared.columns().map_or(0, |columns| columns.len());
    if !bind.results.fit(columns) {
        return violation(format!(
            "bind message has {} result formats but query has {columns} columns",
            bind.results.count()
        ));
    }
    let mut parameters: Vec<Datum> = Vec::with_capacity(bind.count);
    for (index, (value, ty)) in bind.values().zip(types).enumerate() {
        let read = value.map(|bytes| parameter(ty, bytes, bind.formats.binary(index), settings)).transpose();
        parameters.push(read.map_err(|mut error| {
            error.context.get_or_insert_with(|| format!("portal parameter ${}", index + 1));
            error
        })?);
    }
    Ok(Portal { prepared, formats: bind.results.clone(), progress: Progress::Bound(parameters) })
}

fn parameter(ty: &Type, bytes: &[u8], binary: bool, settings: &TextSettings) -> Result<Value, SqlError> {
    if binary { Value::from_binary(ty, bytes) } else { Value::from_text_in(ty, check_utf8(bytes)?, settings) }
}
