//! How fast snapshots leave this node: a few at a time, and so many bytes a second over all ranges. Else a node that comes
//! back empty would have all its ranges read, pinned and sent at once, and the clients' writes would wait behind them.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use wal::sync::lock;
use wal::{CohortId, NodeId};

use crate::protocol::message::SnapshotPart;

/// Snapshots on their way out at once.
const AT_ONCE_MAX: usize = 4;
/// A snapshot of which nobody has asked for a part for so long makes room for others.
const IDLE_MAX: Duration = Duration::from_secs(10);
/// Who waits for room and is not told of any looks again so often: somebody may have become idle.
const ROOM_POLL: Duration = Duration::from_secs(1);

/// A snapshot on its way: of which range, to which node.
pub(crate) type Outgoing = (CohortId, NodeId);

/// Decides when a part of a snapshot may be read.
#[derive(Debug)]
pub(crate) struct Pacing {
    bytes_per_s: u64,
    state: Mutex<State>,
    /// A snapshot is through: there is room for one that waits.
    freed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// When each snapshot under way was last read from.
    under_way: HashMap<Outgoing, Instant>,
    /// When what was read has had its time.
    free_at: Option<Instant>,
}

impl Pacing {
    /// At most so many bytes a second.
    pub(crate) fn new(bytes_per_s: u64) -> Pacing {
        Pacing { bytes_per_s: bytes_per_s.max(1), state: Mutex::default(), freed: Notify::new() }
    }

    /// Returns when a part may be read; `false` if the node has `ended` meanwhile.
    pub(crate) async fn room(&self, outgoing: Outgoing, ended: impl Fn() -> bool) -> bool {
        while let Err(wait) = self.admit(outgoing, Instant::now()) {
            match wait {
                Wait::ForRate(wait) => tokio::time::sleep(wait).await,
                Wait::ForRoom => {
                    let _ = tokio::time::timeout(ROOM_POLL, self.freed.notified()).await;
                }
            }
            if ended() {
                return false;
            }
        }
        true
    }

    /// A part was read, or could not be.
    pub(crate) fn took(&self, outgoing: Outgoing, part: Option<&SnapshotPart>) {
        let (bytes, last) = part.map_or((0, true), |part| (part.bytes.len(), part.last));
        self.count(outgoing, bytes, last, Instant::now());
    }

    /// Whether a part may be read now; if not, what to wait for before asking again.
    fn admit(&self, outgoing: Outgoing, now: Instant) -> Result<(), Wait> {
        let mut state = lock(&self.state);
        state.under_way.retain(|_, used| now.saturating_duration_since(*used) < IDLE_MAX);
        if state.under_way.len() >= AT_ONCE_MAX && !state.under_way.contains_key(&outgoing) {
            return Err(Wait::ForRoom);
        }
        state.under_way.insert(outgoing, now);
        let wait = state.free_at.map_or(Duration::ZERO, |free_at| free_at.saturating_duration_since(now));
        if wait.is_zero() { Ok(()) } else { Err(Wait::ForRate(wait)) }
    }

    /// A part of so many bytes was read; `last`: the snapshot needs no room any more.
    fn count(&self, outgoing: Outgoing, bytes: usize, last: bool, now: Instant) {
        let nanos = (bytes as u128 * 1_000_000_000 / u128::from(self.bytes_per_s)).min(u128::from(u64::MAX));
        let mut state = lock(&self.state);
        let from = state.free_at.map_or(now, |free_at| free_at.max(now));
        state.free_at = Some(from + Duration::from_nanos(nanos as u64));
        match last {
            true => {
                state.under_way.remove(&outgoing);
                self.freed.notify_one();
            }
            false => {
                state.under_way.insert(outgoing, now);
            }
        }
    }
}

/// Why a part may not be read yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    /// As many snapshots are under way as may be.
    ForRoom,
    /// What was read before has its time yet.
    ForRate(Duration),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(range: u128) -> Outgoing {
        (CohortId(range), NodeId(2))
    }

    #[test]
    fn all_snapshots_together_have_one_rate() {
        let (pacing, start) = (Pacing::new(1000), Instant::now());
        assert_eq!(pacing.admit(of(1), start), Ok(()));
        pacing.count(of(1), 500, false, start);
        let half = Duration::from_millis(500);
        assert_eq!(pacing.admit(of(1), start), Err(Wait::ForRate(half)));
        assert_eq!(pacing.admit(of(2), start), Err(Wait::ForRate(half)));
        assert_eq!(pacing.admit(of(2), start + half), Ok(()));
        // Time that nobody used is not saved up.
        let late = start + half * 20;
        pacing.count(of(2), 100, false, late);
        assert_eq!(pacing.admit(of(1), late), Err(Wait::ForRate(Duration::from_millis(100))));
    }

    #[test]
    fn a_few_at_a_time_and_who_is_idle_makes_room() {
        let (pacing, start) = (Pacing::new(u64::MAX), Instant::now());
        for range in 0..AT_ONCE_MAX as u128 {
            assert_eq!(pacing.admit(of(range), start), Ok(()));
        }
        assert_eq!(pacing.admit(of(77), start), Err(Wait::ForRoom));
        assert_eq!(pacing.admit(of(0), start), Ok(()), "its next part");
        pacing.count(of(0), 1, true, start);
        assert_eq!(pacing.admit(of(77), start), Ok(()));
        assert_eq!(pacing.admit(of(78), start), Err(Wait::ForRoom));
        assert_eq!(pacing.admit(of(78), start + IDLE_MAX), Ok(()));
    }

    #[tokio::test]
    async fn who_waits_for_room_is_told_of_it() {
        let pacing = Pacing::new(u64::MAX);
        for range in 0..AT_ONCE_MAX as u128 {
            assert!(pacing.room(of(range), || false).await);
        }
        let frees = async {
            tokio::task::yield_now().await;
            pacing.count(of(0), 1, true, Instant::now());
        };
        let began = Instant::now();
        let (admitted, ()) = tokio::join!(pacing.room(of(77), || false), frees);
        assert!(admitted && began.elapsed() < ROOM_POLL);
        assert!(!pacing.room(of(78), || true).await, "the node has ended");
    }
}
