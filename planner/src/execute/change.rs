//! UPDATE, DELETE and TRUNCATE.
//!
//! Rows are found by key, by a scan of one LSN for each range, or by the rows of FROM, and are written in windows while the
//! scan goes on. A row is written on the condition that it is still as it was found; if not, WHERE is asked again about the
//! row as it is now, as PostgreSQL does at READ COMMITTED. Keys do not change, so no row comes twice.

use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use kvstore::request::{Columns, Condition, Mutation, Row as StoredRow, Scan, Source};

use super::beside::Beside;
use super::run::Run;
use super::writer::{Change, Changed, Step, Writer, check_single};
use crate::access::Access;
use crate::catalog::TableSchema;
use crate::error::SqlError;
use crate::expression::{Env, Expr, Scope};
use crate::interrupt::Pace;
use crate::key_encoding::KeySpan;
use crate::memory::Held;
use crate::plan::ChangePlan;
use crate::row_encoding;
use crate::types::Row;

/// Rows that are read together by their keys.
const KEYS_IN_STEP: usize = 1_000;
/// Rows that are gathered before they are written, at most.
const WINDOW_ROWS_MAX: usize = 2_000;
/// Bytes of such rows, about.
const WINDOW_BYTES_MAX: u64 = 1 << 20;

/// Runs UPDATE or DELETE.
pub(super) async fn change(run: &Run<'_>, change: &ChangePlan) -> Result<Changed, SqlError> {
    run.session.check_write(change.command)?;
    let mut writer = Writer::new(run, &change.table, change.returning.as_ref());
    let done = match &run.target {
        Some(target) => one(run, change, &mut writer, target.key.clone()).await,
        None => Box::pin(many(run, change, &mut writer)).await,
    };
    done.map_err(|error| writer.failed(error))?;
    Ok(writer.finish())
}

/// Runs TRUNCATE: every row that is there when it starts is deleted.
pub(super) async fn truncate(run: &Run<'_>, tables: &[ChangePlan]) -> Result<(), SqlError> {
    for table in tables {
        change(run, table).await?;
    }
    Ok(())
}

/// Changes the row of a key.
async fn one(
    run: &Run<'_>,
    change: &ChangePlan,
    writer: &mut Writer<'_>,
    key: Bytes,
) -> Result<(), SqlError> {
    let blind = blind(change, &run.env)?;
    let decide = |_: usize, current: Option<&Row>| match current {
        Some(current) => decide(change, current, &Row::new(), &run.env),
        None => Ok(None),
    };
    writer.one(first(writer, blind.as_deref(), 0, key), &decide).await
}

/// The first try of a row that nothing is known of. A blind change fails only if there is no row, and then there is
/// nothing more to do.
fn first(writer: &Writer<'_>, blind: Option<&[Mutation]>, item: usize, key: Bytes) -> Step {
    match blind {
        None => Step::read(item, key),
        Some(mutations) => {
            let change = Change { mutations: mutations.to_vec(), after: Row::new(), beside: Row::new() };
            writer.step(item, key, vec![Condition::RowPresent], change)
        }
    }
}

/// The write of a change whose new values are the same for any row.
fn blind(change: &ChangePlan, env: &Env) -> Result<Option<Vec<Mutation>>, SqlError> {
    if !change.same_for_all_rows {
        return Ok(None);
    }
    let table = &change.table;
    let Some(assignments) = &change.assignments else { return Ok(Some(vec![Mutation::DeleteRow])) };
    let mut values = Vec::with_capacity(assignments.len());
    for (at, expr) in assignments {
        let value = expr.eval(&Scope::EMPTY, env)?;
        if value.is_none() && table.columns[*at].not_null {
            // The error shows the whole row: go and read it.
            return Ok(None);
        }
        values.push((*at, value));
    }
    let values = values.iter().map(|(at, value)| (*at, value));
    Ok(Some(row_encoding::set_columns(table, values, false)))
}

/// What becomes of a row; `beside` is the row of FROM.
fn decide(change: &ChangePlan, current: &Row, beside: &Row, env: &Env) -> Result<Option<Change>, SqlError> {
    let joined;
    let row = if beside.is_empty() {
        current
    } else {
        joined = [current.as_slice(), beside].concat();
        &joined
    };
    let scope = Scope { row, outer: None };
    if let Some(filter) = &change.filter
        && !filter.holds(&scope, env)?
    {
        return Ok(None);
    }
    let changed = match &change.assignments {
        // RETURNING of a DELETE shows the row as it was.
        None => Change {
            mutations: vec![Mutation::DeleteRow],
            after: current[..change.table.columns.len()].to_vec(),
            beside: Row::new(),
        },
        Some(assignments) => assign(&change.table, current, assignments, &scope, env)?,
    };
    let beside = if change.returning.is_some() { beside.clone() } else { Row::new() };
    Ok(Some(Change { beside, ..changed }))
}

/// New values for some columns of a row that exists. 0A000 if its key would be another one.
pub(super) fn assign(
    table: &Arc<TableSchema>,
    current: &Row,
    assignments: &[(usize, Expr)],
    scope: &Scope<'_>,
    env: &Env,
) -> Result<Change, SqlError> {
    let mut after = current[..table.columns.len()].to_vec();
    for (at, expr) in assignments {
        after[*at] = expr.eval(scope, env)?;
    }
    let assigned = |at: usize| assignments.iter().any(|(own, _)| *own == at);
    row_encoding::check_not_null(table, &after, assigned)?;
    if table.key.iter().any(|at| assigned(*at)) {
        if row_encoding::row_key(table, &after)? != row_encoding::row_key(table, current)? {
            return Err(SqlError::unsupported("changing a column of the primary key")
                .hint("Delete the row and insert it under its new key."));
        }
        table.key.iter().for_each(|at| after[*at].clone_from(&current[*at]));
    }
    let alive = (0..table.columns.len()).any(|at| !table.is_key(at) && after[at].is_some());
    let stored = assignments.iter().filter(|(at, _)| !table.is_key(*at)).map(|(at, _)| (*at, &after[*at]));
    let mut mutations = row_encoding::set_columns(table, stored, alive);
    if mutations.is_empty() {
        // Nothing is stored, but the row must still be there, and counts as changed.
        mutations = row_encoding::set_columns(table, std::iter::empty(), false);
    }
    Ok(Change { mutations, after, beside: Row::new() })
}

/// Changes the rows that an access finds, or the rows of FROM.
async fn many(run: &Run<'_>, change: &ChangePlan, writer: &mut Writer<'_>) -> Result<(), SqlError> {
    let beside = match &change.from {
        None => Beside::Nothing,
        Some(from) => Beside::gather(run, &change.table, from).await?,
    };
    let keys = match (&beside, &change.access) {
        (Beside::ByKey(_), _) => Some(beside.keys()),
        (_, Access::Points(_)) => {
            let keys = change.access.keys(&change.table, &run.env)?;
            Some(keys.into_iter().map(Bytes::from).collect())
        }
        _ => None,
    };
    let mut rows = Window::new(run, change, writer, beside);
    match keys {
        Some(keys) => rows.by_key(keys).await?,
        None => {
            if let Some(span) = change.access.span(&change.table, &run.env)? {
                rows.by_scan(span).await?;
            }
        }
    }
    rows.write().await
}

/// Rows that were found, and are written together.
struct Window<'w, 'a> {
    run: &'w Run<'w>,
    change: &'w ChangePlan,
    writer: &'w mut Writer<'a>,
    beside: Beside,
    /// Whether all rows are decided before the first is written: a subquery must not see what the statement has done, and
    /// in a block there may be one row only.
    at_end: bool,
    steps: Vec<Step>,
    held: Held,
    pace: Pace,
}

impl<'w, 'a> Window<'w, 'a> {
    fn new(run: &'w Run<'w>, change: &'w ChangePlan, writer: &'w mut Writer<'a>, beside: Beside) -> Self {
        let at_end = change.has_subquery || run.session.in_block();
        let held = run.env.memory.hold();
        Window { run, change, writer, beside, at_end, steps: Vec::new(), held, pace: Pace::new() }
    }

    /// The rows of some keys.
    async fn by_key(&mut self, keys: Vec<Bytes>) -> Result<(), SqlError> {
        let (kv, token, table) = (&self.run.context.kv, self.run.session.token(), self.change.table.id);
        if let (Some(mutations), Beside::Nothing) = (blind(self.change, &self.run.env)?, &self.beside) {
            for (item, key) in keys.into_iter().enumerate() {
                self.pace.step(&self.run.env.interrupt).await?;
                self.add(first(self.writer, Some(&mutations), item, key)).await?;
            }
            return Ok(());
        }
        let mut item = 0;
        for some in keys.chunks(KEYS_IN_STEP) {
            let options = self.writer.read_options();
            let found = kv.multi_get(table, some.to_vec(), Columns::All, &options, token).await?;
            for read in found {
                self.row(item, &read.row, &read.source).await?;
                item += 1;
            }
        }
        Ok(())
    }

    /// The rows of a span of keys.
    async fn by_scan(&mut self, span: KeySpan) -> Result<(), SqlError> {
        let scan = Scan {
            table: self.change.table.id,
            start: span.start.into(),
            end: span.end.map(Bytes::from),
            reverse: false,
            limit: None,
            columns: Columns::All,
        };
        let (kv, token, options) =
            (&self.run.context.kv, self.run.session.token(), self.writer.read_options());
        let mut batches = kv.scan(scan, &options, token);
        while let Some(batch) = batches.next().await {
            let batch = batch?;
            for row in &batch.rows {
                self.row(0, row, &batch.source).await?;
            }
        }
        Ok(())
    }

    /// A row as it was found.
    async fn row(&mut self, item: usize, row: &StoredRow, source: &Source) -> Result<(), SqlError> {
        self.pace.step(&self.run.env.interrupt).await?;
        if row.cells.is_empty() {
            return Ok(());
        }
        let current = row_encoding::read_row(&self.change.table, row, source)?;
        let Some(change) = self.decide(item, Some(&current))? else { return Ok(()) };
        let conditions = vec![Condition::RowVersion(row.version)];
        self.add(self.writer.step(item, row.key.clone(), conditions, change)).await
    }

    fn decide(&self, item: usize, current: Option<&Row>) -> Result<Option<Change>, SqlError> {
        decide_beside(self.change, &self.beside, item, current, &self.run.env)
    }

    async fn add(&mut self, step: Step) -> Result<(), SqlError> {
        self.held.add(step.bytes())?;
        self.steps.push(step);
        check_single(self.run, self.steps.len())?;
        let full = self.steps.len() >= WINDOW_ROWS_MAX || self.held.bytes() >= WINDOW_BYTES_MAX;
        if full && !self.at_end { self.write().await } else { Ok(()) }
    }

    /// Writes the rows of the window.
    async fn write(&mut self) -> Result<(), SqlError> {
        let steps = std::mem::take(&mut self.steps);
        let (change, beside, env) = (self.change, &self.beside, &self.run.env);
        let decide =
            move |item: usize, current: Option<&Row>| decide_beside(change, beside, item, current, env);
        self.writer.all(steps, &decide).await?;
        self.held = self.run.env.memory.hold();
        Ok(())
    }
}

/// What becomes of a row, given the rows of FROM: the first of them with which WHERE holds counts.
fn decide_beside(
    change: &ChangePlan,
    beside: &Beside,
    item: usize,
    current: Option<&Row>,
    env: &Env,
) -> Result<Option<Change>, SqlError> {
    let Some(current) = current else { return Ok(None) };
    let Some(rows) = beside.rows(item) else { return decide(change, current, &Row::new(), env) };
    for row in rows {
        env.interrupt.check()?;
        if let Some(change) = decide(change, current, row, env)? {
            return Ok(Some(change));
        }
    }
    Ok(None)
}
