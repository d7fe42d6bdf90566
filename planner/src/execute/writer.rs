//! Writing rows: at once where nothing depends on the row, else by reading it first.
//!
//! The write of a row goes out at once if it is known what it must be: from a row that a scan has found, on the condition
//! that its version is still the one found, or whatever the row holds, with a condition where the statement needs one
//! (INSERT: the row is absent; DELETE: it is present). If the condition fails, or nothing is known yet, the row is taken as
//! it is at the leader, and what to write is decided and tried again, until it is written or the statement does not want it
//! any more. RETURNING is computed before a row is written, so that its errors leave nothing behind. In a block nothing goes
//! out: the write is kept until COMMIT, with the version it was computed from.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesOrdered;
use kvstore::request::{
    Columns, Condition, Consistency, Mutation, ReadOptions, ReadRow, Row as StoredRow, Source, Write,
    WriteOutcome, Written,
};
use kvstore::row_update::{RowUpdate, UpdateStep};

use super::run::Run;
use crate::catalog::{PSEUDO_COLUMNS, TableSchema};
use crate::error::{SqlError, fail, sqlstate};
use crate::expression::Scope;
use crate::memory::{Held, HeldRows, row_bytes};
use crate::plan::Returning;
use crate::row_encoding;
use crate::types::{Row, Value};

/// Rows of one statement that are being written at the same time.
const WRITES_AT_ONCE: usize = 256;
/// What a row that waits to be written takes beside its bytes, about.
const STEP_BYTES: usize = 256;

/// What a statement does to one row.
pub(super) struct Change {
    pub(super) mutations: Vec<Mutation>,
    /// The row's values then, without system columns. Empty if RETURNING does not ask for them.
    pub(super) after: Row,
    /// The row of FROM that goes with it, for RETURNING; empty without FROM.
    pub(super) beside: Row,
}

/// Decides what to do to a row as it is (`None`: there is none), system columns included. `None` leaves it as it is. The
/// number is that of the [`Step`].
pub(super) type Decide<'a> =
    &'a (dyn Fn(usize, Option<&Row>) -> Result<Option<Change>, SqlError> + Send + Sync);

/// One row to be written.
pub(super) struct Step {
    /// Which of the statement's rows it is, for [`Decide`].
    item: usize,
    key: Bytes,
    first: First,
}

/// How a row is tried first.
enum First {
    /// It is read.
    Read,
    /// It is read, before others are written: RETURNING fails if it is as it seems.
    Doubt,
    /// It is written if these conditions hold.
    Write { conditions: Vec<Condition>, mutations: Vec<Mutation>, shown: Shown },
}

/// What RETURNING shows of a row.
enum Shown {
    Nothing,
    /// These values.
    Row(Row, Held),
    /// Its values, computed with the LSN of the write.
    Later {
        after: Row,
        beside: Row,
    },
}

impl Step {
    /// A row that must be read first.
    pub(super) fn read(item: usize, key: Bytes) -> Step {
        Step { item, key, first: First::Read }
    }

    /// What it takes in memory, about, until it is written.
    pub(super) fn bytes(&self) -> u64 {
        let changes = match &self.first {
            First::Read | First::Doubt => 0,
            First::Write { mutations, .. } => mutations.iter().map(mutation_bytes).sum(),
        };
        (STEP_BYTES + self.key.len() + changes) as u64
    }
}

fn mutation_bytes(mutation: &Mutation) -> usize {
    match mutation {
        Mutation::Put { column, value } => size_of::<Mutation>() + column.len() + value.len(),
        Mutation::Delete { .. } | Mutation::DeleteRow => size_of::<Mutation>(),
    }
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

    /// How the statement reads what it writes: the latest, from the leader.
    pub(super) fn read_options(&self) -> ReadOptions {
        ReadOptions {
            consistency: Consistency::Strong,
            max_staleness: None,
            min_lsn: None,
            deadline: self.deadline,
        }
    }

    /// A row to be written if these conditions hold. (If RETURNING fails, it is read first: it may be another row by now,
    /// or none that is to be written.)
    pub(super) fn step(&self, item: usize, key: Bytes, conditions: Vec<Condition>, change: Change) -> Step {
        let Change { mutations, after, beside } = change;
        let first = match self.show(after, beside) {
            Ok(shown) => First::Write { conditions, mutations, shown },
            Err(_) => First::Doubt,
        };
        Step { item, key, first }
    }

    /// Writes one row.
    pub(super) async fn one(&mut self, step: Step, decide: Decide<'_>) -> Result<(), SqlError> {
        let done = if self.run.session.in_block() {
            self.defer(step, decide).await?
        } else {
            self.write(step, decide).await?
        };
        if let Some(shown) = done {
            self.changed.count += 1;
            self.keep(shown);
        }
        Ok(())
    }

    /// Writes rows with different keys, many at a time. After an error no further row is begun; those that are under way
    /// come to their end. In a block there may be one row only ([`check_single`]).
    pub(super) async fn all(&mut self, steps: Vec<Step>, decide: Decide<'_>) -> Result<(), SqlError> {
        if steps.len() == 1 || self.run.session.in_block() {
            return self.each(steps, decide).await;
        }
        let (doubtful, steps): (Vec<Step>, Vec<Step>) =
            steps.into_iter().partition(|step| matches!(step.first, First::Doubt));
        self.each(doubtful, decide).await?;
        let (mut steps, mut failure) = (steps.into_iter(), None);
        let (mut count, mut all_shown) = (0, Vec::new());
        let mut under_way = FuturesOrdered::new();
        loop {
            while failure.is_none() && under_way.len() < WRITES_AT_ONCE {
                let Some(step) = steps.next() else { break };
                under_way.push_back(self.write(step, decide));
            }
            match under_way.next().await {
                Some(Ok(Some(shown))) => {
                    count += 1;
                    all_shown.push(shown);
                }
                Some(Ok(None)) => {}
                Some(Err(error)) => fail(&mut failure, error),
                None => break,
            }
        }
        drop(under_way);
        self.changed.count += count;
        all_shown.into_iter().for_each(|shown| self.keep(shown));
        failure.map_or(Ok(()), Err)
    }

    /// Writes rows one by one.
    async fn each(&mut self, steps: Vec<Step>, decide: Decide<'_>) -> Result<(), SqlError> {
        for step in steps {
            self.one(step, decide).await?;
        }
        Ok(())
    }

    /// Writes a row; what RETURNING shows of it, or `None` if it was left.
    async fn write(&self, step: Step, decide: Decide<'_>) -> Result<Option<Shown>, SqlError> {
        let Step { item, key, first } = step;
        let (row, mut source) = match first {
            First::Write { conditions, mutations, shown } => {
                let write =
                    Write { table: self.table.id, key: key.clone(), conditions, mutations, request: None };
                match self.send(write).await? {
                    WriteOutcome::Written(written) => return self.wrote(shown, &written).map(Some),
                    WriteOutcome::ConditionFailed { current, at } => (current, self.found(&at)),
                }
            }
            First::Read | First::Doubt => {
                let ReadRow { row, source } = self.read(&key).await?;
                (row, source)
            }
        };
        let mut update = RowUpdate::new(StoredRow { key, ..row });
        loop {
            let Some(change) = self.decide(item, update.row(), &source, decide)? else { return Ok(None) };
            let shown = self.show(change.after, change.beside)?;
            let write = update.write(self.table.id, change.mutations);
            match update.answered(self.send(write).await?) {
                UpdateStep::Written(written) => return self.wrote(shown, &written).map(Some),
                UpdateStep::Again(at) => {
                    self.check_deadline()?;
                    source = self.found(&at);
                }
            }
        }
    }

    /// Keeps the write of a row until COMMIT; what RETURNING shows of it, or `None` if it was left.
    async fn defer(&self, step: Step, decide: Decide<'_>) -> Result<Option<Shown>, SqlError> {
        let ReadRow { row, source } = self.read(&step.key).await?;
        let update = RowUpdate::new(StoredRow { key: step.key, ..row });
        let Some(change) = self.decide(step.item, update.row(), &source, decide)? else { return Ok(None) };
        let shown = self.show(change.after, change.beside)?;
        let lsn = Value::Text(source.lsn.to_string());
        let shown = self.complete(shown, [None, Some(lsn), None, None])?;
        self.run.session.defer(update.write(self.table.id, change.mutations));
        Ok(Some(shown))
    }

    fn decide(
        &self,
        item: usize,
        row: &StoredRow,
        source: &Source,
        decide: Decide<'_>,
    ) -> Result<Option<Change>, SqlError> {
        let row = match row.cells.is_empty() {
            true => None,
            false => Some(row_encoding::read_row(self.table, row, source)?),
        };
        decide(item, row.as_ref())
    }

    /// The error of the statement, given that of a row: each row is atomic by itself, what was written stays, and the
    /// client has to know. In a block nothing is written before COMMIT.
    pub(super) fn failed(&self, error: SqlError) -> SqlError {
        let written = if self.run.session.in_block() { 0 } else { self.changed.count };
        error.with_rows_written(written)
    }

    /// Reads the row from the leader.
    async fn read(&self, key: &Bytes) -> Result<ReadRow, SqlError> {
        let (kv, token) = (&self.run.context.kv, self.run.session.token());
        Ok(kv.get(self.table.id, key.clone(), Columns::All, &self.read_options(), token).await?)
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

    /// What RETURNING shows of a row, as far as it is known before the row is written.
    fn show(&self, after: Row, beside: Row) -> Result<Shown, SqlError> {
        match self.returning {
            None => Ok(Shown::Nothing),
            Some(returning) if returning.needs_write => Ok(Shown::Later { after, beside }),
            Some(returning) => self.values(returning, after, beside, [None, None, None, None]),
        }
    }

    /// A row was written.
    fn wrote(&self, shown: Shown, written: &Written) -> Result<Shown, SqlError> {
        let version = i64::try_from(written.lsn.seq).unwrap_or(i64::MAX);
        let lsn = Value::Text(written.lsn.to_string());
        self.complete(shown, [Some(Value::Int8(version)), Some(lsn), None, Some(Value::Int8(0))])
    }

    /// What RETURNING shows of a row; `system` are the values of the system columns.
    fn complete(&self, shown: Shown, system: [Option<Value>; 4]) -> Result<Shown, SqlError> {
        match (shown, self.returning) {
            (Shown::Later { after, beside }, Some(returning)) => {
                self.values(returning, after, beside, system)
            }
            (shown, _) => Ok(shown),
        }
    }

    fn values(
        &self,
        returning: &Returning,
        after: Row,
        beside: Row,
        system: [Option<Value>; PSEUDO_COLUMNS.len()],
    ) -> Result<Shown, SqlError> {
        let mut row = after;
        row.extend(system);
        row.extend(beside);
        let scope = Scope { row: &row, outer: None };
        let values = returning.exprs.iter().map(|expr| expr.eval(&scope, &self.run.env));
        let values = values.collect::<Result<Row, _>>()?;
        let mut held = self.run.env.memory.hold();
        held.add(row_bytes(&values))?;
        Ok(Shown::Row(values, held))
    }

    /// Adds to what RETURNING shows.
    fn keep(&mut self, shown: Shown) {
        if let Shown::Row(row, held) = shown {
            self.changed.returned.rows.push(row);
            self.changed.returned.held.take_over(held);
        }
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
pub(super) async fn commit(run: &Run<'_>, write: Write) -> Result<(), SqlError> {
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
