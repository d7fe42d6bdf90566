//! EXPLAIN: how a statement reaches its rows, which ranges hold them, who leads those, and who would answer now.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use kvstore::request::{Columns, Consistency, RangeInfo, ReadOptions};

use super::explain_access::{access_line, key_text};
use super::explain_query::Steps;
use super::run::Run;
use super::target::Target;
use super::{change, insert, read};
use crate::catalog::TableSchema;
use crate::error::SqlError;
use crate::key_encoding::KeySpan;
use crate::plan::{ChangeFrom, ChangePlan, InsertPlan, InsertSource, OnConflict, Plan};
use crate::query::SelectPlan;

/// Ranges listed at most.
const RANGES_MAX: usize = 8;

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
        if select.tables > 0 {
            lines.push(format!("  Consistency: {}", run.session.show("consistency")?));
            let mut steps = Vec::new();
            Steps::new(&run.env, &mut steps).select(select)?;
            lines.extend(steps.into_iter().map(|step| format!("  {step}")));
        }
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
