//! Lines of the log that whoever is outside could repeat at will: said at once, and then once in a while.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use wal::sync;

/// Counts what is said about each of a few things, and says when a line is due.
#[derive(Debug)]
pub(crate) struct Seldom<K> {
    every: Duration,
    /// When each was last said, and how often it happened since without a line.
    said: Mutex<HashMap<K, (Instant, u64)>>,
}

impl<K: Eq + Hash> Seldom<K> {
    /// One line about each thing in `every`. There must be few things: each is remembered.
    pub(crate) fn new(every: Duration) -> Seldom<K> {
        Seldom { every, said: Mutex::default() }
    }

    /// It has happened. If a line is due: how often it happened since the line before.
    pub(crate) fn count(&self, what: K) -> Option<u64> {
        self.count_at(what, Instant::now())
    }

    fn count_at(&self, what: K, now: Instant) -> Option<u64> {
        let mut said = sync::lock(&self.said);
        match said.get_mut(&what) {
            Some((at, since)) if now.duration_since(*at) < self.every => {
                *since += 1;
                None
            }
            Some(known) => {
                let (_, since) = std::mem::replace(known, (now, 0));
                Some(since)
            }
            None => {
                said.insert(what, (now, 0));
                Some(0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_in_a_while_for_each_thing_and_none_is_lost_count_of() {
        let (seldom, begun) = (Seldom::new(Duration::from_secs(10)), Instant::now());
        let at = |seconds| begun + Duration::from_secs(seconds);
        assert_eq!(seldom.count_at(1, at(0)), Some(0));
        assert_eq!(seldom.count_at(2, at(1)), Some(0));
        assert_eq!((seldom.count_at(1, at(1)), seldom.count_at(1, at(9))), (None, None));
        assert_eq!(seldom.count_at(1, at(10)), Some(2));
        assert_eq!(seldom.count_at(1, at(25)), Some(0));
    }
}
