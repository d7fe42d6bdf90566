//! Readers beside writer, flush and compaction.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

#[test]
fn a_scan_is_not_disturbed_by_what_comes_later() {
    let options = EngineOptions { level0_tables: 1, ..EngineOptions::default() };
    let engine = open(&MemoryDisk::new(), options);
    for seq in 1..=100 {
        write(&engine, seq, &format!("k{seq:03}"), &[put("c", "old")]);
    }
    let mut rows = engine.scan(b"", None, false, &Columns::All).unwrap();
    assert_eq!(rows.read_lsn(), Lsn::new(1, 100));
    assert_eq!(rows.next().unwrap().unwrap().cells[0].value, "old");
    for seq in 101..=200 {
        write(&engine, seq, &format!("k{:03}", seq - 100), &[put("c", "new")]);
    }
    flush(&engine).unwrap();
    assert!(engine.compact().unwrap());
    assert_eq!(rows.by_ref().map(Result::unwrap).filter(|row| row.cells[0].value == "old").count(), 99);
    assert_eq!(show(&engine, "k050"), "c=new@150");
}

#[test]
fn a_write_of_several_columns_is_seen_whole_or_not_at_all() {
    let engine = open(&MemoryDisk::new(), EngineOptions { memtable_bytes: 20_000, ..SMALL });
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for reverse in [false, true] {
            let (engine, stop) = (&engine, &stop);
            scope.spawn(move || {
                let whole = |row: &Row| {
                    let (first, all) = (row.cells.first().map(|cell| cell.version), row.cells.len());
                    assert!(all == 0 || all == 3, "{row:?}");
                    assert!(row.cells.iter().all(|cell| Some(cell.version) == first), "{row:?}");
                };
                while !stop.load(Ordering::Relaxed) {
                    let before = engine.applied();
                    let (row, at) = engine.get(b"k3", &Columns::All).unwrap();
                    assert!(at >= before);
                    whole(&row);
                    for row in engine.scan(b"", None, reverse, &Columns::All).unwrap() {
                        whole(&row.unwrap());
                    }
                }
            });
        }
        let (background, ended) = (&engine, &stop);
        scope.spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                background.flush(|_| Ok(())).unwrap();
                background.compact().unwrap();
                std::thread::yield_now();
            }
        });
        for seq in 1..=3000u64 {
            let value = seq.to_string();
            let mut mutations = vec![put("a", &value), put("b", &value), put("c", &value)];
            match seq % 10 {
                0 => mutations = vec![Mutation::DeleteRow],
                5 => mutations.insert(0, Mutation::DeleteRow),
                _ => {}
            }
            write(&engine, seq, &format!("k{}", seq % 8), &mutations);
            if engine.needs_flush() {
                engine.freeze(Bytes::new);
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(engine.stats().tables > 0);
}

#[test]
fn a_range_that_can_not_keep_up_says_so() {
    let engine = open(&MemoryDisk::new(), EngineOptions { memtable_bytes: 1, ..SMALL });
    write(&engine, 1, "k", &[put("a", "1")]);
    assert!(engine.needs_flush() && !engine.stalled());
    engine.freeze(Bytes::new);
    write(&engine, 2, "k", &[put("a", "2")]);
    assert!(engine.stalled());
    engine.flush(|_| Ok(())).unwrap();
    assert!(!engine.stalled());
    for seq in 3..=5 {
        flush(&engine).unwrap();
        write(&engine, seq, "k", &[put("a", "3")]);
    }
    assert!(engine.stats().stalled);
    assert!(engine.compact().unwrap());
    assert!(!engine.stalled());
}

#[test]
fn a_row_written_very_often_stays_cheap_to_read() {
    let engine = open(&MemoryDisk::new(), EngineOptions::default());
    for seq in 1..=50_000 {
        write(&engine, seq, "hot", &[put("a", "1"), put("b", "2")]);
    }
    // Twenty thousand reads of all versions would be two thousand million steps.
    for _ in 0..20_000 {
        assert_eq!(engine.get(b"hot", &Columns::All).unwrap().0.version, Lsn::new(1, 50_000));
    }
}
