//! The door of the crate: prepare and execute.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use kvstore::request::{Consistency, Kv};

use crate::catalog::{Catalog, Snapshot};
use crate::error::{SqlError, sqlstate};
use crate::execute;
use crate::execution::{Column, Execution};
use crate::parse;
use crate::plan::{self, Plan};
use crate::session::Session;
use crate::statement::Statement;
use crate::types::{Datum, Type};

/// What the server tells about itself.
#[derive(Clone, Debug)]
pub struct ServerInfo {
    /// `server_version`, as clients parse it ("15.0 (SpinnakerDB 0.1.0)").
    pub server_version: String,
    /// `server_version_num` ("150000").
    pub server_version_num: String,
    /// What version() gives.
    pub version: String,
    /// The only database's name.
    pub database: String,
    /// The port of this gateway, if it has one (inet_server_port()).
    pub port: Option<u16>,
}

impl ServerInfo {
    /// The usual texts for a database of that name.
    pub fn new(database: &str) -> ServerInfo {
        let own = env!("CARGO_PKG_VERSION");
        ServerInfo {
            server_version: format!("15.0 (SpinnakerDB {own})"),
            server_version_num: "150000".into(),
            version: format!("PostgreSQL 15.0 (SpinnakerDB {own}) on {}", std::env::consts::ARCH),
            database: database.into(),
            port: None,
        }
    }
}

/// One statement of a simple-protocol text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatementText {
    /// The statement without its semicolon.
    pub sql: String,
    /// Characters of the whole text before it: to be added to an error's position.
    pub offset: u32,
}

/// A statement that is ready to be executed any number of times.
#[derive(Debug)]
pub struct Prepared {
    sql: String,
    hints: Vec<Type>,
    parameters: Vec<Type>,
    columns: Option<Arc<[Column]>>,
    pub(crate) plan: Plan,
    pub(crate) snapshot: Arc<Snapshot>,
}

impl Prepared {
    /// The statement's text.
    pub fn sql(&self) -> &str {
        &self.sql
    }

    /// Types of `$1`, `$2`, .. (ParameterDescription). A parameter's value must be read with this type.
    pub fn parameter_types(&self) -> &[Type] {
        &self.parameters
    }

    /// Columns of the result; `None` if it gives no rows (NoData). EXECUTE tells them only when it runs.
    pub fn columns(&self) -> Option<&Arc<[Column]>> {
        self.columns.as_ref()
    }

    /// Is it a COPY? It runs through the simple protocol only.
    pub fn is_copy(&self) -> bool {
        matches!(self.plan, Plan::CopyIn { .. } | Plan::CopyOut { .. })
    }

    /// Is it allowed in a failed block (COMMIT, ROLLBACK, ROLLBACK TO)?
    pub fn ends_block(&self) -> bool {
        matches!(&self.plan, Plan::Session(statement)
            if matches!(**statement, Statement::Commit | Statement::Rollback | Statement::RollbackTo(_)))
    }

    /// May executing it write? If it is broken off, its outcome is then unknown (40003). COMMIT sends the block's
    /// write, and EXECUTE runs anything.
    pub fn writes(&self) -> bool {
        writes(&self.plan)
    }
}

fn writes(plan: &Plan) -> bool {
    match plan {
        Plan::Insert(_)
        | Plan::Change(_)
        | Plan::CreateTable(_)
        | Plan::DropTable { .. }
        | Plan::CopyIn { .. }
        | Plan::Execute { .. } => true,
        Plan::Explain { analyze, plan } => *analyze && writes(plan),
        Plan::Session(statement) => matches!(**statement, Statement::Commit),
        Plan::Empty | Plan::Select(_) | Plan::CopyOut { .. } => false,
    }
}

/// A row that a statement touches: two statements of one session may run at the same time if their rows differ
/// or both only read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Overlap {
    /// Hash of table and key.
    pub row: u64,
    /// Whether the statement writes it.
    pub writes: bool,
}

/// Plans kept.
const PLANS_MAX: usize = 1024;
/// Texts longer than this are planned each time.
const PLAN_TEXT_BYTES_MAX: usize = 16 << 10;

/// Turns SQL into store calls. One per gateway, shared by all its sessions.
pub struct Planner {
    kv: Arc<dyn Kv>,
    info: Arc<ServerInfo>,
    pub(crate) catalog: Catalog,
    /// By text and declared parameter types.
    plans: quick_cache::sync::Cache<(String, Vec<Type>), Arc<Prepared>>,
}

impl Planner {
    /// A planner over a store.
    pub fn new(kv: Arc<dyn Kv>, info: ServerInfo) -> Planner {
        Planner {
            catalog: Catalog::new(kv.clone()),
            kv,
            info: Arc::new(info),
            plans: quick_cache::sync::Cache::new(PLANS_MAX),
        }
    }

    /// What the server tells about itself.
    pub fn info(&self) -> &Arc<ServerInfo> {
        &self.info
    }

    /// The store.
    pub fn kv(&self) -> &Arc<dyn Kv> {
        &self.kv
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
        let prepared = self.prepare_inner(session, sql, hints).await;
        if prepared.is_err() {
            session.fail_block();
        }
        prepared
    }

    async fn prepare_inner(
        &self,
        session: &Session,
        sql: &str,
        hints: &[Type],
    ) -> Result<Arc<Prepared>, SqlError> {
        let key = (sql.to_string(), hints.to_vec());
        if let Some(found) = self.plans.get(&key)
            && found.snapshot.version == self.kv.catalog_version()
        {
            return self.check_block(session, found);
        }
        let statement = parse::parse(sql)?;
        let mut snapshot = self.catalog.snapshot().await?;
        let planned = match plan::plan(statement.clone(), snapshot.clone(), hints) {
            // The table may have been created through another gateway a moment ago.
            Err((_, true)) => {
                snapshot = self.catalog.load(true).await?;
                plan::plan(statement, snapshot.clone(), hints)
            }
            planned => planned,
        };
        let (plan, parameters) = planned.map_err(|(error, _)| error)?;
        let cached = sql.len() <= PLAN_TEXT_BYTES_MAX
            && matches!(plan, Plan::Select(_) | Plan::Insert(_) | Plan::Change(_) | Plan::Session(_));
        let columns = plan.columns();
        let prepared = Arc::new(Prepared {
            sql: sql.to_string(),
            hints: hints.to_vec(),
            parameters,
            columns,
            plan,
            snapshot,
        });
        if cached {
            self.plans.insert(key, prepared.clone());
        }
        self.check_block(session, prepared)
    }

    fn check_block(&self, session: &Session, prepared: Arc<Prepared>) -> Result<Arc<Prepared>, SqlError> {
        if !prepared.ends_block() {
            session.check_not_failed()?;
        }
        Ok(prepared)
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
        let done = self.execute_inner(session, prepared, parameters).await;
        if done.is_err() {
            session.fail_block();
        }
        done
    }

    async fn execute_inner(
        &self,
        session: &Session,
        prepared: &Arc<Prepared>,
        parameters: Vec<Datum>,
    ) -> Result<Execution, SqlError> {
        if parameters.len() != prepared.parameters.len() {
            return Err(SqlError::new(
                sqlstate::PROTOCOL_VIOLATION,
                format!(
                    "bind message supplies {} parameters, but prepared statement requires {}",
                    parameters.len(),
                    prepared.parameters.len()
                ),
            ));
        }
        // Tables changed since: plan again.
        let fresh;
        let prepared = if prepared.snapshot.version == self.kv.catalog_version() {
            self.check_block(session, prepared.clone())?
        } else {
            fresh = self.prepare_inner(session, &prepared.sql, &prepared.hints).await?;
            if fresh.columns != prepared.columns || fresh.parameters != prepared.parameters {
                return Err(SqlError::new(
                    sqlstate::FEATURE_NOT_SUPPORTED,
                    "cached plan must not change result type",
                ));
            }
            fresh
        };
        Box::pin(execute::execute(self, session, &prepared, parameters)).await
    }

    /// May this statement run at the same time as others of its session (pipelining)? `Some` for an autocommit
    /// statement on one row; `None`: it must run alone. Two of them may overlap unless they have the same row and
    /// one writes it. Timeline reads run alone: started together, a later one could show an older state.
    pub fn overlap(&self, session: &Session, prepared: &Prepared, parameters: &[Datum]) -> Option<Overlap> {
        if session.in_block() || parameters.len() != prepared.parameters.len() {
            return None;
        }
        let env = execute::env(self, session, prepared, parameters.to_vec());
        let (table, key, writes) = execute::single_row(&prepared.plan, &env)?;
        if !writes && session.read_options().consistency == Consistency::Timeline {
            return None;
        }
        let mut hasher = DefaultHasher::new();
        (table.id, key).hash(&mut hasher);
        Some(Overlap { row: hasher.finish(), writes })
    }
}
