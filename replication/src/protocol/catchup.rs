//! Brings followers level: finds where the logs agree, then sends what is missing, from memory or from the log on
//! disk, a few proposals at a time. New writes go on meanwhile; they join the stream when it has come to them.

use wal::{Entry, Lsn, NodeId, ReplicaId};

use super::effect::Effect;
use super::leader::Leader;
use super::member::Member;
use super::message::{Message, Report};
use super::progress::Stage;
use super::time::Millis;

#[cfg(test)]
#[path = "catchup_tests.rs"]
mod tests;

impl Member<Leader> {
    /// Tells every bound follower where our logs agree.
    pub(crate) fn match_promised(&mut self, out: &mut Vec<Effect>) {
        for node in self.common.others() {
            let Some(progress) = self.role.progress.get_mut(&node) else { continue };
            if let Stage::Promised(report) = &progress.stage {
                let report = report.clone();
                self.match_or_snapshot(node, &report, out);
            }
        }
    }

    pub(crate) fn send_match(&self, node: NodeId, agree: Lsn, reported: Lsn, out: &mut Vec<Effect>) {
        let agree_chain =
            self.common.log.at(agree.seq).filter(|(lsn, _)| *lsn == agree).map(|(_, chain)| chain);
        let message = Message::Match { epoch: self.role.epoch, agree, agree_chain, reported };
        self.common.send(node, message, out);
    }

    /// A follower of this epoch that has restarted tells its log anew.
    pub(crate) fn reported(&mut self, from: ReplicaId, report: &Report, out: &mut Vec<Effect>) {
        let now = self.common.now;
        let Some(progress) = self.role.progress.get_mut(&from.node) else { return };
        progress.heard = Some(now);
        if !matches!(self.role.phase, super::leader::Phase::Leading(_)) {
            return;
        }
        if matches!(progress.stage, Stage::Snapshot(_)) && report.committed.seq <= self.common.flushed().seq {
            // It says so with every heartbeat until it has the snapshot.
            return;
        }
        if progress.stage == Stage::Matched && report.last.seq < progress.matched.seq {
            // Said before what it has acked since; that is in its log forever.
            return;
        }
        self.match_or_snapshot(from.node, report, out);
    }

    pub(crate) fn match_or_snapshot(&mut self, node: NodeId, report: &Report, out: &mut Vec<Effect>) {
        let reported = report.last;
        let Some(agree) = self.common.log.agreement(report) else {
            if report.committed.seq > self.common.flushed().seq {
                // A snapshot must reach as far as it has applied (rule 7).
                out.push(Effect::RequestFlush);
            }
            return self.offer_snapshot(node, out);
        };
        if let Some(progress) = self.role.progress.get_mut(&node) {
            progress.stage = Stage::Matching { agree, reported };
        }
        self.send_match(node, agree, reported, out);
    }

    /// The follower's log ends before our proposal begins.
    pub(crate) fn gap(&mut self, from: ReplicaId, last: Lsn, out: &mut Vec<Effect>) {
        let now = self.common.now;
        let Some(progress) = self.role.progress.get_mut(&from.node) else { return };
        progress.heard = Some(now);
        if progress.stage == Stage::Matched
            && last.seq < progress.sent.seq
            && last.seq >= progress.matched.seq
        {
            progress.restart(last, now);
            self.send_to(from.node, out);
        }
    }

    /// A new stream to the member: what was on the way may be lost.
    pub(crate) fn connected(&mut self, node: NodeId, out: &mut Vec<Effect>) {
        let now = self.common.now;
        if let Some(progress) = self.role.progress.get_mut(&node) {
            let matched = progress.matched;
            progress.restart(matched, now);
            self.nudge(out);
            self.send_to(node, out);
        }
    }

    /// Sends again what has been on the way for too long.
    pub(crate) fn resend_lost(&mut self, node: NodeId, out: &mut Vec<Effect>) {
        let now = self.common.now;
        let wait_max = Millis(self.common.settings().heartbeat.0 * 10);
        let Some(progress) = self.role.progress.get_mut(&node) else { return };
        if progress.window_len() > 0 && now >= progress.moved_at.plus(wait_max) {
            let matched = progress.matched;
            progress.restart(matched, now);
        }
        self.send_to(node, out);
    }

    pub(crate) fn send_to_all(&mut self, out: &mut Vec<Effect>) {
        for node in self.common.others() {
            self.send_to(node, out);
        }
    }

    /// Sends what the follower lacks, as far as its window allows.
    pub(crate) fn send_to(&mut self, node: NodeId, out: &mut Vec<Effect>) {
        if self.has_released() {
            return;
        }
        loop {
            let settings = self.common.settings();
            let (bytes_max, window_max) = (settings.batch_bytes_max, settings.window_len_max);
            let Some(progress) = self.role.progress.get_mut(&node) else { return };
            let ready = progress.stage == Stage::Matched && !progress.reading;
            if !ready
                || progress.sent.seq >= self.common.log.last().seq
                || progress.window_len() >= window_max
            {
                return;
            }
            let after = progress.sent;
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
        if let Some(progress) = self.role.progress.get_mut(&node) {
            progress.proposed(sent, now);
        }
        let message = Message::Propose { epoch: self.role.epoch, prev, entries, heartbeat };
        self.common.send(node, message, out);
    }

    /// Entries for a follower have been read from the log on disk.
    pub(crate) fn log_read(
        &mut self,
        to: NodeId,
        after: Lsn,
        entries: Option<Vec<Entry>>,
        out: &mut Vec<Effect>,
    ) {
        let Some(progress) = self.role.progress.get_mut(&to) else { return };
        progress.reading = false;
        match entries {
            None => {
                if progress.stage == Stage::Matched {
                    self.offer_snapshot(to, out);
                }
            }
            Some(entries) => {
                // What was read may end behind what is live now; a truncation cannot have come between, leaders
                // do not truncate.
                if progress.stage == Stage::Matched && progress.sent == after && !entries.is_empty() {
                    self.propose(to, after, entries, out);
                }
                self.send_to(to, out);
            }
        }
    }
}
