//! The window of remembered outcomes: a write that is sent twice is done once ([exactly-once], [dedup-floor]).
//!
//! Every applied write enters the window with its request id and LSN; a retry finds it and is answered with the
//! first outcome. What is persisted, and travels with snapshots, is a pure function of the log: the last
//! [`WindowLimits::len`] writes. A replica remembers more than that: what came within the last
//! [`SECONDS_KEPT`] seconds, for at a high rate the last writes are those of a moment, and a retry takes longer. So
//! replicas may differ in the *floor*, the LSN up to which outcomes are forgotten; each is right about itself, and the
//! leader's counts. A request that can be older than the floor (its `known`, the range's LSN before its first
//! attempt, lies below) and is not found has an unknown outcome and is never executed.
//!
//! What is proposed and not yet applied is not here but in the pending state (`conditions`); both together
//! cover every record up to the last. The window is persisted in the flush's manifest edit, and what follows the
//! flush is learned again from the log: recording twice changes nothing.

use std::collections::{HashMap, VecDeque};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use replication::store::LoggedWrite;
use wal::Lsn;

use crate::request::RequestId;

/// A write is remembered for so many calls of [`Window::pass_second`], if there is room: longer than it takes to hear of a
/// lost connection or of a new leader, and to ask again.
const SECONDS_KEPT: usize = 10;
/// At most so many are forgotten at a time: the window is locked meanwhile.
const FORGOTTEN_AT_ONCE_MAX: usize = 1 << 16;

/// How many writes of a range are remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowLimits {
    /// So many always, and by all replicas.
    pub len: usize,
    /// Never more than so many, however short ago they were.
    pub len_max: usize,
}

impl Default for WindowLimits {
    /// Some 6 MiB of memory; up to 50 MiB for a range that is written more than 6,500 times a second, and at 52,000 writes
    /// a second still ten seconds.
    fn default() -> WindowLimits {
        WindowLimits { len: 1 << 16, len_max: 1 << 19 }
    }
}

/// The last outcomes of one range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    limits: WindowLimits,
    /// Outcomes at or below are forgotten.
    floor: Lsn,
    /// What was recorded last, as of each of the last seconds.
    seconds: VecDeque<Lsn>,
    /// Everything up to here was recorded.
    last: Lsn,
    order: VecDeque<RequestId>,
    outcomes: HashMap<RequestId, LoggedWrite>,
}

/// The persisted window does not parse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the table's attachment is not a window of outcomes of a known version")]
pub(crate) struct BadWindow;

impl Window {
    /// An empty window, at the start of a range.
    pub(crate) fn new(limits: WindowLimits) -> Window {
        Window {
            limits,
            floor: Lsn::ZERO,
            seconds: VecDeque::new(),
            last: Lsn::ZERO,
            order: VecDeque::new(),
            outcomes: HashMap::new(),
        }
    }

    /// The outcome of a request, if it is remembered.
    pub(crate) fn find(&self, request: &RequestId) -> Option<LoggedWrite> {
        self.outcomes.get(request).copied()
    }

    /// Whether a request that is not found may have been executed and forgotten, given the range's LSN before its
    /// first attempt.
    pub(crate) fn forgot(&self, known: Lsn) -> bool {
        known < self.floor
    }

    /// Records the next applied write; what is known already (a replay) is passed over.
    pub(crate) fn record(&mut self, request: RequestId, outcome: LoggedWrite) {
        if outcome.lsn <= self.last {
            return;
        }
        self.last = outcome.lsn;
        // The leader joins retries, so an id stands twice only if a client misuses it; the first outcome stays.
        if self.outcomes.contains_key(&request) {
            return;
        }
        self.outcomes.insert(request, outcome);
        self.order.push_back(request);
        // More than one: what was kept for its age goes, too, while it is written on.
        self.forget(2);
    }

    /// To be called about once a second: so much time has passed for what is recorded.
    pub(crate) fn pass_second(&mut self) {
        self.seconds.push_back(self.last);
        if self.seconds.len() > SECONDS_KEPT {
            self.seconds.pop_front();
        }
        self.forget(FORGOTTEN_AT_ONCE_MAX);
    }

    /// Forgets what is neither among the last writes nor young, so many at most; and what there is no room for.
    fn forget(&mut self, count: usize) {
        // Everything up to here is old enough.
        let old = match self.seconds.front() {
            Some(oldest) if self.seconds.len() == SECONDS_KEPT => *oldest,
            _ => Lsn::ZERO,
        };
        for _ in 0..count {
            let Some(oldest) = self.order.front().filter(|_| self.order.len() > self.limits.len) else {
                return;
            };
            let lsn = self.outcomes.get(oldest).map_or(Lsn::ZERO, |outcome| outcome.lsn);
            if lsn > old && self.order.len() <= self.limits.len_max {
                return;
            }
            self.outcomes.remove(oldest);
            self.order.pop_front();
            self.floor = self.floor.max(lsn);
        }
    }

    /// For the manifest: version, floor, last, and each outcome in order, of the last [`WindowLimits::len`] writes.
    pub(crate) fn encode(&self) -> Bytes {
        let left_out = self.order.len().saturating_sub(self.limits.len);
        let before = left_out.checked_sub(1).and_then(|last| self.outcomes.get(self.order.get(last)?));
        let mut out = BytesMut::with_capacity(29 + (self.order.len() - left_out) * 37);
        out.put_u8(1);
        before.map_or(self.floor, |forgotten| forgotten.lsn).put(&mut out);
        self.last.put(&mut out);
        out.put_u32_le((self.order.len() - left_out) as u32);
        for request in self.order.iter().skip(left_out) {
            if let Some(outcome) = self.outcomes.get(request) {
                out.put_u128_le(request.client);
                out.put_u64_le(request.sequence);
                outcome.lsn.put(&mut out);
                out.put_u8(u8::from(outcome.refused));
            }
        }
        out.freeze()
    }

    /// Reads what [`Window::encode`] wrote; no bytes at all are an empty window (nothing was flushed yet).
    pub(crate) fn decode(mut bytes: Bytes, limits: WindowLimits) -> Result<Window, BadWindow> {
        let mut window = Window::new(limits);
        if bytes.is_empty() {
            return Ok(window);
        }
        if bytes.len() < 29 || bytes.get_u8() != 1 {
            return Err(BadWindow);
        }
        window.floor = Lsn::take(&mut bytes).ok_or(BadWindow)?;
        window.last = Lsn::take(&mut bytes).ok_or(BadWindow)?;
        let count = bytes.get_u32_le() as usize;
        if bytes.len() != count * 37 {
            return Err(BadWindow);
        }
        for _ in 0..count {
            let request = RequestId { client: bytes.get_u128_le(), sequence: bytes.get_u64_le() };
            let outcome =
                LoggedWrite { lsn: Lsn::take(&mut bytes).ok_or(BadWindow)?, refused: bytes.get_u8() != 0 };
            window.outcomes.insert(request, outcome);
            window.order.push_back(request);
        }
        Ok(window)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_decoder_panic(bytes in proptest::collection::vec(0..3u8, 0..120)) {
            if let Ok(window) = Window::decode(bytes.into(), by_count(4)) {
                proptest::prop_assert!(Window::decode(window.encode(), by_count(4)).is_ok());
            }
        }
    }

    fn by_count(len: usize) -> WindowLimits {
        WindowLimits { len, len_max: len }
    }

    fn id(sequence: u64) -> RequestId {
        RequestId { client: 7, sequence }
    }

    fn done(seq: u64) -> LoggedWrite {
        LoggedWrite { lsn: Lsn::new(1, seq), refused: false }
    }

    #[test]
    fn remembers_the_first_outcome() {
        let mut window = Window::new(by_count(10));
        window.record(id(1), done(5));
        window.record(id(1), done(6));
        assert_eq!(window.find(&id(1)), Some(done(5)));
        assert_eq!(window.find(&id(2)), None);
    }

    #[test]
    fn forgets_the_oldest_and_says_so() {
        let mut window = Window::new(by_count(2));
        for seq in 1..=4 {
            window.record(id(seq), done(seq));
        }
        assert_eq!(window.floor, Lsn::new(1, 2));
        assert_eq!(window.find(&id(2)), None);
        assert!(window.forgot(Lsn::new(1, 1)));
        assert!(!window.forgot(Lsn::new(1, 2)), "a request first sent when 1.2 was known is above the floor");
    }

    /// At a high rate the last writes are those of a moment, and whoever has lost an answer asks again a little later.
    #[test]
    fn what_was_written_within_seconds_is_remembered_however_much_it_is() {
        let mut window = Window::new(WindowLimits { len: 2, len_max: 100 });
        for seq in 1..=50 {
            window.record(id(seq), done(seq));
        }
        for _ in 1..SECONDS_KEPT {
            window.pass_second();
        }
        assert_eq!((window.find(&id(1)), window.floor), (Some(done(1)), Lsn::ZERO));
        window.record(id(51), done(51));
        window.pass_second();
        assert_eq!((window.order.len(), window.floor), (2, Lsn::new(1, 49)));
        assert!(window.forgot(Lsn::new(1, 48)) && !window.forgot(Lsn::new(1, 49)));
        // Without a second that passes nothing grows old, but there is an end to it.
        for seq in 52..=200 {
            window.record(id(seq), done(seq));
        }
        assert_eq!((window.order.len(), window.outcomes.len(), window.floor), (100, 100, Lsn::new(1, 100)));
    }

    /// Whatever a replica remembers beside it, what it persists is that of all.
    #[test]
    fn what_is_persisted_does_not_depend_on_time() {
        let (mut slow, mut quick) =
            (Window::new(WindowLimits { len: 3, len_max: 8 }), Window::new(by_count(3)));
        for seq in 1..=20 {
            slow.record(id(seq), done(seq));
            quick.record(id(seq), done(seq));
            assert_eq!(slow.encode(), quick.encode());
        }
        let restarted = Window::decode(slow.encode(), slow.limits).unwrap();
        assert_eq!((slow.order.len(), restarted.order.len(), restarted.floor), (8, 3, Lsn::new(1, 17)));
    }

    #[test]
    fn a_replay_over_a_newer_window_changes_nothing() {
        let mut window = Window::new(by_count(3));
        for seq in 1..=5 {
            window.record(id(seq), done(seq));
        }
        let before = window.clone();
        for seq in 2..=5 {
            window.record(id(seq), done(seq));
        }
        assert_eq!(window, before);
    }

    #[test]
    fn is_the_same_whether_flushed_or_replayed() {
        let mut straight = Window::new(by_count(3));
        let mut restarted = Window::new(by_count(3));
        for seq in 1..=9 {
            let outcome = LoggedWrite { refused: seq % 2 == 0, ..done(seq) };
            straight.record(id(seq), outcome);
            restarted.record(id(seq), outcome);
            restarted = Window::decode(restarted.encode(), by_count(3)).unwrap();
        }
        assert_eq!(straight, restarted);
    }

    #[test]
    fn damaged_bytes_are_refused() {
        let mut window = Window::new(by_count(3));
        window.record(id(1), done(1));
        let bytes = window.encode();
        assert_eq!(Window::decode(bytes.slice(..bytes.len() - 1), by_count(3)), Err(BadWindow));
        assert_eq!(Window::decode(Bytes::from_static(b"x"), by_count(3)), Err(BadWindow));
        assert_eq!(Window::decode(Bytes::new(), by_count(3)), Ok(Window::new(by_count(3))));
    }
}
