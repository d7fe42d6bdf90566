//! One range's dealings with the coordinator: requests, views, and outcomes behind a connection that fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use replication::coordination::embedded::{Embedded, EmbeddedClient};
use replication::coordination::range::{NO_EPOCH, RangeCoordination, RangeEvent, leader, range_path};
use replication::coordination::{CoordinationError, Coordinator, CreateMode, Op, Result, Session, Znode};
use replication::protocol::coordination::{CoordinationRequest as Request, RangeView};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use wal::{CohortId, Epoch, Incarnation, Lsn, NodeId, ReplicaId};

const ROOT: &str = "/spinnaker/test";
const RANGE: CohortId = CohortId(7);

/// One node's adaptor and what it announced.
struct Adaptor {
    client: Arc<EmbeddedClient>,
    coordination: RangeCoordination,
    events: mpsc::UnboundedReceiver<RangeEvent>,
    /// The last view.
    view: RangeView,
}

fn member(node: u32) -> ReplicaId {
    ReplicaId { node: NodeId(node), incarnation: Incarnation(0xc0ffee00 + u64::from(node)) }
}

fn stand(epoch: u32, last: Lsn) -> Request {
    Request::Stand { epoch: Epoch(epoch), last }
}

fn win(epoch: u32, epoch_version: i32) -> Request {
    Request::Win { epoch: Epoch(epoch), epoch_version }
}

impl Adaptor {
    fn start(service: &Embedded, node: u32) -> Adaptor {
        let client = service.client();
        Adaptor::over(Arc::clone(&client), client, node)
    }

    fn over(client: Arc<EmbeddedClient>, coordinator: Arc<dyn Coordinator>, node: u32) -> Adaptor {
        let (sender, events) = mpsc::unbounded_channel();
        let tell = move |event| drop(sender.send(event));
        let coordination = RangeCoordination::spawn(coordinator, ROOT, RANGE, member(node), tell);
        Adaptor { client, coordination, events, view: RangeView::default() }
    }

    async fn event(&mut self) -> RangeEvent {
        let event =
            timeout(Duration::from_secs(10), self.events.recv()).await.expect("announced in time").unwrap();
        if let RangeEvent::View(view) = &event {
            self.view = view.clone();
        }
        event
    }

    /// Carries out a request, then waits for the view that follows.
    async fn request(&mut self, request: Request) -> bool {
        self.coordination.request(request);
        let done = loop {
            if let RangeEvent::Outcome(outcome) = self.event().await {
                assert_eq!(outcome.request, request);
                break outcome.done;
            }
        };
        while !matches!(self.event().await, RangeEvent::View(_)) {}
        done
    }

    async fn until(&mut self, what: &str, holds: impl Fn(&RangeView) -> bool) {
        while !holds(&self.view) {
            let waited = timeout(Duration::from_secs(10), self.event()).await;
            assert!(waited.is_ok(), "{what}: {:?}", self.view);
        }
    }
}

async fn service() -> Embedded {
    let service = Embedded::new();
    service.client().ensure(&range_path(ROOT, RANGE)).await.unwrap();
    service
}

#[tokio::test]
async fn an_election_from_stand_to_win() {
    let service = service().await;
    let (mut one, mut two) = (Adaptor::start(&service, 1), Adaptor::start(&service, 2));
    one.until("first view", |view| view.session).await;
    assert_eq!((one.view.epoch, one.view.epoch_version, one.view.holder), (Epoch(0), NO_EPOCH, None));

    assert!(one.request(stand(1, Lsn::new(0, 3))).await);
    assert!(two.request(stand(1, Lsn::new(0, 5))).await);
    one.until("two candidates", |view| view.elections.get(&Epoch(1)).is_some_and(|all| all.len() == 2)).await;
    let candidates = &one.view.elections[&Epoch(1)];
    assert_eq!(candidates.iter().map(|c| c.member).collect::<Vec<_>>(), [member(1), member(2)]);
    assert_eq!(candidates.iter().map(|c| c.last).collect::<Vec<_>>(), [Lsn::new(0, 3), Lsn::new(0, 5)]);
    assert!(candidates[0].order < candidates[1].order);

    assert!(two.request(win(1, NO_EPOCH)).await);
    assert_eq!((two.view.epoch, two.view.holder, two.view.epoch_version), (Epoch(1), Some(member(2)), 0));
    one.until("the leader", |view| view.leader == Some((Epoch(1), member(2)))).await;
    assert!(!one.request(win(1, NO_EPOCH)).await, "the epoch is taken");
    assert!(!one.request(stand(1, Lsn::ZERO)).await, "the election is over");
    let found = leader(&*one.client, ROOT, RANGE).await.unwrap();
    assert_eq!(found, Some((Epoch(1), member(2))));
    let elections = format!("{}/election", range_path(ROOT, RANGE));
    while !one.client.list(&elections).await.unwrap().is_empty() {
        one.event().await;
    }

    // The next one takes over while the old leader znode still stands.
    assert!(one.request(stand(4, Lsn::new(1, 6))).await);
    assert!(one.request(win(4, 0)).await);
    assert_eq!(one.view.leader, Some((Epoch(4), member(1))));
    assert!(two.request(Request::Resign { epoch: Epoch(1) }).await, "nothing of mine is left");
    one.until("still leader", |view| view.leader == Some((Epoch(4), member(1)))).await;
}

/// Numbers that cannot be are nobody's, and keep nobody from standing and winning.
#[tokio::test]
async fn what_cannot_be_is_not_followed_and_is_written_over_by_the_winner() {
    let service = service().await;
    let range = range_path(ROOT, RANGE);
    let client = service.client();
    let below = |path: &str| format!("{range}/{path}");
    let create = async |path: &str, data: &str| {
        let data = Bytes::copy_from_slice(data.as_bytes());
        client.create(&below(path), data, CreateMode::Persistent).await.unwrap();
    };
    create("epoch", "4294967295 n2 00000000c0ffee02").await;
    create("leader", "4294967295 n2 00000000c0ffee02").await;
    for path in ["election", "election/4294967295", "election/x", "election/5"] {
        create(path, "").await;
    }
    for (name, last) in [
        ("n2-0000000001", "4294967295.3"),
        ("n2-0000000002", "1.18446744073709551615"),
        ("n2-0000000003", "5.1"),
        ("n2-x", "1.1"),
        ("x-0000000004", "1.1"),
    ] {
        create(&format!("election/5/{name}"), &format!("00000000c0ffee02 {last}")).await;
    }
    let mut one = Adaptor::start(&service, 1);
    one.until("first view", |view| view.session).await;
    assert_eq!((one.view.epoch, one.view.epoch_version, one.view.leader), (Epoch(0), 0, None));
    assert!(one.request(stand(5, Lsn::new(1, 3))).await);
    let candidates: Vec<_> = one.view.elections[&Epoch(5)].iter().map(|found| found.member).collect();
    assert_eq!((one.view.elections.len(), candidates), (1, vec![member(1)]));
    assert!(one.request(win(5, 0)).await);
    assert_eq!((one.view.epoch, one.view.leader), (Epoch(5), Some((Epoch(5), member(1)))));
}

#[tokio::test]
async fn standing_again_replaces_the_older_candidacy() {
    let service = service().await;
    let mut one = Adaptor::start(&service, 1);
    assert!(one.request(stand(2, Lsn::new(1, 1))).await);
    assert!(one.request(stand(2, Lsn::new(1, 1))).await);
    assert!(one.request(stand(2, Lsn::new(1, 2))).await);
    assert_eq!(one.view.elections[&Epoch(2)].iter().map(|c| c.last).collect::<Vec<_>>(), [Lsn::new(1, 2)]);
    assert!(one.request(stand(3, Lsn::new(1, 2))).await);
    assert_eq!(one.view.elections[&Epoch(2)], []);
    assert_eq!(one.view.elections[&Epoch(3)].len(), 1);
}

#[tokio::test]
async fn a_lost_leader_znode_is_put_back_under_its_own_epoch_only() {
    let service = service().await;
    let (mut one, mut two) = (Adaptor::start(&service, 1), Adaptor::start(&service, 2));
    assert!(one.request(win(1, NO_EPOCH)).await);
    one.client.expire();
    one.until("the znode is gone", |view| view.session && view.leader.is_none()).await;
    assert_eq!(one.view.holder, Some(member(1)));
    assert!(one.request(Request::Restore { epoch: Epoch(1) }).await);
    assert_eq!(one.view.leader, Some((Epoch(1), member(1))));
    assert!(one.request(Request::Restore { epoch: Epoch(1) }).await, "it stands");

    assert!(two.request(win(2, 0)).await);
    assert!(!one.request(Request::Restore { epoch: Epoch(1) }).await);
    assert_eq!(one.view.leader, Some((Epoch(2), member(2))));

    assert!(two.request(Request::Resign { epoch: Epoch(2) }).await);
    assert_eq!(two.view.leader, None);
    assert_eq!(two.view.holder, Some(member(2)), "the epoch stays taken");
}

#[tokio::test]
async fn a_crashed_leader_is_seen_and_loses_its_session() {
    let service = service().await;
    let (mut one, mut two) = (Adaptor::start(&service, 1), Adaptor::start(&service, 2));
    assert!(one.request(win(1, NO_EPOCH)).await);
    two.until("the leader", |view| view.leader.is_some()).await;
    one.client.kill(Duration::ZERO);
    two.until("the leader is gone", |view| view.leader.is_none()).await;
    one.until("no session", |view| !view.session).await;
    assert_eq!(one.view.holder, Some(member(1)), "the rest is as last seen");
    one.coordination.request(stand(2, Lsn::ZERO));
    while !matches!(one.event().await, RangeEvent::Outcome(outcome) if !outcome.done) {}
}

#[tokio::test]
async fn a_dropped_range_is_not_brought_back() {
    let service = Embedded::new();
    let mut one = Adaptor::start(&service, 1);
    assert!(!one.request(stand(1, Lsn::ZERO)).await);
    assert!(!one.request(win(1, NO_EPOCH)).await);
    assert_eq!(one.client.get(&range_path(ROOT, RANGE)).await.unwrap(), None);
}

/// Whether a write whose answer is lost was carried out.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Done,
    NotDone,
}

/// Loses the answer of one write.
struct LossyConnection {
    inner: Arc<EmbeddedClient>,
    /// Writes left before the one whose answer is lost; negative afterwards.
    countdown: AtomicI64,
    fate: Fate,
}

impl LossyConnection {
    async fn write<T>(&self, write: BoxFuture<'_, Result<T>>) -> Result<T> {
        if self.countdown.fetch_sub(1, Ordering::SeqCst) != 0 {
            return write.await;
        }
        if self.fate == Fate::Done {
            let _ = write.await;
        }
        Err(CoordinationError::Unknown("connection lost".to_string()))
    }
}

impl Coordinator for LossyConnection {
    fn create<'a>(&'a self, path: &'a str, data: Bytes, mode: CreateMode) -> BoxFuture<'a, Result<String>> {
        Box::pin(self.write(self.inner.create(path, data, mode)))
    }
    fn set<'a>(&'a self, path: &'a str, data: Bytes, version: Option<i32>) -> BoxFuture<'a, Result<i32>> {
        Box::pin(self.write(self.inner.set(path, data, version)))
    }
    fn delete<'a>(&'a self, path: &'a str, version: Option<i32>) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.write(self.inner.delete(path, version)))
    }
    fn multi(&self, ops: Vec<Op>) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.write(self.inner.multi(ops)))
    }
    fn get<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<Option<Znode>>> {
        self.inner.get(path)
    }
    fn list<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<Vec<String>>> {
        self.inner.list(path)
    }
    fn sync(&self) -> BoxFuture<'_, Result<()>> {
        self.inner.sync()
    }
    fn ensure<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<()>> {
        self.inner.ensure(path)
    }
    fn watch(&self, path: &str) -> watch::Receiver<u64> {
        self.inner.watch(path)
    }
    fn session(&self) -> watch::Receiver<Session> {
        self.inner.session()
    }
    fn close(&self) -> BoxFuture<'_, ()> {
        self.inner.close()
    }
}

/// Whichever answer is lost, carried out or not, each request of a whole leadership ends as if none were.
#[tokio::test]
async fn a_lost_answer_changes_no_outcome() {
    for fate in [Fate::Done, Fate::NotDone] {
        for lost in 0..12 {
            let service = service().await;
            let client = service.client();
            let connection =
                LossyConnection { inner: Arc::clone(&client), countdown: AtomicI64::new(lost), fate };
            let mut one = Adaptor::over(client, Arc::new(connection), 1);
            let at = format!("write {lost} {fate:?}");

            assert!(one.request(stand(1, Lsn::ZERO)).await, "{at}");
            assert_eq!(one.view.elections[&Epoch(1)].len(), 1, "{at}");
            assert!(one.request(win(1, NO_EPOCH)).await, "{at}");
            assert_eq!((one.view.epoch, one.view.holder), (Epoch(1), Some(member(1))), "{at}");
            assert!(one.request(stand(2, Lsn::new(1, 1))).await, "{at}");
            assert!(one.request(stand(2, Lsn::new(1, 2))).await, "{at}");
            let standing: Vec<Lsn> = one.view.elections[&Epoch(2)].iter().map(|c| c.last).collect();
            assert_eq!(standing, [Lsn::new(1, 2)], "{at}");
            assert!(one.request(Request::Resign { epoch: Epoch(1) }).await, "{at}");
            assert_eq!((one.view.leader, one.view.elections[&Epoch(2)].len()), (None, 0), "{at}");
            assert!(one.request(Request::Restore { epoch: Epoch(1) }).await, "{at}");
            assert_eq!(one.view.leader, Some((Epoch(1), member(1))), "{at}");
            assert!(!one.request(win(2, 7)).await, "{at}");
        }
    }
}
