//! INSERT, UPSERT, UPDATE and DELETE.
//!
//! A write whose effect does not depend on the row goes out at once, with a condition where the statement needs one
//! (INSERT: the row is absent; DELETE: it is present). All others read the row from the leader, compute, and write
//! on the condition that its version is still the one read; if not, they compute again with the row as it was
//! found. In a block nothing goes out: the write is kept until COMMIT, with the version it was computed from.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kvstore::request::{
    Columns, Condition, Consistency, Mutation, ReadOptions, Source, Write, WriteOutcome, Written,
};

use super::read;
use super::run::Run;
use crate::catalog::TableSchema;
use crate::error::{SqlError, sqlstate};
use crate::expression::{Env, Expr, Scope};
use crate::plan::{ChangePlan, InsertPlan, InsertSource, OnConflict, Returning};
use crate::row_encoding;
use crate::session::{Deferred, Session};
use crate::types::{Datum, Row, Value};

/// What a statement wants with one row.
enum Decision {
    /// Leave it.
    Skip,
    /// Change it; the row's values afterwards (without system columns).
    Write { mutations: Vec<Mutation>, after: Row },
}

/// Decides from the row as it is (`None`: there is none), system columns included.
type Decide<'a> = &'a (dyn Fn(Option<&Row>) -> Result<Decision, SqlError> + Send + Sync);

/// A write that needs no look at the row.
struct Blind {
    conditions: Vec<Condition>,
    mutations: Vec<Mutation>,
    after: Row,
}

/// What became of one row.
enum Outcome {
    Untouched,
    /// Its values now, system columns included.
    Changed(Row),
}

struct Writer<'a> {
    run: &'a Run<'a>,
    table: &'a Arc<TableSchema>,
    deadline: Instant,
}

impl Writer<'_> {
    /// Writes one row: `blind` first if given, else by reading it.
    async fn row(&self, key: Bytes, blind: Option<Blind>, decide: Decide<'_>) -> Result<Outcome, SqlError> {
        let session = self.run.session;
        let token = session.token();
        let (mut stored, mut source) = match blind {
            Some(blind) if !session.in_block() => {
                let write = self.write(&key, blind.conditions, blind.mutations);
                match self.run.context.kv.write(write, self.deadline, token).await? {
                    WriteOutcome::Written(written) => {
                        return Ok(Outcome::Changed(self.with_system(blind.after, &written)));
                    }
                    WriteOutcome::ConditionFailed { current, at } => (current, self.source(&at)),
                }
            }
            _ => {
                let options = ReadOptions {
                    consistency: Consistency::Strong,
                    max_staleness: None,
                    min_lsn: None,
                    deadline: self.deadline,
                };
                let get = self.run.context.kv.get(self.table.id, key.clone(), Columns::All, &options, token);
                let read = get.await?;
                (read.row, read.source)
            }
        };
        loop {
            stored.key = key.clone();
            let present = !stored.cells.is_empty();
            let row =
                if present { Some(row_encoding::read_row(self.table, &stored, &source)?) } else { None };
            let (mutations, after) = match decide(row.as_ref())? {
                Decision::Skip => {
                    if session.in_block() {
                        session.defer(Deferred { table: self.table.id, write: None });
                    }
                    return Ok(Outcome::Untouched);
                }
                Decision::Write { mutations, after } => (mutations, after),
            };
            let condition = Condition::RowVersion(stored.version());
            let write = self.write(&key, vec![condition], mutations);
            if session.in_block() {
                session.defer(Deferred { table: self.table.id, write: Some(write) });
                let mut after = after;
                after.extend([None, Some(Value::Text(source.lsn.to_string())), None, None]);
                return Ok(Outcome::Changed(after));
            }
            match self.run.context.kv.write(write, self.deadline, token).await? {
                WriteOutcome::Written(written) => {
                    return Ok(Outcome::Changed(self.with_system(after, &written)));
                }
                WriteOutcome::ConditionFailed { current, at } => {
                    if Instant::now() >= self.deadline {
                        return Err(SqlError::new(
                            sqlstate::CANCELED,
                            "canceling statement due to statement timeout",
                        )
                        .detail("Other sessions changed the row all the time; nothing was written."));
                    }
                    stored = current;
                    source = self.source(&at);
                }
            }
        }
    }

    fn write(&self, key: &Bytes, conditions: Vec<Condition>, mutations: Vec<Mutation>) -> Write {
        Write { table: self.table.id, key: key.clone(), conditions, mutations, request: None }
    }

    fn source(&self, at: &Written) -> Source {
        Source {
            range: at.range,
            replica: self.run.context.kv.node(),
            lsn: at.lsn,
            staleness: Some(Duration::ZERO),
        }
    }

    fn with_system(&self, mut row: Row, written: &Written) -> Row {
        row.truncate(self.table.columns.len());
        row.push(Some(Value::Int8(i64::try_from(written.lsn.seq).unwrap_or(i64::MAX))));
        row.push(Some(Value::Text(written.lsn.to_string())));
        row.extend([None, Some(Value::Int8(0))]);
        row
    }
}

fn returned(returning: &Option<Returning>, row: &Row, env: &Env, out: &mut Vec<Row>) -> Result<(), SqlError> {
    if let Some(returning) = returning {
        let scope = Scope { row, outer: None };
        out.push(returning.exprs.iter().map(|expr| expr.eval(&scope, env)).collect::<Result<_, _>>()?);
    }
    Ok(())
}

/// A block's writing statement may touch one key only.
fn check_single(session: &Session, keys: usize) -> Result<(), SqlError> {
    if session.in_block() && keys > 1 {
        return Err(SqlError::unsupported("a write on several keys in a transaction block").hint(
            "A block may hold any reads and one writing statement on one key. Outside of a block such a statement \
             is atomic for each row.",
        ));
    }
    Ok(())
}

/// The rows that an insert proposes.
async fn proposed(run: &Run<'_>, insert: &InsertPlan) -> Result<Vec<Row>, SqlError> {
    let full = |exprs: &[Expr], row: &[Datum]| -> Result<Row, SqlError> {
        let scope = Scope { row, outer: None };
        exprs.iter().map(|expr| expr.eval(&scope, &run.env)).collect()
    };
    match &insert.source {
        InsertSource::Rows(rows) => rows.iter().map(|exprs| full(exprs, &[])).collect(),
        InsertSource::Query { query, row } => {
            let found = read::collect(run, query).await?;
            found.iter().map(|own| full(row, own)).collect()
        }
    }
}

/// INSERT and UPSERT: rows written, and the rows of RETURNING.
pub(super) async fn insert(run: &Run<'_>, insert: &InsertPlan) -> Result<(u64, Vec<Row>), SqlError> {
    let Run { session, env, .. } = run;
    session.check_write(insert.command)?;
    let table = &insert.table;
    let proposed = proposed(run, insert).await?;
    check_single(session, proposed.len())?;
    let mut keys = Vec::with_capacity(proposed.len());
    for row in &proposed {
        row_encoding::check_not_null(table, row, |_| true)?;
        keys.push(row_encoding::row_key(table, row)?);
    }
    check_duplicates(insert, &proposed, &keys)?;
    let writer = Writer { run, table, deadline: session.deadline() };
    let blind: Vec<Option<Blind>> = proposed.iter().map(|row| blind_insert(insert, row)).collect();
    // Many independent rows go out together.
    if proposed.len() > 1
        && blind.iter().all(Option::is_some)
        && matches!(insert.on_conflict, OnConflict::Fail | OnConflict::Replace)
    {
        return insert_many(&writer, insert, proposed, keys, blind).await;
    }
    let (mut count, mut returned_rows) = (0, Vec::new());
    for ((row, key), blind) in proposed.iter().zip(keys).zip(blind) {
        let decide = |current: Option<&Row>| decide_insert(insert, row, current, env);
        if let Outcome::Changed(row) = writer.row(key, blind, &decide).await? {
            count += 1;
            returned(&insert.returning, &row, env, &mut returned_rows)?;
        }
    }
    Ok((count, returned_rows))
}

/// One statement may not propose a key twice, unless the second is to be skipped.
fn check_duplicates(insert: &InsertPlan, proposed: &[Row], keys: &[Bytes]) -> Result<(), SqlError> {
    if proposed.len() < 2 || matches!(insert.on_conflict, OnConflict::Skip) {
        return Ok(());
    }
    let mut seen = BTreeSet::new();
    for (row, key) in proposed.iter().zip(keys) {
        if !seen.insert(key) {
            return Err(match insert.on_conflict {
                OnConflict::Fail => row_encoding::unique_violation(&insert.table, row),
                _ => SqlError::new(
                    sqlstate::CARDINALITY_VIOLATION,
                    format!("{} command cannot affect row a second time", insert.command),
                )
                .hint(
                    "Ensure that no rows proposed for insertion within the same command have duplicate keys.",
                ),
            });
        }
    }
    Ok(())
}

/// The write of a proposed row without a look at what is there, where that is enough.
fn blind_insert(insert: &InsertPlan, row: &Row) -> Option<Blind> {
    let table = &insert.table;
    match &insert.on_conflict {
        OnConflict::Replace => {
            // Defaults apply to new rows only, and RETURNING shows the columns that were there.
            let unlisted = (0..table.columns.len()).filter(|at| !insert.written[*at] && !table.is_key(*at));
            let mut unlisted = unlisted.peekable();
            let depends = unlisted.peek().is_some()
                && (insert.returning.is_some() || unlisted.any(|at| table.columns[at].default.is_some()));
            (!depends).then(|| Blind {
                conditions: Vec::new(),
                mutations: replace_mutations(insert, row),
                after: row.clone(),
            })
        }
        _ => Some(Blind {
            conditions: vec![Condition::RowAbsent],
            mutations: row_encoding::insert_mutations(table, row),
            after: row.clone(),
        }),
    }
}

/// UPSERT's changes: each written column is put or deleted.
fn replace_mutations(insert: &InsertPlan, row: &Row) -> Vec<Mutation> {
    let table = &insert.table;
    let mut mutations = Vec::with_capacity(table.columns.len());
    let mut alive = false;
    for at in (0..table.columns.len()).filter(|at| insert.written[*at] && !table.is_key(*at)) {
        alive |= row[at].is_some();
        mutations.push(row_encoding::set_column(table, at, &row[at]));
    }
    if !alive {
        mutations.push(row_encoding::put_marker());
    }
    mutations
}

fn decide_insert(
    insert: &InsertPlan,
    proposed: &Row,
    current: Option<&Row>,
    env: &Env,
) -> Result<Decision, SqlError> {
    let table = &insert.table;
    let Some(current) = current else {
        return Ok(Decision::Write {
            mutations: row_encoding::insert_mutations(table, proposed),
            after: proposed.clone(),
        });
    };
    match &insert.on_conflict {
        OnConflict::Fail => Err(row_encoding::unique_violation(table, proposed)),
        OnConflict::Skip => Ok(Decision::Skip),
        OnConflict::Replace => {
            let mut after = current[..table.columns.len()].to_vec();
            for at in (0..table.columns.len()).filter(|at| insert.written[*at]) {
                after[at].clone_from(&proposed[at]);
            }
            Ok(Decision::Write { mutations: replace_mutations(insert, proposed), after })
        }
        OnConflict::Update { assignments, filter } => {
            let mut both = current.clone();
            both.extend(proposed.iter().cloned());
            both.extend([None, None, None, None]);
            let scope = Scope { row: &both, outer: None };
            if let Some(filter) = filter
                && !filter.holds(&scope, env)?
            {
                return Ok(Decision::Skip);
            }
            assign(table, current, assignments, &scope, env)
        }
    }
}

/// New values for some columns of a row that exists.
fn assign(
    table: &Arc<TableSchema>,
    current: &Row,
    assignments: &[(usize, Expr)],
    scope: &Scope<'_>,
    env: &Env,
) -> Result<Decision, SqlError> {
    let mut after = current[..table.columns.len()].to_vec();
    for (at, expr) in assignments {
        after[*at] = expr.eval(scope, env)?;
    }
    row_encoding::check_not_null(table, &after, |at| assignments.iter().any(|(own, _)| *own == at))?;
    let mut mutations: Vec<Mutation> =
        assignments.iter().map(|(at, _)| row_encoding::set_column(table, *at, &after[*at])).collect();
    if (0..table.columns.len()).all(|at| table.is_key(at) || after[at].is_none()) {
        mutations.push(row_encoding::put_marker());
    }
    Ok(Decision::Write { mutations, after })
}

async fn insert_many(
    writer: &Writer<'_>,
    insert: &InsertPlan,
    proposed: Vec<Row>,
    keys: Vec<Bytes>,
    blind: Vec<Option<Blind>>,
) -> Result<(u64, Vec<Row>), SqlError> {
    let writes = keys
        .iter()
        .zip(blind)
        .filter_map(|(key, blind)| blind.map(|blind| writer.write(key, blind.conditions, blind.mutations)))
        .collect();
    let token = writer.run.session.token();
    let outcomes = writer.run.context.kv.write_many(writes, writer.deadline, token).await;
    let (mut count, mut returned_rows) = (0, Vec::new());
    let mut failure: Option<SqlError> = None;
    for (row, outcome) in proposed.into_iter().zip(outcomes) {
        match outcome {
            Ok(WriteOutcome::Written(written)) => {
                count += 1;
                let row = writer.with_system(row, &written);
                returned(&insert.returning, &row, &writer.run.env, &mut returned_rows)?;
            }
            Ok(WriteOutcome::ConditionFailed { .. }) => {
                failure.get_or_insert_with(|| row_encoding::unique_violation(&insert.table, &row));
            }
            Err(error) => {
                failure.get_or_insert_with(|| error.into());
            }
        }
    }
    match failure {
        None => Ok((count, returned_rows)),
        // Each row is atomic by itself: what was written stays, and the client is told.
        Some(error) if count > 0 && error.hint.is_none() => Err(error.hint(format!(
            "{count} other rows of the statement were written: each row is atomic by itself."
        ))),
        Some(error) => Err(error),
    }
}

/// UPDATE and DELETE: rows changed, and the rows of RETURNING.
pub(super) async fn change(run: &Run<'_>, change: &ChangePlan) -> Result<(u64, Vec<Row>), SqlError> {
    let Run { session, env, .. } = run;
    session.check_write(change.command)?;
    let keys = change.access.keys(&change.table, env)?;
    check_single(session, keys.len())?;
    let writer = Writer { run, table: &change.table, deadline: session.deadline() };
    let blind_possible = change.filter.is_none() && change.returning.is_none();
    let (mut count, mut returned_rows) = (0, Vec::new());
    for key in keys {
        let blind = if blind_possible { blind_change(change, env)? } else { None };
        let decide = |current: Option<&Row>| decide_change(change, current, env);
        // A blind change fails only if there is no row, and then there is nothing more to do.
        let outcome = writer.row(Bytes::from(key), blind, &decide).await?;
        if let Outcome::Changed(row) = outcome {
            count += 1;
            returned(&change.returning, &row, env, &mut returned_rows)?;
        }
    }
    Ok((count, returned_rows))
}

/// A change whose new values are the same for any row.
fn blind_change(change: &ChangePlan, env: &Env) -> Result<Option<Blind>, SqlError> {
    let table = &change.table;
    let conditions = vec![Condition::RowPresent];
    let Some(assignments) = &change.assignments else {
        return Ok(Some(Blind { conditions, mutations: vec![Mutation::DeleteRow], after: Vec::new() }));
    };
    if !assignments.iter().all(|(_, expr)| expr.is_constant()) {
        return Ok(None);
    }
    let mut mutations = Vec::with_capacity(assignments.len() + 1);
    let mut emptied = true;
    for (at, expr) in assignments {
        let value = expr.eval(&Scope::EMPTY, env)?;
        if value.is_none() && table.columns[*at].not_null {
            // The error shows the whole row: go and read it.
            return Ok(None);
        }
        emptied &= value.is_none();
        mutations.push(row_encoding::set_column(table, *at, &value));
    }
    if emptied {
        // The row may be left without cells.
        mutations.push(row_encoding::put_marker());
    }
    Ok(Some(Blind { conditions, mutations, after: vec![None; table.columns.len()] }))
}

fn decide_change(change: &ChangePlan, current: Option<&Row>, env: &Env) -> Result<Decision, SqlError> {
    let Some(current) = current else { return Ok(Decision::Skip) };
    let scope = Scope { row: current, outer: None };
    if let Some(filter) = &change.filter
        && !filter.holds(&scope, env)?
    {
        return Ok(Decision::Skip);
    }
    match &change.assignments {
        // RETURNING of a DELETE shows the row as it was.
        None => Ok(Decision::Write {
            mutations: vec![Mutation::DeleteRow],
            after: current[..change.table.columns.len()].to_vec(),
        }),
        Some(assignments) => assign(&change.table, current, assignments, &scope, env),
    }
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
