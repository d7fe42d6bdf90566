//! What executing a statement gives: rows as they come, a command tag, or a COPY in one of its directions.

use std::sync::Arc;

use futures::stream::{BoxStream, StreamExt};

use crate::error::SqlError;
use crate::types::{Row, Type};

pub use crate::copy::{CopyIn, CopyOut};

/// A column of a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Name.
    pub name: String,
    /// Type.
    pub ty: Type,
    /// The table that it comes from (pg_class.oid), 0 if none.
    pub table: u32,
    /// The number of the column in that table (pg_attribute.attnum), 0 if none.
    pub attribute: i16,
}

impl Column {
    /// A computed column.
    pub(crate) fn computed(name: impl Into<String>, ty: Type) -> Column {
        Column { name: name.into(), ty, table: 0, attribute: 0 }
    }
}

/// The outcome of a statement.
pub enum Execution {
    /// The statement text was empty (or a comment): EmptyQueryResponse.
    Empty,
    /// Done, without rows: the tag of CommandComplete.
    Done {
        /// Command tag ("INSERT 0 1").
        tag: String,
    },
    /// Rows follow.
    Rows(Rows),
    /// COPY .. FROM STDIN: the client sends data.
    CopyIn(Box<CopyIn>),
    /// COPY .. TO STDOUT: data follows.
    CopyOut(CopyOut),
}

impl std::fmt::Debug for Execution {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Execution::Empty => f.write_str("Empty"),
            Execution::Done { tag } => write!(f, "Done({tag})"),
            Execution::Rows(rows) => write!(f, "Rows({:?})", rows.columns),
            Execution::CopyIn(_) => f.write_str("CopyIn"),
            Execution::CopyOut(_) => f.write_str("CopyOut"),
        }
    }
}

/// Rows of a statement, read in batches.
pub struct Rows {
    /// Their columns.
    pub columns: Arc<[Column]>,
    /// The rows.
    pub rows: RowStream,
    /// The command tag without the count ("SELECT", "INSERT 0", "UPDATE").
    verb: &'static str,
}

impl Rows {
    pub(crate) fn new(columns: Arc<[Column]>, rows: RowStream, verb: &'static str) -> Rows {
        Rows { columns, rows, verb }
    }

    /// The command tag after `count` rows were sent.
    pub fn tag(&self, count: u64) -> String {
        match self.verb {
            verb @ ("EXPLAIN" | "SHOW") => verb.to_string(),
            verb => format!("{verb} {count}"),
        }
    }
}

/// Batches of rows. Dropping it ends the read.
pub struct RowStream {
    ready: Option<Vec<Row>>,
    rest: Option<BoxStream<'static, Result<Vec<Row>, SqlError>>>,
}

impl RowStream {
    /// Rows that are all there: the path of point reads, without a boxed stream.
    pub(crate) fn ready(rows: Vec<Row>) -> RowStream {
        RowStream { ready: Some(rows), rest: None }
    }

    /// Rows that are still being read.
    pub(crate) fn streaming(rows: BoxStream<'static, Result<Vec<Row>, SqlError>>) -> RowStream {
        RowStream { ready: None, rest: Some(rows) }
    }

    /// The next batch (never empty); `None` at the end. Cancel-safe.
    pub async fn next(&mut self) -> Result<Option<Vec<Row>>, SqlError> {
        if let Some(rows) = self.ready.take().filter(|rows| !rows.is_empty()) {
            return Ok(Some(rows));
        }
        let Some(rest) = &mut self.rest else { return Ok(None) };
        loop {
            match rest.next().await {
                Some(Ok(rows)) if rows.is_empty() => {}
                Some(Ok(rows)) => return Ok(Some(rows)),
                Some(Err(error)) => {
                    self.rest = None;
                    return Err(error);
                }
                None => {
                    self.rest = None;
                    return Ok(None);
                }
            }
        }
    }

    /// All rows that are left.
    pub async fn collect(mut self) -> Result<Vec<Row>, SqlError> {
        let mut all = Vec::new();
        while let Some(rows) = self.next().await? {
            all.extend(rows);
        }
        Ok(all)
    }
}
