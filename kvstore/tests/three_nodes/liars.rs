//! Whoever reaches the gRPC port may say anything: well-formed messages with any values whatever, as a client or as another
//! node's gateway. No node panics or stops, no other table is harmed, and each question gets an answer that fits.
//!
//! Values are drawn from what is there, from their neighbours and from the ends of their types: such lies get furthest.
//! `SPINNAKER_SEED=N` shows one round.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kvstore::proto::v1;
use kvstore::proto::v1::kv_client::KvClient;
use kvstore::request::Table;
use kvstore::status;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use self::kv::gateway;
use self::kv::gateway::gateway_client::GatewayClient;
use crate::cluster::*;

/// The messages between nodes, generated once more: they are no part of the library's interface.
#[allow(missing_docs, clippy::all, unreachable_pub, dead_code)]
mod kv {
    pub(crate) use kvstore::proto::v1;
    pub(crate) mod gateway {
        tonic::include_proto!("spinnaker.kv.gateway");
    }
}

const ROUNDS: u64 = 6;
const LIES: u64 = 120;
/// No question is waited for longer.
const ANSWER_MAX: Duration = Duration::from_secs(20);
const TIMEOUT_MS: u32 = 300;

struct Liar {
    state: u64,
    /// Ranges of the table that is lied about, and some that are none.
    ranges: Vec<Bytes>,
}

impl Liar {
    fn below(&mut self, n: u64) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state % n
    }

    fn flip(&mut self) -> bool {
        self.below(2) == 0
    }

    fn pick<T: Clone>(&mut self, all: &[T]) -> T {
        let at = self.below(all.len() as u64) as usize;
        all[at].clone()
    }

    fn maybe<T>(&mut self, make: impl FnOnce(&mut Liar) -> T) -> Option<T> {
        if self.below(8) > 0 { Some(make(self)) } else { None }
    }

    fn many<T>(&mut self, mut make: impl FnMut(&mut Liar) -> T) -> Vec<T> {
        (0..self.below(4)).map(|_| make(self)).collect()
    }

    fn number(&mut self) -> u64 {
        let near = self.below(100);
        self.pick(&[0, 1, near, near, u64::from(u32::MAX), 1 << 62, u64::MAX - 1, u64::MAX])
    }

    fn bytes(&mut self) -> Bytes {
        let text: [&[u8]; 9] = [b"", b"a", b"k", b"m", b"n", b"z", b"\0", b"\x7f\x7f", b"v"];
        match self.below(40) {
            0 => vec![b'x'; 300].into(),
            1 => vec![b'x'; 5000].into(),
            2 => vec![0xff; 70_000].into(),
            3 => vec![b'y'; 3 << 20].into(),
            _ => Bytes::from_static(self.pick(&text)),
        }
    }

    fn lsn(&mut self) -> v1::Lsn {
        let epoch = self.pick(&[0, 1, 2, u32::MAX]);
        v1::Lsn { epoch, sequence: self.number() }
    }

    fn condition(&mut self) -> v1::Condition {
        use v1::condition::{ColumnVersion, Kind};
        let kind = self.maybe(|liar| match liar.below(4) {
            0 => Kind::RowAbsent(liar.flip()),
            1 => Kind::RowPresent(liar.flip()),
            2 => Kind::RowVersion(liar.lsn()),
            _ => Kind::ColumnVersion(ColumnVersion { column: liar.bytes(), version: liar.maybe(Liar::lsn) }),
        });
        v1::Condition { kind }
    }

    fn value(&mut self) -> v1::ColumnValue {
        v1::ColumnValue { column: self.bytes(), value: self.bytes() }
    }

    // What other nodes ask.

    fn mode(&mut self) -> gateway::Mode {
        let max_staleness_ms = self.maybe(Liar::number);
        gateway::Mode { timeline: self.flip(), floor: self.maybe(Liar::lsn), max_staleness_ms }
    }

    fn columns(&mut self) -> gateway::Columns {
        gateway::Columns { all: self.flip(), some: self.many(Liar::bytes) }
    }

    fn mutation(&mut self) -> gateway::Mutation {
        use gateway::mutation::Kind;
        let kind = self.maybe(|liar| match liar.below(5) {
            0 => Kind::Delete(liar.bytes()),
            1 => Kind::DeleteRow(liar.flip()),
            _ => Kind::Put(liar.value()),
        });
        gateway::Mutation { kind }
    }

    fn good_mutation(&mut self) -> gateway::Mutation {
        let value = v1::ColumnValue { column: "v".into(), value: self.bytes() };
        gateway::Mutation { kind: Some(gateway::mutation::Kind::Put(value)) }
    }

    fn operation(&mut self) -> gateway::request::Operation {
        use gateway::request::Operation;
        match self.below(9) {
            0 => Operation::Get(gateway::Get {
                key: self.bytes(),
                columns: self.maybe(Liar::columns),
                mode: self.maybe(Liar::mode),
            }),
            1 => Operation::MultiGet(gateway::MultiGet {
                keys: self.many(Liar::bytes),
                columns: self.maybe(Liar::columns),
                mode: self.maybe(Liar::mode),
                at: self.maybe(Liar::lsn),
                partial: self.flip(),
            }),
            2 | 3 => Operation::Scan(gateway::Scan {
                start: self.bytes(),
                end: self.maybe(Liar::bytes),
                reverse: self.flip(),
                limit: self.maybe(Liar::number),
                columns: self.maybe(Liar::columns),
                mode: self.maybe(Liar::mode),
                at: if self.flip() { Some(self.lsn()) } else { None },
                cursor: self.number(),
                page_bytes: self.number() as u32,
            }),
            4 => Operation::Next(self.number()),
            5 => Operation::Close(self.number()),
            6 => Operation::Transfer(self.pick(&[0, 1, 2, 3, 4, u32::MAX])),
            _ => Operation::Write(gateway::Write {
                key: self.bytes(),
                conditions: if self.flip() { self.many(Liar::condition) } else { Vec::new() },
                mutations: if self.flip() { vec![self.good_mutation()] } else { self.many(Liar::mutation) },
                client: if self.below(6) > 0 { vec![7; 16].into() } else { self.bytes() },
                sequence: self.number(),
                known: self.maybe(Liar::lsn),
                retry: self.flip(),
                row_versions: self.flip(),
            }),
        }
    }

    fn question(&mut self, id: u64) -> gateway::Request {
        let ranges = self.ranges.clone();
        let (range, operation) = (self.pick(&ranges), self.maybe(Liar::operation));
        gateway::Request { id, timeout_ms: TIMEOUT_MS, range, operation, forward: self.flip() }
    }

    // What clients ask.

    fn options(&mut self) -> v1::ReadOptions {
        let (max_staleness_ms, min_lsn) = (self.maybe(Liar::number), self.maybe(Liar::lsn));
        v1::ReadOptions { consistency: self.pick(&[0, 1, 2, -1, i32::MAX]), max_staleness_ms, min_lsn }
    }

    fn name(&mut self) -> String {
        self.pick(&["lies", "lies", "lies", "", "none", "a/b", "\0", "..", "\u{1f980}"]).to_owned()
    }

    fn request(&mut self) -> v1::RequestId {
        let client = self.pick(&[Bytes::from(vec![9; 16]), Bytes::from(vec![9; 15]), Bytes::new()]);
        v1::RequestId { client, sequence: self.number(), retry: self.flip() }
    }

    fn put(&mut self) -> v1::PutRequest {
        let (key, columns) = (self.bytes(), self.many(Liar::value));
        v1::PutRequest { table: self.name(), key, columns, request: self.maybe(Liar::request) }
    }

    fn delete(&mut self) -> v1::DeleteRequest {
        let (key, columns) = (self.bytes(), self.many(Liar::bytes));
        v1::DeleteRequest { table: self.name(), key, columns, request: self.maybe(Liar::request) }
    }

    /// Asks something as a client.
    async fn ask(&mut self, client: &mut KvClient<Channel>) -> Result<(), Status> {
        match self.below(10) {
            0 => {
                let (table, key, columns) = (self.name(), self.bytes(), self.many(Liar::bytes));
                let options = self.maybe(Liar::options);
                client.get(timed(v1::GetRequest { table, key, columns, options })).await.map(drop)
            }
            1 => {
                let (table, keys, columns) = (self.name(), self.many(Liar::bytes), self.many(Liar::bytes));
                let options = self.maybe(Liar::options);
                client.multi_get(timed(v1::MultiGetRequest { table, keys, columns, options })).await.map(drop)
            }
            2 => client.put(timed(self.put())).await.map(drop),
            3 => client.delete(timed(self.delete())).await.map(drop),
            4 => {
                let (put, conditions) = (self.maybe(Liar::put), self.many(Liar::condition));
                client.conditional_put(timed(v1::ConditionalPutRequest { put, conditions })).await.map(drop)
            }
            5 => {
                let (delete, conditions) = (self.maybe(Liar::delete), self.many(Liar::condition));
                let request = v1::ConditionalDeleteRequest { delete, conditions };
                client.conditional_delete(timed(request)).await.map(drop)
            }
            6 | 7 => {
                let scan = v1::ScanRequest {
                    table: self.name(),
                    start: self.bytes(),
                    end: self.maybe(Liar::bytes),
                    reverse: self.flip(),
                    limit: self.maybe(Liar::number),
                    columns: self.many(Liar::bytes),
                    options: self.maybe(Liar::options),
                };
                let mut pages = client.scan(timed(scan)).await?.into_inner();
                while pages.message().await?.is_some() {}
                Ok(())
            }
            8 => {
                let range = self.pick(&["", "0", "ffffffffffffffffffffffffffffffff", "x"]).to_owned();
                let target = self.pick(&[0, 1, 9, u32::MAX]);
                client.transfer_leader(timed(v1::TransferLeaderRequest { range, target })).await.map(drop)
            }
            _ => {
                let table = self.pick(&["", "lies", "a\0b", "\u{fffd}"]).to_owned();
                // Never one that could be made.
                let splits = vec!["b".into(), "a".into(), Bytes::new()];
                client.create_table(timed(v1::CreateTableRequest { table, splits })).await.map(drop)
            }
        }
    }
}

fn timed<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(Duration::from_millis(TIMEOUT_MS.into()));
    request
}

/// An answer that says that the question was wrong, or could not be served now, but not that the node is at a loss.
fn fits(code: Code) -> bool {
    !matches!(code, Code::Internal | Code::Unknown | Code::Unimplemented | Code::DataLoss)
}

/// What one node answers to a write of a range, asked as by another node.
async fn ask_to_write(
    cluster: &Cluster,
    index: usize,
    range: &Bytes,
    write: gateway::Write,
) -> gateway::answer::Kind {
    let endpoint = format!("http://{}", cluster.node(index).address());
    let mut client = GatewayClient::connect(endpoint).await.unwrap();
    let operation = Some(gateway::request::Operation::Write(write));
    let (id, range, forward) = (1, range.clone(), false);
    let question = gateway::Request { id, timeout_ms: 5000, range, operation, forward };
    let frames = tokio_stream::iter([gateway::Requests { requests: vec![question] }]);
    // The stream must not end before the answer has come.
    let frames = tokio_stream::StreamExt::chain(frames, tokio_stream::pending());
    let mut answers = client.exchange(frames).await.unwrap().into_inner();
    answers
        .message()
        .await
        .unwrap()
        .expect("an answer")
        .answers
        .remove(0)
        .kind
        .expect("an answer of some kind")
}

fn write_of(key: &[u8], mutations: Vec<gateway::mutation::Kind>, sequence: u64) -> gateway::Write {
    gateway::Write {
        key: Bytes::copy_from_slice(key),
        mutations: mutations.into_iter().map(|kind| gateway::Mutation { kind: Some(kind) }).collect(),
        client: vec![5; 16].into(),
        sequence,
        ..gateway::Write::default()
    }
}

fn value(column: &str) -> gateway::mutation::Kind {
    gateway::mutation::Kind::Put(v1::ColumnValue { column: column.to_owned().into(), value: "x".into() })
}

/// What the leader of a range answers.
async fn ask_the_leader(
    cluster: &Cluster,
    range: &Bytes,
    write: gateway::Write,
) -> Result<(), gateway::Failure> {
    let deadline = soon();
    for index in (0..3).cycle() {
        match ask_to_write(cluster, index, range, write.clone()).await {
            gateway::answer::Kind::Written(_) => return Ok(()),
            gateway::answer::Kind::Failure(failure) => match failure.kind() {
                gateway::failure::Kind::NotLeader | gateway::failure::Kind::Unavailable => {
                    assert!(Instant::now() < deadline, "{failure:?}");
                }
                _ => return Err(failure),
            },
            other => panic!("{other:?}"),
        }
    }
    unreachable!("three nodes are asked again and again")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_takes_over_keeps_a_request_until_it_serves() {
    let cluster = Cluster::start(3).await;
    let table = cluster.table("t", &[]).await;
    let id = cluster.kv(0).ranges(table.id).await.unwrap()[0].id;
    let range = Bytes::copy_from_slice(&id.0.to_be_bytes());
    written(cluster.kv(0).write(put(&table, "a", "0"), soon(), None).await);
    let mut client = status::connect(&cluster.node(0).address().to_string()).await.unwrap();
    let mut taken = 0;
    for number in 1..=20 {
        let target = number % 3;
        let request = v1::TransferLeaderRequest { range: id.to_string(), target: target as u32 + 1 };
        if client.transfer_leader(request).await.is_err() {
            // It leads already.
            continue;
        }
        let begun = Instant::now();
        match ask_to_write(&cluster, target, &range, write_of(b"a", vec![value("v")], number as u64)).await {
            gateway::answer::Kind::Written(_) => taken += 1,
            gateway::answer::Kind::Failure(failure) => {
                // It has not heard of it yet, or the machine is slow.
                let waited = begun.elapsed() >= Duration::from_millis(100);
                let early = failure.kind() == gateway::failure::Kind::NotLeader;
                assert!(early || waited, "{failure:?} after {:?}", begun.elapsed());
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(taken > 0, "no write came while its leader took over, or after");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_gateway_lets_through_is_refused_by_the_leader_too() {
    use gateway::failure::Kind::{Invalid, TooLarge};
    use gateway::mutation::Kind::Delete;
    let cluster = Cluster::start(3).await;
    let table = cluster.table("t", &["m"]).await;
    let first = cluster.kv(0).ranges(table.id).await.unwrap()[0].id;
    let range = Bytes::copy_from_slice(&first.0.to_be_bytes());
    let write =
        async |key: &[u8], mutations| ask_the_leader(&cluster, &range, write_of(key, mutations, 0)).await;
    assert_eq!(write(b"a", vec![value("v")]).await, Ok(()));
    for (key, mutations, expected) in [
        (b"m".to_vec(), vec![value("v")], Invalid),
        (b"zz".to_vec(), vec![value("v")], Invalid),
        (vec![b'a'; 5000], vec![value("v")], TooLarge),
        (b"a".to_vec(), vec![value("")], Invalid),
        (b"a".to_vec(), vec![Delete(Bytes::new())], Invalid),
        (b"a".to_vec(), vec![value(&"c".repeat(300))], TooLarge),
        (b"a".to_vec(), vec![], Invalid),
    ] {
        let refused = write(&key, mutations.clone()).await.expect_err("must be refused");
        assert_eq!(refused.kind(), expected, "{refused:?} to {mutations:?}");
    }
    assert_eq!(scan(&cluster.kv(0), &table, false, None).await, ["a"]);
}

/// Sends lies as another node would, on one stream; each must be answered, once.
async fn lie_as_a_node(liar: &mut Liar, address: &str) {
    let endpoint = format!("http://{address}");
    let mut client = GatewayClient::connect(endpoint).await.unwrap().max_encoding_message_size(64 << 20);
    let questions: Vec<gateway::Request> = (0..LIES).map(|id| liar.question(id)).collect();
    let sent = questions.clone();
    let (frames, outgoing) = tokio::sync::mpsc::channel(1);
    let answers = client.exchange(tokio_stream::wrappers::ReceiverStream::new(outgoing)).await.unwrap();
    let mut answers = answers.into_inner();
    let send = async {
        for question in questions {
            frames.send(gateway::Requests { requests: vec![question] }).await.unwrap();
        }
    };
    let receive = async {
        let mut open: BTreeSet<u64> = (0..LIES).collect();
        while !open.is_empty() {
            let next = tokio::time::timeout(ANSWER_MAX, answers.message()).await;
            let Ok(frame) = next else {
                let first = open.first().map(|id| &sent[*id as usize]);
                panic!("{} questions are not answered, the first is {first:?}", open.len());
            };
            let frame = frame.unwrap().expect("the stream goes on");
            for answer in frame.answers {
                let question = &sent[answer.id as usize];
                assert!(open.remove(&answer.id), "answered twice: {question:?}");
                if let Some(gateway::answer::Kind::Failure(failure)) = &answer.kind {
                    assert_ne!(
                        failure.kind(),
                        gateway::failure::Kind::Internal,
                        "{failure:?} to {question:?}"
                    );
                }
            }
        }
    };
    tokio::join!(send, receive);
}

async fn lie_as_a_client(liar: &mut Liar, address: &str) {
    let mut client = status::connect(address).await.unwrap();
    for _ in 0..LIES / 2 {
        let begun = Instant::now();
        if let Err(status) = liar.ask(&mut client).await {
            assert!(fits(status.code()), "{status:?}");
        }
        assert!(begun.elapsed() < ANSWER_MAX);
    }
}

/// Of a range that nobody lies about: it is served all the time.
async fn serve(cluster: &Cluster, table: &Table, number: u64) {
    for index in 0..3 {
        let text = format!("{number}");
        let begun = Instant::now();
        written(cluster.kv(index).write(put(table, "k", &text), soon(), None).await);
        assert_eq!(get(&cluster.kv(index), table, "k", strong()).await, Some(text));
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_lie_harms_a_node_or_another_table() {
    let mut cluster = Cluster::start(3).await;
    let honest = cluster.table("honest", &[]).await;
    let lies = cluster.table("lies", &["m"]).await;
    written(cluster.kv(0).write(put(&lies, "a", "true"), soon(), None).await);
    let ids = cluster.kv(0).ranges(lies.id).await.unwrap();
    let mut ranges: Vec<Bytes> =
        ids.iter().map(|range| Bytes::copy_from_slice(&range.id.0.to_be_bytes())).collect();
    ranges.extend([Bytes::from(vec![0; 16]), Bytes::from(vec![1; 3]), ranges[0].clone(), ranges[1].clone()]);
    let one = std::env::var("SPINNAKER_SEED").ok().and_then(|seed| seed.parse().ok());
    for seed in one.map_or(1..ROUNDS + 1, |seed: u64| seed..seed + 1) {
        println!("SPINNAKER_SEED={seed}");
        let mut liar = Liar { state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15), ranges: ranges.clone() };
        let address = cluster.node(seed as usize % 3).address().to_string();
        let lying = async {
            lie_as_a_node(&mut liar, &address).await;
            lie_as_a_client(&mut liar, &address).await;
        };
        tokio::join!(lying, serve(&cluster, &honest, seed));
        for index in 0..3 {
            let failed = tokio::time::timeout(Duration::ZERO, cluster.node(index).failed()).await;
            assert!(failed.is_err(), "a node has ended: {failed:?}");
        }
    }
    // What was taken can be flushed, read and recovered like anything else, and no row is outside of its range.
    cluster.settle().await;
    for index in 0..3 {
        cluster.node(index).shutdown().await;
        cluster.nodes[index] = None;
        cluster.restart(index).await;
    }
    serve(&cluster, &honest, 0).await;
    cluster.settle().await;
    let keys = scan(&cluster.kv(0), &lies, false, None).await;
    assert!(keys.is_sorted() && keys.contains(&"a".to_owned()), "{keys:?}");
    assert!(keys.iter().all(|key| key.len() <= 4096), "a key is too long");
}
