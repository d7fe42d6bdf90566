//! Ranges that have lost two of their three replicas for good: what `recover --unsafe` says, does, and refuses.

mod nodes;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use kvstore::config::NodeConfig;
use kvstore::coordination::Coordinator;
use kvstore::node::Node;
use kvstore::recover_unsafe;

use self::nodes::interposed::Interposed;
use self::nodes::{Cluster, create, read, soon, write};

/// A cluster with two tables, all of whose nodes were killed; and a range of the first table.
async fn stopped() -> (Cluster, kvstore::request::TableId, String) {
    let mut cluster = Cluster::start(3).await;
    let table = create(&cluster.kv(1), "t").await.unwrap();
    for number in 0..20 {
        write(&cluster.kv(1), table.id, &format!("k{number}"), &number.to_string()).await.unwrap();
    }
    let range = cluster.kv(1).ranges(table.id).await.unwrap()[0].id;
    kill_all(&mut cluster, table.id).await;
    (cluster, table.id, format!("/spinnaker/default/ranges/{range}"))
}

/// Kills all nodes. What was acknowledged is on n1's disk: a majority without it would be enough for that, so a last row is
/// written when n3 is gone, and its log has no gaps.
async fn kill_all(cluster: &mut Cluster, table: kvstore::request::TableId) {
    cluster.kill(3);
    write(&cluster.kv(1), table, "behind", "1").await.unwrap();
    cluster.kill(2);
    cluster.kill(1);
}

fn dirs(cluster: &Cluster, numbers: &[usize]) -> Vec<PathBuf> {
    numbers.iter().map(|number| cluster.data_dir(*number)).collect()
}

/// Loses a node's disk, and starts the node once with an empty one.
async fn replace_disk(cluster: &Cluster, number: usize) {
    std::fs::remove_dir_all(cluster.data_dir(number)).unwrap();
    let client = cluster.service.client();
    let config = NodeConfig { rebuild: true, ..cluster.config(number) };
    let node = Node::start(config, client.clone()).await.unwrap();
    node.shutdown().await;
    client.close().await;
}

async fn refusal(cluster: &Cluster, numbers: &[usize]) -> String {
    let refused = recover_unsafe::plan(&dirs(cluster, numbers), &*cluster.service.client()).await;
    refused.map(|plan| plan.describe()).unwrap_err()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_that_lost_two_replicas_serves_again_and_the_lost_ones_come_back_as_learners() {
    let (mut cluster, table, znode) = stopped().await;
    let client = cluster.service.client();
    let aside = cluster.directory.path().join("aside");
    std::fs::rename(cluster.data_dir(3), &aside).unwrap();
    replace_disk(&cluster, 2).await;

    // It only says what it would do.
    let before = client.get(&znode).await.unwrap();
    let plan = recover_unsafe::plan(&dirs(&cluster, &[1, 2]), &*client).await.unwrap();
    let said = plan.describe().join("\n");
    // Which epoch it is depends on how often the election went to another node.
    let last_lsn =
        said.split_once("): n1 is left, last LSN ").and_then(|(_, rest)| rest.split_once(", committed LSN "));
    let last_lsn = last_lsn.expect(&said).0;
    for part in [
        "t [start, end) (range ",
        "n2 gets a copy of n1's replica (",
        "n3 (disk ",
        &format!("may be lost: what the others had committed behind {last_lsn} without n1"),
        "not touched: 0 ranges",
    ] {
        assert!(said.contains(part), "{part:?} is not in:\n{said}");
    }
    assert_eq!((plan.len(), client.get(&znode).await.unwrap()), (1, before));

    plan.apply(&*client).await.unwrap();
    let refused = refusal(&cluster, &[1, 2]).await;
    assert!(refused.contains("has a majority of whole replicas"), "{refused}");
    cluster.restart(1).await;
    cluster.restart(2).await;
    for number in 0..20 {
        let found = read(&cluster.kv(2), table, &format!("k{number}")).await;
        assert_eq!(found, Ok(Some(number.to_string())));
    }
    write(&cluster.kv(1), table, "k0", "new").await.unwrap();

    // The old disk does not come back; the node does, as a learner that counts when it has all.
    std::fs::rename(&aside, cluster.data_dir(3)).unwrap();
    let refused = cluster.try_restart(3).await.unwrap_err().to_string();
    assert!(refused.contains("another disk") && refused.contains("--rebuild"), "{refused}");
    std::fs::remove_dir_all(cluster.data_dir(3)).unwrap();
    let config = NodeConfig { rebuild: true, ..cluster.config(3) };
    let third = Node::start(config, cluster.service.client()).await.unwrap();
    let deadline = soon();
    while third.status(false).await.replicas.iter().any(|replica| replica.learner) {
        assert!(Instant::now() < deadline, "it stays a learner");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    cluster.kill(1);
    write(&third.kv(), table, "k1", "third").await.unwrap();
    assert_eq!(read(&cluster.kv(2), table, "k0").await, Ok(Some("new".into())));
    third.shutdown().await;
}

/// Wherever it was cut off, it is run again by the same command, and the lost disk does not come back.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_was_cut_off_is_run_again() {
    for sets in 0..2 {
        let (mut cluster, table, _) = stopped().await;
        let aside = cluster.directory.path().join("aside");
        std::fs::rename(cluster.data_dir(3), &aside).unwrap();
        replace_disk(&cluster, 2).await;
        let cut = Interposed::new(cluster.service.client());
        cut.lose_sets_after(sets);
        let plan = recover_unsafe::plan(&dirs(&cluster, &[1, 2]), &*cut).await.unwrap();
        let error = plan.apply(&*cut).await.unwrap_err();
        assert!(error.contains("run it again"), "{error}");

        let client = cluster.service.client();
        let plan = recover_unsafe::plan(&dirs(&cluster, &[1, 2]), &*client).await.unwrap();
        plan.apply(&*client).await.unwrap();
        cluster.restart(1).await;
        cluster.restart(2).await;
        assert_eq!(read(&cluster.kv(2), table, "k7").await, Ok(Some("7".into())));
        std::fs::rename(&aside, cluster.data_dir(3)).unwrap();
        let refused = cluster.try_restart(3).await.unwrap_err().to_string();
        assert!(refused.contains("another disk"), "after {sets} changes: {refused}");
    }
}

/// Tables are copied, too, and the log behind them; and a copy over what a learner has got so far.
#[tokio::test(flavor = "multi_thread")]
async fn tables_and_the_log_behind_them_are_copied() {
    let mut cluster = Cluster::start(3).await;
    let table = create(&cluster.kv(1), "t").await.unwrap().id;
    let range = cluster.kv(1).ranges(table).await.unwrap()[0].id;
    let tables = |cluster: &Cluster| {
        let files = std::fs::read_dir(cluster.data_dir(1).join(format!("r-{range}"))).unwrap();
        files.filter(|file| file.as_ref().unwrap().path().extension().is_some_and(|end| end == "sst")).count()
    };
    let value = "v".repeat(900 << 10);
    let mut rows = 0;
    while tables(&cluster) == 0 {
        write(&cluster.kv(1), table, &format!("k{rows}"), &value).await.unwrap();
        rows += 1;
        assert!(rows < 300, "nothing is flushed");
    }
    write(&cluster.kv(1), table, "last", "1").await.unwrap();
    kill_all(&mut cluster, table).await;
    replace_disk(&cluster, 3).await;
    replace_disk(&cluster, 2).await;
    let client = cluster.service.client();
    let plan = recover_unsafe::plan(&dirs(&cluster, &[3, 1, 2]), &*client).await.unwrap();
    plan.apply(&*client).await.unwrap();
    for number in 1..=3 {
        cluster.restart(number).await;
    }
    cluster.kill(1);
    assert_eq!(read(&cluster.kv(2), table, "last").await, Ok(Some("1".into())));
    for row in 0..rows {
        assert_eq!(
            read(&cluster.kv(3), table, &format!("k{row}")).await,
            Ok(Some(value.clone())),
            "row {row}"
        );
    }
    cluster.restart(1).await;
    write(&cluster.kv(1), table, "last", "2").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_lost_or_not_known_is_refused() {
    let (mut cluster, table, znode) = stopped().await;
    let client = cluster.service.client();
    for given in [&[1, 2, 3][..], &[1, 3]] {
        let refused = refusal(&cluster, given).await;
        assert!(refused.contains("each of the 1 ranges has a majority of whole replicas"), "{refused}");
    }
    // One directory alone is no majority, and has no place for a copy.
    let plan = recover_unsafe::plan(&dirs(&cluster, &[2]), &*client).await.unwrap();
    let said = plan.describe().join("\n");
    assert!(plan.is_empty() && said.contains("1 of 2 directories are there that a majority needs"), "{said}");
    drop(plan);

    // A node that runs.
    replace_disk(&cluster, 3).await;
    cluster.restart(1).await;
    let refused = refusal(&cluster, &[2, 3]).await;
    assert!(refused.contains("n1 runs") && refused.contains("nothing was done"), "{refused}");
    cluster.kill(1);

    // A disk that was replaced, and one of another cluster.
    let other = Cluster::start(1).await;
    let refused = recover_unsafe::plan(&dirs(&cluster, &[1, 3]), &*other.service.client()).await;
    assert!(refused.is_err_and(|refused| refused.contains("belongs to another cluster")));
    assert!(client.get(&znode).await.unwrap().is_some());
    for number in 1..=3 {
        cluster.restart(number).await;
    }
    assert_eq!(read(&cluster.kv(3), table, "k7").await, Ok(Some("7".into())));
}

/// [lost-log-is-seen]: no command that looks into a directory makes its node forget that the log is gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_directory_without_its_log_is_not_whole_however_often_it_was_looked_at() {
    let (mut cluster, table, _) = stopped().await;
    let lost = cluster.data_dir(2);
    std::fs::remove_dir_all(lost.join("wal")).unwrap();
    std::fs::remove_file(lost.join("EXTENT")).unwrap();
    for _ in 0..2 {
        kvstore::recover::export(&lost).unwrap();
        let plan = recover_unsafe::plan(&dirs(&cluster, &[1, 2]), &*cluster.service.client()).await.unwrap();
        let said = plan.describe().join("\n");
        assert!(
            plan.is_empty() && said.contains("is damaged: start n2 once with an empty directory"),
            "{said}"
        );
    }
    for number in 1..=3 {
        cluster.restart(number).await;
    }
    // It counts again when it has all from the others.
    let deadline = soon();
    while cluster.node(2).status(false).await.replicas.iter().any(|replica| replica.learner) {
        assert!(Instant::now() < deadline, "it stays a learner");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(read(&cluster.kv(2), table, "k7").await, Ok(Some("7".into())));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_looked_at_is_named() {
    let (cluster, _, _) = stopped().await;
    let client = cluster.service.client();
    let (empty, file) = (cluster.directory.path().join("empty"), cluster.directory.path().join("file"));
    std::fs::create_dir(&empty).unwrap();
    std::fs::write(&file, "").unwrap();
    for (path, why) in [(&empty, "it has no IDENTITY"), (&file, "IDENTITY: Not a directory")] {
        let refused =
            recover_unsafe::plan(std::slice::from_ref(path), &*client).await.map(|plan| plan.describe());
        let refused = refused.unwrap_err();
        assert!(refused.contains(path.to_str().unwrap()) && refused.contains(why), "{refused}");
    }
    assert_eq!(std::fs::read_dir(&empty).unwrap().count(), 0, "looking makes nothing");
}
