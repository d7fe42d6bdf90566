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
use crate::query::SelectPlan;
use crate::result::RowStream;
use crate::row_encoding;
use crate::types::Row;

/// All rows of a query.
pub(super) async fn collect(run: &Run<'_>, select: &Arc<SelectPlan>) -> Result<Vec<Row>, SqlError> {
    stream(run, select).await?.collect().await
}

/// Runs a query.
pub(super) async fn stream(run: &Run<'_>, select: &Arc<SelectPlan>) -> Result<RowStream, SqlError> {
    let Some((table, access)) = select.stored() else {
        if select.input.is_small() {
            return Ok(RowStream::ready(select.run(&run.env, None)?));
        }
        let (select, env) = (select.clone(), run.env.clone());
        let rows = run.env.interrupt.compute(move || select.run(&env, None)).await?;
        return Ok(RowStream::ready(rows));
    };
    // A bad LIMIT fails before anything is read.
    select.limits(&run.env)?;
    let found = match access {
        Access::Points(_) => points(run, table, access).await?,
        Access::Range { reverse, .. } => match access.span(table, &run.env)? {
            Some(span) => return scan::stream(run, select, table, span, *reverse).await,
            None => Vec::new(),
        },
    };
    if found.len() <= scan::GATHERED_INLINE_MAX {
        return Ok(RowStream::ready(select.over(found, &run.env, None)?));
    }
    let (select, env) = (select.clone(), run.env.clone());
    Ok(RowStream::ready(run.env.interrupt.compute(move || select.over(found, &env, None)).await?))
}

/// The rows of some keys, in key order.
async fn points(run: &Run<'_>, table: &Arc<TableSchema>, access: &Access) -> Result<Vec<Row>, SqlError> {
    let overlay = Overlay::of(table, run.session);
    let (kv, options, token) = (&run.context.kv, run.session.read_options(), run.session.token());
    if let Some(target) = &run.target {
        let read = kv.get(table.id, target.key.clone(), Columns::All, &options, token).await?;
        return Ok(row(table, &overlay, read)?.into_iter().collect());
    }
    let keys: Vec<Bytes> = access.keys(table, &run.env)?.into_iter().map(Bytes::from).collect();
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let found = kv.multi_get(table.id, keys, Columns::All, &options, token).await?;
    let rows = found.into_iter().filter_map(|read| row(table, &overlay, read).transpose());
    rows.collect()
}

/// What was read as a row, the block's own write laid over it; `None` if there is no row.
fn row(table: &TableSchema, overlay: &Option<Overlay>, read: ReadRow) -> Result<Option<Row>, SqlError> {
    let stored = match overlay {
        Some(overlay) if overlay.key == read.row.key => overlay.apply(&read.row),
        _ => (!read.row.cells.is_empty()).then_some(read.row),
    };
    stored.map(|stored| row_encoding::read_row(table, &stored, &read.source)).transpose()
}
