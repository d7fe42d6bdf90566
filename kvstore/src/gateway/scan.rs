//! A scan: range after range, page after page, in key order or backwards.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::read::{Page, Reader};
use super::routing::Gateway;
use crate::cluster::map::RangeRoute;
use crate::error::KvError;
use crate::operation::{Mode, Operation, RangeScan};
use crate::request::{Scan, ScanBatch, key_after};

impl Gateway {
    /// All of one scan; each page is handed to `sink` until that has enough.
    pub(super) async fn scan_all(
        &self,
        scan: &Scan,
        reader: Reader<'_>,
        sink: &mpsc::Sender<Result<ScanBatch, KvError>>,
    ) -> Result<(), KvError> {
        let table = self.map.table(scan.table).await?;
        let mut ranges: Vec<&Arc<RangeRoute>> =
            table.ranges.iter().filter(|range| overlaps(range, scan)).collect();
        if scan.reverse {
            ranges.reverse();
        }
        let mut left = scan.limit;
        for range in ranges {
            let mut rest = within(range, scan, left);
            if !self.scan_range(range, &mut rest, reader, sink).await? {
                return Ok(());
            }
            left = rest.limit;
            if left == Some(0) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// What `rest` asks of one range, which afterwards says what is left of it; `false` when nobody listens any more.
    async fn scan_range(
        &self,
        range: &RangeRoute,
        rest: &mut RangeScan,
        reader: Reader<'_>,
        sink: &mpsc::Sender<Result<ScanBatch, KvError>>,
    ) -> Result<bool, KvError> {
        let (id, deadline) = (range.descriptor.id, reader.options.deadline);
        'reopened: loop {
            let first = |mode: Mode| Operation::Scan(rest.clone(), mode);
            let accept = |answer| {
                Page::of(answer).map(|page| {
                    let source = page.source;
                    (page, source)
                })
            };
            let (node, mut page) = self.read(range, reader, first, accept).await?;
            loop {
                let Page { rows, source, cursor } = page;
                rest.pass(rows.len() as u64, rows.last().map(|row| &row.key));
                if !rows.is_empty() && sink.send(Ok(ScanBatch { rows, source })).await.is_err() {
                    if let Some(cursor) = cursor {
                        // If this fails, the replica drops the cursor when it has idled for long enough.
                        let _ = self.ask(node, id, Operation::Close(cursor), deadline).await;
                    }
                    return Ok(false);
                }
                let Some(cursor) = cursor else { return Ok(true) };
                match self.ask(node, id, Operation::Next(cursor), deadline).await.map(Page::of) {
                    Ok(Ok(next)) => page = next,
                    // The open scan went with its replica: go on behind the last row with a new one.
                    Ok(Err(_)) | Err(_) => continue 'reopened,
                }
            }
        }
    }
}

/// The part of a scan that lies in a range.
fn within(range: &RangeRoute, scan: &Scan, limit: Option<u64>) -> RangeScan {
    let descriptor = &range.descriptor;
    RangeScan {
        start: scan.start.clone().max(descriptor.start.clone()),
        end: match (&scan.end, &descriptor.end) {
            (Some(a), Some(b)) => Some(a.min(b).clone()),
            (a, b) => a.clone().or(b.clone()),
        },
        reverse: scan.reverse,
        limit,
        columns: scan.columns.clone(),
    }
}

fn overlaps(range: &RangeRoute, scan: &Scan) -> bool {
    let starts_before_end = scan.end.as_ref().is_none_or(|end| range.descriptor.start < *end);
    let ends_after_start = range.descriptor.end.as_ref().is_none_or(|end| *end > scan.start);
    starts_before_end && ends_after_start
}

impl RangeScan {
    /// Takes out of what is left the rows that came, up to the last one's key.
    fn pass(&mut self, rows: u64, last: Option<&Bytes>) {
        self.limit = self.limit.map(|limit| limit.saturating_sub(rows));
        match last {
            None => {}
            Some(key) if self.reverse => self.end = Some(key.clone()),
            Some(key) => self.start = key_after(key),
        }
    }
}
