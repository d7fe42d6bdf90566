//! A copy that a crash cuts off, at whatever operation of the disk: what it leaves does not count, and is copied again.

use bytes::Bytes;
use replication::protocol::Recovered;
use replication::store::{Decision, Store};
use wal::disk::{Faults, MemoryDisk};
use wal::{ChainHash, Entry, EntryKind, Epoch, LogOptions};

use super::*;
use crate::cluster::layout::{ClusterId, TableDescriptor};
use crate::dedup::WindowLimits;
use crate::engine::{BlockCache, EngineOptions};
use crate::opening::{Found, open_store};
use crate::operation::RangeWrite;
use crate::replica::RangeStore;
use crate::request::{Mutation, RequestId, Table, TableId};

const RANGE: CohortId = CohortId(7);

/// The disk of a node that has just begun.
fn disk(node: u32) -> (MemoryDisk, ReplicaId) {
    let disk = MemoryDisk::new();
    let identity = wal::identity::open_or_create(&disk, "default", NodeId(node)).unwrap();
    LogWriter::open(Arc::new(disk.clone()), LogOptions::retaining(4 << 20)).unwrap();
    wal::identity::note_log(&disk, &identity).unwrap();
    (disk, ReplicaId { node: NodeId(node), incarnation: identity.incarnation })
}

fn opened(disk: &MemoryDisk, rebuilt: bool) -> (RangeStore, Recovered, LogWriter) {
    let Stopped { disk, writer, cohorts, damaged, .. } = Stopped::on(Arc::new(disk.clone())).unwrap();
    assert!(!damaged);
    let log = cohorts.get(&RANGE).cloned();
    let found = Found { log, damaged: None, rebuilt, listed_at_start: true };
    let (options, cache) = (EngineOptions::default(), Arc::new(BlockCache::new(0)));
    let (store, recovered) = open_store(disk, RANGE, options, cache, WindowLimits::default(), found).unwrap();
    (store, recovered, writer)
}

/// A range with tables and, behind them, a log.
fn fill(disk: &MemoryDisk, kept: &KeptRange) {
    let (store, _, mut writer) = opened(disk, false);
    let (mut prev, mut chain) = (Lsn::ZERO, ChainHash::ZERO);
    for sequence in 1..=9 {
        let write = RangeWrite {
            key: format!("k{sequence}").into(),
            conditions: Vec::new(),
            mutations: vec![Mutation::Put { column: "v".into(), value: vec![7; 9000].into() }],
            request: RequestId { client: 1, sequence },
            known: Lsn::ZERO,
            retry: false,
        };
        let Decision::Propose { payload, .. } = store.decide(store.prepare(write).unwrap()) else { panic!() };
        let entry = Entry::next(prev, chain, Epoch(1), EntryKind::Write, payload);
        (prev, chain) = (entry.lsn, entry.chain);
        writer.append(Append { cohort: RANGE, records: vec![Record::Entry(entry.clone())] }).unwrap();
        writer.force().unwrap();
        if sequence < 9 {
            store.apply(&[entry]);
        }
        if sequence % 3 == 2 {
            store.flush(|_| Ok(())).unwrap();
        }
    }
    kept.write(disk, &opening::directory(RANGE)).unwrap();
}

/// What the command finds, with these two disks.
fn planned(kept: &KeptRange, disks: [&MemoryDisk; 2]) -> Plan {
    let directory =
        |disk: &MemoryDisk| Directory::of(Path::new("n"), Stopped::on(Arc::new(disk.clone())).unwrap());
    let directories = disks.map(directory).into();
    let mut plan =
        Plan { name: "default".into(), directories, rescues: Vec::new(), hopeless: Vec::new(), whole: 0 };
    plan.look_at(kept.descriptor.clone(), 0).unwrap();
    plan
}

fn copied(mut plan: Plan) -> Result<(), String> {
    let rescue = plan.rescues.pop().expect("there is something to copy");
    plan.copy(&rescue, &rescue.targets[0])
}

fn kept(members: Vec<ReplicaId>) -> KeptRange {
    let table = Table { id: TableId(1), name: "t".into(), schema: Bytes::new() };
    let descriptor = RangeDescriptor {
        id: RANGE,
        table: table.id,
        start: Bytes::new(),
        end: None,
        members,
        rebuilt: vec![NodeId(2), NodeId(3)],
    };
    KeptRange {
        cluster: ClusterId(1),
        version: 1,
        descriptor,
        table: TableDescriptor { table, ranges: vec![RANGE] },
    }
}

#[test]
fn a_copy_that_was_cut_off_anywhere_does_not_count_and_is_made_again() {
    let ((source, first), (empty, second)) = (disk(1), disk(2));
    let lost = ReplicaId { node: NodeId(3), incarnation: Incarnation(3) };
    let kept = kept(vec![first, second, lost]);
    fill(&source, &kept);
    let newest = |recovered: &Recovered| {
        let log = &recovered.log;
        log.entries.last().map_or(log.checkpoint.flushed, |entry| entry.lsn)
    };
    assert_eq!(newest(&opened(&source, false).1), Lsn::new(1, 9), "the source is whole");
    for step in 0.. {
        // Each time the same, from the same beginning.
        let target = empty.crash(0);
        let plan = planned(&kept, [&source, &target]);
        let stop_after = Some(target.operations() + step);
        target.set_faults(Faults { stop_after, ..Faults::default() });
        let done = copied(plan).is_ok();
        for seed in 0..3 {
            let after = target.crash(seed);
            let (_, recovered, _) = opened(&after.crash(seed), true);
            let learns = recovered.must_rejoin || recovered.log.checkpoint.must_rejoin;
            assert!(
                learns || newest(&recovered) == Lsn::new(1, 9),
                "step {step}, seed {seed}: {recovered:?}"
            );
            assert!(!(done && learns), "seed {seed}: it is done, and would not count");
            let again = planned(&kept, [&source, &after]);
            if again.whole == 0 {
                copied(again).unwrap();
            }
            let (_, recovered, _) = opened(&after.crash(seed), true);
            assert_eq!(newest(&recovered), Lsn::new(1, 9), "step {step}, seed {seed}");
            assert_eq!(planned(&kept, [&source, &after]).whole, 1, "step {step}, seed {seed}");
        }
        if done {
            assert!(step > 20, "there are {step} operations");
            return;
        }
    }
}
