//! Damage to the log's files: every flipped bit, every cut, missing, swapped and misplaced blocks. Whatever happens to the
//! bytes, a cohort either comes back exactly as it was, or is named corrupt, or the log does not open. Nothing else: no
//! panic, no other entry, no lower promise.
//!
//! One exception is the nature of logs: damage to the very last batch cannot be distinguished from a torn write that was never
//! forced, unless something later proves that it was [torn-or-corrupt]: the next batch, the mark that an idle log writes, or the
//! EXTENT file [lost-log-is-seen].

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use roaring::RoaringTreemap;
use wal::disk::{Disk, Faults, MemoryDisk};
use wal::{
    Append, ChainHash, Checkpoint, CohortId, Entry, EntryKind, Epoch, History, Incarnation, LogOptions,
    LogWriter, Lsn, NodeId, Promise, Record, Recovery, ReplicaId, SkipList,
};

const A: CohortId = CohortId(0xA);
const B: CohortId = CohortId(0xB);
const C: CohortId = CohortId(0xC);
const BLOCK: u64 = 4096;
/// Bytes of a block in which every bit is flipped; behind, where no batch of this log reaches, one bit in many.
const DENSE: u64 = 700;

fn options() -> LogOptions {
    LogOptions {
        segment_bytes: 5 * BLOCK,
        retention_bytes: 1 << 20,
        reserve_bytes: 0,
        ..LogOptions::default()
    }
}

/// What a cohort came back as.
#[derive(Clone, Debug, PartialEq)]
struct State {
    checkpoint: Checkpoint,
    promise: Promise,
    committed: Lsn,
    entries: Vec<Entry>,
}

/// All cohorts that are not named corrupt, and those that are; `None`: the log does not open. Where the log says that it is
/// damaged, a cohort that does not come back counts as named.
type Found = Option<(BTreeMap<CohortId, State>, Vec<CohortId>)>;

fn read(disk: &MemoryDisk) -> Found {
    let (_, recovery) = reopen(disk)?;
    Some(state_of(&recovery))
}

fn reopen(disk: &MemoryDisk) -> Option<(LogWriter, Recovery)> {
    let options = LogOptions { history: History::Noted, retention_bytes: 0, ..options() };
    LogWriter::open(Arc::new(disk.clone()), options).ok()
}

fn state_of(recovery: &Recovery) -> (BTreeMap<CohortId, State>, Vec<CohortId>) {
    let (mut sound, mut corrupt) = (BTreeMap::new(), Vec::new());
    for (cohort, found) in recovery.cohorts.clone() {
        if found.corrupt.is_some() {
            corrupt.push(cohort);
            continue;
        }
        let state = State {
            checkpoint: found.checkpoint,
            promise: found.promise,
            committed: found.committed,
            entries: found.entries,
        };
        sound.insert(cohort, state);
    }
    if recovery.damaged.is_some() {
        corrupt.extend([A, B, C].into_iter().filter(|cohort| !sound.contains_key(cohort)));
    }
    (sound, corrupt)
}

/// A copy with a history of its own.
fn copy(disk: &MemoryDisk) -> MemoryDisk {
    disk.crash(1)
}

struct Sample {
    disk: MemoryDisk,
    /// As it was forced.
    whole: BTreeMap<CohortId, State>,
    /// As it was before the last batch.
    before: BTreeMap<CohortId, State>,
}

/// Three segments with every kind of record: bound and unbound promises, a truncation and the same LSN again, commits,
/// a checkpoint, a cohort that speaks once only. `marked`: the log was idle at the end.
fn sample(marked: bool) -> Sample {
    let disk = MemoryDisk::new();
    let (mut log, _) = LogWriter::open(Arc::new(disk.clone()), options()).expect("opens");
    let entry = |prev: &Entry, epoch, payload: &'static str| {
        Entry::next(prev.lsn, prev.chain, Epoch(epoch), EntryKind::Write, Bytes::from(payload))
    };
    let first =
        |epoch| Entry::next(Lsn::ZERO, ChainHash::ZERO, Epoch(epoch), EntryKind::EpochStart, Bytes::new());
    let member = ReplicaId { node: NodeId(3), incarnation: Incarnation(77) };
    let (a1, b1) = (first(1), first(2));
    let (a2, b2) = (entry(&a1, 1, "a2"), entry(&b1, 2, "b2"));
    let a3 = entry(&a2, 1, "a3, to be truncated");
    let again = entry(&a2, 3, "3.3 in its place");
    let last = entry(&again, 3, "the last one");
    let mut skip = SkipList::default();
    skip.0.insert(Epoch(1), RoaringTreemap::from_iter([3]));
    let checkpoint = Checkpoint {
        promise: Promise { epoch: Epoch(2), leader: Some(member) },
        flushed: b1.lsn,
        flushed_chain: b1.chain,
        committed: b1.lsn,
        lease_ms_max: 500,
        ..Checkpoint::default()
    };
    let promise = |epoch, leader| Record::Promise(Promise { epoch: Epoch(epoch), leader });
    let batches: Vec<Vec<(CohortId, Vec<Record>)>> = vec![
        vec![
            (A, vec![promise(1, None)]),
            (B, vec![promise(2, Some(member))]),
            (C, vec![promise(9, Some(member))]),
        ],
        vec![(A, vec![Record::Entry(a1), Record::Entry(a2)])],
        vec![(B, vec![Record::Entry(b1.clone())]), (A, vec![Record::Entry(a3)])],
        vec![(A, vec![promise(3, Some(member)), Record::Skip(skip)])],
        vec![(A, vec![Record::Entry(again)]), (B, vec![Record::Checkpoint(checkpoint)])],
        vec![
            (B, vec![Record::Entry(b2), Record::Commit(Lsn::new(2, 2))]),
            (A, vec![Record::Commit(Lsn::new(1, 2))]),
        ],
        vec![(A, vec![promise(4, None)])],
        vec![(A, vec![Record::Entry(last)]), (B, vec![promise(5, None)])],
    ];
    let mut before = BTreeMap::new();
    for batch in batches {
        before = read(&copy(&disk)).expect("opens").0;
        for (cohort, records) in batch {
            log.append(Append { cohort, records }).expect("appends");
        }
        log.force().expect("forces");
    }
    if marked {
        log.mark().expect("marks");
    }
    let (whole, corrupt) = read(&copy(&disk)).expect("opens");
    assert_eq!((whole.len(), corrupt.len()), (3, 0));
    assert!(segments(&disk).len() >= 2, "{:?}", segments(&disk));
    assert_ne!(whole, before);
    Sample { disk, whole, before }
}

fn segments(disk: &MemoryDisk) -> Vec<(String, u64)> {
    disk.files().into_iter().filter(|(name, _)| name.ends_with(".seg")).collect()
}

impl Sample {
    /// Opens what is left after `damage`, and says whether it lost something unnoticed: the last batch.
    fn survives(&self, what: &str, damage: impl FnOnce(&MemoryDisk)) -> bool {
        let disk = copy(&self.disk);
        damage(&disk);
        let Some((sound, corrupt)) = read(&disk) else { return false };
        let same = |known: &BTreeMap<CohortId, State>| {
            known.iter().all(|(cohort, state)| corrupt.contains(cohort) || sound.get(cohort) == Some(state))
                && sound.keys().all(|cohort| known.contains_key(cohort))
        };
        if same(&self.whole) {
            return false;
        }
        assert!(same(&self.before), "{what}: corrupt {corrupt:?}, sound {sound:#?}");
        true
    }
}

fn bits(length: u64) -> impl Iterator<Item = u64> {
    (0..length * 8).filter(|bit| bit / 8 % BLOCK < DENSE || bit % 1021 == 0)
}

#[test]
fn every_flipped_bit_of_a_log_that_was_idle() {
    let sample = sample(true);
    for (file, length) in segments(&sample.disk) {
        for bit in bits(length) {
            let lost =
                sample.survives(&format!("{file} bit {bit}"), |disk| disk.flip(&file, bit).expect("flips"));
            assert!(!lost, "{file} bit {bit}: a forced batch is gone and nobody says so");
        }
    }
}

#[test]
fn every_flipped_bit_of_a_log_that_was_busy() {
    let sample = sample(false);
    let files = segments(&sample.disk);
    for (file, length) in &files {
        for bit in bits(*length) {
            let lost =
                sample.survives(&format!("{file} bit {bit}"), |disk| disk.flip(file, bit).expect("flips"));
            assert!(
                !lost || Some(file) == files.last().map(|(name, _)| name),
                "{file} bit {bit}: lost in an older file"
            );
        }
    }
}

#[test]
fn every_length_of_every_segment() {
    for marked in [true, false] {
        let sample = sample(marked);
        for (file, length) in segments(&sample.disk) {
            // Around the block boundaries every length, elsewhere some.
            for cut in (0..length).filter(|at| at % BLOCK < 300 || at % 97 == 0) {
                let disk = copy(&sample.disk);
                disk.open(&file).expect("is there").set_len(cut).expect("cuts");
                let Some((sound, corrupt)) = read(&disk) else { continue };
                let unharmed = |(cohort, state): (&CohortId, &State)| sample.whole[cohort] == *state;
                assert!(sound.iter().all(unharmed), "{file} cut at {cut}: corrupt {corrupt:?}, {sound:#?}");
            }
        }
    }
}

/// Opens again and again, with new records, segments and crashes in between: what was lost never looks whole, in a log
/// that has forgotten the damaged part, too.
fn stays_known(what: &str, disk: MemoryDisk, whole: &BTreeMap<CohortId, State>) {
    const D: CohortId = CohortId(0xD);
    let mut disk = disk;
    let (mut last, mut chain) = (Lsn::ZERO, ChainHash::ZERO);
    for (round, appends) in [0, 1, 8, 8, 1].into_iter().enumerate() {
        let Some((mut log, recovery)) = reopen(&disk) else { return };
        let (mut sound, corrupt) = state_of(&recovery);
        sound.remove(&D);
        // Retention repeats control state: what counts of it is the same.
        let same = |one: &State, other: &State| {
            (one.promise, one.committed, &one.entries) == (other.promise, other.committed, &other.entries)
        };
        let same =
            sound.iter().all(|(cohort, state)| state.checkpoint.must_rejoin || same(&whole[cohort], state));
        assert!(same, "{what}, round {round}: corrupt {corrupt:?}, {sound:#?}");
        let known = |cohort: &CohortId| sound.contains_key(cohort) || corrupt.contains(cohort);
        assert!([A, B, C].iter().all(known), "{what}, round {round}: one is forgotten");
        for _ in 0..appends {
            let payload = Bytes::from(vec![7; BLOCK as usize]);
            let entry = Entry::next(last, chain, Epoch(1), EntryKind::Write, payload);
            (last, chain) = (entry.lsn, entry.chain);
            log.append(Append { cohort: D, records: vec![Record::Entry(entry)] }).expect("appends");
            log.force().expect("forces");
            log.reclaim().expect("gives segments back");
        }
        disk = disk.crash(round as u64);
    }
}

/// What could be found missing after power loss, theft or a mount that failed: any file, any two, the whole directory.
#[test]
fn whatever_is_missing_is_noticed_and_stays_so() {
    for marked in [true, false] {
        let sample = sample(marked);
        let files: Vec<String> = sample.disk.files().into_iter().map(|(name, _)| name).collect();
        assert!(files.iter().any(|name| name == "EXTENT"), "{files:?}");
        let mut losses: Vec<Vec<String>> =
            vec![segments(&sample.disk).into_iter().map(|one| one.0).collect()];
        for (position, file) in files.iter().enumerate() {
            losses.push(vec![file.clone()]);
            losses.extend(files[position + 1..].iter().map(|other| vec![file.clone(), other.clone()]));
        }
        losses.push(files);
        for lost in losses {
            let disk = copy(&sample.disk);
            for file in &lost {
                disk.remove(file).expect("removes");
            }
            disk.sync_dir("wal").expect("syncs");
            disk.sync_dir("").expect("syncs");
            let (_, recovery) = reopen(&disk).expect("opens");
            let (_, corrupt) = state_of(&recovery);
            assert!(!corrupt.is_empty(), "without {lost:?}: nothing is named");
            stays_known(&format!("without {lost:?}"), disk, &sample.whole);
        }
    }
}

/// A crash while a loss is being recorded leaves it known.
#[test]
fn a_crash_while_a_loss_is_noticed_does_not_hide_it() {
    let sample = sample(false);
    let (newest, _) = segments(&sample.disk).pop().expect("there are some");
    for lost in [vec![newest.clone()], vec!["EXTENT".to_owned()], vec![newest, "EXTENT".to_owned()]] {
        for stop_after in 0..25 {
            let disk = copy(&sample.disk);
            for file in &lost {
                disk.remove(file).expect("removes");
            }
            disk.sync_dir("wal").expect("syncs");
            disk.sync_dir("").expect("syncs");
            let last = disk.operations() + stop_after;
            disk.set_faults(Faults { stop_after: Some(last), ..Faults::default() });
            drop(reopen(&disk));
            stays_known(
                &format!("without {lost:?}, stop {stop_after}"),
                disk.crash(stop_after),
                &sample.whole,
            );
        }
    }
}

/// Retention may take the oldest segments away, and that is no loss; nor is any crash one.
#[test]
fn what_retention_removes_is_not_missed() {
    const D: CohortId = CohortId(0xD);
    let options = LogOptions { retention_bytes: 0, history: History::Unknown, ..options() };
    for stop_after in 0..200 {
        let disk = MemoryDisk::new();
        disk.set_faults(Faults { stop_after: Some(stop_after), ..Faults::default() });
        let (mut last, mut chain) = (Lsn::ZERO, ChainHash::ZERO);
        if let Ok((mut log, _)) = LogWriter::open(Arc::new(disk.clone()), options) {
            for _ in 0..12 {
                let payload = Bytes::from(vec![7; BLOCK as usize]);
                let entry = Entry::next(last, chain, Epoch(1), EntryKind::Write, payload);
                (last, chain) = (entry.lsn, entry.chain);
                let records = vec![Record::Entry(entry)];
                let done = log
                    .append(Append { cohort: D, records })
                    .and_then(|()| log.force())
                    .and_then(|()| log.reclaim());
                if done.is_err() {
                    break;
                }
            }
        }
        for seed in 0..3 {
            let (_, recovery) = LogWriter::open(Arc::new(disk.crash(seed)), options).expect("opens");
            assert_eq!(recovery.damaged, None, "stop {stop_after} seed {seed}");
            assert!(recovery.cohorts.values().all(|found| found.corrupt.is_none()), "stop {stop_after}");
        }
    }
}

#[test]
fn a_block_in_another_ones_place_is_noticed() {
    let sample = sample(true);
    let files = segments(&sample.disk);
    let blocks: Vec<(String, u64)> = files
        .iter()
        .flat_map(|(file, length)| (0..length / BLOCK).map(move |block| (file.clone(), block * BLOCK)))
        .collect();
    for (from, at) in &blocks {
        for (to, there) in &blocks {
            let lost = sample.survives(&format!("{from}@{at} written to {to}@{there}"), |disk| {
                let mut block = vec![0; BLOCK as usize];
                disk.open(from).expect("is there").read_exact_at(&mut block, *at).expect("reads");
                disk.open(to).expect("is there").write_all_at(&block, *there).expect("writes");
            });
            assert!(!lost, "{from}@{at} written to {to}@{there}: a forced batch is gone and nobody says so");
        }
    }
}

#[test]
fn two_segments_in_each_others_place_are_noticed() {
    let sample = sample(true);
    let files = segments(&sample.disk);
    for (one, _) in &files {
        for (other, _) in files.iter().filter(|(other, _)| other != one) {
            let lost = sample.survives(&format!("{one} and {other} swapped"), |disk| {
                disk.rename(one, "wal/aside").expect("renames");
                disk.rename(other, one).expect("renames");
                disk.rename("wal/aside", other).expect("renames");
            });
            assert!(!lost, "{one} and {other} swapped: nobody says so");
        }
    }
}

/// The header of a whole log's first segment, as a program of another version would have written it.
fn open_version(version: u32) -> String {
    let disk = MemoryDisk::new();
    drop(LogWriter::open(Arc::new(disk.clone()), options()).expect("an empty disk"));
    let file = disk.open("wal/0000000000000001.seg").expect("the first segment");
    let mut header = vec![0; 36];
    file.read_exact_at(&mut header, 0).expect("its header");
    assert_eq!(&header[32..36], &[0; 4], "it names no cohort: all of the header was read");
    header[12..16].copy_from_slice(&version.to_le_bytes());
    let crc = crc32c::crc32c(&header[12..]);
    header[8..12].copy_from_slice(&crc.to_le_bytes());
    file.write_all_at(&header, 0).expect("in memory");
    file.sync().expect("in memory");
    LogWriter::open(Arc::new(disk), options()).expect_err("another version").to_string()
}

#[test]
fn a_log_of_an_older_or_newer_version_is_refused_with_both_versions_and_the_remedy() {
    let (newer, older) = (open_version(3), open_version(1));
    let text = |found, what| {
        format!(
            "log segment wal/0000000000000001.seg has format version {found}, this program reads version 2 only: start \
             the {what} program that wrote it, or give the node an empty data directory and start it with --rebuild"
        )
    };
    assert_eq!(newer, text(3, "newer"));
    assert_eq!(older, text(1, "older"));
}
