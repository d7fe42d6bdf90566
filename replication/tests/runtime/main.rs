//! The cohort as it runs: protocol, log, streams and coordinator together, over loopback, in one process.

mod cluster;

use std::time::Duration;

use futures::future::join_all;
use replication::protocol::effect::Unavailable;
use replication::runtime::ReplicaError;
use tokio::time::{Instant, sleep, timeout};
use wal::disk::Faults;
use wal::{Append, ChainHash, CohortId, Done, Entry, EntryKind, Epoch, Log, Lsn, NodeId, Record};

use cluster::{Add, Cluster, LONG, NEW, NODES, Refusal};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_are_read_back_and_reach_all_replicas() {
    let cluster = Cluster::start().await;
    let leader = cluster.leader().await;
    let lsns = join_all((0..100).map(|_| cluster.add(2))).await;
    assert_eq!(cluster.read().await, (200, 100));
    let last = lsns.into_iter().max().expect("hundred");
    cluster.agree(last, (200, 100)).await;

    let status = cluster.nodes[&leader].runtime.metrics();
    assert!(status.commits.get() >= 100 && status.elections.get() >= 1);
    for (number, node) in &cluster.nodes {
        assert_eq!(node.replica.leader(), Some(NodeId(leader)), "node {number}");
        assert_eq!(node.replica.applied_chain().0, last, "node {number}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn followers_point_to_the_leader_and_know_how_stale_they_are() {
    let cluster = Cluster::start().await;
    let leader = cluster.leader().await;
    let last = cluster.add(1).await;
    cluster.agree(last, (1, 1)).await;
    let follower = &cluster.nodes[NODES.iter().find(|node| **node != leader).expect("two")].replica;
    assert_eq!(follower.lease(), None);
    let refused = ReplicaError::NotLeader { hint: Some(NodeId(leader)) };
    assert_eq!(follower.write(Add { id: 1000, amount: 1 }).await, Err(refused.clone()));
    assert_eq!(follower.read_barrier(Lsn::ZERO).await, Err(refused));
    let deadline = Instant::now() + LONG;
    while follower.staleness().is_none() {
        assert!(Instant::now() < deadline, "staleness never known: {}", follower.status());
        sleep(Duration::from_millis(5)).await;
    }
    let soon = Instant::now() + Duration::from_millis(20);
    let ahead = Lsn { seq: last.seq + 1, ..last };
    assert_eq!(follower.wait_applied(ahead, soon).await, Err(ReplicaError::Behind { applied: last }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_is_told_after_what_it_rests_on() {
    let cluster = Cluster::start().await;
    let leader = cluster.leader().await;
    let replica = &cluster.nodes[&leader].replica;
    let first = replica.write(Add { id: 500, amount: 4 });
    let unlucky = replica.write(Add { id: 501, amount: 13 });
    let (first, unlucky) = tokio::join!(first, unlucky);
    assert!(matches!(first, Ok(Ok(_))), "{first:?}");
    assert!(matches!(unlucky, Ok(Err(Refusal::Unlucky(_)))), "{unlucky:?}");
    assert_eq!(cluster.nodes[&leader].store.total(), (4, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_joins_or_learns_the_first_outcome() {
    let cluster = Cluster::start().await;
    let leader = cluster.leader().await;
    let replica = &cluster.nodes[&leader].replica;
    let add = Add { id: 600, amount: 5 };
    // The first attempt is abandoned at once, as by a client that has gone.
    let _ = timeout(Duration::ZERO, replica.write(add)).await;
    let both = tokio::join!(replica.write(add), replica.write(add));
    for outcome in [both.0, both.1] {
        match outcome {
            Ok(Ok(_) | Err(Refusal::Done(_))) => (),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(cluster.read().await, (5, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_leader_is_killed_and_comes_back() {
    let mut cluster = Cluster::start().await;
    let first = cluster.leader().await;
    join_all((0..50).map(|_| cluster.add(1))).await;
    cluster.kill(first);
    join_all((0..50).map(|_| cluster.add(1))).await;
    assert_eq!(cluster.read().await, (100, 100));
    let second = cluster.leader().await;
    assert_ne!(second, first);
    cluster.start_node(first).await;
    let last = join_all((0..50).map(|_| cluster.add(1))).await.into_iter().max().expect("fifty");
    cluster.agree(last, (150, 150)).await;
    assert_eq!(cluster.read().await, (150, 150));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_stops_and_starts_again() {
    let mut cluster = Cluster::start().await;
    cluster.leader().await;
    join_all((0..30).map(|_| cluster.add(1))).await;
    for node in NODES {
        cluster.kill(node);
    }
    for node in NODES {
        cluster.start_node(node).await;
    }
    assert_eq!(cluster.read().await, (30, 30));
    let last = cluster.add(1).await;
    cluster.agree(last, (31, 31)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_is_handed_over() {
    let cluster = Cluster::start().await;
    let first = cluster.leader().await;
    cluster.add(1).await;
    let target = *NODES.iter().find(|node| **node != first).expect("two");
    let deadline = Instant::now() + LONG;
    // Refused as long as the target is not known to be alive and near.
    while cluster.nodes[&first].replica.transfer(Some(NodeId(target))).await.is_err() {
        assert!(Instant::now() < deadline, "{}", cluster.nodes[&first].replica.status());
        sleep(Duration::from_millis(5)).await;
    }
    while cluster.nodes[&target].replica.lease().is_none() {
        assert!(Instant::now() < deadline, "{}", cluster.nodes[&target].replica.status());
        sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(cluster.nodes[&first].replica.lease(), None);
    let last = cluster.add(1).await;
    cluster.agree(last, (2, 2)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drained_node_leads_nothing_and_writes_go_on_through_it() {
    let mut cluster = Cluster::start().await;
    let first = cluster.leader().await;
    cluster.add(1).await;
    let runtime = cluster.nodes[&first].runtime.clone();
    // Writers all the while; none may fail.
    let (_, lsns) = tokio::join!(runtime.drain(), join_all((0..100).map(|_| cluster.add(1))));
    assert_eq!(cluster.nodes[&first].replica.lease(), None);
    cluster.kill(first);
    assert_eq!(cluster.read().await, (101, 101));
    cluster.agree(lsns.into_iter().max().expect("hundred"), (101, 101)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_a_killed_node_acts_and_its_clients_are_told() {
    let mut cluster = Cluster::start().await;
    let leader = cluster.leader().await;
    let node = cluster.nodes.get(&leader).expect("it runs");
    let (replica, runtime, store) = (node.replica.clone(), node.runtime.clone(), node.store.clone());
    cluster.kill(leader);
    let before = store.total();
    assert_eq!(replica.lease(), None);
    assert_eq!(replica.write(Add { id: 700, amount: 1 }).await, Err(ReplicaError::Closed));
    assert_eq!(replica.read_barrier(Lsn::ZERO).await, Err(ReplicaError::Closed));
    assert_eq!(replica.transfer(None).await, Err(ReplicaError::Closed));
    cluster.add(1).await;
    assert_eq!(store.total(), before);
    // A kill is no failure.
    assert!(timeout(Duration::from_millis(20), runtime.failed()).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_disk_fails_stops_and_says_so() {
    let cluster = Cluster::start().await;
    let leader = cluster.leader().await;
    cluster.add(1).await;
    let node = &cluster.nodes[&leader];
    // The fault strikes one force, which may be that of a segment that is made ahead: that one does no harm.
    let mut id = 800;
    let reason = loop {
        cluster.disks[&leader].set_faults(Faults { sync_eio: true, ..Faults::default() });
        // The write may be committed by the other two all the same.
        let outcome = timeout(LONG, node.replica.write(Add { id, amount: 1 })).await.expect("an answer");
        assert!(matches!(outcome, Ok(Ok(_)) | Err(ReplicaError::Unknown)), "{outcome:?}");
        if let Ok(reason) = timeout(Duration::from_millis(200), node.runtime.failed()).await {
            break reason;
        }
        id += 1;
        assert!(id < 900, "no force of a batch has failed");
    };
    assert!(reason.contains("poisoned"));
    // The reason is told before the last replica has ended.
    let deadline = Instant::now() + LONG;
    while node.replica.lease().is_some() {
        assert!(Instant::now() < deadline, "it goes on: {}", node.replica.status());
        sleep(Duration::from_millis(5)).await;
    }
    // The others elect a leader and go on.
    cluster.add(1).await;
    assert_ne!(cluster.leader().await, leader);
}

/// Lets a log's thread stand still in an answer, as if the disk hung, while so many MiB wait for it; until what is returned is
/// dropped.
fn hang(log: &Log, mib: usize) -> std::sync::mpsc::Sender<()> {
    let (stands, stood) = std::sync::mpsc::channel::<()>();
    let (go, gone) = std::sync::mpsc::channel::<()>();
    let (mut prev, mut chain) = (Lsn::ZERO, ChainHash::ZERO);
    let mut append = |bytes: usize, done: Option<Done>| {
        let entry = Entry::next(prev, chain, Epoch(1), EntryKind::Write, vec![0; bytes].into());
        (prev, chain) = (entry.lsn, entry.chain);
        log.append(Append { cohort: CohortId(99), records: vec![Record::Entry(entry)] }, true, done);
    };
    let hang: Done = Box::new(move |_| {
        let _ = stands.send(());
        // An error: the test goes on.
        let _ = gone.recv();
    });
    append(10, Some(hang));
    stood.recv_timeout(LONG).expect("the log's thread comes by");
    for _ in 0..mib {
        append(1 << 20, None);
    }
    go
}

/// [unfit-leader-transfers]: its followers commit without it, and what it has not forced would grow as long as it hangs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_disk_hangs_takes_no_more_than_it_may_keep() {
    let mut cluster = Cluster::start().await;
    let leader = cluster.leader().await;
    let go = hang(&cluster.nodes[&leader].log, 65);
    let refused = cluster.nodes[&leader].replica.write(Add { id: 1000, amount: 1 }).await;
    assert_eq!(refused, Err(ReplicaError::Unavailable(Unavailable::Overloaded)));
    drop(go);
    cluster.kill(leader);
    cluster.add(1).await;
    assert_eq!(cluster.read().await, (1, 1));
}

/// The same for what leaders send: it is refused until the disk goes on, and then sent again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_whose_disk_hangs_takes_no_more_than_it_may_keep_and_catches_up() {
    let cluster = Cluster::start().await;
    let leader = cluster.leader().await;
    let follower = NODES.into_iter().find(|node| *node != leader).expect("there are three");
    let hung = &cluster.nodes[&follower];
    let go = hang(&hung.log, 129);
    let waiting = hung.log.waiting_bytes();
    let refused = || hung.runtime.metrics().proposals_refused.get();
    let deadline = Instant::now() + LONG;
    let (mut last, mut added) = (Lsn::ZERO, 0);
    while refused() == 0 {
        assert!(Instant::now() < deadline, "it takes everything");
        last = cluster.add(1).await;
        added += 1;
    }
    // Control records are small, and go on.
    assert!(hung.log.waiting_bytes() < waiting + (1 << 20), "{} of {waiting}", hung.log.waiting_bytes());
    drop(go);
    cluster.agree(last, (added, added as usize)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_disks_lose_nothing_and_heal() {
    let cluster = Cluster::start().await;
    cluster.leader().await;
    cluster.disks.values().for_each(|disk| disk.set_capacity(Some(0)));
    // The segments at hand take some more; then writes fail, or wait.
    let mut written = 0;
    while timeout(Duration::from_millis(500), cluster.add(1)).await.is_ok() {
        written += 1;
        assert!(written < 10_000, "a full disk takes no end of writes");
    }
    cluster.disks.values().for_each(|disk| disk.set_capacity(None));
    let last = cluster.add(1).await;
    let (total, writes) = cluster.read().await;
    // The write that was given up may have been taken or not, but not twice.
    assert_eq!(total, writes as u64);
    assert!(total == written + 1 || total == written + 2, "{total} of {written} and two more");
    cluster.agree(last, (total, writes)).await;
}

/// A rolling upgrade went wrong way round: the leader writes what a follower does not know. The follower falls behind and
/// lives, the others go on, and it catches up once it is upgraded.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_is_too_old_for_an_entry_waits_to_be_upgraded() {
    let cluster = Cluster::start().await;
    let leader = cluster.leader().await;
    let first = cluster.add(1).await;
    cluster.agree(first, (1, 1)).await;
    let old = NODES.into_iter().find(|node| *node != leader).expect("a follower");
    cluster.nodes[&old].store.set_old(true);
    cluster.add(NEW).await;
    let last = cluster.add(2).await;
    assert_eq!(cluster.nodes[&old].store.total(), (1, 1), "what it does not know is not applied");
    assert!(timeout(Duration::ZERO, cluster.nodes[&old].runtime.failed()).await.is_err(), "it lives");
    cluster.nodes[&old].store.set_old(false);
    cluster.agree(last, (NEW + 3, 3)).await;
}
