//! SELECT: points by get, ranges by scan, everything else on this gateway.

use std::sync::Arc;

use bytes::Bytes;
use kvstore::request::{Columns, ReadRow};

use super::overlay::Overlay;
use super::run::Run;
use super::scan;
use crate::access::Access;
use crate::catalog::TableSchema;
use crate::error::SqlError;
use crate::memory::HeldRows;
use crate::query::SelectPlan;
use crate::result::RowStream;
use crate::row_encoding;
use crate::types::Row;

/// Keys that are read together.
const KEYS_IN_STEP: usize = 2_000;

/// All rows of a query.
pub(super) async fn collect(run: &Run<'_>, select: &Arc<SelectPlan>) -> Result<Vec<Row>, SqlError> {
    stream(run, select).await?.collect().await
}

/// Runs a query.
pub(super) async fn stream(run: &Run<'_>, select: &Arc<SelectPlan>) -> Result<RowStream, SqlError> {
    let Some((table, access)) = select.stored() else {
        if select.is_quick() {
            return Ok(RowStream::held(select.run(&run.env, None)?));
        }
        let (select, env) = (select.clone(), run.env.clone());
        let rows = run.env.interrupt.compute(move || select.run(&env, None)).await?;
        return Ok(RowStream::held(rows));
    };
    // A bad LIMIT fails before anything is read.
    select.limits(&run.env)?;
    let found = match access {
        Access::Points(_) => points(run, table, access).await?,
        Access::Range { reverse, .. } => match access.span(table, &run.env)? {
            Some(span) => return scan::stream(run, select, table, span, *reverse).await,
            None => run.env.memory.rows(),
        },
    };
    if found.rows.len() <= scan::GATHERED_INLINE_MAX {
        return Ok(RowStream::held(select.over(found, &run.env, None)?));
    }
    let (select, env) = (select.clone(), run.env.clone());
    Ok(RowStream::held(run.env.interrupt.compute(move || select.over(found, &env, None)).await?))
}

/// The rows of some keys, in key order.
async fn points(run: &Run<'_>, table: &Arc<TableSchema>, access: &Access) -> Result<HeldRows, SqlError> {
    let overlay = Overlay::of(table, run.session);
    let (kv, options, token) = (&run.context.kv, run.session.read_options(), run.session.token());
    let mut rows = run.env.memory.rows();
    if let Some(target) = &run.target {
        let read = kv.get(table.id, target.key.clone(), Columns::All, &options, token).await?;
        rows.extend(row(table, &overlay, read)?)?;
        return Ok(rows);
    }
    let keys: Vec<Bytes> = access.keys(table, &run.env)?.into_iter().map(Bytes::from).collect();
    // The keys of a step are read together, and so are their values held beside the rows made of them.
    for step in keys.chunks(KEYS_IN_STEP) {
        let found = kv.multi_get(table.id, step.to_vec(), Columns::All, &options, token).await?;
        for read in found {
            rows.extend(row(table, &overlay, read)?)?;
        }
    }
    Ok(rows)
}

/// What was read as a row, the block's own write laid over it; `None` if there is no row.
fn row(table: &TableSchema, overlay: &Option<Overlay>, read: ReadRow) -> Result<Option<Row>, SqlError> {
    let stored = match overlay {
        Some(overlay) if overlay.key == read.row.key => overlay.apply(&read.row),
        _ => (!read.row.cells.is_empty()).then_some(read.row),
    };
    stored.map(|stored| row_encoding::read_row(table, &stored, &read.source)).transpose()
}
