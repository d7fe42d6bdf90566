//! Who waits for the disk, and who must not.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::thread;

use wal::ChainHash;
use wal::disk::{Disk, DiskFile, MemoryDisk};

use super::*;
use crate::engine::{BlockCache, EngineOptions};
use crate::request::{Condition, RequestId};

type Look = Box<dyn Fn() + Send + Sync>;

/// What happens at each operation of the disk.
#[derive(Default)]
struct Watch {
    look: OnceLock<Look>,
    operations: AtomicU64,
}

impl Watch {
    fn look(&self) {
        self.operations.fetch_add(1, Ordering::Relaxed);
        if let Some(look) = self.look.get() {
            look();
        }
    }
}

/// A disk that somebody looks at.
struct WatchedDisk(MemoryDisk, Arc<Watch>);

struct WatchedFile(Arc<dyn DiskFile>, Arc<Watch>);

impl Disk for WatchedDisk {
    fn create(&self, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.1.look();
        Ok(Arc::new(WatchedFile(self.0.create(path)?, self.1.clone())))
    }

    fn open(&self, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.1.look();
        Ok(Arc::new(WatchedFile(self.0.open(path)?, self.1.clone())))
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        self.1.look();
        self.0.list(dir)
    }

    fn list_dirs(&self) -> io::Result<Vec<String>> {
        self.1.look();
        self.0.list_dirs()
    }

    fn create_dir(&self, dir: &str) -> io::Result<()> {
        self.1.look();
        self.0.create_dir(dir)
    }

    fn remove_dir(&self, dir: &str) -> io::Result<()> {
        self.1.look();
        self.0.remove_dir(dir)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.1.look();
        self.0.rename(from, to)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.1.look();
        self.0.remove(path)
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        self.1.look();
        self.0.sync_dir(dir)
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.0.free_bytes()
    }
}

impl DiskFile for WatchedFile {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.1.look();
        self.0.read_exact_at(buf, offset)
    }

    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.1.look();
        self.0.write_all_at(buf, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.1.look();
        self.0.sync()
    }

    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.1.look();
        self.0.allocate(len)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.1.look();
        self.0.set_len(len)
    }
}

/// An empty range over a watched disk. Its cache keeps nothing, so each read of a table is one of the disk.
fn range() -> (Arc<RangeStore>, Arc<Watch>) {
    range_of(EngineOptions::default())
}

fn range_of(options: EngineOptions) -> (Arc<RangeStore>, Arc<Watch>) {
    let watch = Arc::new(Watch::default());
    let disk = Arc::new(WatchedDisk(MemoryDisk::new(), watch.clone()));
    let cache = Arc::new(BlockCache::new(0));
    let (engine, flushed) = Engine::open(disk, "r-1", options, cache).unwrap();
    let store = RangeStore::new(CohortId(1), engine, flushed.attachment, WindowLimits::default()).unwrap();
    (Arc::new(store), watch)
}

fn write(seq: u64, key: &str, conditions: Vec<Condition>) -> RangeWrite {
    RangeWrite {
        key: key.to_owned().into(),
        conditions,
        mutations: vec![Mutation::Put { column: "a".into(), value: seq.to_string().into() }],
        request: RequestId { client: 1, sequence: seq },
        known: Lsn::new(1, seq),
        retry: false,
    }
}

/// Decides a write and applies it.
fn put(store: &RangeStore, seq: u64, key: &str) {
    let Decision::Propose { payload, .. } = decide(store, write(seq, key, vec![])) else {
        panic!("the write is not taken");
    };
    apply(store, seq, payload);
}

fn decide(store: &RangeStore, write: RangeWrite) -> Decision<PendingWrite, Refusal> {
    store.decide(store.prepare(write).unwrap())
}

fn apply(store: &RangeStore, seq: u64, payload: Bytes) {
    let (lsn, prev) = (Lsn::new(1, seq), store.applied());
    store.apply(&[Entry { lsn, prev, chain: ChainHash(seq), kind: EntryKind::Write, payload }]);
}

fn flush(store: &RangeStore) {
    store.flush(|_| Ok(())).unwrap();
}

fn parts(from: &RangeStore) -> Vec<SnapshotPart> {
    let mut parts: Vec<SnapshotPart> = Vec::new();
    while !parts.last().is_some_and(|part| part.last) {
        parts.push(from.read_snapshot(NodeId(2), 1, parts.len() as u64, Lsn::ZERO).unwrap());
    }
    parts
}

/// Runs it beside the caller; whether it returned, for it may not have to wait for the caller.
fn returns(work: impl FnOnce() + Send + 'static) -> bool {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        work();
        sender.send(())
    });
    receiver.recv_timeout(Duration::from_secs(10)).is_ok()
}

/// While the disk is at work for flush, compaction and snapshots, writes are decided and applied, and everybody reads on.
#[test]
fn no_lock_of_a_write_is_held_over_the_disk() {
    let (leader, leader_watch) = range();
    let (follower, follower_watch) = range();
    let held = Arc::new(AtomicU64::new(0));
    for (store, watch) in [(&leader, &leader_watch), (&follower, &follower_watch)] {
        let (store, held) = (Arc::downgrade(store), held.clone());
        let look: Look = Box::new(move || {
            let Some(store) = store.upgrade() else { return };
            let returned = returns(move || {
                drop(store.lock());
                store.applied();
                store.damaged();
                store.engine.memtable_bytes();
            });
            held.fetch_add(u64::from(!returned), Ordering::Relaxed);
        });
        assert!(watch.look.set(look).is_ok());
    }
    for seq in 1..=6 {
        put(&leader, seq, &format!("k{seq}"));
        if seq % 2 == 0 {
            flush(&leader);
        }
    }
    leader.engine.compact().unwrap();
    put(&follower, 1, "k1");
    flush(&follower);
    for part in parts(&leader) {
        assert!(!matches!(follower.receive_snapshot(part), Received::Failed(_)));
    }
    assert_eq!(follower.applied().seq, 6);
    put(&follower, 7, "k7");
    follower.freeze();
    follower.wipe().unwrap();
    assert_eq!((follower.applied(), held.load(Ordering::Relaxed)), (Lsn::ZERO, 0));
}

/// A flush waits for the log, and so, perhaps, for the cohort, which may be about to put a snapshot in force.
#[test]
fn a_flush_that_waits_for_the_log_holds_nobody_up() {
    let (leader, _) = range();
    for seq in 1..=3 {
        put(&leader, seq, "k");
    }
    flush(&leader);
    let (follower, _) = range();
    put(&follower, 1, "k");
    let (to, coming) = (follower.clone(), parts(&leader));
    let flushed = follower.flush(|_| {
        let received = returns(move || {
            for part in coming {
                assert!(!matches!(to.receive_snapshot(part), Received::Failed(_)));
            }
        });
        assert!(received, "the snapshot waits for the flush, and the flush for the log");
        Ok(())
    });
    // What was frozen has no place any more above what is in force now.
    assert_eq!(flushed.unwrap().lsn.seq, 3);
    assert_eq!((follower.applied().seq, follower.engine.flushed().seq), (3, 3));
}

/// The decision of a write is made under the lock of its cohort.
#[test]
fn a_decision_does_not_read_the_disk() {
    let (store, watch) = range();
    put(&store, 1, "k");
    flush(&store);
    let absent = || write(9, "k", vec![Condition::RowAbsent]);
    let prepared = store.prepare(absent()).unwrap();
    // It sees what has come since, and the disk need not be asked.
    put(&store, 2, "k");
    let before = watch.operations.load(Ordering::Relaxed);
    let Decision::Refuse { refusal: Refusal::Answered(Ok(answer)), .. } = store.decide(prepared) else {
        panic!("the row is there");
    };
    let Answer::Write(WriteOutcome::ConditionFailed { current, at }) = answer else { panic!("{answer:?}") };
    assert_eq!((current.cells[0].value.as_ref(), at.lsn.seq), (&b"2"[..], 2));
    // Nor when what it was prepared with is not all any more.
    let prepared = store.prepare(absent()).unwrap();
    flush(&store);
    let after_flush = watch.operations.load(Ordering::Relaxed);
    assert!(matches!(store.decide(prepared), Decision::Refuse { refusal: Refusal::Outdated, .. }));
    assert_eq!(watch.operations.load(Ordering::Relaxed), after_flush);
    assert!(before < after_flush);
}

/// A write of one column with a value of so many bytes.
fn column(seq: u64, name: &str, bytes: usize) -> RangeWrite {
    let value = vec![b'x'; bytes].into();
    let mutations = vec![Mutation::Put { column: name.to_owned().into(), value }];
    RangeWrite { mutations, ..write(seq, "k", vec![]) }
}

/// The limit is that of the row, whatever writes it comes from, and also while they are not applied yet.
#[test]
fn a_row_does_not_grow_past_its_limit() {
    let (store, _) = range_of(EngineOptions { row_bytes_max: 1000, ..EngineOptions::default() });
    let too_large = |write: RangeWrite| match decide(&store, write) {
        Decision::Refuse { refusal: Refusal::Answered(Err(KvError::TooLarge { size, .. })), .. } => {
            Some(size)
        }
        Decision::Propose { .. } => None,
        _ => panic!("neither taken nor too large"),
    };
    let take = |seq, write| {
        let Decision::Propose { payload, pending, refused } = decide(&store, write) else {
            panic!("the write is not taken");
        };
        store.pending(LoggedWrite { lsn: Lsn::new(1, seq), refused }, pending);
        payload
    };
    let first = take(1, column(1, "a", 400));
    let second = take(2, column(2, "b", 400));
    assert_eq!(too_large(column(3, "c", 400)), Some(1 + 3 * 401), "they are pending");
    apply(&store, 1, first);
    apply(&store, 2, second);
    assert_eq!(too_large(column(3, "c", 400)), Some(1 + 3 * 401), "they are in memory");
    flush(&store);
    assert_eq!(too_large(column(3, "c", 400)), Some(1 + 3 * 401), "they are in a table");
    assert_eq!(too_large(column(3, "c", 196)), None, "exactly as much as may be");
    assert_eq!(too_large(column(3, "c", 197)), Some(1001));
    assert_eq!(too_large(column(3, "b", 597)), None, "what is replaced does not count");
    let mut makes_room = column(3, "c", 900);
    makes_room.mutations.insert(0, Mutation::DeleteRow);
    assert_eq!(too_large(makes_room), None);
}

/// An earlier attempt may be under way, and find room: that this one found none has to be in the log ([exactly-once]).
#[test]
fn that_a_repeated_write_is_too_large_is_logged() {
    let (store, _) = range_of(EngineOptions { row_bytes_max: 1000, ..EngineOptions::default() });
    let write = RangeWrite { retry: true, ..column(1, "a", 1000) };
    let Decision::Propose { payload, refused: true, .. } = decide(&store, write.clone()) else {
        panic!("the refusal is not logged");
    };
    apply(&store, 1, payload);
    let first = RangeWrite { retry: false, ..write.clone() };
    let Decision::Join(logged) = decide(&store, first) else { panic!("it is done after all") };
    let answer = store.answer(NodeId(1), &write, Ok(Ok(logged)));
    assert_eq!(answer.unwrap_err(), KvError::TooLarge { what: "row", size: 1002, limit: 1000 });
}

/// A row that an older version let grow can be read, made smaller, and written as long as it does not grow.
#[test]
fn a_row_that_is_too_large_may_shrink() {
    let roomy = EngineOptions { row_bytes_max: 5000, ..EngineOptions::default() };
    let disk = Arc::new(MemoryDisk::new());
    let open = |options| {
        let (engine, flushed) =
            Engine::open(disk.clone(), "r-1", options, Arc::new(BlockCache::new(0))).unwrap();
        RangeStore::new(CohortId(1), engine, flushed.attachment, WindowLimits::default()).unwrap()
    };
    let store = open(roomy);
    let Decision::Propose { payload, .. } = decide(&store, column(1, "a", 3000)) else { panic!() };
    apply(&store, 1, payload);
    flush(&store);
    let store = open(EngineOptions { row_bytes_max: 1000, ..roomy });
    for (bytes, taken) in [(3001, false), (3000, true), (2000, true)] {
        let decision = decide(&store, column(2, "a", bytes));
        assert_eq!(matches!(decision, Decision::Propose { refused: false, .. }), taken, "{bytes}");
    }
}

/// [space-can-be-freed]: tables leave the reserve to the log; what throws them away does not need as much as they do.
#[test]
fn a_full_disk_refuses_tables_and_what_frees_space_still_works() {
    let memory = MemoryDisk::new();
    let disk = Arc::new(wal::disk::ReserveDisk::new(Arc::new(memory.clone()), 50_000, ".sst"));
    let (engine, flushed) =
        Engine::open(disk, "r-1", EngineOptions::default(), Arc::new(BlockCache::new(0))).unwrap();
    let store = RangeStore::new(CohortId(1), engine, flushed.attachment, WindowLimits::default()).unwrap();
    let used = || memory.files().iter().map(|(_, bytes)| bytes).sum::<u64>();
    put(&store, 1, "k");
    flush(&store);
    let small = used();
    memory.set_capacity(Some(small + 51_000));
    put(&store, 2, "k");
    flush(&store);
    assert!(!store.lacks_space());
    put(&store, 3, "k");
    // Somebody else takes the rest, but for less than the reserve.
    memory.set_capacity(Some(used() + 10_000));
    assert!(store.flush(|_| Ok(())).unwrap_err().is_full());
    assert!(store.lacks_space());
    let before = used();
    store.wipe().unwrap();
    assert!(used() < before && store.applied() == Lsn::ZERO, "{} of {before} bytes are left", used());
    put(&store, 1, "k");
    memory.set_capacity(None);
    flush(&store);
    assert!(!store.lacks_space());
}

/// Why the refusal was logged is not in the log: the row may have become smaller since.
#[test]
fn a_repeated_write_without_conditions_was_too_large_whatever_the_row_is_now() {
    let (store, _) = range_of(EngineOptions { row_bytes_max: 1000, ..EngineOptions::default() });
    let full = column(1, "a", 900);
    let Decision::Propose { payload, refused: false, .. } = decide(&store, full) else { panic!() };
    apply(&store, 1, payload);
    let again = RangeWrite { retry: true, ..column(2, "b", 900) };
    let Decision::Propose { payload, refused: true, .. } = decide(&store, again.clone()) else { panic!() };
    apply(&store, 2, payload);
    let delete = RangeWrite { mutations: vec![Mutation::DeleteRow], ..column(3, "a", 0) };
    let Decision::Propose { payload, refused: false, .. } = decide(&store, delete) else { panic!() };
    apply(&store, 3, payload);
    let Decision::Join(logged) = decide(&store, again.clone()) else { panic!("its outcome is known") };
    let answer = store.answer(NodeId(1), &again, Ok(Ok(logged)));
    assert_eq!(answer.unwrap_err(), KvError::TooLarge { what: "row", size: 1001, limit: 1000 });
}
