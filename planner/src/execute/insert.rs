//! INSERT and UPSERT.

use std::collections::BTreeSet;

use bytes::Bytes;
use kvstore::request::{Condition, Mutation};

use super::change::assign;
use super::read;
use super::run::Run;
use super::target::Target;
use super::writer::{Blind, Changed, Decision, Writer, check_single};
use crate::error::{SqlError, sqlstate};
use crate::expression::{Env, Expr, Scope};
use crate::plan::{InsertPlan, InsertSource, OnConflict};
use crate::row_encoding;
use crate::types::{Datum, Row};

/// Runs INSERT or UPSERT.
pub(super) async fn insert(run: &Run<'_>, insert: &InsertPlan) -> Result<Changed, SqlError> {
    run.session.check_write(insert.command)?;
    let writer = || Writer::new(run, &insert.table, insert.returning.as_ref());
    if let Some(Target { key, proposed: Some(row), .. }) = &run.target {
        row_encoding::check_not_null(&insert.table, row, |_| true)?;
        let mut writer = writer();
        let done = one(run, insert, &mut writer, row, key.clone(), blind(insert, row)).await;
        done.map_err(|error| writer.failed(error))?;
        return Ok(writer.finish());
    }
    let rows = proposed(run, insert).await?;
    check_single(run, rows.len())?;
    let mut keys = Vec::with_capacity(rows.len());
    for row in &rows {
        row_encoding::check_not_null(&insert.table, row, |_| true)?;
        keys.push(row_encoding::row_key(&insert.table, row)?);
    }
    check_duplicates(insert, &rows, &keys)?;
    let mut writer = writer();
    let blinds: Vec<Option<Blind>> = rows.iter().map(|row| blind(insert, row)).collect();
    // Many independent rows go out together.
    if rows.len() > 1
        && blinds.iter().all(Option::is_some)
        && matches!(insert.on_conflict, OnConflict::Fail | OnConflict::Replace)
    {
        let conflict = |at: usize| row_encoding::unique_violation(&insert.table, &rows[at]);
        let sent = writer.independent_rows(keys, blinds.into_iter().flatten().collect(), conflict).await;
        sent.map_err(|error| writer.failed(error))?;
    } else {
        for ((row, key), blind) in rows.iter().zip(keys).zip(blinds) {
            let done = one(run, insert, &mut writer, row, key, blind).await;
            done.map_err(|error| writer.failed(error))?;
        }
    }
    Ok(writer.finish())
}

/// Inserts one row.
async fn one(
    run: &Run<'_>,
    insert: &InsertPlan,
    writer: &mut Writer<'_>,
    row: &Row,
    key: Bytes,
    blind: Option<Blind>,
) -> Result<(), SqlError> {
    let decide = |current: Option<&Row>| decide(insert, row, current, &run.env);
    writer.row(key, blind, &decide).await
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
fn blind(insert: &InsertPlan, row: &Row) -> Option<Blind> {
    let table = &insert.table;
    let (conditions, mutations) = match &insert.on_conflict {
        OnConflict::Replace => {
            // Defaults apply to new rows only, and RETURNING shows the columns that were there.
            let unlisted = (0..table.columns.len()).filter(|at| !insert.written[*at] && !table.is_key(*at));
            let mut unlisted = unlisted.peekable();
            let depends = unlisted.peek().is_some()
                && (insert.returning.is_some() || unlisted.any(|at| table.columns[at].default.is_some()));
            if depends {
                return None;
            }
            (Vec::new(), replace(insert, row))
        }
        OnConflict::Fail | OnConflict::Skip | OnConflict::Update { .. } => {
            (vec![Condition::RowAbsent], row_encoding::insert_mutations(table, row))
        }
    };
    let after = if insert.returning.is_some() { row.clone() } else { Row::new() };
    Some(Blind { conditions, mutations, after })
}

/// UPSERT's changes: each written column is put or deleted.
fn replace(insert: &InsertPlan, row: &Row) -> Vec<Mutation> {
    let table = &insert.table;
    let written = (0..table.columns.len()).filter(|at| insert.written[*at] && !table.is_key(*at));
    row_encoding::set_columns(table, written.map(|at| (at, &row[at])), false)
}

/// What becomes of a proposed row, given the row that is there.
fn decide(
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
            Ok(Decision::Write { mutations: replace(insert, proposed), after })
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
