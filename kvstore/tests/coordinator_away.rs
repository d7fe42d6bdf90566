//! A node that starts while its coordinator is away: it waits, or serves what its disk knows, says so at its ports, and goes
//! on as usual when the coordinator is there.

mod nodes;

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kvstore::NodeId;
use kvstore::config::NodeConfig;
use kvstore::coordination::embedded::Embedded;
use kvstore::error::KvError;
use kvstore::node::{Node, Starting};
use kvstore::request::{Columns, Consistency, Kv, ReadOptions, TableId};

use self::nodes::away::Away;
use self::nodes::{Cluster, create, eventually, read, soon, strong, write};

/// What an HTTP listener answers: the status and the body.
fn http(address: &str, path: &str) -> (u16, String) {
    let mut answer = String::new();
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\n\r\n").unwrap();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.trim_end().to_owned());
    (status.unwrap_or_default(), body.unwrap_or_default())
}

async fn ask(address: &str, path: &'static str) -> (u16, String) {
    let address = address.to_owned();
    tokio::task::spawn_blocking(move || http(&address, path)).await.unwrap()
}

fn free_address() -> String {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

async fn read_timeline(
    kv: &Arc<dyn Kv>,
    table: TableId,
    key: &'static str,
) -> Result<Option<String>, KvError> {
    let options = ReadOptions { consistency: Consistency::Timeline, ..strong() };
    let found = kv.get(table, Bytes::from_static(key.as_bytes()), Columns::All, &options, None).await?;
    Ok(found.row.cells.first().map(|cell| String::from_utf8(cell.value.to_vec()).unwrap()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_node_waits_and_says_so_at_its_ports() {
    let service = Embedded::new();
    let directory = tempfile::tempdir().unwrap();
    let (grpc, page) = (free_address(), free_address());
    let config = NodeConfig {
        http_listen: Some(page.clone()),
        ..NodeConfig::new(NodeId(1), directory.path(), grpc.clone())
    };
    let coordinator = Away::new(service.client());
    let starting: Arc<Starting> = Arc::default();
    let start = {
        let (coordinator, starting) = (coordinator.clone(), starting.clone());
        tokio::spawn(async move { Node::start_telling(config, coordinator, &starting).await })
    };
    eventually("it does not say that it waits", || starting.reason().starts_with("no coordinator yet: "))
        .await;
    let (status, reason) = ask(&page, "/ready").await;
    assert!(
        status == 503 && reason.starts_with("no coordinator yet: ") && reason.contains("nobody answers"),
        "{reason}"
    );
    let (status, health) = ask(&page, "/health").await;
    assert_eq!((status, health), (200, reason));
    let (status, metrics) = ask(&page, "/metrics").await;
    assert!(status == 200 && metrics.contains("spinnaker_coordinator_joined 0"), "{metrics}");
    let refused = kvstore::status::fetch(&grpc).await.unwrap_err();
    assert!(refused.contains("no coordinator yet"), "{refused}");
    assert!(!start.is_finished());

    coordinator.come();
    let node = start.await.unwrap().unwrap();
    node.joined().await;
    assert_eq!(ask(&page, "/ready").await, (200, "ready".into()));
    let (_, metrics) = ask(&page, "/metrics").await;
    assert!(metrics.contains("spinnaker_coordinator_joined 1"), "{metrics}");
    assert_eq!(kvstore::status::fetch(&grpc).await.unwrap().nodes.len(), 1);
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_node_serves_and_replicates_before_its_coordinator_is_there() {
    let mut cluster = Cluster::start(3).await;
    let table = create(&cluster.kv(1), "t").await.unwrap();
    write(&cluster.kv(1), table.id, "k", "1").await.unwrap();
    let leader = cluster.kv(1).ranges(table.id).await.unwrap()[0].leader.unwrap().0 as usize;
    let (back, other) = (leader % 3 + 1, (leader + 1) % 3 + 1);
    // The others find it where it was.
    let listen = cluster.node(back).address().to_string();
    cluster.kill(back);
    let coordinator = Away::new(cluster.service.client());
    let config = NodeConfig { listen, ..cluster.config(back) };
    let node = Node::start(config, coordinator.clone()).await.unwrap();
    let kv = node.kv();
    applied(&kv, table.id, "k", "1").await;
    // It finds the leader, and is one of a majority when the third node is gone.
    cluster.kill(other);
    write(&kv, table.id, "k", "2").await.unwrap();
    assert_eq!(read(&kv, table.id, "k").await, Ok(Some("2".into())));
    let status = node.status(false).await;
    assert!(status.not_ready.starts_with("no coordinator yet: "), "{}", status.not_ready);
    assert!(status.error.starts_with("no coordinator yet: "), "{}", status.error);
    let refused = create(&kv, "u").await;
    assert!(matches!(refused, Err(KvError::Coordination(_))), "{refused:?}");
    assert!(kv.drop_table("t", soon()).await.is_err());

    coordinator.come();
    node.joined().await;
    eventually_ready(&node).await;
    cluster.restart(other).await;
    create(&kv, "u").await.unwrap();
    write(&kv, table.id, "k", "3").await.unwrap();
    node.shutdown().await;
}

/// Waits until this node's replica has applied it.
async fn applied(kv: &Arc<dyn Kv>, table: TableId, key: &'static str, value: &str) {
    let deadline = soon();
    while read_timeline(kv, table, key).await.as_ref().map(Option::as_deref) != Ok(Some(value)) {
        assert!(Instant::now() < deadline, "{key} is not applied");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn eventually_ready(node: &Node) {
    let deadline = soon();
    loop {
        let status = node.status(false).await;
        if status.not_ready.is_empty() && status.error.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "{} {}", status.not_ready, status.error);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What was dropped, made or lost meanwhile is found out when the coordinator is there.
#[tokio::test(flavor = "multi_thread")]
async fn what_changed_while_a_node_was_away_is_found_out_when_its_coordinator_comes() {
    let mut cluster = Cluster::start(3).await;
    let dropped = create(&cluster.kv(1), "t").await.unwrap();
    let kept = create(&cluster.kv(1), "kept").await.unwrap();
    write(&cluster.kv(1), dropped.id, "k", "old").await.unwrap();
    write(&cluster.kv(1), kept.id, "k", "kept").await.unwrap();
    let range = cluster.kv(1).ranges(dropped.id).await.unwrap()[0].id;
    cluster.kill(3);
    cluster.kv(1).drop_table("t", soon()).await.unwrap();
    let made = create(&cluster.kv(1), "t").await.unwrap();
    write(&cluster.kv(1), made.id, "k", "new").await.unwrap();

    let coordinator = Away::new(cluster.service.client());
    let node = Node::start(cluster.config(3), coordinator.clone()).await.unwrap();
    let kv = node.kv();
    // The past, which a timeline read may see; and no write goes to it.
    assert!(cluster.range_dirs(3).contains(&format!("r-{range}")));
    assert_eq!(kv.tables(false).await.unwrap().iter().filter(|table| table.name == "t").count(), 1);
    let lost = write(&kv, dropped.id, "k", "lost").await;
    assert!(lost.is_err(), "a write to a dropped table is not acknowledged");

    coordinator.come();
    node.joined().await;
    eventually("the dropped range stays", || !cluster.range_dirs(3).contains(&format!("r-{range}"))).await;
    assert_eq!(read(&kv, made.id, "k").await, Ok(Some("new".into())));
    assert_eq!(read(&kv, kept.id, "k").await, Ok(Some("kept".into())));
    assert!(matches!(read(&kv, dropped.id, "k").await, Err(KvError::NoTable(_))));
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_that_comes_and_is_anothers_or_empty_is_told_and_changes_nothing() {
    let mut cluster = Cluster::start(3).await;
    let table = create(&cluster.kv(1), "t").await.unwrap();
    write(&cluster.kv(1), table.id, "k", "1").await.unwrap();
    let listen = cluster.node(3).address().to_string();
    cluster.kill(3);
    let foreign = Cluster::start(1).await;
    for (service, reason) in
        [(&foreign.service, "coordinator of another cluster: "), (&Embedded::new(), "empty coordinator: ")]
    {
        let coordinator = Away::new(service.client());
        let config = NodeConfig { listen: listen.clone(), ..cluster.config(3) };
        let node = Node::start(config, coordinator.clone()).await.unwrap();
        coordinator.come();
        let deadline = soon();
        while !node.status(false).await.not_ready.starts_with(reason) {
            assert!(Instant::now() < deadline, "{}", node.status(false).await.not_ready);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        applied(&node.kv(), table.id, "k", "1").await;
        node.kill();
    }
    cluster.restart(3).await;
    assert_eq!(read(&cluster.kv(3), table.id, "k").await, Ok(Some("1".into())));
}

/// The flag is for once, also if the start was cut off before it had done anything.
#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_that_was_cut_off_is_gone_on_with_without_the_flag() {
    let mut cluster = Cluster::start(3).await;
    let table = create(&cluster.kv(1), "t").await.unwrap();
    write(&cluster.kv(1), table.id, "k", "1").await.unwrap();
    cluster.kill(3);
    std::fs::remove_dir_all(cluster.data_dir(3)).unwrap();
    let config = NodeConfig { rebuild: true, ..cluster.config(3) };
    let starting: Arc<Starting> = Arc::default();
    let start = {
        let (coordinator, starting) = (Away::new(cluster.service.client()), starting.clone());
        tokio::spawn(async move { Node::start_telling(config, coordinator, &starting).await.map(drop) })
    };
    eventually("it does not wait", || starting.reason().starts_with("no coordinator yet: ")).await;
    start.abort();
    assert!(start.await.is_err_and(|ended| ended.is_cancelled()));
    assert!(cluster.data_dir(3).join("REBUILD").exists());

    cluster.restart(3).await;
    assert!(!cluster.data_dir(3).join("REBUILD").exists());
    assert_eq!(read(&cluster.kv(3), table.id, "k").await, Ok(Some("1".into())));
    cluster.kill(3);
    cluster.restart(3).await;
}

/// A disk whose number was given away meanwhile stops.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_number_was_given_away_stops_when_its_coordinator_comes() {
    let mut cluster = Cluster::start(3).await;
    let table = create(&cluster.kv(1), "t").await.unwrap();
    write(&cluster.kv(1), table.id, "k", "1").await.unwrap();
    cluster.kill(3);
    let elsewhere = cluster.directory.path().join("new");
    let config = NodeConfig { rebuild: true, data_dir: elsewhere, ..cluster.config(3) };
    let rebuilt = Node::start(config, cluster.service.client()).await.unwrap();
    let coordinator = Away::new(cluster.service.client());
    let old = Node::start(cluster.config(3), coordinator.clone()).await.unwrap();
    coordinator.come();
    let reason = tokio::time::timeout(Duration::from_secs(20), old.failed()).await.unwrap();
    assert!(reason.contains("was given to another disk"), "{reason}");
    rebuilt.shutdown().await;
}
