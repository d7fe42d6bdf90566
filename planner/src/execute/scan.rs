//! Scans: rows of a key range as they come, the block's own write among them.

use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use kvstore::request::{Columns, Scan};
use tokio::sync::mpsc::{self, Sender};

use super::overlay::Overlay;
use super::run::Run;
use super::scanner::{Scanner, slices};
use crate::catalog::TableSchema;
use crate::error::SqlError;
use crate::expression::Env;
use crate::interrupt::Pace;
use crate::key_encoding::KeySpan;
use crate::memory::row_bytes;
use crate::query::{Gather, SelectPlan};
use crate::result::RowStream;
use crate::types::Row;

/// Scans of at most so many rows are collected at once; longer ones stream through a task.
const INLINE_ROWS_MAX: u64 = 100;
/// So many rows are grouped and sorted on the statement's own task; more elsewhere.
pub(super) const GATHERED_INLINE_MAX: usize = 500;
/// Bytes after which rows are sent on, though the batch has more.
const SENT_BYTES: u64 = 1 << 20;
/// Batches between a scanning task and its reader.
const BATCHES_AHEAD: usize = 2;

/// Runs a query over a key range.
pub(super) async fn stream(
    run: &Run<'_>,
    select: &Arc<SelectPlan>,
    table: &Arc<TableSchema>,
    span: KeySpan,
    reverse: bool,
) -> Result<RowStream, SqlError> {
    let env = &run.env;
    let (limit, offset) = select.limits(env)?;
    let enough = limit.map(|limit| limit.saturating_add(offset));
    if enough == Some(0) {
        return Ok(RowStream::ready(Vec::new()));
    }
    let overlay = Overlay::of(table, run.session);
    let needs_all = select.needs_all();
    // Rows that the store may stop after: only if none is dropped or added behind it.
    let limit_pushed = match (&select.filter, needs_all, enough) {
        (None, false, Some(enough)) => Some(enough.saturating_add(u64::from(overlay.is_some()))),
        _ => None,
    };
    let scan = Scan {
        table: table.id,
        start: span.start.into(),
        end: span.end.map(Bytes::from),
        reverse,
        limit: limit_pushed,
        columns: Columns::All,
    };
    let (kv, options) = (&run.context.kv, run.session.read_options());
    let mut scanner = Scanner::new(kv, run.session, table, scan, overlay, options);
    if needs_all {
        let gathered = gather(&mut scanner, select, env).await?;
        if gathered.len() <= GATHERED_INLINE_MAX {
            return Ok(RowStream::held(gathered.finish(env, None)?));
        }
        let all = env.clone();
        return Ok(RowStream::held(env.interrupt.compute(move || gathered.finish(&all, None)).await?));
    }
    let mut cut = Cut { skip: offset, left: limit.unwrap_or(u64::MAX) };
    if limit_pushed.is_some_and(|limit| limit <= INLINE_ROWS_MAX) {
        let mut all = env.memory.rows();
        scanner
            .run(&env.interrupt, |batch| {
                all.extend(project(select, batch, env, &mut cut)?)?;
                Ok(cut.left > 0)
            })
            .await?;
        return Ok(RowStream::held(all));
    }
    Ok(spawn(scanner, select.clone(), env.clone(), cut))
}

/// Scans in a task of its own, which ends when the reader goes away.
fn spawn(mut scanner: Scanner, select: Arc<SelectPlan>, env: Env, mut cut: Cut) -> RowStream {
    let (sender, receiver) = mpsc::channel(BATCHES_AHEAD);
    let stretch = scanner.session.stretch();
    tokio::spawn(async move {
        let sent = tokio::select! {
            sent = send_all(&mut scanner, &select, &env, &mut cut, &sender) => sent,
            // Also while the filter keeps nothing, and nothing is sent.
            () = sender.closed() => return,
        };
        if let Err(error) = sent {
            scanner.session.fail_stretch(stretch);
            let _ = sender.send(Err(error)).await;
        }
    });
    let received = futures::stream::unfold(receiver, async |mut receiver| {
        receiver.recv().await.map(|batch| (batch, receiver))
    });
    RowStream::streaming(received.boxed())
}

/// Sends the rows of a scan as they come, until there are enough or nobody listens.
async fn send_all(
    scanner: &mut Scanner,
    select: &SelectPlan,
    env: &Env,
    cut: &mut Cut,
    sender: &Sender<Result<Vec<Row>, SqlError>>,
) -> Result<(), SqlError> {
    let (kv, session, options) = (scanner.kv.clone(), scanner.session.clone(), scanner.options.clone());
    let mut batches = kv.scan(scanner.scan.clone(), &options, session.token());
    let mut pace = Pace::new();
    while let Some(batch) = batches.next().await {
        let mut out = env.memory.rows();
        for rows in slices(scanner.rows(batch?)?) {
            pace.step(&env.interrupt).await?;
            out.extend(project(select, rows, env, cut)?)?;
            // Rows may be much larger than what they are computed from.
            if out.held.bytes() >= SENT_BYTES {
                let full = std::mem::replace(&mut out, env.memory.rows());
                if sender.send(Ok(full.rows)).await.is_err() {
                    return Ok(());
                }
            }
        }
        if !out.rows.is_empty() && sender.send(Ok(out.rows)).await.is_err() || cut.left == 0 {
            return Ok(());
        }
    }
    let rows = project(select, scanner.last()?, env, cut)?;
    if !rows.is_empty() {
        let _ = sender.send(Ok(rows)).await;
    }
    Ok(())
}

/// OFFSET and LIMIT over batches.
struct Cut {
    skip: u64,
    left: u64,
}

/// Filters and computes the rows of a batch.
fn project(select: &SelectPlan, batch: Vec<Row>, env: &Env, cut: &mut Cut) -> Result<Vec<Row>, SqlError> {
    let mut out = Vec::with_capacity(batch.len());
    let mut held = env.memory.hold();
    for row in batch {
        if cut.left == 0 {
            break;
        }
        if !select.keeps(&row, env, None)? {
            continue;
        }
        if cut.skip > 0 {
            cut.skip -= 1;
            continue;
        }
        cut.left -= 1;
        let row = select.project(&row, env, None)?;
        held.add(row_bytes(&row))?;
        out.push(row);
    }
    Ok(out)
}

/// The rows of a scan for a query that needs them all.
async fn gather(scanner: &mut Scanner, select: &Arc<SelectPlan>, env: &Env) -> Result<Gather, SqlError> {
    let mut gathered = Gather::new(select, env)?;
    scanner
        .run(&env.interrupt, |batch| {
            for row in batch {
                gathered.add(&row, env, None)?;
            }
            Ok(true)
        })
        .await?;
    Ok(gathered)
}
