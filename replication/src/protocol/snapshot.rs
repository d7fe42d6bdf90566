//! Brings a follower level that the log no longer reaches: a snapshot of the leader's tables, part by part (Raft's
//! InstallSnapshot).
//!
//! The follower pulls: the leader offers, the follower asks for part 0, 1, .. and says what its own tables hold; each part
//! is kept by its store before it asks for the next, so one part at a time is on its way and a lost one is asked for
//! again. With the last part the store puts the snapshot in place by one manifest edit. From then on the follower's log
//! begins at the snapshot's LSN, which is in the leader's log by construction: it is matched there, and catches up from the
//! log. Nothing is ever skipped on this path [skip-needs-proof]: what the snapshot replaces is superseded because the snapshot
//! has it.

use wal::{Lsn, NodeId, ReplicaId};

use super::effect::Effect;
use super::event::Received;
use super::follower::{Follower, Receiving};
use super::leader::{Following, Leader, Progress, SnapshotTransfer};
use super::member::Member;
use super::message::{FromLeader, SnapshotPart, ToLeader};
use super::notice::Notice;

impl Member<'_, Leader> {
    /// Offers a snapshot of the tables.
    pub(crate) fn offer_snapshot(&mut self, to: NodeId, out: &mut Vec<Effect>) {
        let snapshot = self.begin_snapshot(to);
        self.send(to, FromLeader::OfferSnapshot { snapshot }, out);
    }

    /// Begins a snapshot, to be offered now or later.
    fn begin_snapshot(&mut self, to: NodeId) -> u64 {
        let (now, snapshot) = (self.common.now, self.next_stamp().0);
        if let Some(progress) = self.role.progress.get_mut(&to) {
            let mut transfer = SnapshotTransfer::new(snapshot);
            transfer.goes_out(now);
            progress.following = Following::Snapshot(transfer);
            // One snapshot at a time: it repairs as well, and a part that is still being read is of no use any more.
            progress.repair = None;
        }
        snapshot
    }

    /// Sends again what was sent last, if enough time has passed that it may be lost.
    pub(crate) fn repeat_snapshot(&mut self, to: NodeId, out: &mut Vec<Effect>) {
        let (now, heartbeat) = (self.common.now, self.common.settings().heartbeat);
        let transfer = self.role.progress.get_mut(&to).and_then(Progress::transfer);
        if transfer.is_some_and(|transfer| transfer.repeats(now, heartbeat)) {
            self.send_snapshot(to, out);
        }
    }

    /// Sends the part that is at hand, or the offer.
    fn send_snapshot(&mut self, to: NodeId, out: &mut Vec<Effect>) {
        let Some(transfer) = self.role.progress.get_mut(&to).and_then(Progress::transfer) else { return };
        let snapshot = transfer.snapshot;
        let message = match &transfer.sent {
            None => FromLeader::OfferSnapshot { snapshot },
            Some(part) => FromLeader::Snapshot { snapshot, part: part.clone() },
        };
        self.send(to, message, out);
    }

    /// The follower asks for a part.
    pub(crate) fn fetch_snapshot(
        &mut self,
        from: ReplicaId,
        snapshot: u64,
        part: u64,
        flushed: Lsn,
        out: &mut Vec<Effect>,
    ) {
        let now = self.common.now;
        let Some(progress) = self.role.progress.get_mut(&from.node) else { return };
        progress.contact.heard(now);
        let repair = !progress.takes_snapshot();
        let Some(transfer) = progress.transfer() else { return };
        if transfer.snapshot != snapshot || transfer.reading {
            return;
        }
        let next = transfer.sent.as_ref().map_or(0, |sent| sent.number + 1);
        if part == next {
            transfer.reading = true;
            if transfer.begun_at.is_none() {
                transfer.begun_at = Some(now);
                out.push(Effect::Notice(Notice::SnapshotBegun { to: from.node, repair }));
            }
            out.push(Effect::ReadSnapshot { to: from.node, snapshot, part, flushed });
        } else if part + 1 == next {
            self.repeat_snapshot(from.node, out);
        } else {
            // It has lost what it had: from the start.
            self.offer_again(from.node, out);
        }
    }

    /// The store has read a part.
    pub(crate) fn snapshot_read(
        &mut self,
        to: NodeId,
        snapshot: u64,
        part: Option<SnapshotPart>,
        out: &mut Vec<Effect>,
    ) {
        let now = self.common.now;
        let Some(progress) = self.role.progress.get_mut(&to) else { return };
        let Some(transfer) = progress.transfer() else { return };
        if transfer.snapshot != snapshot {
            return;
        }
        transfer.reading = false;
        match part {
            Some(part) => {
                transfer.bytes += part.bytes.len() as u64;
                if part.last {
                    let (upto, bytes) = (part.flushed, transfer.bytes);
                    let took = now.since(transfer.begun_at.unwrap_or(now));
                    out.push(Effect::Notice(Notice::SnapshotSent { to, upto, bytes, took }));
                }
                transfer.sent = Some(part);
                transfer.goes_out(now);
                self.send_snapshot(to, out);
            }
            None => {
                let text = format!("a snapshot for {to} could not be read");
                self.common.alarm(text, out);
                // From the start, and not at once: what is wrong with the disk may be so for long. Who needs a repair asks.
                match progress.takes_snapshot() {
                    true => _ = self.begin_snapshot(to),
                    false => progress.repair = None,
                }
            }
        }
    }

    fn offer_again(&mut self, to: NodeId, out: &mut Vec<Effect>) {
        match self.role.progress.get_mut(&to) {
            Some(progress) if !progress.takes_snapshot() => progress.repair = None,
            _ => self.offer_snapshot(to, out),
        }
    }

    /// The follower's tables are damaged, and it asks until they are not. Ours must reach as far as they did: what it has
    /// applied since is in its memory.
    pub(crate) fn need_snapshot(&mut self, from: ReplicaId, flushed: Lsn, out: &mut Vec<Effect>) {
        let (now, ours) = (self.common.now, self.common.flushed());
        if !self.role.is_open() || self.common.health.damaged {
            return;
        }
        let snapshot = self.next_stamp().0;
        let Some(progress) = self.role.progress.get_mut(&from.node) else { return };
        progress.contact.heard(now);
        if progress.takes_snapshot() {
            return;
        }
        if ours.seq < flushed.seq {
            return out.push(Effect::RequestFlush);
        }
        let transfer = progress.repair.get_or_insert(SnapshotTransfer::new(snapshot));
        let message = FromLeader::OfferSnapshot { snapshot: transfer.snapshot };
        if !transfer.reading {
            self.send(from.node, message, out);
        }
    }
}

impl Member<'_, Follower> {
    /// The leader's log does not reach back to ours.
    pub(crate) fn snapshot_offered(&mut self, from: ReplicaId, snapshot: u64, out: &mut Vec<Effect>) {
        if self.bound() != Some(from) {
            return;
        }
        if self.role.receiving.is_none_or(|receiving| receiving.snapshot < snapshot) {
            let since = self.common.now;
            self.role.receiving = Some(Receiving { snapshot, part: 0, busy: false, bytes: 0, since });
        }
        self.ask_for_snapshot(from, out);
    }

    /// Asks for whole tables, if those here are damaged.
    pub(crate) fn ask_for_repair(&self, to: ReplicaId, out: &mut Vec<Effect>) {
        let health = &self.common.health;
        let busy = health.installing || self.role.receiving.is_some_and(|receiving| receiving.busy);
        if health.damaged && !busy {
            self.answer(to, ToLeader::NeedSnapshot { flushed: self.common.flushed() }, out);
        }
    }

    fn ask_for_snapshot(&self, to: ReplicaId, out: &mut Vec<Effect>) {
        let Some(Receiving { snapshot, part, busy: false, .. }) = self.role.receiving else { return };
        let flushed = match self.common.health.damaged {
            // What is in damaged tables does not count.
            true => Lsn::ZERO,
            false => self.common.flushed(),
        };
        self.answer(to, ToLeader::FetchSnapshot { snapshot, part, flushed }, out);
    }

    /// A part arrives.
    pub(crate) fn snapshot_part(
        &mut self,
        from: ReplicaId,
        snapshot: u64,
        part: SnapshotPart,
        out: &mut Vec<Effect>,
    ) {
        if self.bound() != Some(from) {
            return;
        }
        let Some(receiving) = self.role.receiving.as_mut().filter(|receiving| receiving.snapshot >= snapshot)
        else {
            // We have restarted since, or missed the offer: from the start.
            return self.snapshot_offered(from, snapshot, out);
        };
        if receiving.snapshot != snapshot || receiving.busy || self.common.health.installing {
            return;
        }
        if receiving.part == part.number {
            receiving.busy = true;
            receiving.bytes += part.bytes.len() as u64;
            if part.number == 0 {
                let (from, upto) = (from.node, part.flushed);
                out.push(Effect::Notice(Notice::SnapshotComing { from, upto }));
            }
            self.common.health.installing = part.last;
            out.push(Effect::ReceiveSnapshot { snapshot, part });
        } else {
            self.ask_for_snapshot(from, out);
        }
    }

    /// The store has kept a part, or has the whole snapshot in place.
    pub(crate) fn snapshot_received(
        &mut self,
        snapshot: u64,
        part: u64,
        outcome: Received,
        out: &mut Vec<Effect>,
    ) {
        self.common.health.installing = false;
        let leader = self.bound();
        let current = self.role.receiving.as_mut().filter(|one| one.snapshot == snapshot && one.part == part);
        match outcome {
            Received::More => {
                if let Some(receiving) = current {
                    (receiving.part, receiving.busy) = (part + 1, false);
                    if let Some(leader) = leader {
                        self.ask_for_snapshot(leader, out);
                    }
                }
            }
            Received::Failed(text) => {
                if current.is_some() {
                    self.role.receiving = None;
                }
                self.common.alarm(format!("a snapshot could not be taken: {text}"), out);
            }
            Received::Installed { flushed, flushed_chain } => {
                // Whoever leads now: the store has it.
                let same_leader = current.is_some();
                if let Some(Receiving { bytes, since, .. }) = current {
                    let took = self.common.now.since(*since);
                    let notice = Notice::SnapshotInstalled { upto: flushed, bytes: *bytes, took };
                    out.push(Effect::Notice(notice));
                }
                self.role.receiving = None;
                if !self.common.snapshot_installed(flushed, flushed_chain, out) {
                    return;
                }
                if self.role.matched.is_some_and(|matched| matched.seq < flushed.seq) {
                    self.role.matched = None;
                }
                // What the leader of this epoch has sent is of its log.
                if let Some(leader) = leader
                    && same_leader
                {
                    self.role.matched = Some(self.common.log.last());
                    self.role.unproven = false;
                    self.ack(leader, out);
                }
            }
        }
    }
}
