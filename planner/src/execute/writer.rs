//! Writing rows: at once where nothing depends on the row, else by reading it first.
//!
//! A write whose effect does not depend on the row goes out at once, with a condition where the statement needs one
//! (INSERT: the row is absent; DELETE: it is present). All others read the row from the leader, compute, and write
//! on the condition that its version is still the one read; if not, they compute again with the row as it was
//! found. In a block nothing goes out: the write is kept until COMMIT, with the version it was computed from.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kvstore::request::{
    Columns, Condition, Consistency, Mutation, ReadOptions, ReadRow, Row as StoredRow, Source, Write,
    WriteOutcome, Written,
};
use kvstore::row_update::{RowUpdate, UpdateStep};

use super::run::Run;
use crate::catalog::TableSchema;
use crate::error::{SqlError, fail, sqlstate};
use crate::expression::Scope;
use crate::memory::HeldRows;
use crate::plan::Returning;
use crate::row_encoding;
use crate::session::Deferred;
use crate::types::{Row, Value};

/// What a statement does with one row.
pub(super) enum Decision {
    /// Leaves it.
    Skip,
    /// Changes it; `after` are the row's values then, without system columns.
    Write { mutations: Vec<Mutation>, after: Row },
}

/// Decides from the row as it is (`None`: there is none), system columns included.
pub(super) type Decide<'a> = &'a (dyn Fn(Option<&Row>) -> Result<Decision, SqlError> + Send + Sync);

/// A write that needs no look at the row.
pub(super) struct Blind {
    pub(super) conditions: Vec<Condition>,
    pub(super) mutations: Vec<Mutation>,
    /// The row's values afterwards. Empty if RETURNING does not ask for them.
    pub(super) after: Row,
}

/// What a statement has written.
pub(crate) struct Changed {
    /// Rows changed.
    pub(crate) count: u64,
    /// The rows of RETURNING.
    pub(crate) returned: HeldRows,
}

/// Writes the rows of one statement.
pub(super) struct Writer<'a> {
    run: &'a Run<'a>,
    table: &'a Arc<TableSchema>,
    returning: Option<&'a Returning>,
    deadline: Instant,
    changed: Changed,
}

impl<'a> Writer<'a> {
    /// A writer for a statement that starts now.
    pub(super) fn new(
        run: &'a Run<'a>,
        table: &'a Arc<TableSchema>,
        returning: Option<&'a Returning>,
    ) -> Writer<'a> {
        let changed = Changed { count: 0, returned: run.env.memory.rows() };
        Writer { run, table, returning, deadline: run.session.deadline(), changed }
    }

    /// What has been written.
    pub(super) fn finish(self) -> Changed {
        self.changed
    }

    /// Writes one row: `blind` first if given, else by reading it.
    pub(super) async fn row(
        &mut self,
        key: Bytes,
        blind: Option<Blind>,
        decide: Decide<'_>,
    ) -> Result<(), SqlError> {
        let session = self.run.session;
        let ReadRow { row, mut source } = match blind {
            Some(blind) if !session.in_block() => {
                match self.send(self.write(&key, blind.conditions, blind.mutations)).await? {
                    WriteOutcome::Written(written) => return self.wrote(blind.after, &written),
                    WriteOutcome::ConditionFailed { current, at } => {
                        ReadRow { row: current, source: self.found(&at) }
                    }
                }
            }
            _ => self.read(&key).await?,
        };
        let mut update = RowUpdate::new(StoredRow { key, ..row });
        loop {
            let row = match update.row().cells.is_empty() {
                true => None,
                false => Some(row_encoding::read_row(self.table, update.row(), &source)?),
            };
            let Decision::Write { mutations, after } = decide(row.as_ref())? else {
                if session.in_block() {
                    session.defer(Deferred { table: self.table.id, write: None });
                }
                return Ok(());
            };
            let write = update.write(self.table.id, mutations);
            if session.in_block() {
                session.defer(Deferred { table: self.table.id, write: Some(write) });
                return self.deferred(after, &source);
            }
            match update.answered(self.send(write).await?) {
                UpdateStep::Written(written) => return self.wrote(after, &written),
                UpdateStep::Again(at) => {
                    self.check_deadline()?;
                    source = self.found(&at);
                }
            }
        }
    }

    /// Writes many rows that depend on nothing; rows that conflict get the error that `conflict` makes of their
    /// position. All rows are tried before the statement fails.
    pub(super) async fn independent_rows(
        &mut self,
        keys: Vec<Bytes>,
        rows: Vec<Blind>,
        conflict: impl Fn(usize) -> SqlError,
    ) -> Result<(), SqlError> {
        let (mut writes, mut afters) = (Vec::with_capacity(keys.len()), Vec::with_capacity(keys.len()));
        for (key, blind) in keys.iter().zip(rows) {
            writes.push(self.write(key, blind.conditions, blind.mutations));
            afters.push(blind.after);
        }
        let outcomes = self.run.context.kv.write_many(writes, self.deadline, self.run.session.token()).await;
        let mut failure = None;
        for (at, (after, outcome)) in afters.into_iter().zip(outcomes).enumerate() {
            match outcome {
                Ok(WriteOutcome::Written(written)) => {
                    self.wrote(after, &written).unwrap_or_else(|error| fail(&mut failure, error));
                }
                Ok(WriteOutcome::ConditionFailed { .. }) => fail(&mut failure, conflict(at)),
                Err(error) => fail(&mut failure, error.into()),
            }
        }
        failure.map_or(Ok(()), Err)
    }

    /// The error of the statement, given that of a row: each row is atomic by itself, what was written stays, and the
    /// client has to know. In a block nothing is written before COMMIT.
    pub(super) fn failed(&self, error: SqlError) -> SqlError {
        let written = if self.run.session.in_block() { 0 } else { self.changed.count };
        error.with_rows_written(written)
    }

    /// Reads the row from the leader.
    async fn read(&self, key: &Bytes) -> Result<ReadRow, SqlError> {
        let options = ReadOptions {
            consistency: Consistency::Strong,
            max_staleness: None,
            min_lsn: None,
            deadline: self.deadline,
        };
        let (kv, token) = (&self.run.context.kv, self.run.session.token());
        Ok(kv.get(self.table.id, key.clone(), Columns::All, &options, token).await?)
    }

    fn write(&self, key: &Bytes, conditions: Vec<Condition>, mutations: Vec<Mutation>) -> Write {
        Write { table: self.table.id, key: key.clone(), conditions, mutations, request: None }
    }

    async fn send(&self, write: Write) -> Result<WriteOutcome, SqlError> {
        Ok(self.run.context.kv.write(write, self.deadline, self.run.session.token()).await?)
    }

    /// Where the row is from that a failed condition found: from the leader.
    fn found(&self, at: &Written) -> Source {
        Source {
            range: at.range,
            replica: self.run.context.kv.node(),
            lsn: at.lsn,
            staleness: Some(Duration::ZERO),
        }
    }

    fn check_deadline(&self) -> Result<(), SqlError> {
        if Instant::now() < self.deadline {
            return Ok(());
        }
        Err(SqlError::new(sqlstate::CANCELED, "canceling statement due to statement timeout")
            .detail("Other sessions changed the row again and again; nothing was written.")
            .hint("Run the statement again, or change the row from fewer sessions at a time."))
    }

    /// A row was written.
    fn wrote(&mut self, row: Row, written: &Written) -> Result<(), SqlError> {
        self.changed.count += 1;
        if self.returning.is_none() {
            return Ok(());
        }
        let version = i64::try_from(written.lsn.seq).unwrap_or(i64::MAX);
        let lsn = Value::Text(written.lsn.to_string());
        self.returned(row, [Some(Value::Int8(version)), Some(lsn), None, Some(Value::Int8(0))])
    }

    /// A row waits for COMMIT.
    fn deferred(&mut self, row: Row, source: &Source) -> Result<(), SqlError> {
        self.changed.count += 1;
        self.returned(row, [None, Some(Value::Text(source.lsn.to_string())), None, None])
    }

    /// Adds to what RETURNING shows; `system` are the values of the system columns.
    fn returned(&mut self, mut row: Row, system: [Option<Value>; 4]) -> Result<(), SqlError> {
        let Some(returning) = self.returning else { return Ok(()) };
        row.truncate(self.table.columns.len());
        row.extend(system);
        let scope = Scope { row: &row, outer: None };
        let values = returning.exprs.iter().map(|expr| expr.eval(&scope, &self.run.env));
        self.changed.returned.push(values.collect::<Result<_, _>>()?)?;
        Ok(())
    }
}

/// A block's writing statement may touch one key only.
pub(super) fn check_single(run: &Run<'_>, keys: usize) -> Result<(), SqlError> {
    if run.session.in_block() && keys > 1 {
        return Err(SqlError::unsupported("a write on several keys in a transaction block").hint(
            "A block may hold any reads and one writing statement on one key. Outside of a block such a statement \
             is atomic for each row.",
        ));
    }
    Ok(())
}

/// Sends a block's write at COMMIT.
pub(super) async fn commit(run: &Run<'_>, deferred: Deferred) -> Result<(), SqlError> {
    let Some(write) = deferred.write else { return Ok(()) };
    match run.context.kv.write(write, run.session.deadline(), run.session.token()).await? {
        WriteOutcome::Written(_) => Ok(()),
        WriteOutcome::ConditionFailed { .. } => Err(SqlError::new(
            sqlstate::SERIALIZATION_FAILURE,
            "could not serialize access due to concurrent update",
        )
        .detail("Another session changed the row after this block read it. Nothing was written.")
        .hint("Run the transaction again.")),
    }
}
