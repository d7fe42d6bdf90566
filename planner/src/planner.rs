//! The door of the crate: prepare and execute.

use std::sync::Arc;

use kvstore::request::Kv;

use crate::error::SqlError;
use crate::execution::{Column, Execution};
use crate::session::Session;
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
    parameters: Vec<Type>,
    columns: Option<Arc<[Column]>>,
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

    /// Columns of the result; `None` if it gives no rows (NoData).
    pub fn columns(&self) -> Option<&Arc<[Column]>> {
        self.columns.as_ref()
    }

    /// Is it a COPY? It runs through the simple protocol only.
    pub fn is_copy(&self) -> bool {
        false
    }

    /// Does it end or begin a block, or is it allowed in a failed one (COMMIT, ROLLBACK)?
    pub fn ends_block(&self) -> bool {
        false
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

/// Turns SQL into store calls. One per gateway, shared by all its sessions.
pub struct Planner {
    kv: Arc<dyn Kv>,
    info: ServerInfo,
}

impl Planner {
    /// A planner over a store.
    pub fn new(kv: Arc<dyn Kv>, info: ServerInfo) -> Planner {
        Planner { kv, info }
    }

    /// What the server tells about itself.
    pub fn info(&self) -> &ServerInfo {
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
        Ok(vec![StatementText { sql: sql.to_string(), offset: 0 }])
    }

    /// Prepares one statement, from the plan cache if it is there. `hints` are the parameter types that the
    /// client declared ([`Type::Unknown`] or a missing entry: to be inferred). Marks the session's block as failed
    /// on an error.
    pub async fn prepare(
        &self,
        _session: &Session,
        _sql: &str,
        _hints: &[Type],
    ) -> Result<Arc<Prepared>, SqlError> {
        std::future::ready(Err(SqlError::unsupported("this statement"))).await
    }

    /// Executes a prepared statement; `parameters` have the types of [`Prepared::parameter_types`].
    ///
    /// Dropping the future (a cancel) never leaves half a row, but a write under way may still commit. Marks the
    /// session's block as failed on an error.
    pub async fn execute(
        &self,
        _session: &Session,
        _prepared: &Arc<Prepared>,
        _parameters: Vec<Datum>,
    ) -> Result<Execution, SqlError> {
        std::future::ready(Err(SqlError::unsupported("this statement"))).await
    }

    /// May this statement run at the same time as others of its session (pipelining)? `Some` for an autocommit
    /// statement on one row; `None`: it must run alone.
    pub fn overlap(
        &self,
        _session: &Session,
        _prepared: &Prepared,
        _parameters: &[Datum],
    ) -> Option<Overlap> {
        None
    }
}
