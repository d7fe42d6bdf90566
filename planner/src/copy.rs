//! COPY: text, csv or binary data to rows, and back.
//!
//! The client's bytes may be cut anywhere; [`Reader`] puts lines and rows together again. Rows are inserted in batches, with
//! several batches' worth of rows in flight by `write_many`. Each row is atomic by itself and must not exist: the
//! first conflict or bad line ends the COPY with its line number, and rows of earlier batches stay.

mod reader;
mod format;
mod tuples;
mod lines;

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use kvstore::request::{Condition, Kv, Write, WriteOutcome};

use crate::catalog::{PSEUDO_COLUMNS, TableSchema};
use crate::error::{SqlError, fail};
use crate::expression::{Env, Expr, Scope};
use crate::interrupt::{Interrupt, Pace, timed_out};
use crate::plan::CopyInPlan;
use crate::query::SelectPlan;
use crate::result::RowStream;
use crate::row_encoding;
use crate::session::Session;
use crate::statement::{CopyHeader, CopyOptions};
use crate::types::{Row, TextSettings};

use format::Format;
use reader::{Reader, Record};

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
    /// Positions in the table of the columns that come.
    columns: Vec<usize>,
    /// Values of the other columns.
    defaults: Vec<Expr>,
    /// WHERE: rows of which it does not hold are left out.
    filter: Option<Expr>,
    reader: Reader,
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
        let types = columns.iter().map(|at| table.columns[*at].ty.clone()).collect();
        let format = Format::new(&plan.options, &names, true)?;
        // Without a timeout of the session's own a long copy is many statements' worth of work: each batch has its time.
        let interrupt = session.own_deadline().map_or_else(Interrupt::never, Interrupt::at);
        let env = Env { interrupt, ..env };
        let text = env.text.clone();
        Ok(CopyIn {
            kv,
            session,
            env,
            reader: Reader::new(&table.name, names, types, format, text),
            table,
            columns,
            defaults: plan.defaults.clone(),
            filter: plan.filter.clone(),
            batch: Vec::new(),
            batch_bytes: 0,
            written: 0,
        })
    }

    /// Number of columns (CopyInResponse).
    pub fn columns(&self) -> usize {
        self.reader.columns()
    }

    /// Are the data binary (CopyInResponse)?
    pub fn binary(&self) -> bool {
        self.reader.binary()
    }

    /// Takes a piece of data, cut anywhere. After an error the copy is over: the connection loop skips the
    /// client's further data and reports the error.
    pub async fn push(&mut self, data: &[u8]) -> Result<(), SqlError> {
        self.reader.push(data);
        let taken = self.take_rows().await;
        taken.map_err(|error| error.with_rows_written(self.written))
    }

    async fn take_rows(&mut self) -> Result<(), SqlError> {
        let mut pace = Pace::new();
        while let Some(record) = self.reader.next()? {
            let context = record.context.clone();
            self.take(record).map_err(|error| match error.context {
                Some(_) => error,
                None => error.context(context),
            })?;
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
        self.reader.complete();
        self.take_rows().await?;
        self.flush().await
    }

    /// Takes a row of values.
    fn take(&mut self, record: Record) -> Result<(), SqlError> {
        let mut row: Row = Vec::with_capacity(self.table.columns.len() + PSEUDO_COLUMNS.len());
        for (at, default) in self.defaults.iter().enumerate() {
            row.push(if self.columns.contains(&at) {
                None
            } else {
                default.eval(&Scope::EMPTY, &self.env)?
            });
        }
        for (at, value) in self.columns.iter().zip(record.values) {
            row[*at] = value;
        }
        if let Some(filter) = &self.filter {
            row.resize(self.table.columns.len() + PSEUDO_COLUMNS.len(), None);
            if !filter.holds(&Scope { row: &row, outer: None }, &self.env)? {
                return Ok(());
            }
            row.truncate(self.table.columns.len());
        }
        row_encoding::check_not_null(&self.table, &row, |_| true)?;
        let write = Write {
            table: self.table.id,
            key: row_encoding::row_key(&self.table, &row)?,
            conditions: vec![Condition::RowAbsent],
            mutations: row_encoding::insert_mutations(&self.table, &row),
            request: None,
        };
        self.batch_bytes += record.bytes;
        self.batch.push((record.number, row, write));
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
                return Err(row_encoding::unique_violation(&self.table, row).context(self.reader.at(*number)));
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
            fail(&mut failure, error.context(self.reader.at(number)));
        }
        failure.map_or(Ok(()), Err)
    }
}

/// A COPY .. TO STDOUT in progress.
pub struct CopyOut {
    names: Vec<String>,
    rows: RowStream,
    /// `None`: binary.
    format: Option<Format>,
    /// What goes out before the rows, and behind them.
    first: Option<Bytes>,
    last: Option<Bytes>,
    count: u64,
    text: TextSettings,
}

impl CopyOut {
    pub(crate) fn new(
        select: &SelectPlan,
        rows: RowStream,
        options: &CopyOptions,
        text: TextSettings,
    ) -> Result<CopyOut, SqlError> {
        let names: Vec<String> = select.columns.iter().map(|column| column.name.clone()).collect();
        let format = Format::new(options, &names, false)?;
        let (first, last) = match &format {
            None => (Some(tuples::header()), Some(tuples::end())),
            Some(format) => ((format.header() == CopyHeader::Yes).then(|| format.join_names(&names)), None),
        };
        Ok(CopyOut { names, rows, format, first, last, count: 0, text })
    }

    /// Number of columns (CopyOutResponse).
    pub fn columns(&self) -> usize {
        self.names.len()
    }

    /// Are the data binary (CopyOutResponse)?
    pub fn binary(&self) -> bool {
        self.format.is_none()
    }

    /// The next rows, one line with its newline each (one CopyData each); `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Vec<Bytes>>, SqlError> {
        if let Some(first) = self.first.take() {
            return Ok(Some(vec![first]));
        }
        let Some(rows) = self.rows.next().await? else { return Ok(self.last.take().map(|last| vec![last])) };
        self.count += rows.len() as u64;
        let line = |row: &Row| match &self.format {
            None => tuples::tuple(row),
            Some(format) => format.join(row, &self.text),
        };
        Ok(Some(rows.iter().map(line).collect()))
    }

    /// The command tag after the end ("COPY 12").
    pub fn tag(&self) -> String {
        format!("COPY {}", self.count)
    }
}
