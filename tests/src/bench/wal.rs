//! Appends per second through group commit, against what the bare disk gives one thread.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use bytes::Bytes;
use wal::disk::{Disk, DiskFile, FileDisk};
use wal::{Append, ChainHash, CohortId, Entry, EntryKind, Epoch, Log, LogOptions, LogWriter, Lsn, Record};

use super::median::median;

/// Appenders at the same time.
const APPENDERS: [usize; 3] = [1, 16, 64];
/// Payload of one record, in bytes.
const PAYLOAD_BYTES: usize = 100;

/// Runs the suite in `dir`, `rounds` rounds of `round` each, and prints one line per figure.
pub fn run(dir: &std::path::Path, rounds: usize, round: Duration) -> Result<(), Box<dyn std::error::Error>> {
    let disk: Arc<dyn Disk> = Arc::new(FileDisk::open(dir)?);
    let (writer, _) = LogWriter::open(disk.clone(), LogOptions::default())?;
    let log = Log::spawn(writer)?;
    let raw_file = raw_file(&*disk)?;
    let mut raw = Vec::new();
    let mut logged = vec![Vec::new(); APPENDERS.len()];
    let mut ratios = vec![Vec::new(); APPENDERS.len()];
    for number in 0..rounds {
        let raw_rate = raw_loop(&*raw_file, round)?;
        raw.push(raw_rate);
        for (index, appenders) in APPENDERS.into_iter().enumerate() {
            let rate = log_loop(&log, appenders, number * 100 + index * 10_000, round);
            logged[index].push(rate);
            ratios[index].push(rate / raw_rate);
        }
    }
    println!("raw write + fdatasync, 1 thread    {:>9.0} /s", median(&mut raw));
    for (index, appenders) in APPENDERS.into_iter().enumerate() {
        println!(
            "log, {appenders:>2} appender(s)                {:>9.0} appends/s   {:>5.2} x raw",
            median(&mut logged[index]),
            median(&mut ratios[index])
        );
    }
    log.close();
    Ok(())
}

/// A file of zeros, already written once, so that a force changes no metadata.
fn raw_file(disk: &dyn Disk) -> std::io::Result<Arc<dyn DiskFile>> {
    disk.create_dir("raw")?;
    let file = disk.create("raw/loop")?;
    let zeros = vec![0; 1 << 20];
    for megabyte in 0..16 {
        file.write_all_at(&zeros, megabyte << 20)?;
    }
    file.sync()?;
    Ok(file)
}

/// Forces per second of 4 KiB writes, one after the other.
fn raw_loop(file: &dyn DiskFile, round: Duration) -> std::io::Result<f64> {
    let block = [7; 4096];
    let start = Instant::now();
    let mut forces = 0_u64;
    while start.elapsed() < round {
        file.write_all_at(&block, forces % 4096 * 4096)?;
        file.sync()?;
        forces += 1;
    }
    Ok(forces as f64 / start.elapsed().as_secs_f64())
}

/// Appends per second of `appenders` threads, each with a cohort of its own and one append in flight.
fn log_loop(log: &Log, appenders: usize, first_cohort: usize, round: Duration) -> f64 {
    let stop = Arc::new(AtomicBool::new(false));
    let appended = Arc::new(AtomicU64::new(0));
    let start = Instant::now();
    std::thread::scope(|scope| {
        for number in 0..appenders {
            let (log, stop, appended) = (log.clone(), stop.clone(), appended.clone());
            scope.spawn(move || {
                let cohort = CohortId((first_cohort + number) as u128 + 1);
                let payload = Bytes::from(vec![42; PAYLOAD_BYTES]);
                let (mut last, mut chain) = (Lsn::ZERO, ChainHash::ZERO);
                let (done, wait) = mpsc::channel();
                while !stop.load(Ordering::Relaxed) {
                    let entry = Entry::next(last, chain, Epoch(1), EntryKind::Write, payload.clone());
                    (last, chain) = (entry.lsn, entry.chain);
                    let done = done.clone();
                    log.append(
                        Append { cohort, records: vec![Record::Entry(entry)] },
                        true,
                        Some(Box::new(move |result| {
                            let _ = done.send(result);
                        })),
                    );
                    match wait.recv() {
                        Ok(Ok(())) => appended.fetch_add(1, Ordering::Relaxed),
                        Ok(Err(error)) => panic!("append failed: {error}"),
                        Err(_) => panic!("the log dropped an append without an answer"),
                    };
                }
                log.forget(cohort);
            });
        }
        std::thread::sleep(round);
        stop.store(true, Ordering::Relaxed);
    });
    appended.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64()
}
