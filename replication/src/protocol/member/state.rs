//! What ties the parts of a member together: each method here needs more than one of them.

use wal::{
    ChainHash, Checkpoint, CohortRecovery, Entry, Epoch, Lsn, NodeId, Promise, Record, ReplicaId, SkipList,
};

use super::appends::{Appends, Persisted};
use super::freshness::Freshness;
use super::health::Health;
use super::promises::Promises;
use super::rejoin::Rejoin;
use crate::protocol::config::{Config, Recovered};
use crate::protocol::coordination::{CoordinationRequest, RangeView};
use crate::protocol::effect::Effect;
use crate::protocol::event::Ticket;
use crate::protocol::log::CohortLog;
use crate::protocol::message::{BetweenPeers, Envelope, FromLeader, Heartbeat, Message, ToLeader};
use crate::protocol::notice::Notice;
use crate::protocol::quorum::majority;
use crate::protocol::settings::Settings;
use crate::protocol::status::{RoleName, Status};
use crate::protocol::time::{Millis, Stamp};

/// A role at work on what is common to all roles.
#[derive(Debug)]
pub(crate) struct Member<'a, R> {
    pub(crate) common: &'a mut Common,
    pub(crate) role: &'a mut R,
}

/// The part of a member that outlives its roles.
#[derive(Debug)]
pub(crate) struct Common {
    pub(crate) config: Config,
    /// The time of this step.
    pub(crate) now: Stamp,
    pub(crate) log: CohortLog,
    /// What the store holds in SSTables: the last LSN, and the chain hash there.
    flushed: (Lsn, ChainHash),
    pub(crate) promises: Promises,
    appends: Appends,
    pub(crate) freshness: Freshness,
    pub(crate) health: Health,
    /// The coordinator's state of the range, as last read.
    pub(crate) view: RangeView,
    /// The coordination request under way.
    pub(crate) coordinating: Option<CoordinationRequest>,
    /// Since when no leader has been heard, while one is suspected or none is known; for the log.
    pub(crate) leaderless_since: Option<Stamp>,
    /// The last thing that was said and not believed.
    disbelieved: Option<String>,
}

impl Common {
    /// As the log and the store left it; puts out an `Apply` of what is known committed.
    pub(crate) fn new(config: Config, recovered: Recovered, now: Stamp, out: &mut Vec<Effect>) -> Common {
        let Recovered { log, fresh, log_superseded, must_rejoin } = recovered;
        let CohortRecovery { checkpoint, promise, committed, entries, epoch_ends, .. } = log;
        let flushed = (checkpoint.flushed, checkpoint.flushed_chain);
        let log = CohortLog::recovered(flushed, entries, committed, epoch_ends);
        let must_rejoin = must_rejoin || checkpoint.must_rejoin;
        let rejoin = must_rejoin.then(|| Rejoin::new(config.life, now));
        out.extend(rejoin.as_ref().map(|_| Effect::Notice(Notice::Learning { wiped: false })));
        let mut lease_logged = Millis(checkpoint.lease_ms_max);
        if rejoin.is_some() {
            // How long a lease it has granted is forgotten, too.
            lease_logged = lease_logged.max(config.settings.lease);
        }
        let granted_until = if fresh { Stamp(0) } else { now.plus(lease_logged) };
        let mut common = Common {
            now,
            flushed,
            promises: Promises::recovered(promise, lease_logged, granted_until),
            appends: Appends::new(log.committed(), now),
            freshness: Freshness::default(),
            health: Health::recovered(rejoin),
            view: RangeView::default(),
            coordinating: None,
            leaderless_since: None,
            disbelieved: None,
            log,
            config,
        };
        let committed = common.log.committed();
        common.commit_and_apply(committed, committed, out);
        if log_superseded {
            common.append_snapshot(out);
        }
        common
    }

    pub(crate) fn me(&self) -> ReplicaId {
        self.config.me
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.config.settings
    }

    pub(crate) fn others(&self) -> impl Iterator<Item = NodeId> + use<> {
        let me = self.config.me.node;
        self.config.members.clone().into_iter().map(|member| member.node).filter(move |node| *node != me)
    }

    pub(crate) fn majority(&self) -> usize {
        majority(self.config.members.len())
    }

    /// What the store holds in tables.
    pub(crate) fn flushed(&self) -> Lsn {
        self.flushed.0
    }

    /// Some members have other disks than before; says which.
    pub(crate) fn replace_members(&mut self, members: Vec<ReplicaId>) -> Vec<NodeId> {
        let old = std::mem::replace(&mut self.config.members, members);
        self.config.members.iter().filter(|one| !old.contains(one)).map(|one| one.node).collect()
    }

    /// The state that all roles share.
    pub(crate) fn status(&self) -> Status {
        let promise = self.promises.current();
        Status {
            node: self.me().node,
            role: RoleName::Follower,
            epoch: promise.epoch,
            promise,
            last: self.log.last(),
            forced: self.log.forced(),
            committed: self.log.committed(),
            applied: self.log.applied(),
            matched: None,
            leader: None,
            open: false,
            suspended: false,
            reads_waiting: 0,
            followers: Default::default(),
            broken: self.health.broken().cloned(),
            learner: self.health.is_learner(),
            damaged: self.health.damaged,
            disk_full: self.is_disk_full(),
        }
    }

    /// Panics if an invariant of a part, or one between them, does not hold.
    pub(crate) fn check(&self) {
        self.promises.check(self.now);
        self.appends.check();
        self.health.check();
        self.log.check();
        assert!(self.flushed.0.seq <= self.log.applied().seq, "tables hold only what is applied");
    }

    // Messages

    pub(crate) fn to_member(&self, to: NodeId, epoch: Epoch, message: FromLeader, out: &mut Vec<Effect>) {
        self.send(to, Message::FromLeader(epoch, message), out);
    }

    pub(crate) fn to_leader(&self, leader: NodeId, epoch: Epoch, message: ToLeader, out: &mut Vec<Effect>) {
        self.send(leader, Message::ToLeader(epoch, message), out);
    }

    pub(crate) fn to_peer(&self, to: NodeId, message: BetweenPeers, out: &mut Vec<Effect>) {
        self.send(to, Message::BetweenPeers(message), out);
    }

    fn send(&self, to: NodeId, message: Message, out: &mut Vec<Effect>) {
        out.push(Effect::Send(Envelope { from: self.config.me, to, message }));
    }

    pub(crate) fn alarm(&self, text: String, out: &mut Vec<Effect>) {
        out.push(Effect::Alarm(format!("cohort {} on {}: {text}", self.config.cohort, self.config.me.node)));
    }

    /// Somebody says what cannot be true; said once for each text, for it may come with every message.
    pub(crate) fn disbelieve(&mut self, what: &str, out: &mut Vec<Effect>) {
        let promise = self.promises.current().epoch;
        let text = format!("{what}, far above what is promised here ({promise}): it is not believed");
        if self.disbelieved.as_ref() != Some(&text) {
            self.alarm(text.clone(), out);
            self.disbelieved = Some(text);
        }
    }

    /// Takes out of a view what cannot be true; false if then nothing is left to be looked at [epochs-in-steps].
    pub(crate) fn believable(&mut self, view: &mut RangeView, out: &mut Vec<Effect>) -> bool {
        let wrong = |epoch: &Epoch| !self.promises.believes(*epoch);
        let elections = view.elections.keys().copied();
        let found = elections
            .chain(view.leader.map(|(epoch, _)| epoch))
            .chain([view.epoch])
            .find(|epoch| wrong(epoch));
        view.elections.retain(|epoch, _| !wrong(epoch));
        view.leader = view.leader.filter(|(epoch, _)| !wrong(epoch));
        let believed = !wrong(&view.epoch);
        if let Some(epoch) = found {
            let what =
                format!("below ranges/{} at the coordinator stands an epoch {epoch}", self.config.cohort);
            self.disbelieve(&what, out);
        }
        believed
    }

    // Health

    /// The logs differ in what both have committed: take no part any more until an operator has looked.
    pub(crate) fn stop(&mut self, text: String, out: &mut Vec<Effect>) {
        if self.health.stop(text.clone()) {
            self.alarm(text, out);
            out.push(Effect::Lease(None));
        }
    }

    /// What is here is another history than this leader's, by the hash of all that led to it. Which of the two is the
    /// minority is not known yet: it takes no part any more, and keeps what it has [minority-history-is-wiped].
    pub(crate) fn diverge(&mut self, leader: ReplicaId, text: String, out: &mut Vec<Effect>) {
        if !self.health.is_broken() {
            self.stop(text, out);
            self.health.diverged_from(leader, self.promises.current().epoch, self.log.last());
        }
    }

    /// One that takes no part hears the leader's commit point all the same: whether it was the minority. Then what is here
    /// goes, once the mark of a learner is durable [minority-history-is-wiped].
    pub(crate) fn hear_as_broken(
        &mut self,
        from: ReplicaId,
        epoch: Epoch,
        heartbeat: &Heartbeat,
        out: &mut Vec<Effect>,
    ) {
        if self.health.is_outvoted(from, epoch, heartbeat.committed) {
            self.append_checkpoint(Persisted::RejoinMarked, out);
        }
    }

    /// The store is empty: what the log holds is superseded, what was promised holds, and all else comes from the leader.
    pub(crate) fn data_wiped(&mut self, outcome: Result<(), String>, out: &mut Vec<Effect>) {
        if let Err(text) = outcome {
            return self.alarm(format!("its data cannot be thrown away: {text}"), out);
        }
        self.flushed = (Lsn::ZERO, ChainHash::default());
        self.log = CohortLog::recovered(self.flushed, Vec::new(), Lsn::ZERO, Vec::new());
        self.appends.restart();
        self.freshness = Freshness::default();
        self.health.data_wiped(Rejoin::new(self.config.life, self.now));
        out.push(Effect::Notice(Notice::Learning { wiped: true }));
        self.append_snapshot(out);
    }

    /// Takes the mark of a learner away.
    pub(crate) fn clear_rejoin_mark(&mut self, out: &mut Vec<Effect>) {
        self.health.clear_mark();
        self.append_checkpoint(Persisted::Promoted, out);
    }

    /// Whether this member must not promise anything to anyone now: a learner that does not know yet what it had promised.
    pub(crate) fn may_not_promise(&self) -> bool {
        self.health.rejoin().is_some_and(|rejoin| !(rejoin.is_prepared() && self.promises.is_forced()))
    }

    // Appends

    fn append(&mut self, records: Vec<Record>, purpose: Persisted, out: &mut Vec<Effect>) {
        self.appends.append(records, purpose, self.now, out);
    }

    /// Adds entries to the log and asks for their force.
    pub(crate) fn append_entries(&mut self, entries: Vec<Entry>, out: &mut Vec<Effect>) {
        let Some(last) = entries.last().map(|entry| entry.lsn) else { return };
        for entry in &entries {
            self.log.push(entry.clone());
        }
        self.append(entries.into_iter().map(Record::Entry).collect(), Persisted::Entries(last), out);
    }

    /// Makes a promise: it takes effect now and is announced to others when forced. Whatever lease we hold ends first
    /// [promise-takes-effect-at-once].
    pub(crate) fn promise(&mut self, promise: Promise, out: &mut Vec<Effect>) {
        out.push(Effect::Lease(None));
        self.promises.make(promise);
        let purpose = match promise.leader {
            Some(_) => Persisted::Bound(promise),
            None => Persisted::Candidacy(promise.epoch),
        };
        self.append(vec![Record::Promise(promise)], purpose, out);
    }

    /// Hides what the log no longer holds behind `agree`, for the leader of `epoch`.
    pub(crate) fn append_skip(&mut self, skip: SkipList, epoch: Epoch, agree: Lsn, out: &mut Vec<Effect>) {
        self.appends.withdraw_entries_behind(agree);
        self.append(vec![Record::Skip(skip)], Persisted::Truncated { epoch, agree }, out);
    }

    /// Whether a Skip is not durable yet.
    pub(crate) fn skip_is_pending(&self) -> bool {
        self.appends.skip_is_pending()
    }

    /// Appends up to `ticket` are durable; says what they were for, in order.
    pub(crate) fn forced(&mut self, ticket: Ticket) -> Vec<Persisted> {
        let persisted = self.appends.forced(ticket);
        for purpose in &persisted {
            match purpose {
                Persisted::Entries(lsn) => self.log.force_to(*lsn),
                Persisted::Bound(promise) => self.promises.persisted(*promise),
                Persisted::Candidacy(epoch) => {
                    self.promises.persisted(Promise { epoch: *epoch, leader: None })
                }
                Persisted::LongerLease(lease) => self.promises.lease_logged(*lease),
                Persisted::Truncated { .. }
                | Persisted::Promoted
                | Persisted::RejoinMarked
                | Persisted::Checkpoint => {}
            }
        }
        persisted
    }

    /// The disk was full: everything from here on will be appended again, in order, when there is space.
    pub(crate) fn append_failed(&mut self, ticket: Ticket, out: &mut Vec<Effect>) {
        let retry_at = self.now.plus(self.settings().heartbeat);
        if self.appends.failed(ticket, retry_at) {
            self.alarm("disk full: the log takes no writes until space is freed".into(), out);
        }
    }

    pub(crate) fn is_disk_full(&self) -> bool {
        self.appends.is_disk_full()
    }

    /// Whether this node's own log lags: its disk hangs, or is full [unfit-leader-transfers].
    pub(crate) fn force_lags(&self) -> bool {
        self.appends.lag(self.settings().force_wait_max, self.now)
    }

    /// What every role does as time passes.
    pub(crate) fn tick(&mut self, out: &mut Vec<Effect>) {
        self.appends.retry(self.now, out);
        let (committed, period) = (self.log.committed(), self.config.settings.commit_period);
        self.appends.log_commit(committed, period, self.now, out);
    }

    // Checkpoints

    /// The control state as a Checkpoint record says it [control-state-outlives-segment].
    fn checkpoint(&self) -> Checkpoint {
        Checkpoint {
            promise: self.promises.current(),
            flushed: self.flushed.0,
            flushed_chain: self.flushed.1,
            committed: self.log.committed(),
            lease_ms_max: self.promises.longest_lease().0,
            must_rejoin: self.health.must_rejoin(),
        }
    }

    fn append_checkpoint(&mut self, purpose: Persisted, out: &mut Vec<Effect>) {
        self.append(vec![Record::Checkpoint(self.checkpoint())], purpose, out);
    }

    /// Marks all that the log holds so far as superseded.
    fn append_snapshot(&mut self, out: &mut Vec<Effect>) {
        self.append(vec![Record::Snapshot(self.checkpoint())], Persisted::Checkpoint, out);
    }

    /// The store holds everything up to `flushed` in SSTables: the log need not keep it for us.
    pub(crate) fn note_flushed(&mut self, flushed: Lsn, flushed_chain: ChainHash, out: &mut Vec<Effect>) {
        // What is reported of tables that have been thrown away since comes too late.
        if flushed.seq < self.flushed.0.seq || flushed.seq > self.log.applied().seq {
            return;
        }
        self.flushed = (flushed, flushed_chain);
        self.append_checkpoint(Persisted::Checkpoint, out);
    }

    /// The store has a snapshot up to `flushed` in place. If that reaches less far than what is applied, damaged tables were
    /// repaired under it, and the log goes on as it was. If not, the log goes on from the snapshot; true then.
    pub(crate) fn snapshot_installed(
        &mut self,
        flushed: Lsn,
        flushed_chain: ChainHash,
        out: &mut Vec<Effect>,
    ) -> bool {
        if flushed.seq < self.log.applied().seq {
            self.note_flushed(flushed, flushed_chain, out);
            return false;
        }
        out.push(Effect::SnapshotInstalled { flushed, flushed_chain });
        self.flushed = (flushed, flushed_chain);
        if self.log.install_snapshot(flushed, flushed_chain) {
            self.append_checkpoint(Persisted::Checkpoint, out);
        } else {
            self.append_snapshot(out);
        }
        self.freshness.advance(self.log.applied());
        true
    }

    // Committing

    /// Commits up to `lsn` and applies up to `limit`.
    pub(crate) fn commit_and_apply(&mut self, lsn: Lsn, limit: Lsn, out: &mut Vec<Effect>) {
        let tail_bytes_max = self.config.settings.tail_bytes_max;
        let limit = if self.health.installing { self.log.applied() } else { limit };
        let entries = self.log.commit_to(lsn, limit, tail_bytes_max);
        if !entries.is_empty() {
            out.push(Effect::Apply(entries));
        }
        self.freshness.advance(self.log.applied());
    }

    /// The leader's echo of our stamp, and its commit point [staleness-by-echo]. A stamp of another life of this member says
    /// nothing about this one's clock.
    pub(crate) fn echoed(&mut self, heartbeat: &Heartbeat) {
        if let Some(own) = heartbeat.echo
            && own.life == self.config.life
        {
            self.freshness.echoed(own.at, heartbeat.committed, self.log.applied());
        }
    }

    // Leases

    /// Whether a lease that we granted forbids a higher promise now.
    pub(crate) fn lease_runs(&self, released: Option<Epoch>) -> bool {
        self.promises.lease_runs(self.now, released)
    }

    /// Grants the leader a lease from now, the receipt of its message; false if the lease must be logged first, so that a
    /// restart waits it out [restart-waits-out-lease].
    pub(crate) fn grant(&mut self, lease: Millis, out: &mut Vec<Effect>) -> bool {
        let granted = self.promises.grant(lease, self.now);
        if !granted && self.promises.begin_to_log(lease) {
            self.append_checkpoint(Persisted::LongerLease(lease), out);
        }
        granted
    }

    // The coordinator

    /// The coordinator's state has changed; says whose leader znode has gone.
    pub(crate) fn look_at(&mut self, view: RangeView) -> Option<ReplicaId> {
        let before = std::mem::replace(&mut self.view, view);
        before.leader.filter(|_| self.view.leader.is_none()).map(|(_, leader)| leader)
    }

    /// Asks the coordinator, if it is not busy with us and our session lives.
    pub(crate) fn coordinate(&mut self, request: CoordinationRequest, out: &mut Vec<Effect>) {
        if self.coordinating.is_none() && self.view.session {
            self.coordinating = Some(request);
            out.push(Effect::Coordinate(request));
        }
    }
}
