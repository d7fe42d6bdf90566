//! What an execution gives its expressions besides rows: parameters, the session, the tables, and the time.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::results::Results;
use crate::catalog::{Snapshot, TableSchema};
use crate::context::ServerInfo;
use crate::error::SqlError;
use crate::interrupt::Interrupt;
use crate::key_encoding::KeySpan;
use crate::memory::{HeldRows, Memory};
use crate::search_path::SearchPath;
use crate::types::{Datum, Row, TextSettings, Type};

/// What an execution gives its expressions besides rows. A clone shares the session and the tables.
#[derive(Clone)]
pub(crate) struct Env {
    /// The values of `$1`, `$2`, ..
    pub(crate) params: Vec<Datum>,
    /// The session that the statement runs in.
    pub(crate) session: Arc<dyn SessionView>,
    /// The tables that the statement was bound against.
    pub(crate) snapshot: Arc<Snapshot>,
    /// The relations of pg_catalog and information_schema.
    pub(crate) system_relations: &'static [&'static dyn SystemRelation],
    /// What the server says about itself.
    pub(crate) info: Arc<ServerInfo>,
    /// The time that now() gives, in microseconds since 2000.
    pub(crate) now: i64,
    /// The stored tables, for queries inside.
    pub(crate) tables: Arc<dyn StoredTables>,
    /// When the statement began, in microseconds since 2000.
    pub(crate) started: i64,
    /// How the session reads and writes values as text.
    pub(crate) text: TextSettings,
    /// When the statement must end.
    pub(crate) interrupt: Interrupt,
    /// What it holds in rows and values.
    pub(crate) memory: Memory,
}

/// What functions and system relations may see of a session, and the one thing that they may change: a setting.
pub(crate) trait SessionView: Send + Sync {
    /// The name of the session's user.
    fn user(&self) -> &str;

    /// The name of the database that the session is connected to.
    fn database(&self) -> &str;

    /// The number that pg_backend_pid() gives.
    fn id(&self) -> u32;

    /// The value of a setting. 42704 if there is none of that name.
    fn show(&self, name: &str) -> Result<String, SqlError>;

    /// Where names are looked up now.
    fn search_path(&self) -> Arc<SearchPath>;

    /// All settings, sorted by name: name, value, description.
    fn show_all(&self) -> Vec<(String, String, &'static str)>;

    /// Gives a setting a value; `None` is its default. A `local` value holds until the end of the block.
    fn set(&self, name: &str, value: Option<&str>, local: bool) -> Result<(), SqlError>;

    /// The names of the session's prepared statements with their texts, sorted by name.
    fn statement_names(&self) -> Vec<(String, String)>;

    /// The session's cursors, sorted by name.
    fn cursors(&self) -> Vec<CursorInfo>;
}

/// What pg_cursors tells of a cursor.
#[derive(Clone, Debug)]
pub(crate) struct CursorInfo {
    /// Its name.
    pub(crate) name: String,
    /// The text of the statement that declared it.
    pub(crate) statement: String,
    /// Whether it outlives its transaction.
    pub(crate) hold: bool,
    /// Whether it gives values in binary format.
    pub(crate) binary: bool,
    /// Whether it was declared to go back.
    pub(crate) scrolls: bool,
    /// When it was declared, in microseconds since 2000.
    pub(crate) created: i64,
}

/// The stored tables, as queries read them in the middle of a computation. The calls wait for the store: they are for
/// threads that may wait.
pub(crate) trait StoredTables: Send + Sync {
    /// Begins to read the rows of a key span, at most so many if there is a limit. The rows have the table's columns,
    /// then the system columns.
    fn scan(
        &self,
        table: &Arc<TableSchema>,
        span: KeySpan,
        reverse: bool,
        limit: Option<u64>,
        interrupt: &Interrupt,
    ) -> Box<dyn StoredScan>;

    /// The rows of these keys, in their order; `None` for one that does not exist.
    fn get(
        &self,
        table: &Arc<TableSchema>,
        keys: Vec<Bytes>,
        interrupt: &Interrupt,
    ) -> Result<Vec<Option<Row>>, SqlError>;

    /// What subqueries of the execution have given that run once.
    fn results(&self) -> &Results;
}

/// A scan of a stored table. It ends when it is dropped.
pub(crate) trait StoredScan: Send {
    /// The next rows, never none; `None` at the end.
    fn next(&mut self, interrupt: &Interrupt) -> Result<Option<HeldRows>, SqlError>;
}

/// A relation of pg_catalog or information_schema, as expressions see it: something with a number and a name, to which
/// casts to regclass and their like refer.
pub(crate) trait SystemRelation: Sync {
    /// pg_class.oid.
    fn oid(&self) -> u32;

    /// "pg_catalog" or "information_schema".
    fn schema(&self) -> &'static str;

    /// Its name, without the schema.
    fn name(&self) -> &'static str;

    /// The names and types of its columns.
    fn columns(&self) -> Vec<(&'static str, Type)>;

    /// Its rows now.
    fn rows(&self, env: &Env) -> Vec<Row>;

    /// Does pg_class list it? Joins of the catalogs with themselves grow with the square of what is listed.
    fn is_listed(&self) -> bool {
        true
    }
}

impl PartialEq for dyn SystemRelation {
    fn eq(&self, other: &dyn SystemRelation) -> bool {
        self.oid() == other.oid()
    }
}

impl fmt::Debug for dyn SystemRelation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.schema(), self.name())
    }
}
