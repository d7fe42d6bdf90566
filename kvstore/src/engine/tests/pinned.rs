//! Reads as of an older LSN: while it is kept, and for whoever holds it.

use super::*;
use crate::engine::Pinned;
use crate::operation::RangeScan;

fn all() -> RangeScan {
    RangeScan { start: Bytes::new(), end: None, reverse: false, limit: None, columns: Columns::All }
}

/// Everything as `key=value`, page by page.
fn read(pinned: &Pinned, scan: RangeScan, page_bytes: usize) -> Vec<String> {
    let (mut found, mut left) = (Vec::new(), Some(scan));
    while let Some(scan) = left.take() {
        let mut page = pinned.page(scan, page_bytes);
        while page.advance(3).unwrap() {}
        let (rows, rest) = page.finish();
        left = rest.map(|(_, rest)| rest);
        for row in rows {
            found.push(format!("{}={}", str(&row.key), str(&row.cells[0].value)));
        }
    }
    found
}

fn str(bytes: &Bytes) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn an_older_lsn_is_read_until_it_is_written_out_and_on_by_whoever_holds_it() {
    let engine = open(&MemoryDisk::new(), SMALL);
    for seq in 1..=9 {
        write(&engine, seq, &format!("k{seq}"), &[put("c", "old")]);
    }
    for seq in 10..=18 {
        write(&engine, seq, &format!("k{}", seq - 9), &[put("c", "new")]);
    }
    assert!(engine.pin_at(Lsn::new(1, 19)).unwrap().is_none(), "not applied yet");
    let old = engine.pin_at(Lsn::new(1, 9)).unwrap().expect("in the memtable");
    let expected: Vec<String> = (1..=9).map(|number| format!("k{number}=old")).collect();
    assert_eq!(read(&old, all(), 1), expected);
    engine.freeze(Bytes::new);
    assert!(engine.pin_at(Lsn::new(1, 9)).unwrap().is_some(), "frozen, not written out");
    engine.flush(|_| Ok(())).unwrap();
    assert!(engine.pin_at(Lsn::new(1, 17)).unwrap().is_none(), "the tables hold the newest versions alone");
    assert!(engine.pin_at(Lsn::new(1, 18)).unwrap().is_some());
    assert!(engine.continues(&old).unwrap());
    assert_eq!(read(&old, all(), 100), expected);
    assert_eq!(engine.kept_for(&old).len(), 1, "the memtable is kept for it alone");
    // What is wiped is not read on: the content may have been wrong.
    engine.wipe(|| ()).unwrap();
    for seq in 1..=20 {
        write(&engine, seq, "other", &[put("c", "history")]);
    }
    assert!(!engine.continues(&old).unwrap());
}

#[test]
fn pages_end_by_bytes_and_by_what_was_looked_at_and_leave_nothing_out() {
    let engine = open(&MemoryDisk::new(), SMALL);
    for seq in 1..=600u64 {
        let key = format!("k{:03}", seq % 300);
        match seq <= 300 || seq % 3 == 0 {
            true => write(&engine, seq, &key, &[put("c", &"x".repeat(seq as usize % 50))]),
            false => write(&engine, seq, &key, &[Mutation::DeleteRow]),
        }
        if seq % 170 == 0 {
            flush(&engine).unwrap();
        }
    }
    let pinned = engine.pin().unwrap();
    let whole = read(&pinned, all(), usize::MAX);
    assert_eq!(whole.len(), 100);
    for page_bytes in [0, 1, 130, 1000] {
        assert_eq!(read(&pinned, all(), page_bytes), whole, "{page_bytes}");
        let mut backwards = read(&pinned, RangeScan { reverse: true, ..all() }, page_bytes);
        backwards.reverse();
        assert_eq!(backwards, whole, "{page_bytes}");
        let some = RangeScan { limit: Some(7), start: "k100".into(), end: Some("k200".into()), ..all() };
        assert_eq!(read(&pinned, some, page_bytes), whole[34..41], "{page_bytes}");
    }
    // A page has at most one row more than fits.
    let mut page = pinned.page(all(), 200);
    while page.advance(1000).unwrap() {}
    assert_eq!(page.finish().0.len(), 2);
    let keys: Vec<Bytes> = ["k000", "k003", "nothing", "k006"].map(Bytes::from).to_vec();
    assert_eq!(pinned.get_some(&keys, &Columns::All, usize::MAX).unwrap().len(), 4);
    assert_eq!(pinned.get_some(&keys, &Columns::All, 0).unwrap().len(), 1, "one at least");
}
