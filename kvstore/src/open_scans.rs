//! The scans that are open on a node's replicas between two pages: what keeps the versions that they read. Pure: time and
//! random numbers come in with each call.
//!
//! A page request says everything itself: range, LSN, where to go on. The open scan only holds what it reads, so that
//! it can be read on after a flush. So a request that finds no open scan (another replica, another process life, idle
//! for too long) is answered all the same while the LSN is still kept, and is refused otherwise; it is never answered
//! with anything else ([scan-bound], [one-lsn]).

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use wal::{CohortId, Lsn};

use crate::engine::Pinned;
use crate::operation::{Cursor, RangeScan};

/// How many scans may be open on a node, how long, and what they may keep.
#[derive(Clone, Copy, Debug)]
pub struct ScanLimits {
    /// An open scan of which nothing was heard for so long is ended.
    pub idle_max: Duration,
    /// However much is heard of it, an open scan is ended when it is so old.
    pub age_max: Duration,
    /// Open scans of one node: over it, the one that was idle for longest is ended for a new one.
    pub open_max: usize,
    /// Memory that open scans may keep beyond what the engines need, about: over it, those that were idle for longest are
    /// ended.
    pub kept_bytes_max: u64,
}

impl Default for ScanLimits {
    fn default() -> ScanLimits {
        ScanLimits {
            idle_max: Duration::from_secs(60),
            age_max: Duration::from_secs(3600),
            open_max: 16_384,
            kept_bytes_max: 256 << 20,
        }
    }
}

/// One open scan.
struct OpenScan {
    range: CohortId,
    pinned: Pinned,
    /// For gateways of the last release, which do not say where to go on: what is left.
    rest: RangeScan,
    opened: Instant,
    used: Instant,
}

/// All open scans of a node.
pub struct OpenScans {
    limits: ScanLimits,
    open: HashMap<u64, OpenScan>,
}

impl OpenScans {
    /// None is open yet.
    pub fn new(limits: ScanLimits) -> OpenScans {
        OpenScans { limits, open: HashMap::new() }
    }

    /// A page of a scan of this range was read from `pinned`, and so much is `left`: the scan stays open for the next page,
    /// under the number that it has or a `new` one, which must be random; or it is closed, because that was all.
    pub fn page_read(
        &mut self,
        cursor: Option<u64>,
        new: impl FnOnce() -> u64,
        (range, pinned): (CohortId, Pinned),
        left: Option<(Bytes, RangeScan)>,
        now: Instant,
    ) -> Option<Cursor> {
        let Some((passed, rest)) = left else {
            cursor.into_iter().for_each(|cursor| self.close(cursor));
            return None;
        };
        let id = cursor.unwrap_or_else(new);
        self.keep(id, range, pinned, rest, now);
        Some(Cursor { id, passed: Some(passed) })
    }

    /// Opens a scan of a range under a random number, or notes how far it is.
    fn keep(&mut self, id: u64, range: CohortId, pinned: Pinned, rest: RangeScan, now: Instant) {
        if let Some(scan) = self.open.get_mut(&id).filter(|scan| scan.range == range) {
            (scan.rest, scan.used) = (rest, now);
            return;
        }
        if self.open.len() >= self.limits.open_max {
            self.sweep(now, |_, _| Vec::new());
        }
        if self.open.len() >= self.limits.open_max
            && let Some(idle) = self.longest_idle()
        {
            self.open.remove(&idle);
        }
        self.open.insert(id, OpenScan { range, pinned, rest, opened: now, used: now });
    }

    /// What an open scan of this range reads, at this LSN.
    pub fn find(&mut self, id: u64, range: CohortId, at: Lsn, now: Instant) -> Option<Pinned> {
        let scan = self.open.get_mut(&id)?;
        if scan.range != range || scan.pinned.read_lsn() != at {
            return None;
        }
        scan.used = now;
        Some(scan.pinned.clone())
    }

    /// The LSN of an open scan of this range, and what is left of it.
    pub fn rest(&self, id: u64, range: CohortId) -> Option<(Lsn, RangeScan)> {
        let scan = self.open.get(&id).filter(|scan| scan.range == range)?;
        Some((scan.pinned.read_lsn(), scan.rest.clone()))
    }

    /// A scan needs no more pages.
    pub fn close(&mut self, id: u64) {
        self.open.remove(&id);
    }

    /// The range is not on this node any more.
    pub fn close_range(&mut self, range: CohortId) {
        self.open.retain(|_, scan| scan.range != range);
    }

    /// Ends all.
    pub fn clear(&mut self) {
        self.open.clear();
    }

    /// How many are open.
    pub fn count(&self) -> usize {
        self.open.len()
    }

    /// Ends those that are idle or old, and, of those that keep too much memory, those that were idle for longest. `kept`
    /// tells which memtables (an identity and the bytes of each) are kept for a scan of a range alone.
    pub fn sweep(&mut self, now: Instant, mut kept: impl FnMut(CohortId, &Pinned) -> Vec<(usize, u64)>) {
        let limits = self.limits;
        let lives = |scan: &OpenScan| {
            now.duration_since(scan.used) < limits.idle_max
                && now.duration_since(scan.opened) < limits.age_max
        };
        self.open.retain(|_, scan| lives(scan));
        let mut newest_first: Vec<(Instant, u64)> =
            self.open.iter().map(|(id, scan)| (scan.used, *id)).collect();
        newest_first.sort_unstable_by(|a, b| b.cmp(a));
        let (mut counted, mut bytes) = (std::collections::HashSet::new(), 0);
        for (_, id) in newest_first {
            let Some(scan) = self.open.get(&id) else { continue };
            let new =
                kept(scan.range, &scan.pinned).into_iter().filter(|(memtable, _)| counted.insert(*memtable));
            bytes += new.map(|(_, bytes)| bytes).sum::<u64>();
            if bytes > self.limits.kept_bytes_max {
                self.open.remove(&id);
            }
        }
    }

    fn longest_idle(&self) -> Option<u64> {
        self.open.iter().min_by_key(|(id, scan)| (scan.used, **id)).map(|(id, _)| *id)
    }
}
