//! Segments: made ahead, full, refused for want of space or descriptors, kept as long as they are needed.

use std::sync::Arc;

use wal::disk::{Disk, Faults, MemoryDisk};
use wal::{Append, Epoch, LogError, LogOptions, LogWriter, Lsn, Promise, Record};

use crate::chain::{A, B, Chain, open, options};

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

/// [space-can-be-freed]: nothing is forgotten halfway, and it needs no restart to be done after all.
#[test]
fn what_a_full_disk_kept_from_being_forgotten_is_forgotten_when_there_is_space() {
    let disk = MemoryDisk::new();
    let (mut log, _) = open(&disk);
    let (mut a, mut b) = (Chain::new(A), Chain::new(B));
    log.append(a.next(1, 100)).expect("room");
    log.force().expect("room");
    disk.set_capacity(Some(0));
    // Small enough for what is left of the segment, until nothing is.
    while log.append(b.next(1, 10)).and_then(|()| log.force()).is_ok() {}
    log.forget(A);
    let refused = log.force().expect_err("there is no room");
    assert!(matches!(refused, LogError::DiskFull), "{refused}");
    assert!(open(&disk.crash(3)).1.cohorts.contains_key(&A), "the test fills the disk");
    disk.set_capacity(None);
    log.forget(A);
    log.force().expect("room again");
    assert!(!open(&disk.crash(3)).1.cohorts.contains_key(&A));
}
