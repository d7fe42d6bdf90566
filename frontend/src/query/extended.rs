//! The extended protocol: Parse, Bind, Describe, Execute, Close.
//!
//! The hot path is Bind and Execute of a prepared statement on one key: no text is parsed, names are slices of the
//! frame, parameters become values once, and the row goes from the planner into the outgoing buffer.

use std::io;
use std::sync::Arc;

use planner::types::{Datum, Type, Value};
use planner::{Execution, Prepared, SqlError, sqlstate};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::cancel::Scope;
use crate::connection::{Connection, State};
use crate::message::{Bind, Formats, Target, check_utf8};
use crate::query::portal::{Cursor, Portal, Progress};
use crate::query::simple::Sent;

/// Before Bind, no formats are chosen: a described statement's columns say text.
const UNDECIDED: Formats = Formats::Uniform { count: 0, binary: false };

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Parse.
    pub(crate) async fn parse(&mut self, name: &str, sql: &str, types: &[u32]) -> io::Result<State> {
        // A type that the planner does not know is left to it to find: the value comes as text mostly.
        let hints: Vec<Type> =
            types.iter().map(|oid| Type::from_oid(*oid).unwrap_or(Type::Unknown)).collect();
        let scope = self.registration.scope();
        let work = scope.guard(self.server.planner.prepare(&self.session, sql, &hints));
        let prepared = match self.wire.attend(work).await? {
            Ok(prepared) => prepared,
            Err(cancelled) => Err(cancelled.error(false)),
        };
        match prepared.and_then(|prepared| self.session.store_statement(name, prepared)) {
            Ok(()) => {
                self.out().parse_complete();
                Ok(State::Ready)
            }
            Err(error) => self.fail(error).await,
        }
    }

    /// Bind.
    pub(crate) async fn bind(&mut self, bind: Bind) -> io::Result<State> {
        let portal = self.session.statement(&bind.statement).and_then(|prepared| portal(prepared, &bind));
        match portal.and_then(|portal| self.portals.bind(&bind.portal, portal)) {
            Ok(()) => {
                self.out().bind_complete();
                Ok(State::Ready)
            }
            Err(error) => self.fail(error).await,
        }
    }

    /// Describe.
    pub(crate) async fn describe(&mut self, target: Target, name: &str) -> io::Result<State> {
        let described = match target {
            Target::Statement => self.session.statement(name).map(|prepared| {
                self.out().parameter_description(prepared.parameter_types());
                (prepared, UNDECIDED)
            }),
            Target::Portal => {
                self.portals.get(name).map(|portal| (portal.prepared.clone(), portal.formats.clone()))
            }
        };
        match described {
            Ok((prepared, formats)) => {
                match prepared.columns() {
                    Some(columns) => self.out().row_description(columns, &formats),
                    None => self.out().no_data(),
                }
                Ok(State::Ready)
            }
            Err(error) => self.fail(error).await,
        }
    }

    /// Close: it is no error if there is nothing of that name.
    pub(crate) fn close(&mut self, target: Target, name: &str) -> State {
        match target {
            Target::Statement => {
                self.session.close_statement(name);
            }
            Target::Portal => self.portals.close(name),
        }
        self.out().close_complete();
        State::Ready
    }

    /// Execute.
    pub(crate) async fn execute(&mut self, name: &str, rows_max: Option<u32>) -> io::Result<State> {
        let portal = match self.portals.take(name) {
            Ok(portal) => portal,
            Err(error) => return self.fail(error).await,
        };
        let mut portal = match self.start_ahead(portal, rows_max).await? {
            None => return Ok(State::Ready),
            Some(portal) => portal,
        };
        self.executed = true;
        self.finish_all().await?;
        let scope = self.registration.scope();
        match self.run(name, &mut portal, rows_max, &scope).await? {
            Ok(()) => {
                self.portals.put_back(name, portal);
                Ok(State::Ready)
            }
            Err(error) => {
                self.portals.close(name);
                self.fail(error).await
            }
        }
    }

    /// Runs a portal, or goes on with it, and sends what it gives.
    async fn run(
        &mut self,
        name: &str,
        portal: &mut Portal,
        rows_max: Option<u32>,
        scope: &Scope,
    ) -> io::Result<Result<(), SqlError>> {
        let mut cursor = match std::mem::replace(&mut portal.progress, Progress::Finished(None)) {
            Progress::Suspended(cursor) => cursor,
            Progress::Finished(Some(tag)) => {
                self.out().command_complete(&tag);
                portal.progress = Progress::Finished(Some(tag));
                return Ok(Ok(()));
            }
            Progress::Finished(None) => return Ok(Err(Portal::cannot_run(name))),
            Progress::Bound(parameters) => {
                let planner = &self.server.planner;
                let work = scope.guard(planner.execute(&self.session, &portal.prepared, parameters));
                let execution = match self.wire.attend(work).await? {
                    Ok(Ok(execution)) => execution,
                    Ok(Err(error)) => return Ok(Err(error)),
                    Err(cancelled) => return Ok(Err(cancelled.error(portal.prepared.writes()))),
                };
                match self.without_rows(execution, scope).await? {
                    Ok(Some(cursor)) => cursor,
                    Ok(None) => return Ok(Ok(())),
                    Err(error) => return Ok(Err(error)),
                }
            }
        };
        match self.send_rows(&mut cursor, &portal.formats, rows_max, scope).await? {
            Ok(Sent::Limit) => {
                self.wire.outbox.portal_suspended();
                portal.progress = Progress::Suspended(cursor);
            }
            Ok(Sent::All(count)) => {
                self.notices();
                self.wire.outbox.command_complete(&cursor.rows.tag(count));
                portal.progress = Progress::Finished(Some(cursor.rows.tag(0)));
            }
            Err(error) => return Ok(Err(error)),
        }
        Ok(Ok(()))
    }

    /// Answers an execution, unless it gives rows: those are returned.
    async fn without_rows(
        &mut self,
        execution: Execution,
        scope: &Scope,
    ) -> io::Result<Result<Option<Cursor>, SqlError>> {
        let tag = match execution {
            Execution::Rows(rows) => return Ok(Ok(Some(Cursor::new(rows)))),
            Execution::Empty => {
                self.out().empty_query();
                return Ok(Ok(None));
            }
            Execution::Done { tag } => Ok(tag),
            Execution::CopyIn(copy) => Box::pin(self.copy_in(*copy, scope)).await?,
            Execution::CopyOut(copy) => Box::pin(self.copy_out(copy, scope)).await?,
        };
        Ok(tag.map(|tag| {
            self.notices();
            self.out().command_complete(&tag);
            None
        }))
    }
}

/// Makes a portal: checks the numbers of parameters and formats, and reads the parameters.
fn portal(prepared: Arc<Prepared>, bind: &Bind) -> Result<Portal, SqlError> {
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
    let mut parameters = Vec::with_capacity(bind.count);
    for (index, (value, ty)) in bind.values().zip(types).enumerate() {
        let read = value.map(|bytes| parameter(ty, bytes, bind.formats.binary(index))).transpose();
        parameters.push(read.map_err(|mut error| {
            error.context.get_or_insert_with(|| format!("portal parameter ${}", index + 1));
            error
        })?);
    }
    Ok(Portal { prepared, formats: bind.results.clone(), progress: Progress::Bound(parameters) })
}

fn parameter(ty: &Type, bytes: &[u8], binary: bool) -> Result<Value, SqlError> {
    if binary { Value::from_binary(ty, bytes) } else { Value::from_text(ty, check_utf8(bytes)?) }
}

/// What a portal's parameters became, for those who execute it elsewhere.
pub(crate) fn bound(portal: &Portal) -> Option<&[Datum]> {
    match &portal.progress {
        Progress::Bound(parameters) => Some(parameters),
        Progress::Suspended(_) | Progress::Finished(_) => None,
    }
}
