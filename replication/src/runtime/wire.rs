//! Protocol messages to protobuf and back: the one place where what other nodes say is checked.
//!
//! Whatever leaves [`decode`] is well-formed: every part is there, the entries of a batch are contiguous, of one
//! known kind each, in epochs that do not go back nor pass the sender's, not over the size limit, and the chain
//! hash over them, computed here anew, is the one that the sender had. So the protocol need not check shapes, and a
//! node that is broken or of another make is found out before it does harm: its stream is ended with a
//! [`WireError`], never a panic. Sender and receiver are not on the wire: the stream's introduction fixes them.

use bytes::Bytes;
use wal::{ChainHash, CohortId, Entry, EntryKind, Epoch, Incarnation, Lsn, NodeId, Promise, ReplicaId};

use crate::protocol::message::{
    Ack, BetweenPeers, FromLeader, Heartbeat, Message, OwnStamp, Report, SnapshotPart, ToLeader,
};
use crate::protocol::time::{Millis, Stamp};

/// The generated protobuf types and the gRPC stubs.
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub(crate) mod proto {
    tonic::include_proto!("spinnaker.replication.v1");
}

use proto::envelope::Message as Body;

/// Largest payload of one entry that is taken, in bytes: far above what the store lets through (1 MiB per row).
const PAYLOAD_BYTES_MAX: usize = 8 << 20;
/// Most entries in one batch.
const ENTRIES_MAX: usize = 1 << 20;
/// Most epochs that a report may name.
const EPOCH_ENDS_MAX: usize = 1 << 16;
/// Longest lease that is believed: a leader that asks for more than a minute is broken.
const LEASE_MAX: Millis = Millis(60_000);

/// What is wrong with what a node sent; its stream is ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WireError {
    /// A part that the message must have is not there.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A number is outside its range.
    #[error("{what} {value} is out of range")]
    Range {
        /// Which number.
        what: &'static str,
        /// Its value.
        value: u64,
    },
    /// Entries of a batch are not contiguous, or their epochs go back or pass the leader's.
    #[error("entry {lsn} of a batch under epoch {epoch} is out of order")]
    Order {
        /// The entry.
        lsn: Lsn,
        /// The leader's epoch.
        epoch: Epoch,
    },
    /// The entries are not those that the sender has.
    #[error("chain hash of the batch up to {last} is {found}, the sender says {expected}")]
    Chain {
        /// Last entry of the batch.
        last: Lsn,
        /// What was computed here.
        found: ChainHash,
        /// What came.
        expected: ChainHash,
    },
}

/// A message of `cohort`, ready for the wire.
pub(crate) fn encode(cohort: CohortId, message: Message) -> proto::Envelope {
    let (epoch, body) = match message {
        Message::FromLeader(epoch, message) => (epoch, from_leader_to(message)),
        Message::ToLeader(epoch, message) => (epoch, to_leader_to(message)),
        Message::BetweenPeers(message) => (Epoch(0), between_peers_to(message)),
    };
    proto::Envelope {
        cohort_high: (cohort.0 >> 64) as u64,
        cohort_low: cohort.0 as u64,
        epoch: epoch.0,
        message: Some(body),
    }
}

fn from_leader_to(message: FromLeader) -> Body {
    match message {
        FromLeader::Propose { prev, entries, heartbeat } => {
            let first_chain = entries.first().map_or(0, |entry| entry.chain.0);
            let last_chain = entries.last().map_or(0, |entry| entry.chain.0);
            Body::Propose(proto::Propose {
                prev: Some(lsn_to(prev)),
                first_chain,
                entries: entries.into_iter().map(entry_to).collect(),
                last_chain,
                heartbeat: Some(heartbeat_to(heartbeat)),
            })
        }
        FromLeader::Heartbeat(heartbeat) => Body::Heartbeat(heartbeat_to(heartbeat)),
        FromLeader::Match { agree, agree_chain, reported } => Body::Match(proto::Match {
            agree: Some(lsn_to(agree)),
            agree_chain: agree_chain.map(|chain| chain.0),
            reported: Some(lsn_to(reported)),
        }),
        FromLeader::RequestPromise { released } => {
            Body::RequestPromise(proto::RequestPromise { released: released.map(|epoch| epoch.0) })
        }
        FromLeader::Promote { upto } => Body::Promote(proto::Promote { upto: Some(lsn_to(upto)) }),
        FromLeader::OfferSnapshot { snapshot } => Body::OfferSnapshot(proto::OfferSnapshot { snapshot }),
        FromLeader::Snapshot { snapshot, part: SnapshotPart { number, flushed, bytes, last } } => {
            Body::Snapshot(proto::Snapshot { snapshot, number, bytes, last, flushed: Some(lsn_to(flushed)) })
        }
        FromLeader::TransferLeadership { last } => {
            Body::TransferLeadership(proto::TransferLeadership { last: Some(lsn_to(last)) })
        }
    }
}

fn to_leader_to(message: ToLeader) -> Body {
    match message {
        ToLeader::Promised(report) => Body::Promised(report_to(report)),
        ToLeader::Refuse { promise } => Body::Refuse(proto::Refuse { promise: Some(promise_to(promise)) }),
        ToLeader::Report(report) => Body::Report(report_to(report)),
        ToLeader::LearnerReport(report) => Body::LearnerReport(report_to(report)),
        ToLeader::Ack(Ack { forced, stamp, grant, learner, own_stamp }) => Body::Ack(proto::Ack {
            forced: Some(lsn_to(forced)),
            stamp: stamp.0,
            grant,
            own_stamp: Some(own_to(own_stamp)),
            learner,
        }),
        ToLeader::Gap { last } => Body::Gap(proto::Gap { last: Some(lsn_to(last)) }),
        ToLeader::NeedSnapshot { flushed } => {
            Body::NeedSnapshot(proto::NeedSnapshot { flushed: Some(lsn_to(flushed)) })
        }
        ToLeader::FetchSnapshot { snapshot, part, flushed } => {
            Body::FetchSnapshot(proto::FetchSnapshot { snapshot, part, flushed: Some(lsn_to(flushed)) })
        }
    }
}

fn between_peers_to(message: BetweenPeers) -> Body {
    match message {
        BetweenPeers::PreVote { round } => Body::PreVote(proto::PreVote { round }),
        BetweenPeers::PreVoteAnswer { round, agree, promise } => {
            Body::PreVoteAnswer(proto::PreVoteAnswer { round, agree, promise: Some(promise_to(promise)) })
        }
        BetweenPeers::VoterProbe { nonce } => Body::VoterProbe(proto::VoterProbe { nonce }),
        BetweenPeers::VoterProbeAnswer { nonce, promise } => {
            Body::VoterProbeAnswer(proto::VoterProbeAnswer { nonce, promise: Some(promise_to(promise)) })
        }
    }
}

/// What an envelope says, and of which cohort.
pub(crate) fn decode(envelope: proto::Envelope) -> Result<(CohortId, Message), WireError> {
    let cohort = CohortId(u128::from(envelope.cohort_high) << 64 | u128::from(envelope.cohort_low));
    let epoch = Epoch(envelope.epoch);
    let from_leader = |message| Message::FromLeader(epoch, message);
    let to_leader = |message| Message::ToLeader(epoch, message);
    let message = match envelope.message.ok_or(WireError::Missing("message"))? {
        Body::Propose(propose) => from_leader(propose_from(epoch, propose)?),
        Body::Heartbeat(heartbeat) => from_leader(FromLeader::Heartbeat(heartbeat_from(heartbeat)?)),
        Body::Match(found) => from_leader(FromLeader::Match {
            agree: lsn_from(found.agree, "agree")?,
            agree_chain: found.agree_chain.map(ChainHash),
            reported: lsn_from(found.reported, "reported")?,
        }),
        Body::RequestPromise(request) => {
            from_leader(FromLeader::RequestPromise { released: request.released.map(Epoch) })
        }
        Body::Promote(promote) => from_leader(FromLeader::Promote { upto: lsn_from(promote.upto, "upto")? }),
        Body::OfferSnapshot(offer) => from_leader(FromLeader::OfferSnapshot { snapshot: offer.snapshot }),
        Body::Snapshot(snapshot) => from_leader(FromLeader::Snapshot {
            snapshot: snapshot.snapshot,
            part: SnapshotPart {
                number: snapshot.number,
                flushed: lsn_from(snapshot.flushed, "flushed")?,
                bytes: snapshot.bytes,
                last: snapshot.last,
            },
        }),
        Body::TransferLeadership(transfer) => {
            from_leader(FromLeader::TransferLeadership { last: lsn_from(transfer.last, "last")? })
        }
        Body::Promised(report) => to_leader(ToLeader::Promised(report_from(report)?)),
        Body::Refuse(refuse) => to_leader(ToLeader::Refuse { promise: promise_from(refuse.promise)? }),
        Body::Report(report) => to_leader(ToLeader::Report(report_from(report)?)),
        Body::LearnerReport(report) => to_leader(ToLeader::LearnerReport(report_from(report)?)),
        Body::Ack(ack) => to_leader(ToLeader::Ack(Ack {
            forced: lsn_from(ack.forced, "forced")?,
            stamp: Stamp(ack.stamp),
            grant: ack.grant,
            learner: ack.learner,
            own_stamp: own_from(ack.own_stamp.ok_or(WireError::Missing("own_stamp"))?),
        })),
        Body::Gap(gap) => to_leader(ToLeader::Gap { last: lsn_from(gap.last, "last")? }),
        Body::NeedSnapshot(need) => {
            to_leader(ToLeader::NeedSnapshot { flushed: lsn_from(need.flushed, "flushed")? })
        }
        Body::FetchSnapshot(fetch) => to_leader(ToLeader::FetchSnapshot {
            snapshot: fetch.snapshot,
            part: fetch.part,
            flushed: lsn_from(fetch.flushed, "flushed")?,
        }),
        Body::PreVote(question) => Message::BetweenPeers(BetweenPeers::PreVote { round: question.round }),
        Body::PreVoteAnswer(answer) => Message::BetweenPeers(BetweenPeers::PreVoteAnswer {
            round: answer.round,
            agree: answer.agree,
            promise: promise_from(answer.promise)?,
        }),
        Body::VoterProbe(probe) => Message::BetweenPeers(BetweenPeers::VoterProbe { nonce: probe.nonce }),
        Body::VoterProbeAnswer(answer) => Message::BetweenPeers(BetweenPeers::VoterProbeAnswer {
            nonce: answer.nonce,
            promise: promise_from(answer.promise)?,
        }),
    };
    Ok((cohort, message))
}

/// Rebuilds the batch entry by entry: contiguous by construction, verified by its last chain hash.
fn propose_from(epoch: Epoch, propose: proto::Propose) -> Result<FromLeader, WireError> {
    let prev = lsn_from(propose.prev, "prev")?;
    if propose.entries.len() > ENTRIES_MAX {
        return Err(WireError::Range { what: "number of entries", value: propose.entries.len() as u64 });
    }
    // So that no sequence number of the batch can overflow.
    if prev.seq > u64::MAX - ENTRIES_MAX as u64 {
        return Err(WireError::Range { what: "sequence number", value: prev.seq });
    }
    // The hash before the first entry is the receiver's to know: a leader that reads its log from the disk does not.
    let (mut last, mut chain) = (prev, None);
    let mut entries = Vec::with_capacity(propose.entries.len());
    for entry in propose.entries {
        let lsn = Lsn { epoch: Epoch(entry.epoch), seq: last.seq + 1 };
        if lsn.epoch < last.epoch || lsn.epoch > epoch || lsn.epoch == Epoch(0) {
            return Err(WireError::Order { lsn, epoch });
        }
        if entry.payload.len() > PAYLOAD_BYTES_MAX {
            return Err(WireError::Range { what: "payload size", value: entry.payload.len() as u64 });
        }
        let kind = kind_from(entry.kind, &entry.payload)?;
        let entry = match chain {
            None => {
                let (chain, payload) = (ChainHash(propose.first_chain), entry.payload);
                Entry { lsn, prev: last, chain, kind, payload }
            }
            Some(chain) => Entry::next(last, chain, lsn.epoch, kind, entry.payload),
        };
        (last, chain) = (entry.lsn, Some(entry.chain));
        entries.push(entry);
    }
    let expected = ChainHash(propose.last_chain);
    let found = chain.unwrap_or_default();
    if found != expected {
        return Err(WireError::Chain { last, found, expected });
    }
    let heartbeat = heartbeat_from(propose.heartbeat.ok_or(WireError::Missing("heartbeat"))?)?;
    Ok(FromLeader::Propose { prev, entries, heartbeat })
}

fn kind_from(kind: u32, payload: &Bytes) -> Result<EntryKind, WireError> {
    match kind {
        1 => Ok(EntryKind::Write),
        2 if payload.is_empty() => Ok(EntryKind::EpochStart),
        2 => Err(WireError::Range { what: "payload size of an epoch start", value: payload.len() as u64 }),
        other => Err(WireError::Range { what: "kind of entry", value: u64::from(other) }),
    }
}

fn entry_to(entry: Entry) -> proto::Entry {
    proto::Entry { epoch: entry.lsn.epoch.0, kind: entry.kind as u32, payload: entry.payload }
}

fn lsn_to(lsn: Lsn) -> proto::Lsn {
    proto::Lsn { epoch: lsn.epoch.0, seq: lsn.seq }
}

fn lsn_from(lsn: Option<proto::Lsn>, what: &'static str) -> Result<Lsn, WireError> {
    let lsn = lsn.ok_or(WireError::Missing(what))?;
    Ok(Lsn { epoch: Epoch(lsn.epoch), seq: lsn.seq })
}

fn promise_to(promise: Promise) -> proto::Promise {
    let leader = promise
        .leader
        .map(|member| proto::ReplicaId { node: member.node.0, incarnation: member.incarnation.0 });
    proto::Promise { epoch: promise.epoch.0, leader }
}

fn promise_from(promise: Option<proto::Promise>) -> Result<Promise, WireError> {
    let promise = promise.ok_or(WireError::Missing("promise"))?;
    let leader = promise
        .leader
        .map(|member| ReplicaId { node: NodeId(member.node), incarnation: Incarnation(member.incarnation) });
    Ok(Promise { epoch: Epoch(promise.epoch), leader })
}

fn own_to(own: OwnStamp) -> proto::OwnStamp {
    proto::OwnStamp { life: own.life, at: own.at.0 }
}

fn own_from(own: proto::OwnStamp) -> OwnStamp {
    OwnStamp { life: own.life, at: Stamp(own.at) }
}

fn heartbeat_to(heartbeat: Heartbeat) -> proto::Heartbeat {
    proto::Heartbeat {
        stamp: heartbeat.stamp.0,
        committed: Some(lsn_to(heartbeat.committed)),
        committed_chain: heartbeat.committed_chain.0,
        lease_ms: heartbeat.lease.0,
        echo: heartbeat.echo.map(own_to),
    }
}

fn heartbeat_from(heartbeat: proto::Heartbeat) -> Result<Heartbeat, WireError> {
    let lease = Millis(heartbeat.lease_ms);
    if lease > LEASE_MAX {
        return Err(WireError::Range { what: "lease in ms", value: u64::from(lease.0) });
    }
    Ok(Heartbeat {
        stamp: Stamp(heartbeat.stamp),
        committed: lsn_from(heartbeat.committed, "committed")?,
        committed_chain: ChainHash(heartbeat.committed_chain),
        lease,
        echo: heartbeat.echo.map(own_from),
    })
}

fn report_to(report: Report) -> proto::Report {
    proto::Report {
        committed: Some(lsn_to(report.committed)),
        last: Some(lsn_to(report.last)),
        epoch_ends: report.epoch_ends.into_iter().map(lsn_to).collect(),
    }
}

fn report_from(report: proto::Report) -> Result<Report, WireError> {
    if report.epoch_ends.len() > EPOCH_ENDS_MAX {
        return Err(WireError::Range { what: "number of epochs", value: report.epoch_ends.len() as u64 });
    }
    let mut epoch_ends: Vec<Lsn> = Vec::with_capacity(report.epoch_ends.len());
    for end in report.epoch_ends {
        let end = lsn_from(Some(end), "epoch end")?;
        if epoch_ends.last().is_some_and(|before| end.epoch <= before.epoch || end.seq <= before.seq) {
            return Err(WireError::Order { lsn: end, epoch: end.epoch });
        }
        epoch_ends.push(end);
    }
    Ok(Report {
        committed: lsn_from(report.committed, "committed")?,
        last: lsn_from(report.last, "last")?,
        epoch_ends,
    })
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
