//! The store as its users meet it: three nodes in one process, over loopback, with the embedded coordinator.

use std::collections::BTreeSet;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt;
use futures::future::join_all;
use kvstore::config::NodeConfig;
use kvstore::coordination::Coordinator;
use kvstore::coordination::embedded::{Embedded, EmbeddedClient};
use kvstore::error::KvError;
use kvstore::node::Node;
use kvstore::proto::v1;
use kvstore::request::{
    Columns, Condition, Consistency, Kv, Mutation, ReadOptions, RequestId, Row, Scan, SessionToken, Table,
    Write, WriteOutcome, Written,
};
use kvstore::{NodeId, status};
use tempfile::TempDir;
use wal::disk::FileDisk;
use wal::{Append, Entry, EntryKind, LogOptions, LogWriter, Lsn, Record};

/// What a killed node's session lives on for.
const SESSION: Duration = Duration::from_millis(300);

struct Cluster {
    service: Embedded,
    directory: TempDir,
    nodes: Vec<Option<(Node, Arc<EmbeddedClient>)>>,
    /// Whether blocks of tables are cached.
    cached: bool,
}

impl Cluster {
    async fn start(count: u32) -> Cluster {
        let directory = tempfile::tempdir().unwrap();
        let mut cluster = Cluster { service: Embedded::new(), directory, nodes: Vec::new(), cached: true };
        for _ in 0..count {
            cluster.nodes.push(None);
        }
        for index in 0..cluster.nodes.len() {
            cluster.restart(index).await;
        }
        cluster
    }

    async fn restart(&mut self, index: usize) {
        let number = u32::try_from(index).unwrap() + 1;
        let data = self.directory.path().join(format!("n{number}"));
        let mut config = NodeConfig::new(NodeId(number), data, "127.0.0.1:0");
        if !self.cached {
            config.block_cache_bytes = 0;
        }
        let coordinator = self.service.client();
        let node = Node::start(config, coordinator.clone()).await.unwrap();
        self.nodes[index] = Some((node, coordinator));
    }

    fn kill(&mut self, index: usize) {
        let (node, coordinator) = self.nodes[index].take().unwrap();
        node.kill();
        coordinator.kill(SESSION);
    }

    fn node(&self, index: usize) -> &Node {
        &self.nodes[index].as_ref().unwrap().0
    }

    fn kv(&self, index: usize) -> Arc<dyn Kv> {
        self.node(index).kv()
    }

    async fn table(&self, name: &str, splits: &[&str]) -> Table {
        let splits = splits.iter().map(|split| Bytes::copy_from_slice(split.as_bytes())).collect();
        self.kv(0).create_table(name, Bytes::new(), splits, soon()).await.unwrap()
    }

    /// The files of a node with this ending, in all its directories of a kind.
    fn files(&self, index: usize, ending: &str) -> BTreeSet<PathBuf> {
        let node = self.directory.path().join(format!("n{}", index + 1));
        let entries = |path: &Path| std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
        let directories = entries(&node).filter(|path| path.is_dir());
        let files = directories.flat_map(|path| entries(&path).collect::<Vec<_>>());
        files.filter(|path| path.to_string_lossy().ends_with(ending)).collect()
    }

    /// Waits until all replicas of all ranges are at the same LSN, and returns that their contents agree.
    async fn settle(&self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let status = self.node(0).cluster_status(true).await;
            let mut seen = BTreeSet::new();
            let (mut ranges, mut replicas, mut refused) = (BTreeSet::new(), 0, 0);
            for replica in status.nodes.iter().flat_map(|node| &node.replicas) {
                ranges.insert(replica.range.clone());
                replicas += 1;
                refused += usize::from(!replica.refusal.is_empty() || !replica.trouble.is_empty());
                let at = replica.checksum_lsn.unwrap_or_default();
                seen.insert((replica.range.clone(), at.epoch, at.sequence, replica.checksum));
            }
            if refused == 0 && seen.len() == ranges.len() && replicas == ranges.len() * 3 {
                return;
            }
            assert!(Instant::now() < deadline, "replicas did not come to agree:\n{status}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

fn strong() -> ReadOptions {
    ReadOptions { consistency: Consistency::Strong, max_staleness: None, min_lsn: None, deadline: soon() }
}

fn timeline() -> ReadOptions {
    ReadOptions { consistency: Consistency::Timeline, ..strong() }
}

fn put(table: &Table, key: &str, value: &str) -> Write {
    let mutation = Mutation::Put { column: "v".into(), value: Bytes::copy_from_slice(value.as_bytes()) };
    Write {
        table: table.id,
        key: Bytes::copy_from_slice(key.as_bytes()),
        conditions: Vec::new(),
        mutations: vec![mutation],
        request: None,
    }
}

fn written(outcome: Result<WriteOutcome, KvError>) -> Written {
    match outcome.unwrap() {
        WriteOutcome::Written(written) => written,
        WriteOutcome::ConditionFailed { current, .. } => panic!("a condition failed: {current:?}"),
    }
}

fn value(row: &Row) -> Option<String> {
    row.cells.first().map(|cell| String::from_utf8(cell.value.to_vec()).unwrap())
}

async fn get(kv: &Arc<dyn Kv>, table: &Table, key: &str, options: ReadOptions) -> Option<String> {
    let key = Bytes::copy_from_slice(key.as_bytes());
    value(&kv.get(table.id, key, Columns::All, &options, None).await.unwrap().row)
}

async fn scan(kv: &Arc<dyn Kv>, table: &Table, reverse: bool, limit: Option<u64>) -> Vec<String> {
    let scan =
        Scan { table: table.id, start: Bytes::new(), end: None, reverse, limit, columns: Columns::All };
    let options = strong();
    let mut pages = kv.scan(scan, &options, None);
    let mut keys = Vec::new();
    while let Some(page) = pages.next().await {
        keys.extend(page.unwrap().rows.iter().map(|row| String::from_utf8(row.key.to_vec()).unwrap()));
    }
    keys
}

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

fn damage(file: &Path, offset: u64) {
    let file = std::fs::OpenOptions::new().read(true).write(true).open(file).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 1], offset).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_tables_and_logs_mend_by_themselves() {
    let mut cluster = Cluster::start(3).await;
    cluster.cached = false;
    for index in 0..3 {
        cluster.kill(index);
        cluster.restart(index).await;
    }
    let table = cluster.table("t", &[]).await;
    // Enough for a flush; blocks that do not compress.
    let value = |number: u64| -> String {
        (0..25_000)
            .map(|part| format!("{:016x}", (number << 32 | part).wrapping_mul(0x9e37_79b9_7f4a_7c15)))
            .collect()
    };
    for number in 0..90u64 {
        written(
            cluster.kv(0).write(put(&table, &format!("{number:03}"), &value(number)), soon(), None).await,
        );
    }
    let deadline = soon();
    while (0..3).any(|index| cluster.files(index, ".sst").is_empty()) {
        assert!(Instant::now() < deadline, "no replica has flushed");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // A table rots under each node in turn, the leader among them, while it runs and is read.
    for index in 0..3 {
        let tables = cluster.files(index, ".sst");
        let rotten = tables.iter().next().unwrap().clone();
        damage(&rotten, std::fs::metadata(&rotten).unwrap().len() / 2);
        for options in [timeline, strong] {
            for number in 0..90u64 {
                let found = get(&cluster.kv(index), &table, &format!("{number:03}"), options()).await;
                assert!(found == Some(value(number)), "row {number} of n{}", index + 1);
            }
        }
        cluster.settle().await;
        assert!(!rotten.exists(), "{} was replaced", rotten.display());
    }
    // A log rots while its node is down.
    cluster.kill(1);
    let segment = cluster.files(1, ".seg").into_iter().next().unwrap();
    damage(&segment, 8 << 20);
    cluster.restart(1).await;
    cluster.settle().await;
    // It counts again: with one other it is a majority.
    cluster.kill(0);
    written(cluster.kv(1).write(put(&table, "zzz", "after"), soon(), None).await);
    assert_eq!(get(&cluster.kv(1), &table, "zzz", strong()).await.as_deref(), Some("after"));
}

/// Puts an entry that nobody sent behind the last one in the log of a node that was killed.
async fn forge(directory: &Path) -> Lsn {
    let deadline = soon();
    let disk = loop {
        // The killed node may still be letting go of its last file.
        match FileDisk::open(directory) {
            Ok(disk) => break disk,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let (mut log, recovery) = LogWriter::open(Arc::new(disk), LogOptions::default()).unwrap();
    let (cohort, found) = recovery.cohorts.iter().next().unwrap();
    let last = found.entries.last().unwrap();
    let forged = Entry::next(last.lsn, last.chain, last.lsn.epoch, EntryKind::Write, Bytes::new());
    let lsn = forged.lsn;
    log.append(Append { cohort: *cohort, records: vec![Record::Entry(forged)] }).unwrap();
    log.force().unwrap();
    lsn
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_differs_starts_over() {
    let mut cluster = Cluster::start(3).await;
    let table = cluster.table("t", &[]).await;
    written(cluster.kv(0).write(put(&table, "a", "first"), soon(), None).await);
    cluster.settle().await;
    // Some follower's log gets an entry that nobody sent, in the place of the next one.
    let mut round = 0;
    let (leader, odd) = loop {
        round += 1;
        assert!(round < 10, "there is an election whenever a follower is away");
        let status = cluster.node(0).cluster_status(false).await;
        let leads = |node: &&v1::NodeStatus| node.replicas.iter().any(|replica| replica.leader == node.node);
        let leader = status.nodes.iter().find(leads).unwrap().node as usize - 1;
        let odd = (leader + 1) % 3;
        cluster.kill(odd);
        let forged = forge(&cluster.directory.path().join(format!("n{}", odd + 1))).await;
        let next = written(cluster.kv(leader).write(put(&table, "b", "second"), soon(), None).await);
        if (next.lsn.epoch, next.lsn.seq) == (forged.epoch, forged.seq) {
            break (leader, odd);
        }
        cluster.restart(odd).await;
        cluster.settle().await;
    };
    cluster.restart(odd).await;
    // It says so, and waits: the leader may be the one that is wrong.
    let deadline = soon();
    loop {
        let status = cluster.node(odd).status(false).await;
        if status.replicas.iter().any(|replica| replica.trouble.contains("hash differs from the leader's")) {
            break;
        }
        assert!(Instant::now() < deadline, "{status:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // What the two others commit without it shows that it is not.
    written(cluster.kv(leader).write(put(&table, "c", "third"), soon(), None).await);
    cluster.settle().await;
    for (key, value) in [("a", "first"), ("b", "second"), ("c", "third")] {
        assert_eq!(get(&cluster.kv(odd), &table, key, timeline()).await.as_deref(), Some(value));
    }
    // It counts again.
    cluster.kill((leader + 2) % 3);
    written(cluster.kv(odd).write(put(&table, "d", "fourth"), soon(), None).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_disk_under_a_known_number_is_refused() {
    let mut cluster = Cluster::start(1).await;
    cluster.kill(0);
    std::fs::remove_dir_all(cluster.directory.path().join("n1")).unwrap();
    let config = NodeConfig::new(NodeId(1), cluster.directory.path().join("n1"), "127.0.0.1:0");
    let refused = Node::start(config, cluster.service.client()).await.err().unwrap().to_string();
    assert!(refused.contains("registered in this cluster with another disk"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_disk_is_refilled_from_the_others() {
    let mut cluster = Cluster::start(3).await;
    let table = cluster.table("t", &["m"]).await;
    for key in ["a", "z"] {
        written(cluster.kv(0).write(put(&table, key, "before"), soon(), None).await);
    }
    cluster.kill(2);
    let directory = cluster.directory.path().join("n3");
    std::fs::remove_dir_all(&directory).unwrap();
    written(cluster.kv(0).write(put(&table, "z", "while away"), soon(), None).await);
    let config = NodeConfig { rebuild: true, ..NodeConfig::new(NodeId(3), directory, "127.0.0.1:0") };
    let coordinator = cluster.service.client();
    let node = Node::start(config, coordinator.clone()).await.unwrap();
    cluster.nodes[2] = Some((node, coordinator));
    cluster.settle().await;

    // It counts again, with its own data: with one other it is a majority.
    cluster.kill(0);
    written(cluster.kv(2).write(put(&table, "m", "after"), soon(), None).await);
    for (key, value) in [("a", "before"), ("m", "after"), ("z", "while away")] {
        assert_eq!(get(&cluster.kv(2), &table, key, strong()).await.as_deref(), Some(value));
    }
    // The others heard it: a restart of the one that is left, and of it, changes nothing.
    for index in [2, 1] {
        cluster.kill(index);
        cluster.restart(index).await;
    }
    assert_eq!(get(&cluster.kv(1), &table, "m", strong()).await.as_deref(), Some("after"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_number_was_given_away_stops() {
    let mut cluster = Cluster::start(3).await;
    let table = cluster.table("t", &[]).await;
    written(cluster.kv(0).write(put(&table, "a", "before"), soon(), None).await);
    // It looks gone to the coordinator, but lives; an operator gives its number to an empty disk.
    cluster.service.client().delete("/spinnaker/default/nodes/3", None).await.unwrap();
    let directory = cluster.directory.path().join("new");
    let config = NodeConfig { rebuild: true, ..NodeConfig::new(NodeId(3), directory, "127.0.0.1:0") };
    let coordinator = cluster.service.client();
    let node = Node::start(config, coordinator.clone()).await.unwrap();
    let (old, _session) = cluster.nodes[2].replace((node, coordinator)).unwrap();
    let why = tokio::time::timeout(Duration::from_secs(20), old.failed()).await.unwrap();
    assert!(why.contains("the number of n3 was given to another disk"), "{why}");
    drop(old);
    cluster.settle().await;
    assert_eq!(get(&cluster.kv(2), &table, "a", timeline()).await.as_deref(), Some("before"));
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
