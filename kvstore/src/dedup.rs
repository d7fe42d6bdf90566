//! The window of remembered outcomes: a write that is sent twice is done once ([exactly-once], [dedup-floor]).
//!
//! Every applied write enters the window with its request id and LSN; a retry finds it and is answered with the
//! first outcome. The window is a pure function of the log: it remembers the last [`WINDOW_LEN`] writes, so all
//! replicas forget the same ones and agree on the *floor*, the LSN up to which outcomes are forgotten. A request
//! that can be older than the floor (its `known`, the range's LSN before its first attempt, lies below) and is not
//! found has an unknown outcome and is never executed.
//!
//! What is proposed and not yet applied is not here but in the pending state (`conditions`); both together
//! cover every record up to the last. The window is persisted in the flush's manifest edit, and what follows the
//! flush is learned again from the log: recording twice changes nothing.

use std::collections::{HashMap, VecDeque};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use replication::store::LoggedWrite;
use wal::Lsn;

use crate::request::RequestId;

/// Writes remembered per range. At 64 Ki, a range written 20,000 times a second remembers three seconds of steady
/// writing, and everything while it has no leader; some 6 MiB of memory when full.
pub(crate) const WINDOW_LEN: usize = 1 << 16;

/// The last outcomes of one range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    len_max: usize,
    /// Outcomes at or below are forgotten.
    floor: Lsn,
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
    pub(crate) fn new(len_max: usize) -> Window {
        Window {
            len_max,
            floor: Lsn::ZERO,
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
        while self.order.len() > self.len_max {
            let Some(oldest) = self.order.pop_front() else { break };
            if let Some(forgotten) = self.outcomes.remove(&oldest) {
                self.floor = forgotten.lsn;
            }
        }
    }

    /// For the manifest: version, floor, last, and each outcome in order.
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(29 + self.order.len() * 37);
        out.put_u8(1);
        self.floor.put(&mut out);
        self.last.put(&mut out);
        out.put_u32_le(self.order.len() as u32);
        for request in &self.order {
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
    pub(crate) fn decode(mut bytes: Bytes, len_max: usize) -> Result<Window, BadWindow> {
        let mut window = Window::new(len_max);
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
            if let Ok(window) = Window::decode(bytes.into(), 4) {
                proptest::prop_assert!(Window::decode(window.encode(), 4).is_ok());
            }
        }
    }

    fn id(sequence: u64) -> RequestId {
        RequestId { client: 7, sequence }
    }

    fn done(seq: u64) -> LoggedWrite {
        LoggedWrite { lsn: Lsn::new(1, seq), refused: false }
    }

    #[test]
    fn remembers_the_first_outcome() {
        let mut window = Window::new(10);
        window.record(id(1), done(5));
        window.record(id(1), done(6));
        assert_eq!(window.find(&id(1)), Some(done(5)));
        assert_eq!(window.find(&id(2)), None);
    }

    #[test]
    fn forgets_the_oldest_and_says_so() {
        let mut window = Window::new(2);
        for seq in 1..=4 {
            window.record(id(seq), done(seq));
        }
        assert_eq!(window.floor, Lsn::new(1, 2));
        assert_eq!(window.find(&id(2)), None);
        assert!(window.forgot(Lsn::new(1, 1)));
        assert!(!window.forgot(Lsn::new(1, 2)), "a request first sent when 1.2 was known is above the floor");
    }

    #[test]
    fn a_replay_over_a_newer_window_changes_nothing() {
        let mut window = Window::new(3);
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
        let mut straight = Window::new(3);
        let mut restarted = Window::new(3);
        for seq in 1..=9 {
            let outcome = LoggedWrite { refused: seq % 2 == 0, ..done(seq) };
            straight.record(id(seq), outcome);
            restarted.record(id(seq), outcome);
            restarted = Window::decode(restarted.encode(), 3).unwrap();
        }
        assert_eq!(straight, restarted);
    }

    #[test]
    fn damaged_bytes_are_refused() {
        let mut window = Window::new(3);
        window.record(id(1), done(1));
        let bytes = window.encode();
        assert_eq!(Window::decode(bytes.slice(..bytes.len() - 1), 3), Err(BadWindow));
        assert_eq!(Window::decode(Bytes::from_static(b"x"), 3), Err(BadWindow));
        assert_eq!(Window::decode(Bytes::new(), 3), Ok(Window::new(3)));
    }
}
