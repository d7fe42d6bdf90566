//! The calls of this gateway at work: which node is asked, what is waited for.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use futures::FutureExt;
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::watch;
use wal::{Budget, CohortId, NodeId};

use super::call::{Around, Call, Step};
use super::range_scan::{ASK_MAX, LOOK_AFTER, is_given_up};
use crate::cluster::map::ClusterMap;
use crate::cluster::peers::{CallError, Peers};
use crate::cluster::route::RangeRoute;
use crate::config::Limits;
use crate::error::KvError;
use crate::metrics::Metrics;
use crate::operation::{Answer, Operation};
use crate::ranges::Ranges;
use crate::replica::RangeReplica;
use crate::request::{RequestId, RowCheck, Table, Write};

/// The store as the clients of this node reach it, wherever their rows are.
pub(crate) struct Gateway {
    pub(super) map: Arc<ClusterMap>,
    pub(super) ranges: Arc<Ranges>,
    pub(super) limits: Limits,
    pub(super) metrics: Arc<Metrics>,
    /// For pages of scans and long lists of keys.
    pub(super) scan_memory: Budget,
    peers: Arc<Peers>,
    /// This gateway as a client of the leaders: random, new at each start.
    client: u128,
    sequence: AtomicU64,
    calls: AtomicU64,
    turn: AtomicUsize,
    /// What the layer above knows of its tables.
    pub(super) row_check: OnceLock<RowCheck>,
}

impl Gateway {
    /// `scan_memory` is for pages of scans on their way to whoever reads them.
    pub(crate) fn new(
        map: Arc<ClusterMap>,
        ranges: Arc<Ranges>,
        peers: Arc<Peers>,
        limits: Limits,
        scan_memory: Budget,
        metrics: Arc<Metrics>,
    ) -> Gateway {
        Gateway {
            map,
            ranges,
            limits,
            metrics,
            scan_memory,
            peers,
            client: u128::from_le_bytes(wal::random()),
            sequence: AtomicU64::new(1),
            calls: AtomicU64::new(1),
            turn: AtomicUsize::new(0),
            row_check: OnceLock::new(),
        }
    }

    /// What pages of scans and long lists of keys may take.
    pub(crate) fn scan_memory(&self) -> &Budget {
        &self.scan_memory
    }

    /// The cluster map.
    pub(crate) fn map(&self) -> &Arc<ClusterMap> {
        &self.map
    }

    /// Transfers the leadership of a range to `target`, or to the follower that is furthest.
    pub(crate) async fn transfer(
        &self,
        range: CohortId,
        target: Option<NodeId>,
        deadline: Instant,
    ) -> Result<(), KvError> {
        let view = self.map.view();
        let mut all = view.by_id.values().flat_map(|table| &table.ranges);
        let range = all.find(|route| route.descriptor.id == range).ok_or(KvError::RangeMoved)?;
        if let Some(target) = target
            && !range.descriptor.nodes().any(|node| node == target)
        {
            return Err(KvError::Invalid(format!("{target} is not a member of the range")));
        }
        match self.ask_leader(range, Operation::Transfer(target), deadline).await? {
            Answer::Done => {
                range.set_leader(target);
                Ok(())
            }
            other => Err(unexpected(&other)),
        }
    }

    /// Checks a key-value client's write to a table that the layer above gave a schema, and completes it.
    pub(crate) fn check_row(&self, table: &Table, write: &mut Write) -> Result<(), KvError> {
        if table.schema.is_empty() {
            return Ok(());
        }
        match self.row_check.get() {
            Some(check) => check(table, write).map_err(KvError::Invalid),
            None => Err(KvError::Invalid(format!(
                "table \"{}\" has a schema of SQL, which this program does not know: write to it through a node that \
                 serves SQL",
                table.name
            ))),
        }
    }

    /// A request id that was never used before.
    pub(super) fn new_request(&self) -> RequestId {
        RequestId { client: self.client, sequence: self.sequence.fetch_add(1, Ordering::Relaxed) }
    }

    /// Where the leader is thought to be, by the replica here or by the last answer.
    pub(super) fn leader_of(&self, range: &RangeRoute) -> Option<NodeId> {
        let local = self.ranges.find(range.descriptor.id).and_then(|local| local.replica.ok());
        local.and_then(|replica| replica.cohort.leader()).or(range.leader())
    }

    /// Members for a timeline read: the one here, else the live ones in turn.
    pub(super) fn nearest(&self, range: &RangeRoute) -> Vec<NodeId> {
        let me = self.ranges.node();
        let view = self.map.view();
        let live = |node: &NodeId| *node == me || view.nodes.contains_key(node);
        let mut nodes: Vec<NodeId> = range.descriptor.nodes().filter(live).collect();
        if let Some(here) = nodes.iter().position(|node| *node == me) {
            nodes.swap(0, here);
        } else if !nodes.is_empty() {
            let turn = self.turn.fetch_add(1, Ordering::Relaxed) % nodes.len();
            nodes.rotate_left(turn);
        }
        nodes
    }

    /// Asks the replica of a range on one node.
    pub(super) async fn ask(
        &self,
        node: NodeId,
        range: CohortId,
        operation: Operation,
        deadline: Instant,
    ) -> Result<Answer, CallError> {
        let since = Instant::now();
        let answer = self.send(node, range, operation, false, deadline.min(since + ASK_MAX));
        tokio::pin!(answer);
        if let Ok(answer) = tokio::time::timeout_at((since + LOOK_AFTER).into(), &mut answer).await {
            return answer;
        }
        let me = node == self.ranges.node();
        match !me && is_given_up(self.peers.silence(), node, since, Instant::now()) {
            true => Err(CallError::Lost(format!("nothing is heard of {node}"))),
            false => answer.await,
        }
    }

    /// The same; `forward`: a node that does not lead shall pass it on to the one that does.
    async fn send(
        &self,
        node: NodeId,
        range: CohortId,
        operation: Operation,
        forward: bool,
        deadline: Instant,
    ) -> Result<Answer, CallError> {
        if let Some(table) = self.map.gone.table(range) {
            return Err(CallError::Refused(KvError::NoTable(table)));
        }
        if node == self.ranges.node() {
            return self.ranges.execute(range, operation, deadline).await.map_err(CallError::Refused);
        }
        self.metrics.forwarded.count();
        self.peers.call(node, range, operation, forward, deadline).await
    }

    /// Closes a scan that is open on a node. Nobody waits for it.
    pub(super) fn close_scan(&self, node: NodeId, cursor: u64) {
        match node == self.ranges.node() {
            true => self.ranges.close(cursor),
            false => self.peers.close_scan(node, cursor),
        }
    }

    /// The number of a new call.
    pub(super) fn new_call(&self) -> u64 {
        self.calls.fetch_add(1, Ordering::Relaxed)
    }

    /// Drives a call: sends its attempts, waits for what comes first, and tells it.
    pub(super) async fn drive(
        &self,
        range: &RangeRoute,
        mut call: Call,
        deadline: Instant,
    ) -> Result<Answer, KvError> {
        let around = Around { me: self.ranges.node(), route: range, silence: self.peers.silence() };
        let id = range.descriptor.id;
        let local = self.ranges.replica(id).ok();
        let mut news = None;
        let mut under_way = FuturesUnordered::new();
        loop {
            if let Some(local) = &local {
                range.heard_locally(local.cohort.leader());
            }
            for (node, cursor) in call.abandoned() {
                self.close_scan(node, cursor);
            }
            match call.step(Instant::now(), &around) {
                Step::Done(result) => return result,
                Step::Ask { attempt, node, operation, forward } => {
                    let ask = self.send(node, id, operation, forward, deadline);
                    let mut ask = Box::pin(async move { (attempt, ask.await) });
                    // A replica in this process mostly answers at once.
                    match ask.as_mut().now_or_never() {
                        Some((attempt, result)) => call.answered(attempt, result, Instant::now(), &around),
                        None => under_way.push(ask),
                    }
                }
                Step::Wait(until) => {
                    // Followed from here on, and looked at once more before the first wait.
                    let Some(news) = &mut news else {
                        news = Some(News::follow(range, local.as_deref()));
                        continue;
                    };
                    if under_way.is_empty() {
                        self.metrics.retries.count();
                    }
                    tokio::select! {
                        Some((attempt, result)) = under_way.next() => {
                            call.answered(attempt, result, Instant::now(), &around);
                        }
                        () = news.come() => {}
                        () = tokio::time::sleep_until(until.into()) => {}
                    }
                }
            }
        }
    }

    /// Asks whoever leads the range, again and again until the deadline. For operations that may be repeated.
    pub(super) async fn ask_leader(
        &self,
        range: &RangeRoute,
        operation: Operation,
        deadline: Instant,
    ) -> Result<Answer, KvError> {
        self.drive(range, Call::other(self.new_call(), range, operation, deadline), deadline).await
    }
}

/// What may tell a waiting call of a new leader.
struct News {
    route: watch::Receiver<u64>,
    /// Of the replica in this process.
    local: Option<watch::Receiver<Option<NodeId>>>,
}

impl News {
    fn follow(range: &RangeRoute, local: Option<&RangeReplica>) -> News {
        News { route: range.follow(), local: local.map(|local| local.cohort.leader_changes()) }
    }

    /// Returns when there is some. Cancel-safe.
    async fn come(&mut self) {
        let told = async {
            let told = match &mut self.local {
                Some(local) => local.changed().await.is_ok(),
                None => false,
            };
            if !told {
                // There is no replica here (any more).
                std::future::pending().await
            }
        };
        tokio::select! {
            () = told => {}
            // The sender lives as long as the route, which the call holds.
            _ = self.route.changed() => {}
        }
    }
}

/// An answer that does not fit the question.
pub(super) fn unexpected(answer: &Answer) -> KvError {
    tracing::error!(?answer, "unexpected response type");
    KvError::Internal("a replica sent an unexpected response type".into())
}
