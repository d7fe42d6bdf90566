//! Scans: rows of a key range as they come, the block's own write among them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use kvstore::request::{Columns, Kv, Row as StoredRow, Scan, ScanBatch, Source};
use tokio::sync::mpsc::{self, Sender};
use wal::{CohortId, Lsn};

use super::overlay::Overlay;
use super::run::Run;
use crate::access::KeySpan;
use crate::catalog::TableSchema;
use crate::error::SqlError;
use crate::expression::{Env, Scope};
use crate::interrupt::{Interrupt, Pace};
use crate::memory::{HeldRows, row_bytes};
use crate::query::{Groups, SelectPlan};
use crate::result::RowStream;
use crate::row_encoding;
use crate::session::Session;
use crate::types::Row;

/// Scans of at most so many rows are collected at once; longer ones stream through a task.
const INLINE_ROWS_MAX: u64 = 100;
/// So many rows are grouped and sorted on the statement's own task; more elsewhere.
pub(super) const GATHERED_INLINE_MAX: usize = 500;
/// Rows that are filtered and computed before others may have their turn.
const SLICE_ROWS: usize = 64;
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
    let needs_all = select.grouping.is_some() || select.distinct || !select.order.is_empty();
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
    let mut scanner = Scanner::new(run, table, scan, overlay);
    if needs_all {
        let rows = gather(&mut scanner, select, env).await?;
        if rows.rows.len() <= GATHERED_INLINE_MAX {
            return Ok(RowStream::held(select.finish(rows, env, None)?));
        }
        let (select, all) = (select.clone(), env.clone());
        return Ok(RowStream::held(env.interrupt.compute(move || select.finish(rows, &all, None)).await?));
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
    let session = scanner.session.clone();
    let options = session.read_options();
    let kv = scanner.kv.clone();
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

/// Rows in parts that take less than a turn each.
fn slices(rows: Vec<Row>) -> impl Iterator<Item = Vec<Row>> {
    let mut rows = rows.into_iter();
    std::iter::from_fn(move || {
        let slice: Vec<Row> = rows.by_ref().take(SLICE_ROWS).collect();
        (!slice.is_empty()).then_some(slice)
    })
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

/// The rows of a scan for a query that needs them all: groups, or kept rows up to the limit of memory.
async fn gather(scanner: &mut Scanner, select: &SelectPlan, env: &Env) -> Result<HeldRows, SqlError> {
    let mut groups = select.grouping.as_ref().map(|grouping| Groups::new(grouping, env));
    let mut kept = env.memory.rows();
    scanner
        .run(&env.interrupt, |batch| {
            for row in batch {
                if !select.keeps(&row, env, None)? {
                    continue;
                }
                match &mut groups {
                    Some(groups) => groups.add(&Scope { row: &row, outer: None }, env)?,
                    None => kept.push(row)?,
                }
            }
            Ok(true)
        })
        .await?;
    match groups {
        Some(groups) => groups.finish(env),
        None => Ok(kept),
    }
}

/// A scan that turns batches into rows.
struct Scanner {
    kv: Arc<dyn Kv>,
    session: Session,
    table: Arc<TableSchema>,
    scan: Scan,
    overlay: Option<Overlay>,
    /// Where the last batch came from.
    source: Source,
}

impl Scanner {
    fn new(run: &Run<'_>, table: &Arc<TableSchema>, scan: Scan, overlay: Option<Overlay>) -> Scanner {
        // Stands for the first batch until it comes: a block's own row may be the only one.
        let source = Source {
            range: CohortId::default(),
            replica: run.context.kv.node(),
            lsn: Lsn::ZERO,
            staleness: Some(Duration::ZERO),
        };
        Scanner {
            kv: run.context.kv.clone(),
            session: run.session.clone(),
            table: table.clone(),
            scan,
            overlay,
            source,
        }
    }

    /// Hands the rows to `each`, some at a time, until it says to stop.
    async fn run(
        &mut self,
        interrupt: &Interrupt,
        mut each: impl FnMut(Vec<Row>) -> Result<bool, SqlError> + Send,
    ) -> Result<(), SqlError> {
        let (kv, session) = (self.kv.clone(), self.session.clone());
        let options = session.read_options();
        let mut batches = kv.scan(self.scan.clone(), &options, session.token());
        let mut pace = Pace::new();
        while let Some(batch) = batches.next().await {
            for rows in slices(self.rows(batch?)?) {
                pace.step(interrupt).await?;
                if !each(rows)? {
                    return Ok(());
                }
            }
        }
        let rows = self.last()?;
        if !rows.is_empty() {
            each(rows)?;
        }
        Ok(())
    }

    /// A batch as rows, the block's own row among them.
    fn rows(&mut self, batch: ScanBatch) -> Result<Vec<Row>, SqlError> {
        self.source = batch.source;
        let mut rows = Vec::with_capacity(batch.rows.len() + 1);
        for stored in batch.rows {
            self.lay_before(&stored.key, &mut rows)?;
            match &mut self.overlay {
                Some(overlay) if overlay.key == stored.key => {
                    overlay.seen = true;
                    if let Some(row) = overlay.apply(&stored) {
                        rows.push(row_encoding::read_row(&self.table, &row, &batch.source)?);
                    }
                }
                _ => rows.push(row_encoding::read_row(&self.table, &stored, &batch.source)?),
            }
        }
        Ok(rows)
    }

    /// The block's own row, if it comes after all others.
    fn last(&mut self) -> Result<Vec<Row>, SqlError> {
        let mut rows = Vec::new();
        self.lay(&mut rows)?;
        Ok(rows)
    }

    /// Puts the block's own new row where it belongs, if that is before `key`.
    fn lay_before(&mut self, key: &Bytes, rows: &mut Vec<Row>) -> Result<(), SqlError> {
        let comes = match &self.overlay {
            Some(overlay) if !overlay.seen => {
                if self.scan.reverse {
                    overlay.key > *key
                } else {
                    overlay.key < *key
                }
            }
            _ => false,
        };
        if comes { self.lay(rows) } else { Ok(()) }
    }

    fn lay(&mut self, rows: &mut Vec<Row>) -> Result<(), SqlError> {
        let Some(overlay) = &mut self.overlay else { return Ok(()) };
        if overlay.seen {
            return Ok(());
        }
        overlay.seen = true;
        let inside =
            overlay.key >= self.scan.start && self.scan.end.as_ref().is_none_or(|end| overlay.key < *end);
        if inside {
            let absent = StoredRow { key: overlay.key.clone(), cells: Vec::new(), version: Lsn::ZERO };
            if let Some(row) = overlay.apply(&absent) {
                rows.push(row_encoding::read_row(&self.table, &row, &self.source)?);
            }
        }
        Ok(())
    }
}
