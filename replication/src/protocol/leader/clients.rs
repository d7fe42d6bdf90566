//! Serves clients: writes get an LSN and wait in the commit queue, reads wait for a confirmation, both end with the
//! leadership.

use bytes::Bytes;
use wal::{Entry, EntryKind, Lsn};

use super::role::{Leader, Phase};
use crate::protocol::effect::{Effect, Lease, Reply, Unavailable};
use crate::protocol::event::Token;
use crate::protocol::member::Member;
use crate::protocol::notice::Notice;
use crate::protocol::time::Stamp;

impl Member<'_, Leader> {
    pub(super) fn write(&mut self, token: Token, payload: Bytes, out: &mut Vec<Effect>) {
        if let Some(reason) = self.refuses_writes() {
            return out.push(Effect::Reply { token, reply: Reply::Unavailable(reason) });
        }
        let (prev, chain) = (self.common.log.last(), self.common.log.last_chain());
        let bytes = payload.len() as u64;
        let entry = Entry::next(prev, chain, self.role.epoch, EntryKind::Write, payload);
        out.push(Effect::Pending { token, lsn: entry.lsn });
        self.role.queue.push(entry.lsn, token, bytes);
        self.common.append_entries(vec![entry], out);
        self.send_to_all(out);
    }

    fn refuses_writes(&self) -> Option<Unavailable> {
        if !self.serves() {
            Some(Unavailable::TakingOver)
        } else if self.role.transfers.is_under_way() {
            Some(Unavailable::Transferring)
        } else if self.role.suspended {
            Some(Unavailable::Suspended)
        } else if self.common.is_disk_full() {
            Some(Unavailable::DiskFull)
        } else if self.role.queue.is_full(self.common.settings()) {
            Some(Unavailable::Overloaded)
        } else {
            None
        }
    }

    /// Whether it is open and sound.
    pub(crate) fn serves(&self) -> bool {
        self.role.open && !self.common.health.is_broken()
    }

    pub(super) fn read(&mut self, token: Token, after: Lsn, out: &mut Vec<Effect>) {
        if !self.serves() {
            let reply = Reply::Unavailable(Unavailable::TakingOver);
            return out.push(Effect::Reply { token, reply });
        }
        if self.role.suspended {
            // Nobody would confirm it: whoever asks may find another leader.
            let reply = Reply::Unavailable(Unavailable::Suspended);
            return out.push(Effect::Reply { token, reply });
        }
        let since = self.role.heartbeats.next_stamp(self.common.now);
        self.role.reads.push(token, after, since);
        self.answer_reads(out);
        if !self.role.reads.is_empty() {
            // One round of heartbeats serves all reads that wait; it is newer than each of them.
            self.send_heartbeats(out);
        }
    }

    /// Answers reads whose LSN is applied and whose leadership is confirmed after they came.
    pub(super) fn answer_reads(&mut self, out: &mut Vec<Effect>) {
        if self.role.reads.is_empty() {
            return;
        }
        let confirmed = self.role.confirmed(self.common);
        let leased = self.role.lease.holds(self.common.now) && !self.role.transfers.is_under_way();
        let applied = self.common.log.applied();
        let ready = self.role.reads.take_ready(applied, leased, confirmed);
        out.extend(ready.into_iter().map(|token| Effect::Reply { token, reply: Reply::ReadReady }));
    }

    /// Commits what a majority has forced, if it is of our own epoch or lies before such an entry [own-epoch-commits].
    pub(crate) fn commit(&mut self, out: &mut Vec<Effect>) {
        let Phase::Leading(start) = self.role.phase else { return };
        if self.common.health.is_broken() {
            return;
        }
        let Some(seq) = self.role.forced_by_majority(self.common) else { return };
        if seq < start.seq || seq <= self.common.log.committed().seq {
            return;
        }
        let Some((lsn, _)) = self.common.log.at(seq) else { return };
        self.common.commit_and_apply(lsn, lsn, out);
        if !self.role.open && self.common.log.applied().seq >= start.seq {
            self.open(out);
        }
        while let Some((written, token)) = self.role.queue.pop_committed(lsn) {
            out.push(Effect::Reply { token, reply: Reply::Written(written) });
        }
        self.answer_reads(out);
        self.advance_transfer(out);
    }

    /// Serves from now on [open-after-epoch-start].
    pub(super) fn open(&mut self, out: &mut Vec<Effect>) {
        self.role.open = true;
        out.push(Effect::Opened(self.role.epoch));
        let (epoch, now) = (self.role.epoch, self.common.now);
        let took = now.since(self.role.since);
        let leaderless = self.common.leaderless_since.take().map(|since| now.since(since));
        out.push(Effect::Notice(Notice::Opened { epoch, took, leaderless }));
        self.publish_lease(out);
    }

    pub(super) fn publish_lease(&self, out: &mut Vec<Effect>) {
        let serves = self.serves() && !self.role.transfers.is_under_way();
        if serves && self.role.lease.holds(self.common.now) {
            out.push(Effect::Lease(Some(Lease { epoch: self.role.epoch, until: self.role.lease.until() })));
        }
    }

    /// What this leader knows of the age of its data outlives its lease: a member that no longer leads, and has heard no
    /// leader yet, would else say how long ago it last followed [staleness-by-echo].
    pub(super) fn keep_freshness(&mut self) {
        let (now, until) = (self.common.now, self.role.lease.until());
        if self.role.is_open() && until > Stamp(0) {
            self.common.freshness.led_until(now.min(until));
        }
    }

    /// Ends the leadership towards clients: what is pending may or may not commit [unknown-is-not-refused].
    pub(crate) fn close(&mut self, out: &mut Vec<Effect>) {
        out.push(Effect::Lease(None));
        self.keep_freshness();
        for token in self.role.queue.abandon() {
            out.push(Effect::Reply { token, reply: Reply::Unknown });
        }
        for token in self.role.reads.abandon() {
            out.push(Effect::Reply { token, reply: Reply::NotLeader { hint: None } });
        }
        if let Some(transfer) = self.role.transfers.give_up() {
            transfer.reply(Reply::NotLeader { hint: None }, out);
        }
        out.push(Effect::Closed);
    }
}
