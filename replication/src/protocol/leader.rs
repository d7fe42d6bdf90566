//! Leads: proposes to both followers while its own force runs, commits what a majority has forced, in LSN order,
//! answers clients, holds the lease for strong reads.
//!
//! The life of a leadership: [`Phase::Winning`] (the coordinator's compare-and-set) → [`Phase::Binding`] (our own
//! promise, bound to ourselves, is forced first) → [`Phase::Promising`] (phase 1: a majority is bound to us and has
//! nothing that we lack) → [`Phase::Leading`] (EpochStart is appended; when it commits and is applied, the cohort is
//! open). The steps before `Leading` are in `takeover.rs`; bringing followers level is in `catchup.rs`.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use wal::{Entry, EntryKind, Epoch, Lsn, NodeId, Promise, ReplicaId};

use super::coordination::CoordinationRequest;
use super::effect::{Effect, Lease, Reply, Unavailable};
use super::event::Token;
use super::member::{Common, Durable, Member};
use super::message::{Heartbeat, Message, OwnStamp};
use super::progress::{Progress, Stage};
use super::quorum::reached_by_majority;
use super::time::{Millis, Stamp};

/// Where a leadership stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The epoch is being taken at the coordinator.
    Winning,
    /// Our own promise is being forced.
    Binding,
    /// Waiting for a majority of promises since then.
    Promising(Stamp),
    /// EpochStart is at this LSN.
    Leading(Lsn),
}

/// A read that waits for a confirmation of the leadership.
#[derive(Debug)]
struct PendingRead {
    token: Token,
    /// Not before this LSN is committed and applied.
    after: Lsn,
    /// Answers to messages stamped so or later count (rule 8e).
    since: Stamp,
}

/// A hand-over under way: no new writes.
#[derive(Debug)]
struct Transfer {
    /// Who wished it; nobody, if the leader itself did.
    token: Option<Token>,
    target: NodeId,
    deadline: Stamp,
}

impl Transfer {
    fn reply(&self, reply: Reply, out: &mut Vec<Effect>) {
        out.extend(self.token.map(|token| Effect::Reply { token, reply }));
    }
}

/// What a leader becomes after an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Goes on.
    Lead,
    /// Another has to lead: follow.
    StepDown,
    /// Promises above ours are out: take a higher epoch at once (rule 14).
    Claim,
}

/// The role's own state.
#[derive(Debug)]
pub(crate) struct Leader {
    pub(crate) epoch: Epoch,
    pub(crate) phase: Phase,
    pub(crate) progress: BTreeMap<NodeId, Progress>,
    /// Set if the former leader released its leases of this epoch for us.
    pub(crate) released: Option<Epoch>,
    /// Writes in flight, in LSN order (the paper's commit queue; their entries are in the log's tail).
    queue: VecDeque<(Lsn, Token, u64)>,
    queue_bytes: u64,
    reads: Vec<PendingRead>,
    open: bool,
    suspended: bool,
    /// Newest stamp given out; stamps only grow, so that answers can be distinguished.
    stamp: Stamp,
    heartbeat_at: Option<Stamp>,
    /// The commit point as last announced to followers when it does not ride on proposals.
    announced: Lsn,
    lease_until: Stamp,
    transfer: Option<Transfer>,
    /// Not before this does it try (again) to hand over by itself.
    transfer_again_at: Option<Stamp>,
}

impl Leader {
    pub(crate) fn new(epoch: Epoch, released: Option<Epoch>, common: &Common) -> Leader {
        Leader {
            epoch,
            phase: Phase::Winning,
            progress: common.others().map(|node| (node, Progress::new(common.now))).collect(),
            released,
            queue: VecDeque::new(),
            queue_bytes: 0,
            reads: Vec::new(),
            open: false,
            suspended: false,
            stamp: Stamp(0),
            heartbeat_at: None,
            announced: Lsn::ZERO,
            lease_until: Stamp(0),
            transfer: None,
            transfer_again_at: None,
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.open
    }

    /// Until when a majority grants it the lease.
    pub(crate) fn lease_until(&self) -> Stamp {
        self.lease_until
    }

    pub(crate) fn is_suspended(&self) -> bool {
        self.suspended
    }
}

impl Member<Leader> {
    // Clients

    pub(crate) fn write(&mut self, token: Token, payload: Bytes, out: &mut Vec<Effect>) {
        if let Some(reason) = self.refuses_writes() {
            return out.push(Effect::Reply { token, reply: Reply::Unavailable(reason) });
        }
        let (prev, chain) = (self.common.log.last(), self.common.log.last_chain());
        let bytes = payload.len() as u64;
        let entry = Entry::next(prev, chain, self.role.epoch, EntryKind::Write, payload);
        out.push(Effect::Pending { token, lsn: entry.lsn });
        self.role.queue.push_back((entry.lsn, token, bytes));
        self.role.queue_bytes += bytes;
        self.common.append_entries(vec![entry], out);
        self.send_to_all(out);
    }

    fn refuses_writes(&self) -> Option<Unavailable> {
        let settings = self.common.settings();
        if !self.role.open || self.common.broken.is_some() {
            Some(Unavailable::TakingOver)
        } else if self.role.transfer.is_some() {
            Some(Unavailable::Transferring)
        } else if self.role.suspended {
            Some(Unavailable::Suspended)
        } else if self.common.disk_full {
            Some(Unavailable::DiskFull)
        } else if self.role.queue.len() >= settings.queue_len_max
            || self.role.queue_bytes >= settings.queue_bytes_max
        {
            Some(Unavailable::Overloaded)
        } else {
            None
        }
    }

    pub(crate) fn read(&mut self, token: Token, after: Lsn, out: &mut Vec<Effect>) {
        if !self.role.open || self.common.broken.is_some() {
            let reply = Reply::Unavailable(Unavailable::TakingOver);
            return out.push(Effect::Reply { token, reply });
        }
        let since = self.next_stamp();
        self.role.reads.push(PendingRead { token, after, since });
        self.answer_reads(out);
        if !self.role.reads.is_empty() {
            // One round of heartbeats serves all reads that wait; it is newer than each of them.
            self.send_heartbeats(out);
        }
    }

    /// Answers reads whose LSN is applied and whose leadership is confirmed after they came.
    fn answer_reads(&mut self, out: &mut Vec<Effect>) {
        if self.role.reads.is_empty() {
            return;
        }
        let confirmed = self.confirmed();
        let leased = self.common.now < self.role.lease_until && self.role.transfer.is_none();
        let applied = self.common.log.applied();
        self.role.reads.retain(|read| {
            let ready = read.after.seq <= applied.seq
                && (leased || confirmed.is_some_and(|stamp| stamp >= read.since));
            if ready {
                out.push(Effect::Reply { token: read.token, reply: Reply::ReadReady });
            }
            !ready
        });
    }

    /// The newest of our stamps that a majority (with us) has answered.
    fn confirmed(&self) -> Option<Stamp> {
        let own = Some(Stamp(u64::MAX));
        let mut answered: Vec<_> =
            self.role.progress.values().map(|one| one.answered).chain([own]).flatten().collect();
        reached_by_majority(self.common.config.members.len(), &mut answered)
    }

    // Acks and commits

    pub(crate) fn ack(
        &mut self,
        from: ReplicaId,
        forced: Lsn,
        stamp: Stamp,
        grant: bool,
        own_stamp: OwnStamp,
        out: &mut Vec<Effect>,
    ) {
        let now = self.common.now;
        let Some(progress) = self.role.progress.get_mut(&from.node) else { return };
        // What is acked must be in our log: an ack of this epoch is, unless bytes were mixed up on the way.
        if self.common.log.at(forced.seq).is_some_and(|(lsn, _)| lsn != forced) {
            return;
        }
        progress.heard = Some(now);
        progress.note_own_stamp(own_stamp);
        if stamp <= self.role.stamp && stamp > Stamp(0) {
            progress.answered = progress.answered.max(Some(stamp));
            if grant {
                progress.granted = progress.granted.max(Some(stamp));
            }
        }
        progress.learner = false;
        progress.level(forced, now);
        self.commit(out);
        self.renew_lease(out);
        self.answer_reads(out);
        self.advance_transfer(out);
        self.send_to(from.node, out);
    }

    /// Commits what a majority has forced, if it is of our own epoch (or lies before such an entry).
    pub(crate) fn commit(&mut self, out: &mut Vec<Effect>) {
        let Phase::Leading(start) = self.role.phase else { return };
        if self.common.broken.is_some() {
            return;
        }
        let forced = self.common.log.forced();
        let mut reached: Vec<u64> = self
            .role
            .progress
            .values()
            .filter(|progress| progress.stage == Stage::Matched && !progress.learner)
            .map(|progress| progress.matched.seq)
            .chain([forced.seq])
            .collect();
        let members = self.common.config.members.len();
        let Some(seq) = reached_by_majority(members, &mut reached) else { return };
        if seq < start.seq || seq <= self.common.log.committed().seq {
            return;
        }
        let Some((lsn, _)) = self.common.log.at(seq) else { return };
        self.common.commit_and_apply(lsn, lsn, out);
        if !self.role.open && self.common.log.applied().seq >= start.seq {
            self.open(out);
        }
        while let Some(&(written, token, bytes)) = self.role.queue.front()
            && written.seq <= lsn.seq
        {
            self.role.queue.pop_front();
            self.role.queue_bytes -= bytes;
            out.push(Effect::Reply { token, reply: Reply::Written(written) });
        }
        self.answer_reads(out);
        self.advance_transfer(out);
    }

    /// Serves from now on.
    pub(crate) fn open(&mut self, out: &mut Vec<Effect>) {
        self.role.open = true;
        out.push(Effect::Opened(self.role.epoch));
        self.publish_lease(out);
    }

    // Leases

    /// Extends the lease by what a majority (with us) has granted, counted from our own send times.
    fn renew_lease(&mut self, out: &mut Vec<Effect>) {
        let own = Some(self.role.stamp.max(self.common.now));
        let members = self.common.config.members.len();
        let mut granted: Vec<_> =
            self.role.progress.values().map(|one| one.granted).chain([own]).flatten().collect();
        let Some(stamp) = reached_by_majority(members, &mut granted) else { return };
        let settings = self.common.settings();
        let until = stamp.plus(settings.lease_counted(settings.lease));
        if until > self.role.lease_until {
            self.role.lease_until = until;
            self.publish_lease(out);
        }
    }

    fn publish_lease(&self, out: &mut Vec<Effect>) {
        let serves = self.role.open && self.role.transfer.is_none() && self.common.broken.is_none();
        if serves && self.role.lease_until > self.common.now {
            out.push(Effect::Lease(Some(Lease { epoch: self.role.epoch, until: self.role.lease_until })));
        }
    }

    // Heartbeats

    pub(crate) fn next_stamp(&mut self) -> Stamp {
        self.role.stamp = Stamp(self.role.stamp.0 + 1).max(self.common.now);
        self.role.stamp
    }

    /// What rides on every message to a follower. `announcing`: the commit point goes along even in the paper's mode.
    pub(crate) fn next_heartbeat(&mut self, to: NodeId, announcing: bool) -> Heartbeat {
        let stamp = self.next_stamp();
        let leased = self.common.now < self.role.lease_until;
        let settings = self.common.settings();
        let committed = if announcing || settings.commit_piggyback {
            self.common.log.committed()
        } else {
            self.role.announced
        };
        // An echoed stamp says that all that was committed before it is announced here (rule 21): by a leader that holds its
        // lease, knows all that its predecessors have committed, and tells its newest commit point.
        let newest = self.role.open && committed == self.common.log.committed();
        let (committed, committed_chain) =
            self.common.log.at(committed.seq).unwrap_or((Lsn::ZERO, wal::ChainHash::ZERO));
        let echo = self.role.progress.get(&to).and_then(|progress| progress.own_stamp);
        let echo = echo.filter(|_| newest && leased);
        Heartbeat { stamp, committed, committed_chain, lease: settings.lease, echo }
    }

    pub(crate) fn send_heartbeats(&mut self, out: &mut Vec<Effect>) {
        self.role.heartbeat_at = Some(self.common.now);
        let announcing = true;
        for node in self.common.others() {
            let heartbeat = self.next_heartbeat(node, announcing);
            self.common.send(node, Message::Heartbeat { epoch: self.role.epoch, heartbeat }, out);
        }
        self.role.announced = self.common.log.committed();
    }

    pub(crate) fn tick(&mut self, out: &mut Vec<Effect>) -> Outcome {
        let now = self.common.now;
        match self.role.phase {
            Phase::Winning => {
                self.win(out);
                return Outcome::Lead;
            }
            Phase::Binding => return Outcome::Lead,
            Phase::Promising(_) | Phase::Leading(_) => {}
        }
        let period = self.common.settings().heartbeat;
        if self.role.heartbeat_at.is_none_or(|at| now >= at.plus(period)) {
            self.nudge(out);
            self.send_heartbeats(out);
        }
        if self.common.majority() == 1 {
            self.commit(out);
            self.renew_lease(out);
            self.answer_reads(out);
        }
        self.look_for_majority(out);
        self.expire_transfer(out);
        self.transfer_if_unfit(out);
        self.keep_znode(out);
        self.takeover_outcome(out)
    }

    /// Without a majority the leader suspends: no new writes, no confirmation for reads; heartbeats go on, and
    /// so does the epoch if the majority comes back and has not promised higher (rule 17).
    fn look_for_majority(&mut self, out: &mut Vec<Effect>) {
        let suspended = matches!(self.role.phase, Phase::Leading(_)) && !self.hears_majority();
        if suspended && !self.role.suspended {
            for read in self.role.reads.drain(..) {
                let reply = Reply::Unavailable(Unavailable::Suspended);
                out.push(Effect::Reply { token: read.token, reply });
            }
        }
        self.role.suspended = suspended;
    }

    /// Whether a majority, with us, was heard within a lease, even if it refused us.
    pub(crate) fn hears_majority(&self) -> bool {
        let within = self.common.settings().lease;
        let heard = self
            .role
            .progress
            .values()
            .filter(|one| one.heard.is_some_and(|at| self.common.now < at.plus(within)));
        heard.count() + 1 >= self.common.majority()
    }

    /// Puts a lost leader znode back, as long as the epoch is still ours there.
    fn keep_znode(&mut self, out: &mut Vec<Effect>) {
        let view = &self.common.view;
        let ours = view.epoch == self.role.epoch && view.holder == Some(self.common.me());
        if ours && view.leader.is_none() {
            let epoch = self.role.epoch;
            self.common.coordinate(CoordinationRequest::Restore { epoch }, out);
        }
    }

    // Transfer of leadership (rule 8d)

    /// A leader that cannot read its tables, or whose disk hangs or is full, hands over if it can (rule 18).
    fn transfer_if_unfit(&mut self, out: &mut Vec<Effect>) {
        let now = self.common.now;
        let unfit = (self.common.damaged || self.common.force_lags()) && self.role.open;
        if !unfit || self.role.transfer.is_some() || self.role.transfer_again_at.is_some_and(|at| now < at) {
            return;
        }
        let pause = Millis(self.common.settings().transfer_timeout.0 * 4);
        self.role.transfer_again_at = Some(now.plus(pause));
        self.transfer_leadership(None, None, out);
    }

    /// A client wishes another leader.
    pub(crate) fn transfer(&mut self, token: Token, target: Option<NodeId>, out: &mut Vec<Effect>) {
        if !self.transfer_leadership(Some(token), target, out) {
            out.push(Effect::Reply { token, reply: Reply::Unavailable(Unavailable::Transferring) });
        }
    }

    /// Begins to hand over to `target`, or to the follower that is furthest; says whether there is one.
    fn transfer_leadership(
        &mut self,
        token: Option<Token>,
        target: Option<NodeId>,
        out: &mut Vec<Effect>,
    ) -> bool {
        let alive = |progress: &Progress| {
            progress.stage == Stage::Matched
                && progress
                    .heard
                    .is_some_and(|at| self.common.now < at.plus(self.common.settings().suspect_after))
        };
        let chosen = match target {
            Some(node) => self.role.progress.get(&node).filter(|progress| alive(progress)).map(|_| node),
            None => self
                .role
                .progress
                .iter()
                .filter(|(_, progress)| alive(progress))
                .max_by_key(|(_, progress)| progress.matched)
                .map(|(&node, _)| node),
        };
        let free = self.role.open && self.role.transfer.is_none() && self.common.view.session;
        match chosen.filter(|_| free) {
            None => false,
            Some(target) => {
                let deadline = self.common.now.plus(self.common.settings().transfer_timeout);
                self.role.transfer = Some(Transfer { token, target, deadline });
                self.advance_transfer(out);
                true
            }
        }
    }

    /// The successor whom we may release our leases for: fenced, everything committed, and it holds everything.
    fn ready_to_release(&self) -> Option<NodeId> {
        let target = self.role.transfer.as_ref()?.target;
        let last = self.common.log.last();
        let level = self.role.progress.get(&target).is_some_and(|progress| progress.matched == last);
        (level && self.common.log.committed() == last).then_some(target)
    }

    fn advance_transfer(&mut self, out: &mut Vec<Effect>) {
        if let Some(target) = self.ready_to_release()
            && let Some(transfer) = self.role.transfer.take()
        {
            out.push(Effect::Lease(None));
            let message =
                Message::TransferLeadership { epoch: self.role.epoch, last: self.common.log.last() };
            self.common.send(target, message, out);
            transfer.reply(Reply::Transferred, out);
            // Final: this leadership serves and heartbeats no more. The cohort steps down right after this event.
            self.role.open = false;
            self.role.lease_until = Stamp(0);
            self.role.released = Some(self.role.epoch);
        }
    }

    /// Whether the leases of our own epoch were given away: it must never be used again.
    pub(crate) fn has_released(&self) -> bool {
        self.role.released == Some(self.role.epoch)
    }

    fn expire_transfer(&mut self, out: &mut Vec<Effect>) {
        if self.role.transfer.as_ref().is_some_and(|transfer| self.common.now >= transfer.deadline)
            && let Some(transfer) = self.role.transfer.take()
        {
            // Nothing was released: lead on.
            transfer.reply(Reply::Unavailable(Unavailable::Transferring), out);
            self.publish_lease(out);
        }
    }

    // Others

    /// A member refuses us: it has promised someone else, or more. A mere candidacy, or a promise of a few, is overcome
    /// by taking an epoch above it (rule 14); if those who still follow us are no majority, someone else has won.
    pub(crate) fn refused(&mut self, from: ReplicaId, promised: Promise, out: &mut Vec<Effect>) -> Outcome {
        self.common.knows_promise(promised);
        if let Some(progress) = self.role.progress.get_mut(&from.node) {
            progress.heard = Some(self.common.now);
            progress.stage = Stage::Silent;
        }
        if promised.epoch < self.role.epoch || self.role.phase == Phase::Winning {
            return Outcome::Lead;
        }
        let candidacy = promised.leader.is_none() && self.hears_majority();
        if candidacy || self.followed_by_majority() {
            // Without a session, or while the coordinator is busy with us: at the next refusal.
            let able = self.common.view.session && self.common.coordinating.is_none();
            return if able { Outcome::Claim } else { Outcome::Lead };
        }
        if !matches!(self.role.phase, Phase::Leading(_)) {
            self.resign(out);
        }
        Outcome::StepDown
    }

    /// Whether a majority, with us, has acked within a lease.
    fn followed_by_majority(&self) -> bool {
        let within = self.common.settings().lease;
        let follows = |one: &&Progress| {
            one.stage == Stage::Matched && one.heard.is_some_and(|at| self.common.now < at.plus(within))
        };
        self.role.progress.values().filter(follows).count() + 1 >= self.common.majority()
    }

    pub(crate) fn durable(&mut self, durable: &Durable, out: &mut Vec<Effect>) {
        match durable {
            Durable::Entries(_) => self.commit(out),
            Durable::Bound(promise) if promise.epoch == self.role.epoch => self.bound(out),
            Durable::Bound(_)
            | Durable::Candidacy(_)
            | Durable::Truncated { .. }
            | Durable::LeaseLogged(_)
            | Durable::Promoted
            | Durable::RejoinMarked
            | Durable::Checkpoint => {}
        }
    }

    /// Ends the leadership towards clients: what is pending may or may not commit.
    pub(crate) fn close(&mut self, out: &mut Vec<Effect>) {
        out.push(Effect::Lease(None));
        for (_, token, _) in self.role.queue.drain(..) {
            out.push(Effect::Reply { token, reply: Reply::Unknown });
        }
        for read in self.role.reads.drain(..) {
            out.push(Effect::Reply { token: read.token, reply: Reply::NotLeader { hint: None } });
        }
        if let Some(transfer) = self.role.transfer.take() {
            transfer.reply(Reply::NotLeader { hint: None }, out);
        }
        out.push(Effect::Closed);
    }

    /// The lease length that followers are asked for.
    pub(crate) fn wait_max(&self) -> Millis {
        self.common.settings().suspect_after
    }
}
