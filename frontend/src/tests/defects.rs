//! What malformed, hostile or careless clients send: each ends in an error, never in a panic, an abort, or a query
//! that was not authorised. The first eight are known defects of the usual connection loop on this codec.

use std::sync::atomic::Ordering;

use super::client::*;
use kvstore::testing::MemoryKv;

const SSL: u32 = 80_877_103;
const GSS: u32 = 80_877_104;
const CANCEL: u32 = 80_877_102;
const ROOT: &[(&str, &str)] = &[("user", "root")];

#[tokio::test]
async fn a_startup_that_failed_leads_to_no_query_and_no_ready_for_query() {
    let kv = MemoryKv::new();
    let server = server(kv, 10);
    let cases: [(&[(&str, &str)], &str); 5] = [
        (&[("database", "spinnaker")], "Error FATAL 28000"),
        (&[("user", "root"), ("database", "other")], "Error FATAL 3D000"),
        (&[("user", "root"), ("no_such_setting", "1")], "Error FATAL 42704"),
        (&[("user", "root"), ("options", "-c consistency=sometimes")], "Error FATAL 22023"),
        (&[("user", "root"), ("replication", "database")], "Error FATAL 0A000"),
    ];
    for (parameters, expected) in cases {
        let mut client = Client::open(&server);
        let bytes = [startup(0, parameters), query("create table t (k text primary key)"), sync()].concat();
        client.send(&bytes).await;
        let replies = print(&client.until_closed().await);
        assert_eq!(replies.lines().count(), 1, "{replies}");
        assert!(replies.starts_with(expected), "{replies}");
    }
    assert!(server.planner.kv().tables(true).await.unwrap().is_empty(), "nothing was executed");
}

#[tokio::test]
async fn plaintext_behind_an_encryption_request_ends_the_connection() {
    for code in [SSL, GSS] {
        let server = server(MemoryKv::new(), 10);
        let mut client = Client::open(&server);
        client.send(&[packet(code, ""), startup(0, ROOT), query("select 1")].concat()).await;
        let replies = print(&client.until_closed().await);
        assert!(replies.starts_with("Error FATAL 08P01: received unencrypted data"), "{replies}");
        assert_eq!(replies.lines().count(), 1);
    }
}

#[tokio::test]
async fn encryption_is_refused_once_each_and_the_session_goes_on() {
    let server = server(MemoryKv::new(), 10);
    let mut client = Client::open(&server);
    for code in [GSS, SSL] {
        client.send(&packet(code, "")).await;
        assert_eq!(client.byte().await, b'N');
    }
    client.send(&startup(0, ROOT)).await;
    assert!(print(&client.until_ready().await).ends_with("Ready I\n"));

    let mut client = Client::open(&server);
    for _ in 0..3 {
        client.send(&packet(SSL, "")).await;
        assert_eq!(client.byte().await, b'N');
    }
    assert!(print(&client.until_closed().await).starts_with("Error FATAL 08P01"));
}

#[tokio::test]
async fn any_row_limit_is_harmless() {
    let server = server(MemoryKv::new(), 10);
    let mut client = Client::connect(&server).await;
    for limit in [1_000_000_000, i32::MAX, 0, -1, i32::MIN] {
        client.send(&[parse("", "select 1"), bind("", &[]), execute(limit), sync()].concat()).await;
        let replies = print(&client.until_ready().await);
        assert!(replies.contains("Row '1'\nComplete SELECT 1\n"), "{limit}: {replies}");
    }
}

#[tokio::test]
async fn a_large_result_is_streamed_at_the_pace_of_its_reader() {
    let kv = MemoryKv::new();
    let server = server(kv.clone(), 10);
    let mut client = Client::connect(&server).await;
    client.query("create table t (k int primary key, v text)").await;
    let value = "x".repeat(100_000);
    for key in 0..60 {
        let done = client.query(&format!("upsert into t values ({key}, '{value}')")).await;
        assert!(done.contains("Complete"), "{done}");
    }
    client.send(&[parse("", "select * from t"), bind("", &[]), execute(0), sync()].concat()).await;
    // The pipe holds 1 MiB, the result is six times that: the rest must still be in the store.
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
    let batches = kv.batches.load(Ordering::SeqCst);
    assert!((1..=8).contains(&batches), "{batches} of 20 batches were read");
    let replies = client.until_ready().await;
    assert_eq!(replies.iter().filter(|reply| reply.kind == b'D').count(), 60);
    assert_eq!(kv.batches.load(Ordering::SeqCst), 20);
}

#[tokio::test]
async fn nothing_large_is_taken_before_authentication() {
    let server = server(MemoryKv::new(), 10);
    for length in [0_u32, 7, 10_001, 1 << 30, u32::MAX] {
        let mut client = Client::open(&server);
        client.send(&[length.to_be_bytes().to_vec(), vec![0; 64]].concat()).await;
        assert_eq!(client.until_closed().await, [], "length {length}");
        client.hang_up().await.unwrap();
    }
    // TLS without asking, and another protocol altogether.
    for hello in [&b"\x16\x03\x01\x02\x00\x01\x00\x01"[..], b"GET / HTTP/1.1\r\n\r\n"] {
        let mut client = Client::open(&server);
        client.send(hello).await;
        assert_eq!(client.until_closed().await, []);
    }
    let mut client = Client::open(&server);
    client.send(&packet(2 << 16, "user\0root\0\0")).await;
    assert!(print(&client.until_closed().await).starts_with("Error FATAL 0A000: frontend protocol 2.0"));
}

#[tokio::test]
async fn a_malformed_message_is_an_error_and_the_session_goes_on() {
    let server = server(MemoryKv::new(), 10);
    let mut client = Client::connect(&server).await;
    client.send(&[parse("s", "select $1::text"), sync()].concat()).await;
    client.until_ready().await;
    let whole = bind("s", &["abc"]);
    for length in 0..whole.len() - 5 {
        let damaged = frame(b'B', &whole[5..5 + length]);
        client.send(&[damaged, execute(0), sync()].concat()).await;
        let replies = print(&client.until_ready().await);
        assert!(replies.starts_with("Error ERROR 08P01"), "{length}: {replies}");
        assert!(replies.ends_with("\nReady I\n"));
        assert_eq!(replies.lines().count(), 2, "execute was skipped");
    }
    client.send(&[whole, execute(0), sync()].concat()).await;
    assert!(print(&client.until_ready().await).contains("Row 'abc'"));

    client.send(&frame(b'Q', b"select '\xff'\0")).await;
    assert!(print(&client.until_ready().await).starts_with("Error ERROR 22021"));
    client.send(&frame(b'F', b"\0\0\0\0")).await;
    assert!(print(&client.until_ready().await).starts_with("Error ERROR 0A000"));
    assert!(client.query("select 2").await.contains("Row '2'"));
}

#[tokio::test]
async fn a_broken_stream_ends_with_one_fatal_error() {
    let server = server(MemoryKv::new(), 10);
    for bytes in
        [&b"y\0\0\0\x04"[..], b"p\0\0\0\x05\0", b"Q\0\0\0\x03", b"S\x7f\xff\xff\xff", b"Q\xff\xff\xff\xff"]
    {
        let mut client = Client::connect(&server).await;
        client.send(&[bytes, &query("select 1")].concat()).await;
        let replies = print(&client.until_closed().await);
        assert!(replies.starts_with("Error FATAL 08P01"), "{replies}");
        assert_eq!(replies.lines().count(), 1, "{replies}");
    }
}

#[tokio::test]
async fn a_statement_over_the_limit_is_refused_and_the_session_goes_on() {
    let server = server(MemoryKv::new(), 10);
    let mut client = Client::connect(&server).await;
    let long = query(&"x".repeat(17 << 20));
    client.send(&long).await;
    let replies = print(&client.until_ready().await);
    assert!(replies.starts_with("Error ERROR 54000"), "{replies}");
    assert!(client.query("select 1").await.contains("Row '1'"));
}

#[tokio::test]
async fn one_session_too_many_is_told_so() {
    let server = server(MemoryKv::new(), 1);
    let first = Client::connect(&server).await;
    let mut second = Client::open(&server);
    second.send(&startup(0, ROOT)).await;
    assert!(print(&second.until_closed().await).starts_with("Error FATAL 53300"));
    // A cancel request needs no session.
    let mut cancel = Client::open(&server);
    cancel.send(&packet(CANCEL, [0; 8])).await;
    assert_eq!(cancel.until_closed().await, []);
    first.hang_up().await.unwrap();
    Client::connect(&server).await;
}
