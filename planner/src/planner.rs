//! Prepares and executes statements: the way into the crate.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use kvstore::request::{Consistency, Kv};

use crate::context::{Context, ServerInfo};
use crate::error::{SqlError, sqlstate};
use crate::execute::{self, Run, Target};
use crate::execution::Execution;
use crate::expression::{Env, Expr, Scope, cast_value_in};
use crate::interrupt::Interrupt;
use crate::parse::{self, StatementText};
use crate::plan::Plan;
use crate::prepared::{self, PlanCache, Prepared};
use crate::row_check::row_check;
use crate::session::Session;
use crate::types::{Datum, Type};

/// A row that a statement touches. Two statements of one session may run at the same time if their rows differ or
/// both only read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Overlap {
    /// Hash of table and key.
    pub row: u64,
    /// Whether the statement writes it.
    pub writes: bool,
}

/// A statement on one row that is ready to run, and may run at the same time as others of its session.
pub struct OnOneRow {
    prepared: Arc<Prepared>,
    env: Env,
    target: Target,
}

impl OnOneRow {
    /// The row, to find out which other statements it may overlap with.
    pub fn overlap(&self) -> Overlap {
        let mut hasher = DefaultHasher::new();
        (self.target.table, &self.target.key).hash(&mut hasher);
        Overlap { row: hasher.finish(), writes: self.target.writes }
    }
}

/// Turns SQL into store calls. One per gateway, shared by all its sessions.
pub struct Planner {
    context: Context,
    plans: PlanCache,
}

impl Planner {
    /// A planner over a store.
    pub fn new(kv: Arc<dyn Kv>, info: ServerInfo) -> Planner {
        kv.check_rows_with(row_check());
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
    /// out: an empty answer means EmptyQueryResponse). Refuses texts over the size or depth caps (54000, 54001)
    /// before anything is parsed, and texts with a syntax error in any of their statements (42601).
    pub async fn split(&self, session: &Session, sql: &str) -> Result<Vec<StatementText>, SqlError> {
        let statements = parse::split(sql)?;
        if statements.len() < 2 {
            return Ok(statements);
        }
        // As in PostgreSQL, a text with an error in its form does nothing at all.
        let interrupt = Interrupt::at(session.deadline());
        let inside = interrupt.clone();
        let check = move || {
            for statement in &statements {
                inside.check()?;
                parse::check_syntax(&statement.sql).map_err(|error| error.shifted(statement.offset))?;
            }
            Ok(statements)
        };
        if sql.len() <= prepared::INLINE_BYTES_MAX { check() } else { interrupt.compute(check).await }
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
        let interrupt = Interrupt::at(session.deadline());
        let path = session.search_path();
        let prepared = self.plans.prepare(&self.context, &path, sql, hints, &interrupt).await;
        let prepared = prepared.and_then(|prepared| {
            check_allowed(session, &prepared)?;
            Ok(match &prepared.plan {
                Plan::Fetch { name, .. } => {
                    let columns = session.cursor_columns(name);
                    prepared.with_columns(columns)
                }
                Plan::Execute { name, .. } => {
                    let inner = session.statement(name).ok();
                    prepared.with_columns(inner.and_then(|inner| inner.columns().cloned()))
                }
                _ => prepared,
            })
        });
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

    /// Makes a statement on one row ready to run at the same time as others of its session (pipelining). Not every
    /// statement is one: the parameters come back if it must run alone, by [`Planner::execute`]. It must run alone
    /// in a block, and as a timeline read: started together, a later one could show an older state.
    pub fn on_one_row(
        &self,
        session: &Session,
        prepared: &Arc<Prepared>,
        parameters: Vec<Datum>,
    ) -> Result<OnOneRow, Vec<Datum>> {
        let timeline_read = !prepared.writes() && session.read_options().consistency == Consistency::Timeline;
        if timeline_read
            || session.in_block()
            || parameters.len() != prepared.parameter_types().len()
            || !prepared.is_current(&self.context, &session.search_path())
        {
            return Err(parameters);
        }
        let env = execute::env(&self.context, session, prepared, parameters);
        match Target::of(&prepared.plan, &env) {
            Some(target) => Ok(OnOneRow { prepared: prepared.clone(), env, target }),
            None => Err(env.params),
        }
    }

    /// Executes a statement on one row, as [`Planner::execute`] does.
    pub async fn execute_on_one_row(
        &self,
        session: &Session,
        statement: OnOneRow,
    ) -> Result<Execution, SqlError> {
        let OnOneRow { prepared, env, target } = statement;
        if !prepared.is_current(&self.context, &session.search_path()) {
            // Tables changed meanwhile: the key may be another one.
            return self.execute(session, &prepared, env.params).await;
        }
        let run = Run { context: &self.context, session, env, target: Some(target) };
        let done = execute::execute(&run, &prepared.plan, prepared.columns()).await;
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
        let fresh;
        let path = session.search_path();
        let prepared = if prepared.is_current(&self.context, &path) {
            prepared
        } else {
            let interrupt = Interrupt::at(session.deadline());
            fresh = prepared.refreshed(&self.context, &self.plans, &path, &interrupt).await?;
            &fresh
        };
        check_allowed(session, prepared)?;
        let run = Run::new(&self.context, session, prepared, parameters);
        match &prepared.plan {
            Plan::Prepare { name, types, sql } => {
                // A statement is checked now, as PostgreSQL does.
                let inner = Box::pin(self.prepare(session, sql, types)).await?;
                if !matches!(inner.plan, Plan::Select(_) | Plan::Insert(_) | Plan::Change(_)) {
                    return Err(SqlError::new(
                        sqlstate::SYNTAX,
                        "PREPARE takes SELECT, INSERT, UPSERT, UPDATE or DELETE",
                    ));
                }
                session.store_statement(name, inner)?;
                Ok(Execution::Done { tag: "PREPARE".into() })
            }
            Plan::Execute { name, arguments } => {
                let inner = session.statement(name)?;
                // One that was prepared by the protocol may be anything, also this statement itself.
                if matches!(inner.plan, Plan::Prepare { .. } | Plan::Execute { .. }) {
                    return Err(SqlError::unsupported("EXECUTE of a PREPARE or EXECUTE"));
                }
                let values = arguments_of(name, arguments, &inner, &run)?;
                Box::pin(self.execute(session, &inner, values)).await
            }
            plan => execute::execute(&run, plan, prepared.columns()).await,
        }
    }
}

/// 25P02 if the session's block has failed, unless the statement ends it.
fn check_allowed(session: &Session, prepared: &Prepared) -> Result<(), SqlError> {
    if prepared.ends_block() { Ok(()) } else { session.check_not_failed() }
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
        value.map(|value| cast_value_in(value, ty, false, &run.env.text)).transpose()
    };
    arguments.iter().zip(types).map(value).collect()
}
