//! The lease that a leader holds, and the heartbeats that earn it.
//!
//! The lease runs from the *sending* of the message that a majority has answered with a grant, and the leader counts less than
//! the followers grant, for clocks of different rates [lease-margin]. It only ever grows while the leadership lasts, and is
//! dropped for good when the leases are released for a successor [release-is-final].

use wal::Lsn;

use crate::protocol::settings::Settings;
use crate::protocol::time::{Millis, Stamp};

/// Until when a majority grants the lease.
#[derive(Debug, Default)]
pub(crate) struct LeaseHeld {
    until: Stamp,
}

impl LeaseHeld {
    pub(crate) fn until(&self) -> Stamp {
        self.until
    }

    pub(crate) fn holds(&self, now: Stamp) -> bool {
        now < self.until
    }

    /// A majority has granted the lease for the message that was stamped `sent`; says whether it runs longer now.
    pub(crate) fn extend(&mut self, sent: Stamp, settings: &Settings) -> bool {
        let until = sent.plus(settings.lease_counted(settings.lease));
        let longer = until > self.until;
        if longer {
            self.until = until;
        }
        longer
    }

    pub(crate) fn drop_for_good(&mut self) {
        self.until = Stamp(0);
    }
}

/// When heartbeats went out, and what they said.
#[derive(Debug, Default)]
pub(crate) struct Heartbeats {
    /// Newest stamp given out; stamps only grow, so that answers can be distinguished.
    stamp: Stamp,
    sent_at: Option<Stamp>,
    /// The commit point as last announced to followers when it does not ride on proposals.
    announced: Lsn,
    /// When that was.
    announced_at: Option<Stamp>,
}

impl Heartbeats {
    /// A stamp for the next message, larger than all before and not earlier than `now`.
    pub(crate) fn next_stamp(&mut self, now: Stamp) -> Stamp {
        self.stamp = Stamp(self.stamp.0 + 1).max(now);
        self.stamp
    }

    pub(crate) fn newest_stamp(&self) -> Stamp {
        self.stamp
    }

    /// Whether this leader has given the stamp out.
    pub(crate) fn has_sent(&self, stamp: Stamp) -> bool {
        stamp <= self.stamp && stamp > Stamp(0)
    }

    pub(crate) fn are_due(&self, now: Stamp, period: Millis) -> bool {
        self.sent_at.is_none_or(|at| now >= at.plus(period))
    }

    pub(crate) fn sent(&mut self, now: Stamp) {
        self.sent_at = Some(now);
    }

    pub(crate) fn announced(&self) -> Lsn {
        self.announced
    }

    /// Whether the commit point is to be announced again: at most once in a period (paper, section 5).
    pub(crate) fn announcement_is_due(&self, now: Stamp, period: Millis) -> bool {
        self.announced_at.is_none_or(|at| now >= at.plus(period))
    }

    pub(crate) fn announce(&mut self, committed: Lsn, now: Stamp) {
        (self.announced, self.announced_at) = (committed, Some(now));
    }
}
