//! What was forced comes back, whatever the crash; what is torn is cut, what is damaged is found.

use std::sync::Arc;

use wal::disk::{Disk, Faults, MemoryDisk};
use wal::{Append, Epoch, LogError, LogWriter, Lsn, Record};

use crate::chain::{A, B, Chain, open, options};

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
    crash_at_any_operation(120, false);
}

/// The segment that is made ahead does not count until it is needed, whatever a crash leaves of it.
#[test]
fn a_crash_at_any_operation_keeps_what_was_forced_beside_a_segment_made_ahead() {
    crash_at_any_operation(140, true);
}

fn crash_at_any_operation(operations: u64, make_ahead: bool) {
    for stop_after in 0..operations {
        let disk = MemoryDisk::new();
        disk.set_faults(Faults { stop_after: Some(stop_after), ..Faults::default() });
        let mut a = Chain::new(A);
        let mut forced = 0;
        if let Ok((mut log, _)) = LogWriter::open(Arc::new(disk.clone()), options()) {
            for _ in 0..40 {
                if make_ahead {
                    log.make_segment_ahead();
                }
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
            let mut a = a.clone();
            a.entries.truncate(found.entries.len());
            assert_eq!(found.entries, a.entries);
            log.append(a.next(1, 10)).expect("goes on");
            log.force().expect("goes on");
        }
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
