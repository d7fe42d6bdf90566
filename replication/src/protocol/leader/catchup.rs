//! Brings followers level: finds where the logs agree, then sends what is missing, from memory or from the log on
//! disk, a few proposals at a time. New writes go on meanwhile; they join the stream when it has come to them.

use wal::{Entry, Lsn, NodeId, ReplicaId};

use super::progress::{Following, Progress};
use super::role::{Leader, Phase};
use crate::protocol::effect::Effect;
use crate::protocol::log::Agreement;
use crate::protocol::member::Member;
use crate::protocol::message::{FromLeader, Report};
use crate::protocol::notice::Notice;
use crate::protocol::time::Millis;

#[cfg(test)]
#[path = "catchup_tests.rs"]
mod tests;

impl Member<'_, Leader> {
    /// Starts to match every follower that is bound to us: where do our logs agree?
    pub(super) fn match_promised(&mut self, out: &mut Vec<Effect>) {
        for node in self.common.others() {
            let report = self.role.progress.get(&node).and_then(Progress::promised).cloned();
            if let Some(report) = report {
                self.match_or_snapshot(node, &report, out);
            }
        }
    }

    pub(super) fn send_match(
        &self,
        node: NodeId,
        (agree, committed): (Lsn, Lsn),
        reported: Lsn,
        out: &mut Vec<Effect>,
    ) {
        let chain =
            |lsn: Lsn| self.common.log.at(lsn.seq).filter(|(at, _)| *at == lsn).map(|(_, chain)| chain);
        let (agree_chain, committed_chain) = (chain(agree), chain(committed));
        self.send(node, FromLeader::Match { agree, agree_chain, reported, committed_chain }, out);
    }

    /// A follower of this epoch that has restarted reports its log anew.
    pub(super) fn reported(&mut self, from: ReplicaId, report: &Report, out: &mut Vec<Effect>) {
        let (now, flushed) = (self.common.now, self.common.flushed());
        let Some(progress) = self.role.progress.get_mut(&from.node) else { return };
        progress.contact.heard(now);
        if !matches!(self.role.phase, Phase::Leading(_)) {
            return;
        }
        if progress.takes_snapshot() && report.committed.seq <= flushed.seq {
            // It reports with every heartbeat until it has the snapshot.
            return;
        }
        if progress.is_replicating() && report.last.seq < progress.matched.seq {
            // Sent before what it has acked since; that is in its log forever.
            return;
        }
        self.match_or_snapshot(from.node, report, out);
    }

    pub(crate) fn match_or_snapshot(&mut self, node: NodeId, report: &Report, out: &mut Vec<Effect>) {
        let Report { last: reported, committed, .. } = *report;
        let agree = match self.common.log.agreement(report) {
            Agreement::At(agree) => agree,
            Agreement::Lacks(agree) => {
                // It drops nothing that it has committed: this tells it, and whoever looks at it.
                self.lacks(node, committed, out);
                agree
            }
            Agreement::Unknown => {
                if committed.seq > self.common.flushed().seq {
                    // A snapshot must reach as far as the receiver has applied.
                    out.push(Effect::RequestFlush);
                }
                return self.offer_snapshot(node, out);
            }
        };
        let (last, now) = (self.common.log.last(), self.common.now);
        if let Some(progress) = self.role.progress.get_mut(&node) {
            progress.following = Following::Probe { agree, committed, reported };
            if progress.catching_up.is_none() && agree.seq < last.seq {
                progress.catching_up = Some((last, now));
                out.push(Effect::Notice(Notice::CatchUpBegun { follower: node, agree, upto: last }));
            }
        }
        self.send_match(node, (agree, committed), reported, out);
    }

    /// A member has committed what is not in this log: a majority has lost something. Said once
    /// [committed-is-never-dropped].
    fn lacks(&mut self, node: NodeId, committed: Lsn, out: &mut Vec<Effect>) {
        let Some(progress) = self.role.progress.get_mut(&node) else { return };
        if progress.lacked.replace(committed) != Some(committed) {
            let text = format!("{node} has committed up to {committed} what is not in this leader's log");
            self.common.alarm(text, out);
        }
    }

    /// Says that a follower has all that it lacked, if it now has.
    pub(crate) fn note_caught_up(&mut self, follower: NodeId, out: &mut Vec<Effect>) {
        let now = self.common.now;
        let ended = self.role.progress.get_mut(&follower).and_then(Progress::caught_up);
        if let Some((upto, since)) = ended {
            out.push(Effect::Notice(Notice::CatchUpEnded { follower, upto, took: now.since(since) }));
        }
    }

    /// The follower's log ends before our proposal begins [no-gaps].
    pub(super) fn gap(&mut self, from: ReplicaId, last: Lsn, out: &mut Vec<Effect>) {
        let now = self.common.now;
        let Some(progress) = self.role.progress.get_mut(&from.node) else { return };
        progress.contact.heard(now);
        let matched = progress.matched;
        let behind = |sent: Lsn| last.seq < sent.seq && last.seq >= matched.seq;
        if progress.stream().is_some_and(|stream| behind(stream.sent())) {
            progress.restart(last, now);
            self.send_to(from.node, out);
        }
    }

    /// A new stream to the member: what was on the way may be lost.
    pub(super) fn connected(&mut self, node: NodeId, out: &mut Vec<Effect>) {
        let now = self.common.now;
        if let Some(progress) = self.role.progress.get_mut(&node) {
            progress.restart(progress.matched, now);
            self.nudge(out);
            self.send_to(node, out);
        }
    }

    /// Sends again what has been on the way for too long [lost-is-sent-again].
    pub(super) fn resend_lost(&mut self, node: NodeId, out: &mut Vec<Effect>) {
        let now = self.common.now;
        let wait_max = Millis(self.common.settings().heartbeat.0 * 10);
        let Some(progress) = self.role.progress.get_mut(&node) else { return };
        if progress.stream().is_some_and(|stream| stream.stalls(now, wait_max)) {
            progress.restart(progress.matched, now);
        }
        self.send_to(node, out);
    }

    pub(super) fn send_to_all(&mut self, out: &mut Vec<Effect>) {
        for node in self.common.others() {
            self.send_to(node, out);
        }
    }

    /// Sends what the follower lacks, as far as its window allows.
    pub(crate) fn send_to(&mut self, node: NodeId, out: &mut Vec<Effect>) {
        if self.role.transfers.has_released() {
            return;
        }
        loop {
            let settings = self.common.settings();
            let (bytes_max, window_max) = (settings.batch_bytes_max, settings.window_len_max);
            let Some(progress) = self.role.progress.get_mut(&node) else { return };
            if progress.reading {
                return;
            }
            let Some(stream) = progress.stream() else { return };
            let after = stream.sent();
            if after.seq >= self.common.log.last().seq || stream.window_len() >= window_max {
                return;
            }
            match self.common.log.behind(after, bytes_max) {
                Some(entries) => self.propose(node, after, entries, out),
                None => {
                    progress.reading = true;
                    return out.push(Effect::ReadLog { to: node, after, bytes_max });
                }
            }
        }
    }

    fn propose(&mut self, node: NodeId, prev: Lsn, entries: Vec<Entry>, out: &mut Vec<Effect>) {
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return };
        debug_assert_eq!(first.prev, prev);
        let sent = last.lsn;
        let heartbeat = self.next_heartbeat(node, false);
        let now = self.common.now;
        if let Some(stream) = self.role.progress.get_mut(&node).and_then(Progress::stream) {
            stream.proposed(sent, now);
        }
        self.send(node, FromLeader::Propose { prev, entries, heartbeat }, out);
    }

    /// Entries for a follower have been read from the log on disk.
    pub(super) fn log_read(
        &mut self,
        to: NodeId,
        after: Lsn,
        entries: Option<Vec<Entry>>,
        out: &mut Vec<Effect>,
    ) {
        let Some(progress) = self.role.progress.get_mut(&to) else { return };
        progress.reading = false;
        let sent = progress.stream().map(|stream| stream.sent());
        match entries {
            None if sent.is_some() => self.offer_snapshot(to, out),
            None => {}
            Some(entries) => {
                // What was read may end behind what is live now; a truncation cannot have come between, leaders
                // do not truncate.
                if sent == Some(after) && !entries.is_empty() {
                    self.propose(to, after, entries, out);
                }
                self.send_to(to, out);
            }
        }
    }
}
