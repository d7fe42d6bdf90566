//! COPY: lines of text or csv to rows, and back.
//!
//! The client's bytes may be cut anywhere; [`Lines`] puts lines together again. Rows are inserted in batches, with
//! several batches' worth of rows in flight by `write_many`. Each row is atomic by itself and must not exist: the
//! first conflict or bad line ends the COPY with its line number, and rows of earlier batches stay.

mod format;
mod lines;

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use kvstore::request::{Condition, Kv, Write, WriteOutcome};

use crate::catalog::TableSchema;
use crate::error::{SqlError, fail, sqlstate};
use crate::expression::{Env, Expr, Scope};
use crate::interrupt::{Interrupt, Pace, timed_out};
use crate::plan::CopyInPlan;
use crate::result::RowStream;
use crate::row_encoding;
use crate::session::Session;
use crate::statement::CopyOptions;
use crate::types::{Row, Value, bad_utf8};

use format::Format;
use lines::Lines;

/// Rows of one batch of writes at most.
const BATCH_ROWS_MAX: usize = 2_000;
/// Bytes of one batch at most.
const BATCH_BYTES_MAX: usize = 1 << 20;

/// A COPY .. FROM STDIN in progress: the client's bytes go in, rows are written in batches while they come.
/// Each row is atomic by itself: on an error, rows of earlier batches stay.
pub struct CopyIn {
    kv: Arc<dyn Kv>,
    session: Session,
    env: Env,
    table: Arc<TableSchema>,
    /// Positions in the table of the columns that lines give.
    columns: Vec<usize>,
    /// Values of the other columns.
    defaults: Vec<Expr>,
    format: Format,
    lines: Lines,
    /// Lines taken so far (the header included).
    line: u64,
    ended: bool,
    batch: Vec<(u64, Row, Write)>,
    batch_bytes: usize,
    written: u64,
}

impl CopyIn {
    pub(crate) fn new(
        kv: Arc<dyn Kv>,
        session: Session,
        env: Env,
        plan: &CopyInPlan,
    ) -> Result<CopyIn, SqlError> {
        let (table, columns) = (plan.table.clone(), plan.columns.clone());
        let names: Vec<String> = columns.iter().map(|at| table.columns[*at].name.clone()).collect();
        let format = Format::new(&plan.options, &names)?;
        let lines = Lines::new(format.quoting());
        // Without a timeout of the session's own a long copy is many statements' worth of work: each batch has its time.
        let interrupt = session.own_deadline().map_or_else(Interrupt::never, Interrupt::at);
        let env = Env { interrupt, ..env };
        Ok(CopyIn {
            kv,
            session,
            env,
            table,
            columns,
            defaults: plan.defaults.clone(),
            format,
            lines,
            line: 0,
            ended: false,
            batch: Vec::new(),
            batch_bytes: 0,
            written: 0,
        })
    }

    /// Number of columns (CopyInResponse; the format is always text).
    pub fn columns(&self) -> usize {
        self.columns.len()
    }

    /// Takes a piece of data, cut anywhere. After an error the copy is over: the connection loop skips the
    /// client's further data and reports the error.
    pub async fn push(&mut self, data: &[u8]) -> Result<(), SqlError> {
        let taken = self.take_lines(data).await;
        taken.map_err(|error| error.with_rows_written(self.written))
    }

    async fn take_lines(&mut self, data: &[u8]) -> Result<(), SqlError> {
        self.lines.push(data);
        let mut pace = Pace::new();
        while let Some(line) = self.lines.next()? {
            self.take(&line)?;
            pace.step(&self.env.interrupt).await?;
            if self.batch.len() >= BATCH_ROWS_MAX || self.batch_bytes >= BATCH_BYTES_MAX {
                self.flush().await?;
            }
        }
        Ok(())
    }

    /// When the copy must have ended, if `statement_timeout` is set.
    pub fn deadline(&self) -> Option<Instant> {
        self.env.interrupt.deadline()
    }

    /// The error of a copy that has not ended by then.
    pub fn timed_out(&self) -> SqlError {
        timed_out().with_rows_written(self.written)
    }

    /// The client is done (CopyDone): writes what is left and gives the command tag ("COPY 12").
    pub async fn finish(mut self) -> Result<String, SqlError> {
        let taken = self.take_rest().await;
        taken.map_err(|error| error.with_rows_written(self.written))?;
        Ok(format!("COPY {}", self.written))
    }

    async fn take_rest(&mut self) -> Result<(), SqlError> {
        if let Some(line) = self.lines.finish()? {
            self.take(&line)?;
        }
        self.flush().await
    }

    fn context(&self, line: u64) -> String {
        format!("COPY {}, line {line}", self.table.name)
    }

    fn take(&mut self, line: &[u8]) -> Result<(), SqlError> {
        self.line += 1;
        let number = self.line;
        if self.ended || self.format.header() && number == 1 {
            return Ok(());
        }
        self.take_row(line, number).map_err(|error| match error.context {
            Some(_) => error,
            None => error.context(self.context(number)),
        })
    }

    fn take_row(&mut self, line: &[u8], number: u64) -> Result<(), SqlError> {
        let text = std::str::from_utf8(line).map_err(|error| bad_utf8(&line[error.valid_up_to()..]))?;
        if text == "\\." {
            self.ended = true;
            return Ok(());
        }
        let fields = self.format.split(text)?;
        if fields.len() > self.columns.len() {
            return Err(SqlError::new(sqlstate::BAD_COPY, "extra data after last expected column"));
        }
        if let Some(missing) = self.columns.get(fields.len()) {
            let name = &self.table.columns[*missing].name;
            return Err(SqlError::new(sqlstate::BAD_COPY, format!("missing data for column \"{name}\"")));
        }
        let mut row: Row = Vec::with_capacity(self.table.columns.len());
        for (at, default) in self.defaults.iter().enumerate() {
            row.push(if self.columns.contains(&at) {
                None
            } else {
                default.eval(&Scope::EMPTY, &self.env)?
            });
        }
        for (at, field) in self.columns.iter().zip(fields) {
            let column = &self.table.columns[*at];
            if let Some(field) = field {
                let value = Value::from_text(&column.ty, &field).map_err(|error| {
                    let shown: String = field.chars().take(100).collect();
                    error.context(format!("{}, column {}: \"{shown}\"", self.context(number), column.name))
                })?;
                row[*at] = Some(value);
            }
        }
        row_encoding::check_not_null(&self.table, &row, |_| true)?;
        let write = Write {
            table: self.table.id,
            key: row_encoding::row_key(&self.table, &row)?,
            conditions: vec![Condition::RowAbsent],
            mutations: row_encoding::insert_mutations(&self.table, &row),
            request: None,
        };
        self.batch_bytes += line.len();
        self.batch.push((number, row, write));
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), SqlError> {
        let batch = std::mem::take(&mut self.batch);
        self.batch_bytes = 0;
        if batch.is_empty() {
            return Ok(());
        }
        // Two lines with one key in a batch would race: the second is refused as it would be if it came later.
        let mut seen = std::collections::HashSet::with_capacity(batch.len());
        for (number, row, write) in &batch {
            if !seen.insert(write.key.clone()) {
                return Err(row_encoding::unique_violation(&self.table, row).context(self.context(*number)));
            }
        }
        drop(seen);
        let (marks, writes): (Vec<(u64, Row)>, Vec<Write>) =
            batch.into_iter().map(|(number, row, write)| ((number, row), write)).unzip();
        let deadline = self.deadline().unwrap_or_else(|| self.session.deadline());
        let outcomes = self.kv.write_many(writes, deadline, self.session.token()).await;
        let mut failure = None;
        for ((number, row), outcome) in marks.into_iter().zip(outcomes) {
            let error = match outcome {
                Ok(WriteOutcome::Written(_)) => {
                    self.written += 1;
                    continue;
                }
                Ok(WriteOutcome::ConditionFailed { .. }) => row_encoding::unique_violation(&self.table, &row),
                Err(error) => error.into(),
            };
            fail(&mut failure, error.context(self.context(number)));
        }
        failure.map_or(Ok(()), Err)
    }
}

/// A COPY .. TO STDOUT in progress.
pub struct CopyOut {
    names: Vec<String>,
    rows: RowStream,
    format: Format,
    header: bool,
    count: u64,
}

impl CopyOut {
    pub(crate) fn new(
        names: Vec<String>,
        rows: RowStream,
        options: &CopyOptions,
    ) -> Result<CopyOut, SqlError> {
        let format = Format::new(options, &names)?;
        Ok(CopyOut { names, rows, header: format.header(), format, count: 0 })
    }

    /// Number of columns (CopyOutResponse; the format is always text).
    pub fn columns(&self) -> usize {
        self.names.len()
    }

    /// The next rows, one line with its newline each (one CopyData each); `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Vec<Bytes>>, SqlError> {
        if std::mem::take(&mut self.header) {
            let names = self.names.iter().map(|name| Some(Value::Text(name.clone()))).collect::<Row>();
            return Ok(Some(vec![self.format.join(&names)]));
        }
        let Some(rows) = self.rows.next().await? else { return Ok(None) };
        self.count += rows.len() as u64;
        Ok(Some(rows.iter().map(|row| self.format.join(row)).collect()))
    }

    /// The command tag after the end ("COPY 12").
    pub fn tag(&self) -> String {
        format!("COPY {}", self.count)
    }
}
