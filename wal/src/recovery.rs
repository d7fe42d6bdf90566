//! What a crash or rot left behind: one scan of all segments for all cohorts.
//!
//! | found                                                         | what it is, and what is done                |
//! |---------------------------------------------------------------|---------------------------------------------|
//! | newest segment without a valid header and without batches     | crash while it was made: removed            |
//! | the same, but EXTENT says that it was used                    | corruption                                  |
//! | the same, but something in it looks like a batch              | corruption: never removed                   |
//! | invalid bytes where the next batch should be, nothing behind   | torn: the batch was never forced; cut       |
//! | invalid bytes, but a later batch (or segment) exists           | corruption: it was forced, since batch n+1  |
//! |                                                               | is written after the force of n             |
//! | a cohort's ordinal jumps, or does not begin at one            | corruption of that cohort                   |
//! | a later segment's header names a cohort that was not seen     | corruption of that cohort                   |
//! | the oldest header names a cohort, and no checkpoint follows   | corruption: its control state is gone       |
//! | after a corrupt span a cohort's ordinals go on by one          | that cohort is untouched                    |
//! | after a corrupt span a cohort has no record                    | it may be touched: corrupt                  |
//! | an entry does not follow the live entry before it              | corruption of that cohort                   |
//! | an entry with the LSN and hash of a live one                   | a copy made by retention: ignored           |
//! | a segment that EXTENT names as oldest or newest is missing,    | lost: every cohort that may have had        |
//! | or shorter, or the last batch has a lower number than noted    | records there is corrupt                    |
//! | EXTENT is missing though it was there, or all segments are     | lost: every cohort is corrupt               |
//!
//! A loss stays visible however often the node restarts [lost-log-is-seen]: the writer leaves a gap in the ordinals of every
//! cohort that may have lost records, and EXTENT keeps that there was a loss.

use std::collections::BTreeMap;
use std::io;

use bytes::Bytes;

use crate::disk::Disk;
use crate::error::LogOpenError;
use crate::extent::{Extent, History};
use crate::format::{
    self, BATCH_HEADER, BLOCK, Before, Found, HeaderFound, Logged, VERSION, blocks, check_batch,
};
use crate::index::{CohortIndex, Index, Place};
use crate::lsn::{CohortId, Lsn};
use crate::record::{Checkpoint, Entry, Promise, Record};
use crate::segments::{Segment, path};

/// Bytes that are neither whole nor torn.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("log segment {segment} is corrupt at offset {offset}: {what}")]
pub struct Corruption {
    /// File.
    pub segment: String,
    /// Where.
    pub offset: u64,
    /// What is wrong there.
    pub what: &'static str,
}

/// All that the log holds.
#[derive(Debug, Default)]
pub struct Recovery {
    /// Cohort by cohort.
    pub cohorts: BTreeMap<CohortId, CohortRecovery>,
    /// Bytes of a torn last batch that were cut, if any.
    pub torn: Option<Corruption>,
    /// The first corrupt span, if any. A cohort that is not in `cohorts` may have had all its records there.
    pub damaged: Option<Corruption>,
}

/// What the log holds of one cohort.
#[derive(Clone, Debug, Default)]
pub struct CohortRecovery {
    /// The latest control state.
    pub checkpoint: Checkpoint,
    /// Highest promise: of Promise records, the checkpoint, and the epoch of any entry.
    pub promise: Promise,
    /// Last LSN known committed.
    pub committed: Lsn,
    /// Live entries behind `checkpoint.flushed`, contiguous, each checked against its chain hash.
    pub entries: Vec<Entry>,
    /// Entries behind this LSN can be read back.
    pub oldest: Lsn,
    /// `oldest`, and the last LSN of each epoch behind it, oldest first: what is needed to find out where two logs agree.
    pub epoch_ends: Vec<Lsn>,
    /// Set if the log has lost, or may have lost, records of this cohort: it must not vote or serve.
    pub corrupt: Option<Corruption>,
}

/// What the scan gives the writer.
pub(crate) struct Scan {
    pub(crate) recovery: Recovery,
    pub(crate) index: Index,
    pub(crate) segments: Vec<Segment>,
    pub(crate) ordinals: BTreeMap<CohortId, u64>,
    /// Number of the last valid batch.
    pub(crate) batch: u64,
    /// Offset of the last valid batch in the last segment, if it has one.
    pub(crate) last_batch_at: Option<u64>,
    /// The log does not reach as far as it once did.
    pub(crate) lost: bool,
}

/// Reads all segments. `noted`: what the EXTENT file says.
pub(crate) fn scan(disk: &dyn Disk, noted: Option<Extent>, history: History) -> Result<Scan, LogOpenError> {
    let ids = segment_ids(disk)?;
    let missing = missing_at_all(&ids, noted, history);
    let beginning = missing.clone().or_else(|| missing_beginning(&ids, noted));
    let mut replay = Replay {
        oldest_segment: ids.first().copied().unwrap_or(0),
        noted: if missing.is_some() { u64::MAX } else { noted.map_or(0, |noted| noted.newest) },
        damaged: beginning.clone(),
        beginning,
        ..Replay::default()
    };
    let mut segments: Vec<Segment> = Vec::new();
    let mut last_batch_at = None;
    for &id in &ids {
        let newest = ids.last() == Some(&id);
        let file = disk.open(&path(id))?;
        let length = file.len()?;
        let mut bytes = vec![0; usize::try_from(length).map_err(|_| io::Error::other("segment too long"))?];
        file.read_exact_at(&mut bytes, 0)?;
        let bytes = Bytes::from(bytes);
        let Some(start) = replay.header(&bytes, id, segments.last(), newest)? else {
            // A crash while the segment was made. Nothing in it was ever acknowledged.
            drop(file);
            disk.remove(&path(id))?;
            disk.sync_dir("wal")?;
            break;
        };
        let used = start.unwrap_or(BLOCK);
        let mut segment = Segment { id, file, used, length, entries: BTreeMap::new() };
        last_batch_at = replay.batches(&bytes, &mut segment, start.is_some(), newest);
        segments.push(segment);
    }
    let end = missing.or_else(|| missing_end(&segments, replay.batch, noted));
    let lost = replay.beginning.is_some() || end.is_some();
    if let Some(corruption) = end {
        replay.hole(corruption);
    }
    if noted.is_some_and(|noted| noted.lost) {
        let what = "a part of the log was lost before an earlier start";
        replay.damaged.get_or_insert(Corruption { segment: "EXTENT".to_owned(), offset: 0, what });
    }
    let batch = replay.batch;
    let ordinals = replay.cohorts.iter().map(|(&cohort, state)| (cohort, state.ordinal)).collect();
    let (recovery, index) = replay.finish();
    Ok(Scan { recovery, index, segments, ordinals, batch, last_batch_at, lost })
}

/// Numbers of the segments on the disk, oldest first.
fn segment_ids(disk: &dyn Disk) -> io::Result<Vec<u64>> {
    let stem = |name: &String| u64::from_str_radix(name.strip_suffix(".seg")?, 16).ok();
    let mut ids: Vec<u64> = disk.list("wal")?.iter().filter_map(stem).collect();
    ids.sort_unstable();
    Ok(ids)
}

/// What is missing if nothing can be said of what is there: no segment is, or what says how many there were.
fn missing_at_all(ids: &[u64], noted: Option<Extent>, history: History) -> Option<Corruption> {
    let corruption = |segment: String, what| Some(Corruption { segment, offset: 0, what });
    match noted {
        Some(noted) if ids.is_empty() => corruption(path(noted.newest), "all segments are missing"),
        None if history == History::Noted => corruption("EXTENT".to_owned(), "it is missing or damaged"),
        None if history == History::Begun && ids.is_empty() => {
            corruption(path(1), "all segments are missing")
        }
        Some(_) | None => None,
    }
}

/// What is missing before the oldest segment that is there.
fn missing_beginning(ids: &[u64], noted: Option<Extent>) -> Option<Corruption> {
    let oldest = noted?.oldest;
    let missing = ids.first().is_none_or(|first| *first > oldest);
    missing.then(|| Corruption { segment: path(oldest), offset: 0, what: "the segment is missing" })
}

/// What is missing behind the last batch that is there.
fn missing_end(segments: &[Segment], batch: u64, noted: Option<Extent>) -> Option<Corruption> {
    let noted = noted?;
    let last = segments.last();
    let corruption = |offset, what| Some(Corruption { segment: path(noted.newest), offset, what });
    match last {
        Some(last) if last.id == noted.newest && last.length < noted.length => {
            corruption(last.length, "the segment's end is missing")
        }
        Some(last) if last.id < noted.newest => corruption(0, "the segment is missing"),
        Some(last) if batch < noted.batch => {
            Some(Corruption { segment: path(last.id), offset: last.used, what: "batches are missing" })
        }
        Some(_) => None,
        None => corruption(0, "the segment is missing"),
    }
}

/// Whether any block looks like the beginning of a batch, whole or not, of this segment or another.
fn holds_batches(bytes: &[u8]) -> bool {
    (BLOCK as usize..bytes.len()).step_by(BLOCK as usize).any(|at| format::looks_like_batch(&bytes[at..]))
}

/// The next valid batch at or behind `from` with a number above `above`: its offset and number.
fn find_batch(bytes: &[u8], id: u64, from: u64, above: u64) -> Option<(u64, u64)> {
    (from..bytes.len() as u64).step_by(BLOCK as usize).find_map(|at| {
        check_batch(bytes, id, at).filter(|found| found.number > above).map(|found| (at, found.number))
    })
}

/// The state of the scan.
#[derive(Default)]
struct Replay {
    cohorts: BTreeMap<CohortId, State>,
    batch: u64,
    torn: Option<Corruption>,
    damaged: Option<Corruption>,
    oldest_segment: u64,
    /// Segments up to this number were used.
    noted: u64,
    /// What is missing before the oldest segment.
    beginning: Option<Corruption>,
}

/// One cohort during the scan.
#[derive(Default)]
struct State {
    ordinal: u64,
    checkpoint: Checkpoint,
    promise: Promise,
    committed: Lsn,
    /// Live entries by sequence number. Retention may have copied older ones behind newer ones.
    live: BTreeMap<u64, (Entry, Place)>,
    /// A corrupt span lies behind us and no later record of the cohort has shown continuity yet.
    suspect: Option<Corruption>,
    corrupt: Option<Corruption>,
    /// Its records began before the oldest segment that is left, which must then repeat its control state.
    inherited: bool,
    /// A record that holds the whole control state was seen.
    controlled: bool,
}

impl State {
    fn take(&mut self, checkpoint: Checkpoint) {
        self.controlled = true;
        self.promise = self.promise.max(checkpoint.promise);
        self.committed = self.committed.max(checkpoint.committed);
        self.checkpoint = checkpoint;
    }
}

impl Replay {
    /// A span of the log is lost: every cohort may have had records there.
    fn hole(&mut self, corruption: Corruption) {
        self.damaged.get_or_insert_with(|| corruption.clone());
        for state in self.cohorts.values_mut() {
            state.suspect.get_or_insert_with(|| corruption.clone());
        }
    }

    /// Takes a segment's header: where its first batch starts, or `None` if the header is damaged. Nothing at all if the
    /// segment was never finished, and is to be removed.
    fn header(
        &mut self,
        bytes: &[u8],
        id: u64,
        previous: Option<&Segment>,
        newest: bool,
    ) -> Result<Option<Option<u64>>, LogOpenError> {
        if previous.is_some_and(|previous| previous.id + 1 != id) {
            self.hole(Corruption { segment: path(id - 1), offset: 0, what: "the segment is missing" });
        }
        match format::check_segment_header(bytes, id) {
            HeaderFound::Valid(header, start) => {
                if let Some(previous) = previous
                    && header.first_batch != self.batch + 1
                {
                    self.hole(Corruption {
                        segment: path(id - 1),
                        offset: previous.used,
                        what: "batches are missing before the next segment",
                    });
                }
                self.begin_segment(&header, previous.is_none());
                self.batch = header.first_batch - 1;
                Ok(Some(Some(start)))
            }
            HeaderFound::Version(found) => {
                Err(LogOpenError::Version { segment: path(id), found, known: VERSION })
            }
            HeaderFound::Invalid if newest && id > self.noted && !holds_batches(bytes) => Ok(None),
            HeaderFound::Invalid => {
                self.hole(Corruption { segment: path(id), offset: 0, what: "invalid segment header" });
                Ok(Some(None))
            }
        }
    }

    /// Takes the batches of a segment, from where its header ends; returns where the last valid one begins.
    fn batches(
        &mut self,
        bytes: &Bytes,
        segment: &mut Segment,
        header_valid: bool,
        newest: bool,
    ) -> Option<u64> {
        let (id, mut offset, mut last) = (segment.id, segment.used, None);
        loop {
            match check_batch(bytes, id, offset) {
                Some(found) if found.number == self.batch + 1 || !header_valid => {
                    self.batch = found.number;
                    let body = bytes.slice((offset as usize + BATCH_HEADER)..(offset + found.bytes) as usize);
                    self.batch(id, offset + BATCH_HEADER as u64, body, &mut segment.entries);
                    last = Some(offset);
                    offset += blocks(found.bytes);
                    segment.used = offset;
                }
                Some(_) | None => {
                    let corruption = |what| Corruption { segment: path(id), offset, what };
                    let Some((at, number)) = find_batch(bytes, id, offset, self.batch) else {
                        let rest = bytes.get(offset as usize..).unwrap_or_default();
                        if newest && rest.first_chunk::<8>().is_some_and(|first| *first != [0; 8]) {
                            self.torn = Some(corruption("torn last batch, cut"));
                        }
                        return last;
                    };
                    self.hole(corruption("invalid batch before valid ones"));
                    self.batch = number - 1;
                    offset = at;
                }
            }
        }
    }

    fn begin_segment(&mut self, header: &format::SegmentHeader, first: bool) {
        for (&cohort, &Before { ordinal, .. }) in &header.before {
            let state = self.cohorts.entry(cohort).or_default();
            if first {
                (state.ordinal, state.inherited) = (ordinal, ordinal > 0);
                state.corrupt = self.beginning.clone();
            } else if state.ordinal == ordinal {
                // The header names the ordinal reached before it: nothing of this cohort is missing.
                state.suspect = None;
            } else {
                let missing = self.damaged.clone().unwrap_or(Corruption {
                    segment: path(header.id),
                    offset: 0,
                    what: "records of the cohort are missing before this segment",
                });
                state.corrupt.get_or_insert(missing);
                state.ordinal = ordinal;
            }
        }
    }

    fn batch(&mut self, segment: u64, start: u64, mut body: Bytes, entries: &mut BTreeMap<CohortId, u64>) {
        let length = body.len() as u64;
        while !body.is_empty() {
            let offset = start + length - body.len() as u64;
            let before = body.len();
            let Some(found) = format::get_record(&mut body) else {
                // The checksum holds, so this was written so: a bug or a newer program.
                self.hole(Corruption { segment: path(segment), offset, what: "unreadable record" });
                return;
            };
            let place_bytes = (before - body.len()) as u32;
            self.record(segment, offset, place_bytes, found, entries);
        }
    }

    fn record(
        &mut self,
        segment: u64,
        offset: u64,
        bytes: u32,
        found: Found,
        entries: &mut BTreeMap<CohortId, u64>,
    ) {
        let corruption = |what| Corruption { segment: path(segment), offset, what };
        if found.record == Logged::Forget {
            self.cohorts.remove(&found.cohort);
            return;
        }
        let state = self.cohorts.entry(found.cohort).or_default();
        if found.ordinal == state.ordinal + 1 {
            state.suspect = None;
        } else {
            let seen =
                state.suspect.take().unwrap_or_else(|| corruption("records of the cohort are missing"));
            state.corrupt.get_or_insert(seen);
        }
        state.ordinal = found.ordinal;
        match found.record {
            Logged::Forget => {}
            Logged::Record(Record::Promise(promise)) => state.promise = state.promise.max(promise),
            Logged::Record(Record::Commit(lsn)) => state.committed = state.committed.max(lsn),
            Logged::Record(Record::Checkpoint(checkpoint)) => {
                state.take(checkpoint);
            }
            Logged::Record(Record::Snapshot(checkpoint)) => {
                // Positional, too: what a snapshot has replaced is superseded, damage included.
                state.live.clear();
                (state.corrupt, state.suspect) = (None, None);
                state.take(checkpoint);
            }
            Logged::Record(Record::Skip(skip)) => {
                // Positional: only what stands before this record is hidden.
                state.live.retain(|_, (entry, _)| {
                    !skip.0.get(&entry.lsn.epoch).is_some_and(|sequences| sequences.contains(entry.lsn.seq))
                });
            }
            Logged::Record(Record::Entry(entry)) => {
                state.promise = state.promise.max(Promise { epoch: entry.lsn.epoch, leader: None });
                let place = Place { epoch: entry.lsn.epoch, bytes, segment, offset };
                let highest = entries.entry(found.cohort).or_default();
                *highest = (*highest).max(entry.lsn.seq);
                match state.live.get_mut(&entry.lsn.seq) {
                    Some((known, at)) if known.lsn == entry.lsn && known.chain == entry.chain => *at = place,
                    Some(_) => {
                        state.corrupt.get_or_insert(corruption("two live entries with one sequence number"));
                    }
                    None => {
                        state.live.insert(entry.lsn.seq, (entry, place));
                    }
                }
            }
        }
    }

    /// Chains the live entries together, cohort by cohort.
    fn finish(self) -> (Recovery, Index) {
        let mut recovery = Recovery { cohorts: BTreeMap::new(), torn: self.torn, damaged: self.damaged };
        let mut index = Index::default();
        let oldest_segment = path(self.oldest_segment);
        for (cohort, state) in self.cohorts {
            let lost = (state.inherited && !state.controlled).then(|| Corruption {
                segment: oldest_segment.clone(),
                offset: 0,
                what: "no control state of the cohort follows the oldest segment's header",
            });
            let mut corrupt = state.corrupt.or(state.suspect).or(lost);
            let flushed = state.checkpoint.flushed;
            let mut places = CohortIndex::starting(flushed);
            let (mut last, mut chain) = (flushed, state.checkpoint.flushed_chain);
            let mut entries = Vec::new();
            for (seq, (entry, place)) in state.live {
                if seq <= flushed.seq {
                    places.push(entry.lsn, entry.prev, place);
                } else if entry.follows(last, chain) {
                    places.push(entry.lsn, entry.prev, place);
                    (last, chain) = (entry.lsn, entry.chain);
                    entries.push(entry);
                } else {
                    corrupt.get_or_insert(Corruption {
                        segment: path(place.segment),
                        offset: place.offset,
                        what: "an entry does not follow the one before it",
                    });
                    break;
                }
            }
            if places.last().seq < flushed.seq {
                // Entries that were copied forward may outlive later ones that the tables hold.
                places.restart(flushed);
            }
            let oldest = places.oldest();
            let epoch_ends = places.epoch_ends();
            index.insert(cohort, places);
            recovery.cohorts.insert(
                cohort,
                CohortRecovery {
                    promise: state.promise,
                    committed: state.committed,
                    entries,
                    oldest,
                    epoch_ends,
                    corrupt,
                    checkpoint: state.checkpoint,
                },
            );
        }
        (recovery, index)
    }
}
