//! What runs at the same time, and what a cancel, a hang-up and a shutdown do to it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::client::*;
use crate::server::Server;
use kvstore::testing::MemoryKv;

const CANCEL: u32 = 80_877_102;

/// A table, a client with the statements `put` and `get`, and the store behind them.
async fn table() -> (Arc<MemoryKv>, Server, Client) {
    let kv = MemoryKv::new();
    let server = server(kv.clone(), 10);
    let mut client = Client::connect(&server).await;
    let created = client.query("create table t (k text primary key, v text)").await;
    assert_eq!(created, "Complete CREATE TABLE\nReady I\n");
    let statements = [
        parse("put", "upsert into t values ($1, $2)"),
        parse("add", "insert into t values ($1, $2)"),
        parse("get", "select v from t where k = $1"),
        sync(),
    ];
    client.send(&statements.concat()).await;
    assert_eq!(print(&client.until_ready().await), "ParseComplete\nParseComplete\nParseComplete\nReady I\n");
    client.take_writes();
    (kv, server, client)
}

fn group(statement: &str, parameters: &[&str]) -> Vec<u8> {
    [bind(statement, parameters), execute(0), sync()].concat()
}

async fn cancel(server: &Server, key: &(i32, Vec<u8>)) {
    let mut client = Client::open(server);
    client.send(&packet(CANCEL, [&key.0.to_be_bytes()[..], &key.1].concat())).await;
    assert_eq!(client.until_closed().await, []);
}

#[tokio::test]
async fn groups_on_different_rows_run_at_the_same_time_and_answer_in_order() {
    let (kv, _server, mut client) = table().await;
    kv.hold(true);
    let groups: Vec<u8> = (0..20).flat_map(|key| group("put", &[&key.to_string(), "v"])).collect();
    let reads: Vec<u8> = (20..25).flat_map(|key| group("get", &[&key.to_string()])).collect();
    client.send(&[groups, reads].concat()).await;
    kv.wait_running(25).await;
    kv.hold(false);
    for _ in 0..20 {
        let replies = print(&client.until_ready().await);
        assert!(
            replies.starts_with("BindComplete\nComplete ") && replies.ends_with("Ready I\n"),
            "{replies}"
        );
    }
    for _ in 0..5 {
        assert_eq!(print(&client.until_ready().await), "BindComplete\nComplete SELECT 0\nReady I\n");
    }
}

#[tokio::test]
async fn groups_on_one_row_keep_their_order() {
    let (kv, _server, mut client) = table().await;
    let groups =
        [group("put", &["a", "1"]), group("get", &["a"]), group("put", &["a", "2"]), group("get", &["a"])];
    for _ in 0..5 {
        client.send(&groups.concat()).await;
        for expected in [None, Some("Row '1'"), None, Some("Row '2'")] {
            let replies = print(&client.until_ready().await);
            assert!(expected.is_none_or(|row| replies.contains(row)), "{replies}");
        }
    }
    assert_eq!(kv.running_most(), 1);
}

#[tokio::test]
async fn an_error_concerns_its_own_group_only() {
    let (_kv, _server, mut client) = table().await;
    client.query("upsert into t values ('b', 'old')").await;
    let groups = [group("add", &["a", "1"]), group("add", &["b", "2"]), group("add", &["c", "3"])];
    client.send(&groups.concat()).await;
    for failed in [false, true, false] {
        let replies = print(&client.until_ready().await);
        assert_eq!(replies.contains("Error ERROR 23505"), failed, "{replies}");
        assert_eq!(replies.contains("Complete INSERT 0 1"), !failed, "{replies}");
    }
}

#[tokio::test]
async fn what_stands_behind_an_error_in_its_group_is_not_executed() {
    let (kv, _server, mut client) = table().await;
    client.query("upsert into t values ('a', 'old')").await;
    let before = kv.writes.load(Ordering::SeqCst);
    let batch = [
        bind("add", &["x", "1"]),
        execute(0),
        bind("add", &["a", "2"]),
        execute(0),
        bind("add", &["y", "3"]),
        execute(0),
        sync(),
        group("get", &["y"]),
    ];
    client.send(&batch.concat()).await;
    let replies = print(&client.until_ready().await);
    assert!(
        replies.starts_with("BindComplete\nComplete INSERT 0 1\nBindComplete\nError ERROR 23505"),
        "{replies}"
    );
    assert_eq!(replies.lines().count(), 5, "{replies}");
    assert_eq!(print(&client.until_ready().await), "BindComplete\nComplete SELECT 0\nReady I\n");
    assert_eq!(kv.writes.load(Ordering::SeqCst) - before, 2);
    assert_eq!(kv.running_most(), 1);
}

#[tokio::test]
async fn a_pipeline_that_arrives_at_once_is_answered_in_one_write() {
    let (_kv, _server, mut client) = table().await;
    client.send(&(0..10).flat_map(|key| group("put", &[&key.to_string(), "v"])).collect::<Vec<u8>>()).await;
    for _ in 0..10 {
        client.until_ready().await;
    }
    assert!(client.take_writes() <= 2);
}

#[tokio::test]
async fn a_cancelled_read_says_57014_and_a_cancelled_write_says_that_it_may_have_happened() {
    let (kv, server, mut client) = table().await;
    let key = client.key.clone();
    kv.hold(true);
    for (sql, expected) in [
        ("select v from t where k = 'a'", "Error ERROR 57014: canceling statement due to user request"),
        ("upsert into t values ('a', '1')", "Error ERROR 40003: canceling statement due to user request"),
    ] {
        client.send(&query(sql)).await;
        kv.wait_running(1).await;
        cancel(&server, &(key.0, vec![0; 4])).await;
        cancel(&server, &(key.0 + 1, key.1.clone())).await;
        assert_eq!(tokio::time::timeout(Duration::from_millis(20), kv.wait_running(0)).await.ok(), None);
        cancel(&server, &key).await;
        let replies = print(&client.until_ready().await);
        assert!(replies.starts_with(expected), "{replies}");
        kv.wait_running(0).await;
    }
    kv.hold(false);
    // One that comes too late hits nothing.
    cancel(&server, &key).await;
    assert!(client.query("select 1").await.contains("Row '1'"));
}

#[tokio::test]
async fn timeline_reads_keep_their_order() {
    let (kv, _server, mut client) = table().await;
    client.query("set consistency = timeline").await;
    kv.hold(true);
    client.send(&[group("get", &["a"]), group("get", &["b"])].concat()).await;
    kv.wait_running(1).await;
    kv.hold(false);
    for _ in 0..2 {
        assert_eq!(print(&client.until_ready().await), "BindComplete\nComplete SELECT 0\nReady I\n");
    }
    assert_eq!(kv.running_most(), 1);
}

#[tokio::test]
async fn cancel_reaches_statements_that_run_ahead() {
    let (kv, server, mut client) = table().await;
    kv.hold(true);
    client.send(&(0..3).flat_map(|key| group("get", &[&key.to_string()])).collect::<Vec<u8>>()).await;
    kv.wait_running(3).await;
    cancel(&server, &client.key).await;
    for _ in 0..3 {
        let replies = print(&client.until_ready().await);
        assert!(replies.contains("Error ERROR 57014"), "{replies}");
    }
}

#[tokio::test]
async fn a_client_that_hangs_up_takes_its_statement_with_it() {
    let (kv, _server, mut client) = table().await;
    kv.hold(true);
    client.send(&query("select v from t where k = 'a'")).await;
    kv.wait_running(1).await;
    assert!(client.hang_up().await.is_err());
    kv.wait_running(0).await;
}

#[tokio::test]
async fn shutdown_lets_a_statement_finish_and_says_goodbye() {
    let (kv, server, mut busy) = table().await;
    let mut idle = Client::connect(&server).await;
    kv.hold(true);
    busy.send(&query("upsert into t values ('a', '1')")).await;
    kv.wait_running(1).await;
    server.stop.cancel();
    let goodbye = "Error FATAL 57P01: terminating connection due to administrator command\n";
    assert_eq!(print(&idle.until_closed().await), goodbye);
    kv.hold(false);
    let replies = print(&busy.until_closed().await);
    assert!(
        replies.starts_with("Complete") && replies.ends_with(&format!("Ready I\n{goodbye}")),
        "{replies}"
    );
}

#[tokio::test]
async fn a_shutdown_waits_for_an_open_block_and_takes_no_new_session() {
    let (_kv, server, mut block) = table().await;
    block.send(&query("begin")).await;
    block.until_ready().await;
    server.closing.cancel();
    let mut late = Client::open(&server);
    late.send(&startup(0, &[("user", "root"), ("database", "spinnaker")])).await;
    let refused = print(&late.until_closed().await);
    assert!(refused.contains("FATAL 57P03: the database system is shutting down"), "{refused}");
    server.stop.cancel();
    block.send(&query("select 1")).await;
    assert!(print(&block.until_ready().await).ends_with("Ready T\n"));
    block.send(&query("commit")).await;
    let replies = print(&block.until_closed().await);
    assert!(replies.contains("Ready I\nError FATAL 57P01"), "{replies}");
}
