//! Every message comes back from the wire as it went in; broken ones are refused with a reason.

use proptest::prelude::*;
use prost::Message as _;

use super::*;

fn lsn() -> impl Strategy<Value = Lsn> {
    (any::<u32>(), 0..=SEQ_MAX).prop_map(|(epoch, seq)| Lsn::new(epoch, seq))
}

fn promise() -> impl Strategy<Value = Promise> {
    let member = (any::<u32>(), any::<u64>())
        .prop_map(|(node, life)| ReplicaId { node: NodeId(node), incarnation: Incarnation(life) });
    (any::<u32>(), proptest::option::of(member))
        .prop_map(|(epoch, leader)| Promise { epoch: Epoch(epoch), leader })
}

fn own() -> impl Strategy<Value = OwnStamp> {
    (any::<u64>(), any::<u64>()).prop_map(|(life, at)| OwnStamp { life, at: Stamp(at) })
}

fn heartbeat() -> impl Strategy<Value = Heartbeat> {
    (any::<u64>(), lsn(), any::<u64>(), 0..=LEASE_MAX.0, proptest::option::of(own())).prop_map(
        |(stamp, committed, chain, lease, echo)| Heartbeat {
            stamp: Stamp(stamp),
            committed,
            committed_chain: ChainHash(chain),
            lease: Millis(lease),
            echo,
        },
    )
}

fn report() -> impl Strategy<Value = Report> {
    let steps = proptest::collection::vec((1..10u32, 1..10u64), 0..5);
    (lsn(), lsn(), steps).prop_map(|(committed, last, steps)| {
        let ends = steps.into_iter().scan(Lsn::new(1, 1), |end, (epochs, seqs)| {
            *end = Lsn::new(end.epoch.0 + epochs, end.seq + seqs);
            Some(*end)
        });
        Report { committed, last, epoch_ends: ends.collect() }
    })
}

/// A batch as a leader of epoch 9 could make it, its tail inherited from older epochs.
fn propose() -> impl Strategy<Value = Message> {
    let entries = proptest::collection::vec((0..3u32, any::<bool>(), any::<Vec<u8>>()), 0..6);
    (1..4u32, 0..1000u64, any::<u64>(), entries, heartbeat()).prop_map(
        |(epoch, seq, chain, parts, heartbeat)| {
            let (prev, prev_chain) = (Lsn::new(epoch, seq), ChainHash(chain));
            let mut entries: Vec<Entry> = Vec::new();
            for (step, write, payload) in parts {
                let (last, chain) =
                    entries.last().map_or((prev, prev_chain), |entry| (entry.lsn, entry.chain));
                let epoch = Epoch((last.epoch.0 + step).min(9));
                let (kind, payload) = match write {
                    true => (EntryKind::Write, Bytes::from(payload)),
                    false => (EntryKind::EpochStart, Bytes::new()),
                };
                entries.push(Entry::next(last, chain, epoch, kind, payload));
            }
            Message::FromLeader(Epoch(9), FromLeader::Propose { prev, entries, heartbeat })
        },
    )
}

fn from_leader() -> impl Strategy<Value = FromLeader> {
    prop_oneof![
        heartbeat().prop_map(FromLeader::Heartbeat),
        (lsn(), proptest::option::of(any::<u64>()), lsn(), proptest::option::of(any::<u64>())).prop_map(
            |(agree, agree_chain, reported, committed_chain)| FromLeader::Match {
                agree,
                agree_chain: agree_chain.map(ChainHash),
                reported,
                committed_chain: committed_chain.map(ChainHash),
            }
        ),
        proptest::option::of(any::<u32>().prop_map(Epoch))
            .prop_map(|released| FromLeader::RequestPromise { released }),
        lsn().prop_map(|upto| FromLeader::Promote { upto }),
        any::<u64>().prop_map(|snapshot| FromLeader::OfferSnapshot { snapshot }),
        (any::<u64>(), any::<u64>(), lsn(), any::<Vec<u8>>(), any::<bool>()).prop_map(
            |(snapshot, number, flushed, bytes, last)| FromLeader::Snapshot {
                snapshot,
                part: SnapshotPart { number, flushed, bytes: bytes.into(), last },
            }
        ),
        lsn().prop_map(|last| FromLeader::TransferLeadership { last }),
    ]
}

fn to_leader() -> impl Strategy<Value = ToLeader> {
    let stamp = any::<u64>().prop_map(Stamp);
    prop_oneof![
        report().prop_map(ToLeader::Promised),
        promise().prop_map(|promise| ToLeader::Refuse { promise }),
        report().prop_map(ToLeader::Report),
        report().prop_map(ToLeader::LearnerReport),
        (lsn(), stamp, any::<bool>(), any::<bool>(), own()).prop_map(
            |(forced, stamp, grant, learner, own_stamp)| {
                ToLeader::Ack(Ack { forced, stamp, grant, learner, own_stamp })
            }
        ),
        lsn().prop_map(|last| ToLeader::Gap { last }),
        lsn().prop_map(|flushed| ToLeader::NeedSnapshot { flushed }),
        (any::<u64>(), any::<u64>(), lsn()).prop_map(|(snapshot, part, flushed)| ToLeader::FetchSnapshot {
            snapshot,
            part,
            flushed
        }),
    ]
}

fn between_peers() -> impl Strategy<Value = BetweenPeers> {
    prop_oneof![
        any::<u64>().prop_map(|round| BetweenPeers::PreVote { round }),
        (any::<u64>(), any::<bool>(), promise())
            .prop_map(|(round, agree, promise)| BetweenPeers::PreVoteAnswer { round, agree, promise }),
        any::<u64>().prop_map(|nonce| BetweenPeers::VoterProbe { nonce }),
        (any::<u64>(), promise())
            .prop_map(|(nonce, promise)| BetweenPeers::VoterProbeAnswer { nonce, promise }),
    ]
}

fn message() -> impl Strategy<Value = Message> {
    let epoch = || any::<u32>().prop_map(Epoch);
    prop_oneof![
        1 => propose(),
        7 => (epoch(), from_leader()).prop_map(|(epoch, message)| Message::FromLeader(epoch, message)),
        8 => (epoch(), to_leader()).prop_map(|(epoch, message)| Message::ToLeader(epoch, message)),
        4 => between_peers().prop_map(Message::BetweenPeers),
    ]
}

proptest! {
    #[test]
    fn comes_back_as_it_went(id in any::<u128>(), message in message()) {
        let bytes = encode(CohortId(id), message.clone()).encode_to_vec();
        let envelope = proto::Envelope::decode(&bytes[..]).expect("own encoding");
        prop_assert_eq!(decode(envelope), Ok((CohortId(id), message)));
    }

    #[test]
    fn no_bytes_make_the_decoders_panic(bytes in prop::collection::vec(prop_oneof![any::<u8>(), 0..40u8], 0..120)) {
        if let Ok(envelope) = proto::Envelope::decode(&bytes[..]) {
            let _ = decode(envelope);
        }
    }

    /// Any flipped bit leaves a message that protobuf refuses, that is refused here, or that is well-formed.
    #[test]
    fn flipped_bits_never_panic(message in message(), at in any::<prop::sample::Index>(), bit in 0..8u8) {
        let mut bytes = encode(CohortId(7), message).encode_to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        if let Ok(envelope) = proto::Envelope::decode(&bytes[..])
            && let Ok((_, Message::FromLeader(_, FromLeader::Propose { entries, .. }))) = decode(envelope)
        {
            for pair in entries.windows(2) {
                prop_assert!(pair[1].follows(pair[0].lsn, pair[0].chain));
            }
        }
    }
}

/// A good batch 2.22, 2.23 behind 1.21, to be broken by each test.
fn good() -> proto::Propose {
    let prev = Lsn::new(1, 21);
    let first = Entry::next(prev, ChainHash(5), Epoch(2), EntryKind::EpochStart, Bytes::new());
    let second = Entry::next(first.lsn, first.chain, Epoch(2), EntryKind::Write, Bytes::from_static(b"x"));
    let heartbeat = Heartbeat {
        stamp: Stamp(1),
        committed: prev,
        committed_chain: ChainHash(5),
        lease: Millis(500),
        echo: None,
    };
    let propose = FromLeader::Propose { prev, entries: vec![first, second], heartbeat };
    let message = Message::FromLeader(Epoch(2), propose);
    match encode(CohortId(7), message).message {
        Some(Body::Propose(propose)) => propose,
        other => panic!("encoded as {other:?}"),
    }
}

fn refusal(change: impl FnOnce(&mut proto::Propose)) -> WireError {
    let mut propose = good();
    assert!(take_propose(Epoch(2), propose.clone()).is_ok());
    change(&mut propose);
    take_propose(Epoch(2), propose).expect_err("must be refused")
}

#[test]
fn refuses_epochs_that_go_back_or_pass_the_leader() {
    let back = refusal(|propose| propose.entries[1].epoch = 1);
    assert_eq!(back, WireError::Order { lsn: Lsn::new(1, 23), epoch: Epoch(2) });
    let above = refusal(|propose| propose.entries[1].epoch = 3);
    assert_eq!(above, WireError::Order { lsn: Lsn::new(3, 23), epoch: Epoch(2) });
}

#[test]
fn refuses_another_payload_a_lost_entry_and_another_start() {
    for change in [
        (|propose| propose.entries[1].payload = Bytes::from_static(b"y")) as fn(&mut proto::Propose),
        |propose| drop(propose.entries.pop()),
        |propose| propose.first_chain = 6,
        |propose| propose.prev = Some(proto::Lsn { epoch: 1, seq: 22 }),
    ] {
        assert!(matches!(refusal(change), WireError::Chain { .. }));
    }
}

#[test]
fn refuses_what_is_out_of_range_or_missing() {
    assert_eq!(refusal(|propose| propose.prev = None), WireError::Missing("prev"));
    assert_eq!(refusal(|propose| propose.heartbeat = None), WireError::Missing("heartbeat"));
    let kind = refusal(|propose| propose.entries[1].kind = 3);
    assert_eq!(kind, WireError::Range { what: "kind of entry", value: 3 });
    let seq = refusal(|propose| propose.prev = Some(proto::Lsn { epoch: 1, seq: u64::MAX }));
    assert_eq!(seq, WireError::Range { what: "sequence number", value: u64::MAX });
    let lease = refusal(|propose| propose.heartbeat.as_mut().expect("good has one").lease = 60_001);
    assert_eq!(lease, WireError::Range { what: "lease in ms", value: 60_001 });
    let start = refusal(|propose| propose.entries[0].payload = Bytes::from_static(b"x"));
    assert_eq!(start, WireError::Range { what: "payload size of an epoch start", value: 1 });
    let empty = proto::Envelope { cohort_high: 0, cohort_low: 0, epoch: 0, message: None };
    assert_eq!(decode(empty), Err(WireError::Unknown));
}

#[test]
fn a_kind_of_the_next_release_is_known_as_such() {
    let mut bytes = prost::Message::encode_to_vec(&proto::Envelope {
        cohort_high: 0,
        cohort_low: 7,
        epoch: 3,
        message: None,
    });
    // Field 500, a message of four bytes.
    prost::encoding::encode_key(500, prost::encoding::WireType::LengthDelimited, &mut bytes);
    bytes.extend([4, 1, 2, 3, 4]);
    let envelope = <proto::Envelope as prost::Message>::decode(&bytes[..]).expect("well-formed");
    assert_eq!(cohort(&envelope), CohortId(7));
    assert_eq!(decode(envelope), Err(WireError::Unknown));
}
