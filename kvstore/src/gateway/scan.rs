//! A scan: range after range, in key order or backwards, each at one LSN. What to ask is decided by `range_scan`; here
//! it is sent and awaited.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc;
use wal::{CohortId, Reserved};

use super::range_scan::{RangeScanSteps, ScanStep};
use super::read::Reader;
use super::routing::Gateway;
use crate::cluster::route::RangeRoute;
use crate::error::KvError;
use crate::operation::{Answer, Operation, RangeScan};
use crate::request::{Scan, ScanBatch};

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
            let members = range.descriptor.nodes().collect();
            let steps = RangeScanSteps::new(members, within(range, scan, left), reader.options);
            let mut running = Running { gateway: self, range: range.descriptor.id, steps };
            if !self.scan_range(range, &mut running, reader, sink).await? {
                return Ok(());
            }
            left = running.steps.left();
            if left == Some(0) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Memory for the next page.
    async fn page_memory(
        &self,
        steps: &mut RangeScanSteps,
        step: &mut ScanStep,
    ) -> Result<Reserved, KvError> {
        loop {
            match steps.reserve(step, &self.scan_memory, Instant::now())? {
                Ok(held) => return Ok(held),
                Err(pause) => tokio::time::sleep(pause).await,
            }
        }
    }

    /// All of one range; `false` when nobody listens any more.
    async fn scan_range(
        &self,
        range: &RangeRoute,
        running: &mut Running<'_>,
        reader: Reader<'_>,
        sink: &mpsc::Sender<Result<ScanBatch, KvError>>,
    ) -> Result<bool, KvError> {
        let deadline = reader.options.deadline;
        loop {
            let mut step = running.steps.step(Instant::now())?;
            let mut held = match &mut step {
                ScanStep::Done => return Ok(true),
                ScanStep::Pause(pause) => {
                    self.metrics.retries.count();
                    tokio::time::sleep(*pause).await;
                    continue;
                }
                step => self.page_memory(&mut running.steps, step).await?,
            };
            let sent = Instant::now();
            let handed = match step {
                ScanStep::Done | ScanStep::Pause(_) => None,
                ScanStep::Open(scan, page_bytes) => {
                    let first = |mode| Operation::Scan { scan: scan.clone(), mode, page_bytes };
                    let (_, answer) = self.read(range, reader, first, source_of).await?;
                    Some(running.steps.opened(sent, answer)?)
                }
                ScanStep::Ask(node, operation) => {
                    let result = self.ask(node, running.range, operation, deadline).await;
                    running.steps.answered(sent, Instant::now(), result)?
                }
            };
            running.close_abandoned();
            if let Some(handed) = handed.filter(|handed| !handed.rows.is_empty()) {
                RangeScanSteps::hold(&handed, &mut held)?;
                let held = Some(Arc::new(held));
                let batch = ScanBatch { rows: handed.rows, source: handed.source, held };
                if sink.send(Ok(batch)).await.is_err() {
                    return Ok(false);
                }
            }
            // A scan of replicas in this process that finds nothing never waits for anything.
            tokio::task::yield_now().await;
        }
    }
}

/// The scan of a range; what it has open at replicas is closed when it ends, however it ends.
struct Running<'a> {
    gateway: &'a Gateway,
    range: CohortId,
    steps: RangeScanSteps,
}

impl Running<'_> {
    fn close_abandoned(&mut self) {
        for (node, cursor) in self.steps.abandoned() {
            self.gateway.close_scan(node, cursor);
        }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.steps.stop();
        self.close_abandoned();
    }
}

fn source_of(answer: Answer) -> Result<(Answer, crate::request::Source), KvError> {
    match &answer {
        Answer::Rows { source, .. } => {
            let source = *source;
            Ok((answer, source))
        }
        other => Err(super::routing::unexpected(other)),
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
