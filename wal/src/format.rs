//! The bytes of the log.
//!
//! ```text
//! segment file "wal/<id, 16 hex digits>.seg"
//! ┌────────────────────────────────────────────────────────────────────────────────────────────┐
//! │ header, padded to 4 KiB blocks                                                             │
//! │   magic u64 │ crc32c u32 │ version u32 │ id u64 │ first batch u64 │ cohorts u32            │
//! │   cohorts x { id u128 │ ordinal u64 │ seq u64 }    what the segments before hold           │
//! ├────────────────────────────────────────────────────────────────────────────────────────────┤
//! │ batch, padded to 4 KiB blocks                                                              │
//! │   magic u32 │ crc32c u32 │ segment u64 │ offset u64 │ number u64 │ forced_to u64 │ bytes u32│
//! │   records: bytes u32 │ kind u8 │ cohort u128 │ ordinal u64 │ body                          │
//! ├────────────────────────────────────────────────────────────────────────────────────────────┤
//! │ zeros up to the preallocated length                                                        │
//! └────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! A batch is what one force covers. Batch `n + 1` is not written before the force of `n` returned, so invalid
//! bytes in the *last* batch are a torn write, and anywhere else corruption [torn-or-corrupt]. `number` counts through
//! all segments; `forced_to` is the last batch known forced when this one was made. The checksum covers the
//! whole batch with its segment id and offset, so that a block of a recycled or misdirected write does not pass.
//! Every record carries its cohort's ordinal, which grows by one: a gap shows a lost record of any kind.

use std::collections::BTreeMap;

use bytes::{Buf, BufMut, Bytes};
use roaring::RoaringTreemap;

use crate::lsn::{ChainHash, CohortId, Epoch, Incarnation, Lsn, NodeId, ReplicaId};
use crate::record::{Checkpoint, Entry, EntryKind, Promise, Record, SkipList};

/// Everything starts on a multiple of this.
pub(crate) const BLOCK: u64 = 4096;
/// Format version written, and the only one read. A header of every version begins with magic, checksum and version, and
/// its checksum covers all that follows.
pub(crate) const VERSION: u32 = 2;
/// Bytes before a batch's records.
pub(crate) const BATCH_HEADER: usize = 44;
/// Bytes before a record's body.
pub(crate) const RECORD_HEADER: usize = 29;
const SEGMENT_MAGIC: u64 = u64::from_le_bytes(*b"SPINWAL1");
const BATCH_MAGIC: u32 = u32::from_le_bytes(*b"SPBT");

const KIND_WRITE: u8 = EntryKind::Write as u8;
const KIND_EPOCH_START: u8 = EntryKind::EpochStart as u8;
const KIND_PROMISE: u8 = 3;
const KIND_COMMIT: u8 = 4;
const KIND_SKIP: u8 = 5;
const KIND_CHECKPOINT: u8 = 6;
const KIND_FORGET: u8 = 7;
const KIND_SNAPSHOT: u8 = 8;

/// Whether bytes begin as a batch does.
pub(crate) fn looks_like_batch(bytes: &[u8]) -> bool {
    bytes.first_chunk().is_some_and(|magic| u32::from_le_bytes(*magic) == BATCH_MAGIC)
}

/// Rounds up to whole blocks.
pub(crate) fn blocks(bytes: u64) -> u64 {
    bytes.div_ceil(BLOCK) * BLOCK
}

/// A record as the log holds it; `Forget` is the log's own.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Logged {
    Record(Record),
    /// The cohort was dropped: all its earlier records are superseded.
    Forget,
}

/// Appends one record's bytes.
pub(crate) fn put_record(out: &mut Vec<u8>, cohort: CohortId, ordinal: u64, record: &Record) {
    let start = begin_record(out, cohort, ordinal);
    let kind = match record {
        Record::Entry(entry) => {
            entry.lsn.put(out);
            entry.prev.put(out);
            out.put_u64_le(entry.chain.0);
            out.extend_from_slice(&entry.payload);
            entry.kind as u8
        }
        Record::Promise(promise) => {
            put_promise(out, promise);
            KIND_PROMISE
        }
        Record::Commit(lsn) => {
            lsn.put(out);
            KIND_COMMIT
        }
        Record::Skip(skip) => {
            put_skip(out, skip);
            KIND_SKIP
        }
        Record::Checkpoint(checkpoint) => {
            put_checkpoint(out, checkpoint);
            KIND_CHECKPOINT
        }
        Record::Snapshot(checkpoint) => {
            put_checkpoint(out, checkpoint);
            KIND_SNAPSHOT
        }
    };
    end_record(out, start, kind);
}

/// Appends that a cohort was dropped.
pub(crate) fn put_forget(out: &mut Vec<u8>, cohort: CohortId, ordinal: u64) {
    let start = begin_record(out, cohort, ordinal);
    end_record(out, start, KIND_FORGET);
}

/// Appends a record's header, with length and kind still to be filled in; returns where it begins.
fn begin_record(out: &mut Vec<u8>, cohort: CohortId, ordinal: u64) -> usize {
    let start = out.len();
    out.put_u32_le(0);
    out.put_u8(0);
    out.put_u128_le(cohort.0);
    out.put_u64_le(ordinal);
    start
}

fn end_record(out: &mut [u8], start: usize, kind: u8) {
    let bytes = (out.len() - start) as u32;
    out[start..start + 4].copy_from_slice(&bytes.to_le_bytes());
    out[start + 4] = kind;
}

/// One record as found in a batch.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) cohort: CohortId,
    pub(crate) ordinal: u64,
    pub(crate) record: Logged,
}

/// Reads the next record of a batch; `None` if the bytes are not a record of a known kind.
pub(crate) fn get_record(bytes: &mut Bytes) -> Option<Found> {
    if bytes.len() < RECORD_HEADER {
        return None;
    }
    let length = u32::from_le_bytes(bytes[..4].try_into().ok()?) as usize;
    if length < RECORD_HEADER || length > bytes.len() {
        return None;
    }
    let mut one = bytes.split_to(length);
    one.advance(4);
    let kind = one.get_u8();
    let cohort = CohortId(one.get_u128_le());
    let ordinal = one.get_u64_le();
    let record = match kind {
        KIND_WRITE | KIND_EPOCH_START => {
            if one.len() < 32 {
                return None;
            }
            let lsn = Lsn::take(&mut one)?;
            let prev = Lsn::take(&mut one)?;
            let chain = ChainHash(one.get_u64_le());
            let kind = if kind == KIND_WRITE { EntryKind::Write } else { EntryKind::EpochStart };
            Logged::Record(Record::Entry(Entry { lsn, prev, chain, kind, payload: one }))
        }
        KIND_PROMISE => Logged::Record(Record::Promise(get_promise(&mut one)?)),
        KIND_COMMIT => Logged::Record(Record::Commit(Lsn::take(&mut one)?)),
        KIND_SKIP => Logged::Record(Record::Skip(get_skip(&mut one)?)),
        KIND_CHECKPOINT => Logged::Record(Record::Checkpoint(get_checkpoint(&mut one)?)),
        KIND_SNAPSHOT => Logged::Record(Record::Snapshot(get_checkpoint(&mut one)?)),
        KIND_FORGET => Logged::Forget,
        _ => return None,
    };
    Some(Found { cohort, ordinal, record })
}

fn put_promise(out: &mut Vec<u8>, promise: &Promise) {
    out.put_u32_le(promise.epoch.0);
    match promise.leader {
        None => out.put_u8(0),
        Some(member) => {
            out.put_u8(1);
            out.put_u32_le(member.node.0);
            out.put_u64_le(member.incarnation.0);
        }
    }
}

fn get_promise(bytes: &mut Bytes) -> Option<Promise> {
    if bytes.len() < 5 {
        return None;
    }
    let epoch = Epoch(bytes.get_u32_le());
    let leader = match bytes.get_u8() {
        0 => None,
        1 if bytes.len() >= 12 => {
            Some(ReplicaId { node: NodeId(bytes.get_u32_le()), incarnation: Incarnation(bytes.get_u64_le()) })
        }
        _ => return None,
    };
    Some(Promise { epoch, leader })
}

fn put_skip(out: &mut Vec<u8>, skip: &SkipList) {
    out.put_u32_le(skip.0.len() as u32);
    for (epoch, sequences) in &skip.0 {
        out.put_u32_le(epoch.0);
        out.put_u32_le(sequences.serialized_size() as u32);
        // Writing to a Vec does not fail.
        let _ = sequences.serialize_into(&mut *out);
    }
}

fn get_skip(bytes: &mut Bytes) -> Option<SkipList> {
    if bytes.len() < 4 {
        return None;
    }
    let mut skip = BTreeMap::new();
    for _ in 0..bytes.get_u32_le() {
        if bytes.len() < 8 {
            return None;
        }
        let epoch = Epoch(bytes.get_u32_le());
        let length = bytes.get_u32_le() as usize;
        if length > bytes.len() {
            return None;
        }
        skip.insert(epoch, RoaringTreemap::deserialize_from(&bytes.split_to(length)[..]).ok()?);
    }
    Some(SkipList(skip))
}

fn put_checkpoint(out: &mut Vec<u8>, checkpoint: &Checkpoint) {
    put_promise(out, &checkpoint.promise);
    checkpoint.flushed.put(out);
    out.put_u64_le(checkpoint.flushed_chain.0);
    checkpoint.committed.put(out);
    out.put_u32_le(checkpoint.lease_ms_max);
    out.put_u8(checkpoint.must_rejoin.into());
}

fn get_checkpoint(bytes: &mut Bytes) -> Option<Checkpoint> {
    let promise = get_promise(bytes)?;
    if bytes.len() < 12 + 8 + 12 + 4 + 1 {
        return None;
    }
    Some(Checkpoint {
        promise,
        flushed: Lsn::take(bytes)?,
        flushed_chain: ChainHash(bytes.get_u64_le()),
        committed: Lsn::take(bytes)?,
        lease_ms_max: bytes.get_u32_le(),
        must_rejoin: bytes.get_u8() != 0,
    })
}

/// A batch's header, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BatchHeader {
    pub(crate) number: u64,
    pub(crate) forced_to: u64,
    /// Bytes of header and records, without padding.
    pub(crate) bytes: u64,
}

/// Fills in the header of a batch whose records stand behind [`BATCH_HEADER`] bytes, and pads it.
pub(crate) fn seal_batch(batch: &mut Vec<u8>, segment: u64, offset: u64, number: u64, forced_to: u64) {
    let bytes = batch.len() as u32;
    let mut header = &mut batch[..BATCH_HEADER];
    header.put_u32_le(BATCH_MAGIC);
    header.put_u32_le(0);
    header.put_u64_le(segment);
    header.put_u64_le(offset);
    header.put_u64_le(number);
    header.put_u64_le(forced_to);
    header.put_u32_le(bytes);
    let crc = crc32c::crc32c(&batch[8..]);
    batch[4..8].copy_from_slice(&crc.to_le_bytes());
    batch.resize(blocks(batch.len() as u64) as usize, 0);
}

/// The header of the batch at `offset` in a segment's bytes, if a whole valid batch stands there.
pub(crate) fn check_batch(segment_bytes: &[u8], segment: u64, offset: u64) -> Option<BatchHeader> {
    let at = segment_bytes.get(offset as usize..)?;
    let mut header = at.get(..BATCH_HEADER)?;
    let (magic, crc) = (header.get_u32_le(), header.get_u32_le());
    let (in_segment, at_offset) = (header.get_u64_le(), header.get_u64_le());
    let (number, forced_to, bytes) = (header.get_u64_le(), header.get_u64_le(), header.get_u32_le());
    let valid = magic == BATCH_MAGIC
        && in_segment == segment
        && at_offset == offset
        && bytes as usize >= BATCH_HEADER
        && forced_to < number
        && at.get(8..bytes as usize).is_some_and(|body| crc32c::crc32c(body) == crc);
    valid.then_some(BatchHeader { number, forced_to, bytes: bytes.into() })
}

/// What the segments before one hold of a cohort.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Before {
    pub(crate) ordinal: u64,
    pub(crate) seq: u64,
}

/// A segment's header, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) id: u64,
    pub(crate) first_batch: u64,
    pub(crate) before: BTreeMap<CohortId, Before>,
}

/// What the first bytes of a segment file say.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum HeaderFound {
    /// A header, and where the first batch starts.
    Valid(SegmentHeader, u64),
    /// Of a format that we do not know.
    Version(u32),
    /// Damaged, or not a header at all.
    Invalid,
}

/// The bytes of a header, padded.
pub(crate) fn segment_header(header: &SegmentHeader) -> Vec<u8> {
    let mut out = Vec::with_capacity(BLOCK as usize);
    out.put_u64_le(SEGMENT_MAGIC);
    out.put_u32_le(0);
    out.put_u32_le(VERSION);
    out.put_u64_le(header.id);
    out.put_u64_le(header.first_batch);
    out.put_u32_le(header.before.len() as u32);
    for (cohort, before) in &header.before {
        out.put_u128_le(cohort.0);
        out.put_u64_le(before.ordinal);
        out.put_u64_le(before.seq);
    }
    let crc = crc32c::crc32c(&out[12..]);
    out[8..12].copy_from_slice(&crc.to_le_bytes());
    out.resize(blocks(out.len() as u64) as usize, 0);
    out
}

/// Checks a segment's header.
pub(crate) fn check_segment_header(bytes: &[u8], id: u64) -> HeaderFound {
    let Some(mut head) = bytes.get(..36) else { return HeaderFound::Invalid };
    let (magic, crc, version) = (head.get_u64_le(), head.get_u32_le(), head.get_u32_le());
    let (found_id, first_batch, count) = (head.get_u64_le(), head.get_u64_le(), head.get_u32_le());
    if magic != SEGMENT_MAGIC {
        return HeaderFound::Invalid;
    }
    let length = 36 + count as usize * 32;
    let Some(body) = bytes.get(12..length) else { return HeaderFound::Invalid };
    if crc32c::crc32c(body) != crc || found_id != id {
        return HeaderFound::Invalid;
    }
    if version != VERSION {
        return HeaderFound::Version(version);
    }
    let mut rest = &bytes[36..length];
    let before = (0..count)
        .map(|_| {
            let cohort = CohortId(rest.get_u128_le());
            (cohort, Before { ordinal: rest.get_u64_le(), seq: rest.get_u64_le() })
        })
        .collect();
    HeaderFound::Valid(SegmentHeader { id, first_batch, before }, blocks(length as u64))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The checksum is no defence against whoever made it match: decoding itself must stand any bytes.
        #[test]
        fn no_bytes_make_the_decoders_panic(bytes in prop::collection::vec(prop_oneof![any::<u8>(), 0..3u8], 0..200)) {
            let mut rest = Bytes::from(bytes.clone());
            while get_record(&mut rest).is_some() {}
            let _ = check_batch(&bytes, 1, 0);
            let _ = check_segment_header(&bytes, 1);
        }

        #[test]
        fn no_sealed_batch_makes_the_decoders_panic(body in prop::collection::vec(prop_oneof![any::<u8>(), 0..3u8], 0..200)) {
            let mut batch = vec![0; BATCH_HEADER];
            batch.extend_from_slice(&body);
            seal_batch(&mut batch, 1, 4096, 3, 2);
            let mut segment = vec![0; 4096];
            segment.extend_from_slice(&batch);
            let found = check_batch(&segment, 1, 4096);
            prop_assert!(found.is_some());
            prop_assert!(check_batch(&segment, 2, 4096).is_none(), "of another segment");
            prop_assert!(check_batch(&segment, 1, 8192).is_none(), "of another place");
        }
    }
}
