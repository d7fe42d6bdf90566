//! Statements on many rows that run at the same time: no update is lost, WHERE holds of what is changed, and the count in
//! the command tag is true.

use std::sync::Arc;

use kvstore::testing::MemoryKv;
use planner::{Execution, Planner, ServerInfo, Session};

const WRITERS: usize = 4;
const ROUNDS: usize = 30;
const ROWS: i64 = 40;

/// Runs a statement; the number in its tag, or the first value that it gives.
async fn run(planner: &Planner, session: &Session, sql: &str) -> i64 {
    let prepared = planner.prepare(session, sql, &[]).await.unwrap();
    match planner.execute(session, &prepared, Vec::new()).await.unwrap() {
        Execution::Done { tag } => tag.rsplit(' ').next().and_then(|count| count.parse().ok()).unwrap_or(0),
        Execution::Rows(rows) => {
            let rows = rows.rows.collect().await.unwrap();
            rows[0][0].as_ref().map_or(0, |value| value.to_string_text().parse().unwrap())
        }
        _ => panic!("{sql} gives neither rows nor a tag"),
    }
}

/// Runs a statement again and again in several sessions at once, and adds up what it gives.
async fn together(planner: &Arc<Planner>, sql: &'static str) -> i64 {
    let writers = (0..WRITERS).map(|number| {
        let planner = planner.clone();
        tokio::spawn(async move {
            let session = Session::new(planner.info(), "root", "spinnaker", number as u32);
            let mut changed = 0;
            for _ in 0..ROUNDS {
                changed += run(&planner, &session, sql).await;
                tokio::task::yield_now().await;
            }
            changed
        })
    });
    let mut changed = 0;
    for writer in writers.collect::<Vec<_>>() {
        changed += writer.await.unwrap();
    }
    changed
}

fn planner() -> Arc<Planner> {
    Arc::new(Planner::new(Arc::new(MemoryKv::default()), ServerInfo::new("spinnaker")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_update_of_many_rows_is_lost() {
    let planner = planner();
    let session = Session::new(planner.info(), "root", "spinnaker", 100);
    run(&planner, &session, "CREATE TABLE t (k int PRIMARY KEY, n int)").await;
    run(&planner, &session, "INSERT INTO t SELECT g, 0 FROM generate_series(1, 40) g").await;
    let changed = together(&planner, "UPDATE t SET n = n + 1").await;
    assert_eq!(changed, ROWS * (WRITERS * ROUNDS) as i64);
    assert_eq!(run(&planner, &session, "SELECT sum(n) FROM t").await, changed);
    assert_eq!(run(&planner, &session, "SELECT max(n) - min(n) FROM t").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_row_that_where_no_longer_holds_of_is_left() {
    let planner = planner();
    let session = Session::new(planner.info(), "root", "spinnaker", 100);
    run(&planner, &session, "CREATE TABLE t (k int PRIMARY KEY, n int)").await;
    run(&planner, &session, "INSERT INTO t SELECT g, 2 * g FROM generate_series(1, 40) g").await;
    let all = run(&planner, &session, "SELECT sum(n) FROM t").await;
    let changed = together(&planner, "UPDATE t SET n = n - 1 WHERE n > 0").await;
    assert_eq!(run(&planner, &session, "SELECT min(n) FROM t").await, 0);
    assert_eq!(run(&planner, &session, "SELECT sum(n) FROM t").await, all - changed);
    assert_eq!(changed, all);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_row_is_deleted_and_inserted_by_one_session_each() {
    let planner = planner();
    let session = Session::new(planner.info(), "root", "spinnaker", 100);
    run(&planner, &session, "CREATE TABLE t (k int PRIMARY KEY, n int)").await;
    let insert = "INSERT INTO t SELECT g, 1 FROM generate_series(1, 40) g ON CONFLICT DO NOTHING";
    let (inserted, deleted) =
        tokio::join!(together(&planner, insert), together(&planner, "DELETE FROM t WHERE n = 1"));
    assert_eq!(run(&planner, &session, "SELECT count(*) FROM t").await, inserted - deleted);
}

#[tokio::test]
async fn statements_of_many_windows_change_each_row_once() {
    let planner = planner();
    let session = Session::new(planner.info(), "root", "spinnaker", 100);
    run(&planner, &session, "CREATE TABLE t (k int PRIMARY KEY, n int)").await;
    let many = "INSERT INTO t SELECT g, 0 FROM generate_series(1, 5000) g";
    assert_eq!(run(&planner, &session, many).await, 5000);
    // What it inserts itself is not read again.
    assert_eq!(run(&planner, &session, "INSERT INTO t SELECT k + 5000, n FROM t").await, 5000);
    assert_eq!(run(&planner, &session, "UPDATE t SET n = n + 1").await, 10_000);
    assert_eq!(run(&planner, &session, "SELECT count(*) FROM t WHERE n = 1").await, 10_000);
    assert_eq!(run(&planner, &session, "DELETE FROM t WHERE k % 2 = 0").await, 5000);
    assert_eq!(run(&planner, &session, "TRUNCATE t").await, 0);
    assert_eq!(run(&planner, &session, "SELECT count(*) FROM t").await, 0);
}
