//! What happens to a leader, and what members say to it.

use wal::{NodeId, ReplicaId};

use super::progress::Progress;
use super::role::Leader;
use crate::protocol::effect::Effect;
use crate::protocol::event::{Event, Received};
use crate::protocol::member::{Member, Persisted};
use crate::protocol::message::{Ack, ToLeader};
use crate::protocol::transition::Transition;

impl Member<'_, Leader> {
    pub(crate) fn on_event(&mut self, event: Event, out: &mut Vec<Effect>) -> Transition {
        match event {
            Event::Tick => return self.tick(out),
            Event::View(view) => {
                self.common.look_at(view);
                self.win(out);
            }
            Event::Coordinated(outcome) => return self.coordinated(outcome, out),
            Event::Write { token, payload } => self.write(token, payload, out),
            Event::Read { token, after } => self.read(token, after, out),
            Event::Left(tokens) => self.role.reads.forget(&tokens),
            Event::Transfer { token, target } => self.transfer(token, target, out),
            Event::Connected(node) => self.connected(node, out),
            Event::LogRead { to, after, entries } => self.log_read(to, after, entries, out),
            Event::SnapshotRead { to, snapshot, part } => self.snapshot_read(to, snapshot, part, out),
            Event::SnapshotReceived { outcome, .. } => {
                self.common.health.installing = false;
                if let Received::Installed { flushed, flushed_chain } = outcome {
                    self.common.snapshot_installed(flushed, flushed_chain, out);
                }
            }
            // For a follower, or for all roles alike.
            _ => {}
        }
        Transition::Stay
    }

    /// A member's message to the leader of our epoch.
    pub(crate) fn received(
        &mut self,
        from: ReplicaId,
        message: ToLeader,
        out: &mut Vec<Effect>,
    ) -> Transition {
        match message {
            ToLeader::Promised(report) => return self.promised(from, report, out),
            ToLeader::Refuse { promise } => return self.refused(from, promise, out),
            ToLeader::Ack(Ack { learner: true, forced, .. }) => self.learner_ack(from, forced, out),
            ToLeader::Ack(ack) => self.ack(from, &ack, out),
            ToLeader::Report(report) => self.reported(from, &report, out),
            ToLeader::LearnerReport(report) => self.catch_up_learner(from, &report, out),
            ToLeader::Gap { last } => self.gap(from, last, out),
            ToLeader::NeedSnapshot { flushed } => self.need_snapshot(from, flushed, out),
            ToLeader::FetchSnapshot { snapshot, part, flushed } => {
                self.fetch_snapshot(from, snapshot, part, flushed, out);
            }
        }
        Transition::Stay
    }

    /// An append is durable.
    pub(crate) fn persisted(&mut self, persisted: &Persisted, out: &mut Vec<Effect>) {
        match persisted {
            Persisted::Entries(_) => self.commit(out),
            Persisted::Bound(promise) if promise.epoch == self.role.epoch => self.bound(out),
            Persisted::Bound(_)
            | Persisted::Candidacy(_)
            | Persisted::Truncated { .. }
            | Persisted::LongerLease(_)
            | Persisted::Promoted
            | Persisted::RejoinMarked
            | Persisted::Checkpoint => {}
        }
    }

    /// These members have other disks than before: what the old ones held counts no more [members-fixed].
    pub(crate) fn members_replaced(&mut self, replaced: Vec<NodeId>) {
        for node in replaced {
            if let Some(progress) = self.role.progress.get_mut(&node) {
                *progress = Progress::new();
            }
        }
    }
}
