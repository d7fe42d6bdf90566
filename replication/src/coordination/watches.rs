//! Who wants to hear of which subtree: the registry of counters behind [`super::Coordinator::watch`].
//!
//! Level-triggered: a counter only says "re-read", never what happened, so a burst of changes costs a
//! watcher one wake-up and a missed event cannot be mistaken for a quiet time.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};

use tokio::sync::watch;
use wal::sync;

/// The counters of one client, by watched path.
#[derive(Default)]
pub(super) struct Watches {
    watched: Mutex<BTreeMap<String, watch::Sender<u64>>>,
    /// Changes are not told: the client's server lags behind.
    silent: AtomicBool,
}

impl Watches {
    /// A counter for everything at or below `path`; its first value counts as a change.
    pub(super) fn add(&self, path: &str) -> watch::Receiver<u64> {
        let mut watched = self.lock();
        watched.retain(|_, counter| !counter.is_closed());
        let counter = watched.entry(path.to_string()).or_insert_with(|| watch::channel(1).0);
        let mut receiver = counter.subscribe();
        receiver.mark_changed();
        receiver
    }

    /// Whether changes of nodes are kept from the watchers from now on.
    pub(super) fn set_silent(&self, silent: bool) {
        self.silent.store(silent, Ordering::Release);
    }

    /// The node at `path` changed: whoever watches it or one of its ancestors hears of it.
    pub(super) fn changed(&self, path: &str) {
        if self.silent.load(Ordering::Acquire) {
            return;
        }
        let watched = self.lock();
        for ancestor in ancestors(path) {
            if let Some(counter) = watched.get(ancestor) {
                counter.send_modify(|count| *count += 1);
            }
        }
    }

    /// Anything may have changed (a reconnect, a new session).
    pub(super) fn all_changed(&self) {
        for counter in self.lock().values() {
            counter.send_modify(|count| *count += 1);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, watch::Sender<u64>>> {
        sync::lock(&self.watched)
    }
}

/// `/`, then every prefix of `path` that names a node, `path` itself last.
fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    let ends = path.match_indices('/').map(|(at, _)| at).filter(|&at| at > 0).chain([path.len()]);
    std::iter::once("/").chain(ends.map(|end| &path[..end]).filter(|prefix| *prefix != "/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_heard_by_its_ancestors_only() {
        assert_eq!(ancestors("/a/bc/d").collect::<Vec<_>>(), ["/", "/a", "/a/bc", "/a/bc/d"]);
        assert_eq!(ancestors("/").collect::<Vec<_>>(), ["/"]);
        let watches = Watches::default();
        let mut counters = ["/", "/a", "/a/b", "/a/b/c", "/ab"].map(|path| watches.add(path));
        for counter in &mut counters {
            assert!(counter.has_changed().unwrap(), "the first value counts as a change");
            counter.mark_unchanged();
        }
        watches.changed("/a/b");
        let heard = counters.each_ref().map(|counter| counter.has_changed().unwrap());
        assert_eq!(heard, [true, true, true, false, false]);
        watches.all_changed();
        assert!(counters.iter().all(|counter| counter.has_changed().unwrap()));
    }
}
