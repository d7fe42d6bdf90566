//! INSERT and UPSERT.

use std::collections::HashSet;

use bytes::Bytes;
use kvstore::request::Condition;

use super::change::assign;
use super::read;
use super::run::Run;
use super::target::Target;
use super::writer::{Change, Changed, Step, Writer, check_single};
use crate::error::{SqlError, sqlstate};
use crate::expression::{Env, Expr, Scope};
use crate::interrupt::Pace;
use crate::memory::{Held, row_bytes};
use crate::plan::{InsertPlan, InsertSource, OnConflict};
use crate::query::SelectPlan;
use crate::result::RowStream;
use crate::row_encoding;
use crate::types::{Datum, Row};

/// Rows of a query that are written together, at most.
const WINDOW_ROWS_MAX: usize = 2_000;
/// Bytes of such rows, about.
const WINDOW_BYTES_MAX: u64 = 1 << 20;
/// What a key takes among those that were written, beside its bytes, about.
const SEEN_BYTES: u64 = 64;

/// Runs INSERT or UPSERT.
pub(super) async fn insert(run: &Run<'_>, insert: &InsertPlan) -> Result<Changed, SqlError> {
    run.session.check_write(insert.command)?;
    let mut writer = Writer::new(run, &insert.table, insert.returning.as_ref());
    let done = match &run.target {
        Some(Target { key, proposed: Some(row), .. }) => {
            one(run, insert, &mut writer, row, key.clone()).await
        }
        _ => Box::pin(many(run, insert, &mut writer)).await,
    };
    done.map_err(|error| writer.failed(error))?;
    Ok(writer.finish())
}

/// Inserts one row.
async fn one(
    run: &Run<'_>,
    insert: &InsertPlan,
    writer: &mut Writer<'_>,
    row: &Row,
    key: Bytes,
) -> Result<(), SqlError> {
    row_encoding::check_not_null(&insert.table, row, |_| true)?;
    let decide = |_: usize, current: Option<&Row>| decide(insert, row, current, &run.env);
    writer.one(first(insert, writer, 0, row, key), &decide).await
}

/// Inserts the rows of VALUES or of a query.
async fn many(run: &Run<'_>, insert: &InsertPlan, writer: &mut Writer<'_>) -> Result<(), SqlError> {
    let full = |exprs: &[Expr], row: &[Datum]| -> Result<Row, SqlError> {
        let scope = Scope { row, outer: None };
        exprs.iter().map(|expr| expr.eval(&scope, &run.env)).collect()
    };
    let mut rows = Window::new(run, insert, writer);
    match &insert.source {
        InsertSource::Rows(all) => {
            // Nothing is written if one of them fails.
            rows.at_end = true;
            for exprs in all {
                rows.add(full(exprs, &[])?).await?;
            }
        }
        InsertSource::Query { query, row } => {
            let mut found = read::stream(run, query).await?;
            if !is_apart(query, insert) {
                // It must not meet what the statement itself writes.
                found = RowStream::held(found.hold(&run.env.memory).await?);
            }
            while let Some(batch) = found.next().await? {
                for own in batch {
                    rows.add(full(row, &own)?).await?;
                }
            }
        }
    }
    rows.write().await
}

/// Is the query known to read no row of the table that is written?
fn is_apart(query: &SelectPlan, insert: &InsertPlan) -> bool {
    let exprs = || query.projection.iter().chain(&query.filter);
    query.stored().is_some_and(|(table, _)| table.id != insert.table.id)
        && !exprs().any(Expr::has_subquery)
        && query.grouping.is_none()
}

/// Proposed rows that are written together.
struct Window<'w, 'a> {
    run: &'w Run<'w>,
    insert: &'w InsertPlan,
    writer: &'w mut Writer<'a>,
    /// Whether all rows are proposed before the first is written.
    at_end: bool,
    rows: Vec<Row>,
    held: Held,
    /// The keys of this window; of all rows, if none may be written twice.
    seen: HashSet<Bytes>,
    seen_held: Held,
    pace: Pace,
}

impl<'w, 'a> Window<'w, 'a> {
    fn new(run: &'w Run<'w>, insert: &'w InsertPlan, writer: &'w mut Writer<'a>) -> Self {
        let memory = &run.env.memory;
        Window {
            run,
            insert,
            writer,
            at_end: run.session.in_block(),
            rows: Vec::new(),
            held: memory.hold(),
            seen: HashSet::new(),
            seen_held: memory.hold(),
            pace: Pace::new(),
        }
    }

    async fn add(&mut self, row: Row) -> Result<(), SqlError> {
        self.pace.step(&self.run.env.interrupt).await?;
        self.held.add(row_bytes(&row))?;
        self.rows.push(row);
        check_single(self.run, self.rows.len())?;
        let full = self.rows.len() >= WINDOW_ROWS_MAX || self.held.bytes() >= WINDOW_BYTES_MAX;
        if full && !self.at_end { self.write().await } else { Ok(()) }
    }

    /// Writes the rows of the window.
    async fn write(&mut self) -> Result<(), SqlError> {
        let (insert, env) = (self.insert, &self.run.env);
        let rows = std::mem::take(&mut self.rows);
        if matches!(insert.on_conflict, OnConflict::Fail | OnConflict::Skip) {
            // A key of an earlier window conflicts in the store.
            self.seen.clear();
            self.seen_held = env.memory.hold();
        }
        let mut steps = Vec::with_capacity(rows.len());
        for (item, row) in rows.iter().enumerate() {
            self.pace.step(&env.interrupt).await?;
            row_encoding::check_not_null(&insert.table, row, |_| true)?;
            let key = row_encoding::row_key(&insert.table, row)?;
            if self.is_new(&key, row)? {
                steps.push(first(insert, self.writer, item, row, key));
            }
        }
        let decide = |item: usize, current: Option<&Row>| decide(insert, &rows[item], current, env);
        self.writer.all(steps, &decide).await?;
        self.held = env.memory.hold();
        Ok(())
    }

    /// Notes the key of a row. One statement may not propose a key twice, unless the second is to be skipped.
    fn is_new(&mut self, key: &Bytes, row: &Row) -> Result<bool, SqlError> {
        self.seen_held.add(key.len() as u64 + SEEN_BYTES)?;
        if self.seen.insert(key.clone()) {
            return Ok(true);
        }
        match self.insert.on_conflict {
            OnConflict::Skip => Ok(false),
            OnConflict::Fail => Err(row_encoding::unique_violation(&self.insert.table, row)),
            OnConflict::Update { .. } | OnConflict::Replace => {
                let command = match self.insert.command {
                    "INSERT" => "ON CONFLICT DO UPDATE",
                    upsert => upsert,
                };
                let message = format!("{command} command cannot affect row a second time");
                Err(SqlError::new(sqlstate::CARDINALITY_VIOLATION, message).hint(
                    "Ensure that no rows proposed for insertion within the same command have duplicate \
                     constrained values.",
                ))
            }
        }
    }
}

/// The first try of a proposed row: written without a look at what is there, where that is enough.
fn first(insert: &InsertPlan, writer: &Writer<'_>, item: usize, row: &Row, key: Bytes) -> Step {
    let table = &insert.table;
    let (conditions, mutations) = match &insert.on_conflict {
        OnConflict::Replace => {
            // Defaults apply to new rows only, and RETURNING shows the columns that were there.
            let unlisted = (0..table.columns.len()).filter(|at| !insert.written[*at] && !table.is_key(*at));
            let mut unlisted = unlisted.peekable();
            let depends = unlisted.peek().is_some()
                && (insert.returning.is_some() || unlisted.any(|at| table.columns[at].default.is_some()));
            if depends {
                return Step::read(item, key);
            }
            (Vec::new(), row_encoding::upsert_mutations(table, row, &insert.written))
        }
        OnConflict::Fail | OnConflict::Skip | OnConflict::Update { .. } => {
            (vec![Condition::RowAbsent], row_encoding::insert_mutations(table, row))
        }
    };
    let after = if insert.returning.is_some() { row.clone() } else { Row::new() };
    writer.step(item, key, conditions, Change { mutations, after, beside: Row::new() })
}

/// What becomes of a proposed row, given the row that is there.
fn decide(
    insert: &InsertPlan,
    proposed: &Row,
    current: Option<&Row>,
    env: &Env,
) -> Result<Option<Change>, SqlError> {
    let table = &insert.table;
    let Some(current) = current else {
        let mutations = row_encoding::insert_mutations(table, proposed);
        return Ok(Some(Change { mutations, after: proposed.clone(), beside: Row::new() }));
    };
    match &insert.on_conflict {
        OnConflict::Fail => Err(row_encoding::unique_violation(table, proposed)),
        OnConflict::Skip => Ok(None),
        OnConflict::Replace => {
            let mut after = current[..table.columns.len()].to_vec();
            for at in (0..table.columns.len()).filter(|at| insert.written[*at]) {
                after[at].clone_from(&proposed[at]);
            }
            let mutations = row_encoding::upsert_mutations(table, proposed, &insert.written);
            Ok(Some(Change { mutations, after, beside: Row::new() }))
        }
        OnConflict::Update { assignments, filter } => {
            let mut both = current.clone();
            both.extend(proposed.iter().cloned());
            both.extend([None, None, None, None]);
            let scope = Scope { row: &both, outer: None };
            if let Some(filter) = filter
                && !filter.holds(&scope, env)?
            {
                return Ok(None);
            }
            assign(table, current, assignments, &scope, env).map(Some)
        }
    }
}
