//! What a member keeps in every role, and what it does the same way in every role: promises, appends that wait for
//! their force, grants of leases, applying what is committed.

use std::collections::VecDeque;

use wal::{ChainHash, Checkpoint, CohortId, Entry, Epoch, Lsn, NodeId, Promise, Record, ReplicaId, SkipList};

use super::Settings;
use super::coordination::{CoordinationRequest, RangeView};
use super::effect::Effect;
use super::event::Ticket;
use super::log::CohortLog;
use super::message::{Envelope, Heartbeat, Message};
use super::quorum::majority;
use super::rejoin::Rejoin;
use super::time::{Millis, Stamp};

/// Which cohort, who is in it, and who am I.
#[derive(Clone, Debug)]
pub struct Config {
    /// The cohort.
    pub cohort: CohortId,
    /// This member.
    pub me: ReplicaId,
    /// All members, this one included, each with its disk: a word from another disk of the same node is not heard.
    pub members: Vec<ReplicaId>,
    /// Tells this life of the member from all others, those after a reboot included, which begins its clock anew: random.
    pub life: u64,
    /// Periods and limits.
    pub settings: Settings,
}

/// What the log and the store hold of the cohort at start.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    /// Control state; its `flushed` is what the store holds in SSTables.
    pub checkpoint: Checkpoint,
    /// The promise in force.
    pub promise: Promise,
    /// Last LSN known committed.
    pub committed: Lsn,
    /// Live entries behind `checkpoint.flushed`, contiguous.
    pub entries: Vec<Entry>,
    /// Entries behind this LSN can be read back from the log.
    pub oldest: Lsn,
    /// `oldest`, and the last LSN of each epoch behind it in the log, oldest first.
    pub epoch_ends: Vec<Lsn>,
    /// The range has just been created: there is no lease from a former life to wait out.
    pub fresh: bool,
    /// The store has taken a snapshot that the log does not know of yet: all that the log holds of the cohort is superseded, and
    /// is to be marked so (rule 4).
    pub log_superseded: bool,
    /// The log has lost records of the cohort: promises or entries may be missing (rule 5).
    pub must_rejoin: bool,
}

/// A member in a role.
#[derive(Debug)]
pub(crate) struct Member<R> {
    pub(crate) common: Box<Common>,
    pub(crate) role: R,
}

/// What an append was for; told when it is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Durable {
    /// Entries up to here.
    Entries(Lsn),
    /// A promise bound to a leader that asked for it.
    Bound(Promise),
    /// Our own candidacy in this epoch.
    Candidacy(Epoch),
    /// A truncation to this LSN, for the leader of this epoch.
    Truncated { epoch: Epoch, agree: Lsn },
    /// The longest lease granted.
    LeaseLogged(Millis),
    /// The mark of a learner is gone.
    Promoted,
    /// The mark of a learner: what is here differs from the leader's, and goes now.
    RejoinMarked,
    /// Nothing that anyone waits for.
    Checkpoint,
}

/// An append that is not yet durable; kept to be appended again when the disk was full.
#[derive(Debug)]
struct Unforced {
    ticket: Ticket,
    records: Vec<Record>,
    durable: Durable,
    /// When it was wished first.
    since: Stamp,
}

/// The part of a member that outlives its roles.
#[derive(Debug)]
pub(crate) struct Common {
    pub(crate) config: Config,
    pub(crate) now: Stamp,
    pub(crate) log: CohortLog,
    /// The promise in force: effective at once, answered only when forced (rule 8b).
    pub(crate) promise: Promise,
    /// Whether `promise` is durable.
    pub(crate) promise_forced: bool,
    pub(crate) view: RangeView,
    /// The coordination request under way.
    pub(crate) coordinating: Option<CoordinationRequest>,
    /// Until then a lease that we granted may run: no higher promise to anyone (design 4.3).
    pub(crate) granted_until: Stamp,
    /// The checkpoint as last logged; its `lease_ms_max` covers every lease granted.
    checkpoint: Checkpoint,
    /// A longer lease is being logged.
    lease_logging: Option<Millis>,
    unforced: VecDeque<Unforced>,
    next_ticket: u64,
    /// An append was refused for lack of space; all unforced records wait to be appended again.
    pub(crate) disk_full: bool,
    /// When to try again.
    retry_at: Stamp,
    /// Tickets up to this one are superseded: their records are appended again under new ones.
    discarded: Ticket,
    /// Last LSN said in a Commit record.
    commit_logged: Lsn,
    commit_logged_at: Stamp,
    /// The highest promise that anyone told us of.
    pub(crate) highest_promise: Promise,
    /// Staleness (rule 21): our own stamp echoed by a leased leader, and the commit point that came with it.
    echo: Option<(Stamp, Lsn)>,
    /// Everything committed before this stamp is applied here.
    pub(crate) fresh_at: Option<Stamp>,
    /// The store is putting a snapshot in force: nothing may be applied meanwhile.
    pub(crate) installing: bool,
    /// The store's tables are damaged: it needs a whole snapshot, and should not lead.
    pub(crate) damaged: bool,
    /// Why this member takes no part any more.
    pub(crate) broken: Option<String>,
    /// From which leader, in which epoch, it differs, and its last LSN then: it has never acked more.
    suspicion: Option<(Epoch, ReplicaId, Lsn)>,
    /// It has lost its log, and is on its way back (rule 5).
    pub(crate) rejoin: Option<Rejoin>,
}

impl Common {
    pub(crate) fn new(config: Config, recovered: Recovered, now: Stamp, out: &mut Vec<Effect>) -> Common {
        let Recovered {
            checkpoint,
            promise,
            committed,
            entries,
            oldest,
            epoch_ends,
            fresh,
            log_superseded,
            must_rejoin,
        } = recovered;
        let start = (checkpoint.flushed, checkpoint.flushed_chain);
        let log = CohortLog::recovered(start, entries, committed, (oldest, epoch_ends));
        let mut checkpoint = checkpoint;
        checkpoint.must_rejoin |= must_rejoin;
        let rejoin = checkpoint.must_rejoin.then(|| Rejoin::new(config.life, now));
        if rejoin.is_some() {
            // How long a lease it has granted is forgotten, too.
            checkpoint.lease_ms_max = checkpoint.lease_ms_max.max(config.settings.lease.0);
        }
        let granted_until = if fresh { Stamp(0) } else { now.plus(Millis(checkpoint.lease_ms_max)) };
        let mut common = Common {
            now,
            promise,
            promise_forced: true,
            view: RangeView::default(),
            coordinating: None,
            granted_until,
            checkpoint,
            lease_logging: None,
            unforced: VecDeque::new(),
            next_ticket: 0,
            disk_full: false,
            retry_at: now,
            discarded: Ticket(0),
            commit_logged: log.committed(),
            commit_logged_at: now,
            highest_promise: promise,
            echo: None,
            fresh_at: None,
            installing: false,
            damaged: false,
            broken: None,
            suspicion: None,
            rejoin,
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

    pub(crate) fn send(&self, to: NodeId, message: Message, out: &mut Vec<Effect>) {
        out.push(Effect::Send(Envelope { from: self.config.me, to, message }));
    }

    pub(crate) fn alarm(&self, text: String, out: &mut Vec<Effect>) {
        out.push(Effect::Alarm(format!("cohort {} on {}: {text}", self.config.cohort, self.config.me.node)));
    }

    /// The logs differ in what both have committed: take no part any more until an operator has looked.
    pub(crate) fn diverged(&mut self, text: String, out: &mut Vec<Effect>) {
        if self.broken.is_none() {
            self.alarm(text.clone(), out);
            out.push(Effect::Lease(None));
            self.broken = Some(text);
        }
    }

    /// What is here is another history than this leader's, by the hash of all that led to it. Which of the two is the
    /// minority is not known yet: it takes no part any more, and keeps what it has (rule 19).
    pub(crate) fn differs(&mut self, leader: ReplicaId, text: String, out: &mut Vec<Effect>) {
        if self.broken.is_none() {
            self.diverged(text, out);
            self.suspicion = Some((self.promise.epoch, leader, self.log.last()));
        }
    }

    /// The leader that we differ from has committed, in its epoch, more than we ever acked: a majority without us has its
    /// history, for a follower compares the hashes before it appends. So we are the minority, and when the mark of a learner is
    /// durable what is here goes.
    pub(crate) fn outvoted(
        &mut self,
        from: ReplicaId,
        epoch: Epoch,
        heartbeat: &Heartbeat,
        out: &mut Vec<Effect>,
    ) {
        let Some((theirs, leader, acked)) = self.suspicion else { return };
        let committed = heartbeat.committed;
        if (epoch, from) != (theirs, leader) || committed.epoch != epoch || committed.seq <= acked.seq {
            return;
        }
        self.suspicion = None;
        self.checkpoint.must_rejoin = true;
        self.append_checkpoint(Durable::RejoinMarked, out);
    }

    /// The store is empty: what the log holds is superseded, what was promised holds, and all else comes from the leader.
    pub(crate) fn data_wiped(&mut self, outcome: Result<(), String>, out: &mut Vec<Effect>) {
        if let Err(text) = outcome {
            return self.alarm(format!("its data cannot be thrown away: {text}"), out);
        }
        (self.checkpoint.flushed, self.checkpoint.flushed_chain) = (Lsn::ZERO, ChainHash::default());
        self.log = CohortLog::recovered(
            (Lsn::ZERO, ChainHash::default()),
            Vec::new(),
            Lsn::ZERO,
            (Lsn::ZERO, Vec::new()),
        );
        (self.commit_logged, self.echo, self.fresh_at) = (Lsn::ZERO, None, None);
        (self.damaged, self.broken) = (false, None);
        self.rejoin = Some(Rejoin::new(self.config.life, self.now));
        self.append_snapshot(out);
    }

    // Appends

    fn append(&mut self, records: Vec<Record>, durable: Durable, out: &mut Vec<Effect>) {
        self.next_ticket += 1;
        let ticket = Ticket(self.next_ticket);
        if !self.disk_full {
            out.push(Effect::Append { records: records.clone(), ticket: Some(ticket) });
        }
        self.unforced.push_back(Unforced { ticket, records, durable, since: self.now });
    }

    /// Adds entries to the log and asks for their force.
    pub(crate) fn append_entries(&mut self, entries: Vec<Entry>, out: &mut Vec<Effect>) {
        let Some(last) = entries.last().map(|entry| entry.lsn) else { return };
        for entry in &entries {
            self.log.push(entry.clone());
        }
        self.append(entries.into_iter().map(Record::Entry).collect(), Durable::Entries(last), out);
    }

    /// Makes a promise: it takes effect now and is told to others when forced. Whatever lease we hold ends first
    /// (rule 8a).
    pub(crate) fn promise(&mut self, promise: Promise, out: &mut Vec<Effect>) {
        assert!(promise > self.promise, "promises only grow");
        out.push(Effect::Lease(None));
        self.promise = promise;
        self.promise_forced = false;
        self.knows_promise(promise);
        let durable = match promise.leader {
            Some(_) => Durable::Bound(promise),
            None => Durable::Candidacy(promise.epoch),
        };
        self.append(vec![Record::Promise(promise)], durable, out);
    }

    /// Someone has made this promise.
    pub(crate) fn knows_promise(&mut self, promise: Promise) {
        self.highest_promise = self.highest_promise.max(promise);
    }

    pub(crate) fn append_skip(&mut self, skip: SkipList, epoch: Epoch, agree: Lsn, out: &mut Vec<Effect>) {
        // Entries behind `agree` that still wait for space must not come after the Skip that hides them.
        if self.disk_full {
            for waiting in &mut self.unforced {
                waiting.records.retain(|record| match record {
                    Record::Entry(entry) => entry.lsn.seq <= agree.seq,
                    Record::Promise(_)
                    | Record::Commit(_)
                    | Record::Skip(_)
                    | Record::Checkpoint(_)
                    | Record::Snapshot(_) => true,
                });
            }
        }
        self.append(vec![Record::Skip(skip)], Durable::Truncated { epoch, agree }, out);
    }

    /// Appends up to `ticket` are durable; says what they were for, in order.
    pub(crate) fn forced(&mut self, ticket: Ticket) -> Vec<Durable> {
        let mut durable = Vec::new();
        if ticket <= self.discarded {
            return durable;
        }
        while let Some(first) = self.unforced.front()
            && first.ticket <= ticket
        {
            if let Some(done) = self.unforced.pop_front() {
                match &done.durable {
                    Durable::Entries(lsn) => self.log.force_to(*lsn),
                    Durable::Bound(promise) => self.promise_forced |= *promise == self.promise,
                    Durable::Candidacy(epoch) => {
                        self.promise_forced |= self.promise == Promise { epoch: *epoch, leader: None };
                    }
                    Durable::LeaseLogged(lease) => self.checkpoint.lease_ms_max = lease.0,
                    Durable::Truncated { .. }
                    | Durable::Promoted
                    | Durable::RejoinMarked
                    | Durable::Checkpoint => {}
                }
                durable.push(done.durable);
            }
        }
        durable
    }

    /// The disk was full: everything from here on will be appended again, in order, when there is space.
    pub(crate) fn append_failed(&mut self, ticket: Ticket, out: &mut Vec<Effect>) {
        if ticket <= self.discarded {
            return;
        }
        if self.discarded == Ticket(0) {
            self.alarm("disk full: the log takes no writes until space is freed".into(), out);
        }
        self.disk_full = true;
        self.discarded = Ticket(self.next_ticket);
        self.retry_at = self.now.plus(self.settings().heartbeat);
    }

    fn retry_appends(&mut self, out: &mut Vec<Effect>) {
        if self.disk_full && self.now >= self.retry_at {
            self.disk_full = false;
            for waiting in &mut self.unforced {
                self.next_ticket += 1;
                waiting.ticket = Ticket(self.next_ticket);
                out.push(Effect::Append { records: waiting.records.clone(), ticket: Some(waiting.ticket) });
            }
        }
    }

    /// Whether this node's own log lags: its disk hangs, or is full (rule 18).
    pub(crate) fn force_lags(&self) -> bool {
        let wait_max = self.settings().force_wait_max;
        self.unforced.front().is_some_and(|first| self.now >= first.since.plus(wait_max))
    }

    /// What every role does as time passes.
    pub(crate) fn tick(&mut self, out: &mut Vec<Effect>) {
        self.retry_appends(out);
        let due = self.commit_logged_at.plus(self.settings().commit_period);
        let committed = self.log.committed();
        if committed.seq > self.commit_logged.seq && self.now >= due && !self.disk_full {
            self.commit_logged = committed;
            self.commit_logged_at = self.now;
            out.push(Effect::Append { records: vec![Record::Commit(committed)], ticket: None });
        }
    }

    /// The store holds everything up to `flushed` in SSTables: the log need not keep it for us.
    pub(crate) fn note_flushed(&mut self, flushed: Lsn, flushed_chain: ChainHash, out: &mut Vec<Effect>) {
        // What is said of tables that have been thrown away since comes too late.
        if flushed.seq < self.checkpoint.flushed.seq || flushed.seq > self.log.applied().seq {
            return;
        }
        self.checkpoint.flushed = flushed;
        self.checkpoint.flushed_chain = flushed_chain;
        self.append_checkpoint(Durable::Checkpoint, out);
    }

    /// The tables now hold a snapshot up to `flushed`: the log goes on from there (rule 4).
    pub(crate) fn snapshot_installed(
        &mut self,
        flushed: Lsn,
        flushed_chain: ChainHash,
        out: &mut Vec<Effect>,
    ) {
        self.checkpoint.flushed = flushed;
        self.checkpoint.flushed_chain = flushed_chain;
        if self.log.install_snapshot(flushed, flushed_chain) {
            self.append_checkpoint(Durable::Checkpoint, out);
        } else {
            self.append_snapshot(out);
        }
        self.refresh();
    }

    /// Marks all that the log holds so far as superseded.
    fn append_snapshot(&mut self, out: &mut Vec<Effect>) {
        let checkpoint =
            Checkpoint { promise: self.promise, committed: self.log.committed(), ..self.checkpoint.clone() };
        self.append(vec![Record::Snapshot(checkpoint)], Durable::Checkpoint, out);
    }

    /// Takes the mark of a learner away.
    pub(crate) fn clear_rejoin_mark(&mut self, out: &mut Vec<Effect>) {
        self.checkpoint.must_rejoin = false;
        self.append_checkpoint(Durable::Promoted, out);
    }

    /// What the store holds in tables.
    pub(crate) fn flushed(&self) -> Lsn {
        self.checkpoint.flushed
    }

    fn append_checkpoint(&mut self, durable: Durable, out: &mut Vec<Effect>) {
        let mut checkpoint = self.checkpoint.clone();
        checkpoint.promise = self.promise;
        checkpoint.committed = self.log.committed();
        if let Durable::LeaseLogged(lease) = &durable {
            checkpoint.lease_ms_max = lease.0;
        }
        if let Some(lease) = self.lease_logging {
            checkpoint.lease_ms_max = checkpoint.lease_ms_max.max(lease.0);
        }
        self.append(vec![Record::Checkpoint(checkpoint)], durable, out);
    }

    // Committing

    /// Commits up to `lsn` and applies up to `limit`.
    pub(crate) fn commit_and_apply(&mut self, lsn: Lsn, limit: Lsn, out: &mut Vec<Effect>) {
        let tail_bytes_max = self.config.settings.tail_bytes_max;
        let limit = if self.installing { self.log.applied() } else { limit };
        let entries = self.log.commit_to(lsn, limit, tail_bytes_max);
        if !entries.is_empty() {
            out.push(Effect::Apply(entries));
        }
        self.refresh();
    }

    /// The leader's stamp of ours and its commit point (rule 21).
    pub(crate) fn echoed(&mut self, heartbeat: &Heartbeat) {
        if let Some(own) = heartbeat.echo
            && own.life == self.config.life
            && self.echo.is_none_or(|(_, lsn)| self.log.applied().seq >= lsn.seq)
        {
            self.echo = Some((own.at, heartbeat.committed));
        }
    }

    fn refresh(&mut self) {
        if let Some((own, lsn)) = self.echo
            && self.log.applied().seq >= lsn.seq
        {
            self.fresh_at = self.fresh_at.max(Some(own));
        }
    }

    // Leases and promises

    /// Whether a lease that we granted (in this life or before) forbids a higher promise now. A leader that
    /// released its leases for a hand-over frees us (rule 8d).
    pub(crate) fn lease_runs(&self, released: Option<Epoch>) -> bool {
        self.now < self.granted_until && released != Some(self.promise.epoch)
    }

    /// Grants the leader a lease from now (receipt of its message, rule 8b); false if the lease must be logged
    /// first, so that a restart waits it out (rule 8e).
    pub(crate) fn grant(&mut self, lease: Millis, out: &mut Vec<Effect>) -> bool {
        if lease.0 > self.checkpoint.lease_ms_max {
            if self.lease_logging.is_none_or(|logging| logging < lease) {
                self.lease_logging = Some(lease);
                self.append_checkpoint(Durable::LeaseLogged(lease), out);
            }
            return false;
        }
        self.granted_until = self.granted_until.max(self.now.plus(lease));
        true
    }

    /// Asks the coordinator, if it is not busy with us and our session lives.
    pub(crate) fn coordinate(&mut self, request: CoordinationRequest, out: &mut Vec<Effect>) -> bool {
        if self.coordinating.is_some() || !self.view.session {
            return false;
        }
        self.coordinating = Some(request);
        out.push(Effect::Coordinate(request));
        true
    }
}
