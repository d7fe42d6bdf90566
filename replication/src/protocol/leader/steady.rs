//! What a leader does all the time: takes acks, sends heartbeats, renews its lease, suspends without a majority, keeps its
//! znode, and transfers the leadership when asked or unfit.

use wal::{ChainHash, Lsn, NodeId, Promise, ReplicaId};

use super::progress::{Following, Progress};
use super::role::{Leader, Phase};
use super::transfers::Transfer;
use crate::protocol::coordination::CoordinationRequest;
use crate::protocol::effect::{Effect, Reply, Unavailable};
use crate::protocol::event::Token;
use crate::protocol::member::Member;
use crate::protocol::message::{Ack, FromLeader, Heartbeat};
use crate::protocol::notice::{Notice, TransferReason, Why};
use crate::protocol::time::{Millis, Stamp};
use crate::protocol::transition::Transition;

impl Member<'_, Leader> {
    // Acks

    pub(super) fn ack(&mut self, from: ReplicaId, ack: &Ack, out: &mut Vec<Effect>) {
        let now = self.common.now;
        let Some(progress) = self.role.progress.get_mut(&from.node) else { return };
        // What is acked must be in our log: an ack of this epoch is, unless bytes were mixed up on the way.
        if self.common.log.at(ack.forced.seq).is_some_and(|(lsn, _)| lsn != ack.forced) {
            return;
        }
        progress.contact.heard(now);
        progress.contact.note_own_stamp(ack.own_stamp);
        if self.role.heartbeats.has_sent(ack.stamp) {
            progress.contact.answered(ack.stamp, ack.grant);
        }
        if std::mem::take(&mut progress.learner) {
            out.push(Effect::Notice(Notice::LearnerPromoted { learner: from.node }));
        }
        progress.acked(ack.forced, now);
        self.note_caught_up(from.node, out);
        self.commit(out);
        self.renew_lease(out);
        self.answer_reads(out);
        self.advance_transfer(out);
        self.send_to(from.node, out);
    }

    /// Extends the lease by what a majority (with us) has granted, counted from our own send times [lease-margin].
    fn renew_lease(&mut self, out: &mut Vec<Effect>) {
        let Some(sent) = self.role.granted(self.common) else { return };
        if self.role.lease.extend(sent, self.common.settings()) {
            self.publish_lease(out);
        }
    }

    // Heartbeats

    pub(crate) fn next_stamp(&mut self) -> Stamp {
        self.role.heartbeats.next_stamp(self.common.now)
    }

    /// What rides on every message to a follower. `announcing`: the commit point goes along even in the paper's mode.
    pub(super) fn next_heartbeat(&mut self, to: NodeId, announcing: bool) -> Heartbeat {
        let stamp = self.next_stamp();
        let leased = self.role.lease.holds(self.common.now);
        let settings = self.common.settings();
        let committed = if announcing || settings.commit_piggyback {
            self.common.log.committed()
        } else {
            self.role.heartbeats.announced()
        };
        // An echoed stamp says that all that was committed before it is announced here [staleness-by-echo]: by a leader that
        // holds its lease, knows all that its predecessors have committed, and announces its newest commit point.
        let newest = self.role.open && committed == self.common.log.committed();
        let (committed, committed_chain) =
            self.common.log.at(committed.seq).unwrap_or((Lsn::ZERO, ChainHash::ZERO));
        let echo = self.role.progress.get(&to).and_then(|progress| progress.contact.own_stamp());
        let echo = echo.filter(|_| newest && leased);
        Heartbeat { stamp, committed, committed_chain, lease: settings.lease, echo }
    }

    pub(super) fn send_heartbeats(&mut self, out: &mut Vec<Effect>) {
        let (now, settings) = (self.common.now, self.common.settings());
        let announcing = self.role.heartbeats.announcement_is_due(now, settings.commit_period);
        self.role.heartbeats.sent(now);
        for node in self.common.others() {
            let heartbeat = self.next_heartbeat(node, announcing);
            self.send(node, FromLeader::Heartbeat(heartbeat), out);
        }
        if announcing {
            self.role.heartbeats.announce(self.common.log.committed(), now);
        }
    }

    pub(super) fn tick(&mut self, out: &mut Vec<Effect>) -> Transition {
        match self.role.phase {
            Phase::Winning => {
                self.win(out);
                return Transition::Stay;
            }
            Phase::Binding => return Transition::Stay,
            Phase::Promising(_) | Phase::Leading(_) => {}
        }
        if self.role.heartbeats.are_due(self.common.now, self.common.settings().heartbeat) {
            self.nudge(out);
            self.send_heartbeats(out);
        }
        if self.common.majority() == 1 {
            self.commit(out);
            self.renew_lease(out);
            self.answer_reads(out);
        }
        self.look_for_majority(out);
        self.look_for_followers(out);
        self.expire_transfer(out);
        self.transfer_if_unfit(out);
        self.keep_znode(out);
        self.takeover_outcome(out)
    }

    /// Without a majority the leader suspends: no new writes, no confirmation for reads; heartbeats go on, and so does the
    /// epoch if the majority comes back and has not promised higher [suspend-without-majority].
    fn look_for_majority(&mut self, out: &mut Vec<Effect>) {
        let leading = matches!(self.role.phase, Phase::Leading(_));
        let suspended = leading && !self.role.hears_majority(self.common);
        if suspended && !self.role.suspended {
            for token in self.role.reads.abandon() {
                let reply = Reply::Unavailable(Unavailable::Suspended);
                out.push(Effect::Reply { token, reply });
            }
        }
        if suspended != self.role.suspended {
            let notice = if suspended { Notice::MajorityLost } else { Notice::MajorityBack };
            out.push(Effect::Notice(notice));
        }
        self.role.suspended = suspended;
    }

    /// Says which followers have fallen silent, and which are heard again.
    fn look_for_followers(&mut self, out: &mut Vec<Effect>) {
        let (now, last, within) = (self.common.now, self.common.log.last(), self.common.settings().lease);
        for (&follower, progress) in &mut self.role.progress {
            let silent = progress.contact.silence(self.role.since, now);
            let lost = silent >= within;
            if lost != std::mem::replace(&mut progress.lost, lost) {
                out.push(Effect::Notice(match lost {
                    true => Notice::FollowerLost { follower, silent },
                    false => {
                        let lacks = last.seq.saturating_sub(progress.matched.seq);
                        Notice::FollowerBack { follower, lacks }
                    }
                }));
            }
        }
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

    /// A member refuses us: it has promised someone else, or more. A mere candidacy, or a promise of a few, is overcome by
    /// taking an epoch above it [claim-above-refusal]; if those who still follow us are no majority, someone else has won.
    pub(super) fn refused(
        &mut self,
        from: ReplicaId,
        promised: Promise,
        out: &mut Vec<Effect>,
    ) -> Transition {
        self.common.promises.note_known(promised);
        if let Some(progress) = self.role.progress.get_mut(&from.node) {
            progress.contact.heard(self.common.now);
            progress.following = Following::Silent;
        }
        if promised.epoch < self.role.epoch || self.role.phase == Phase::Winning {
            return Transition::Stay;
        }
        let candidacy = promised.leader.is_none() && self.role.hears_majority(self.common);
        if candidacy || self.role.followed_by_majority(self.common) {
            // Without a session, or while the coordinator is busy with us: at the next refusal.
            let able = self.common.view.session && self.common.coordinating.is_none();
            let why = Why::OutPromised { by: from.node, promise: promised };
            return if able { Transition::Claim { released: None, why } } else { Transition::Stay };
        }
        if !matches!(self.role.phase, Phase::Leading(_)) {
            self.resign(out);
        }
        Transition::Follow { leader: None, why: Why::Refused { by: from.node, promise: promised } }
    }

    // Transfer of leadership [release-is-final]

    /// A leader that cannot read its tables, or whose disk hangs or is full, transfers its leadership if it can
    /// [unfit-leader-transfers]. A full disk is no reason to wait: meanwhile clients are told to come again, and only if
    /// nobody can take the leadership that the disk is full.
    pub(crate) fn transfer_if_unfit(&mut self, out: &mut Vec<Effect>) {
        let now = self.common.now;
        let full = self.common.is_disk_full();
        let unfit = full || self.common.health.damaged || self.common.force_lags();
        let may_try = self.role.transfers.may_try(now) || (full && self.has_level_follower());
        if !unfit || !self.role.open || self.role.transfers.is_under_way() || !may_try {
            return;
        }
        let pause = Millis(self.common.settings().transfer_timeout.0 * 4);
        self.role.transfers.try_again_at(now.plus(pause));
        let why = match self.common.health.damaged {
            true => TransferReason::TablesDamaged,
            false => TransferReason::LogLags,
        };
        self.begin_transfer((None, why), None, out);
    }

    /// Whether a follower that is heard holds all that we have: it can take the leadership at once.
    fn has_level_follower(&self) -> bool {
        let (now, suspect_after) = (self.common.now, self.common.settings().suspect_after);
        let last = self.common.log.last();
        self.role.progress.values().any(|one| {
            one.is_replicating() && one.contact.heard_within(suspect_after, now) && one.matched == last
        })
    }

    /// A client wants another leader.
    pub(super) fn transfer(&mut self, token: Token, target: Option<NodeId>, out: &mut Vec<Effect>) {
        if !self.begin_transfer((Some(token), TransferReason::Asked), target, out) {
            out.push(Effect::Reply { token, reply: Reply::Unavailable(Unavailable::Transferring) });
        }
    }

    /// Begins to transfer to `target`, or to the follower that is furthest; says whether there is one.
    fn begin_transfer(
        &mut self,
        (token, why): (Option<Token>, TransferReason),
        target: Option<NodeId>,
        out: &mut Vec<Effect>,
    ) -> bool {
        let (now, suspect_after) = (self.common.now, self.common.settings().suspect_after);
        let able = |one: &Progress| {
            one.is_replicating() && !one.learner && one.contact.heard_within(suspect_after, now)
        };
        let chosen = match target {
            Some(node) => self.role.progress.get(&node).filter(|progress| able(progress)).map(|_| node),
            None => self
                .role
                .progress
                .iter()
                .filter(|(_, progress)| able(progress))
                .max_by_key(|(_, progress)| progress.matched)
                .map(|(&node, _)| node),
        };
        let free = self.role.open && !self.role.transfers.is_under_way() && self.common.view.session;
        let Some(target) = chosen.filter(|_| free) else { return false };
        let deadline = now.plus(self.common.settings().transfer_timeout);
        self.role.transfers.begin(Transfer { token, target, deadline });
        out.push(Effect::Notice(Notice::TransferBegun { to: target, why }));
        self.advance_transfer(out);
        true
    }

    /// The successor whom we may release our leases for: no new writes, everything committed, and it holds everything.
    fn ready_to_release(&self) -> Option<NodeId> {
        let target = self.role.transfers.target()?;
        let last = self.common.log.last();
        let level = self.role.progress.get(&target).is_some_and(|progress| progress.matched == last);
        (level && self.common.log.committed() == last).then_some(target)
    }

    pub(super) fn advance_transfer(&mut self, out: &mut Vec<Effect>) {
        let Some(target) = self.ready_to_release() else { return };
        out.push(Effect::Lease(None));
        self.send(target, FromLeader::TransferLeadership { last: self.common.log.last() }, out);
        if let Some(transfer) = self.role.transfers.release() {
            transfer.reply(Reply::Transferred, out);
        }
        // Final: this leadership serves and heartbeats no more, and ends with this event.
        self.keep_freshness();
        self.role.open = false;
        self.role.lease.drop_for_good();
    }

    fn expire_transfer(&mut self, out: &mut Vec<Effect>) {
        if let Some(transfer) = self.role.transfers.expire(self.common.now) {
            // Nothing was released: lead on.
            out.push(Effect::Notice(Notice::TransferGivenUp { to: transfer.target }));
            transfer.reply(Reply::Unavailable(Unavailable::Transferring), out);
            self.publish_lease(out);
        }
    }

    /// Sends a message of our epoch.
    pub(crate) fn send(&self, to: NodeId, message: FromLeader, out: &mut Vec<Effect>) {
        self.common.to_member(to, self.role.epoch, message, out);
    }
}
