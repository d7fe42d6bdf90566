//! What a leader knows of one follower: the counterpart of Raft's `Progress`.
//!
//! [`Following`] is where the follower stands in this epoch. Each state holds only what it needs, and leaving it drops that:
//! Silent → Promised (bound to us, its log known) → Probe (where the logs agree is announced) → Replicate; or Snapshot, where
//! our log does not reach back to its own. [`Contact`] is what was last heard of it, whatever its state.
//!
//! `matched` outlives the states: what was once forced there and equal to our log stays so for the whole epoch.

use std::collections::VecDeque;

use wal::Lsn;

use crate::protocol::message::{OwnStamp, Report, SnapshotPart};
use crate::protocol::time::{Millis, Stamp};

/// Where the follower stands in this epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Following {
    /// Not bound to us, as far as we know: it is asked for its promise.
    Silent,
    /// Bound to us; its log as it reported it.
    Promised(Report),
    /// It has been sent the point where our logs agree, and has not confirmed that yet.
    Probe {
        /// The last LSN that the logs have in common.
        agree: Lsn,
        /// Up to where the follower knows what is committed.
        committed: Lsn,
        /// The last LSN that the follower reported.
        reported: Lsn,
    },
    /// Its log is a prefix of ours, and entries are streamed to it.
    Replicate(Stream),
    /// Our log does not reach back to its own: it is sent a snapshot of our tables.
    Snapshot(SnapshotTransfer),
}

/// The stream of proposals to a follower whose log is a prefix of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stream {
    /// Last LSN sent.
    sent: Lsn,
    /// Last LSN of each proposal on the way, oldest first; none is beyond `sent`.
    window: VecDeque<Lsn>,
    /// When the window last moved, to find lost proposals.
    moved_at: Stamp,
}

/// A snapshot on its way to a follower.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SnapshotTransfer {
    /// Distinguishes it from other snapshots.
    pub(crate) snapshot: u64,
    /// The part sent last, kept until the next one is asked for.
    pub(crate) sent: Option<SnapshotPart>,
    /// A part is being read.
    pub(crate) reading: bool,
    /// Bytes sent so far.
    pub(crate) bytes: u64,
    /// When its first part was asked for.
    pub(crate) begun_at: Option<Stamp>,
    /// When something was last sent; `None`: that is lost.
    sent_at: Option<Stamp>,
    /// How often that was sent again.
    repeats: u32,
}

/// What was last heard of a follower.
#[derive(Clone, Debug, Default)]
pub(crate) struct Contact {
    /// When it was last heard, even if it refused us.
    heard: Option<Stamp>,
    /// Our newest stamp that it answered.
    answered: Option<Stamp>,
    /// Our newest stamp for which it granted a lease; never newer than `answered`.
    granted: Option<Stamp>,
    /// Its own newest stamp, to be echoed [staleness-by-echo].
    own_stamp: Option<OwnStamp>,
}

/// A follower as seen by its leader.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    pub(crate) following: Following,
    /// Last LSN forced there and equal to ours; counts for commits.
    pub(crate) matched: Lsn,
    /// Entries for it are being read from the log on disk. The answer may come when its state has changed.
    pub(crate) reading: bool,
    /// A snapshot on its way there, to repair its tables; its log is ours all the while.
    pub(crate) repair: Option<SnapshotTransfer>,
    /// It has lost its log and is brought up to date: its acks count for nothing [rejoin-as-learner].
    pub(crate) learner: bool,
    /// Where our log ended when we began to bring it up to date.
    pub(crate) learner_target: Lsn,
    /// It has committed up to here what our log lacks: an alarm was raised [committed-is-never-dropped].
    pub(crate) lacked: Option<Lsn>,
    pub(crate) contact: Contact,
    /// It is silent, and that was said.
    pub(crate) lost: bool,
    /// It is being brought level: up to where, and since when.
    pub(crate) catching_up: Option<(Lsn, Stamp)>,
}

impl Stream {
    /// Sends from behind `matched`; nothing is on the way.
    fn from(matched: Lsn, now: Stamp) -> Stream {
        Stream { sent: matched, window: VecDeque::new(), moved_at: now }
    }

    pub(crate) fn sent(&self) -> Lsn {
        self.sent
    }

    /// Proposals on the way.
    pub(crate) fn window_len(&self) -> usize {
        self.window.len()
    }

    /// Whether proposals are on the way and the follower has acked nothing for `wait_max`: they may be lost.
    pub(crate) fn stalls(&self, now: Stamp, wait_max: Millis) -> bool {
        !self.window.is_empty() && now >= self.moved_at.plus(wait_max)
    }

    /// A proposal up to `lsn` went out.
    pub(crate) fn proposed(&mut self, lsn: Lsn, now: Stamp) {
        if self.window.is_empty() {
            self.moved_at = now;
        }
        self.sent = lsn;
        self.window.push_back(lsn);
    }

    /// The follower has forced everything up to `matched`; `moved` if that is more than before.
    fn acked(&mut self, matched: Lsn, moved: bool, now: Stamp) {
        if moved {
            self.moved_at = now;
        }
        if self.sent.seq < matched.seq {
            self.sent = matched;
        }
        while self.window.front().is_some_and(|sent| sent.seq <= matched.seq) {
            self.window.pop_front();
        }
    }
}

impl SnapshotTransfer {
    pub(crate) fn new(snapshot: u64) -> SnapshotTransfer {
        SnapshotTransfer {
            snapshot,
            sent: None,
            reading: false,
            bytes: 0,
            begun_at: None,
            sent_at: None,
            repeats: 0,
        }
    }

    /// Something new goes out now.
    pub(crate) fn goes_out(&mut self, now: Stamp) {
        (self.sent_at, self.repeats) = (Some(now), 0);
    }

    /// Whether what was sent last is to be sent again, which is then counted: it may be lost, or its receiver is slow, so
    /// after ten heartbeats, and then after twice as long each time, up to forty.
    pub(crate) fn repeats(&mut self, now: Stamp, heartbeat: Millis) -> bool {
        let wait = Millis(heartbeat.0.saturating_mul(10 << self.repeats.min(2)));
        let due = !self.reading && self.sent_at.is_none_or(|sent_at| now.since(sent_at) >= wait);
        if due {
            (self.sent_at, self.repeats) = (Some(now), self.repeats.saturating_add(1));
        }
        due
    }

    /// What was sent is lost for certain: it may go out again at once.
    fn lost(&mut self) {
        (self.sent_at, self.repeats) = (None, 0);
    }

    /// Whether a follower that has forced everything up to `forced` has the snapshot in place.
    fn is_installed_at(&self, forced: Lsn) -> bool {
        self.sent.as_ref().is_some_and(|part| forced.seq >= part.flushed.seq)
    }
}

impl Contact {
    pub(crate) fn heard(&mut self, now: Stamp) {
        self.heard = Some(now);
    }

    /// Whether it was heard less than `within` ago.
    pub(crate) fn heard_within(&self, within: Millis, now: Stamp) -> bool {
        self.heard.is_some_and(|at| now < at.plus(within))
    }

    /// How long it has not been heard; by one who leads since `since`.
    pub(crate) fn silence(&self, since: Stamp, now: Stamp) -> Millis {
        now.since(self.heard.unwrap_or(since).max(since))
    }

    /// It has answered our message of this stamp.
    pub(crate) fn answered(&mut self, stamp: Stamp, grants: bool) {
        self.answered = self.answered.max(Some(stamp));
        if grants {
            self.granted = self.granted.max(Some(stamp));
        }
    }

    pub(crate) fn newest_answered(&self) -> Option<Stamp> {
        self.answered
    }

    pub(crate) fn newest_granted(&self) -> Option<Stamp> {
        self.granted
    }

    /// Its own clock: the newest stamp of its newest life is echoed.
    pub(crate) fn note_own_stamp(&mut self, own: OwnStamp) {
        if self.own_stamp.is_none_or(|known| known.life != own.life || known.at < own.at) {
            self.own_stamp = Some(own);
        }
    }

    pub(crate) fn own_stamp(&self) -> Option<OwnStamp> {
        self.own_stamp
    }
}

impl Progress {
    pub(crate) fn new() -> Progress {
        Progress {
            following: Following::Silent,
            matched: Lsn::ZERO,
            reading: false,
            repair: None,
            learner: false,
            learner_target: Lsn::ZERO,
            lacked: None,
            contact: Contact::default(),
            lost: false,
            catching_up: None,
        }
    }

    /// It has lost its log. Until now it may have counted, so all that is in our log, up to `last`, is its target, also
    /// while a snapshot that was begun before is under way [rejoin-as-learner].
    pub(crate) fn note_learner(&mut self, last: Lsn) {
        if !std::mem::replace(&mut self.learner, true) {
            self.learner_target = last;
        }
    }

    /// The stream of proposals, if entries are streamed to it.
    pub(crate) fn stream(&mut self) -> Option<&mut Stream> {
        match &mut self.following {
            Following::Replicate(stream) => Some(stream),
            Following::Silent | Following::Promised(_) | Following::Probe { .. } | Following::Snapshot(_) => {
                None
            }
        }
    }

    pub(crate) fn is_replicating(&self) -> bool {
        matches!(self.following, Following::Replicate(_))
    }

    pub(crate) fn takes_snapshot(&self) -> bool {
        matches!(self.following, Following::Snapshot(_))
    }

    /// Its log as it reported it when it bound itself to us, if nothing has come of that yet.
    pub(crate) fn promised(&self) -> Option<&Report> {
        match &self.following {
            Following::Promised(report) => Some(report),
            Following::Silent
            | Following::Probe { .. }
            | Following::Replicate(_)
            | Following::Snapshot(_) => None,
        }
    }

    /// The follower confirmed that its log is ours up to `matched`: send from there.
    pub(crate) fn replicate_from(&mut self, matched: Lsn, now: Stamp) {
        self.matched = matched;
        self.following = Following::Replicate(Stream::from(matched, now));
    }

    /// Sends again from behind `from`: what was on the way may be lost.
    pub(crate) fn restart(&mut self, from: Lsn, now: Stamp) {
        if let Some(stream) = self.stream() {
            *stream = Stream::from(from, now);
        }
        if let Some(transfer) = self.transfer() {
            transfer.lost();
        }
    }

    /// The snapshot that is on its way there.
    pub(crate) fn transfer(&mut self) -> Option<&mut SnapshotTransfer> {
        match &mut self.following {
            Following::Snapshot(transfer) => Some(transfer),
            Following::Silent
            | Following::Promised(_)
            | Following::Probe { .. }
            | Following::Replicate(_) => self.repair.as_mut(),
        }
    }

    /// The catch-up that has ended, if one has: up to where, and since when it ran.
    pub(crate) fn caught_up(&mut self) -> Option<(Lsn, Stamp)> {
        let (replicating, matched) = (self.is_replicating(), self.matched);
        self.catching_up.take_if(|(upto, _)| replicating && matched.seq >= upto.seq)
    }

    /// The follower has forced everything up to `forced`, whatever state it is in.
    pub(crate) fn acked(&mut self, forced: Lsn, now: Stamp) {
        match &mut self.following {
            Following::Replicate(stream) => {
                let moved = forced.seq > self.matched.seq;
                if moved {
                    self.matched = forced;
                }
                stream.acked(self.matched, moved, now);
            }
            Following::Probe { .. } => self.replicate_from(forced, now),
            // The log goes on from the snapshot, which is in place there.
            Following::Snapshot(transfer) if transfer.is_installed_at(forced) => {
                self.replicate_from(forced, now);
            }
            Following::Snapshot(_) => {}
            // An ack from before it restarted, or before we knew its log: it will report.
            Following::Silent | Following::Promised(_) => {}
        }
    }

    /// Panics if this does not hold together.
    pub(crate) fn check(&self) {
        assert!(self.contact.granted <= self.contact.answered, "a grant is an answer");
        if let Following::Replicate(stream) = &self.following {
            assert!(stream.sent.seq >= self.matched.seq, "what is matched need not be sent");
            let newest = stream.window.back().copied().unwrap_or(stream.sent);
            assert!(newest == stream.sent, "the newest proposal on the way is the last one sent");
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    const NOW: Stamp = Stamp(1);

    fn lsn(seq: u64) -> Lsn {
        Lsn::new(3, seq)
    }

    fn part(flushed: Lsn) -> SnapshotPart {
        SnapshotPart { number: 0, flushed, bytes: Bytes::new(), last: true }
    }

    #[test]
    fn a_part_is_sent_again_later_and_later_until_something_new_goes_out() {
        let (mut transfer, heartbeat) = (SnapshotTransfer::new(1), Millis(50));
        let start = Stamp(1_000_000);
        let sent = |transfer: &mut SnapshotTransfer| {
            let at = (0..600).map(|tick| start.plus(Millis(tick * 10)));
            let times = at.filter(|now| transfer.repeats(*now, heartbeat));
            times.map(|now| now.since(start).0).collect::<Vec<_>>()
        };
        transfer.goes_out(start);
        assert_eq!(sent(&mut transfer), [500, 1500, 3500, 5500]);
        transfer.goes_out(start);
        assert_eq!(sent(&mut transfer)[0], 500);
        transfer.lost();
        assert!(transfer.repeats(start, heartbeat));
        transfer.lost();
        transfer.reading = true;
        assert!(!transfer.repeats(start, heartbeat), "a newer one is on its way");
    }

    #[test]
    fn an_ack_confirms_a_probe_and_moves_the_window() {
        let mut progress = Progress::new();
        progress.acked(lsn(5), NOW);
        assert_eq!((&progress.following, progress.matched), (&Following::Silent, Lsn::ZERO));
        progress.following = Following::Probe { agree: lsn(5), committed: lsn(5), reported: lsn(7) };
        progress.acked(lsn(5), NOW);
        for seq in [6, 8] {
            progress.stream().expect("it replicates").proposed(lsn(seq), NOW);
        }
        progress.acked(lsn(7), NOW);
        progress.check();
        let matched = progress.matched;
        let stream = progress.stream().expect("it replicates");
        assert_eq!((matched, stream.sent(), stream.window_len()), (lsn(7), lsn(8), 1));
        progress.restart(matched, NOW);
        let stream = progress.stream().expect("it replicates");
        assert_eq!((stream.sent(), stream.window_len()), (lsn(7), 0));
    }

    #[test]
    fn a_snapshot_is_over_when_its_lsn_is_acked() {
        let mut progress = Progress::new();
        let sent = Some(part(lsn(10)));
        progress.following = Following::Snapshot(SnapshotTransfer { sent, ..SnapshotTransfer::new(1) });
        progress.acked(lsn(9), NOW);
        assert!(progress.takes_snapshot());
        progress.acked(lsn(10), NOW);
        assert!(progress.is_replicating());
        assert_eq!(progress.matched, lsn(10));
    }
}
