//! The log on its thread: group commit, and how its appenders are told.

use std::sync::Arc;

use wal::disk::{Faults, MemoryDisk};
use wal::{Append, CohortId, Log, LogError, LogOptions, LogWriter};

use crate::chain::{A, Chain, open};

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
