//! Whatever is written, flushed, compacted and reopened, the engine shows what a map would.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Write(u8, Vec<Mutation>),
    Flush,
    Compact,
    Reopen,
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let column = || (0..3u8).prop_map(|column| Bytes::from(format!("c{column}")));
    prop_oneof![
        8 => (column(), "[a-z]{0,40}").prop_map(|(column, value)| Mutation::Put { column, value: value.into() }),
        2 => column().prop_map(|column| Mutation::Delete { column }),
        1 => Just(Mutation::DeleteRow),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let mutations = prop::collection::vec(mutation(), 0..4);
    prop_oneof![
        16 => (0..12u8, mutations).prop_map(|(row, mutations)| Step::Write(row, mutations)),
        4 => Just(Step::Flush),
        3 => Just(Step::Compact),
        1 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn shows_what_a_map_would(steps in prop::collection::vec(step(), 0..100)) {
        let disk = MemoryDisk::new();
        let mut engine = open(&disk, SMALL);
        // What was written, and what of it is not in tables, as the log would give it back.
        let (mut model, mut log) = (Model::default(), Vec::new());
        let (mut seq, mut flushed) = (0, Lsn::ZERO);
        for step in steps {
            match step {
                Step::Write(row, mutations) => {
                    seq += 1;
                    let (lsn, key) = (Lsn::new(1, seq), Bytes::from(format!("row{row:02}")));
                    engine.apply(lsn, ChainHash(seq), &key, &mutations);
                    model.apply(lsn, &key, &mutations);
                    log.push((lsn, key, mutations));
                }
                Step::Flush => {
                    let flushed_state = flush(&engine).unwrap();
                    prop_assert_eq!((flushed_state.lsn.seq, flushed_state.chain), (seq, ChainHash(seq)));
                    flushed = flushed_state.lsn;
                    log.clear();
                }
                Step::Compact => {
                    let due = engine.needs_compaction();
                    prop_assert_eq!(engine.compact().unwrap(), due);
                }
                Step::Reopen => {
                    let sum = engine.checksum().unwrap();
                    let flushed_state;
                    (engine, flushed_state) = try_open(&disk, SMALL).unwrap();
                    prop_assert_eq!(flushed_state.lsn, flushed);
                    for (lsn, key, mutations) in &log {
                        engine.apply(*lsn, ChainHash(lsn.seq), key, mutations);
                    }
                    prop_assert_eq!(engine.checksum().unwrap(), sum);
                }
            }
        }
        let expected = model.rows();
        prop_assert_eq!(scan(&engine).unwrap(), expected.clone());
        for (start, end) in [("", None), ("row03", Some("row07")), ("row05", None), ("row04x", Some("row04y"))] {
            let inside =
                |row: &&Row| row.key >= start && end.is_none_or(|end| row.key < end);
            let mut part: Vec<Row> = expected.iter().filter(inside).cloned().collect();
            for reverse in [false, true] {
                let end = end.map(str::as_bytes);
                let found = engine.scan(start.as_bytes(), end, reverse, &Columns::All).unwrap();
                prop_assert_eq!(found.map(Result::unwrap).collect::<Vec<_>>(), part.clone());
                part.reverse();
            }
        }
        for number in 0..12 {
            let key = Bytes::from(format!("row{number:02}"));
            let absent = Row { key: key.clone(), cells: Vec::new(), version: engine.applied() };
            let mut row = expected.iter().find(|row| row.key == key).cloned().unwrap_or(absent);
            prop_assert_eq!(&engine.get(&key, &Columns::All).unwrap().0, &row);
            row.cells.retain(|cell| cell.column == "c1");
            prop_assert_eq!(engine.get(&key, &Columns::Some(vec!["c1".into()])).unwrap().0, row);
        }
    }
}

#[test]
fn replicas_with_other_tables_have_the_same_checksum() {
    let engines: Vec<Engine> = (0..3).map(|_| open(&MemoryDisk::new(), SMALL)).collect();
    for (number, engine) in engines.iter().enumerate() {
        for seq in 1..=60 {
            let key = format!("k{}", seq * 7 % 20);
            let mutations =
                if seq % 5 == 0 { vec![Mutation::DeleteRow] } else { vec![put("c", &seq.to_string())] };
            write(engine, seq, &key, &mutations);
            if number > 0 && (seq as usize).is_multiple_of(number + 2) {
                flush(engine).unwrap();
                engine.compact().unwrap();
            }
        }
    }
    let sums: Vec<_> = engines.iter().map(|engine| engine.checksum().unwrap()).collect();
    assert!(sums.iter().all(|sum| *sum == sums[0]), "{sums:?}");
    write(&engines[0], 61, "k1", &[put("c", "other")]);
    assert_ne!(engines[0].checksum().unwrap().1, sums[0].1);
}

#[test]
fn the_checksum_of_cells_is_the_same_in_every_release() {
    let engine = open(&MemoryDisk::new(), SMALL);
    write(&engine, 1, "k", &[put("c", "v"), put("d", "w")]);
    write(&engine, 2, "l", &[put("c", "x")]);
    let before = engine.checksum().unwrap().1;
    // What a release before this one shows of the same rows.
    assert_eq!(before.cells, 2_316_519_375_579_219_194);
    // A deletion of what is not there changes no cell, but the row's version.
    write(&engine, 3, "l", &[Mutation::Delete { column: "e".into() }]);
    let after = engine.checksum().unwrap().1;
    assert_eq!(after.cells, before.cells);
    assert_ne!(after.rows, before.rows);
}

#[test]
fn rows_over_many_blocks_and_tables_are_found_both_ways() {
    let options = EngineOptions { level0_tables: 1, table_bytes: 40 << 10, ..EngineOptions::default() };
    let disk = MemoryDisk::new();
    let engine = open(&disk, options);
    let mut model = Model::default();
    for seq in 1..=3000 {
        // Only even keys, so that every odd one lies between two rows.
        let key = Bytes::from(format!("{:05}", seq * 2));
        let value: String =
            (0..12).map(|digit| format!("{:04x}", seq * 7919 % 65521 * digit % 65521)).collect();
        engine.apply(Lsn::new(1, seq), ChainHash(seq), &key, &[put("c", &value)]);
        model.apply(Lsn::new(1, seq), &key, &[put("c", &value)]);
    }
    flush(&engine).unwrap();
    assert!(engine.compact().unwrap());
    let expected = model.rows();
    assert!(engine.stats().levels[1] > 2, "{:?}", engine.stats());
    assert_eq!(engine.stats().rows, 3000);
    assert_eq!(scan(&engine).unwrap(), expected);
    for number in (0..6010).step_by(3) {
        let key = format!("{number:05}");
        let at = expected.partition_point(|row| row.key < key.as_bytes());
        let mut up = engine.scan(key.as_bytes(), None, false, &Columns::All).unwrap();
        let mut down = engine.scan(b"", Some(key.as_bytes()), true, &Columns::All).unwrap();
        assert_eq!(up.next().map(Result::unwrap).as_ref(), expected.get(at));
        assert_eq!(down.next().map(Result::unwrap).as_ref(), at.checked_sub(1).map(|at| &expected[at]));
        let found = engine.get(key.as_bytes(), &Columns::All).unwrap().0;
        assert_eq!(found.cells.is_empty(), expected.get(at).is_none_or(|row| row.key != key));
    }
}
