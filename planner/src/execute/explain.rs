//! EXPLAIN: how a statement reaches its rows, which ranges hold them, who leads those, and who would answer now.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use kvstore::request::{Columns, Consistency, RangeInfo, ReadOptions};

use super::run::Run;
use super::target::Target;
use super::{change, insert, read};
use crate::access::{Access, Bound, KeySpan};
use crate::catalog::TableSchema;
use crate::error::SqlError;
use crate::expression::{Env, Expr, Scope};
use crate::key_encoding;
use crate::plan::{ChangeFrom, ChangePlan, InsertPlan, InsertSource, OnConflict, Plan};
use crate::query::SelectPlan;

/// Ranges listed at most.
const RANGES_MAX: usize = 8;

/// A key as values, for people.
fn key_text(table: &TableSchema, key: &[u8]) -> String {
    let mut rest = key;
    let mut values = Vec::new();
    for at in &table.key {
        if rest.is_empty() {
            break;
        }
        match key_encoding::decode(&table.columns[*at].ty, &mut rest) {
            Some(value) => values.push(value.to_string_text()),
            None => {
                values.push("..".into());
                break;
            }
        }
    }
    format!("({})", values.join(", "))
}

fn node(id: Option<wal::NodeId>) -> String {
    id.map_or_else(|| "unknown".into(), |id| id.to_string())
}

/// The lines about the ranges that hold some keys, and the replica that answers for the first.
async fn ranges(
    run: &Run<'_>,
    table: &Arc<TableSchema>,
    span: &KeySpan,
    reads: bool,
    lines: &mut Vec<String>,
) -> Result<(), SqlError> {
    let all = run.context.kv.ranges(table.id).await?;
    let holds = |range: &&RangeInfo| {
        range.end.as_ref().is_none_or(|end| span.start < *end)
            && span.end.as_ref().is_none_or(|end| range.start < *end)
    };
    let touched: Vec<&RangeInfo> = all.iter().filter(holds).collect();
    lines.push(format!("  Ranges: {} of {}", touched.len(), all.len()));
    for range in touched.iter().take(RANGES_MAX) {
        let start = if range.start.is_empty() { "start".into() } else { key_text(table, &range.start) };
        let end = range.end.as_ref().map_or("end".into(), |end| key_text(table, end));
        let members: Vec<String> = range.members.iter().map(ToString::to_string).collect();
        lines.push(format!(
            "  Range: {} from {start} to {end}  Leader: {}  Members: {}",
            range.id,
            node(range.leader),
            members.join(", ")
        ));
    }
    if touched.len() > RANGES_MAX {
        lines.push(format!("  .. and {} more", touched.len() - RANGES_MAX));
    }
    let mut options = run.session.read_options();
    if !reads {
        options = ReadOptions { consistency: Consistency::Strong, max_staleness: None, ..options };
    }
    let token = run.session.token();
    let key = Bytes::from(span.start.clone());
    // An empty key stands for the table's start.
    let probe = run.context.kv.get(table.id, key, Columns::All, &options, token).await;
    lines.push(match probe {
        Ok(read) => format!(
            "  Replica: {}  LSN: {}  Staleness: {}",
            read.source.replica,
            read.source.lsn,
            read.source.staleness.map_or("unknown".into(), |age| format!("{} ms", age.as_millis()))
        ),
        Err(error) => format!("  Replica: none ({error})"),
    });
    Ok(())
}

async fn select_lines(
    run: &Run<'_>,
    select: &Arc<SelectPlan>,
    lines: &mut Vec<String>,
) -> Result<(), SqlError> {
    let Some((table, access)) = select.stored() else {
        lines.push("Result (evaluated on this gateway)".into());
        return Ok(());
    };
    let (what, span) = access_line(table, access, &run.env)?;
    lines.push(format!("{what} on {}", table.name));
    lines.push(format!("  Consistency: {}", run.session.show("consistency")?));
    if select.filter.is_some() {
        lines.push("  Filter: on this gateway".into());
    }
    if select.grouping.is_some() {
        lines.push("  Aggregate: on this gateway".into());
    }
    if !select.order.is_empty() {
        lines.push("  Sort: in memory (the order is not the key's)".into());
    }
    if let (Some(limit), offset) = select.limits(&run.env)? {
        lines.push(format!("  Limit: {limit}  Offset: {offset}"));
    }
    match span {
        Some(span) => ranges(run, table, &span, true, lines).await,
        None => Ok(()),
    }
}

fn access_line(
    table: &Arc<TableSchema>,
    access: &Access,
    env: &Env,
) -> Result<(String, Option<KeySpan>), SqlError> {
    if access.is_points() {
        let keys = access.keys(table, env)?;
        let span = keys.first().zip(keys.last()).map(|(first, last)| KeySpan::between(first, last));
        return Ok(match keys.as_slice() {
            [] => ("Nothing to read".into(), None),
            [key] => (format!("Point read of {}", key_text(table, key)), span),
            keys => (format!("Point reads of {} keys", keys.len()), span),
        });
    }
    let Access::Range { prefix, lower, upper, reverse } = access else {
        return Err(SqlError::internal("an access of no kind"));
    };
    let backwards = if *reverse { ", backwards" } else { "" };
    Ok(match access.span(table, env)? {
        None => ("Nothing to read".into(), None),
        Some(span) if prefix.is_empty() && lower.is_none() && upper.is_none() => {
            (format!("Table scan{backwards}"), Some(span))
        }
        Some(span) => {
            let conditions = conditions(table, prefix, lower, upper, env)?;
            (format!("Range scan of {conditions}{backwards}"), Some(span))
        }
    })
}

/// What a range is made of, as conditions on the key's columns.
fn conditions(
    table: &TableSchema,
    prefix: &[Expr],
    lower: &Option<Bound>,
    upper: &Option<Bound>,
    env: &Env,
) -> Result<String, SqlError> {
    let shown = |expr: &Expr| -> Result<String, SqlError> {
        Ok(expr.eval(&Scope::EMPTY, env)?.map_or("NULL".into(), |value| value.to_string_text()))
    };
    let name = |nth: usize| table.key.get(nth).map_or("", |at| table.columns[*at].name.as_str());
    let mut parts = Vec::new();
    for (nth, expr) in prefix.iter().enumerate() {
        parts.push(format!("{} = {}", name(nth), shown(expr)?));
    }
    for (bound, sign) in [(lower, ">"), (upper, "<")] {
        if let Some(bound) = bound {
            let equal = if bound.inclusive { "=" } else { "" };
            parts.push(format!("{} {sign}{equal} {}", name(prefix.len()), shown(&bound.value)?));
        }
    }
    Ok(parts.join(", "))
}

/// The lines of EXPLAIN. ANALYZE also executes.
pub(super) async fn explain(run: &Run<'_>, plan: &Plan, analyze: bool) -> Result<Vec<String>, SqlError> {
    let mut lines = Vec::new();
    match plan {
        Plan::Select(select) => select_lines(run, select, &mut lines).await?,
        Plan::Insert(insert) => insert_lines(run, plan, insert, &mut lines).await?,
        Plan::Change(change) => change_lines(run, change, &mut lines).await?,
        _ => return Err(SqlError::internal("a plan that is not explained")),
    }
    if analyze {
        let started = Instant::now();
        let count = match plan {
            Plan::Select(select) => read::collect(run, select).await?.len() as u64,
            Plan::Insert(insert) => insert::insert(run, insert).await?.count,
            Plan::Change(change) => change::change(run, change).await?.count,
            _ => 0,
        };
        lines.push(format!("  Actual rows: {count}"));
        lines.push(format!("  Execution time: {:.3} ms", started.elapsed().as_secs_f64() * 1e3));
    }
    Ok(lines)
}

async fn insert_lines(
    run: &Run<'_>,
    plan: &Plan,
    insert: &InsertPlan,
    lines: &mut Vec<String>,
) -> Result<(), SqlError> {
    let how = match insert.on_conflict {
        OnConflict::Fail => "Insert: conditional put, the row must be absent",
        OnConflict::Skip => "Insert: conditional put, a row that exists is left",
        OnConflict::Update { .. } => "Insert: conditional put, a row that exists is updated by its version",
        OnConflict::Replace => "Upsert: put",
    };
    lines.push(format!("{how} on {}", insert.table.name));
    match &insert.source {
        InsertSource::Rows(source) => lines.push(format!("  Rows: {}", source.len())),
        InsertSource::Query { query, .. } => {
            lines.push("  Rows of:".into());
            let mut inner = Vec::new();
            select_lines(run, query, &mut inner).await?;
            lines.extend(inner.into_iter().map(|line| format!("    {line}")));
        }
    }
    match Target::of(plan, &run.env) {
        Some(target) => {
            let span = KeySpan::between(&target.key, &target.key);
            ranges(run, &insert.table, &span, false, lines).await
        }
        None => Ok(()),
    }
}

async fn change_lines(run: &Run<'_>, change: &ChangePlan, lines: &mut Vec<String>) -> Result<(), SqlError> {
    let verb = if change.assignments.is_some() { "Update" } else { "Delete" };
    let (what, span) = access_line(&change.table, &change.access, &run.env)?;
    let (what, span) = match &change.from {
        None => (what.to_lowercase(), span),
        Some(ChangeFrom { key: Some(_), .. }) => ("point reads by the keys of FROM".into(), None),
        Some(ChangeFrom { key: None, .. }) => (format!("{}, joined to FROM", what.to_lowercase()), span),
    };
    lines.push(format!("{verb} on {}: {what}", change.table.name));
    if change.filter.is_some() {
        lines.push("  Filter: on this gateway".into());
    }
    if let Some(ChangeFrom { source, .. }) = &change.from {
        lines.push("  FROM:".into());
        let mut inner = Vec::new();
        select_lines(run, source, &mut inner).await?;
        lines.extend(inner.into_iter().map(|line| format!("    {line}")));
    }
    match span {
        Some(span) => ranges(run, &change.table, &span, false, lines).await,
        None => Ok(()),
    }
}
