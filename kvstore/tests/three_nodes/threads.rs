//! Replication has threads of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use kvstore::request::Columns;

use crate::cluster::*;

/// Longer than a lease and a suspicion together.
const BLOCKED: Duration = Duration::from_millis(2500);

/// All threads that serve statements stand still; leases are renewed all the same, so that a reader beside them is served
/// all the time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statements_that_block_their_threads_hold_up_no_heartbeat() {
    let cluster = Cluster::start(3).await;
    let table = cluster.table("t", &[]).await;
    written(cluster.kv(0).write(put(&table, "a", "1"), soon(), None).await);
    let leader = cluster.kv(0).ranges(table.id).await.unwrap()[0].leader.expect("it has just led");
    let kv = cluster.kv(leader.0 as usize - 1);
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    let id = table.id;
    let reader = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let mut longest = Duration::ZERO;
        let mut reads = 0;
        while !stopped.load(Ordering::Relaxed) {
            let begun = Instant::now();
            let options = strong();
            let read = kv.get(id, Bytes::from("a"), Columns::All, &options, None);
            assert_eq!(value(&runtime.block_on(read).unwrap().row), Some("1".into()));
            longest = longest.max(begun.elapsed());
            reads += 1;
            std::thread::sleep(Duration::from_millis(20));
        }
        (longest, reads)
    });
    let blocked = [(); 2].map(|()| tokio::spawn(async { std::thread::sleep(BLOCKED) }));
    for task in blocked {
        task.await.unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    let (longest, reads) = reader.join().unwrap();
    assert!(longest < BLOCKED / 2, "a strong read took {longest:?}: no lease was renewed meanwhile");
    assert!(reads > 5, "{reads} reads");
}
