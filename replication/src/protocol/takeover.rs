//! Takeover as phase 1 (design 4.1): the epoch is taken at the coordinator, our own promise is bound first, then a
//! majority is bound to us directly; what they know committed is committed, what they lack is sent again under its
//! old LSNs, and EpochStart closes the inherited tail.

use wal::{Entry, EntryKind, Lsn, Promise, ReplicaId};

use bytes::Bytes;

use super::coordination::{CoordinationOutcome, CoordinationRequest};
use super::effect::Effect;
use super::leader::{Leader, Outcome, Phase};
use super::member::Member;
use super::message::{Message, Report};
use super::progress::Stage;

impl Member<Leader> {
    /// Takes the epoch at the coordinator.
    pub(crate) fn win(&mut self, out: &mut Vec<Effect>) {
        let (epoch, epoch_version) = (self.role.epoch, self.common.view.epoch_version);
        if self.role.phase == Phase::Winning {
            self.common.coordinate(CoordinationRequest::Win { epoch, epoch_version }, out);
        }
    }

    pub(crate) fn coordinated(&mut self, outcome: CoordinationOutcome, out: &mut Vec<Effect>) -> Outcome {
        match outcome.request {
            CoordinationRequest::Win { epoch, .. } if epoch == self.role.epoch => {
                if !outcome.done {
                    return Outcome::StepDown;
                }
                self.role.phase = Phase::Binding;
                let promise = Promise { epoch, leader: Some(self.common.me()) };
                if promise <= self.common.promise {
                    // Meanwhile we promised someone else.
                    return Outcome::StepDown;
                }
                self.common.promise(promise, out);
                Outcome::Lead
            }
            CoordinationRequest::Win { .. }
            | CoordinationRequest::Stand { .. }
            | CoordinationRequest::Restore { .. }
            | CoordinationRequest::Resign { .. } => Outcome::Lead,
        }
    }

    /// Our own promise is durable: ask the others.
    pub(crate) fn bound(&mut self, out: &mut Vec<Effect>) {
        if self.role.phase == Phase::Binding {
            self.role.phase = Phase::Promising(self.common.now);
            self.nudge(out);
            self.send_heartbeats(out);
            self.try_start(out);
        }
    }

    /// Asks again whoever has not answered its last question (rule 20: also long after the takeover).
    pub(crate) fn nudge(&mut self, out: &mut Vec<Effect>) {
        let epoch = self.role.epoch;
        for node in self.common.others() {
            let Some(progress) = self.role.progress.get(&node) else { continue };
            match &progress.stage {
                Stage::Silent => {
                    let last = self.common.log.forced();
                    let released = self.role.released.filter(|released| *released != epoch);
                    self.common.send(node, Message::RequestPromise { epoch, last, released }, out);
                }
                Stage::Promised(_) => {}
                Stage::Matching { agree, reported } => self.send_match(node, *agree, *reported, out),
                Stage::Snapshot(transfer) if !transfer.reading => {
                    let transfer = transfer.clone();
                    self.repeat_snapshot(node, &transfer, out);
                }
                Stage::Snapshot(_) => {}
                Stage::Matched => self.resend_lost(node, out),
            }
        }
    }

    /// A member is bound to us and tells its log.
    pub(crate) fn promised(&mut self, from: ReplicaId, report: Report, out: &mut Vec<Effect>) -> Outcome {
        let now = self.common.now;
        let Some(progress) = self.role.progress.get_mut(&from.node) else { return Outcome::Lead };
        progress.heard = Some(now);
        if matches!(progress.stage, Stage::Silent) {
            progress.stage = Stage::Promised(report);
        }
        match self.role.phase {
            Phase::Winning | Phase::Binding => {}
            Phase::Promising(_) => self.try_start(out),
            Phase::Leading(_) => self.match_promised(out),
        }
        self.takeover_outcome(out)
    }

    /// Starts the epoch if a majority is bound to us and lacks nothing that we lack.
    fn try_start(&mut self, out: &mut Vec<Effect>) {
        let last = self.common.log.last();
        let promised = self.role.progress.values().filter(|one| match &one.stage {
            Stage::Promised(report) => report.last <= last,
            Stage::Silent | Stage::Matching { .. } | Stage::Snapshot(_) | Stage::Matched => false,
        });
        if !matches!(self.role.phase, Phase::Promising(_))
            || promised.clone().count() + 1 < self.common.majority()
        {
            return;
        }
        // What any of them knows committed is committed, and in our log, since ours reaches as far.
        let known = promised.map(|one| match &one.stage {
            Stage::Promised(report) => report.committed,
            Stage::Silent | Stage::Matching { .. } | Stage::Snapshot(_) | Stage::Matched => Lsn::ZERO,
        });
        if let Some(committed) = known.max()
            && committed > self.common.log.committed()
        {
            if self.common.log.at(committed.seq).is_none_or(|(lsn, _)| lsn != committed) {
                let text = format!("{committed} is committed elsewhere but is not in this log");
                return self.common.diverged(text, out);
            }
            self.common.commit_and_apply(committed, committed, out);
        }
        let (prev, chain) = (self.common.log.last(), self.common.log.last_chain());
        let start = Entry::next(prev, chain, self.role.epoch, EntryKind::EpochStart, Bytes::new());
        self.role.phase = Phase::Leading(start.lsn);
        self.common.append_entries(vec![start], out);
        self.match_promised(out);
        self.commit(out);
    }

    /// Whether the takeover can still succeed (rule 16): resigns only if no majority can lack what we lack.
    pub(crate) fn takeover_outcome(&mut self, out: &mut Vec<Effect>) -> Outcome {
        let Phase::Promising(since) = self.role.phase else { return Outcome::Lead };
        let last = self.common.log.last();
        let ahead = self
            .role
            .progress
            .values()
            .filter(|one| matches!(&one.stage, Stage::Promised(report) if report.last > last));
        let ahead = ahead.count();
        let possible = self.common.config.members.len() - ahead >= self.common.majority();
        let wait_max = self.wait_max();
        let late = self.common.now >= since.plus(wait_max).plus(wait_max);
        if possible && !(late && ahead > 0) {
            return Outcome::Lead;
        }
        self.resign(out);
        Outcome::StepDown
    }

    /// Gives the epoch up at the coordinator.
    pub(crate) fn resign(&mut self, out: &mut Vec<Effect>) {
        let epoch = self.role.epoch;
        self.common.coordinate(CoordinationRequest::Resign { epoch }, out);
    }
}
