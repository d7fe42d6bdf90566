//! One question to one replica, or to whoever leads a range.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use wal::{CohortId, NodeId};

use super::search::{LeaderSearch, Step};
use crate::cluster::map::{ClusterMap, RangeRoute};
use crate::cluster::peers::{CallError, Peers};
use crate::config::Limits;
use crate::error::KvError;
use crate::metrics::Metrics;
use crate::operation::{Answer, Operation};
use crate::ranges::Ranges;
use crate::request::RequestId;

/// One attempt waits at most so long for its answer: a node that hangs must not eat the whole deadline.
const ATTEMPT_MAX: Duration = Duration::from_secs(2);

/// The store as the clients of this node reach it, wherever their rows are.
pub(crate) struct Gateway {
    pub(super) map: Arc<ClusterMap>,
    pub(super) ranges: Arc<Ranges>,
    pub(super) limits: Limits,
    pub(super) metrics: Arc<Metrics>,
    peers: Arc<Peers>,
    /// This gateway as a client of the leaders: random, new at each start.
    client: u128,
    sequence: AtomicU64,
    turn: AtomicUsize,
}

impl Gateway {
    pub(crate) fn new(
        map: Arc<ClusterMap>,
        ranges: Arc<Ranges>,
        peers: Arc<Peers>,
        limits: Limits,
        metrics: Arc<Metrics>,
    ) -> Gateway {
        Gateway {
            map,
            ranges,
            limits,
            metrics,
            peers,
            client: u128::from_le_bytes(wal::random()),
            sequence: AtomicU64::new(1),
            turn: AtomicUsize::new(0),
        }
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
        if let Some(table) = self.map.gone.table(range) {
            return Err(CallError::Refused(KvError::NoTable(table)));
        }
        if node == self.ranges.node() {
            return self.ranges.execute(range, operation, deadline).await.map_err(CallError::Refused);
        }
        self.metrics.forwarded.count();
        self.peers.call(node, range, operation, deadline.min(Instant::now() + ATTEMPT_MAX)).await
    }

    /// Closes a scan that is open on a node. Nobody waits for it.
    pub(super) fn close_scan(&self, node: NodeId, cursor: u64) {
        match node == self.ranges.node() {
            true => self.ranges.close(cursor),
            false => self.peers.close_scan(node, cursor),
        }
    }

    /// The next node that the search wants to be asked, after its pauses; `None` when the deadline has passed.
    pub(super) async fn next_node(
        &self,
        range: &RangeRoute,
        search: &mut LeaderSearch<'_>,
    ) -> Option<NodeId> {
        loop {
            match search.step(Instant::now(), || self.leader_of(range)) {
                Step::Ask(node) => return Some(node),
                Step::GiveUp => return None,
                Step::Pause(pause) => {
                    self.metrics.retries.count();
                    tokio::time::sleep(pause).await;
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
        let mut search = LeaderSearch::new(&range.descriptor.members, deadline);
        loop {
            let Some(node) = self.next_node(range, &mut search).await else {
                return Err(search.deadline_error());
            };
            let answer = self.ask(node, range.descriptor.id, operation.clone(), deadline).await;
            match answer {
                Ok(answer) => {
                    range.set_leader(Some(node));
                    return Ok(answer);
                }
                Err(CallError::NotSent(why) | CallError::Lost(why)) => search.failed(why),
                Err(CallError::Refused(error)) => search.refused(error)?,
            }
            range.set_leader(None);
        }
    }
}

/// An answer that does not fit the question.
pub(super) fn unexpected(answer: &Answer) -> KvError {
    tracing::error!(?answer, "unexpected response type");
    KvError::Internal("a replica sent an unexpected response type".into())
}
