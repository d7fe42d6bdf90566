//! The server's side of one session: what runs its statements.

use std::sync::Arc;

use planner::types::{Datum, Type};
use planner::{Execution, OnOneRow, Planner, Prepared, Session, SqlError};
use tokio::sync::OwnedSemaphorePermit;

use crate::cancel::{Registration, Scope};

/// Runs the statements of one session. Its place among the gateway's sessions goes when it is dropped.
pub(crate) struct Backend {
    planner: Arc<Planner>,
    session: Arc<Session>,
    registration: Registration,
    _permit: OwnedSemaphorePermit,
}

impl Backend {
    /// A session that was just opened: `registration` is its entry for cancel requests, `permit` its share of the
    /// limit of sessions.
    pub(crate) fn new(
        planner: Arc<Planner>,
        session: Session,
        registration: Registration,
        permit: OwnedSemaphorePermit,
    ) -> Backend {
        Backend { planner, session: Arc::new(session), registration, _permit: permit }
    }

    /// Settings, transaction block, prepared statements and notices.
    pub(crate) fn session(&self) -> &Arc<Session> {
        &self.session
    }

    /// Begins a statement: a cancel request from now on ends it.
    pub(crate) fn scope(&self) -> Scope {
        self.registration.scope()
    }

    /// Splits a text into its statements.
    pub(crate) async fn split(&self, sql: &str) -> Result<Vec<planner::StatementText>, SqlError> {
        self.planner.split(&self.session, sql).await
    }

    /// Prepares one statement; `hints` are the parameter types that the client declares.
    pub(crate) async fn prepare(&self, sql: &str, hints: &[Type]) -> Result<Arc<Prepared>, SqlError> {
        self.planner.prepare(&self.session, sql, hints).await
    }

    /// Executes a prepared statement with its parameters.
    pub(crate) async fn execute(
        &self,
        prepared: &Arc<Prepared>,
        parameters: Vec<Datum>,
    ) -> Result<Execution, SqlError> {
        self.planner.execute(&self.session, prepared, parameters).await
    }

    /// The statement, if it touches one row and may run at the same time as statements on other rows; else its
    /// parameters come back.
    pub(crate) fn on_one_row(
        &self,
        prepared: &Arc<Prepared>,
        parameters: Vec<Datum>,
    ) -> Result<OnOneRow, Vec<Datum>> {
        self.planner.on_one_row(&self.session, prepared, parameters)
    }

    /// Executes a statement on one row.
    pub(crate) async fn execute_on_one_row(&self, statement: OnOneRow) -> Result<Execution, SqlError> {
        self.planner.execute_on_one_row(&self.session, statement).await
    }
}
