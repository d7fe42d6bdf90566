//! The right to read, published for readers that take no lock [lease-recheck].
//!
//! A strong read on the leader is: see the lease, read the store, see the *same epoch's* lease again, on a clock read
//! after the store was. All readers of a node go through here, so they share one small cell and never the cohort's
//! lock. The cell is a sequence lock: the only writer, who holds the cohort's lock, makes the version odd, changes
//! epoch and expiry, and makes it even; a reader that saw a change under its feet looks again. So no reader can
//! combine the epoch of one lease with the expiry of another.

use std::hint;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use wal::Epoch;

use super::clock;
use crate::protocol::effect::Lease;
use crate::protocol::time::Stamp;

/// One cohort's lease on this node, if it leads.
#[derive(Debug, Default)]
pub(crate) struct LeaseCell {
    /// Odd while a change is under way.
    version: AtomicU64,
    /// 0: no lease.
    epoch: AtomicU32,
    /// Expiry in microseconds of the own clock.
    until: AtomicU64,
}

impl LeaseCell {
    /// Publishes a lease, or its end. One caller at a time: under the cohort's lock.
    pub(crate) fn publish(&self, lease: Option<Lease>) {
        let version = self.version.load(Ordering::Relaxed);
        self.version.store(version + 1, Ordering::Relaxed);
        fence(Ordering::Release);
        self.epoch.store(lease.map_or(0, |lease| lease.epoch.0), Ordering::Relaxed);
        self.until.store(lease.map_or(0, |lease| lease.until.0), Ordering::Relaxed);
        self.version.store(version + 2, Ordering::Release);
    }

    /// The epoch under which reads may be served now.
    pub(crate) fn valid(&self) -> Option<Epoch> {
        // What the caller read before must have been read before the lease is looked at.
        fence(Ordering::SeqCst);
        let (epoch, until) = self.load();
        (epoch != Epoch(0) && clock::now() < until).then_some(epoch)
    }

    fn load(&self) -> (Epoch, Stamp) {
        loop {
            let before = self.version.load(Ordering::Acquire);
            let epoch = self.epoch.load(Ordering::Relaxed);
            let until = self.until.load(Ordering::Relaxed);
            fence(Ordering::Acquire);
            if before.is_multiple_of(2) && self.version.load(Ordering::Relaxed) == before {
                return (Epoch(epoch), Stamp(until));
            }
            hint::spin_loop();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::thread;

    use super::*;
    use crate::protocol::time::Millis;

    #[test]
    fn is_valid_until_it_runs_out_or_is_cleared() {
        let cell = LeaseCell::default();
        assert_eq!(cell.valid(), None);
        cell.publish(Some(Lease { epoch: Epoch(3), until: clock::now().plus(Millis(60_000)) }));
        assert_eq!(cell.valid(), Some(Epoch(3)));
        cell.publish(Some(Lease { epoch: Epoch(3), until: clock::now() }));
        assert_eq!(cell.valid(), None);
        cell.publish(Some(Lease { epoch: Epoch(3), until: clock::now().plus(Millis(60_000)) }));
        cell.publish(None);
        assert_eq!(cell.valid(), None);
    }

    #[test]
    fn never_mixes_two_leases() {
        let (cell, stop) = (LeaseCell::default(), AtomicBool::new(false));
        thread::scope(|scope| {
            scope.spawn(|| {
                for number in 1..200_000 {
                    cell.publish(Some(Lease { epoch: Epoch(number), until: Stamp(u64::from(number) * 10) }));
                }
                stop.store(true, Ordering::Relaxed);
            });
            while !stop.load(Ordering::Relaxed) {
                let (epoch, until) = cell.load();
                assert_eq!(until.0, u64::from(epoch.0) * 10);
            }
        });
    }
}
