//! What a member has promised, and the leases that it has granted: both forbid it something.
//!
//! A promise is (epoch, nobody) for a candidacy, or (epoch, a leader) once it is bound to who won [bound-promise]. It only
//! grows, takes effect in memory at once, and is announced to others when it is forced [promise-before-word]. A granted
//! lease forbids a higher promise while it runs [lease-margin]; after a restart the longest that was ever granted is waited
//! out, so a lease longer than that is logged before it is granted [restart-waits-out-lease].

use wal::{Epoch, Promise};

use crate::protocol::coordination::EPOCH_MAX;
use crate::protocol::time::{Millis, Stamp};

/// Furthest step from our promise to an epoch that is believed: more elections than a range can hold while a member is
/// away. One lie, or one damaged znode, cannot use up the numbers that are left [epochs-in-steps].
const EPOCH_STEP_MAX: u32 = 1 << 26;

/// Promises and granted leases.
#[derive(Debug)]
pub(crate) struct Promises {
    /// The promise in force.
    current: Promise,
    /// Whether `current` is durable.
    forced: bool,
    /// The highest promise that anyone has reported; at least `current`.
    highest_known: Promise,
    /// Until then a lease that we granted, in this life or before, may run.
    granted_until: Stamp,
    /// The log says that no lease longer than this was ever granted.
    lease_logged: Millis,
    /// A longer lease is being logged.
    lease_logging: Option<Millis>,
}

impl Promises {
    /// As the log holds them; a lease that was granted before may run until `granted_until`.
    pub(crate) fn recovered(promise: Promise, lease_logged: Millis, granted_until: Stamp) -> Promises {
        Promises {
            current: promise,
            forced: true,
            highest_known: promise,
            granted_until,
            lease_logged,
            lease_logging: None,
        }
    }

    /// The promise in force: what is lower is refused.
    pub(crate) fn current(&self) -> Promise {
        self.current
    }

    /// Whether the promise in force is durable, so that others may hear of it.
    pub(crate) fn is_forced(&self) -> bool {
        self.forced
    }

    /// The highest promise known to be made by anyone.
    pub(crate) fn highest_known(&self) -> Promise {
        self.highest_known
    }

    /// Whether an epoch that somebody speaks of can be true [epochs-in-steps].
    pub(crate) fn believes(&self, epoch: Epoch) -> bool {
        epoch.0 <= EPOCH_MAX.0.min(self.current.epoch.0.saturating_add(EPOCH_STEP_MAX))
    }

    /// Someone has made this promise.
    pub(crate) fn note_known(&mut self, promise: Promise) {
        self.highest_known = self.highest_known.max(promise);
    }

    /// The promise takes effect; its force is being asked for.
    pub(crate) fn make(&mut self, promise: Promise) {
        assert!(promise > self.current, "promises only grow");
        self.current = promise;
        self.forced = false;
        self.note_known(promise);
    }

    /// This promise is durable; it may have been superseded meanwhile.
    pub(crate) fn persisted(&mut self, promise: Promise) {
        self.forced |= promise == self.current;
    }

    /// Whether a lease that we granted forbids a higher promise now. A leader that released its leases of an epoch for its
    /// successor frees us [release-is-final].
    pub(crate) fn lease_runs(&self, now: Stamp, released: Option<Epoch>) -> bool {
        now < self.granted_until && released != Some(self.current.epoch)
    }

    /// Grants the leader a lease from `now`, the receipt of its message; false if the lease must be logged first.
    pub(crate) fn grant(&mut self, lease: Millis, now: Stamp) -> bool {
        let covered = lease <= self.lease_logged;
        if covered {
            self.granted_until = self.granted_until.max(now.plus(lease));
        }
        covered
    }

    /// Whether this lease is to be logged now: it is longer than what was logged or is being logged.
    pub(crate) fn begin_to_log(&mut self, lease: Millis) -> bool {
        let longer = self.lease_logging.is_none_or(|logging| logging < lease);
        if longer {
            self.lease_logging = Some(lease);
        }
        longer
    }

    /// The log says now that a lease as long as this may have been granted.
    pub(crate) fn lease_logged(&mut self, lease: Millis) {
        self.lease_logged = lease;
    }

    /// The longest lease that a checkpoint must name.
    pub(crate) fn longest_lease(&self) -> Millis {
        self.lease_logged.max(self.lease_logging.unwrap_or_default())
    }

    /// Panics if this does not hold together.
    pub(crate) fn check(&self, now: Stamp) {
        let waited_out = now.plus(self.lease_logged.plus_one());
        assert!(self.granted_until <= waited_out, "a restart waits out every lease that was granted");
        assert!(self.highest_known >= self.current, "our own promise is known to us");
    }
}
