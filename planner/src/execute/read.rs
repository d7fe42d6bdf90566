//! SELECT: points by get, ranges by scan, everything else on this gateway.

use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use kvstore::request::Columns;
use tokio::sync::Semaphore;

use super::overlay::{Overlay, row};
use super::run::Run;
use super::scan;
use crate::access::Access;
use crate::catalog::TableSchema;
use crate::error::SqlError;
use crate::expression::Env;
use crate::memory::HeldRows;
use crate::query::{Distinct, SelectPlan, SelectRows};
use crate::result::RowStream;
use crate::session::Session;
use crate::types::Row;

/// Keys that are read together.
const KEYS_IN_STEP: usize = 2_000;

/// Rows of a computed query that are given together, ..
const BATCH_ROWS: usize = 1_000;
/// .. unless they take more bytes.
const BATCH_BYTES: u64 = 1 << 20;
/// Queries that may keep a thread each while they wait for the store. There are threads for more, which the store needs.
static READING: Semaphore = Semaphore::const_new(256);

/// All rows of a query.
pub(super) async fn collect(run: &Run<'_>, select: &Arc<SelectPlan>) -> Result<Vec<Row>, SqlError> {
    stream(run, select).await?.collect().await
}

/// Runs a query.
pub(super) async fn stream(run: &Run<'_>, select: &Arc<SelectPlan>) -> Result<RowStream, SqlError> {
    let Some((table, access)) = select.stored().filter(|_| select.distinct != Distinct::Rows) else {
        if select.is_quick() {
            return Ok(RowStream::held(SelectRows::new(select).collect(&run.env)?));
        }
        return computed(run, SelectRows::new(select), select.tables > 0).await;
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
    let few = found.rows.len() <= scan::GATHERED_INLINE_MAX;
    let rows = SelectRows::over(select, found);
    if few { Ok(RowStream::held(rows.collect(&run.env)?)) } else { computed(run, rows, false).await }
}

/// A query whose rows are computed on threads that may wait, batch after batch as they are asked for.
struct Computed {
    rows: SelectRows,
    env: Env,
    session: Session,
    stretch: Option<u64>,
    /// Does it read stored tables on the way?
    reads: bool,
}

async fn computed(run: &Run<'_>, rows: SelectRows, reads: bool) -> Result<RowStream, SqlError> {
    let (session, env) = (run.session.clone(), run.env.clone());
    let query = Computed { rows, env, stretch: session.stretch(), session, reads };
    let (first, query) = query.batch().await?;
    let Some(query) = query else { return Ok(RowStream::held(first)) };
    let rest = futures::stream::unfold(Some(query), async |query: Option<Computed>| {
        let query = query?;
        let (session, stretch) = (query.session.clone(), query.stretch);
        Some(match query.batch().await {
            Ok((batch, query)) => (Ok(batch.rows), query),
            Err(error) => {
                session.fail_stretch(stretch);
                (Err(error), None)
            }
        })
    });
    let first = futures::stream::once(async move { Ok(first.rows) });
    Ok(RowStream::streaming(first.chain(rest).boxed()))
}

impl Computed {
    /// The next rows, and the query if there may be more.
    async fn batch(mut self) -> Result<(HeldRows, Option<Computed>), SqlError> {
        // The semaphore is never closed.
        let permit = match self.reads {
            true => Some(READING.acquire().await.map_err(|_| SqlError::internal("no more readers"))?),
            false => None,
        };
        let interrupt = self.env.interrupt.clone();
        let work = move || {
            let _permit = permit;
            let mut batch = self.env.memory.rows();
            while batch.rows.len() < BATCH_ROWS && batch.held.bytes() < BATCH_BYTES {
                match self.rows.next(&self.env, None)? {
                    Some(row) => batch.push(row)?,
                    None => return Ok((batch, None)),
                }
            }
            Ok((batch, Some(self)))
        };
        interrupt.compute(work).await
    }
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
