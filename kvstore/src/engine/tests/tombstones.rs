//! What deletions hide stays hidden, wherever it lies, until nobody needs them.

use super::*;

fn cells(engine: &Engine) -> u64 {
    engine.stats().cells
}

#[test]
fn a_deletion_hides_what_is_in_older_tables_and_a_put_of_the_same_write_stands() {
    let engine = open(&MemoryDisk::new(), EngineOptions::default());
    write(&engine, 1, "k", &[put("a", "1"), put("b", "1")]);
    flush(&engine).unwrap();
    write(&engine, 2, "k", &[Mutation::Delete { column: "a".into() }]);
    assert_eq!(show(&engine, "k"), "b=1@1");
    flush(&engine).unwrap();
    assert_eq!(show(&engine, "k"), "b=1@1");
    write(&engine, 3, "k", &[Mutation::DeleteRow, put("c", "3")]);
    assert_eq!(show(&engine, "k"), "c=3@3");
    flush(&engine).unwrap();
    assert_eq!(show(&engine, "k"), "c=3@3");
    write(&engine, 4, "k", &[Mutation::DeleteRow]);
    assert_eq!(scan(&engine).unwrap(), Vec::new());
}

/// [row-version-grows]
#[test]
fn a_row_keeps_the_version_that_a_deletion_gave_it() {
    let disk = MemoryDisk::new();
    let mut engine = open(&disk, SMALL);
    let version = |engine: &Engine| {
        let (row, _) = engine.get(b"k", &Columns::All).unwrap();
        let (some, _) = engine.get(b"k", &Columns::Some(vec!["b".into()])).unwrap();
        assert_eq!(some.version, row.version, "whichever columns are asked for");
        row.version.seq
    };
    write(&engine, 1, "k", &[put("a", "1"), put("b", "1")]);
    write(
        &engine,
        2,
        "k",
        &[Mutation::Delete { column: "b".into() }, Mutation::Delete { column: "c".into() }],
    );
    assert_eq!(version(&engine), 2);
    flush(&engine).unwrap();
    write(&engine, 3, "other", &[put("a", "1")]);
    flush(&engine).unwrap();
    assert!(engine.compact().unwrap());
    // The put, one of both deletions, the other row.
    assert_eq!((version(&engine), cells(&engine), engine.gc_lsn()), (2, 3, Lsn::new(1, 2)));
    engine = open(&disk, SMALL);
    assert_eq!(version(&engine), 2);
    write(&engine, 4, "k", &[Mutation::DeleteRow, put("a", "4")]);
    flush(&engine).unwrap();
    write(&engine, 5, "other", &[put("a", "2")]);
    flush(&engine).unwrap();
    assert!(engine.compact().unwrap());
    assert_eq!((version(&engine), cells(&engine)), (4, 2), "no deletion is kept beside a put that is as new");
}

/// [row-version-grows]: what a decision knows of a row that does not exist is never older than its last write.
#[test]
fn a_row_that_is_gone_is_known_to_have_been_touched() {
    let engine = open(&MemoryDisk::new(), SMALL);
    let row = || engine.row_for_decision(&"k".into(), engine.read_tables(b"k").unwrap());
    let touched = || row().unwrap().0.version.seq;
    assert_eq!(touched(), 0);
    write(&engine, 1, "k", &[put("a", "1")]);
    write(&engine, 2, "k", &[Mutation::Delete { column: "a".into() }]);
    write(&engine, 3, "other", &[put("a", "1")]);
    assert_eq!(touched(), 2);
    assert_eq!(engine.get(b"k", &Columns::All).unwrap().0.version.seq, 3, "absent as of the read");
    flush(&engine).unwrap();
    write(&engine, 4, "gone", &[Mutation::DeleteRow]);
    flush(&engine).unwrap();
    assert!(engine.compact().unwrap());
    assert_eq!((cells(&engine), touched()), (1, 4), "which deletion was whose is forgotten");
}

#[test]
fn mutations_of_one_write_count_in_their_order() {
    let engine = open(&MemoryDisk::new(), EngineOptions::default());
    let delete = Mutation::Delete { column: "a".into() };
    write(&engine, 1, "k", &[put("a", "1"), Mutation::DeleteRow, put("b", "1"), put("b", "2")]);
    assert_eq!(show(&engine, "k"), "b=2@1");
    write(&engine, 2, "k", &[put("a", "1"), delete.clone()]);
    assert_eq!(show(&engine, "k"), "b=2@1");
    write(&engine, 3, "k", &[delete, put("a", "1")]);
    assert_eq!(show(&engine, "k"), "a=1@3 b=2@1");
}

#[test]
fn deletions_go_at_the_bottom_and_it_is_known_which() {
    let disk = MemoryDisk::new();
    let engine = open(&disk, SMALL);
    write(&engine, 1, "k1", &[put("a", "1")]);
    write(&engine, 2, "k2", &[put("a", "1")]);
    flush(&engine).unwrap();
    write(&engine, 3, "k1", &[Mutation::DeleteRow]);
    write(&engine, 4, "k2", &[Mutation::Delete { column: "a".into() }]);
    flush(&engine).unwrap();
    assert!(engine.compact().unwrap());
    assert_eq!((cells(&engine), engine.gc_lsn()), (0, Lsn::new(1, 4)));
    assert_eq!(open(&disk, SMALL).gc_lsn(), Lsn::new(1, 4));
    assert_eq!(scan(&engine).unwrap(), Vec::new());
}

/// A queue: a row comes at the end, one goes at the beginning, beside a row that was there before all. What is kept does
/// not grow, on any replica: nobody is asked what members have.
#[test]
fn a_queue_does_not_grow() {
    // One table, deep down, holds a key below and one above those of the queue.
    let disk = MemoryDisk::new();
    let sinking = open(&disk, EngineOptions { level0_tables: 1, level1_bytes: 1, ..SMALL });
    write(&sinking, 1, "a", &[put("a", "1")]);
    write(&sinking, 2, "z", &[put("a", "1")]);
    flush(&sinking).unwrap();
    while sinking.compact().unwrap() {}
    assert_eq!((sinking.stats().tables, sinking.stats().levels[1]), (1, 0));
    let engine = open(&disk, EngineOptions { level0_tables: 1, level1_bytes: 1 << 20, ..SMALL });
    let mut most = 0;
    for number in 0..2000u64 {
        write(&engine, 10 + number * 2, &format!("q{number:06}"), &[put("a", "1")]);
        if let Some(oldest) = number.checked_sub(3) {
            let cell = Mutation::Delete { column: "a".into() };
            let how = if number % 2 == 0 { Mutation::DeleteRow } else { cell };
            write(&engine, 11 + number * 2, &format!("q{oldest:06}"), &[how]);
        }
        if number % 50 == 49 {
            flush(&engine).unwrap();
            while engine.compact().unwrap() {}
            most = most.max(cells(&engine));
        }
    }
    assert_eq!(scan(&engine).unwrap().len(), 5);
    // Two and three rows, and what the last flush brought.
    assert!(most <= 110, "{most}");
}

#[test]
fn a_deletion_stays_while_a_deeper_level_may_hold_its_row() {
    // Level 1 holds next to nothing, so everything sinks.
    let options = EngineOptions { level0_tables: 1, level1_bytes: 1, ..SMALL };
    let engine = open(&MemoryDisk::new(), options);
    write(&engine, 1, "k", &[put("a", "1")]);
    flush(&engine).unwrap();
    while engine.stats().levels[2] == 0 {
        assert!(engine.compact().unwrap());
    }
    write(&engine, 2, "k", &[Mutation::DeleteRow]);
    flush(&engine).unwrap();
    // Into level 1, above the put.
    assert!(engine.compact().unwrap());
    assert_eq!((engine.stats().levels[1], cells(&engine)), (1, 2));
    assert_eq!(scan(&engine).unwrap(), Vec::new());
    // Into level 2, onto it: both go, and no empty table remains.
    while engine.compact().unwrap() {}
    assert_eq!((engine.stats().tables, engine.gc_lsn()), (0, Lsn::new(1, 2)));
    assert_eq!(scan(&engine).unwrap(), Vec::new());
}
