//! The log's promises, on the simulated disk: what was forced comes back, whatever the crash.

use std::sync::Arc;

use bytes::Bytes;
use roaring::RoaringTreemap;
use wal::disk::{Disk, Faults, MemoryDisk};
use wal::{
    Append, ChainHash, Checkpoint, CohortId, Entry, EntryKind, Epoch, Log, LogError, LogOptions, LogWriter,
    Lsn, Promise, Record, Recovery, SkipList,
};

const A: CohortId = CohortId(0xA);
const B: CohortId = CohortId(0xB);

fn options() -> LogOptions {
    LogOptions {
        segment_bytes: 64 << 10,
        retention_bytes: 256 << 10,
        reserve_bytes: 64 << 10,
        ..LogOptions::default()
    }
}

fn open(disk: &MemoryDisk) -> (LogWriter, Recovery) {
    LogWriter::open(Arc::new(disk.clone()), options()).expect("opens")
}

/// A cohort's chain of entries, made on demand.
struct Chain {
    cohort: CohortId,
    entries: Vec<Entry>,
}

impl Chain {
    fn new(cohort: CohortId) -> Chain {
        Chain { cohort, entries: Vec::new() }
    }

    fn last(&self) -> (Lsn, ChainHash) {
        self.entries.last().map_or((Lsn::ZERO, ChainHash::ZERO), |entry| (entry.lsn, entry.chain))
    }

    fn next(&mut self, epoch: u32, bytes: usize) -> Append {
        let (last, chain) = self.last();
        let payload = Bytes::from(vec![self.entries.len() as u8; bytes]);
        let entry = Entry::next(last, chain, Epoch(epoch), EntryKind::Write, payload);
        self.entries.push(entry.clone());
        Append { cohort: self.cohort, records: vec![Record::Entry(entry)] }
    }

    fn skip_after(&mut self, seq: u64) -> Append {
        let mut skip = SkipList::default();
        for entry in self.entries.split_off(seq as usize) {
            skip.0.entry(entry.lsn.epoch).or_insert_with(RoaringTreemap::new).insert(entry.lsn.seq);
        }
        Append { cohort: self.cohort, records: vec![Record::Skip(skip)] }
    }

    fn checkpoint(&self, seq: u64) -> Checkpoint {
        let entry = &self.entries[seq as usize - 1];
        Checkpoint {
            flushed: entry.lsn,
            flushed_chain: entry.chain,
            committed: entry.lsn,
            ..Checkpoint::default()
        }
    }
}

#[test]
fn forced_records_come_back_for_every_cohort() {
    let disk = MemoryDisk::new();
    let (mut a, mut b) = (Chain::new(A), Chain::new(B));
    let (mut log, recovery) = open(&disk);
    assert!(recovery.cohorts.is_empty());
    for round in 0..50 {
        log.append(a.next(1, 100)).expect("appends");
        if round % 3 == 0 {
            log.append(b.next(2, 3000)).expect("appends");
        }
        log.force().expect("forces");
    }
    log.append(Append { cohort: A, records: vec![Record::Commit(Lsn::new(1, 40))] }).expect("appends");
    log.force().expect("forces");
    assert_eq!(log.reader().read(A, Lsn::new(1, 10), 250).expect("reads"), a.entries[10..11]);
    assert_eq!(log.reader().read(B, Lsn::ZERO, 1 << 20).expect("reads"), b.entries);
    let (log, recovery) = open(&disk.crash(7));
    assert_eq!(recovery.cohorts[&A].entries, a.entries);
    assert_eq!(recovery.cohorts[&B].entries, b.entries);
    assert_eq!(recovery.cohorts[&A].committed, Lsn::new(1, 40));
    assert_eq!(recovery.cohorts[&B].promise.epoch, Epoch(2));
    assert_eq!(log.reader().read(A, Lsn::ZERO, 1 << 20).expect("reads"), a.entries);
}

#[test]
fn a_crash_at_any_operation_keeps_what_was_forced() {
    for stop_after in 0..120 {
        for seed in 0..4 {
            let disk = MemoryDisk::new();
            disk.set_faults(Faults { stop_after: Some(stop_after), ..Faults::default() });
            let mut a = Chain::new(A);
            let mut forced = 0;
            if let Ok((mut log, _)) = LogWriter::open(Arc::new(disk.clone()), options()) {
                for _ in 0..40 {
                    if log.append(a.next(1, 2000)).is_err() || log.force().is_err() {
                        break;
                    }
                    forced = a.entries.len();
                }
            }
            let (mut log, recovery) = open(&disk.crash(seed));
            let found = recovery.cohorts.get(&A).cloned().unwrap_or_default();
            assert_eq!(found.corrupt, None, "stop {stop_after} seed {seed}");
            assert!(found.entries.len() >= forced, "stop {stop_after} seed {seed}");
            assert_eq!(found.entries, a.entries[..found.entries.len()]);
            a.entries.truncate(found.entries.len());
            log.append(a.next(1, 10)).expect("goes on");
            log.force().expect("goes on");
        }
    }
}

/// The segment that is made ahead does not count until it is needed, whatever a crash leaves of it.
#[test]
fn a_crash_at_any_operation_keeps_what_was_forced_beside_a_segment_made_ahead() {
    for stop_after in 0..140 {
        let disk = MemoryDisk::new();
        disk.set_faults(Faults { stop_after: Some(stop_after), ..Faults::default() });
        let mut a = Chain::new(A);
        let mut forced = 0;
        if let Ok((mut log, _)) = LogWriter::open(Arc::new(disk.clone()), options()) {
            for _ in 0..40 {
                log.make_segment_ahead();
                if log.append(a.next(1, 2000)).is_err() || log.force().is_err() {
                    break;
                }
                forced = a.entries.len();
            }
        }
        for seed in 0..4 {
            let (mut log, recovery) = open(&disk.crash(seed));
            let found = recovery.cohorts.get(&A).cloned().unwrap_or_default();
            assert_eq!(found.corrupt, None, "stop {stop_after} seed {seed}");
            assert_eq!(recovery.damaged, None, "stop {stop_after} seed {seed}");
            assert!(found.entries.len() >= forced, "stop {stop_after} seed {seed}");
            assert_eq!(found.entries, a.entries[..found.entries.len()]);
            log.append(Chain::new(B).next(1, 10)).expect("goes on");
            log.force().expect("goes on");
        }
    }
}

/// Fills the current segment: one more append needs another one.
fn fill(disk: &MemoryDisk, log: &mut LogWriter, chain: &mut Chain) {
    let segments = disk.list("wal").expect("lists").len();
    for _ in 0..15 {
        log.append(chain.next(1, 3000)).expect("appends");
        log.force().expect("forces");
    }
    assert_eq!(disk.list("wal").expect("lists").len(), segments, "it still fits");
}

#[test]
fn beginning_a_segment_that_was_made_ahead_costs_three_writes_and_three_forces() {
    let disk = MemoryDisk::new();
    let (mut log, _) = open(&disk);
    let mut a = Chain::new(A);
    fill(&disk, &mut log, &mut a);
    log.make_segment_ahead();
    let before = disk.operations();
    log.append(a.next(1, 4000)).expect("appends");
    log.force().expect("forces");
    assert_eq!(disk.operations() - before, 6, "its header, its note, and the batch");
    assert_eq!(open(&disk.crash(1)).1.cohorts[&A].entries, a.entries);
}

#[test]
fn without_descriptors_the_next_segment_waits_and_nothing_is_lost() {
    for ahead in [false, true] {
        let disk = MemoryDisk::new();
        let (mut log, _) = open(&disk);
        let mut a = Chain::new(A);
        fill(&disk, &mut log, &mut a);
        disk.set_faults(Faults { no_descriptors: true, ..Faults::default() });
        if ahead {
            log.make_segment_ahead();
        }
        log.append(a.next(1, 4000)).expect("there is space");
        for _ in 0..3 {
            assert!(matches!(log.force(), Err(LogError::Segment(_))));
            log.append(a.next(1, 10)).expect("more may wait");
        }
        assert!(open(&disk.crash(1)).1.cohorts[&A].entries.len() == 15);
        disk.set_faults(Faults::default());
        log.force().expect("there are descriptors again");
        assert_eq!(open(&disk.crash(1)).1.cohorts[&A].entries, a.entries);
    }
}

/// Only bytes of a batch that could not be written or forced are a reason to stop.
#[test]
fn a_write_error_while_a_segment_is_made_is_not_final() {
    let disk = MemoryDisk::new();
    let (mut log, _) = open(&disk);
    let mut a = Chain::new(A);
    fill(&disk, &mut log, &mut a);
    disk.set_faults(Faults { write_eio: true, ..Faults::default() });
    log.append(a.next(1, 4000)).expect("there is space");
    assert!(matches!(log.force(), Err(LogError::Segment(_))));
    disk.set_faults(Faults { sync_eio: true, ..Faults::default() });
    assert!(matches!(log.force(), Err(LogError::Segment(_))));
    log.force().expect("the disk works again");
    assert_eq!(open(&disk.crash(1)).1.cohorts[&A].entries, a.entries);
}

#[test]
fn a_segment_that_cannot_be_removed_stays_and_leaves_no_hole() {
    let disk = MemoryDisk::new();
    let (mut log, _) = open(&disk);
    let mut a = Chain::new(A);
    for _ in 0..200 {
        log.append(a.next(1, 4000)).expect("appends");
        log.force().expect("forces");
    }
    log.set_checkpoint(A, a.checkpoint(200)).expect("appends");
    log.force().expect("forces");
    disk.set_faults(Faults { no_descriptors: true, ..Faults::default() });
    assert!(matches!(log.reclaim(), Err(LogError::Segment(_))));
    log.append(a.next(1, 10)).expect("the log goes on");
    log.force().expect("the log goes on");
    for seed in 0..8 {
        assert_eq!(open(&disk.crash(seed)).1.damaged, None);
    }
    disk.set_faults(Faults::default());
    let before = disk.list("wal").expect("lists").len();
    log.reclaim().expect("reclaims");
    assert!(disk.list("wal").expect("lists").len() < before);
    assert_eq!(open(&disk.crash(1)).1.damaged, None);
}

#[test]
fn a_small_retention_has_small_segments() {
    let segment = |mib: u64| LogOptions::retaining(mib << 20).segment_bytes;
    assert_eq!(
        [segment(0), segment(4), segment(64), segment(256), segment(4096)].map(|bytes| bytes >> 20),
        [1, 1, 16, 64, 64]
    );
    let options = LogOptions::retaining(4 << 20);
    let disk = MemoryDisk::new();
    let (mut log, _) = LogWriter::open(Arc::new(disk.clone()), options).expect("opens");
    let mut a = Chain::new(A);
    for round in 1..=300u64 {
        log.make_segment_ahead();
        log.append(a.next(1, 50_000)).expect("appends");
        log.force().expect("forces");
        // What is not in tables yet is far less than the retention.
        log.set_checkpoint(A, a.checkpoint(round.saturating_sub(20).max(1))).expect("appends");
        log.reclaim().expect("reclaims");
        let used: u64 = disk.files().iter().map(|(_, length)| length).sum();
        assert!(used + options.reserve_bytes <= options.disk_bytes_max(), "{used}");
    }
}

#[test]
fn every_flipped_bit_of_a_forced_batch_is_found() {
    let disk = MemoryDisk::new();
    let (mut a, mut b) = (Chain::new(A), Chain::new(B));
    let (mut log, _) = open(&disk);
    log.append(a.next(1, 20)).expect("appends");
    log.force().expect("forces");
    log.append(b.next(1, 20)).expect("appends");
    log.force().expect("forces");
    log.append(b.next(1, 20)).expect("appends");
    log.force().expect("forces");
    let name = format!("wal/{}", disk.list("wal").expect("lists")[0]);
    let first_batch = 4096;
    for bit in 0..(44 + 61 + 20) * 8 {
        let disk = disk.crash(1);
        disk.flip(&name, first_batch * 8 + bit).expect("flips");
        let (_, recovery) = open(&disk);
        assert!(!recovery.cohorts.contains_key(&A) || recovery.cohorts[&A].corrupt.is_some(), "bit {bit}");
        assert_eq!(recovery.cohorts[&B].entries, b.entries, "bit {bit}: the other cohort goes on");
    }
}

#[test]
fn a_skip_hides_only_what_stands_before_it() {
    let disk = MemoryDisk::new();
    let mut a = Chain::new(A);
    let (mut log, _) = open(&disk);
    for _ in 0..3 {
        log.append(a.next(1, 10)).expect("appends");
    }
    let again = a.entries[1].clone();
    log.append(a.skip_after(1)).expect("appends");
    log.force().expect("forces");
    assert_eq!(log.reader().last(A), Lsn::new(1, 1));
    assert_eq!(open(&disk.crash(1)).1.cohorts[&A].entries, a.entries);
    a.entries.push(again.clone());
    log.append(Append { cohort: A, records: vec![Record::Entry(again)] }).expect("appends");
    log.force().expect("forces");
    assert_eq!(open(&disk.crash(1)).1.cohorts[&A].entries, a.entries);
    assert_eq!(log.reader().read(A, Lsn::ZERO, 1 << 20).expect("reads"), a.entries);
}

#[test]
fn retention_keeps_the_live_tail_and_the_promise() {
    let disk = MemoryDisk::new();
    let (mut a, mut b) = (Chain::new(A), Chain::new(B));
    let (mut log, _) = open(&disk);
    let promise = Promise { epoch: Epoch(7), leader: None };
    log.append(Append { cohort: A, records: vec![Record::Promise(promise)] }).expect("appends");
    for _ in 0..5 {
        log.append(a.next(3, 500)).expect("appends");
    }
    log.force().expect("forces");
    let mut held = 0;
    for round in 0..600 {
        log.append(b.next(1, 4000)).expect("appends");
        log.force().expect("forces");
        log.set_checkpoint(B, b.checkpoint(b.entries.len() as u64)).expect("appends");
        held += log.reclaim().expect("reclaims").len();
        if round % 100 == 0 {
            log.append(a.next(3, 10)).expect("appends");
        }
    }
    log.force().expect("forces");
    assert!(held > 0, "the cohort above its checkpoint is asked to flush first");
    let bytes: u64 = disk
        .list("wal")
        .expect("lists")
        .iter()
        .map(|name| disk.open(&format!("wal/{name}")).and_then(|file| file.len()).expect("opens"))
        .sum();
    assert!(bytes <= 3 * options().retention_bytes, "{bytes}");
    let (_, recovery) = open(&disk.crash(3));
    assert_eq!(recovery.cohorts[&A].promise, promise);
    assert_eq!(recovery.cohorts[&A].corrupt, None);
    assert_eq!(recovery.cohorts[&A].entries, a.entries);
    assert_eq!(recovery.cohorts[&B].corrupt, None);
    assert_eq!(recovery.cohorts[&B].checkpoint.flushed, b.last().0);
}

#[test]
fn retention_keeps_what_stands_before_an_entry_that_was_appended_again() {
    let disk = MemoryDisk::new();
    let (mut a, mut b) = (Chain::new(A), Chain::new(B));
    let (mut log, _) = open(&disk);
    log.append(a.next(1, 100)).expect("appends");
    let again = a.next(2, 100);
    log.append(again.clone()).expect("appends");
    log.force().expect("forces");
    // A later append was refused by a full disk, and the cohort repeats all that it had not heard of.
    log.append(again).expect("appends");
    log.append(a.next(2, 100)).expect("appends");
    for _ in 0..300 {
        log.append(b.next(1, 4000)).expect("appends");
        log.force().expect("forces");
        log.set_checkpoint(B, b.checkpoint(b.entries.len() as u64)).expect("appends");
        log.reclaim().expect("reclaims");
    }
    assert_eq!(log.reader().read(A, Lsn::ZERO, 1 << 20).expect("reads"), a.entries);
    let (_, recovery) = open(&disk.crash(3));
    assert_eq!(recovery.cohorts[&A].corrupt, None);
    assert_eq!(recovery.cohorts[&A].entries, a.entries);
}

#[test]
fn a_full_disk_refuses_whole_appends_and_heals() {
    let disk = MemoryDisk::new();
    disk.set_capacity(Some(160 << 10));
    let mut a = Chain::new(A);
    let (mut log, _) = open(&disk);
    let refused = loop {
        let append = a.next(1, 4000);
        match log.append(append).and_then(|()| log.force()) {
            Ok(()) => {}
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, LogError::DiskFull), "{refused}");
    a.entries.pop();
    let promise = Promise { epoch: Epoch(9), leader: None };
    log.append(Append { cohort: A, records: vec![Record::Promise(promise)] }).expect("the reserve");
    log.force().expect("forces");
    disk.set_capacity(None);
    log.append(a.next(1, 4000)).expect("heals");
    log.force().expect("heals");
    let (_, recovery) = open(&disk.crash(5));
    assert_eq!(recovery.cohorts[&A].entries, a.entries);
    assert_eq!(recovery.cohorts[&A].promise, promise);
}

/// Entries under way when one is refused must not be taken behind the hole that it leaves.
#[test]
fn what_follows_a_refused_append_is_refused_until_the_hole_is_filled() {
    let disk = MemoryDisk::new();
    let (mut log, _) = open(&disk);
    let mut a = Chain::new(A);
    log.append(a.next(1, 10)).expect("room");
    log.force().expect("room");
    disk.set_capacity(Some(0));
    let refused = a.next(1, 100 << 10);
    assert!(matches!(log.append(refused.clone()), Err(LogError::DiskFull)));
    let behind = a.next(1, 10);
    assert!(
        matches!(log.append(behind.clone()), Err(LogError::DiskFull)),
        "small enough, but behind the hole"
    );
    disk.set_capacity(None);
    assert!(matches!(log.append(behind.clone()), Err(LogError::DiskFull)));
    log.append(refused).expect("room again");
    log.append(behind).expect("no hole any more");
    // A truncation sets the end back, also for what stands in the same batch.
    log.append(a.skip_after(2)).expect("room");
    let third = a.next(2, 10);
    let fourth = a.next(2, 10);
    assert!(log.append(fourth.clone()).is_err());
    log.append(third).expect("behind the truncation");
    log.append(fourth).expect("no hole any more");
    log.force().expect("room");
    let (_, recovery) = open(&disk.crash(1));
    assert_eq!(recovery.cohorts[&A].entries, a.entries);
}

#[test]
fn a_failed_force_is_final() {
    let disk = MemoryDisk::new();
    let mut a = Chain::new(A);
    let (mut log, _) = open(&disk);
    disk.set_faults(Faults { sync_eio: true, ..Faults::default() });
    log.append(a.next(1, 10)).expect("appends");
    assert!(matches!(log.force(), Err(LogError::Poisoned(_))));
    assert!(matches!(log.append(a.next(1, 10)), Err(LogError::Poisoned(_))));
    assert!(matches!(log.force(), Err(LogError::Poisoned(_))));
}

#[test]
fn group_commit_tells_every_appender() {
    let disk = MemoryDisk::new();
    let (writer, _) = open(&disk);
    let log = Log::spawn(writer).expect("a thread");
    std::thread::scope(|scope| {
        for number in 1..=8 {
            let log = log.clone();
            scope.spawn(move || {
                let mut chain = Chain::new(CohortId(number));
                for _ in 0..100 {
                    let (done, wait) = std::sync::mpsc::channel();
                    let append = chain.next(1, 50);
                    log.append(append, true, Some(Box::new(move |result| done.send(result).expect("waits"))));
                    wait.recv().expect("told").expect("forced");
                }
            });
        }
    });
    assert!(log.stats().forces <= 800 + 10);
    log.close();
    let (_, recovery) = open(&disk.crash(9));
    assert_eq!(recovery.cohorts.len(), 8);
    assert!(recovery.cohorts.values().all(|cohort| cohort.entries.len() == 100 && cohort.corrupt.is_none()));
}

/// Appends, and says through the channel how that ended.
fn append(log: &Log, append: Append) -> std::sync::mpsc::Receiver<Result<(), LogError>> {
    let (done, wait) = std::sync::mpsc::channel();
    // Nobody may wait any more.
    log.append(append, true, Some(Box::new(move |result| drop(done.send(result)))));
    wait
}

#[test]
fn a_log_without_descriptors_goes_on_when_there_are_some() {
    let disk = MemoryDisk::new();
    let (writer, _) = open(&disk);
    let log = Log::spawn(writer).expect("threads");
    let mut a = Chain::new(A);
    append(&log, a.next(1, 10)).recv().expect("told").expect("forced");
    disk.set_faults(Faults { no_descriptors: true, ..Faults::default() });
    // More than the current segment and the one that was made ahead can hold.
    let waits: Vec<_> = (0..60).map(|_| append(&log, a.next(1, 4000))).collect();
    let wait_max = std::time::Duration::from_secs(60);
    let begun = std::time::Instant::now();
    while log.stats().segment_failures == 0 {
        assert!(begun.elapsed() < wait_max, "it never needs a segment");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    assert!(log.waiting_bytes() > 4000);
    disk.set_faults(Faults::default());
    for wait in waits {
        wait.recv_timeout(wait_max).expect("told").expect("forced");
    }
    assert_eq!(log.waiting_bytes(), 0);
    assert_eq!(open(&disk.crash(1)).1.cohorts[&A].entries, a.entries);
    log.close();
}

#[test]
fn what_collects_while_the_disk_hangs_is_forced_in_bounded_batches() {
    let disk = MemoryDisk::new();
    let options = LogOptions { segment_bytes: 64 << 20, ..LogOptions::default() };
    let (writer, _) = LogWriter::open(Arc::new(disk.clone()), options).expect("opens");
    let log = Log::spawn(writer).expect("threads");
    let mut a = Chain::new(A);
    // The log's thread stands still in the first answer, as if the disk hung.
    let (go, gone) = std::sync::mpsc::channel::<()>();
    log.append(
        a.next(1, 10),
        true,
        Some(Box::new(move |_| {
            // An error: the test has failed already.
            let _ = gone.recv();
        })),
    );
    while log.stats().forces == 0 {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    let waits: Vec<_> = (0..40).map(|_| append(&log, a.next(1, 1 << 20))).collect();
    assert!(log.waiting_bytes() >= 40 << 20);
    let before = log.stats().forces;
    go.send(()).expect("it waits");
    for wait in waits {
        wait.recv().expect("told").expect("forced");
    }
    assert!(log.stats().forces - before >= 5, "{:?}", log.stats());
    log.close();
}

#[test]
fn a_panic_on_the_logs_thread_is_told_and_refuses_all_that_waits() {
    let (writer, _) = open(&MemoryDisk::new());
    let log = Log::spawn(writer).expect("threads");
    let (failed, told) = std::sync::mpsc::channel();
    log.on_failure(move |reason| drop(failed.send(reason)));
    let mut a = Chain::new(A);
    log.append(a.next(1, 10), true, Some(Box::new(|_| panic!("for this test"))));
    assert!(told.recv().expect("told").contains("panicked"));
    assert!(matches!(append(&log, a.next(1, 10)).recv(), Ok(Err(LogError::Poisoned(_)))));
    log.close();
}

#[test]
fn a_killed_log_writes_nothing_more() {
    let disk = MemoryDisk::new();
    let (writer, _) = open(&disk);
    let log = Log::spawn(writer).expect("a thread");
    log.kill();
    let operations = disk.operations();
    let (done, wait) = std::sync::mpsc::channel();
    let append = Chain::new(A).next(1, 50);
    log.append(append, true, Some(Box::new(move |result| done.send(result).expect("waits"))));
    assert!(matches!(wait.recv(), Ok(Err(LogError::Closed))));
    assert_eq!(disk.operations(), operations);
}

#[test]
fn a_dropped_cohort_is_forgotten() {
    let disk = MemoryDisk::new();
    let mut a = Chain::new(A);
    let (mut log, _) = open(&disk);
    log.append(a.next(1, 50)).expect("appends");
    log.force().expect("forces");
    log.forget(A);
    log.force().expect("forces");
    assert!(!open(&disk.crash(2)).1.cohorts.contains_key(&A));
}

#[test]
fn every_torn_length_of_the_last_record_is_cut() {
    let disk = MemoryDisk::new();
    let (mut a, mut b) = (Chain::new(A), Chain::new(B));
    let (mut log, _) = open(&disk);
    for append in [a.next(1, 300), b.next(1, 300)] {
        log.append(append).expect("appends");
    }
    log.force().expect("forces");
    let name = format!("wal/{}", disk.list("wal").expect("lists")[0]);
    let start = 2 * 4096;
    let before = read(&disk, &name, start);
    log.append(b.next(1, 300)).expect("appends");
    log.force().expect("forces");
    let whole = read(&disk, &name, start);
    let length = whole.iter().rposition(|byte| *byte != 0).expect("written") + 1;
    for torn in 0..length {
        // The first `torn` bytes of the last batch reached the disk, the rest is what was there before.
        let disk = disk.crash(1);
        let mut bytes = before.clone();
        bytes[..torn].copy_from_slice(&whole[..torn]);
        disk.open(&name).expect("opens").write_all_at(&bytes, start).expect("writes");
        let (mut log, recovery) = open(&disk);
        assert_eq!(recovery.cohorts[&A].entries, a.entries, "torn at {torn}");
        assert_eq!(recovery.cohorts[&B].entries, b.entries[..1], "torn at {torn}");
        assert!(recovery.cohorts.values().all(|cohort| cohort.corrupt.is_none()), "torn at {torn}");
        assert_eq!(recovery.torn.is_some(), torn > 0, "torn at {torn}");
        log.append(Append { cohort: B, records: vec![Record::Entry(b.entries[1].clone())] })
            .expect("goes on");
        log.force().expect("goes on");
        assert_eq!(open(&disk.crash(2)).1.cohorts[&B].entries, b.entries, "torn at {torn}");
    }
}

fn read(disk: &MemoryDisk, name: &str, start: u64) -> Vec<u8> {
    let mut bytes = vec![0; 4096];
    disk.open(name).expect("opens").read_exact_at(&mut bytes, start).expect("reads");
    bytes
}
