//! A scan of the store as rows of a table, the block's own write among them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use kvstore::request::{Kv, ReadOptions, Row as StoredRow, Scan, ScanBatch, Source};
use tokio::sync::mpsc::Sender;
use wal::{CohortId, Lsn};

use super::overlay::Overlay;
use crate::catalog::TableSchema;
use crate::error::SqlError;
use crate::interrupt::{Interrupt, Pace};
use crate::memory::{HeldRows, Memory};
use crate::row_encoding;
use crate::session::Session;
use crate::types::Row;

/// Rows that are filtered and computed before others may have their turn.
const SLICE_ROWS: usize = 64;

/// Rows in parts that take less than a turn each.
pub(super) fn slices(rows: Vec<Row>) -> impl Iterator<Item = Vec<Row>> {
    let mut rows = rows.into_iter();
    std::iter::from_fn(move || {
        let slice: Vec<Row> = rows.by_ref().take(SLICE_ROWS).collect();
        (!slice.is_empty()).then_some(slice)
    })
}

/// A scan that turns batches into rows.
pub(super) struct Scanner {
    pub(super) kv: Arc<dyn Kv>,
    pub(super) session: Session,
    table: Arc<TableSchema>,
    pub(super) scan: Scan,
    overlay: Option<Overlay>,
    pub(super) options: ReadOptions,
    /// Where the last batch came from.
    source: Source,
}

impl Scanner {
    /// A scan that has not begun; `overlay` is the block's own write.
    pub(super) fn new(
        kv: &Arc<dyn Kv>,
        session: &Session,
        table: &Arc<TableSchema>,
        scan: Scan,
        overlay: Option<Overlay>,
        options: ReadOptions,
    ) -> Scanner {
        // Stands for the first batch until it comes: a block's own row may be the only one.
        let source = Source {
            range: CohortId::default(),
            replica: kv.node(),
            lsn: Lsn::ZERO,
            staleness: Some(Duration::ZERO),
        };
        Scanner {
            kv: kv.clone(),
            session: session.clone(),
            table: table.clone(),
            scan,
            overlay,
            options,
            source,
        }
    }

    /// Hands the rows to `each`, some at a time, until it says to stop.
    pub(super) async fn run(
        &mut self,
        interrupt: &Interrupt,
        mut each: impl FnMut(Vec<Row>) -> Result<bool, SqlError> + Send,
    ) -> Result<(), SqlError> {
        let (kv, session, options) = (self.kv.clone(), self.session.clone(), self.options.clone());
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

    /// Sends the rows on as they come, held on `memory`.
    pub(super) async fn batches(
        &mut self,
        interrupt: &Interrupt,
        memory: &Memory,
        sender: &Sender<Result<HeldRows, SqlError>>,
    ) -> Result<(), SqlError> {
        let (kv, session, options) = (self.kv.clone(), self.session.clone(), self.options.clone());
        let mut batches = kv.scan(self.scan.clone(), &options, session.token());
        let mut pace = Pace::new();
        let mut ended = false;
        while !ended {
            let rows = match batches.next().await {
                Some(batch) => self.rows(batch?)?,
                None => {
                    ended = true;
                    self.last()?
                }
            };
            let mut held = memory.rows();
            held.extend(rows)?;
            if !held.rows.is_empty() && sender.send(Ok(held)).await.is_err() {
                return Ok(());
            }
            pace.step(interrupt).await?;
        }
        Ok(())
    }

    /// A batch as rows, the block's own row among them.
    pub(super) fn rows(&mut self, batch: ScanBatch) -> Result<Vec<Row>, SqlError> {
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
    pub(super) fn last(&mut self) -> Result<Vec<Row>, SqlError> {
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
