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
fn a_deletion_goes_only_up_to_the_floor() {
    let disk = MemoryDisk::new();
    let engine = open(&disk, SMALL);
    write(&engine, 1, "k1", &[put("a", "1")]);
    write(&engine, 2, "k2", &[put("a", "1")]);
    flush(&engine).unwrap();
    write(&engine, 3, "k1", &[Mutation::DeleteRow]);
    write(&engine, 4, "k2", &[Mutation::Delete { column: "a".into() }]);
    flush(&engine).unwrap();
    // Nobody vouches for anything: both stay, and what they hide goes.
    assert!(engine.compact(Lsn::ZERO).unwrap());
    assert_eq!((cells(&engine), engine.gc_lsn()), (2, Lsn::ZERO));
    // Two more tables make the next one due.
    for seq in 5..=6 {
        write(&engine, seq, "k3", &[put("a", "1")]);
        write(&engine, seq, "k0", &[put("a", "1")]);
        flush(&engine).unwrap();
    }
    assert!(engine.compact(Lsn::new(1, 3)).unwrap());
    assert_eq!((cells(&engine), engine.gc_lsn()), (3, Lsn::new(1, 3)));
    assert_eq!(open(&disk, SMALL).gc_lsn(), Lsn::new(1, 3));
    assert_eq!(scan(&engine).unwrap().len(), 2);
}

#[test]
fn a_deletion_stays_while_a_deeper_level_may_hold_its_row() {
    // Level 1 holds next to nothing, so everything sinks.
    let options = EngineOptions { level0_tables: 1, level1_bytes: 1, ..SMALL };
    let engine = open(&MemoryDisk::new(), options);
    write(&engine, 1, "k", &[put("a", "1")]);
    flush(&engine).unwrap();
    while engine.stats().levels[2] == 0 {
        assert!(engine.compact(Lsn::new(1, 9)).unwrap());
    }
    write(&engine, 2, "k", &[Mutation::DeleteRow]);
    flush(&engine).unwrap();
    // Into level 1, above the put.
    assert!(engine.compact(Lsn::new(1, 9)).unwrap());
    assert_eq!((engine.stats().levels[1], cells(&engine)), (1, 2));
    assert_eq!(scan(&engine).unwrap(), Vec::new());
    // Into level 2, onto it: both go, and no empty table remains.
    while engine.compact(Lsn::new(1, 9)).unwrap() {}
    assert_eq!((engine.stats().tables, engine.gc_lsn()), (0, Lsn::new(1, 2)));
    assert_eq!(scan(&engine).unwrap(), Vec::new());
}
