//! What a simulator found in catch-up, shown without one; and what a leader remembers of its leadership.

use wal::{Checkpoint, CohortId, CohortRecovery, Epoch, Incarnation, Promise, ReplicaId};

use super::*;
use crate::protocol::config::{Config, Recovered};
use crate::protocol::leader::SnapshotTransfer;
use crate::protocol::member::Common;
use crate::protocol::message::{Message, SnapshotPart};
use crate::protocol::settings::Settings;
use crate::protocol::time::{Millis, Stamp};

const EPOCH: Epoch = Epoch(3);
const FOLLOWER: NodeId = NodeId(2);

fn peer(node: u32) -> ReplicaId {
    ReplicaId { node: NodeId(node), incarnation: Incarnation(7) }
}

/// The leader of epoch 3: its tables reach up to 2.10, its log from there to 3.12.
fn leader() -> (Common, Leader) {
    let flushed = Lsn::new(2, 10);
    let (mut entries, mut last, mut chain) = (Vec::new(), flushed, wal::ChainHash::default());
    for epoch in [Epoch(2), EPOCH] {
        let entry = Entry::next(last, chain, epoch, wal::EntryKind::EpochStart, Default::default());
        (last, chain) = (entry.lsn, entry.chain);
        entries.push(entry);
    }
    let promise = Promise { epoch: EPOCH, leader: Some(peer(1)) };
    let log = CohortRecovery {
        checkpoint: Checkpoint { flushed, ..Checkpoint::default() },
        promise,
        committed: last,
        entries,
        epoch_ends: vec![flushed],
        ..CohortRecovery::default()
    };
    let recovered = Recovered { log, ..Recovered::default() };
    let members = vec![peer(1), peer(2), peer(3)];
    let config = Config { cohort: CohortId(1), me: peer(1), members, life: 1, settings: Settings::default() };
    let common = Common::new(config, recovered, Stamp(1), &mut Vec::new());
    let mut role = Leader::new(EPOCH, None, &common);
    role.phase = Phase::Leading(last);
    (common, role)
}

fn report(committed: Lsn, last: Lsn) -> Report {
    Report { committed, last, epoch_ends: vec![last] }
}

fn following<'a>(leader: &'a Member<'_, Leader>) -> &'a Following {
    &leader.role.progress[&FOLLOWER].following
}

fn sent(out: &[Effect]) -> Vec<&FromLeader> {
    out.iter()
        .filter_map(|effect| match effect {
            Effect::Send(envelope) => match &envelope.message {
                Message::FromLeader(EPOCH, message) => Some(message),
                _ => None,
            },
            _ => None,
        })
        .collect()
}

#[test]
fn who_is_behind_the_log_is_offered_a_snapshot_once() {
    let ((mut common, mut role), mut out) = (leader(), Vec::new());
    let mut leader = Member { common: &mut common, role: &mut role };
    let behind = report(Lsn::new(1, 4), Lsn::new(1, 4));
    leader.reported(peer(2), &behind, &mut out);
    assert!(matches!(following(&leader), Following::Snapshot(_)));
    assert!(matches!(sent(&out)[..], [FromLeader::OfferSnapshot { .. }]), "{out:?}");
    out.clear();
    // It says so with every heartbeat.
    leader.reported(peer(2), &behind, &mut out);
    assert_eq!(out, []);
}

/// Seed 4055029 of 5000 operations.
#[test]
fn a_late_report_changes_nothing_once_its_sender_has_acked_more() {
    let ((mut common, mut role), mut out) = (leader(), Vec::new());
    let mut leader = Member { common: &mut common, role: &mut role };
    if let Some(progress) = leader.role.progress.get_mut(&FOLLOWER) {
        progress.replicate_from(Lsn::new(3, 12), Stamp(1));
    }
    leader.reported(peer(2), &report(Lsn::new(1, 4), Lsn::new(1, 4)), &mut out);
    assert!(leader.role.progress[&FOLLOWER].is_replicating());
    assert_eq!(out, []);
}

/// The same seed: the follower restarted when it had applied more than the snapshot that it was offered again.
#[test]
fn who_is_past_the_snapshot_is_matched_by_its_log() {
    let ((mut common, mut role), mut out) = (leader(), Vec::new());
    let mut leader = Member { common: &mut common, role: &mut role };
    leader.offer_snapshot(FOLLOWER, &mut out);
    out.clear();
    leader.reported(peer(2), &report(Lsn::new(2, 11), Lsn::new(3, 12)), &mut out);
    let agree = Lsn::new(3, 12);
    assert_eq!(following(&leader), &Following::Probe { agree, committed: Lsn::new(2, 11), reported: agree });
    assert!(matches!(sent(&out)[..], [FromLeader::Match { .. }]), "{out:?}");
}

/// A snapshot that does not reach what the receiver has applied is of no use; the tables must come to reach it [no-resurrection].
#[test]
fn a_snapshot_must_reach_as_far_as_its_receiver_has_applied() {
    let ((mut common, mut role), mut out) = (leader(), Vec::new());
    let mut leader = Member { common: &mut common, role: &mut role };
    // It has applied 2.11; what it has behind that is of an epoch that our log does not know any more.
    let odd = Report { epoch_ends: vec![Lsn::new(1, 12)], ..report(Lsn::new(2, 11), Lsn::new(1, 12)) };
    leader.match_or_snapshot(FOLLOWER, &odd, &mut out);
    assert!(out.contains(&Effect::RequestFlush), "{out:?}");
    assert!(matches!(following(&leader), Following::Snapshot(_)));
}

/// It may be on its way, or its receiver may be slow: sent with every tick it would flood the network.
#[test]
fn what_waits_for_its_receiver_is_not_sent_with_every_tick() {
    let ((mut common, mut role), mut out) = (leader(), Vec::new());
    let mut leader = Member { common: &mut common, role: &mut role };
    let flushed = leader.common.flushed();
    let heartbeat = leader.common.settings().heartbeat;
    leader.offer_snapshot(FOLLOWER, &mut out);
    let [FromLeader::OfferSnapshot { snapshot }] = sent(&out)[..] else { panic!("{out:?}") };
    let snapshot = *snapshot;
    leader.fetch_snapshot(peer(2), snapshot, 0, flushed, &mut out);
    let part = SnapshotPart { number: 0, flushed, bytes: Default::default(), last: false };
    leader.snapshot_read(FOLLOWER, snapshot, Some(part), &mut out);
    let parts =
        |out: &[Effect]| sent(out).iter().filter(|one| matches!(one, FromLeader::Snapshot { .. })).count();
    assert_eq!(parts(&out), 1);
    for _ in 0..100 {
        leader.common.now = leader.common.now.plus(heartbeat);
        leader.repeat_snapshot(FOLLOWER, &mut out);
        // Nor if its receiver asks for it again and again.
        leader.fetch_snapshot(peer(2), snapshot, 0, flushed, &mut out);
    }
    assert_eq!(parts(&out), 4, "and after 10, 30 and 70 heartbeats");
}

/// The disk may be broken for long.
#[test]
fn a_snapshot_that_cannot_be_read_is_not_offered_again_at_once() {
    let ((mut common, mut role), mut out) = (leader(), Vec::new());
    let mut leader = Member { common: &mut common, role: &mut role };
    leader.offer_snapshot(FOLLOWER, &mut out);
    let [FromLeader::OfferSnapshot { snapshot }] = sent(&out)[..] else { panic!("{out:?}") };
    let snapshot = *snapshot;
    leader.fetch_snapshot(peer(2), snapshot, 0, Lsn::ZERO, &mut out);
    out.clear();
    leader.snapshot_read(FOLLOWER, snapshot, None, &mut out);
    assert!(sent(&out).is_empty(), "{out:?}");
    leader.common.now = leader.common.now.plus(Millis(10 * leader.common.settings().heartbeat.0));
    leader.repeat_snapshot(FOLLOWER, &mut out);
    let [FromLeader::OfferSnapshot { snapshot: next }] = sent(&out)[..] else { panic!("{out:?}") };
    assert!(*next > snapshot);
}

/// Seed 3132323 of 5000 operations.
#[test]
fn a_snapshot_takes_the_place_of_a_repair() {
    let ((mut common, mut role), mut out) = (leader(), Vec::new());
    let mut leader = Member { common: &mut common, role: &mut role };
    if let Some(progress) = leader.role.progress.get_mut(&FOLLOWER) {
        progress.replicate_from(Lsn::new(3, 12), Stamp(1));
        let repair = progress.repair.insert(SnapshotTransfer::new(5));
        repair.reading = true;
    }
    leader.offer_snapshot(FOLLOWER, &mut out);
    assert_eq!(leader.role.progress[&FOLLOWER].repair, None);
}

/// It was brought a snapshot as a follower whose acks counted, and loses its log meanwhile: what the snapshot holds is not all
/// that it may have acked [rejoin-as-learner].
#[test]
fn who_loses_its_log_during_a_snapshot_is_promoted_at_the_end_of_our_log_only() {
    let ((mut common, mut role), mut out) = (leader(), Vec::new());
    role.open = true;
    let mut leader = Member { common: &mut common, role: &mut role };
    let flushed = leader.common.flushed();
    leader.offer_snapshot(FOLLOWER, &mut out);
    let transfer = leader.role.progress.get_mut(&FOLLOWER).and_then(Progress::transfer);
    if let Some(transfer) = transfer {
        transfer.sent = Some(SnapshotPart { number: 0, flushed, bytes: Default::default(), last: true });
    }
    leader.catch_up_learner(peer(2), &Report::default(), &mut out);
    leader.learner_ack(peer(2), flushed, &mut out);
    assert!(leader.role.progress[&FOLLOWER].is_replicating());
    let promoted = |out: &[Effect]| sent(out).iter().any(|one| matches!(one, FromLeader::Promote { .. }));
    assert!(!promoted(&out), "{out:?}");
    leader.learner_ack(peer(2), Lsn::new(3, 12), &mut out);
    assert!(promoted(&out), "{out:?}");
}

/// A leader that stood still for a minute of its leadership's life and was deposed says since when it is out of date, not how
/// long ago it last followed somebody.
#[test]
fn the_age_of_the_data_is_known_beyond_the_leadership() {
    let ((mut common, mut role), mut out) = (leader(), Vec::new());
    common.freshness.echoed(Stamp(1_000), Lsn::new(2, 10), Lsn::new(2, 10));
    common.freshness.advance(Lsn::new(2, 10));
    role.open = true;
    let settings = Settings::default();
    role.lease.extend(Stamp(60_000_000), &settings);
    let until = role.lease.until();
    common.now = until.plus(Millis(3000));
    Member { common: &mut common, role: &mut role }.close(&mut out);
    assert_eq!(common.freshness.staleness(common.now), Some(Millis(3001)));
}
