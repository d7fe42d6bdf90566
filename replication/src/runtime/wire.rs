//! Protocol messages to protobuf and back: the one place where what other nodes say is checked.
//!
//! Whatever leaves [`decode`] is well-formed: every part is there, the entries of a batch are contiguous, of one
//! known kind each, in epochs that do not go back nor pass the sender's, not over the size limit, and the chain
//! hash over them, computed here anew, is the one that the sender had. So the protocol need not check shapes, and a
//! node that is broken or of another make is found out before it does harm: its stream is ended with a
//! [`WireError`], never a panic. Sender and receiver are not on the wire: the stream's introduction fixes them.

use bytes::Bytes;
use wal::{ChainHash, CohortId, Entry, EntryKind, Epoch, Incarnation, Lsn, NodeId, Promise, ReplicaId};

use crate::protocol::message::{Heartbeat, Message, OwnStamp, Report, SnapshotPart};
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
    /// A part without which the message makes no sense is not there.
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
    let body = match message {
        Message::Propose { epoch, prev, entries, heartbeat } => {
            let first_chain = entries.first().map_or(0, |entry| entry.chain.0);
            let last_chain = entries.last().map_or(0, |entry| entry.chain.0);
            Body::Propose(proto::Propose {
                epoch: epoch.0,
                prev: Some(lsn_to(prev)),
                first_chain,
                entries: entries.into_iter().map(entry_to).collect(),
                last_chain,
                heartbeat: Some(heartbeat_to(heartbeat)),
            })
        }
        Message::Heartbeat { epoch, heartbeat } => Body::Heartbeat(proto::HeartbeatMessage {
            epoch: epoch.0,
            heartbeat: Some(heartbeat_to(heartbeat)),
        }),
        Message::Ack { epoch, forced, stamp, grant, learner, own_stamp } => Body::Ack(proto::Ack {
            learner,
            epoch: epoch.0,
            forced: Some(lsn_to(forced)),
            stamp: stamp.0,
            grant,
            own_stamp: Some(own_to(own_stamp)),
        }),
        Message::Gap { epoch, last } => Body::Gap(proto::Gap { epoch: epoch.0, last: Some(lsn_to(last)) }),
        Message::Report { epoch, report } => {
            Body::Report(proto::ReportMessage { epoch: epoch.0, report: Some(report_to(report)) })
        }
        Message::Match { epoch, agree, agree_chain, reported } => Body::Match(proto::Match {
            epoch: epoch.0,
            agree: Some(lsn_to(agree)),
            agree_chain: agree_chain.map(|chain| chain.0),
            reported: Some(lsn_to(reported)),
        }),
        Message::RequestPromise { epoch, last, released } => Body::RequestPromise(proto::RequestPromise {
            epoch: epoch.0,
            last: Some(lsn_to(last)),
            released: released.map(|epoch| epoch.0),
        }),
        Message::Promised { epoch, report } => {
            Body::Promised(proto::Promised { epoch: epoch.0, report: Some(report_to(report)) })
        }
        Message::Refuse { epoch, promise, stamp } => Body::Refuse(proto::Refuse {
            epoch: epoch.0,
            promise: Some(promise_to(promise)),
            stamp: stamp.map(|stamp| stamp.0),
        }),
        Message::PreVote { epoch, last, round } => {
            Body::PreVote(proto::PreVote { epoch: epoch.0, last: Some(lsn_to(last)), round })
        }
        Message::PreVoteAnswer { round, agree, promise } => {
            Body::PreVoteAnswer(proto::PreVoteAnswer { round, agree, promise: Some(promise_to(promise)) })
        }
        Message::VoterProbe { nonce } => Body::VoterProbe(proto::VoterProbe { nonce }),
        Message::VoterProbeAnswer { nonce, promise } => {
            Body::VoterProbeAnswer(proto::VoterProbeAnswer { nonce, promise: Some(promise_to(promise)) })
        }
        Message::LearnerReport { epoch, report } => {
            Body::LearnerReport(proto::ReportMessage { epoch: epoch.0, report: Some(report_to(report)) })
        }
        Message::Promote { epoch, upto } => {
            Body::Promote(proto::Promote { epoch: epoch.0, upto: Some(lsn_to(upto)) })
        }
        Message::OfferSnapshot { epoch, snapshot } => {
            Body::OfferSnapshot(proto::OfferSnapshot { epoch: epoch.0, snapshot })
        }
        Message::NeedSnapshot { epoch, flushed } => {
            Body::NeedSnapshot(proto::NeedSnapshot { epoch: epoch.0, flushed: Some(lsn_to(flushed)) })
        }
        Message::FetchSnapshot { epoch, snapshot, part, flushed } => {
            Body::FetchSnapshot(proto::FetchSnapshot {
                epoch: epoch.0,
                snapshot,
                part,
                flushed: Some(lsn_to(flushed)),
            })
        }
        Message::Snapshot { epoch, snapshot, part: SnapshotPart { number, flushed, bytes, last } } => {
            Body::Snapshot(proto::Snapshot {
                epoch: epoch.0,
                snapshot,
                number,
                bytes,
                last,
                flushed: Some(lsn_to(flushed)),
            })
        }
        Message::TransferLeadership { epoch, last } => {
            Body::TransferLeadership(proto::TransferLeadership { epoch: epoch.0, last: Some(lsn_to(last)) })
        }
    };
    proto::Envelope { cohort_high: (cohort.0 >> 64) as u64, cohort_low: cohort.0 as u64, message: Some(body) }
}

/// What an envelope says, and of which cohort.
pub(crate) fn decode(envelope: proto::Envelope) -> Result<(CohortId, Message), WireError> {
    let cohort = CohortId(u128::from(envelope.cohort_high) << 64 | u128::from(envelope.cohort_low));
    let message = match envelope.message.ok_or(WireError::Missing("message"))? {
        Body::Propose(propose) => propose_from(propose)?,
        Body::Heartbeat(heartbeat) => Message::Heartbeat {
            epoch: Epoch(heartbeat.epoch),
            heartbeat: heartbeat_from(heartbeat.heartbeat)?,
        },
        Body::Ack(ack) => Message::Ack {
            epoch: Epoch(ack.epoch),
            forced: lsn_from(ack.forced, "forced")?,
            stamp: Stamp(ack.stamp),
            grant: ack.grant,
            learner: ack.learner,
            own_stamp: own_from(ack.own_stamp.ok_or(WireError::Missing("own_stamp"))?),
        },
        Body::Gap(gap) => Message::Gap { epoch: Epoch(gap.epoch), last: lsn_from(gap.last, "last")? },
        Body::Report(report) => {
            Message::Report { epoch: Epoch(report.epoch), report: report_from(report.report)? }
        }
        Body::Match(found) => Message::Match {
            epoch: Epoch(found.epoch),
            agree: lsn_from(found.agree, "agree")?,
            agree_chain: found.agree_chain.map(ChainHash),
            reported: lsn_from(found.reported, "reported")?,
        },
        Body::RequestPromise(request) => Message::RequestPromise {
            epoch: Epoch(request.epoch),
            last: lsn_from(request.last, "last")?,
            released: request.released.map(Epoch),
        },
        Body::Promised(promised) => {
            Message::Promised { epoch: Epoch(promised.epoch), report: report_from(promised.report)? }
        }
        Body::Refuse(refuse) => Message::Refuse {
            epoch: Epoch(refuse.epoch),
            promise: promise_from(refuse.promise)?,
            stamp: refuse.stamp.map(Stamp),
        },
        Body::PreVote(question) => Message::PreVote {
            epoch: Epoch(question.epoch),
            last: lsn_from(question.last, "last")?,
            round: question.round,
        },
        Body::PreVoteAnswer(answer) => Message::PreVoteAnswer {
            round: answer.round,
            agree: answer.agree,
            promise: promise_from(answer.promise)?,
        },
        Body::VoterProbe(probe) => Message::VoterProbe { nonce: probe.nonce },
        Body::VoterProbeAnswer(answer) => {
            Message::VoterProbeAnswer { nonce: answer.nonce, promise: promise_from(answer.promise)? }
        }
        Body::LearnerReport(learner) => {
            Message::LearnerReport { epoch: Epoch(learner.epoch), report: report_from(learner.report)? }
        }
        Body::Promote(promote) => {
            Message::Promote { epoch: Epoch(promote.epoch), upto: lsn_from(promote.upto, "upto")? }
        }
        Body::NeedSnapshot(need) => {
            Message::NeedSnapshot { epoch: Epoch(need.epoch), flushed: lsn_from(need.flushed, "flushed")? }
        }
        Body::OfferSnapshot(offer) => {
            Message::OfferSnapshot { epoch: Epoch(offer.epoch), snapshot: offer.snapshot }
        }
        Body::FetchSnapshot(take) => Message::FetchSnapshot {
            epoch: Epoch(take.epoch),
            snapshot: take.snapshot,
            part: take.part,
            flushed: lsn_from(take.flushed, "flushed")?,
        },
        Body::Snapshot(snapshot) => Message::Snapshot {
            epoch: Epoch(snapshot.epoch),
            snapshot: snapshot.snapshot,
            part: SnapshotPart {
                number: snapshot.number,
                flushed: lsn_from(snapshot.flushed, "flushed")?,
                bytes: snapshot.bytes,
                last: snapshot.last,
            },
        },
        Body::TransferLeadership(transfer) => Message::TransferLeadership {
            epoch: Epoch(transfer.epoch),
            last: lsn_from(transfer.last, "last")?,
        },
    };
    Ok((cohort, message))
}

/// Rebuilds the batch entry by entry: contiguous by construction, verified by its last chain hash.
fn propose_from(propose: proto::Propose) -> Result<Message, WireError> {
    let epoch = Epoch(propose.epoch);
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
    Ok(Message::Propose { epoch, prev, entries, heartbeat: heartbeat_from(propose.heartbeat)? })
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

fn heartbeat_from(heartbeat: Option<proto::Heartbeat>) -> Result<Heartbeat, WireError> {
    let heartbeat = heartbeat.ok_or(WireError::Missing("heartbeat"))?;
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
        flushed: Some(lsn_to(report.flushed)),
    }
}

fn report_from(report: Option<proto::Report>) -> Result<Report, WireError> {
    let report = report.ok_or(WireError::Missing("report"))?;
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
        flushed: lsn_from(report.flushed, "flushed")?,
    })
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
