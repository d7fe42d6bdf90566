//! Nodes that are killed, tables that are dropped, leaderships that move.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use kvstore::error::KvError;
use kvstore::proto::v1;
use kvstore::request::Table;
use kvstore::{NodeId, status};

use crate::cluster::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_node_is_not_noticed_by_writers_and_catches_up() {
    let mut cluster = Cluster::start(3).await;
    let table = cluster.table("t", &["m"]).await;
    written(cluster.kv(0).write(put(&table, "a", "0"), soon(), None).await);
    for victim in [1, 2] {
        let leader = cluster.kv(0).ranges(table.id).await.unwrap()[0].leader;
        cluster.kill(victim);
        for number in 0..40 {
            for key in ["a", "z"] {
                let text = format!("{leader:?} {victim} {number}");
                written(cluster.kv(0).write(put(&table, key, &text), soon(), None).await);
                assert_eq!(get(&cluster.kv(0), &table, key, strong()).await, Some(text));
            }
        }
        cluster.restart(victim).await;
        cluster.settle().await;
    }
    // All at once, without a word: everything acknowledged is there again.
    let before = get(&cluster.kv(0), &table, "a", strong()).await;
    for index in 0..3 {
        cluster.kill(index);
    }
    for index in 0..3 {
        cluster.restart(index).await;
    }
    assert_eq!(get(&cluster.kv(1), &table, "a", strong()).await, before);
    cluster.settle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_table_is_gone_with_its_data() {
    let cluster = Cluster::start(3).await;
    let table = cluster.table("t", &["m"]).await;
    written(cluster.kv(0).write(put(&table, "a", "0"), soon(), None).await);
    let version = cluster.kv(0).catalog_version();
    cluster.kv(0).drop_table("t", soon()).await.unwrap();
    assert!(cluster.kv(0).catalog_version() > version);
    assert_eq!(cluster.kv(1).drop_table("t", soon()).await, Err(KvError::NoTable("t".into())));
    let error = cluster.kv(0).write(put(&table, "a", "1"), soon(), None).await.unwrap_err();
    assert!(matches!(error, KvError::NoTable(_)), "{error}");
    // The name is free at once, and the new table is empty.
    let again = cluster.table("t", &[]).await;
    assert_ne!(again.id, table.id);
    assert_eq!(get(&cluster.kv(2), &again, "a", strong()).await, None);
    let deadline = soon();
    while cluster.directory.path().join("n1").read_dir().unwrap().flatten().any(|entry| {
        let name = entry.file_name();
        // One directory is the new table's range.
        name.to_string_lossy().starts_with("r-")
            && !cluster_has(&cluster, &name.to_string_lossy()["r-".len()..])
    }) {
        assert!(Instant::now() < deadline, "data of the dropped ranges stays");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn leaderships_go_back_to_their_first_members_when_all_is_calm() {
    let mut cluster = Cluster::empty(3);
    cluster.spread_after = Some(Duration::from_secs(1));
    cluster.start_all().await;
    let table = cluster.table("t", &["h", "q"]).await;
    let homes: Vec<NodeId> = ranges(&cluster, &table).await.iter().map(|(_, home)| *home).collect();
    assert_eq!(homes.iter().collect::<BTreeSet<_>>().len(), 3, "{homes:?}");
    wait_at_home(&cluster, &table).await;
    for index in 0..3 {
        cluster.node(index).shutdown().await;
        cluster.nodes[index] = None;
        cluster.restart(index).await;
    }
    // Nobody asks for it, and clients work on.
    written(cluster.kv(1).write(put(&table, "a", "0"), soon(), None).await);
    wait_at_home(&cluster, &table).await;
    written(cluster.kv(1).write(put(&table, "a", "1"), soon(), None).await);
    cluster.settle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_stops_stays_until_its_successors_serve() {
    let cluster = Cluster::start(3).await;
    let table = cluster.table("t", &["h", "q"]).await;
    for key in ["a", "k", "z"] {
        written(cluster.kv(0).write(put(&table, key, "0"), soon(), None).await);
    }
    for index in [0, 1, 0, 2] {
        let stopping = NodeId(index as u32 + 1);
        cluster.node(index).hand_over().await;
        let mut leaders = 0;
        for other in (0..3).filter(|other| *other != index) {
            let status = cluster.node(other).status(false).await;
            leaders +=
                status.replicas.iter().filter(|replica| replica.role == "leader" && replica.open).count();
        }
        assert_eq!(leaders, 3, "{stopping} may go, and nobody leads");
    }
}

/// Of each range of a table: who leads it, as far as is known, and its first member.
async fn ranges(cluster: &Cluster, table: &Table) -> Vec<(Option<NodeId>, NodeId)> {
    let ranges = cluster.kv(0).ranges(table.id).await.unwrap();
    ranges.iter().map(|range| (range.leader, range.members[0])).collect()
}

async fn wait_at_home(cluster: &Cluster, table: &Table) {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let ranges = ranges(cluster, table).await;
        if ranges.iter().all(|(leader, home)| *leader == Some(*home)) {
            return;
        }
        assert!(Instant::now() < deadline, "{ranges:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn cluster_has(cluster: &Cluster, range: &str) -> bool {
    let (kv, range) = (cluster.kv(0), range.to_owned());
    futures::executor::block_on(async move {
        for table in kv.tables(false).await.unwrap() {
            if kv.ranges(table.id).await.unwrap().iter().any(|info| info.id.to_string() == range) {
                return true;
            }
        }
        false
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn leadership_is_handed_over_and_grpc_tells_typed_errors() {
    let cluster = Cluster::start(3).await;
    let table = cluster.table("t", &[]).await;
    let address = cluster.node(1).address().to_string();
    let mut client = status::connect(&address).await.unwrap();

    let range = cluster.kv(0).ranges(table.id).await.unwrap().remove(0);
    let target = if range.leader == Some(NodeId(1)) { 2 } else { 1 };
    let request = v1::TransferLeaderRequest { range: range.id.to_string(), target };
    client.transfer_leader(request).await.unwrap();
    written(cluster.kv(0).write(put(&table, "k", "v"), soon(), None).await);

    let error = client.get(v1::GetRequest { table: "none".into(), ..Default::default() }).await.unwrap_err();
    assert_eq!(kvstore::proto::errors::to_error(&error), KvError::NoTable("none".into()));
    let conditional = v1::ConditionalPutRequest {
        put: Some(v1::PutRequest {
            table: "t".into(),
            key: "k".into(),
            columns: vec![v1::ColumnValue { column: "v".into(), value: "w".into() }],
            request: None,
        }),
        conditions: vec![v1::Condition { kind: Some(v1::condition::Kind::RowAbsent(true)) }],
    };
    let error = client.conditional_put(conditional).await.unwrap_err();
    let detail = kvstore::proto::errors::detail(&error).and_then(|detail| detail.kind);
    assert!(matches!(detail, Some(v1::error_detail::Kind::VersionMismatch(_))), "{error:?}");

    // Many requests on one stream, answers in any order.
    let requests = (0..200u64).map(|id| v1::BatchRequest {
        id,
        timeout_ms: 10_000,
        request: Some(v1::batch_request::Request::Put(v1::PutRequest {
            table: "t".into(),
            key: format!("batch{id}").into(),
            columns: vec![v1::ColumnValue { column: "v".into(), value: "w".into() }],
            request: None,
        })),
    });
    let mut answers = client.batch(futures::stream::iter(requests)).await.unwrap().into_inner();
    let mut ids = BTreeSet::new();
    while let Some(answer) = answers.message().await.unwrap() {
        assert!(matches!(answer.answer, Some(v1::batch_response::Answer::Write(_))), "{answer:?}");
        ids.insert(answer.id);
    }
    assert_eq!(ids.len(), 200);
}
