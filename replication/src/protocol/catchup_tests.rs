//! What a simulator found in catch-up, shown without one.

use wal::{Checkpoint, CohortId, Epoch, Incarnation, Promise, ReplicaId};

use super::*;
use crate::protocol::leader::Phase;
use crate::protocol::member::{Common, Config, Recovered};
use crate::protocol::progress::SnapshotProgress;
use crate::protocol::time::Stamp;

const EPOCH: Epoch = Epoch(3);
const FOLLOWER: NodeId = NodeId(2);

fn peer(node: u32) -> ReplicaId {
    ReplicaId { node: NodeId(node), incarnation: Incarnation(7) }
}

/// The leader of epoch 3: its tables reach up to 2.10, its log from there to 3.12.
fn leader() -> Member<Leader> {
    let flushed = Lsn::new(2, 10);
    let (mut entries, mut last, mut chain) = (Vec::new(), flushed, wal::ChainHash::default());
    for epoch in [Epoch(2), EPOCH] {
        let entry = Entry::next(last, chain, epoch, wal::EntryKind::EpochStart, Default::default());
        (last, chain) = (entry.lsn, entry.chain);
        entries.push(entry);
    }
    let promise = Promise { epoch: EPOCH, leader: Some(peer(1)) };
    let recovered = Recovered {
        checkpoint: Checkpoint { flushed, ..Checkpoint::default() },
        promise,
        committed: last,
        entries,
        oldest: flushed,
        epoch_ends: vec![flushed],
        ..Recovered::default()
    };
    let settings = super::super::settings::Settings::default();
    let config = Config {
        cohort: CohortId(1),
        me: peer(1),
        members: vec![peer(1), peer(2), peer(3)],
        life: 1,
        settings,
    };
    let common = Box::new(Common::new(config, recovered, Stamp(1), &mut Vec::new()));
    let mut role = Leader::new(EPOCH, None, &common);
    role.phase = Phase::Leading(last);
    Member { common, role }
}

fn report(committed: Lsn, last: Lsn) -> Report {
    Report { committed, last, epoch_ends: vec![last], flushed: Lsn::ZERO }
}

fn stage(leader: &Member<Leader>) -> &Stage {
    &leader.role.progress[&FOLLOWER].stage
}

fn sent(out: &[Effect]) -> Vec<&Message> {
    out.iter()
        .filter_map(|effect| match effect {
            Effect::Send(envelope) => Some(&envelope.message),
            _ => None,
        })
        .collect()
}

#[test]
fn who_is_behind_the_log_is_offered_a_snapshot_once() {
    let (mut leader, mut out) = (leader(), Vec::new());
    let behind = report(Lsn::new(1, 4), Lsn::new(1, 4));
    leader.reported(peer(2), &behind, &mut out);
    assert!(matches!(stage(&leader), Stage::Snapshot(_)));
    assert!(matches!(sent(&out)[..], [Message::OfferSnapshot { .. }]), "{out:?}");
    out.clear();
    // It says so with every heartbeat.
    leader.reported(peer(2), &behind, &mut out);
    assert_eq!(out, []);
}

/// Seed 4055029 of 5000 operations.
#[test]
fn a_late_report_changes_nothing_once_its_sender_has_acked_more() {
    let (mut leader, mut out) = (leader(), Vec::new());
    if let Some(progress) = leader.role.progress.get_mut(&FOLLOWER) {
        progress.match_at(Lsn::new(3, 12), Stamp(1));
    }
    leader.reported(peer(2), &report(Lsn::new(1, 4), Lsn::new(1, 4)), &mut out);
    assert_eq!((stage(&leader), &out[..]), (&Stage::Matched, &[][..]));
}

/// The same seed: the follower restarted when it had applied more than the snapshot that it was offered again.
#[test]
fn who_is_past_the_snapshot_is_matched_by_its_log() {
    let (mut leader, mut out) = (leader(), Vec::new());
    leader.offer_snapshot(FOLLOWER, &mut out);
    out.clear();
    leader.reported(peer(2), &report(Lsn::new(2, 11), Lsn::new(3, 12)), &mut out);
    let agree = Lsn::new(3, 12);
    assert_eq!(stage(&leader), &Stage::Matching { agree, reported: agree });
    assert!(matches!(sent(&out)[..], [Message::Match { .. }]), "{out:?}");
}

/// Rule 7: a snapshot that does not reach what the receiver has applied is of no use; the tables must come to reach it.
#[test]
fn a_snapshot_must_reach_as_far_as_its_receiver_has_applied() {
    let (mut leader, mut out) = (leader(), Vec::new());
    // It has applied 2.11; what it has behind that is of an epoch that our log does not know any more.
    let odd = Report { epoch_ends: vec![Lsn::new(1, 12)], ..report(Lsn::new(2, 11), Lsn::new(1, 12)) };
    leader.match_or_snapshot(FOLLOWER, &odd, &mut out);
    assert!(out.contains(&Effect::RequestFlush), "{out:?}");
    assert!(matches!(stage(&leader), Stage::Snapshot(_)));
}

/// Seed 3132323 of 5000 operations.
#[test]
fn a_snapshot_takes_the_place_of_a_repair() {
    let (mut leader, mut out) = (leader(), Vec::new());
    if let Some(progress) = leader.role.progress.get_mut(&FOLLOWER) {
        progress.match_at(Lsn::new(3, 12), Stamp(1));
        progress.repair = Some(SnapshotProgress { snapshot: 5, sent: None, reading: true });
    }
    leader.offer_snapshot(FOLLOWER, &mut out);
    assert_eq!(leader.role.progress[&FOLLOWER].repair, None);
}
