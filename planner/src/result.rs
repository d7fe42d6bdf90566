//! The rows that a statement gives: their columns, and the rows themselves in batches.

use std::sync::Arc;

use futures::stream::{BoxStream, StreamExt};

use crate::error::SqlError;
use crate::memory::{Held, HeldRows, Memory};
use crate::types::{Row, TextSettings, Type};

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

/// Rows of a statement, read in batches.
pub struct Rows {
    /// Their columns.
    pub columns: Arc<[Column]>,
    /// The rows.
    pub rows: RowStream,
    /// How their values are written as text: by the settings of the session when the statement began.
    pub text: TextSettings,
    /// The command tag without the count ("SELECT", "INSERT 0", "UPDATE").
    verb: &'static str,
    /// Whether they go out in binary format where the client has chosen none (FETCH from a binary cursor).
    pub binary: bool,
}

impl Rows {
    pub(crate) fn new(
        columns: Arc<[Column]>,
        rows: RowStream,
        text: TextSettings,
        verb: &'static str,
    ) -> Rows {
        Rows { columns, rows, text, verb, binary: false }
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
    /// For the rows that are ready: the reader has them one batch at a time.
    held: Option<Held>,
}

impl RowStream {
    /// Rows that are all there: the path of point reads, without a boxed stream.
    pub(crate) fn ready(rows: Vec<Row>) -> RowStream {
        RowStream { ready: Some(rows), rest: None, held: None }
    }

    /// Rows that are there already. They count as held until the stream is dropped.
    pub(crate) fn held(rows: HeldRows) -> RowStream {
        RowStream { ready: Some(rows.rows), rest: None, held: Some(rows.held) }
    }

    /// Rows that are still being read.
    pub(crate) fn streaming(rows: BoxStream<'static, Result<Vec<Row>, SqlError>>) -> RowStream {
        RowStream { ready: None, rest: Some(rows), held: None }
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

    /// All rows that are left, held in memory.
    pub(crate) async fn hold(mut self, memory: &Memory) -> Result<HeldRows, SqlError> {
        if self.rest.is_none()
            && let (Some(rows), Some(held)) = (self.ready.take(), self.held.take())
        {
            return Ok(HeldRows { rows, held });
        }
        let mut all = memory.rows();
        while let Some(rows) = self.next().await? {
            all.extend(rows)?;
        }
        Ok(all)
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
