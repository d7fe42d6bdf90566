//! Protocol messages to protobuf and back: the one place where what other nodes say is checked.
//!
//! Each message and each type stands once, in a table ([`messages!`], [`structs!`]) from which both directions are made:
//! encoding and decoding cannot drift apart, and a field or a message that is missing does not compile. Checks are where
//! the field's type is ([`Field`]).
//!
//! Whatever leaves [`decode`] is well-formed: every part is there, the entries of a batch are contiguous, of one
//! known kind each, in epochs that neither go back nor pass the sender's, not over the size limit, and the chain
//! hash over them, computed here anew, is the one that the sender had. So the protocol need not check shapes, and what a
//! node says that is broken, or newer than this one, is found out before it does harm: such a message is skipped with a
//! [`WireError`], never a panic, and others go on [stranger-is-skipped]. Sender and receiver are not on the wire: the
//! stream's introduction fixes them.

use bytes::Bytes;
use wal::{ChainHash, CohortId, Entry, EntryKind, Epoch, Incarnation, Lsn, NodeId, Promise, ReplicaId};

use crate::protocol::LEASE_MAX;
use crate::protocol::coordination::SEQ_MAX;
use crate::protocol::message::{
    Ack, BetweenPeers, FromLeader, Heartbeat, Message, OwnStamp, Report, SnapshotPart, ToLeader,
};
use crate::protocol::time::{Millis, Stamp};
use crate::store::PAYLOAD_BYTES_MAX;

/// The generated protobuf types and the gRPC stubs.
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub(crate) mod proto {
    tonic::include_proto!("spinnaker.replication.v1");
}

use proto::envelope::Message as Body;

/// Most entries in one batch.
const ENTRIES_MAX: usize = 1 << 20;
/// Most epochs that a report may name.
const EPOCH_ENDS_MAX: usize = 1 << 16;

/// What is wrong with a message; it is skipped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WireError {
    /// A message of a kind that this program does not know, or none.
    #[error("it is of a kind that this program does not know")]
    Unknown,
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

/// A type that stands in a protobuf message of the same name.
trait Whole: Sized {
    type Proto;
    fn put(self) -> Self::Proto;
    fn take(proto: Self::Proto) -> Result<Self, WireError>;
}

/// A type as a field of a protobuf message; `what` names the field in errors.
trait Field: Sized {
    type Proto;
    fn put(self) -> Self::Proto;
    fn take(proto: Self::Proto, what: &'static str) -> Result<Self, WireError>;
}

/// Types whose fields are those of the protobuf message of the same name. As a field of another message each must be
/// there.
macro_rules! structs {
    ($($name:ident { $($field:ident),* })*) => {
        $(
            impl Whole for $name {
                type Proto = proto::$name;

                fn put(self) -> proto::$name {
                    let $name { $($field),* } = self;
                    proto::$name { $($field: Field::put($field)),* }
                }

                fn take(proto: proto::$name) -> Result<$name, WireError> {
                    let proto::$name { $($field),* } = proto;
                    Ok($name { $($field: Field::take($field, stringify!($field))?),* })
                }
            }

            impl Field for $name {
                type Proto = Option<proto::$name>;

                fn put(self) -> Option<proto::$name> {
                    Some(Whole::put(self))
                }

                fn take(proto: Option<proto::$name>, what: &'static str) -> Result<$name, WireError> {
                    Whole::take(proto.ok_or(WireError::Missing(what))?)
                }
            }

            impl Field for Option<$name> {
                type Proto = Option<proto::$name>;

                fn put(self) -> Option<proto::$name> {
                    self.map(Whole::put)
                }

                fn take(proto: Option<proto::$name>, _: &'static str) -> Result<Option<$name>, WireError> {
                    proto.map(Whole::take).transpose()
                }
            }
        )*
    };
}

structs! {
    ReplicaId { node, incarnation }
    Promise { epoch, leader }
    OwnStamp { life, at }
    Heartbeat { stamp, committed, committed_chain, lease, echo }
    Report { committed, last, epoch_ends }
    Ack { forced, stamp, grant, own_stamp, learner }
    SnapshotPart { number, flushed, bytes, last }
}

/// Numbers in a type of their own, whole or optional: any value is good.
macro_rules! numbers {
    ($($name:ident $number:ident)*) => {
        $(
            impl Field for $name {
                type Proto = $number;

                fn put(self) -> $number {
                    self.0
                }

                fn take(proto: $number, _: &'static str) -> Result<$name, WireError> {
                    Ok($name(proto))
                }
            }

            impl Field for Option<$name> {
                type Proto = Option<$number>;

                fn put(self) -> Option<$number> {
                    self.map(|value| value.0)
                }

                fn take(proto: Option<$number>, _: &'static str) -> Result<Option<$name>, WireError> {
                    Ok(proto.map($name))
                }
            }
        )*
    };
}

numbers! {
    Epoch u32
    NodeId u32
    Incarnation u64
    ChainHash u64
    Stamp u64
}

/// What is the same on the wire.
macro_rules! same {
    ($($name:ident)*) => {
        $(
            impl Field for $name {
                type Proto = $name;

                fn put(self) -> $name {
                    self
                }

                fn take(proto: $name, _: &'static str) -> Result<$name, WireError> {
                    Ok(proto)
                }
            }
        )*
    };
}

same! { u64 bool Bytes }

impl Field for Lsn {
    type Proto = Option<proto::Lsn>;

    fn put(self) -> Option<proto::Lsn> {
        Some(proto::Lsn { epoch: self.epoch.0, seq: self.seq })
    }

    fn take(proto: Option<proto::Lsn>, what: &'static str) -> Result<Lsn, WireError> {
        let proto::Lsn { epoch, seq } = proto.ok_or(WireError::Missing(what))?;
        if seq > SEQ_MAX {
            return Err(WireError::Range { what: "sequence number", value: seq });
        }
        Ok(Lsn { epoch: Epoch(epoch), seq })
    }
}

/// A lease: the one duration that nodes say to each other.
impl Field for Millis {
    type Proto = u32;

    fn put(self) -> u32 {
        self.0
    }

    fn take(proto: u32, _: &'static str) -> Result<Millis, WireError> {
        match Millis(proto) {
            lease if lease > LEASE_MAX => {
                Err(WireError::Range { what: "lease in ms", value: u64::from(proto) })
            }
            lease => Ok(lease),
        }
    }
}

/// Ends of epochs: both epochs and sequence numbers grow.
impl Field for Vec<Lsn> {
    type Proto = Vec<proto::Lsn>;

    fn put(self) -> Vec<proto::Lsn> {
        self.into_iter().filter_map(Field::put).collect()
    }

    fn take(proto: Vec<proto::Lsn>, what: &'static str) -> Result<Vec<Lsn>, WireError> {
        if proto.len() > EPOCH_ENDS_MAX {
            return Err(WireError::Range { what: "number of epochs", value: proto.len() as u64 });
        }
        let mut ends: Vec<Lsn> = Vec::with_capacity(proto.len());
        for end in proto {
            let end = <Lsn as Field>::take(Some(end), what)?;
            if ends.last().is_some_and(|before| end.epoch <= before.epoch || end.seq <= before.seq) {
                return Err(WireError::Order { lsn: end, epoch: end.epoch });
            }
            ends.push(end);
        }
        Ok(ends)
    }
}

/// All messages, by direction. A message is
///
/// * `Name(Type)`: the protobuf message of the type;
/// * `Name { fields }`: a protobuf message of the same name and fields;
/// * `Name { fields } by put, take`: made by these functions, for its fields depend on each other.
macro_rules! messages {
    ($(
        $direction:ident wrapped by $wrap:path {
            $($whole:ident($type:ident)),* ;
            $($name:ident { $($field:ident),* },)*
            $(; $hand:ident { $($part:ident),* } by $put:path, $take:path)?
        }
    )*) => {
        $(
            impl Direction for $direction {
                fn put(self) -> Body {
                    match self {
                        $($direction::$whole(value) => Body::$whole(<$type as Whole>::put(value)),)*
                        $($direction::$name { $($field),* } => {
                            Body::$name(proto::$name { $($field: Field::put($field)),* })
                        })*
                        $($direction::$hand { $($part),* } => Body::$hand($put($($part),*)),)?
                    }
                }
            }
        )*

        fn take(epoch: Epoch, body: Body) -> Result<Message, WireError> {
            Ok(match body {
                $(
                    $(Body::$whole(value) => {
                        $wrap(epoch, $direction::$whole(<$type as Whole>::take(value)?))
                    })*
                    $(Body::$name(proto::$name { $($field),* }) => {
                        let message = $direction::$name { $($field: Field::take($field, stringify!($field))?),* };
                        $wrap(epoch, message)
                    })*
                    $(Body::$hand(value) => $wrap(epoch, $take(epoch, value)?),)?
                )*
            })
        }
    };
}

/// Messages of one direction.
trait Direction {
    fn put(self) -> Body;
}

messages! {
    FromLeader wrapped by Message::FromLeader {
        Heartbeat(Heartbeat);
        Match { agree, agree_chain, reported, committed_chain },
        RequestPromise { released },
        Promote { upto },
        OfferSnapshot { snapshot },
        Snapshot { snapshot, part },
        TransferLeadership { last },
        ; Propose { prev, entries, heartbeat } by put_propose, take_propose
    }
    ToLeader wrapped by Message::ToLeader {
        Promised(Report),
        Report(Report),
        LearnerReport(Report),
        Ack(Ack);
        Refuse { promise },
        Gap { last },
        NeedSnapshot { flushed },
        FetchSnapshot { snapshot, part, flushed },
    }
    BetweenPeers wrapped by between_peers {
        ;
        PreVote { round },
        PreVoteAnswer { round, agree, promise },
        VoterProbe { nonce },
        VoterProbeAnswer { nonce, promise },
    }
}

/// What peers say to each other is about no epoch.
fn between_peers(_: Epoch, message: BetweenPeers) -> Message {
    Message::BetweenPeers(message)
}

/// A message of `cohort`, ready for the wire.
pub(crate) fn encode(cohort: CohortId, message: Message) -> proto::Envelope {
    let (epoch, body) = match message {
        Message::FromLeader(epoch, message) => (epoch, message.put()),
        Message::ToLeader(epoch, message) => (epoch, message.put()),
        Message::BetweenPeers(message) => (Epoch(0), message.put()),
    };
    proto::Envelope {
        cohort_high: (cohort.0 >> 64) as u64,
        cohort_low: cohort.0 as u64,
        epoch: epoch.0,
        message: Some(body),
    }
}

/// What an envelope says, and of which cohort.
pub(crate) fn decode(envelope: proto::Envelope) -> Result<(CohortId, Message), WireError> {
    let cohort = cohort(&envelope);
    let body = envelope.message.ok_or(WireError::Unknown)?;
    Ok((cohort, take(Epoch(envelope.epoch), body)?))
}

/// The cohort that an envelope is about.
pub(crate) fn cohort(envelope: &proto::Envelope) -> CohortId {
    CohortId(u128::from(envelope.cohort_high) << 64 | u128::from(envelope.cohort_low))
}

/// Sequence numbers, and all chain hashes but the first and the last, follow from the batch's start: not sent.
fn put_propose(prev: Lsn, entries: Vec<Entry>, heartbeat: Heartbeat) -> proto::Propose {
    let first_chain = entries.first().map_or(0, |entry| entry.chain.0);
    let last_chain = entries.last().map_or(0, |entry| entry.chain.0);
    let entries = entries
        .into_iter()
        .map(|Entry { lsn, kind, payload, .. }| proto::Entry {
            epoch: lsn.epoch.0,
            kind: kind as u32,
            payload,
        })
        .collect();
    proto::Propose {
        prev: Field::put(prev),
        first_chain,
        entries,
        last_chain,
        heartbeat: Field::put(heartbeat),
    }
}

/// Rebuilds the batch entry by entry: contiguous by construction, verified by its last chain hash.
fn take_propose(epoch: Epoch, propose: proto::Propose) -> Result<FromLeader, WireError> {
    let prev = <Lsn as Field>::take(propose.prev, "prev")?;
    if propose.entries.len() > ENTRIES_MAX {
        return Err(WireError::Range { what: "number of entries", value: propose.entries.len() as u64 });
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
    let heartbeat = Field::take(propose.heartbeat, "heartbeat")?;
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

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
