//! The replicas that are open in this process, and what they answer: the near end of every request, whether it comes
//! from this node's gateway or over a peer's stream.
//!
//! A scan is read page by page at one LSN; between two pages what it reads is kept in [`OpenScans`].

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, RwLock, RwLockWriteGuard};
use std::time::Instant;

use wal::sync::{lock, read, write};
use wal::{CohortId, Lsn, NodeId};

use crate::cluster::gone::Gone;
use crate::cluster::layout::RangeDescriptor;
use crate::engine::{Engine, EngineError, Pinned};
use crate::error::KvError;
use crate::open_scans::{OpenScans, ScanLimits};
use crate::operation::{Answer, Operation, RangeScan};
use crate::replica::RangeReplica;
use crate::request::Source;

/// Rows that are looked at before other work of the node gets its turn: less than a millisecond, in memory.
const SLICE_ROWS: usize = 128;
/// No page may be larger.
const PAGE_BYTES: usize = 512 << 10;
/// The rows of a list of keys that are answered at once, if the gateway takes a part for an answer.
const ROWS_BYTES: usize = 1 << 20;

/// A range that this node is a member of.
#[derive(Clone)]
pub(crate) struct LocalRange {
    /// What the coordinator says of it.
    pub(crate) descriptor: Arc<RangeDescriptor>,
    /// Its replica, or why there is none.
    pub(crate) replica: Result<Arc<RangeReplica>, String>,
}

/// All ranges that this node is a member of, and the scans open on them.
pub(crate) struct Ranges {
    node: NodeId,
    gone: Arc<Gone>,
    ranges: RwLock<HashMap<CohortId, LocalRange>>,
    scans: Mutex<OpenScans>,
    stopped: AtomicBool,
}

impl Ranges {
    /// No range is open yet; `gone` knows those of dropped tables.
    pub(crate) fn new(node: NodeId, gone: Arc<Gone>, scans: ScanLimits) -> Ranges {
        Ranges {
            node,
            gone,
            ranges: RwLock::default(),
            scans: Mutex::new(OpenScans::new(scans)),
            stopped: AtomicBool::new(false),
        }
    }

    /// This node.
    pub(crate) fn node(&self) -> NodeId {
        self.node
    }

    /// Adds a range, open or refused.
    pub(crate) fn insert(&self, range: LocalRange) {
        self.write().insert(range.descriptor.id, range);
    }

    /// Takes a range out.
    pub(crate) fn remove(&self, range: CohortId) -> Option<LocalRange> {
        self.scans().close_range(range);
        self.write().remove(&range)
    }

    /// One range.
    pub(crate) fn find(&self, range: CohortId) -> Option<LocalRange> {
        read(&self.ranges).get(&range).cloned()
    }

    /// All ranges.
    pub(crate) fn all(&self) -> Vec<LocalRange> {
        read(&self.ranges).values().cloned().collect()
    }

    /// The open replica of a range.
    pub(crate) fn replica(&self, range: CohortId) -> Result<Arc<RangeReplica>, KvError> {
        if self.stopped.load(Ordering::Acquire) {
            return Err(KvError::ShuttingDown);
        }
        let ranges = read(&self.ranges);
        match ranges.get(&range) {
            None => Err(self.gone.table(range).map_or(KvError::RangeMoved, KvError::NoTable)),
            Some(LocalRange { replica: Ok(replica), .. }) => Ok(replica.clone()),
            Some(LocalRange { replica: Err(why), .. }) => Err(KvError::Unavailable(why.clone())),
        }
    }

    /// Nothing is answered from now on, and nothing is held any more.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.write().clear();
        self.scans().clear();
    }

    /// Asks the replica here.
    pub(crate) async fn execute(
        &self,
        range: CohortId,
        operation: Operation,
        deadline: Instant,
    ) -> Result<Answer, KvError> {
        match operation {
            Operation::Get { key, columns, mode } => {
                let replica = self.replica(range)?;
                let (row, source) = replica.read(mode, deadline, |engine| engine.get(&key, &columns)).await?;
                Ok(Answer::Row { row, source })
            }
            Operation::MultiGet { keys, columns, mode, at, partial } => {
                let replica = self.replica(range)?;
                let (pinned, source) = match at {
                    None => replica.read(mode, deadline, pin).await?,
                    Some(at) => replica.read_at(at, None, deadline).await?,
                };
                let bytes_max = if partial { ROWS_BYTES } else { usize::MAX };
                let rows = pinned.get_some(&keys, &columns, bytes_max).map_err(unreadable)?;
                Ok(Answer::Rows { rows, source, cursor: None })
            }
            Operation::Scan { scan, mode, page_bytes } => {
                let replica = self.replica(range)?;
                // Pinning fixes the LSN, so this is the moment that must be right for the mode.
                let (pinned, source) = replica.read(mode, deadline, pin).await?;
                self.page(None, pinned, source, scan, page_bytes, deadline).await
            }
            Operation::Rest { scan, at, cursor, page_bytes } => {
                self.rest(range, scan, at, cursor, page_bytes, deadline).await
            }
            Operation::Next(cursor) => {
                let open = self.scans().rest(cursor, range);
                let (at, rest) =
                    open.ok_or_else(|| KvError::Unavailable("the scan is not open here".into()))?;
                self.rest(range, rest, at, cursor, PAGE_BYTES, deadline).await
            }
            Operation::Close(cursor) => {
                self.close(cursor);
                Ok(Answer::Done)
            }
            Operation::Write(write) => self.replica(range)?.write(write, deadline).await,
            Operation::Transfer(target) => {
                let replica = self.replica(range)?;
                match tokio::time::timeout_at(deadline.into(), replica.cohort.transfer(target)).await {
                    Err(_) => {
                        Err(KvError::DeadlineExceeded("the leadership was not transferred in time".into()))
                    }
                    Ok(Err(error)) => Err(replica.refusal(error)),
                    Ok(Ok(())) => Ok(Answer::Done),
                }
            }
        }
    }

    /// A page of what is left of a scan, as of the LSN at which it began.
    async fn rest(
        &self,
        range: CohortId,
        scan: RangeScan,
        at: Lsn,
        cursor: u64,
        page_bytes: usize,
        deadline: Instant,
    ) -> Result<Answer, KvError> {
        let replica = self.replica(range)?;
        let open = self.scans().find(cursor, range, at, Instant::now());
        let cursor = open.is_some().then_some(cursor);
        let (pinned, source) = replica.read_at(at, open, deadline).await?;
        self.page(cursor, pinned, source, scan, page_bytes, deadline).await
    }

    /// Reads a page. If more follows, what it is read from is kept for the next one.
    async fn page(
        &self,
        cursor: Option<u64>,
        pinned: Pinned,
        source: Source,
        scan: RangeScan,
        page_bytes: usize,
        deadline: Instant,
    ) -> Result<Answer, KvError> {
        let mut page = pinned.page(scan, page_bytes.min(PAGE_BYTES));
        while page.advance(SLICE_ROWS).map_err(unreadable)? {
            // Whoever asked may have gone, and is then not served on.
            tokio::task::yield_now().await;
            if Instant::now() >= deadline {
                return Err(KvError::DeadlineExceeded("a page of the scan was not read in time".into()));
            }
        }
        let (rows, rest) = page.finish();
        let new = || u64::from_le_bytes(wal::random()).max(1);
        let cursor = self.scans().page_read(cursor, new, (source.range, pinned), rest, Instant::now());
        Ok(Answer::Rows { rows, source, cursor })
    }

    /// A scan needs no more pages.
    pub(crate) fn close(&self, cursor: u64) {
        self.scans().close(cursor);
    }

    /// How many scans are open here.
    pub(crate) fn open_scans(&self) -> usize {
        self.scans().count()
    }

    /// Ends scans that nobody continues, or that keep too much; called now and then.
    pub(crate) fn sweep(&self) {
        let kept = |range, pinned: &Pinned| match self.find(range).map(|local| local.replica) {
            Some(Ok(replica)) => replica.store.engine().kept_for(pinned),
            Some(Err(_)) | None => Vec::new(),
        };
        self.scans().sweep(Instant::now(), kept);
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<CohortId, LocalRange>> {
        write(&self.ranges)
    }

    fn scans(&self) -> MutexGuard<'_, OpenScans> {
        lock(&self.scans)
    }
}

fn pin(engine: &Engine) -> Result<(Pinned, Lsn), EngineError> {
    let pinned = engine.pin()?;
    let lsn = pinned.read_lsn();
    Ok((pinned, lsn))
}

fn unreadable(error: EngineError) -> KvError {
    KvError::Unavailable(error.to_string())
}
