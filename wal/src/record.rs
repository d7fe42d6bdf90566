//! What a cohort asks the log to hold, before it is bytes.

use std::collections::BTreeMap;

use bytes::Bytes;
use roaring::RoaringTreemap;

use crate::lsn::{ChainHash, CohortId, Epoch, Lsn, ReplicaId};

/// What a replicated entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum EntryKind {
    /// A client's write; the payload belongs to the store above.
    Write = 1,
    /// The first record of a leadership [own-epoch-commits]; no payload.
    EpochStart = 2,
}

/// One record of the replicated sequence: what members propose, force, ship and apply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its place.
    pub lsn: Lsn,
    /// The live entry before it; `prev.seq + 1 == lsn.seq` and `prev.epoch <= lsn.epoch`.
    pub prev: Lsn,
    /// Chain hash up to and including this entry.
    pub chain: ChainHash,
    /// What it is.
    pub kind: EntryKind,
    /// Opaque to log and replication.
    pub payload: Bytes,
}

impl Entry {
    /// The entry that follows (`prev`, `chain`) in `epoch`.
    pub fn next(prev: Lsn, chain: ChainHash, epoch: Epoch, kind: EntryKind, payload: Bytes) -> Entry {
        let lsn = Lsn { epoch, seq: prev.seq + 1 };
        Entry { lsn, prev, chain: chain.extend(lsn, kind as u8, &payload), kind, payload }
    }

    /// Whether the hash is the one that follows `prev_chain`.
    pub fn follows(&self, prev: Lsn, prev_chain: ChainHash) -> bool {
        self.prev == prev
            && self.lsn.seq == prev.seq + 1
            && self.lsn.epoch >= prev.epoch
            && self.chain == prev_chain.extend(self.lsn, self.kind as u8, &self.payload)
    }
}

/// A durable promise [bound-promise]: refuse every epoch below, and accept this one from `leader` only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Promise {
    /// The promised epoch.
    pub epoch: Epoch,
    /// Whom it is bound to; `None` after a mere candidacy.
    pub leader: Option<ReplicaId>,
}

/// The logically truncated sequence numbers of one truncation, for each epoch. Positional: it hides
/// only records that stand before it in the log [skip-is-positional].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SkipList(pub BTreeMap<Epoch, RoaringTreemap>);

impl SkipList {
    /// The lowest sequence number skipped, of any epoch.
    pub fn first(&self) -> Option<u64> {
        self.0.values().filter_map(RoaringTreemap::min).min()
    }
}

/// A cohort's control state, so that segments can go [control-state-outlives-segment].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checkpoint {
    /// The promise in force.
    pub promise: Promise,
    /// Last LSN that the store holds in SSTables; the log below it is not needed for local recovery.
    pub flushed: Lsn,
    /// Chain hash at `flushed`.
    pub flushed_chain: ChainHash,
    /// Last LSN known committed when this was written.
    pub committed: Lsn,
    /// Longest lease, in milliseconds, that this replica ever granted [restart-waits-out-lease].
    pub lease_ms_max: u32,
    /// The replica lost log or promises and must neither vote nor ack until it has been brought level
    /// [rejoin-as-learner].
    pub must_rejoin: bool,
}

/// Anything that a cohort appends.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// Part of the replicated sequence.
    Entry(Entry),
    /// A vote: once it is durable, lower epochs are refused forever.
    Promise(Promise),
    /// Last committed LSN; a hint for local recovery, never forced by itself.
    Commit(Lsn),
    /// Logical truncation.
    Skip(SkipList),
    /// Control state.
    Checkpoint(Checkpoint),
    /// The store holds a snapshot up to `flushed`, whose history this log does not have [skip-needs-proof]: all earlier entries of the
    /// cohort are superseded. Positional, as Skip is.
    Snapshot(Checkpoint),
}

/// What a record takes beside its payload, about.
const RECORD_BYTES: u64 = 96;

/// Records of one cohort, in order, as one append.
#[derive(Clone, Debug, PartialEq)]
pub struct Append {
    /// Whose.
    pub cohort: CohortId,
    /// What, in log order.
    pub records: Vec<Record>,
}

impl Append {
    /// Bytes that it takes in the log, about; never less than its payloads.
    pub(crate) fn bytes(&self) -> u64 {
        let payload = |record: &Record| match record {
            Record::Entry(entry) => entry.payload.len() as u64,
            Record::Skip(skip) => skip.0.values().map(|sequences| sequences.serialized_size() as u64).sum(),
            Record::Promise(_) | Record::Commit(_) | Record::Checkpoint(_) | Record::Snapshot(_) => 0,
        };
        self.records.iter().map(|record| RECORD_BYTES + payload(record)).sum()
    }
}
