//! The disk stops, fails or fills up at every step: what was reported as durable is there after a restart, nothing half is.

use wal::disk::Faults;

use super::*;

/// Writes, flushes and compacts until the disk says no. Notes each state that a flush tried to make durable, and the
/// last one that it reported as durable.
struct Story {
    model: Model,
    /// By the flushed LSN's sequence number.
    states: BTreeMap<u64, Model>,
    reported: u64,
}

impl Story {
    fn run(engine: &Engine) -> (Story, Result<(), EngineError>) {
        let mut story =
            Story { model: Model::default(), states: BTreeMap::from([(0, Model::default())]), reported: 0 };
        let end = story.tell(engine);
        (story, end)
    }

    fn tell(&mut self, engine: &Engine) -> Result<(), EngineError> {
        for seq in 1..=24u64 {
            let key = Bytes::from(format!("row{}", seq * 5 % 7));
            let mutations = match seq % 4 {
                0 => vec![Mutation::DeleteRow, put("a", &format!("again{seq}"))],
                3 => vec![Mutation::Delete { column: "a".into() }],
                _ => vec![put("a", &format!("v{seq}")), put("b", &"x".repeat(60))],
            };
            engine.apply(Lsn::new(1, seq), ChainHash(seq), &key, &mutations);
            self.model.apply(Lsn::new(1, seq), &key, &mutations);
            if seq % 3 == 0 {
                self.states.insert(seq, self.model.clone());
                self.reported = flush(engine)?.lsn.seq;
                engine.compact()?;
            }
        }
        Ok(())
    }
}

/// Files that neither the manifest names nor is one.
fn leftovers(disk: &MemoryDisk) -> Vec<String> {
    let named = open_numbers(disk);
    let files = Disk::list(disk, DIR).unwrap().into_iter();
    files.filter(|file| file != "manifest" && !named.contains(&format!("{DIR}/{file}"))).collect()
}

fn open_numbers(disk: &MemoryDisk) -> Vec<String> {
    let manifest = Manifest::open(disk, DIR).unwrap();
    manifest.tables.iter().map(|(_, number)| file_name(DIR, *number)).collect()
}

#[test]
fn a_crash_at_any_step_leaves_a_state_that_was_flushed() {
    let whole = MemoryDisk::new();
    let (_, end) = Story::run(&open(&whole, SMALL));
    end.unwrap();
    let mut stopped = 0;
    for stop in 0..whole.operations() {
        let disk = MemoryDisk::new();
        disk.set_faults(Faults { stop_after: Some(stop), ..Faults::default() });
        let opened = try_open(&disk, SMALL);
        let (story, engine) = match opened {
            Err(_) => (None, None),
            Ok((engine, _)) => {
                let (story, end) = Story::run(&engine);
                // The only failure that is passed over is that of removing an old file.
                stopped += u64::from(end.is_err());
                (Some(story), Some(engine))
            }
        };
        if let (Some(story), Some(engine)) = (&story, &engine) {
            assert_eq!(scan(engine).unwrap(), story.model.rows(), "in memory, stopped after {stop}");
        }
        for seed in 0..6 {
            let after = disk.crash(seed);
            after.set_faults(Faults::default());
            let (engine, flushed_state) = try_open(&after, SMALL).unwrap();
            let Some(story) = &story else {
                assert_eq!(flushed_state, FlushedState::default());
                continue;
            };
            let flushed = flushed_state.lsn.seq;
            assert!(
                flushed >= story.reported,
                "stopped after {stop}: {} reported, {flushed} found",
                story.reported
            );
            assert_eq!(scan(&engine).unwrap(), story.states[&flushed].rows(), "stopped after {stop}");
            if flushed > 0 {
                assert_eq!(flushed_state.chain, ChainHash(flushed));
                assert_eq!(flushed_state.attachment, Lsn::new(1, flushed).to_string());
            }
            assert_eq!(leftovers(&after), Vec::<String>::new());
            // It goes on from there.
            write(&engine, 100, "new", &[put("a", "1")]);
            flush(&engine).unwrap();
            assert_eq!(show(&open(&after, SMALL), "new"), "a=1@100");
        }
    }
    assert!(stopped > 50, "{stopped}");
}

#[test]
fn a_failed_force_is_an_error_and_the_next_attempt_is_whole() {
    // Each force of one flush in turn: the table's, the manifest's (names' are not counted by this fault).
    for attempt in 0..2 {
        let disk = MemoryDisk::new();
        let engine = open(&disk, SMALL);
        write(&engine, 1, "k", &[put("a", "1")]);
        engine.freeze(|| "window".into());
        disk.set_faults(Faults { sync_eio: true, ..Faults::default() });
        assert!(engine.flush(|_| Ok(())).is_err());
        assert_eq!(leftovers(&disk).iter().filter(|name| name.ends_with(".sst")).count(), 0);
        write(&engine, 2, "k", &[put("a", "2")]);
        if attempt == 1 {
            disk.set_faults(Faults { sync_eio: true, ..Faults::default() });
            assert!(engine.flush(|_| Ok(())).is_err());
        }
        // What was frozen is flushed as it was then, with the attachment of that moment.
        engine.freeze(|| "a later window".into());
        let flushed_state = engine.flush(|_| Ok(())).unwrap();
        assert_eq!((flushed_state.lsn.seq, &flushed_state.attachment[..]), (1, &b"window"[..]));
        assert_eq!(show(&engine, "k"), "a=2@2");
        assert_eq!(show(&open(&disk.crash(1), SMALL), "k"), "a=1@1");
    }
}

#[test]
fn a_full_disk_keeps_no_attempts_and_recovers_when_space_is_back() {
    let disk = MemoryDisk::new();
    let engine = open(&disk, SMALL);
    for seq in 1..=50 {
        write(&engine, seq, &format!("k{seq}"), &[put("a", &"x".repeat(100))]);
    }
    for capacity in (0..2000).step_by(50) {
        disk.set_capacity(Some(capacity));
        let before = disk.list(DIR).unwrap();
        if flush(&engine).is_ok() {
            break;
        }
        let mut files = disk.list(DIR).unwrap();
        // The manifest aside is replaced by the next attempt.
        files.retain(|file| file != manifest::ASIDE);
        assert_eq!(files, before.into_iter().filter(|file| file != manifest::ASIDE).collect::<Vec<_>>());
        assert_eq!(show(&engine, "k50").len(), "a=".len() + 100 + "@50".len());
    }
    disk.set_capacity(None);
    assert_eq!(flush(&engine).unwrap().lsn.seq, 50);
    assert_eq!(scan(&open(&disk, SMALL)).unwrap().len(), 50);
}

#[test]
fn a_lost_manifest_is_an_error_and_nothing_is_deleted() {
    let disk = MemoryDisk::new();
    let engine = open(&disk, SMALL);
    write(&engine, 1, "k", &[put("a", "1")]);
    flush(&engine).unwrap();
    disk.remove("r-1/manifest").unwrap();
    assert!(
        matches!(try_open(&disk, SMALL), Err(EngineError::Corrupt { file, .. }) if file == "r-1/manifest")
    );
    assert_eq!(disk.list(DIR).unwrap(), ["000001.sst"]);
}

#[test]
fn flushing_nothing_changes_nothing() {
    let disk = MemoryDisk::new();
    let engine = open(&disk, SMALL);
    write(&engine, 1, "k", &[put("a", "1")]);
    let first = flush(&engine).unwrap();
    let operations = disk.operations();
    assert_eq!(flush(&engine).unwrap(), first);
    assert_eq!(disk.operations(), operations);
    // An entry without data moves the flushed LSN without a table.
    engine.skip(Lsn::new(2, 2), ChainHash(7));
    assert_eq!(flush(&engine).unwrap().lsn, Lsn::new(2, 2));
    assert_eq!(engine.stats().tables, 1);
    assert_eq!(try_open(&disk, SMALL).unwrap().1.chain, ChainHash(7));
}

#[test]
fn a_flush_waits_for_the_very_lsn_that_it_makes_durable() {
    let engine = open(&MemoryDisk::new(), SMALL);
    let asked = |flushed: &mut Lsn| {
        engine.flush(|lsn| {
            *flushed = lsn;
            Ok(())
        })
    };
    write(&engine, 1, "k", &[put("a", "1")]);
    engine.freeze(|| "one".into());
    write(&engine, 2, "k", &[put("a", "2")]);
    // The log has not forced it yet.
    let not_yet =
        |flushed| Err(io_error("log", std::io::Error::other(format!("not forced up to {flushed}"))));
    assert_eq!(engine.flush(not_yet).unwrap_err().to_string(), "log: not forced up to 1.1");
    // Whoever comes next finds the old memtable with its own attachment, and asks about its own LSN.
    engine.freeze(|| "two".into());
    let mut flushed = Lsn::ZERO;
    assert_eq!(asked(&mut flushed).unwrap().attachment, "one");
    assert_eq!(flushed, Lsn::new(1, 1));
    engine.freeze(|| "two".into());
    assert_eq!(asked(&mut flushed).unwrap().attachment, "two");
    assert_eq!((flushed, engine.flushed()), (Lsn::new(1, 2), Lsn::new(1, 2)));
}
