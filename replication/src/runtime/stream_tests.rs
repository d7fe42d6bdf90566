//! Nodes in one process talk over loopback; cohorts are probes that write down what they hear.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::Code;
use tonic::transport::Server;
use wal::disk::MemoryDisk;
use wal::{CohortId, Epoch, Incarnation, Log, LogOptions, LogWriter, Lsn, NodeId, ReplicaId};

use super::cohorts::{Driven, Wakes};
use super::introduction::VERSIONS;
use super::node::{Addresses, Node, RuntimeConfig};
use super::peer::Peers;
use super::service;
use super::threads::threads;
use super::transport::tuned;
use super::wire::proto::replication_client::ReplicationClient;
use super::wire::{self, proto};
use crate::coordination::embedded::Embedded;
use crate::drive::ReplicaError;
use crate::protocol::Settings;
use crate::protocol::event::Event;
use crate::protocol::message::{Message, ToLeader};

const COHORT: CohortId = CohortId(7);

/// Where nodes listen; filled in as they start.
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

impl Book {
    fn set(&self, node: u32, address: String) {
        self.0.lock().expect("no panic").insert(NodeId(node), address);
    }
}

/// A cohort that only listens.
struct Probe {
    members: Vec<NodeId>,
    heard: Mutex<Vec<Event>>,
}

impl Driven for Probe {
    fn id(&self) -> CohortId {
        COHORT
    }
    fn members(&self) -> &[NodeId] {
        &self.members
    }
    fn push(&self, event: Event) {
        if event != Event::Tick {
            self.heard.lock().expect("no panic").push(event);
        }
    }
    fn run(&self, _: &mut Wakes) {}
    fn has_heir(&self) -> bool {
        false
    }

    fn is_succeeded(&self) -> bool {
        true
    }

    fn transfer_away(&self) -> Option<oneshot::Receiver<Result<(), ReplicaError>>> {
        None
    }
    fn end(&self) {}
}

impl Probe {
    fn count(&self, wanted: impl Fn(&Event) -> bool) -> usize {
        self.heard.lock().expect("no panic").iter().filter(|event| wanted(event)).count()
    }

    /// The sequence numbers of the gap answers that came, in order, and who sent them.
    fn gaps(&self) -> Vec<(ReplicaId, u64)> {
        let heard = self.heard.lock().expect("no panic");
        let gap = |event: &Event| match event {
            Event::Received(envelope) => match envelope.message {
                Message::ToLeader(_, ToLeader::Gap { last }) => Some((envelope.from, last.seq)),
                _ => None,
            },
            _ => None,
        };
        heard.iter().filter_map(gap).collect()
    }
}

struct TestNode {
    node: Arc<Node>,
    peers: Arc<Peers>,
    probe: Arc<Probe>,
    address: String,
}

fn member(node: u32) -> ReplicaId {
    ReplicaId { node: NodeId(node), incarnation: Incarnation(u64::from(node) + 100) }
}

fn gap(seq: u64) -> Message {
    Message::ToLeader(Epoch(1), ToLeader::Gap { last: Lsn::new(1, seq) })
}

impl TestNode {
    /// A node with one cohort of nodes 1 and 2; it listens, but is not in the book yet.
    async fn start(number: u32, cluster: &str, book: &Arc<Book>) -> TestNode {
        let (writer, _) =
            LogWriter::open(Arc::new(MemoryDisk::new()), LogOptions::default()).expect("an empty disk");
        let config =
            RuntimeConfig { me: member(number), cluster: cluster.to_string(), settings: Settings::default() };
        let addresses = Arc::clone(book) as Arc<dyn Addresses>;
        let node = Node::start(
            threads().expect("threads"),
            config,
            Log::spawn(writer).expect("a thread"),
            Embedded::new().client(),
            addresses,
        );
        let peers = Arc::new(Peers::new(Arc::clone(&node)));
        let probe = Arc::new(Probe { members: vec![NodeId(1), NodeId(2)], heard: Mutex::default() });
        assert!(node.cohorts.add(Arc::clone(&probe) as Arc<dyn Driven>));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound").to_string();
        let serve = tuned(Server::builder())
            .add_service(service::service(Arc::clone(&node), Arc::clone(&peers)))
            .serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(serve);
        TestNode { node, peers, probe, address }
    }

    fn send(&self, to: u32, message: Message) {
        let outbox = self.peers.outbox(NodeId(to));
        outbox.push(COHORT, message);
        outbox.wake();
    }

    async fn connected(&self, to: u32, times: usize) {
        self.peers.outbox(NodeId(to));
        wait(|| self.probe.count(|event| *event == Event::Connected(NodeId(to))) >= times).await;
    }
}

async fn wait(until: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !until() {
        assert!(Instant::now() < deadline, "waited in vain");
        sleep(Duration::from_millis(2)).await;
    }
}

/// A way to a node that can be cut.
struct Cable {
    address: String,
    connections: Arc<Mutex<Vec<AbortHandle>>>,
}

impl Cable {
    async fn lay(to: String) -> Cable {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound").to_string();
        let connections = Arc::new(Mutex::new(Vec::new()));
        let made = Arc::clone(&connections);
        tokio::spawn(async move {
            let mut copies = JoinSet::new();
            while let Ok((mut near, _)) = listener.accept().await {
                let to = to.clone();
                let copy = copies.spawn(async move {
                    if let Ok(mut far) = TcpStream::connect(to).await {
                        let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                    }
                });
                made.lock().expect("no panic").push(copy);
            }
        });
        Cable { address, connections }
    }

    fn cut(&self) {
        self.connections.lock().expect("no panic").drain(..).for_each(|copy| copy.abort());
    }
}

#[tokio::test]
async fn frames_go_both_ways_in_order_and_name_their_sender() {
    let book = Arc::new(Book::default());
    let (one, two) = (TestNode::start(1, "c", &book).await, TestNode::start(2, "c", &book).await);
    book.set(1, one.address.clone());
    book.set(2, two.address.clone());
    one.connected(2, 1).await;
    two.connected(1, 1).await;
    for seq in 0..1000 {
        one.send(2, gap(seq));
        two.send(1, gap(seq));
    }
    wait(|| one.probe.gaps().len() == 1000 && two.probe.gaps().len() == 1000).await;
    assert_eq!(two.probe.gaps(), (0..1000).map(|seq| (member(1), seq)).collect::<Vec<_>>());
    assert_eq!(one.probe.gaps(), (0..1000).map(|seq| (member(2), seq)).collect::<Vec<_>>());
    assert_eq!(two.node.metrics.messages_received.get(), 1000);
    one.node.kill();
    two.node.kill();
}

#[tokio::test]
async fn a_cut_stream_is_noticed_and_made_again() {
    let book = Arc::new(Book::default());
    let (one, two) = (TestNode::start(1, "c", &book).await, TestNode::start(2, "c", &book).await);
    let cable = Cable::lay(two.address.clone()).await;
    book.set(2, cable.address.clone());
    one.connected(2, 1).await;
    one.send(2, gap(1));
    wait(|| two.probe.gaps().len() == 1).await;
    cable.cut();
    let unreachable = || one.probe.count(|event| *event == Event::Unreachable(NodeId(2)));
    wait(|| unreachable() >= 1).await;
    one.connected(2, 2).await;
    one.send(2, gap(2));
    wait(|| two.probe.gaps().len() == 2).await;
    assert!(one.node.metrics.reconnects.get() >= 2);
    one.node.kill();
    two.node.kill();
}

#[tokio::test]
async fn a_refused_dial_is_a_hint_and_a_killed_node_falls_silent() {
    let book = Arc::new(Book::default());
    let (one, two) = (TestNode::start(1, "c", &book).await, TestNode::start(2, "c", &book).await);
    // Nobody listens on a port that was just given back.
    let nobody = TcpListener::bind("127.0.0.1:0").await.expect("a free port").local_addr().expect("bound");
    book.set(2, nobody.to_string());
    one.peers.outbox(NodeId(2));
    wait(|| one.probe.count(|event| *event == Event::Unreachable(NodeId(2))) >= 1).await;
    book.set(2, two.address.clone());
    one.connected(2, 1).await;
    let hints = one.probe.count(|event| *event == Event::Unreachable(NodeId(2)));
    two.node.kill();
    wait(|| one.probe.count(|event| *event == Event::Unreachable(NodeId(2))) > hints).await;
    assert!(two.probe.gaps().is_empty());
    one.node.kill();
}

/// Node 1 introduces itself to node 2, as a node of the release before does.
fn introduced(cluster: &str) -> proto::Hello {
    let cluster = cluster.to_owned();
    proto::Hello { version: *VERSIONS.end(), cluster, node: 1, incarnation: 101, to: 2, newest_version: None }
}

#[tokio::test]
async fn who_is_not_meant_is_refused_clearly() {
    let book = Arc::new(Book::default());
    let two = TestNode::start(2, "c", &book).await;
    let good = introduced("c");
    let refused = async |change: fn(&mut proto::Hello)| {
        let mut hello = good.clone();
        change(&mut hello);
        let frame = proto::Frame { hello: Some(hello), envelopes: Vec::new() };
        let mut client =
            ReplicationClient::connect(format!("http://{}", two.address)).await.expect("it listens");
        let status = client.exchange(tokio_stream::once(frame)).await.expect_err("must be refused");
        assert_eq!(status.code(), Code::FailedPrecondition);
        status.message().to_string()
    };
    assert_eq!(
        refused(|hello| hello.cluster = "d".into()).await,
        "belongs to cluster \"d\", this node belongs to \"c\""
    );
    assert_eq!(
        refused(|hello| hello.to = 3).await,
        "looks for node n3, this is node n2: check the addresses that nodes advertise"
    );
    assert_eq!(
        refused(|hello| hello.version = 1).await,
        "speaks version 1 of the protocol between nodes, this node speaks version 2: upgrade it, one release after the \
         other"
    );
    assert_eq!(refused(|hello| hello.node = 2).await, "calls itself node n2, as this node does");
    assert_eq!(
        refused(|hello| hello.incarnation = 7).await,
        "is n1 on another disk (0000000000000007) than the one that has the number now (0000000000000065)"
    );

    // A whole node of another cluster gets nowhere either.
    let stranger = TestNode::start(1, "d", &book).await;
    book.set(2, two.address.clone());
    stranger.peers.outbox(NodeId(2));
    wait(|| stranger.probe.count(|event| *event == Event::Unreachable(NodeId(2))) >= 1).await;
    assert_eq!(stranger.node.metrics.reconnects.get(), 0);
    stranger.node.kill();
    two.node.kill();
}

#[tokio::test]
async fn what_is_not_understood_is_skipped_and_all_else_goes_on() {
    let book = Arc::new(Book::default());
    let two = TestNode::start(2, "c", &book).await;
    let hello = proto::Frame { hello: Some(introduced("c")), envelopes: Vec::new() };
    let frame = |envelopes| proto::Frame { hello: None, envelopes };
    let elsewhere = wire::encode(CohortId(8), gap(1));
    let newer = proto::Envelope { cohort_high: 0, cohort_low: 8, epoch: 1, message: None };
    let mut absurd = wire::encode(COHORT, gap(2));
    absurd.message = Some(proto::envelope::Message::Gap(proto::Gap { last: None }));
    let frames = [
        hello.clone(),
        frame(vec![elsewhere, newer, absurd, wire::encode(COHORT, gap(3))]),
        frame(vec![wire::encode(COHORT, gap(4))]),
        hello,
    ];
    let mut client = ReplicationClient::connect(format!("http://{}", two.address)).await.expect("it listens");
    let frames = client.exchange(tokio_stream::iter(frames)).await;
    let mut answers = frames.expect("a good introduction").into_inner();
    assert!(answers.message().await.expect("an introduction").is_some());
    // Only who introduces itself twice is not listened to any more.
    let status = answers.message().await.expect_err("the last frame breaks the order");
    let expected = (Code::InvalidArgument, "number of introductions 2 is out of range");
    assert_eq!((status.code(), status.message()), expected);
    assert_eq!(two.probe.gaps(), [(member(1), 3), (member(1), 4)]);
    let metrics = &two.node.metrics;
    assert_eq!((metrics.messages_skipped.get(), metrics.rejected_peers.get()), (2, 1));
    two.node.kill();
}

#[tokio::test]
async fn a_node_whose_task_panics_or_ends_has_failed_and_names_it() {
    let book = Arc::new(Book::default());
    let one = TestNode::start(1, "c", &book).await;
    one.node.supervise("the example".into(), async { panic!("for this test") });
    assert_eq!(one.node.failed().await, "the example has panicked");
    let two = TestNode::start(2, "c", &book).await;
    two.node.supervise("the example".into(), async {});
    assert_eq!(two.node.failed().await, "the example has ended");
}
