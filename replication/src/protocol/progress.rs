//! What a leader knows of one follower.

use std::collections::VecDeque;

use wal::Lsn;

use super::message::{OwnStamp, Report, SnapshotPart};
use super::time::Stamp;

/// How far the follower has come in this epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Not bound to us yet, as far as we know.
    Silent,
    /// Bound to us; its log as it reported it.
    Promised(Report),
    /// Told where our logs agree; it has not confirmed yet.
    Matching {
        /// Agreement point.
        agree: Lsn,
        /// The last LSN that the follower reported.
        reported: Lsn,
    },
    /// Our log does not reach back to its own: it is sent a snapshot of our tables.
    Snapshot(SnapshotProgress),
    /// Its log is a prefix of ours up to `matched`.
    Matched,
}

/// A snapshot on its way to a follower.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SnapshotProgress {
    /// Tells it from others.
    pub(crate) snapshot: u64,
    /// The part sent last, kept until the next one is asked for.
    pub(crate) sent: Option<SnapshotPart>,
    /// A part is being read.
    pub(crate) reading: bool,
}

/// A follower as seen by its leader.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    pub(crate) stage: Stage,
    /// Last LSN forced there and equal to ours; counts for commits.
    pub(crate) matched: Lsn,
    /// Last LSN sent.
    pub(crate) sent: Lsn,
    /// Last LSN of each proposal on the way.
    window: VecDeque<Lsn>,
    /// When the window last moved, to find lost proposals.
    pub(crate) moved_at: Stamp,
    /// Entries for it are being read from the log on disk.
    pub(crate) reading: bool,
    /// A snapshot on its way there, to repair its tables; its log is ours all the while.
    pub(crate) repair: Option<SnapshotProgress>,
    /// It has lost its log and learns: its acks count for nothing (rule 5).
    pub(crate) learner: bool,
    /// Where our log ended when it began to learn.
    pub(crate) learner_target: Lsn,
    /// When it was last heard.
    pub(crate) heard: Option<Stamp>,
    /// Our newest stamp that it answered.
    pub(crate) answered: Option<Stamp>,
    /// Our newest stamp for which it granted a lease.
    pub(crate) granted: Option<Stamp>,
    /// Its own newest stamp, to be echoed.
    pub(crate) own_stamp: Option<OwnStamp>,
}

impl Progress {
    pub(crate) fn new(now: Stamp) -> Progress {
        Progress {
            stage: Stage::Silent,
            matched: Lsn::ZERO,
            sent: Lsn::ZERO,
            window: VecDeque::new(),
            moved_at: now,
            reading: false,
            repair: None,
            learner: false,
            learner_target: Lsn::ZERO,
            heard: None,
            answered: None,
            granted: None,
            own_stamp: None,
        }
    }

    /// The follower confirmed that its log is ours up to `matched`: send from there.
    pub(crate) fn match_at(&mut self, matched: Lsn, now: Stamp) {
        self.stage = Stage::Matched;
        self.matched = matched;
        self.restart(matched, now);
    }

    /// Sends again from behind `from`: what was on the way may be lost.
    pub(crate) fn restart(&mut self, from: Lsn, now: Stamp) {
        self.sent = from;
        self.window.clear();
        self.moved_at = now;
    }

    /// A proposal up to `lsn` went out.
    pub(crate) fn proposed(&mut self, lsn: Lsn, now: Stamp) {
        if self.window.is_empty() {
            self.moved_at = now;
        }
        self.sent = lsn;
        self.window.push_back(lsn);
    }

    /// It has told its own clock: the newest of its newest life is echoed.
    pub(crate) fn note_own_stamp(&mut self, own: OwnStamp) {
        if self.own_stamp.is_none_or(|known| known.life != own.life || known.at < own.at) {
            self.own_stamp = Some(own);
        }
    }

    /// Proposals on the way.
    pub(crate) fn window_len(&self) -> usize {
        self.window.len()
    }

    /// The snapshot that is on its way there.
    pub(crate) fn transfer(&mut self) -> Option<&mut SnapshotProgress> {
        match &mut self.stage {
            Stage::Snapshot(transfer) => Some(transfer),
            Stage::Silent | Stage::Promised(_) | Stage::Matching { .. } | Stage::Matched => {
                self.repair.as_mut()
            }
        }
    }

    /// The follower forced up to `forced`, whatever stage it is in.
    pub(crate) fn level(&mut self, forced: Lsn, now: Stamp) {
        match &self.stage {
            Stage::Matched => self.acked(forced, now),
            Stage::Matching { .. } => self.match_at(forced, now),
            // The snapshot is in force there, and the log goes on from it.
            Stage::Snapshot(SnapshotProgress { sent: Some(part), .. }) if forced.seq >= part.flushed.seq => {
                self.match_at(forced, now);
            }
            Stage::Snapshot(_) => {}
            // An ack from before it restarted, or before we knew its log: it will report.
            Stage::Silent | Stage::Promised(_) => {}
        }
    }

    /// The follower forced up to `lsn`.
    pub(crate) fn acked(&mut self, lsn: Lsn, now: Stamp) {
        if lsn.seq > self.matched.seq {
            self.matched = lsn;
            self.moved_at = now;
        }
        if self.sent.seq < self.matched.seq {
            self.sent = self.matched;
        }
        while self.window.front().is_some_and(|sent| sent.seq <= self.matched.seq) {
            self.window.pop_front();
        }
    }
}
