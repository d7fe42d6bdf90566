//! Writing and reading rows.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::join_all;
use kvstore::error::KvError;
use kvstore::proto::v1;
use kvstore::request::{Columns, Condition, Mutation, RequestId, SessionToken, Write, WriteOutcome};
use kvstore::status;

use crate::cluster::*;

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_written_and_read_through_every_node() {
    let cluster = Cluster::start(3).await;
    let table = cluster.table("t", &["h", "q"]).await;
    assert_eq!(
        cluster.kv(1).create_table("t", Bytes::new(), Vec::new(), soon()).await,
        Err(KvError::TableExists("t".into()))
    );

    let session = SessionToken::default();
    let keys: Vec<String> = (b'a'..=b'z').map(|letter| char::from(letter).to_string()).collect();
    for (index, key) in keys.iter().enumerate() {
        let kv = cluster.kv(index % 3);
        let first = written(kv.write(put(&table, key, "old"), soon(), Some(&session)).await);
        let second = written(kv.write(put(&table, key, key), soon(), Some(&session)).await);
        assert!(second.lsn > first.lsn);
    }
    for gateway in 0..3 {
        let kv = cluster.kv(gateway);
        // The token makes every replica show the session's own writes.
        for key in &keys {
            let options = timeline();
            let wanted = Bytes::copy_from_slice(key.as_bytes());
            let read = kv.get(table.id, wanted, Columns::All, &options, Some(&session)).await.unwrap();
            assert_eq!(value(&read.row).as_ref(), Some(key));
        }
        assert_eq!(scan(&kv, &table, false, None).await, keys);
        let backwards: Vec<String> = keys.iter().rev().cloned().collect();
        assert_eq!(scan(&kv, &table, true, None).await, backwards);
        assert_eq!(scan(&kv, &table, true, Some(11)).await, backwards[..11]);
        let wanted = ["z", "a", "nothing", "k"].map(Bytes::from).to_vec();
        let rows = kv.multi_get(table.id, wanted, Columns::All, &strong(), None).await.unwrap();
        let values: Vec<Option<String>> = rows.iter().map(|read| value(&read.row)).collect();
        assert_eq!(values, [Some("z".into()), Some("a".into()), None, Some("k".into())]);
    }

    let delete = Write { mutations: vec![Mutation::DeleteRow], ..put(&table, "k", "") };
    written(cluster.kv(2).write(delete, soon(), None).await);
    assert_eq!(get(&cluster.kv(0), &table, "k", strong()).await, None);
    let ranges = cluster.kv(0).ranges(table.id).await.unwrap();
    assert_eq!(ranges.len(), 3);
    assert!(ranges.iter().all(|range| range.members.len() == 3));
    cluster.settle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_are_told_and_nothing_is_written() {
    let cluster = Cluster::start(1).await;
    let table = cluster.table("t", &[]).await;
    let kv = cluster.kv(0);
    let big = "x".repeat(2 << 20);
    let error = kv.write(put(&table, "k", &big), soon(), None).await.unwrap_err();
    assert!(matches!(error, KvError::TooLarge { what: "row", .. }), "{error}");
    let error = kv.write(put(&table, &"k".repeat(5000), "v"), soon(), None).await.unwrap_err();
    assert!(matches!(error, KvError::TooLarge { what: "row key", .. }), "{error}");
    // Just below the limit works, and pages of such rows do, too.
    let value = "x".repeat(1_000_000);
    for key in ["a", "b", "c"] {
        written(kv.write(put(&table, key, &value), soon(), None).await);
    }
    assert_eq!(scan(&kv, &table, false, None).await, ["a", "b", "c"]);
}

/// Column by column, and by many at once: the limit is that of the row, not of the write.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_does_not_outgrow_its_limit_by_many_writes() {
    let cluster = Cluster::start(3).await;
    let table = cluster.table("t", &[]).await;
    let column = |name: &str| {
        let value = Bytes::from(vec![b'x'; 300_000]);
        let mutations = vec![Mutation::Put { column: Bytes::from(name.to_owned()), value }];
        Write { mutations, ..put(&table, "k", "") }
    };
    let writes = (0..8).map(|number| {
        let (kv, write) = (cluster.kv(number % 3), column(&format!("c{number}")));
        async move { kv.write(write, soon(), None).await }
    });
    let mut fitting = 0;
    for outcome in join_all(writes).await {
        match outcome {
            Ok(outcome) => fitting += usize::from(matches!(outcome, WriteOutcome::Written(_))),
            Err(error) => {
                let size = 4 * 300_002 + 1;
                assert_eq!(error, KvError::TooLarge { what: "row", size, limit: 1 << 20 });
            }
        }
    }
    assert_eq!(fitting, 3);
    let kv = cluster.kv(1);
    let row = kv.get(table.id, "k".into(), Columns::All, &strong(), None).await.unwrap().row;
    assert_eq!(row.cells.len(), 3);
    // What makes room is done, and then there is room; a column can be replaced.
    let gone = row.cells[0].column.clone();
    let delete = Write { mutations: vec![Mutation::Delete { column: gone }], ..put(&table, "k", "") };
    written(kv.write(delete, soon(), None).await);
    written(kv.write(column("d"), soon(), None).await);
    written(kv.write(column("d"), soon(), None).await);
    assert!(matches!(kv.write(column("e"), soon(), None).await, Err(KvError::TooLarge { what: "row", .. })));
}

/// A table of the layer above takes from key-value clients only what that layer has checked.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_with_a_schema_is_written_past_its_layer_only_with_a_check() {
    let cluster = Cluster::start(1).await;
    let kv = cluster.kv(0);
    kv.create_table("t", Bytes::from_static(b"schema"), Vec::new(), soon()).await.unwrap();
    let mut client = status::connect(&cluster.node(0).address().to_string()).await.unwrap();
    let put = |key: &'static str| v1::PutRequest {
        table: "t".into(),
        key: key.into(),
        columns: vec![v1::ColumnValue { column: "v".into(), value: "w".into() }],
        request: None,
    };
    let refused = client.put(put("good")).await.unwrap_err();
    assert!(refused.message().contains("a schema of SQL, which this program does not know"), "{refused:?}");

    kv.check_rows_with(Arc::new(|table, write| {
        assert_eq!((&table.name[..], &table.schema[..]), ("t", &b"schema"[..]));
        write.mutations.push(Mutation::Put { column: "added".into(), value: Bytes::new() });
        if write.key == "good" { Ok(()) } else { Err(format!("{:?} is no key", write.key)) }
    }));
    let refused = client.put(put("bad")).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::InvalidArgument);
    assert!(refused.message().contains("b\"bad\" is no key"), "{refused:?}");
    client.put(put("good")).await.unwrap();
    let get = v1::GetRequest { table: "t".into(), key: "good".into(), ..Default::default() };
    let row = client.get(get).await.unwrap().into_inner().row.unwrap();
    let columns: Vec<_> = row.cells.into_iter().map(|cell| cell.column).collect();
    assert_eq!(columns, ["added", "v"], "completed as the layer would");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_racing_conditional_writes_exactly_one_wins() {
    let cluster = Cluster::start(3).await;
    let table = cluster.table("t", &[]).await;
    for round in 0..5 {
        let key = format!("k{round}");
        let writes = (0..12).map(|number| {
            let (kv, mut write) = (cluster.kv(number % 3), put(&table, &key, &number.to_string()));
            write.conditions = vec![Condition::RowAbsent];
            async move { (number, kv.write(write, soon(), None).await.unwrap()) }
        });
        let mut winners = Vec::new();
        for (number, outcome) in join_all(writes).await {
            match outcome {
                WriteOutcome::Written(_) => winners.push(number.to_string()),
                WriteOutcome::ConditionFailed { current, .. } => assert!(!current.cells.is_empty()),
            }
        }
        assert_eq!(winners.len(), 1);
        assert_eq!(get(&cluster.kv(1), &table, &key, strong()).await, winners.pop());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_write_is_done_once() {
    let cluster = Cluster::start(3).await;
    let table = cluster.table("t", &[]).await;
    let request = Some(RequestId { client: 42, sequence: 1 });
    let write = Write { request, conditions: vec![Condition::RowAbsent], ..put(&table, "k", "first") };
    let first = written(cluster.kv(0).write(write.clone(), soon(), None).await);
    written(cluster.kv(1).write(put(&table, "k", "second"), soon(), None).await);
    // Through another node, after a newer write, though its condition holds no more: the first outcome.
    let again = written(cluster.kv(2).write(write, soon(), None).await);
    assert_eq!(again, first);
    assert_eq!(get(&cluster.kv(0), &table, "k", strong()).await, Some("second".into()));

    // A refusal is remembered, too: the row may go, the refused write stays refused.
    let request = Some(RequestId { client: 42, sequence: 2 });
    let refused = Write { request, conditions: vec![Condition::RowAbsent], ..put(&table, "k", "third") };
    let outcome = cluster.kv(0).write(refused.clone(), soon(), None).await.unwrap();
    assert!(matches!(outcome, WriteOutcome::ConditionFailed { .. }), "{outcome:?}");
    let delete = Write { mutations: vec![Mutation::DeleteRow], ..put(&table, "k", "") };
    written(cluster.kv(1).write(delete, soon(), None).await);
    let outcome = cluster.kv(2).write(refused, soon(), None).await.unwrap();
    assert!(matches!(outcome, WriteOutcome::ConditionFailed { .. }), "{outcome:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_node_keeps_what_it_acknowledged() {
    let mut cluster = Cluster::start(1).await;
    let table = cluster.table("t", &["m"]).await;
    for round in 0..3 {
        for key in ["a", "z"] {
            written(cluster.kv(0).write(put(&table, key, &format!("{key}{round}")), soon(), None).await);
        }
        cluster.kill(0);
        cluster.restart(0).await;
        for key in ["a", "z"] {
            assert_eq!(get(&cluster.kv(0), &table, key, strong()).await, Some(format!("{key}{round}")));
        }
    }
    // The polite way, too.
    let (node, _) = cluster.nodes[0].take().unwrap();
    node.shutdown().await;
    drop(node);
    cluster.restart(0).await;
    assert_eq!(get(&cluster.kv(0), &table, "z", strong()).await, Some("z2".into()));
}

/// What one node takes all must take: a row at the limit reaches every replica, one above it is never logged.
#[tokio::test(flavor = "multi_thread")]
async fn the_largest_rows_reach_every_replica_and_larger_ones_are_refused() {
    let mut cluster = Cluster::empty(3);
    cluster.row_bytes_max = Some(4 << 20);
    cluster.start_all().await;
    let table = cluster.table("t", &[]).await;
    let kv = cluster.kv(1);
    let row = |key: &str, mutations| Write { mutations, ..put(&table, key, "") };
    let large = |bytes: usize| vec![Mutation::Put { column: "v".into(), value: vec![7; bytes].into() }];
    let limit = (4 << 20) - "large".len() - "v".len();
    written(kv.write(row("large", large(limit)), soon(), None).await);
    let refused = kv.write(row("large", large(limit + 1)), soon(), None).await;
    assert!(matches!(refused, Err(KvError::TooLarge { what: "row", .. })), "{refused:?}");
    // Small cells take more room in the log than in the row.
    let narrow = |cells: u32| {
        let cell =
            |number: u32| Mutation::Put { column: number.to_be_bytes().to_vec().into(), value: Bytes::new() };
        (0..cells).map(cell).collect::<Vec<_>>()
    };
    let refused = kv.write(row("narrow", narrow(600_000)), soon(), None).await;
    assert!(matches!(refused, Err(KvError::TooLarge { what: "row", .. })), "{refused:?}");
    written(kv.write(row("narrow", narrow(100_000)), soon(), None).await);
    cluster.settle().await;
    for gateway in 0..3 {
        let read =
            cluster.kv(gateway).get(table.id, "large".into(), Columns::All, &strong(), None).await.unwrap();
        assert_eq!(read.row.cells[0].value.len(), limit);
    }
}
