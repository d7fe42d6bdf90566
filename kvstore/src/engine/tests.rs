//! The engine against a model: whatever is written, flushed, compacted and reopened, it shows what a map would.

use std::collections::BTreeMap;

use proptest::prelude::*;
use wal::disk::MemoryDisk;

use super::*;
use crate::request::Cell;

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
        4 => (column(), "[a-z]{0,40}")
            .prop_map(|(column, value)| Mutation::Put { column, value: value.into() }),
        1 => column().prop_map(|column| Mutation::Delete { column }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let mutations = (any::<bool>(), prop::collection::vec(mutation(), 0..4)).prop_map(|(delete, rest)| {
        let first = (delete && rest.len() % 2 == 0).then_some(Mutation::DeleteRow);
        first.into_iter().chain(rest).collect()
    });
    prop_oneof![
        12 => (0..12u8, mutations).prop_map(|(row, mutations)| Step::Write(row, mutations)),
        2 => Just(Step::Flush),
        1 => Just(Step::Compact),
        1 => Just(Step::Reopen),
    ]
}

type Model = BTreeMap<Bytes, BTreeMap<Bytes, (Bytes, Lsn)>>;

fn apply(model: &mut Model, lsn: Lsn, key: &Bytes, mutations: &[Mutation]) {
    let row = model.entry(key.clone()).or_default();
    for mutation in mutations {
        match mutation {
            Mutation::Put { column, value } => {
                row.insert(column.clone(), (value.clone(), lsn));
            }
            Mutation::Delete { column } => {
                row.remove(column);
            }
            Mutation::DeleteRow => row.clear(),
        }
    }
}

fn rows(model: &Model) -> Vec<Row> {
    let rows = model.iter().filter(|(_, cells)| !cells.is_empty()).map(|(key, cells)| {
        let cells = cells.iter().map(|(column, (value, version))| Cell {
            column: column.clone(),
            value: value.clone(),
            version: *version,
        });
        Row { key: key.clone(), cells: cells.collect() }
    });
    rows.collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn shows_what_a_map_would(steps in prop::collection::vec(step(), 0..60)) {
        let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
        let cache = Arc::new(BlockCache::new(1 << 20));
        let options = EngineOptions { memtable_bytes: 1 << 20, level0_tables: 2, table_bytes: 256 };
        let open = || Engine::open(disk.clone(), "r-1", options, cache.clone()).unwrap();
        let (mut engine, _) = open();
        // What the tables hold, and the writes behind, as the log would give them back.
        let (mut model, mut log) = (Model::new(), Vec::new());
        let mut seq = 0;
        for step in steps {
            match step {
                Step::Write(row, mutations) => {
                    seq += 1;
                    let (lsn, key) = (Lsn::new(1, seq), Bytes::from(format!("row{row:02}")));
                    engine.apply(lsn, ChainHash(seq), &key, &mutations);
                    apply(&mut model, lsn, &key, &mutations);
                    log.push((lsn, key, mutations));
                }
                Step::Flush => {
                    engine.freeze();
                    let durable = engine.flush(Bytes::from(seq.to_string())).unwrap();
                    prop_assert_eq!((durable.base.seq, durable.base_chain), (seq, ChainHash(seq)));
                    log.clear();
                }
                Step::Compact => {
                    engine.compact().unwrap();
                }
                Step::Reopen => {
                    let sum = engine.checksum().unwrap();
                    let (reopened, durable) = open();
                    prop_assert_eq!(durable.base, log.first().map_or(durable.base, |(lsn, ..)| {
                        if lsn.seq == 1 { Lsn::ZERO } else { Lsn::new(1, lsn.seq - 1) }
                    }));
                    engine = reopened;
                    for (lsn, key, mutations) in &log {
                        engine.apply(*lsn, ChainHash(lsn.seq), key, mutations);
                    }
                    prop_assert_eq!(engine.checksum().unwrap(), sum);
                }
            }
        }
        let expected = rows(&model);
        let scan = |reverse| {
            engine.scan(b"", None, reverse, &Columns::All).unwrap().map(Result::unwrap).collect::<Vec<Row>>()
        };
        prop_assert_eq!(scan(false), expected.clone());
        prop_assert_eq!(scan(true), expected.iter().rev().cloned().collect::<Vec<_>>());
        let part: Vec<Row> = engine
            .scan(b"row03", Some(b"row07"), true, &Columns::All)
            .unwrap()
            .map(Result::unwrap)
            .collect();
        let inside = |row: &&Row| row.key >= "row03" && row.key < "row07";
        prop_assert_eq!(part, expected.iter().rev().filter(inside).cloned().collect::<Vec<_>>());
        for number in 0..12 {
            let key = Bytes::from(format!("row{number:02}"));
            let found = engine.get(&key, &Columns::All).unwrap().0;
            let row = expected.iter().find(|row| row.key == key);
            prop_assert_eq!(found, row.cloned().unwrap_or(Row { key, cells: Vec::new() }));
        }
    }
}

#[test]
fn a_scan_is_not_disturbed_by_what_comes_later() {
    let cache = Arc::new(BlockCache::new(1 << 20));
    let options = EngineOptions { level0_tables: 1, ..EngineOptions::default() };
    let (engine, _) = Engine::open(Arc::new(MemoryDisk::new()), "r-1", options, cache).unwrap();
    let put = |value: &str| vec![Mutation::Put { column: "c".into(), value: value.to_owned().into() }];
    let keys: Vec<Bytes> = (0..100).map(|number| Bytes::from(format!("k{number:03}"))).collect();
    for (seq, key) in keys.iter().enumerate() {
        engine.apply(Lsn::new(1, seq as u64 + 1), ChainHash(0), key, &put("old"));
    }
    let mut scan = engine.scan(b"", None, false, &Columns::All).unwrap();
    assert_eq!(scan.next().unwrap().unwrap().cells[0].value, "old");
    for (seq, key) in keys.iter().enumerate() {
        engine.apply(Lsn::new(1, seq as u64 + 101), ChainHash(0), key, &put("new"));
    }
    engine.freeze();
    engine.flush(Bytes::new()).unwrap();
    assert!(engine.compact().unwrap());
    assert!(scan.map(Result::unwrap).all(|row| row.cells[0].value == "old"));
    assert_eq!(engine.get(b"k050", &Columns::All).unwrap().0.cells[0].value, "new");
}

#[test]
fn a_flipped_bit_is_an_error_and_never_a_value() {
    let disk = MemoryDisk::new();
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let open = || {
        let cache = Arc::new(BlockCache::new(1 << 20));
        Engine::open(shared.clone(), "r-1", EngineOptions::default(), cache)
    };
    let (engine, _) = open().unwrap();
    let put = vec![Mutation::Put { column: "c".into(), value: "value".into() }];
    engine.apply(Lsn::new(1, 1), ChainHash(0), &"k".into(), &put);
    engine.freeze();
    engine.flush(Bytes::new()).unwrap();
    let name = "r-1/000001.sst";
    let bits = shared.open(name).unwrap().len().unwrap() * 8;
    for bit in 0..bits {
        disk.flip(name, bit).unwrap();
        if let Ok((engine, _)) = open() {
            match engine.get(b"k", &Columns::All) {
                Err(_) => {}
                Ok((row, _)) => panic!("bit {bit} went unnoticed: {row:?}"),
            }
        }
        disk.flip(name, bit).unwrap();
    }
}
