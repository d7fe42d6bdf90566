//! Takeover as Paxos phase 1: the epoch is taken at the coordinator, our own promise is bound first, then a majority is bound
//! to us directly [bound-promise]; what they know committed is committed, what they lack is sent again under its old LSNs,
//! and EpochStart closes the inherited tail [own-epoch-commits].

use bytes::Bytes;
use wal::{Entry, EntryKind, Promise, ReplicaId};

use super::progress::Following;
use super::role::{Leader, Phase};
use crate::protocol::coordination::{CoordinationOutcome, CoordinationRequest};
use crate::protocol::effect::Effect;
use crate::protocol::member::Member;
use crate::protocol::message::{FromLeader, Report};
use crate::protocol::notice::Why;
use crate::protocol::transition::Transition;

impl Member<'_, Leader> {
    /// Takes the epoch at the coordinator.
    pub(crate) fn win(&mut self, out: &mut Vec<Effect>) {
        let (epoch, epoch_version) = (self.role.epoch, self.common.view.epoch_version);
        if self.role.phase == Phase::Winning {
            self.common.coordinate(CoordinationRequest::Win { epoch, epoch_version }, out);
        }
    }

    pub(super) fn coordinated(&mut self, outcome: CoordinationOutcome, out: &mut Vec<Effect>) -> Transition {
        let epoch = self.role.epoch;
        let ours = matches!(outcome.request, CoordinationRequest::Win { epoch: won, .. } if won == epoch);
        if !ours {
            return Transition::Stay;
        }
        let promise = Promise { epoch, leader: Some(self.common.me()) };
        if !outcome.done || promise <= self.common.promises.current() {
            // Another has taken it, or meanwhile we promised someone else.
            return Transition::Follow { leader: None, why: Why::EpochTaken };
        }
        self.role.phase = Phase::Binding;
        self.common.promise(promise, out);
        Transition::Stay
    }

    /// Our own promise is durable: ask the others.
    pub(super) fn bound(&mut self, out: &mut Vec<Effect>) {
        if self.role.phase == Phase::Binding {
            self.role.phase = Phase::Promising(self.common.now);
            self.nudge(out);
            self.send_heartbeats(out);
            self.try_start(out);
        }
    }

    /// Asks again whoever has not answered its last question, also long after the takeover
    /// [takeover-needs-majority-only].
    pub(super) fn nudge(&mut self, out: &mut Vec<Effect>) {
        for node in self.common.others() {
            let Some(progress) = self.role.progress.get(&node) else { continue };
            match &progress.following {
                Following::Silent => {
                    let released = self.role.transfers.inherited();
                    self.send(node, FromLeader::RequestPromise { released }, out);
                }
                Following::Promised(_) => {}
                Following::Probe { agree, committed, reported } => {
                    self.send_match(node, (*agree, *committed), *reported, out);
                }
                Following::Snapshot(_) => self.repeat_snapshot(node, out),
                Following::Replicate(_) => self.resend_lost(node, out),
            }
        }
    }

    /// A member is bound to us; its log.
    pub(super) fn promised(&mut self, from: ReplicaId, report: Report, out: &mut Vec<Effect>) -> Transition {
        let now = self.common.now;
        let Some(progress) = self.role.progress.get_mut(&from.node) else { return Transition::Stay };
        progress.contact.heard(now);
        if progress.following == Following::Silent {
            progress.following = Following::Promised(report);
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
        let promised = self.role.progress.values().filter_map(|one| one.promised());
        let promised = promised.filter(|report| report.last <= last);
        if !matches!(self.role.phase, Phase::Promising(_))
            || promised.clone().count() + 1 < self.common.majority()
        {
            return;
        }
        // What any of them knows committed is committed, and in our log, since ours reaches as far.
        if let Some(committed) = promised.map(|report| report.committed).max()
            && committed > self.common.log.committed()
        {
            if self.common.log.at(committed.seq).is_none_or(|(lsn, _)| lsn != committed) {
                let text = format!("{committed} is committed elsewhere but is not in this log");
                return self.common.stop(text, out);
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

    /// Whether the takeover can still succeed: it resigns only if no majority can lack what we lack [largest-last-wins].
    pub(super) fn takeover_outcome(&mut self, out: &mut Vec<Effect>) -> Transition {
        let Phase::Promising(since) = self.role.phase else { return Transition::Stay };
        let last = self.common.log.last();
        let reports = self.role.progress.values().filter_map(|one| one.promised());
        let ahead = reports.filter(|report| report.last > last).count();
        let possible = self.common.config.members.len() - ahead >= self.common.majority();
        let wait_max = self.common.settings().suspect_after;
        let late = self.common.now >= since.plus(wait_max).plus(wait_max);
        if possible && !(late && ahead > 0) {
            return Transition::Stay;
        }
        self.resign(out);
        Transition::Follow { leader: None, why: Why::LogTooShort }
    }

    /// Gives the epoch up at the coordinator.
    pub(super) fn resign(&mut self, out: &mut Vec<Effect>) {
        let epoch = self.role.epoch;
        self.common.coordinate(CoordinationRequest::Resign { epoch }, out);
    }
}
