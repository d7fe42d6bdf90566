//! A snapshot makes the receiver what the sender's tables were: no deleted cell rises again, a crash leaves old or new.

use proptest::prelude::*;
use wal::disk::Faults;

use super::*;
use crate::engine::snapshot::{Extent, Receipt, SnapshotHead};

/// Sends what `from` has in tables to `to`, whose own tables reach up to `tables`, in chunks of about so many bytes.
fn ship(from: &Engine, to: &Engine, tables: Lsn, bytes: usize) -> Result<FlushedState, EngineError> {
    let mut snapshot = from.snapshot(tables).unwrap();
    let head = SnapshotHead::decode(snapshot.head().encode()).expect("own encoding");
    let mut receipt: Receipt = to.receive(head);
    while let Some(chunk) = snapshot.chunk(bytes)? {
        if let Err(error) = to.receive_chunk(&mut receipt, chunk) {
            to.refuse(receipt);
            return Err(error);
        }
    }
    to.install_snapshot(receipt, || ()).map(|(flushed_state, ())| flushed_state)
}

#[test]
fn a_deletion_that_is_gone_takes_a_whole_snapshot() {
    // [no-resurrection]: put k@50, delete k@90; the sender has compacted both away, the receiver still holds the put.
    let (sender, receiver) = (open(&MemoryDisk::new(), SMALL), open(&MemoryDisk::new(), SMALL));
    for engine in [&sender, &receiver] {
        write(engine, 50, "k", &[put("a", "old")]);
        write(engine, 60, "other", &[put("a", "kept")]);
        flush(engine).unwrap();
    }
    write(&sender, 90, "k", &[Mutation::DeleteRow]);
    write(&sender, 100, "z", &[put("a", "new")]);
    flush(&sender).unwrap();
    while sender.compact().unwrap() {}
    assert_eq!(sender.gc_lsn(), Lsn::new(1, 90));

    let tables = receiver.flushed();
    assert_eq!(
        sender.snapshot(tables).unwrap().head().extent,
        Extent::Whole,
        "nothing less than a whole snapshot will do"
    );
    ship(&sender, &receiver, tables, 10).unwrap();
    assert_eq!(show(&receiver, "k"), "");
    assert_eq!(scan(&receiver).unwrap(), scan(&sender).unwrap());
    assert_eq!(receiver.gc_lsn(), Lsn::new(1, 90));
}

/// However large a row is, a part of a snapshot fits into a message.
#[test]
fn a_very_large_row_is_shipped_in_pieces() {
    let (sender, receiver) = (open(&MemoryDisk::new(), SMALL), open(&MemoryDisk::new(), SMALL));
    write(&sender, 1, "before", &[put("a", "1")]);
    for seq in 2..14 {
        write(&sender, seq, "large", &[put(&format!("c{seq:02}"), &"x".repeat(1 << 20))]);
    }
    write(&sender, 14, "large", &[Mutation::Delete { column: "c07".into() }]);
    write(&sender, 15, "z", &[put("a", "1")]);
    flush(&sender).unwrap();
    let mut snapshot = sender.snapshot(Lsn::ZERO).unwrap();
    let mut receipt = receiver.receive(snapshot.head().clone());
    let mut parts = Vec::new();
    while let Some(part) = snapshot.chunk(256 << 10).unwrap() {
        assert!(part.len() < 6 << 20, "{}", part.len());
        parts.push(part);
    }
    assert_eq!(parts.len(), 5);
    for part in &parts {
        receiver.receive_chunk(&mut receipt, part.clone()).unwrap();
    }
    // A piece once more is none that follows.
    let mut again = receiver.receive(snapshot.head().clone());
    receiver.receive_chunk(&mut again, parts[0].clone()).unwrap();
    assert!(receiver.receive_chunk(&mut again, parts[0].clone()).is_err());
    receiver.install_snapshot(receipt, || ()).unwrap();
    assert_eq!(receiver.checksum().unwrap(), sender.checksum().unwrap());
}

#[test]
fn a_partial_snapshot_has_new_cells_only_and_hides_old_ones() {
    let (sender, receiver) = (open(&MemoryDisk::new(), SMALL), open(&MemoryDisk::new(), SMALL));
    for engine in [&sender, &receiver] {
        write(engine, 1, "k", &[put("a", "old"), put("b", "stays")]);
        write(engine, 2, "gone", &[put("a", "x")]);
        flush(engine).unwrap();
    }
    write(&sender, 3, "k", &[put("a", "new")]);
    write(&sender, 4, "gone", &[Mutation::DeleteRow]);
    flush(&sender).unwrap();
    // What the receiver holds in memory only is in the snapshot, too.
    write(&receiver, 3, "k", &[put("a", "new")]);
    let tables = receiver.flushed();
    assert_eq!(sender.snapshot(tables).unwrap().head().extent, Extent::Above(tables));
    let flushed_state = ship(&sender, &receiver, tables, 10).unwrap();
    assert_eq!((flushed_state.lsn, flushed_state.snapshot), (Lsn::new(1, 4), Lsn::new(1, 4)));
    assert_eq!(show(&receiver, "k"), "a=new@3 b=stays@1");
    assert_eq!(show(&receiver, "gone"), "");
    assert_eq!(receiver.applied(), Lsn::new(1, 4));
}

#[test]
fn a_snapshot_older_than_what_is_applied_changes_nothing() {
    let (sender, disk) = (open(&MemoryDisk::new(), SMALL), MemoryDisk::new());
    write(&sender, 1, "k", &[put("a", "1")]);
    flush(&sender).unwrap();
    let receiver = open(&disk, SMALL);
    write(&receiver, 1, "k", &[put("a", "1")]);
    write(&receiver, 2, "k", &[put("a", "2")]);
    assert!(ship(&sender, &receiver, Lsn::ZERO, 100).is_err());
    assert_eq!(show(&receiver, "k"), "a=2@2");
    assert_eq!(Disk::list(&disk, DIR).unwrap(), ["manifest"], "no file stays behind");
}

#[test]
fn a_crash_at_any_step_leaves_the_old_state_or_the_new_one() {
    let sender = open(&MemoryDisk::new(), SMALL);
    for seq in 1..=30 {
        write(&sender, seq, &format!("key{}", seq % 11), &[put("a", &"x".repeat(40)), put("b", "y")]);
    }
    flush(&sender).unwrap();
    let new = scan(&sender).unwrap();
    let begin = |disk: &MemoryDisk| {
        let receiver = open(disk, SMALL);
        write(&receiver, 1, "old", &[put("a", "old")]);
        flush(&receiver).unwrap();
        receiver
    };
    let whole = MemoryDisk::new();
    let receiver = begin(&whole);
    let (old, first) = (scan(&receiver).unwrap(), whole.operations());
    ship(&sender, &receiver, Lsn::ZERO, 64).unwrap();
    let (mut olds, mut news) = (0, 0);
    for stop in first..whole.operations() {
        for seed in 0..4 {
            let disk = MemoryDisk::new();
            let receiver = begin(&disk);
            disk.set_faults(Faults { stop_after: Some(stop), ..Faults::default() });
            let shipped = ship(&sender, &receiver, Lsn::ZERO, 64);
            let left = disk.crash(seed);
            let (after, flushed_state) = try_open(&left, SMALL).unwrap();
            let rows = scan(&after).unwrap();
            if rows == new {
                assert_eq!(flushed_state.snapshot, Lsn::new(1, 30));
                news += 1;
            } else {
                assert!(shipped.is_err() && rows == old, "stopped after {stop}: {rows:?}");
                assert_eq!((flushed_state.lsn, flushed_state.snapshot), (Lsn::new(1, 1), Lsn::ZERO));
                olds += 1;
            }
        }
    }
    assert!(olds > 10 && news > 0, "{olds} {news}");
}

#[test]
fn a_crash_while_all_is_thrown_away_leaves_all_or_nothing() {
    let begin = |disk: &MemoryDisk| {
        let engine = open(disk, SMALL);
        for seq in 1..=9 {
            write(&engine, seq, &format!("key{seq}"), &[put("a", "x")]);
            if seq % 3 == 0 {
                flush(&engine).unwrap();
            }
        }
        write(&engine, 10, "key1", &[put("a", "in memory")]);
        engine
    };
    let whole = MemoryDisk::new();
    let engine = begin(&whole);
    let first = whole.operations();
    engine.wipe(|| ()).unwrap();
    assert_eq!((scan(&engine).unwrap().len(), engine.applied(), engine.flushed()), (0, Lsn::ZERO, Lsn::ZERO));
    // It takes up from the first write again.
    write(&engine, 1, "key1", &[put("a", "again")]);
    flush(&engine).unwrap();
    assert_eq!(show(&engine, "key1"), "a=again@1");
    let (mut all, mut nothing) = (0, 0);
    for stop in first..first + 12 {
        for seed in 0..4 {
            let disk = MemoryDisk::new();
            let engine = begin(&disk);
            disk.set_faults(Faults { stop_after: Some(stop), ..Faults::default() });
            let cleared = engine.wipe(|| ());
            let (after, flushed_state) = try_open(&disk.crash(seed), SMALL).unwrap();
            let rows = scan(&after).unwrap().len();
            match flushed_state.lsn {
                Lsn::ZERO => nothing += 1,
                flushed => {
                    assert!(cleared.is_err() && flushed == Lsn::new(1, 9));
                    all += 1;
                }
            }
            assert_eq!(rows, if flushed_state.lsn == Lsn::ZERO { 0 } else { 9 });
        }
    }
    assert!(all > 4 && nothing > 4, "{all} {nothing}");
}

#[test]
fn a_full_disk_refuses_the_snapshot_and_takes_it_later() {
    let sender = open(&MemoryDisk::new(), SMALL);
    for seq in 1..=20 {
        write(&sender, seq, &format!("key{seq}"), &[put("a", &"x".repeat(100))]);
    }
    flush(&sender).unwrap();
    let disk = MemoryDisk::new();
    let receiver = open(&disk, SMALL);
    let used: u64 = disk.files().iter().map(|(_, length)| length).sum();
    disk.set_capacity(Some(used + 500));
    assert!(ship(&sender, &receiver, Lsn::ZERO, 64).is_err());
    assert!(scan(&receiver).unwrap().is_empty());
    disk.set_capacity(None);
    ship(&sender, &receiver, Lsn::ZERO, 64).unwrap();
    assert_eq!(scan(&receiver).unwrap(), scan(&sender).unwrap());
}

proptest! {
    /// Whatever was written, flushed and compacted, and however far the receiver had come: afterwards it is the sender.
    #[test]
    fn the_receiver_becomes_the_sender(
        steps in proptest::collection::vec((0..6u8, 0..5u8), 1..60), behind in 0..60usize, bytes in 1..200usize,
    ) {
        let (sender, receiver) = (open(&MemoryDisk::new(), SMALL), open(&MemoryDisk::new(), SMALL));
        for (number, (kind, key)) in steps.iter().enumerate() {
            let seq = number as u64 + 1;
            let mutations = match kind {
                0 => vec![Mutation::DeleteRow],
                1 => vec![Mutation::Delete { column: "a".into() }],
                2 => vec![Mutation::DeleteRow, put("b", "again")],
                _ => vec![put("a", &format!("{seq}"))],
            };
            write(&sender, seq, &format!("k{key}"), &mutations);
            if number < behind {
                write(&receiver, seq, &format!("k{key}"), &mutations);
                if seq.is_multiple_of(7) {
                    flush(&receiver).unwrap();
                }
            }
            if seq.is_multiple_of(5) {
                flush(&sender).unwrap();
                // What the receiver has applied may be forgotten, and what it has not, too: it went away.
                while sender.compact().unwrap() {}
            }
        }
        flush(&sender).unwrap();
        ship(&sender, &receiver, receiver.flushed(), bytes).unwrap();
        prop_assert_eq!(scan(&receiver).unwrap(), scan(&sender).unwrap());
        prop_assert_eq!(receiver.checksum().unwrap(), sender.checksum().unwrap());
        while receiver.compact().unwrap() {}
        prop_assert_eq!(scan(&receiver).unwrap(), scan(&sender).unwrap());
    }

    #[test]
    fn damaged_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..80), at in 0..1000usize, bit in 0..8u8) {
        let engine = open(&MemoryDisk::new(), SMALL);
        prop_assert_eq!(SnapshotHead::decode(bytes.clone().into()), None);
        let head = SnapshotHead {
            flushed: Lsn::new(1, 9),
            flushed_chain: ChainHash(7),
            extent: Extent::Whole,
            gc_lsn: Lsn::ZERO,
            attachment: bytes.clone().into(),
        };
        let mut encoded = head.encode().to_vec();
        let place = at % encoded.len();
        encoded[place] ^= 1 << bit;
        prop_assert_eq!(SnapshotHead::decode(encoded.into()), None);
        let mut receipt = engine.receive(head);
        prop_assert!(engine.receive_chunk(&mut receipt, bytes.into()).is_err());
        engine.refuse(receipt);
    }
}
