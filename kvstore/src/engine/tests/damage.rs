//! A flipped bit, a cut or a swapped block is an error with the file's name, never a wrong value and never a panic.

use super::*;

/// A disk with one table of a few rows.
fn one_table() -> (MemoryDisk, String) {
    let disk = MemoryDisk::new();
    let engine = open(&disk, SMALL);
    for seq in 1..=5 {
        write(&engine, seq, &format!("key{seq}"), &[put("a", "value"), put("b", "value")]);
    }
    flush(&engine).unwrap();
    (disk, file_name(DIR, 1))
}

fn bits(disk: &MemoryDisk, file: &str) -> u64 {
    Disk::open(disk, file).unwrap().len().unwrap() * 8
}

fn names_file(error: &EngineError, name: &str) -> bool {
    matches!(error, EngineError::Corrupt { file, .. } if file == name)
}

#[test]
fn a_flipped_bit_in_a_table() {
    let (disk, file) = one_table();
    for bit in 0..bits(&disk, &file) {
        disk.flip(&file, bit).unwrap();
        match try_open(&disk, SMALL) {
            Err(error) => assert!(names_file(&error, &file), "bit {bit}: {error}"),
            Ok((engine, _)) => {
                let error = scan(&engine).expect_err("noticed");
                assert!(names_file(&error, &file), "bit {bit}: {error}");
                assert!(engine.get(b"key3", &Columns::All).is_err());
                assert!(engine.checksum().is_err());
            }
        }
        disk.flip(&file, bit).unwrap();
    }
}

#[test]
fn a_cut_table() {
    let (disk, file) = one_table();
    let length = bits(&disk, &file) / 8;
    for length in (0..length).rev() {
        Disk::open(&disk, &file).unwrap().set_len(length).unwrap();
        let engine = open(&disk, SMALL);
        assert!(engine.damaged(), "{length} bytes");
        let error = scan(&engine).expect_err("noticed");
        assert!(names_file(&error, &file) || length == 0, "{length} bytes: {error}");
    }
}

#[test]
fn a_flipped_bit_in_the_manifest() {
    let (disk, _) = one_table();
    let file = "r-1/manifest";
    for bit in 0..bits(&disk, file) {
        disk.flip(file, bit).unwrap();
        let error = try_open(&disk, SMALL).err().expect("noticed");
        assert!(names_file(&error, file), "bit {bit}: {error}");
        disk.flip(file, bit).unwrap();
    }
    // None of the attempts took the table for a leftover.
    assert_eq!(scan(&open(&disk, SMALL)).unwrap().len(), 5);
}

#[test]
fn a_cut_manifest() {
    let (disk, _) = one_table();
    let file = "r-1/manifest";
    for length in (0..bits(&disk, file) / 8).rev() {
        Disk::open(&disk, file).unwrap().set_len(length).unwrap();
        let error = try_open(&disk, SMALL).err().expect("noticed");
        assert!(names_file(&error, file), "{length} bytes: {error}");
    }
}

#[test]
fn a_sound_block_in_the_wrong_place() {
    let disk = MemoryDisk::new();
    let engine = open(&disk, EngineOptions::default());
    // Values that do not compress, all of one length: so have blocks.
    for seq in 1..=2000u64 {
        let value: String = (0..8)
            .map(|part| format!("{:016x}", xxhash_rust::xxh3::xxh3_64_with_seed(b"", seq * 8 + part)))
            .collect();
        write(&engine, seq, &format!("{seq:08}"), &[put("a", &value)]);
    }
    flush(&engine).unwrap();
    let name = file_name(DIR, 1);
    let table = Table::open(&disk, DIR, 1, Arc::new(BlockCache::new(0)), Arc::default()).unwrap();
    let places = table.places();
    assert!(places.len() > 3);
    let file = Disk::open(&disk, &name).unwrap();
    // The second block is written where the first one of the same length belongs.
    let (from, to) = (1..places.len())
        .flat_map(|b| (0..b).map(move |a| (a, b)))
        .find(|(a, b)| places[*a].1 == places[*b].1)
        .expect("two blocks of one length");
    let mut block = vec![0; places[from].1 as usize];
    file.read_exact_at(&mut block, places[from].0).unwrap();
    file.write_all_at(&block, places[to].0).unwrap();
    let engine = open(&disk, EngineOptions::default());
    let error = scan(&engine).expect_err("noticed");
    assert!(names_file(&error, &name), "{error}");
}

#[test]
fn a_scan_ends_at_an_error() {
    let (disk, file) = one_table();
    let engine = open(&disk, SMALL);
    disk.flip(&file, 100).unwrap();
    write(&engine, 6, "key9", &[put("a", "1")]);
    let mut rows = engine.scan(b"", None, false, &Columns::All).unwrap();
    assert!(rows.next().unwrap().is_err());
    // The row in memory is sound, but without those before it the answer would look whole.
    assert!(rows.next().is_none());
}

#[test]
fn a_compaction_of_a_damaged_table_fails_and_takes_nothing_away() {
    let (disk, file) = one_table();
    let engine = open(&disk, SMALL);
    write(&engine, 6, "key9", &[put("a", "1")]);
    flush(&engine).unwrap();
    disk.flip(&file, 100).unwrap();
    assert!(names_file(&engine.compact().unwrap_err(), &file));
    assert_eq!(disk.list(DIR).unwrap(), ["000001.sst", "000002.sst", "manifest"]);
    assert!(engine.damaged());
    assert!(engine.flush(|_| Ok(())).is_err());
    disk.flip(&file, 100).unwrap();
    let engine = open(&disk, SMALL);
    assert!(engine.compact().unwrap());
    assert_eq!(scan(&engine).unwrap().len(), 6);
}

#[test]
fn the_scrub_finds_every_flipped_bit_of_a_block() {
    let (disk, file) = one_table();
    let table = Table::open(&disk, DIR, 1, Arc::new(BlockCache::new(0)), Arc::default()).unwrap();
    for (offset, len) in table.places() {
        for bit in offset * 8..(offset + len) * 8 {
            let engine = open(&disk, SMALL);
            // What is in the cache does not hide it.
            assert_eq!(scan(&engine).unwrap().len(), 5);
            assert!(engine.scrub(1) > 0 && !engine.damaged());
            disk.flip(&file, bit).unwrap();
            while engine.scrub(u64::MAX) > 0 {}
            engine.scrub(u64::MAX);
            assert!(engine.damaged(), "bit {bit}");
            disk.flip(&file, bit).unwrap();
        }
    }
}

#[test]
fn a_whole_snapshot_repairs_damaged_tables_under_what_is_applied() {
    let (source_disk, source) = (MemoryDisk::new(), 7);
    let other = open(&source_disk, SMALL);
    for seq in 1..=source {
        write(&other, seq, &format!("key{seq}"), &[put("a", "value"), put("b", "value")]);
    }
    flush(&other).unwrap();
    for (cut, restart) in [(false, false), (false, true), (true, true)] {
        let (disk, file) = one_table();
        let engine = open(&disk, SMALL);
        match cut {
            true => Disk::open(&disk, &file).unwrap().set_len(50).unwrap(),
            false => disk.flip(&file, 100).unwrap(),
        }
        let engine = if restart { open(&disk, SMALL) } else { engine };
        // Applied behind the tables: partly in the snapshot, partly not.
        for seq in 6..=9 {
            write(&engine, seq, &format!("key{seq}"), &[put("a", "value"), put("b", "value")]);
        }
        assert!(scan(&engine).is_err() && engine.damaged());
        let mut snapshot = other.snapshot(Lsn::ZERO).unwrap();
        let mut receipt = engine.receive(snapshot.head().clone());
        while let Some(chunk) = snapshot.chunk(64).unwrap() {
            engine.receive_chunk(&mut receipt, chunk).unwrap();
        }
        let (flushed_state, ()) = engine.install_snapshot(receipt, || ()).unwrap();
        assert_eq!((flushed_state.lsn.seq, engine.applied().seq), (source, 9));
        assert!(!engine.damaged());
        assert_eq!(scan(&engine).unwrap().len(), 9);
        flush(&engine).unwrap();
        let again = open(&disk, SMALL);
        assert_eq!(scan(&again).unwrap().len(), 9);
        assert!(!again.damaged());
    }
}

#[test]
fn an_older_snapshot_than_the_damaged_tables_is_refused() {
    let other = open(&MemoryDisk::new(), SMALL);
    write(&other, 1, "key1", &[put("a", "value")]);
    flush(&other).unwrap();
    let (disk, file) = one_table();
    disk.flip(&file, 100).unwrap();
    let engine = open(&disk, SMALL);
    assert!(scan(&engine).is_err());
    let mut snapshot = other.snapshot(Lsn::ZERO).unwrap();
    let mut receipt = engine.receive(snapshot.head().clone());
    while let Some(chunk) = snapshot.chunk(64).unwrap() {
        engine.receive_chunk(&mut receipt, chunk).unwrap();
    }
    assert!(engine.install_snapshot(receipt, || ()).is_err() && engine.damaged());
}
