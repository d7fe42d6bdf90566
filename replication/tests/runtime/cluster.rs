//! Three nodes in one process: real log, streams and coordinator, and a store that sums up what clients add.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use replication::coordination::Coordinator;
use replication::coordination::embedded::{Embedded, EmbeddedClient};
use replication::protocol::event::Received;
use replication::protocol::message::SnapshotPart;
use replication::protocol::{Recovered, Settings};
use replication::runtime::{Addresses, Replica, ReplicaError, Runtime, RuntimeConfig, tuned};
use replication::store::{Decision, LoggedWrite, Store};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use wal::disk::MemoryDisk;
use wal::{CohortId, Entry, EntryKind, Incarnation, Log, LogOptions, LogWriter, Lsn, NodeId, ReplicaId};

pub(crate) const COHORT: CohortId = CohortId(0xC0FFEE);
pub(crate) const NODES: [u32; 3] = [1, 2, 3];
/// Far more than anything here takes, even on a busy machine.
pub(crate) const LONG: Duration = Duration::from_secs(30);

/// A client's write: add `amount`, once, however often it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Add {
    /// Who and which of its writes.
    pub(crate) id: u64,
    pub(crate) amount: u64,
}

#[derive(Debug, Default)]
struct Sum {
    total: u64,
    applied: Lsn,
    /// Every write ever applied.
    done: BTreeMap<u64, Lsn>,
    pending: BTreeMap<u64, Lsn>,
}

/// Sums up; refuses to add 13, which stands for a failed condition. An old one does not know how to add [`NEW`].
#[derive(Debug, Default)]
pub(crate) struct Counter(Mutex<Sum>, AtomicBool);

/// What only a newer program can add.
pub(crate) const NEW: u64 = 1_000_000;

/// Why an [`Add`] was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It was applied before.
    Done(Lsn),
    /// The total when it was refused.
    Unlucky(u64),
}

impl Counter {
    /// From now on it is of an older program, or of the newest.
    pub(crate) fn set_old(&self, old: bool) {
        self.1.store(old, Ordering::Relaxed);
    }

    pub(crate) fn total(&self) -> (u64, usize) {
        let sum = self.0.lock().expect("no panic");
        (sum.total, sum.done.len())
    }
}

impl Store for Counter {
    type Request = Add;
    type Pending = u64;
    type Refusal = Refusal;

    fn understands(&self, entry: &Entry) -> bool {
        !(self.1.load(Ordering::Relaxed) && entry.payload.ends_with(&NEW.to_le_bytes()))
    }

    fn decide(&self, add: Add) -> Decision<u64, Refusal> {
        let sum = self.0.lock().expect("no panic");
        if let Some(lsn) = sum.done.get(&add.id) {
            return Decision::Refuse { refusal: Refusal::Done(*lsn), after: Lsn::ZERO };
        }
        if let Some(lsn) = sum.pending.get(&add.id) {
            return Decision::Join(LoggedWrite { lsn: *lsn, refused: false });
        }
        if add.amount == 13 {
            let after = sum.pending.values().max().copied().unwrap_or(Lsn::ZERO);
            return Decision::Refuse { refusal: Refusal::Unlucky(sum.total), after };
        }
        let mut payload = add.id.to_le_bytes().to_vec();
        payload.extend(add.amount.to_le_bytes());
        Decision::Propose { payload: Bytes::from(payload), pending: add.id, refused: false }
    }

    fn pending(&self, outcome: LoggedWrite, id: u64) {
        self.0.lock().expect("no panic").pending.insert(id, outcome.lsn);
    }

    fn apply(&self, entries: &[Entry]) {
        let mut sum = self.0.lock().expect("no panic");
        for entry in entries {
            assert_eq!(entry.lsn.seq, sum.applied.seq + 1, "applied in order, without holes, once");
            sum.applied = entry.lsn;
            if entry.kind == EntryKind::EpochStart {
                continue;
            }
            let number =
                |at: usize| u64::from_le_bytes(entry.payload[at..at + 8].try_into().expect("8 bytes"));
            let (id, amount) = (number(0), number(8));
            assert_eq!(sum.done.insert(id, entry.lsn), None, "write {id} was executed twice");
            sum.pending.remove(&id);
            sum.total += amount;
        }
    }

    fn applied(&self) -> Lsn {
        self.0.lock().expect("no panic").applied
    }

    fn read_snapshot(&self, _: NodeId, _: u64, _: u64, _: Lsn) -> Result<SnapshotPart, String> {
        Err("a sum has no tables".to_owned())
    }

    fn receive_snapshot(&self, _: SnapshotPart) -> Received {
        Received::Failed("a sum has no tables".to_owned())
    }

    fn damaged(&self) -> bool {
        false
    }

    fn request_flush(&self) {}

    fn wipe(&self) -> Result<(), String> {
        Err("these tests never ask for it".to_owned())
    }

    fn closed(&self) {
        self.0.lock().expect("no panic").pending.clear();
    }
}

#[derive(Default)]
struct Book(Mutex<BTreeMap<NodeId, String>>);

impl Addresses for Book {
    fn disk(&self, node: NodeId) -> Option<Incarnation> {
        Some(member(node.0).incarnation)
    }

    fn address(&self, node: NodeId) -> Option<String> {
        self.0.lock().expect("no panic").get(&node).cloned()
    }
}

/// A running node.
pub(crate) struct Node {
    pub(crate) runtime: Runtime,
    pub(crate) replica: Arc<Replica<Counter>>,
    pub(crate) store: Arc<Counter>,
    pub(crate) log: Log,
    session: Arc<EmbeddedClient>,
    server: JoinHandle<()>,
}

pub(crate) struct Cluster {
    coordinator: Embedded,
    book: Arc<Book>,
    pub(crate) disks: BTreeMap<u32, Arc<MemoryDisk>>,
    pub(crate) nodes: BTreeMap<u32, Node>,
    next_id: AtomicU64,
}

/// Small segments, so that a full disk shows soon.
fn log_options() -> LogOptions {
    LogOptions {
        segment_bytes: 256 << 10,
        retention_bytes: 1 << 20,
        reserve_bytes: 64 << 10,
        ..LogOptions::default()
    }
}

fn member(number: u32) -> ReplicaId {
    ReplicaId { node: NodeId(number), incarnation: Incarnation(u64::from(number) + 100) }
}

impl Cluster {
    pub(crate) async fn start() -> Cluster {
        let coordinator = Embedded::new();
        coordinator.client().ensure(&format!("/spinnaker/test/ranges/{COHORT}")).await.expect("a new tree");
        let mut cluster = Cluster {
            coordinator,
            book: Arc::default(),
            disks: NODES.map(|node| (node, Arc::new(MemoryDisk::new()))).into(),
            nodes: BTreeMap::new(),
            next_id: AtomicU64::new(0),
        };
        for node in NODES {
            cluster.start_node(node).await;
        }
        cluster
    }

    /// Starts a node on its disk, whatever that holds.
    pub(crate) async fn start_node(&mut self, number: u32) {
        let disk = Arc::clone(&self.disks[&number]);
        let (writer, mut recovery) = LogWriter::open(disk, log_options()).expect("a sound log");
        let recovered = match recovery.cohorts.remove(&COHORT) {
            Some(found) => {
                assert!(found.corrupt.is_none(), "{:?}", found.corrupt);
                Recovered { log: found, ..Recovered::default() }
            }
            None => Recovered { fresh: true, ..Recovered::default() },
        };
        let log = Log::spawn(writer).expect("a thread");
        let session = self.coordinator.client();
        let config =
            RuntimeConfig { me: member(number), cluster: "test".to_string(), settings: Settings::default() };
        let coordinator = Arc::clone(&session) as Arc<dyn Coordinator>;
        let addresses = Arc::clone(&self.book) as Arc<dyn Addresses>;
        let runtime = Runtime::new(config, log.clone(), coordinator, addresses).expect("threads");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound").to_string();
        self.book.0.lock().expect("no panic").insert(NodeId(number), address);
        let serve = tuned(Server::builder())
            .add_service(runtime.service())
            .serve_with_incoming(TcpListenerStream::new(listener));
        let server = tokio::spawn(async move { drop(serve.await) });
        let store = Arc::new(Counter::default());
        let members = NODES.map(member).to_vec();
        let replica = runtime.open(COHORT, members, recovered, Arc::clone(&store)).expect("opened once");
        self.nodes.insert(number, Node { runtime, replica, store, log, session, server });
    }

    /// Ends a node as a crash would: what its disk had not forced is gone.
    pub(crate) fn kill(&mut self, number: u32) {
        let node = self.nodes.remove(&number).expect("it runs");
        node.runtime.kill();
        node.log.kill();
        node.session.kill(Duration::from_millis(100));
        node.server.abort();
    }

    fn status(&self) -> String {
        self.nodes.values().map(|node| format!("{}\n", node.replica.status())).collect()
    }

    /// Waits until some node is an open leader, and says which.
    pub(crate) async fn leader(&self) -> u32 {
        let deadline = Instant::now() + LONG;
        loop {
            for (number, node) in &self.nodes {
                if node.replica.lease().is_some() {
                    return *number;
                }
            }
            assert!(Instant::now() < deadline, "no leader\n{}", self.status());
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// A write as a gateway does it: again and again, at whoever leads, until it is certain.
    pub(crate) async fn add(&self, amount: u64) -> Lsn {
        let add = Add { id: self.next_id.fetch_add(1, Ordering::Relaxed), amount };
        let deadline = Instant::now() + LONG;
        loop {
            for node in self.nodes.values() {
                // A node that has lost its majority keeps the client waiting; the others are worth a try.
                match timeout(Duration::from_secs(2), node.replica.write(add)).await {
                    Ok(Ok(Ok(outcome))) => return outcome.lsn,
                    Ok(Ok(Err(Refusal::Done(lsn)))) => return lsn,
                    Ok(Ok(Err(Refusal::Unlucky(_)))) => {
                        panic!("not refused by its amount")
                    }
                    Ok(Err(_)) | Err(_) => (),
                }
            }
            assert!(Instant::now() < deadline, "nobody takes the write\n{}", self.status());
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// A strong read of (total, number of writes), by lease or else by asking a majority.
    pub(crate) async fn read(&self) -> (u64, usize) {
        let deadline = Instant::now() + LONG;
        loop {
            for node in self.nodes.values() {
                if let Some(epoch) = node.replica.lease() {
                    let seen = node.store.total();
                    if node.replica.lease() == Some(epoch) {
                        return seen;
                    }
                } else if let Ok(Ok(())) =
                    timeout(Duration::from_secs(2), node.replica.read_barrier(Lsn::ZERO)).await
                {
                    return node.store.total();
                }
            }
            assert!(Instant::now() < deadline, "nobody serves the read\n{}", self.status());
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until every running node has applied `lsn`, and checks that all hold the same.
    pub(crate) async fn agree(&self, lsn: Lsn, expected: (u64, usize)) {
        for (number, node) in &self.nodes {
            let applied = node.replica.wait_applied(lsn, Instant::now() + LONG).await;
            assert_eq!(applied, Ok::<(), ReplicaError>(()), "node {number}: {}", node.replica.status());
            assert_eq!(node.store.total(), expected, "node {number}");
        }
    }
}
