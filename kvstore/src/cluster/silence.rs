//! From which nodes nothing is heard: whoever has another node to ask does not wait for these.
//!
//! A stream that stands says little: a process that is stopped, or a network that drops packets, keeps it standing for
//! seconds. So a request that waits while nothing at all comes from its node makes that node silent. It is asked again once
//! in [`PROBE_PERIOD`], and is silent no more when anything is heard.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use wal::NodeId;
use wal::sync::lock;

/// A silent node gets one request in so long, to see whether it answers again.
const PROBE_PERIOD: Duration = Duration::from_secs(1);

/// What was heard last of each node, as one process knows it.
#[derive(Debug, Default)]
pub struct Silence {
    nodes: Mutex<HashMap<NodeId, Heard>>,
    /// A node may be silent: else nobody need look.
    any: AtomicBool,
}

#[derive(Debug, Default)]
struct Heard {
    /// When something came last.
    at: Option<Instant>,
    /// Silent, and not to be asked before this.
    silent_until: Option<Instant>,
}

impl Silence {
    /// Something has come from the node.
    pub fn heard(&self, node: NodeId, now: Instant) {
        let mut nodes = self.lock();
        let heard = nodes.entry(node).or_default();
        heard.at = Some(now);
        if heard.silent_until.take().is_some() {
            self.any.store(nodes.values().any(|heard| heard.silent_until.is_some()), Ordering::Release);
        }
    }

    /// A request that was sent at `since` waits for too long.
    pub fn overdue(&self, node: NodeId, since: Instant, now: Instant) {
        let mut nodes = self.lock();
        let heard = nodes.entry(node).or_default();
        if heard.at.is_none_or(|at| at < since) && heard.silent_until.is_none() {
            heard.silent_until = Some(now + PROBE_PERIOD);
            self.any.store(true, Ordering::Release);
        }
    }

    /// The node cannot be reached, or the stream to it has broken.
    pub fn lost(&self, node: NodeId, now: Instant) {
        self.lock().entry(node).or_default().silent_until = Some(now + PROBE_PERIOD);
        self.any.store(true, Ordering::Release);
    }

    /// Whether the node is silent.
    pub fn is_silent(&self, node: NodeId) -> bool {
        self.any.load(Ordering::Acquire)
            && self.lock().get(&node).is_some_and(|heard| heard.silent_until.is_some())
    }

    /// Whether a request may go to the node now: to one that is silent, once in a while.
    pub fn may_ask(&self, node: NodeId, now: Instant) -> bool {
        if !self.any.load(Ordering::Acquire) {
            return true;
        }
        let mut nodes = self.lock();
        let Some(until) = nodes.get_mut(&node).and_then(|heard| heard.silent_until.as_mut()) else {
            return true;
        };
        let due = now >= *until;
        if due {
            *until = now + PROBE_PERIOD;
        }
        due
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<NodeId, Heard>> {
        lock(&self.nodes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: NodeId = NodeId(2);

    #[test]
    fn a_node_is_silent_while_requests_wait_and_nothing_comes() {
        let (silence, start) = (Silence::default(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        assert!(silence.may_ask(NODE, start));
        silence.heard(NODE, at(100));
        silence.overdue(NODE, at(50), at(300));
        assert!(!silence.is_silent(NODE), "it has answered others since");
        silence.overdue(NODE, at(150), at(400));
        assert!(silence.is_silent(NODE) && !silence.may_ask(NODE, at(1399)));
        assert!(silence.may_ask(NODE, at(1400)), "one request sees whether it is back");
        assert!(!silence.may_ask(NODE, at(1400)) && silence.is_silent(NODE));
        silence.heard(NODE, at(1500));
        assert!(silence.may_ask(NODE, at(1500)) && !silence.is_silent(NODE));
        silence.lost(NODE, at(1600));
        assert!(silence.is_silent(NODE));
    }
}
