//! The clock of leases and heartbeats: CLOCK_BOOTTIME.
//!
//! It never jumps with the wall clock, and unlike CLOCK_MONOTONIC it goes on while the machine is suspended: a
//! leader that wakes up after an hour must find its lease run out [lease-margin].

use rustix::time::{ClockId, clock_gettime};

use crate::protocol::time::Stamp;

/// This node's boot-time clock now.
pub(crate) fn now() -> Stamp {
    let time = clock_gettime(ClockId::Boottime);
    // Boot time is never negative; the casts cannot lose anything.
    let (seconds, nanos) = (time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs());
    Stamp(seconds.saturating_mul(1_000_000).saturating_add(nanos / 1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows() {
        let first = now();
        let second = now();
        assert!(first.0 > 0 && second >= first);
    }
}
