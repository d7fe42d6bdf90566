//! Periods and limits of a cohort. All members of a cluster should use the same.

use super::time::Millis;

/// Longest lease that may be asked for: a follower believes no longer one ([`crate::runtime`] refuses it), for a leader that
/// asks for more than a minute is broken.
pub const LEASE_MAX: Millis = Millis(60_000);

/// Periods and limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How often [`super::event::Event::Tick`] comes at least.
    pub tick: Millis,
    /// A leader is heard at least so often.
    pub heartbeat: Millis,
    /// Commit messages, and Commit records in the log, come at most so often (paper, section 5).
    pub commit_period: Millis,
    /// Whether the commit point rides on proposals and heartbeats too. Off reproduces the paper: followers learn
    /// it once in a commit period.
    pub commit_piggyback: bool,
    /// How long a follower's grant to its leader lasts, on the follower's clock.
    pub lease: Millis,
    /// The leader counts so much less of a grant, for clocks that run at different rates.
    pub drift_percent: u32,
    /// Silence after which a leader is suspected; shorter than `lease`, since the lease is waited out in any case.
    pub suspect_after: Millis,
    /// Writes in flight at most; further ones are refused as overloaded.
    pub queue_len_max: usize,
    /// Payload of the writes in flight at most, in bytes.
    pub queue_bytes_max: u64,
    /// Payload of one proposal at most (a larger single entry goes alone), in bytes.
    pub batch_bytes_max: u64,
    /// Proposals on the way to one follower at most; what comes meanwhile goes out as one.
    pub window_len_max: usize,
    /// Applied entries kept in memory for followers that lag a little, in bytes of payload.
    pub tail_bytes_max: u64,
    /// A leader whose own log has not been forced for so long transfers its leadership [unfit-leader-transfers].
    pub force_wait_max: Millis,
    /// Parts of snapshots leave a node at most so fast, over all cohorts, in bytes a second.
    pub snapshot_bytes_per_s: u64,
    /// A transfer of leadership is given up when the successor has not caught up by then.
    pub transfer_timeout: Millis,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            tick: Millis(10),
            heartbeat: Millis(50),
            commit_period: Millis(50),
            commit_piggyback: true,
            lease: Millis(500),
            drift_percent: 10,
            suspect_after: Millis(400),
            queue_len_max: 16_384,
            queue_bytes_max: 64 << 20,
            batch_bytes_max: 512 << 10,
            window_len_max: 4,
            tail_bytes_max: 4 << 20,
            force_wait_max: Millis(1000),
            snapshot_bytes_per_s: 64 << 20,
            transfer_timeout: Millis(2000),
        }
    }
}

impl Settings {
    /// The part of a grant that the leader counts.
    pub(crate) fn lease_counted(&self, lease: Millis) -> Millis {
        // Rounded up: a margin of a short lease is no less needed.
        let margin = (u64::from(lease.0) * u64::from(self.drift_percent.min(100))).div_ceil(100);
        Millis(lease.0 - u32::try_from(margin).unwrap_or(lease.0).min(lease.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_lease_has_its_margin() {
        let settings = Settings::default();
        for lease in 1..=LEASE_MAX.0 {
            let counted = settings.lease_counted(Millis(lease)).0;
            assert!(counted * 10 <= lease * 9 && lease - counted <= lease / 10 + 1, "{counted} of {lease}");
        }
        let all = Settings { drift_percent: 250, ..settings };
        assert_eq!(all.lease_counted(LEASE_MAX), Millis(0));
    }
}
