//! Prepares and executes statements: the way into the crate.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use kvstore::request::{Consistency, Kv};

use crate::context::{Context, ServerInfo};
use crate::error::{SqlError, sqlstate};
use crate::execute::{self, Run};
use crate::execution::Execution;
use crate::expression::{Expr, Scope, cast_value};
use crate::parse::{self, StatementText};
use crate::plan::Plan;
use crate::prepared::{PlanCache, Prepared};
use crate::session::Session;
use crate::types::{Datum, Type};

/// A row that a statement touches: two statements of one session may run at the same time if their rows differ
/// or both only read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Overlap {
    /// Hash of table and key.
    pub row: u64,
    /// Whether the statement writes it.
    pub writes: bool,
}

/// Turns SQL into store calls. One per gateway, shared by all its sessions.
pub struct Planner {
    context: Context,
    plans: PlanCache,
}

impl Planner {
    /// A planner over a store.
    pub fn new(kv: Arc<dyn Kv>, info: ServerInfo) -> Planner {
        Planner { context: Context::new(kv, info), plans: PlanCache::new() }
    }

    /// What the server says about itself.
    pub fn info(&self) -> &Arc<ServerInfo> {
        &self.context.info
    }

    /// The store.
    pub fn kv(&self) -> &Arc<dyn Kv> {
        &self.context.kv
    }

    /// Cuts a simple-protocol text into statements (comments and empty statements between semicolons are left
    /// out: an empty answer means EmptyQueryResponse). Refuses texts over the size or operator caps (54000,
    /// 54001) before anything is parsed.
    pub fn split(&self, sql: &str) -> Result<Vec<StatementText>, SqlError> {
        parse::split(sql)
    }

    /// Prepares one statement, from the plan cache if it is there. `hints` are the parameter types that the
    /// client declared ([`Type::Unknown`] or a missing entry: to be inferred). Marks the session's block as failed
    /// on an error.
    pub async fn prepare(
        &self,
        session: &Session,
        sql: &str,
        hints: &[Type],
    ) -> Result<Arc<Prepared>, SqlError> {
        let prepared = self.plans.prepare(&self.context, sql, hints).await;
        let prepared = prepared.and_then(|prepared| allowed(session, prepared));
        if prepared.is_err() {
            session.fail_block();
        }
        prepared
    }

    /// Executes a prepared statement; `parameters` have the types of [`Prepared::parameter_types`].
    ///
    /// Dropping the future (a cancel) never leaves half a row, but a write under way may still commit. Marks the
    /// session's block as failed on an error.
    pub async fn execute(
        &self,
        session: &Session,
        prepared: &Arc<Prepared>,
        parameters: Vec<Datum>,
    ) -> Result<Execution, SqlError> {
        let done = self.run(session, prepared, parameters).await;
        if done.is_err() {
            session.fail_block();
        }
        done
    }

    async fn run(
        &self,
        session: &Session,
        prepared: &Arc<Prepared>,
        parameters: Vec<Datum>,
    ) -> Result<Execution, SqlError> {
        let expected = prepared.parameter_types().len();
        if parameters.len() != expected {
            return Err(SqlError::new(
                sqlstate::PROTOCOL_VIOLATION,
                format!(
                    "bind message supplies {} parameters, but prepared statement requires {expected}",
                    parameters.len()
                ),
            ));
        }
        let prepared = if prepared.is_current(&self.context) {
            prepared.clone()
        } else {
            prepared.refreshed(&self.context, &self.plans).await?
        };
        let prepared = allowed(session, prepared)?;
        let run = Run::new(&self.context, session, &prepared, parameters);
        match &prepared.plan {
            Plan::Prepare { name, types, sql } => {
                // A statement is checked now, as PostgreSQL does.
                let inner = self.prepare(session, sql, types).await?;
                session.store_statement(name, inner)?;
                Ok(Execution::Done { tag: "PREPARE".into() })
            }
            Plan::Execute { name, arguments } => {
                let inner = session.statement(name)?;
                let values = arguments_of(name, arguments, &inner, &run)?;
                Box::pin(self.execute(session, &inner, values)).await
            }
            plan => Box::pin(execute::execute(&run, plan, prepared.columns())).await,
        }
    }

    /// May this statement run at the same time as others of its session (pipelining)? `Some` for an autocommit
    /// statement on one row; `None`: it must run alone. Two of them may overlap unless they have the same row and
    /// one writes it. Timeline reads run alone: started together, a later one could show an older state.
    pub fn overlap(&self, session: &Session, prepared: &Prepared, parameters: &[Datum]) -> Option<Overlap> {
        if session.in_block() || parameters.len() != prepared.parameter_types().len() {
            return None;
        }
        let run = Run::new(&self.context, session, prepared, parameters.to_vec());
        let (table, key, writes) = execute::single_row(&prepared.plan, &run.env)?;
        if !writes && session.read_options().consistency == Consistency::Timeline {
            return None;
        }
        let mut hasher = DefaultHasher::new();
        (table.id, key).hash(&mut hasher);
        Some(Overlap { row: hasher.finish(), writes })
    }
}

/// The statement, unless the session's block has failed and the statement does not end it (25P02).
fn allowed(session: &Session, prepared: Arc<Prepared>) -> Result<Arc<Prepared>, SqlError> {
    if !prepared.ends_block() {
        session.check_not_failed()?;
    }
    Ok(prepared)
}

/// The values of EXECUTE's arguments, as the types that the statement takes.
fn arguments_of(
    name: &str,
    arguments: &[Expr],
    inner: &Prepared,
    run: &Run<'_>,
) -> Result<Vec<Datum>, SqlError> {
    let types = inner.parameter_types();
    if types.len() != arguments.len() {
        return Err(SqlError::new(
            sqlstate::SYNTAX,
            format!("wrong number of parameters for prepared statement \"{name}\""),
        )
        .detail(format!("Expected {} parameters but got {}.", types.len(), arguments.len())));
    }
    let value = |(argument, ty): (&Expr, &Type)| {
        let value = argument.eval(&Scope::EMPTY, &run.env)?;
        value.map(|value| cast_value(value, ty, false)).transpose()
    };
    arguments.iter().zip(types).map(value).collect()
}
