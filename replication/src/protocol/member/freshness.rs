//! How old this replica's data are at most [staleness-by-echo].
//!
//! A follower's ack carries its own clock. A leader that holds its lease echoes that stamp with its commit point: everything
//! committed before the stamp is covered by the commit point. Once that much is applied here, everything committed before
//! the stamp is. The time since the receipt of a message would say too little: the message may have been long on its way.

use wal::Lsn;

use crate::protocol::time::{Millis, Stamp};

/// What is known of the age of the data.
#[derive(Debug, Default)]
pub(crate) struct Freshness {
    /// Our own stamp as a leased leader last echoed it, and the commit point that came with it.
    echo: Option<(Stamp, Lsn)>,
    /// Everything committed before this stamp is applied here; it never goes back.
    fresh_at: Option<Stamp>,
}

impl Freshness {
    /// How old the data are at most, rounded up; `None` if that is not known.
    pub(crate) fn staleness(&self, now: Stamp) -> Option<Millis> {
        self.fresh_at.map(|fresh_at| now.since(fresh_at).plus_one())
    }

    /// A leader echoes our stamp `own` with its commit point. An echo whose commit point is not applied yet is kept until it
    /// is: a newer one would put that off for as long as echoes come.
    pub(crate) fn echoed(&mut self, own: Stamp, committed: Lsn, applied: Lsn) {
        if self.echo.is_none_or(|(_, lsn)| applied.seq >= lsn.seq) {
            self.echo = Some((own, committed));
        }
    }

    /// This replica led and held its lease until `until`: everything committed before is applied here.
    pub(crate) fn led_until(&mut self, until: Stamp) {
        self.fresh_at = self.fresh_at.max(Some(until));
    }

    /// Everything up to `applied` is applied.
    pub(crate) fn advance(&mut self, applied: Lsn) {
        if let Some((own, lsn)) = self.echo
            && applied.seq >= lsn.seq
        {
            self.fresh_at = self.fresh_at.max(Some(own));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_leader_knew_outlives_its_leadership() {
        let mut freshness = Freshness::default();
        freshness.echoed(Stamp(1_000), Lsn::new(1, 5), Lsn::new(1, 5));
        freshness.advance(Lsn::new(1, 5));
        freshness.led_until(Stamp(60_000_000));
        assert_eq!(freshness.staleness(Stamp(61_000_000)), Some(Millis(1001)));
        // An older word takes nothing back.
        freshness.led_until(Stamp(2_000));
        assert_eq!(freshness.staleness(Stamp(61_000_000)), Some(Millis(1001)));
    }
}
