//! UPDATE and DELETE.

use std::sync::Arc;

use bytes::Bytes;
use kvstore::request::{Condition, Mutation};

use super::run::Run;
use super::writer::{Blind, Changed, Decision, Writer, check_single};
use crate::catalog::TableSchema;
use crate::error::SqlError;
use crate::expression::{Env, Expr, Scope};
use crate::plan::ChangePlan;
use crate::row_encoding;
use crate::types::Row;

/// Runs UPDATE or DELETE.
pub(super) async fn change(run: &Run<'_>, change: &ChangePlan) -> Result<Changed, SqlError> {
    run.session.check_write(change.command)?;
    let mut writer = Writer::new(run, &change.table, change.returning.as_ref());
    if let Some(target) = &run.target {
        let done = one(run, change, &mut writer, target.key.clone()).await;
        done.map_err(|error| writer.failed(error))?;
        return Ok(writer.finish());
    }
    let keys = change.access.keys(&change.table, &run.env)?;
    check_single(run, keys.len())?;
    for key in keys {
        one(run, change, &mut writer, key.into()).await.map_err(|error| writer.failed(error))?;
    }
    Ok(writer.finish())
}

/// Changes one row.
async fn one(
    run: &Run<'_>,
    change: &ChangePlan,
    writer: &mut Writer<'_>,
    key: Bytes,
) -> Result<(), SqlError> {
    let decide = |current: Option<&Row>| decide(change, current, &run.env);
    // A blind change fails only if there is no row, and then there is nothing more to do.
    writer.row(key, blind(change, &run.env)?, &decide).await
}

/// The write of a change whose new values are the same for any row.
fn blind(change: &ChangePlan, env: &Env) -> Result<Option<Blind>, SqlError> {
    if !change.same_for_all_rows {
        return Ok(None);
    }
    let table = &change.table;
    let mutations = match &change.assignments {
        None => vec![Mutation::DeleteRow],
        Some(assignments) => {
            let mut values = Vec::with_capacity(assignments.len());
            for (at, expr) in assignments {
                let value = expr.eval(&Scope::EMPTY, env)?;
                if value.is_none() && table.columns[*at].not_null {
                    // The error shows the whole row: go and read it.
                    return Ok(None);
                }
                values.push((*at, value));
            }
            row_encoding::set_columns(table, values.iter().map(|(at, value)| (*at, value)), false)
        }
    };
    Ok(Some(Blind { conditions: vec![Condition::RowPresent], mutations, after: Row::new() }))
}

/// What becomes of a row.
fn decide(change: &ChangePlan, current: Option<&Row>, env: &Env) -> Result<Decision, SqlError> {
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

/// New values for some columns of a row that exists.
pub(super) fn assign(
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
    let alive = (0..table.columns.len()).any(|at| !table.is_key(at) && after[at].is_some());
    let assigned = assignments.iter().map(|(at, _)| (*at, &after[*at]));
    Ok(Decision::Write { mutations: row_encoding::set_columns(table, assigned, alive), after })
}
