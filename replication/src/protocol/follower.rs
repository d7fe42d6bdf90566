//! Follows: appends what the leader of the promised epoch proposes, forces, acks; applies up to the commit point;
//! grants leases; and when the leader falls silent, asks the others before it stands for election [pre-vote].

use wal::{ChainHash, Entry, Epoch, Lsn, NodeId, Promise, ReplicaId};

use super::effect::{Effect, Reply};
use super::event::{Event, Token};
use super::member::{Common, Member, Persisted};
use super::message::{Ack, BetweenPeers, FromLeader, Heartbeat, OwnStamp, ToLeader};
use super::notice::{Notice, Suspicion, Why};
use super::pre_vote::PreVote;
use super::status::Status;
use super::time::Stamp;
use super::transition::Transition;

/// The role's own state.
#[derive(Debug, Default)]
pub(crate) struct Follower {
    /// The leader as heard of; it is the promised one only if the promise is bound to it.
    leader: Option<(Epoch, ReplicaId)>,
    /// Last LSN shown equal to the log of the promised leader, in its epoch; then also our last LSN [match-before-append].
    pub(crate) matched: Option<Lsn>,
    /// When a leader, even a refused one, was last heard.
    heard: Option<Stamp>,
    /// Why the leader is likely gone: do not wait for the silence to grow long.
    hint: Option<Suspicion>,
    /// The log has been told that the leader is suspected.
    suspects: bool,
    /// The newest stamp received from the leader.
    newest: Stamp,
    /// The newest stamp for which a lease was granted.
    granted: Option<Stamp>,
    pre_vote: PreVote,
    /// Where the logs agree was said without a hash, which the leader did not know any more. Until an entry that follows
    /// shows that they do, nothing is applied [apply-only-matched].
    pub(crate) unproven: bool,
    /// A snapshot on its way here.
    pub(crate) receiving: Option<Receiving>,
    /// Wipe the local data once the snapshot being installed is in place.
    wipe_when_installed: bool,
}

/// A snapshot on its way here.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Receiving {
    pub(crate) snapshot: u64,
    /// The part that is asked for next.
    pub(crate) part: u64,
    /// The store is keeping a part.
    pub(crate) busy: bool,
    /// Bytes received so far.
    pub(crate) bytes: u64,
    /// When it was offered.
    pub(crate) since: Stamp,
}

impl Follower {
    /// Bound to a leader, or waiting for one; `heard` starts the clock of suspicion.
    pub(crate) fn new(leader: Option<(Epoch, ReplicaId)>, heard: Option<Stamp>) -> Follower {
        Follower { leader, heard, ..Follower::default() }
    }

    /// The leader as heard of.
    pub(crate) fn leader(&self) -> Option<NodeId> {
        self.leader.map(|(_, leader)| leader.node)
    }

    /// Whether the leader counts as alive for pre-votes.
    pub(crate) fn leader_alive(&self, common: &Common) -> bool {
        self.hint.is_none()
            && self.heard.is_some_and(|heard| common.now < heard.plus(common.settings().suspect_after))
    }

    /// Someone who claims to lead was heard: even if it is refused, it is alive. Whether that is news.
    pub(crate) fn heard_leader(&mut self, epoch: Epoch, from: ReplicaId, now: Stamp) -> bool {
        self.heard = Some(now);
        self.hint = None;
        let before = self.leader;
        if before.is_none_or(|(known, _)| known <= epoch) {
            self.leader = Some((epoch, from));
        }
        std::mem::take(&mut self.suspects) || before != self.leader
    }

    /// A member's connection is gone, or the leader's znode: if it is the leader, do not wait for silence.
    fn lost(&mut self, node: NodeId, why: Suspicion) {
        if self.leader() == Some(node) {
            self.hint.get_or_insert(why);
        }
    }

    /// The epoch of the leader as heard of.
    pub(crate) fn leader_epoch(&self) -> Option<Epoch> {
        self.leader.map(|(epoch, _)| epoch)
    }

    pub(crate) fn describe(&self, status: &mut Status) {
        status.leader = self.leader();
        status.matched = self.matched;
    }

    /// Panics if an invariant does not hold.
    pub(crate) fn check(&self, common: &Common) {
        let promise = common.promises.current();
        if let Some(matched) = self.matched {
            assert!(promise.leader.is_some(), "a log is matched with a leader that the promise is bound to");
            assert_eq!(matched, common.log.last(), "what follows the matched LSN has been dropped");
            assert!(common.log.applied().seq <= matched.seq, "only what is matched is applied");
        }
    }
}

impl Member<'_, Follower> {
    /// The leader that our promise is bound to.
    pub(crate) fn bound(&self) -> Option<ReplicaId> {
        let common = &*self.common;
        let able = common.promises.is_forced() && !common.health.is_broken() && !common.may_not_promise();
        common.promises.current().leader.filter(|_| able)
    }

    fn epoch(&self) -> Epoch {
        self.common.promises.current().epoch
    }

    /// Sends to the leader of our epoch.
    pub(crate) fn answer(&self, leader: ReplicaId, message: ToLeader, out: &mut Vec<Effect>) {
        self.common.to_leader(leader.node, self.epoch(), message, out);
    }

    // Events

    pub(crate) fn on_event(&mut self, event: Event, out: &mut Vec<Effect>) -> Transition {
        match event {
            Event::Tick => return self.tick(out),
            Event::View(view) => {
                if let Some(leader) = self.common.look_at(view) {
                    self.role.lost(leader.node, Suspicion::ZnodeGone);
                }
            }
            Event::Unreachable(node) => self.role.lost(node, Suspicion::StreamBroken),
            Event::SnapshotReceived { snapshot, part, outcome } => {
                self.snapshot_received(snapshot, part, outcome, out);
            }
            Event::DataWiped(outcome) => {
                *self.role = Follower::new(self.role.leader, Some(self.common.now));
                self.common.data_wiped(outcome, out);
            }
            Event::Write { token, .. } | Event::Read { token, .. } | Event::Transfer { token, .. } => {
                self.redirect(token, out);
            }
            // For a leader, or for all roles alike.
            _ => {}
        }
        Transition::Stay
    }

    /// A message of a leader that the epoch rule has let through.
    pub(crate) fn received(
        &mut self,
        from: ReplicaId,
        epoch: Epoch,
        message: FromLeader,
        out: &mut Vec<Effect>,
    ) -> Transition {
        match message {
            FromLeader::TransferLeadership { last } => return self.leadership_offered(from, epoch, last),
            FromLeader::Propose { prev, entries, heartbeat } => {
                self.propose(from, prev, entries, heartbeat, out);
            }
            FromLeader::Heartbeat(heartbeat) => self.heartbeat(from, heartbeat, out),
            FromLeader::Match { agree, agree_chain, reported, committed_chain } => {
                self.match_at(from, reported, (agree, agree_chain), committed_chain, out);
            }
            FromLeader::RequestPromise { .. } => {
                // It asks again: it has not heard of our promise, or has lost sight of us since.
                if self.common.promises.is_forced() && self.role.matched.is_none() {
                    self.promised(epoch, from, out);
                }
            }
            FromLeader::Promote { upto } => self.promote(from, upto, out),
            FromLeader::OfferSnapshot { snapshot } => self.snapshot_offered(from, snapshot, out),
            FromLeader::Snapshot { snapshot, part } => self.snapshot_part(from, snapshot, part, out),
        }
        Transition::Stay
    }

    /// An append is durable.
    pub(crate) fn persisted(&mut self, persisted: &Persisted, out: &mut Vec<Effect>) {
        match persisted {
            Persisted::Entries(_) => {
                if let Some(leader) = self.bound() {
                    let (committed, forced) = (self.common.log.committed(), self.common.log.forced());
                    self.common.commit_and_apply(committed, forced, out);
                    self.ack(leader, out);
                }
            }
            Persisted::Bound(promise) => {
                if *promise == self.common.promises.current()
                    && let Some(leader) = promise.leader
                {
                    self.promised(promise.epoch, leader, out);
                }
            }
            Persisted::Truncated { epoch, agree } => self.matched(*epoch, *agree, out),
            Persisted::Promoted => self.rejoined(out),
            Persisted::RejoinMarked => self.wipe(out),
            Persisted::Candidacy(_) | Persisted::LongerLease(_) | Persisted::Checkpoint => {}
        }
    }

    // Proposals and commits

    fn propose(
        &mut self,
        from: ReplicaId,
        prev: Lsn,
        mut entries: Vec<Entry>,
        heartbeat: Heartbeat,
        out: &mut Vec<Effect>,
    ) {
        if self.bound() != Some(from) {
            return;
        }
        let Some(matched) = self.role.matched else { return self.report(from, out) };
        self.take_stamp(&heartbeat, out);
        let end = entries.last().map_or(prev, |entry| entry.lsn);
        if end.seq <= matched.seq {
            self.take_commit_point(&heartbeat, out);
            return self.ack(from, out);
        }
        if prev.seq > matched.seq {
            return self.answer(from, ToLeader::Gap { last: matched }, out);
        }
        entries.retain(|entry| entry.lsn.seq > matched.seq);
        // An entry's hash covers all before it, so this compares the whole logs.
        let (last, chain) = (self.common.log.last(), self.common.log.last_chain());
        if !entries.first().is_some_and(|first| first.follows(last, chain)) {
            let text = format!("the log differs from the leader's ({}) behind {last}", from.node);
            return match self.role.unproven {
                true => self.common.stop(text, out),
                false => self.common.diverge(from, text, out),
            };
        }
        self.role.unproven = false;
        self.role.matched = Some(end);
        self.common.append_entries(entries, out);
        self.take_commit_point(&heartbeat, out);
    }

    fn heartbeat(&mut self, from: ReplicaId, heartbeat: Heartbeat, out: &mut Vec<Effect>) {
        if self.bound() != Some(from) {
            return;
        }
        if self.role.matched.is_none() {
            return self.report(from, out);
        }
        self.take_stamp(&heartbeat, out);
        self.take_commit_point(&heartbeat, out);
        self.ack(from, out);
        self.ask_for_repair(from, out);
    }

    /// Takes the leader's stamp and grants a lease from now.
    fn take_stamp(&mut self, heartbeat: &Heartbeat, out: &mut Vec<Effect>) {
        self.role.newest = self.role.newest.max(heartbeat.stamp);
        if self.common.grant(heartbeat.lease, out) {
            self.role.granted = self.role.granted.max(Some(heartbeat.stamp));
        }
    }

    /// Takes the leader's commit point: compares hashes there, and applies what is forced here and matched
    /// [apply-only-matched].
    fn take_commit_point(&mut self, heartbeat: &Heartbeat, out: &mut Vec<Effect>) {
        let Some(matched) = self.role.matched else { return };
        if let Some((lsn, chain)) = self.common.log.at(heartbeat.committed.seq)
            && heartbeat.committed.seq <= matched.seq
            && (lsn, chain) != (heartbeat.committed, heartbeat.committed_chain)
            && let Some(leader) = self.bound()
        {
            let text = format!("hash differs from the leader's ({}) at {}", leader.node, heartbeat.committed);
            // What is committed here is not the leader's to have thrown away.
            let ours = lsn.seq <= self.common.log.committed().seq || self.role.unproven;
            return match ours {
                true => self.common.stop(text, out),
                false => self.common.diverge(leader, text, out),
            };
        }
        if self.role.unproven {
            return;
        }
        self.common.echoed(heartbeat);
        let committed = if heartbeat.committed.seq <= matched.seq { heartbeat.committed } else { matched };
        let forced = self.common.log.forced();
        self.common.commit_and_apply(committed, forced, out);
    }

    pub(crate) fn ack(&self, to: ReplicaId, out: &mut Vec<Effect>) {
        let Some(matched) = self.role.matched else { return };
        let forced = self.common.log.forced();
        let learner = self.common.health.is_learner();
        let (stamp, grant) = match self.role.granted {
            Some(granted) if granted == self.role.newest => (granted, true),
            Some(_) | None => (self.role.newest, false),
        };
        let ack = Ack {
            forced: if forced.seq < matched.seq { forced } else { matched },
            stamp,
            grant: grant && !learner,
            learner,
            own_stamp: OwnStamp { life: self.common.config.life, at: self.common.now },
        };
        self.answer(to, ToLeader::Ack(ack), out);
    }

    // Matching logs

    fn report(&self, to: ReplicaId, out: &mut Vec<Effect>) {
        let report = self.common.log.report();
        let message = match self.common.health.is_learner() {
            true => ToLeader::LearnerReport(report),
            false => ToLeader::Report(report),
        };
        self.answer(to, message, out);
    }

    /// The leader has found where our logs agree.
    fn match_at(
        &mut self,
        from: ReplicaId,
        reported: Lsn,
        (agree, chain): (Lsn, Option<ChainHash>),
        committed_chain: Option<ChainHash>,
        out: &mut Vec<Effect>,
    ) {
        let epoch = self.epoch();
        if self.bound() != Some(from) {
            return;
        }
        if self.role.matched.is_some() {
            return self.ack(from, out);
        }
        if reported != self.common.log.last() {
            // It answers an older report: it is not about the log as it is now.
            return;
        }
        let (log, leader) = (&mut self.common.log, from.node);
        let committed = log.committed();
        if agree.seq < committed.seq {
            // Perhaps the others have lost what is here: not ours to throw away [committed-is-never-dropped].
            let text = format!(
                "committed up to {committed}, and the leader {leader} has the same up to {agree} only"
            );
            return self.common.stop(text, out);
        }
        let shown = |seq: u64, chain: Option<ChainHash>| log.at(seq).map(|(_, at)| Some(at) == chain);
        let shared = shown(committed.seq, committed_chain) == Some(true);
        let equal =
            log.at(agree.seq).is_some_and(|(lsn, at)| lsn == agree && chain.is_none_or(|one| one == at));
        if !equal {
            let text = format!("hash differs from the leader's ({leader}) at {agree}");
            return match shared {
                true => self.common.diverge(from, text, out),
                false => self.common.stop(text, out),
            };
        }
        self.role.unproven = chain.is_none();
        match log.truncate(agree) {
            // The Skip must be durable before this is acked; what the leader sends next comes behind it in the log.
            Some(skip) => self.common.append_skip(skip, epoch, agree, out),
            // A repeated Match: what is hidden comes back in a crash until the Skip is durable [skip-needs-proof].
            None if self.common.skip_is_pending() => {}
            None => self.matched(epoch, agree, out),
        }
    }

    fn matched(&mut self, epoch: Epoch, agree: Lsn, out: &mut Vec<Effect>) {
        if self.epoch() == epoch
            && let Some(leader) = self.bound()
            && self.common.log.last() == agree
        {
            self.role.matched = Some(agree);
            self.ack(leader, out);
        }
    }

    /// Reports to the winner that we are bound to it.
    fn promised(&self, epoch: Epoch, leader: ReplicaId, out: &mut Vec<Effect>) {
        if self.common.may_not_promise() {
            return;
        }
        let report = self.common.log.report();
        let message = match self.common.health.is_learner() {
            true => ToLeader::LearnerReport(report),
            false => ToLeader::Promised(report),
        };
        self.common.to_leader(leader.node, epoch, message, out);
    }

    // Wiping a history that differs

    /// Wipes the local data, which differ from the leader's: the mark that says so is durable. A snapshot that is being
    /// installed comes first.
    fn wipe(&mut self, out: &mut Vec<Effect>) {
        match self.common.health.installing {
            true => self.role.wipe_when_installed = true,
            false => out.push(Effect::WipeData),
        }
    }

    // Elections

    /// Asks the others when the leader is silent; says whether to stand.
    fn tick(&mut self, out: &mut Vec<Effect>) -> Transition {
        if self.role.wipe_when_installed && !self.common.health.installing {
            self.role.wipe_when_installed = false;
            out.push(Effect::WipeData);
        }
        self.look_for_leader(out);
        if self.common.health.is_learner() {
            self.probe_voters(out);
            return Transition::Stay;
        }
        if !self.may_stand() {
            self.role.pre_vote.stop();
            return Transition::Stay;
        }
        if self.common.majority() == 1 {
            return Transition::Stand(Why::OnlyMember);
        }
        if let Some(round) = self.role.pre_vote.begin_round(self.common.now) {
            for other in self.common.others() {
                self.common.to_peer(other, BetweenPeers::PreVote { round }, out);
            }
        }
        Transition::Stay
    }

    /// Tells the log, once, that the leader is suspected.
    fn look_for_leader(&mut self, out: &mut Vec<Effect>) {
        if self.role.suspects || self.common.health.is_broken() || self.role.leader_alive(self.common) {
            return;
        }
        let now = self.common.now;
        self.role.suspects = true;
        let since = *self.common.leaderless_since.get_or_insert(self.role.heard.unwrap_or(now));
        let why = self.role.hint.unwrap_or(Suspicion::Silent);
        let leader = self.role.leader();
        out.push(Effect::Notice(Notice::Suspected { leader, why, silent: now.since(since) }));
    }

    /// Whether it has lost the leader, no lease that it granted runs, and it could win an election.
    fn may_stand(&self) -> bool {
        !self.common.health.is_broken()
            && !self.role.leader_alive(self.common)
            && !self.common.lease_runs(None)
            && self.common.view.session
    }

    pub(crate) fn pre_vote_answer(
        &mut self,
        from: NodeId,
        round: u64,
        agree: bool,
        promise: Promise,
    ) -> Transition {
        self.common.promises.note_known(promise);
        match self.role.pre_vote.answered(round, from, agree) {
            Some(agreed) if agreed + 1 >= self.common.majority() && self.may_stand() => {
                Transition::Stand(Why::LeaderLost { agreed, others: self.common.others().count() })
            }
            Some(_) | None => Transition::Stay,
        }
    }

    /// The leader transfers its leadership to us: it has released the leases of its epoch.
    fn leadership_offered(&self, from: ReplicaId, epoch: Epoch, last: Lsn) -> Transition {
        let whole = self.role.matched == Some(last) && self.common.log.forced() == last;
        let able = !self.common.health.is_learner() && self.common.view.session;
        if self.bound() == Some(from) && self.epoch() == epoch && whole && able {
            Transition::Claim { released: Some(epoch), why: Why::Successor { from: from.node } }
        } else {
            Transition::Stay
        }
    }

    /// A client came to the wrong member.
    fn redirect(&self, token: Token, out: &mut Vec<Effect>) {
        let hint = self.role.leader().filter(|node| *node != self.common.me().node);
        out.push(Effect::Reply { token, reply: Reply::NotLeader { hint } });
    }
}
