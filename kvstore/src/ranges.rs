//! The replicas that are open in this process, and what they answer: the near end of every request, whether it comes
//! from this node's gateway or over a peer's stream.
//!
//! A scan is read page by page at one LSN. The open scan waits here under a cursor number between two
//! pages; whoever stops asking loses it after [`CURSOR_IDLE`].

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, RwLock, RwLockWriteGuard};
use std::time::{Duration, Instant};

use wal::sync::{lock, read, write};
use wal::{CohortId, NodeId};

use crate::cluster::gone::Gone;
use crate::cluster::layout::RangeDescriptor;
use crate::engine::ScanIter;
use crate::error::KvError;
use crate::operation::{Answer, Mode, Operation, RangeScan};
use crate::replica::RangeReplica;
use crate::request::{Row, Source};

/// A page of a scan ends after so many bytes or rows.
const PAGE_BYTES: usize = 512 << 10;
const PAGE_ROWS: usize = 1024;
/// A cursor that was not used for so long is dropped.
const CURSOR_IDLE: Duration = Duration::from_secs(60);
/// Open cursors of one node; over it scans are refused as overload.
const CURSORS_MAX: usize = 4096;

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
    cursors: Mutex<Cursors>,
    stopped: AtomicBool,
}

#[derive(Default)]
struct Cursors {
    next: u64,
    open: HashMap<u64, Cursor>,
}

struct Cursor {
    rows: ScanIter,
    left: Option<u64>,
    source: Source,
    used: Instant,
}

impl Ranges {
    /// No range is open yet; `gone` knows those of dropped tables.
    pub(crate) fn new(node: NodeId, gone: Arc<Gone>) -> Ranges {
        Ranges {
            node,
            gone,
            ranges: RwLock::default(),
            cursors: Mutex::default(),
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
        self.lock_cursors().open.clear();
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
            Operation::MultiGet { keys, columns, mode } => {
                let replica = self.replica(range)?;
                let read = |engine: &crate::engine::Engine| engine.get_all(&keys, &columns);
                let (rows, source) = replica.read(mode, deadline, read).await?;
                Ok(Answer::Rows { rows, source, cursor: None })
            }
            Operation::Scan(scan, mode) => self.scan(range, scan, mode, deadline).await,
            Operation::Next(cursor) => {
                let cursor = self.lock_cursors().open.remove(&cursor).ok_or(KvError::RangeMoved)?;
                self.page(cursor)
            }
            Operation::Close(cursor) => {
                self.lock_cursors().open.remove(&cursor);
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

    async fn scan(
        &self,
        range: CohortId,
        scan: RangeScan,
        mode: Mode,
        deadline: Instant,
    ) -> Result<Answer, KvError> {
        let replica = self.replica(range)?;
        // Opening the iterator fixes its LSN, so this is the moment that must be right for the mode.
        let open = |engine: &crate::engine::Engine| {
            let rows = engine.scan(&scan.start, scan.end.as_deref(), scan.reverse, &scan.columns)?;
            let lsn = rows.read_lsn();
            Ok((rows, lsn))
        };
        let (rows, source) = replica.read(mode, deadline, open).await?;
        self.page(Cursor { rows, left: scan.limit, source, used: Instant::now() })
    }

    /// The next page, and the cursor put aside for the one after it.
    fn page(&self, mut cursor: Cursor) -> Result<Answer, KvError> {
        let (mut rows, mut bytes, mut more) = (Vec::new(), 0, true);
        while bytes < PAGE_BYTES && rows.len() < PAGE_ROWS {
            if cursor.left == Some(0) {
                more = false;
                break;
            }
            match cursor.rows.next() {
                None => {
                    more = false;
                    break;
                }
                Some(Err(error)) => return Err(KvError::Unavailable(error.to_string())),
                Some(Ok(row)) => {
                    bytes += row_bytes(&row);
                    rows.push(row);
                    cursor.left = cursor.left.map(|left| left - 1);
                }
            }
        }
        let source = cursor.source;
        let cursor = if more && cursor.left != Some(0) { Some(self.put_aside(cursor)?) } else { None };
        Ok(Answer::Rows { rows, source, cursor })
    }

    fn put_aside(&self, mut cursor: Cursor) -> Result<u64, KvError> {
        let now = Instant::now();
        cursor.used = now;
        let mut cursors = self.lock_cursors();
        if cursors.open.len() >= CURSORS_MAX / 2 {
            cursors.open.retain(|_, cursor| now.duration_since(cursor.used) < CURSOR_IDLE);
        }
        if cursors.open.len() >= CURSORS_MAX {
            return Err(KvError::Overloaded("too many scans are open".into()));
        }
        cursors.next += 1;
        let number = cursors.next;
        cursors.open.insert(number, cursor);
        Ok(number)
    }

    /// Drops cursors that nobody uses; called now and then.
    pub(crate) fn sweep(&self) {
        let now = Instant::now();
        self.lock_cursors().open.retain(|_, cursor| now.duration_since(cursor.used) < CURSOR_IDLE);
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<CohortId, LocalRange>> {
        write(&self.ranges)
    }

    fn lock_cursors(&self) -> MutexGuard<'_, Cursors> {
        lock(&self.cursors)
    }
}

fn row_bytes(row: &Row) -> usize {
    row.key.len() + row.cells.iter().map(|cell| cell.column.len() + cell.value.len() + 16).sum::<usize>()
}
