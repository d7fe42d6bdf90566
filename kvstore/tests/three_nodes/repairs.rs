//! Damaged files, lost disks.

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kvstore::NodeId;
use kvstore::config::NodeConfig;
use kvstore::coordination::Coordinator;
use kvstore::node::Node;
use kvstore::proto::v1;
use kvstore::request::Columns;
use wal::disk::FileDisk;
use wal::{Append, Entry, EntryKind, LogOptions, LogWriter, Lsn, Record};

use crate::cluster::*;

fn damage(file: &Path, offset: u64) {
    let file = std::fs::OpenOptions::new().read(true).write(true).open(file).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 1], offset).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_tables_and_logs_mend_by_themselves() {
    let mut cluster = Cluster::start(3).await;
    cluster.cached = false;
    for index in 0..3 {
        cluster.kill(index);
        cluster.restart(index).await;
    }
    let table = cluster.table("t", &[]).await;
    // Enough for a flush; blocks that do not compress.
    let value = |number: u64| -> String {
        (0..25_000)
            .map(|part| format!("{:016x}", (number << 32 | part).wrapping_mul(0x9e37_79b9_7f4a_7c15)))
            .collect()
    };
    for number in 0..90u64 {
        written(
            cluster.kv(0).write(put(&table, &format!("{number:03}"), &value(number)), soon(), None).await,
        );
    }
    let deadline = soon();
    while (0..3).any(|index| cluster.files(index, ".sst").is_empty()) {
        assert!(Instant::now() < deadline, "no replica has flushed");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // A table rots under each node in turn, the leader among them, while it runs and is read.
    for index in 0..3 {
        let tables = cluster.files(index, ".sst");
        let rotten = tables.iter().next().unwrap().clone();
        damage(&rotten, std::fs::metadata(&rotten).unwrap().len() / 2);
        for options in [timeline, strong] {
            for number in 0..90u64 {
                let found = get(&cluster.kv(index), &table, &format!("{number:03}"), options()).await;
                assert!(found == Some(value(number)), "row {number} of n{}", index + 1);
            }
        }
        cluster.settle().await;
        assert!(!rotten.exists(), "{} was replaced", rotten.display());
    }
    // A log rots while its node is down.
    cluster.kill(1);
    let segment = cluster.files(1, ".seg").into_iter().next().unwrap();
    damage(&segment, 8 << 20);
    cluster.restart(1).await;
    cluster.settle().await;
    // It counts again: with one other it is a majority.
    cluster.kill(0);
    written(cluster.kv(1).write(put(&table, "zzz", "after"), soon(), None).await);
    assert_eq!(get(&cluster.kv(1), &table, "zzz", strong()).await.as_deref(), Some("after"));
}

/// Puts an entry that nobody sent behind the last one in the log of a node that was killed.
async fn forge(directory: &Path) -> Lsn {
    let deadline = soon();
    let disk = loop {
        // The killed node may still be letting go of its last file.
        match FileDisk::open(directory) {
            Ok(disk) => break disk,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let (mut log, recovery) = LogWriter::open(Arc::new(disk), LogOptions::default()).unwrap();
    let (cohort, found) = recovery.cohorts.iter().next().unwrap();
    let last = found.entries.last().unwrap();
    let forged = Entry::next(last.lsn, last.chain, last.lsn.epoch, EntryKind::Write, Bytes::new());
    let lsn = forged.lsn;
    log.append(Append { cohort: *cohort, records: vec![Record::Entry(forged)] }).unwrap();
    log.force().unwrap();
    lsn
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_differs_starts_over() {
    let mut cluster = Cluster::start(3).await;
    let table = cluster.table("t", &[]).await;
    written(cluster.kv(0).write(put(&table, "a", "first"), soon(), None).await);
    cluster.settle().await;
    // Some follower's log gets an entry that nobody sent, in the place of the next one.
    let mut round = 0;
    let (leader, odd) = loop {
        round += 1;
        assert!(round < 10, "there is an election whenever a follower is away");
        let status = cluster.node(0).cluster_status(false).await;
        let leads = |node: &&v1::NodeStatus| node.replicas.iter().any(|replica| replica.leader == node.node);
        let leader = status.nodes.iter().find(leads).unwrap().node as usize - 1;
        let odd = (leader + 1) % 3;
        cluster.kill(odd);
        let forged = forge(&cluster.directory.path().join(format!("n{}", odd + 1))).await;
        let next = written(cluster.kv(leader).write(put(&table, "b", "second"), soon(), None).await);
        if (next.lsn.epoch, next.lsn.seq) == (forged.epoch, forged.seq) {
            break (leader, odd);
        }
        cluster.restart(odd).await;
        cluster.settle().await;
    };
    cluster.restart(odd).await;
    // It says so, and waits: the leader may be the one that is wrong.
    let deadline = soon();
    loop {
        let status = cluster.node(odd).status(false).await;
        if status.replicas.iter().any(|replica| replica.trouble.contains("hash differs from the leader's")) {
            break;
        }
        assert!(Instant::now() < deadline, "{status:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Meanwhile it tells nobody what it has.
    let odd_kv = cluster.kv(odd);
    let found = odd_kv.get(table.id, "b".into(), Columns::All, &timeline(), None).await.unwrap();
    assert_ne!(found.source.replica, NodeId(odd as u32 + 1), "a replica that differs serves a read");
    assert_eq!(value(&found.row).as_deref(), Some("second"));
    // What the two others commit without it shows that it is not.
    written(cluster.kv(leader).write(put(&table, "c", "third"), soon(), None).await);
    cluster.settle().await;
    for (key, value) in [("a", "first"), ("b", "second"), ("c", "third")] {
        assert_eq!(get(&cluster.kv(odd), &table, key, timeline()).await.as_deref(), Some(value));
    }
    // It counts again.
    cluster.kill((leader + 2) % 3);
    written(cluster.kv(odd).write(put(&table, "d", "fourth"), soon(), None).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_disk_under_a_known_number_is_refused() {
    let mut cluster = Cluster::start(1).await;
    cluster.kill(0);
    std::fs::remove_dir_all(cluster.directory.path().join("n1")).unwrap();
    let config = NodeConfig::new(NodeId(1), cluster.directory.path().join("n1"), "127.0.0.1:0");
    let refused = Node::start(config, cluster.service.client()).await.err().unwrap().to_string();
    assert!(refused.contains("registered in this cluster with another disk"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_disk_is_refilled_from_the_others() {
    let mut cluster = Cluster::start(3).await;
    let table = cluster.table("t", &["m"]).await;
    for key in ["a", "z"] {
        written(cluster.kv(0).write(put(&table, key, "before"), soon(), None).await);
    }
    cluster.kill(2);
    let directory = cluster.directory.path().join("n3");
    std::fs::remove_dir_all(&directory).unwrap();
    written(cluster.kv(0).write(put(&table, "z", "while away"), soon(), None).await);
    let config = NodeConfig { rebuild: true, ..NodeConfig::new(NodeId(3), directory, "127.0.0.1:0") };
    let coordinator = cluster.service.client();
    let node = Node::start(config, coordinator.clone()).await.unwrap();
    cluster.nodes[2] = Some((node, coordinator));
    cluster.settle().await;

    // It counts again, with its own data: with one other it is a majority.
    cluster.kill(0);
    written(cluster.kv(2).write(put(&table, "m", "after"), soon(), None).await);
    for (key, value) in [("a", "before"), ("m", "after"), ("z", "while away")] {
        assert_eq!(get(&cluster.kv(2), &table, key, strong()).await.as_deref(), Some(value));
    }
    // The others heard it: a restart of the one that is left, and of it, changes nothing.
    for index in [2, 1] {
        cluster.kill(index);
        cluster.restart(index).await;
    }
    assert_eq!(get(&cluster.kv(1), &table, "m", strong()).await.as_deref(), Some("after"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_number_was_given_away_stops() {
    let mut cluster = Cluster::start(3).await;
    let table = cluster.table("t", &[]).await;
    written(cluster.kv(0).write(put(&table, "a", "before"), soon(), None).await);
    // It looks gone to the coordinator, but lives; an operator gives its number to an empty disk.
    cluster.nodes[2].as_ref().unwrap().1.fall_behind();
    cluster.service.client().delete("/spinnaker/default/nodes/3", None).await.unwrap();
    let directory = cluster.directory.path().join("new");
    let config = NodeConfig { rebuild: true, ..NodeConfig::new(NodeId(3), directory, "127.0.0.1:0") };
    let coordinator = cluster.service.client();
    let node = Node::start(config, coordinator.clone()).await.unwrap();
    let (old, session) = cluster.nodes[2].replace((node, coordinator)).unwrap();
    session.catch_up();
    let why = tokio::time::timeout(Duration::from_secs(20), old.failed()).await.unwrap();
    assert!(why.contains("the number of n3 was given to another disk"), "{why}");
    drop(old);
    cluster.settle().await;
    assert_eq!(get(&cluster.kv(2), &table, "a", timeline()).await.as_deref(), Some("before"));
}
