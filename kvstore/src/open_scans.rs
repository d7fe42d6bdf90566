//! The scans that are open on a node's replicas between two pages: what keeps the versions that they read. Pure: time and
//! random numbers come in with each call.
//!
//! A page request says everything itself: range, LSN, where to go on. The open scan only holds what it reads, so that
//! it can be read on after a flush. So a request that finds no open scan (another replica, another process life, idle
//! for too long) is answered all the same while the LSN is still kept, and is refused otherwise; it is never answered
//! with anything else ([scan-bound], [one-lsn]).

use std::collections::HashMap;
use std::time::{Duration, Instant};

use wal::{CohortId, Lsn};

use crate::engine::Pinned;
use crate::operation::RangeScan;

/// An open scan of which nothing was heard for so long is ended.
pub(crate) const IDLE_MAX: Duration = Duration::from_secs(60);
/// However much is heard of it, an open scan is ended when it is so old.
const AGE_MAX: Duration = Duration::from_secs(3600);
/// Open scans of one node: over it, the one that was idle for longest is ended for a new one.
const OPEN_MAX: usize = 16_384;
/// Memory that open scans may keep beyond what the engines need, about: over it, those that were idle for longest are
/// ended.
const KEPT_BYTES_MAX: u64 = 256 << 20;

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
#[derive(Default)]
pub(crate) struct OpenScans {
    open: HashMap<u64, OpenScan>,
}

impl OpenScans {
    /// Opens a scan of a range under a random number, or notes how far it is.
    pub(crate) fn keep(&mut self, id: u64, range: CohortId, pinned: Pinned, rest: RangeScan, now: Instant) {
        if let Some(scan) = self.open.get_mut(&id).filter(|scan| scan.range == range) {
            (scan.rest, scan.used) = (rest, now);
            return;
        }
        if self.open.len() >= OPEN_MAX {
            self.sweep(now, |_, _| Vec::new());
        }
        if self.open.len() >= OPEN_MAX
            && let Some(idle) = self.longest_idle()
        {
            self.open.remove(&idle);
        }
        self.open.insert(id, OpenScan { range, pinned, rest, opened: now, used: now });
    }

    /// What an open scan of this range reads, at this LSN.
    pub(crate) fn find(&mut self, id: u64, range: CohortId, at: Lsn, now: Instant) -> Option<Pinned> {
        let scan = self.open.get_mut(&id)?;
        if scan.range != range || scan.pinned.read_lsn() != at {
            return None;
        }
        scan.used = now;
        Some(scan.pinned.clone())
    }

    /// The LSN of an open scan of this range, and what is left of it.
    pub(crate) fn rest(&self, id: u64, range: CohortId) -> Option<(Lsn, RangeScan)> {
        let scan = self.open.get(&id).filter(|scan| scan.range == range)?;
        Some((scan.pinned.read_lsn(), scan.rest.clone()))
    }

    /// A scan needs no more pages.
    pub(crate) fn close(&mut self, id: u64) {
        self.open.remove(&id);
    }

    /// The range is not on this node any more.
    pub(crate) fn close_range(&mut self, range: CohortId) {
        self.open.retain(|_, scan| scan.range != range);
    }

    /// Ends all.
    pub(crate) fn clear(&mut self) {
        self.open.clear();
    }

    /// How many are open.
    pub(crate) fn count(&self) -> usize {
        self.open.len()
    }

    /// Ends those that are idle or old, and, of those that keep too much memory, those that were idle for longest. `kept`
    /// tells which memtables (an identity and the bytes of each) are kept for a scan of a range alone.
    pub(crate) fn sweep(
        &mut self,
        now: Instant,
        mut kept: impl FnMut(CohortId, &Pinned) -> Vec<(usize, u64)>,
    ) {
        let lives = |scan: &OpenScan| {
            now.duration_since(scan.used) < IDLE_MAX && now.duration_since(scan.opened) < AGE_MAX
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
            if bytes > KEPT_BYTES_MAX {
                self.open.remove(&id);
            }
        }
    }

    fn longest_idle(&self) -> Option<u64> {
        self.open.iter().min_by_key(|(id, scan)| (scan.used, **id)).map(|(id, _)| *id)
    }
}
