//! Whatever is missing in a node's data directory when it starts: no acknowledged row is lost, and the node votes for nothing
//! that it may have forgotten.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use kvstore::NodeId;
use kvstore::config::NodeConfig;
use kvstore::node::Node;
use kvstore::request::{Columns, ReadOptions};

use crate::cluster::*;

/// All files and directories below a node's directory.
fn entries(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            found.extend(entries(&entry));
        }
        found.push(entry);
    }
    found.sort();
    found
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(|entry| entry.unwrap().path()) {
        let target = to.join(entry.file_name().unwrap());
        match entry.is_dir() {
            true => copy(&entry, &target),
            false => drop(std::fs::copy(&entry, &target).unwrap()),
        }
    }
}

/// [lost-log-is-seen]: a row is acknowledged by n1 and n2, n2 loses something, n1 is down: n2 and n3 must not serve without
/// the row. With n1 back all is well again.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_missing_no_acknowledged_row_is_lost() {
    let mut cluster = Cluster::start(3).await;
    let table = cluster.table("t", &[]).await;
    let root = cluster.directory.path().join("n2");
    written(cluster.kv(0).write(put(&table, "a", "0"), soon(), None).await);
    cluster.settle().await;
    let names: Vec<PathBuf> =
        entries(&root).iter().map(|path| path.strip_prefix(&root).unwrap().to_owned()).collect();
    assert!(["IDENTITY", "EXTENT", "wal"].iter().all(|one| names.contains(&PathBuf::from(one))), "{names:?}");
    for (round, name) in names.iter().enumerate() {
        cluster.kill(2);
        let row = format!("{}", round + 1);
        written(cluster.kv(0).write(put(&table, "a", &row), soon(), None).await);
        cluster.kill(1);
        cluster.kill(0);
        let (lost, kept) = (root.join(name), cluster.directory.path().join("kept"));
        copy(&root, &kept);
        match lost.is_dir() {
            true => std::fs::remove_dir_all(&lost).unwrap(),
            false => std::fs::remove_file(&lost).unwrap_or_default(),
        }
        cluster.restart(2).await;
        let config = NodeConfig::new(NodeId(2), root.clone(), "127.0.0.1:0");
        let coordinator = cluster.service.client();
        match Node::start(config, coordinator.clone()).await {
            Ok(node) => cluster.nodes[1] = Some((node, coordinator)),
            Err(refused) => {
                let text = refused.to_string();
                assert!(text.contains("missing"), "without {}: {text}", name.display());
                std::fs::remove_dir_all(&root).unwrap();
                copy(&kept, &root);
                cluster.restart(1).await;
            }
        }
        let options = ReadOptions { deadline: Instant::now() + Duration::from_millis(1500), ..strong() };
        let found = cluster.kv(2).get(table.id, Bytes::from("a"), Columns::All, &options, None).await;
        if let Ok(found) = found {
            assert_eq!(value(&found.row).as_ref(), Some(&row), "without {}", name.display());
        }
        cluster.restart(0).await;
        cluster.settle().await;
        let found = get(&cluster.kv(1), &table, "a", strong()).await;
        assert_eq!(found.as_ref(), Some(&row), "without {}", name.display());
        std::fs::remove_dir_all(&kept).unwrap();
    }
}

/// One range's damage is that range's alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_manifest_costs_one_range_not_the_node() {
    let mut cluster = Cluster::start(3).await;
    let table = cluster.table("t", &["m"]).await;
    for key in ["a", "z"] {
        written(cluster.kv(0).write(put(&table, key, "before"), soon(), None).await);
    }
    cluster.settle().await;
    cluster.kill(1);
    let manifest = cluster.files(1, "manifest").into_iter().next().unwrap();
    std::fs::write(&manifest, b"no manifest").unwrap();
    cluster.restart(1).await;
    let status = cluster.node(1).status(false).await;
    assert!(status.replicas.iter().all(|replica| replica.refusal.is_empty()), "{status:?}");
    cluster.settle().await;
    // It counts again, with its own data: with one other it is a majority.
    cluster.kill(0);
    for key in ["a", "z"] {
        assert_eq!(get(&cluster.kv(1), &table, key, strong()).await.as_deref(), Some("before"));
    }
}
