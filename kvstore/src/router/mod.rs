//! From a key to the replica that must answer, through whatever goes wrong until the deadline.
//!
//! The router knows the ranges from the cluster map, and guesses the leader: the last one that answered, else what
//! the replica in this process thinks, else one member after the other. A wrong guess is corrected by the answer
//! (`NotLeader` with a hint). A replica in this process is asked by a plain function call.
//!
//! Exactly once (rule 11): all attempts of a write carry the same request id and the same `known`, and attempts after
//! one whose fate is unknown say so. While the deadline lasts, an unknown fate is resolved by asking again; only when
//! it passes is the caller told that the outcome is unknown. A write that was never sent, or whose every attempt was
//! refused before it was logged, ends in a plain deadline error: nothing was done.
//!
//! Sessions (rule 22): a timeline read is never served below the session's floor. A replica that does not reach it
//! in a moment is passed over for the leader, and if the leader is below it, too (a lone survivor), the read fails
//! at its deadline.

mod door;
mod leader;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::{BoxFuture, join_all};
use tokio::sync::mpsc;
use wal::{CohortId, Lsn, NodeId};

use self::leader::LeaderSearch;
use crate::cluster::map::{ClusterMap, RangeView};
use crate::cluster::peers::{CallError, Peers};
use crate::config::Limits;
use crate::error::KvError;
use crate::metrics::Metrics;
use crate::operation::{Answer, Mode, Operation, RangeScan, RangeWrite};
use crate::ranges::Ranges;
use crate::request::{
    Columns, Consistency, Mutation, ReadOptions, ReadRow, RequestId, Row, Scan, ScanBatch, SessionToken,
    Source, TableId, Write, WriteOutcome, Written,
};
use crate::rpc::proto::v1;

/// Pause before a replica that lags behind a session is asked again.
const PAUSE: Duration = Duration::from_millis(20);
/// One attempt waits at most so long for its answer: a node that hangs must not eat the whole deadline.
const ATTEMPT_MAX: Duration = Duration::from_secs(2);
/// Keys read in one request: their rows must fit into one message.
const KEYS_PER_READ: usize = 32;
/// Writes of one `write_many` under way at once.
const WRITES_AT_ONCE: usize = 256;
/// Most keys of one `multi_get`, and splits of one table.
const KEYS_MAX: usize = 100_000;

/// How a write names itself at its attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Identity {
    /// Its first attempt is this call's.
    New(RequestId),
    /// It may have been sent before, by anyone, when the range's LSN was anything.
    Repeated(RequestId),
}

/// The node's door to the store.
pub(crate) struct Router {
    map: Arc<ClusterMap>,
    ranges: Arc<Ranges>,
    peers: Arc<Peers>,
    limits: Limits,
    metrics: Arc<Metrics>,
    /// This router as a client of the leaders: random, new at each start.
    client: u128,
    sequence: AtomicU64,
    turn: AtomicUsize,
    /// What only the node can tell of itself.
    describe: Describe,
}

/// Tells this node's state; `true`: with checksums.
pub(crate) type Describe = Box<dyn Fn(bool) -> BoxFuture<'static, v1::NodeStatus> + Send + Sync>;

impl Router {
    pub(crate) fn new(
        map: Arc<ClusterMap>,
        ranges: Arc<Ranges>,
        peers: Arc<Peers>,
        limits: Limits,
        metrics: Arc<Metrics>,
        describe: Describe,
    ) -> Result<Router, getrandom::Error> {
        let mut client = [0; 16];
        getrandom::fill(&mut client)?;
        Ok(Router {
            map,
            ranges,
            peers,
            limits,
            metrics,
            client: u128::from_le_bytes(client),
            sequence: AtomicU64::new(1),
            turn: AtomicUsize::new(0),
            describe,
        })
    }

    /// The cluster map.
    pub(crate) fn map(&self) -> &Arc<ClusterMap> {
        &self.map
    }

    /// The replicas here.
    pub(crate) fn ranges(&self) -> &Ranges {
        &self.ranges
    }

    /// State of this node.
    pub(crate) async fn node_status(&self, checksums: bool) -> v1::NodeStatus {
        (self.describe)(checksums).await
    }

    /// State of all registered nodes; one that does not answer has an error instead of replicas.
    pub(crate) async fn cluster_status(&self, checksums: bool, deadline: Instant) -> Vec<v1::NodeStatus> {
        let mut nodes: Vec<NodeId> = match self.map.coordinator.list(&self.map.paths.dir("registry")).await {
            Ok(names) => names.iter().filter_map(|name| name.parse().ok().map(NodeId)).collect(),
            // Without the coordinator: those that were seen last.
            Err(_) => self.map.view().nodes.keys().copied().collect(),
        };
        nodes.sort();
        join_all(nodes.into_iter().map(|node| async move {
            if node == self.ranges.node() {
                return self.node_status(checksums).await;
            }
            let status = Operation::Status { checksums };
            match self.peers.call(node, CohortId(0), status, deadline).await {
                Ok(Answer::Status(status)) => *status,
                Ok(_) => unreachable_node(node, "it gave an answer of another kind".into()),
                Err(CallError::NotSent(why) | CallError::Lost(why)) => unreachable_node(node, why),
                Err(CallError::Refused(error)) => unreachable_node(node, error.to_string()),
            }
        }))
        .await
    }

    /// Hands the leadership of a range over.
    pub(crate) async fn transfer(
        &self,
        range: CohortId,
        target: Option<NodeId>,
        deadline: Instant,
    ) -> Result<(), KvError> {
        let view = self.map.view();
        let mut all = view.by_id.values().flat_map(|table| &table.ranges);
        let range = all.find(|view| view.descriptor.id == range).ok_or(KvError::RangeMoved)?;
        if let Some(target) = target
            && !range.descriptor.nodes().any(|node| node == target)
        {
            return Err(KvError::Invalid(format!("{target} is not a member of the range")));
        }
        let answer = self.ask_leader(range, Operation::Transfer(target), deadline).await?;
        range.set_leader(target);
        match answer {
            Answer::Done => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// Where the leader is thought to be, by the replica here or by the last answer.
    fn leader_of(&self, range: &RangeView) -> Option<NodeId> {
        let local = self.ranges.find(range.descriptor.id).and_then(|local| local.replica.ok());
        local.and_then(|replica| replica.cohort.leader()).or(range.leader())
    }

    // --- one replica ---

    async fn ask(
        &self,
        node: NodeId,
        range: CohortId,
        operation: Operation,
        deadline: Instant,
    ) -> Result<Answer, CallError> {
        if node == self.ranges.node() {
            return self.ranges.execute(range, operation, deadline).await.map_err(CallError::Refused);
        }
        self.metrics.forwarded.count();
        self.peers.call(node, range, operation, deadline.min(Instant::now() + ATTEMPT_MAX)).await
    }

    /// Asks whoever leads the range, again and again until the deadline. For operations that may be repeated.
    async fn ask_leader(
        &self,
        range: &RangeView,
        operation: Operation,
        deadline: Instant,
    ) -> Result<Answer, KvError> {
        let mut search = LeaderSearch::new(self, range, deadline);
        loop {
            let node = search.next().await.ok_or_else(|| search.deadline_error())?;
            match self.ask(node, range.descriptor.id, operation.clone(), deadline).await {
                Ok(answer) => {
                    range.set_leader(Some(node));
                    return Ok(answer);
                }
                Err(CallError::NotSent(why) | CallError::Lost(why)) => search.failed(why),
                Err(CallError::Refused(error)) => search.refused(error)?,
            }
        }
    }

    // --- reads ---

    fn floor(&self, range: &RangeView, options: &ReadOptions, session: Option<&SessionToken>) -> Lsn {
        let session = session.map_or(Lsn::ZERO, |session| session.floor(range.descriptor.id));
        session.max(options.min_lsn.unwrap_or(Lsn::ZERO))
    }

    /// A read or the first page of a scan, from the replica that the options allow. Returns which node answered.
    async fn read(
        &self,
        range: &RangeView,
        options: &ReadOptions,
        session: Option<&SessionToken>,
        operation: impl Fn(Mode) -> Operation,
    ) -> Result<(NodeId, Vec<Row>, Source, Option<u64>), KvError> {
        let floor = self.floor(range, options, session);
        let id = range.descriptor.id;
        let accept = |answer: Answer| match answer {
            Answer::Rows { rows, source, cursor } => {
                range.saw(source.lsn);
                if source.lsn < floor {
                    return Ok(None);
                }
                if let Some(session) = session {
                    session.saw(id, source.lsn);
                }
                Ok(Some((source.replica, rows, source, cursor)))
            }
            other => Err(unexpected(&other)),
        };
        if options.consistency == Consistency::Timeline {
            let mode = Mode::Timeline { floor, max_staleness: options.max_staleness };
            for node in self.nearest(range) {
                if let Ok(answer) = self.ask(node, id, operation(mode), options.deadline).await
                    && let Some(found) = accept(answer)?
                {
                    return Ok(found);
                }
                // Too old, unreachable or out of service: only the leader surely has what is wanted.
                if options.max_staleness.is_some() || floor > Lsn::ZERO {
                    break;
                }
            }
        }
        loop {
            let answer = self.ask_leader(range, operation(Mode::Strong), options.deadline).await?;
            if let Some(found) = accept(answer)? {
                return Ok(found);
            }
            if Instant::now() + PAUSE > options.deadline {
                return Err(KvError::DeadlineExceeded(format!(
                    "no replica has reached LSN {floor} of this session"
                )));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Members for a timeline read: the one here, else the live ones in turn.
    fn nearest(&self, range: &RangeView) -> Vec<NodeId> {
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

    async fn read_keys(
        &self,
        range: &RangeView,
        keys: Vec<Bytes>,
        columns: &Columns,
        options: &ReadOptions,
        session: Option<&SessionToken>,
    ) -> Result<Vec<ReadRow>, KvError> {
        let read = |mode| Operation::Read { keys: keys.clone(), columns: columns.clone(), mode };
        let (_, rows, source, _) = self.read(range, options, session, read).await?;
        if rows.len() != keys.len() {
            return Err(KvError::Internal("a replica answered with another number of rows".into()));
        }
        Ok(rows.into_iter().map(|row| ReadRow { row, source }).collect())
    }

    async fn get_many(
        &self,
        table: TableId,
        keys: Vec<Bytes>,
        columns: Columns,
        options: &ReadOptions,
        session: Option<&SessionToken>,
    ) -> Result<Vec<ReadRow>, KvError> {
        if keys.len() > KEYS_MAX {
            return Err(KvError::TooLarge { what: "list of keys", size: keys.len(), limit: KEYS_MAX });
        }
        keys.iter().try_for_each(|key| self.check_key(key))?;
        let table = self.map.table(table).await?;
        let mut groups: BTreeMap<CohortId, (Arc<RangeView>, Vec<usize>)> = BTreeMap::new();
        for (at, key) in keys.iter().enumerate() {
            let range = table.range_of(key);
            groups.entry(range.descriptor.id).or_insert_with(|| (range.clone(), Vec::new())).1.push(at);
        }
        let chunks = groups
            .values()
            .flat_map(|(range, places)| places.chunks(KEYS_PER_READ).map(move |places| (range, places)));
        let reads = chunks.map(|(range, places)| {
            let wanted = places.iter().map(|at| keys[*at].clone()).collect();
            let columns = &columns;
            async move { (places, self.read_keys(range, wanted, columns, options, session).await) }
        });
        let mut found: Vec<Option<ReadRow>> = vec![None; keys.len()];
        for (places, rows) in join_all(reads).await {
            for (at, row) in places.iter().zip(rows?) {
                found[*at] = Some(row);
            }
        }
        found
            .into_iter()
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| KvError::Internal("a key has no answer".into()))
    }

    /// All of one scan, range after range, page after page; each page is handed to `sink` until it has enough.
    async fn scan_all(
        &self,
        scan: &Scan,
        options: &ReadOptions,
        session: Option<&SessionToken>,
        sink: &mpsc::Sender<Result<ScanBatch, KvError>>,
    ) -> Result<(), KvError> {
        let table = self.map.table(scan.table).await?;
        let mut ranges: Vec<&Arc<RangeView>> =
            table.ranges.iter().filter(|range| overlaps(range, scan)).collect();
        if scan.reverse {
            ranges.reverse();
        }
        let mut left = scan.limit;
        for range in ranges {
            let descriptor = &range.descriptor;
            let mut rest = RangeScan {
                start: scan.start.clone().max(descriptor.start.clone()),
                end: match (&scan.end, &descriptor.end) {
                    (Some(a), Some(b)) => Some(a.min(b).clone()),
                    (a, b) => a.clone().or(b.clone()),
                },
                reverse: scan.reverse,
                limit: left,
                columns: scan.columns.clone(),
            };
            'reopened: loop {
                rest.limit = left;
                let first = |mode| Operation::Scan(rest.clone(), mode);
                let (node, mut rows, mut source, mut cursor) =
                    self.read(range, options, session, first).await?;
                loop {
                    left = left.map(|left| left.saturating_sub(rows.len() as u64));
                    if let Some(last) = rows.last() {
                        rest.continue_after(&last.key);
                    }
                    let page = ScanBatch { rows, source };
                    if !page.rows.is_empty() && sink.send(Ok(page)).await.is_err() {
                        // Nobody listens any more.
                        if let Some(cursor) = cursor {
                            let _ = self
                                .ask(node, descriptor.id, Operation::Close(cursor), options.deadline)
                                .await;
                        }
                        return Ok(());
                    }
                    let Some(number) = cursor else { break 'reopened };
                    match self.ask(node, descriptor.id, Operation::Next(number), options.deadline).await {
                        Ok(Answer::Rows { rows: next, source: from, cursor: more }) => {
                            (rows, source, cursor) = (next, from, more);
                        }
                        // The open scan went with its replica: go on behind the last row with a new one.
                        Ok(_) | Err(_) => continue 'reopened,
                    }
                }
            }
            if left == Some(0) {
                return Ok(());
            }
        }
        Ok(())
    }

    // --- writes ---

    /// Writes one row under the given identity.
    pub(crate) async fn write_as(
        &self,
        write: Write,
        identity: Option<Identity>,
        deadline: Instant,
        session: Option<&SessionToken>,
    ) -> Result<WriteOutcome, KvError> {
        self.check_write(&write)?;
        let table = self.map.table(write.table).await?;
        let range = table.range_of(&write.key);
        let id = range.descriptor.id;
        let identity = identity.unwrap_or_else(|| {
            let sequence = self.sequence.fetch_add(1, Ordering::Relaxed);
            Identity::New(RequestId { client: self.client, sequence })
        });
        let (request, known, mut retry) = match identity {
            Identity::New(request) => (request, range.known(), false),
            Identity::Repeated(request) => (request, Lsn::ZERO, true),
        };
        // Whether an attempt of *this call* may be, or have been, under way.
        let mut adrift = false;
        let Write { key, conditions, mutations, .. } = write;
        let mut attempt = RangeWrite { key, conditions, mutations, request, known, retry };
        let mut search = LeaderSearch::new(self, range, deadline);
        loop {
            let Some(node) = search.next().await else {
                let why = search.why();
                return Err(match adrift {
                    true => KvError::OutcomeUnknown(why),
                    false => search.deadline_error(),
                });
            };
            attempt.retry = retry;
            match self.ask(node, id, Operation::Write(attempt.clone()), deadline).await {
                Ok(Answer::Written(lsn)) => {
                    range.set_leader(Some(node));
                    return Ok(WriteOutcome::Written(self.wrote(range, lsn, session)));
                }
                Ok(Answer::ConditionFailed { current, at }) => {
                    range.set_leader(Some(node));
                    return Ok(WriteOutcome::ConditionFailed { current, at: self.wrote(range, at, session) });
                }
                // Never executed and never will be: no attempt is under way. With the newer base it is known to
                // be new.
                Ok(Answer::Forgotten { applied }) if !retry => {
                    attempt.known = applied;
                    range.saw(applied);
                }
                Ok(Answer::Forgotten { .. }) => {
                    return Err(KvError::OutcomeUnknown(
                        "its first attempt is too long ago to be remembered".into(),
                    ));
                }
                Ok(other) => return Err(unexpected(&other)),
                Err(CallError::NotSent(why)) => search.failed(why),
                Err(CallError::Lost(why)) | Err(CallError::Refused(KvError::OutcomeUnknown(why))) => {
                    (adrift, retry) = (true, true);
                    search.failed(why);
                }
                Err(CallError::Refused(error)) => {
                    if let Err(error) = search.refused(error) {
                        return Err(if adrift { KvError::OutcomeUnknown(error.to_string()) } else { error });
                    }
                }
            }
        }
    }

    fn wrote(&self, range: &RangeView, lsn: Lsn, session: Option<&SessionToken>) -> Written {
        let id = range.descriptor.id;
        range.saw(lsn);
        if let Some(session) = session {
            session.saw(id, lsn);
        }
        Written { range: id, lsn }
    }

    fn check_key(&self, key: &[u8]) -> Result<(), KvError> {
        too_large("row key", key.len(), self.limits.key_bytes_max)
    }

    fn check_write(&self, write: &Write) -> Result<(), KvError> {
        self.check_key(&write.key)?;
        if write.mutations.is_empty() {
            return Err(KvError::Invalid("a write needs at least one column".into()));
        }
        let mut size = write.key.len();
        for mutation in &write.mutations {
            let (column, value) = match mutation {
                Mutation::Put { column, value } => (column, value.len()),
                Mutation::Delete { column } => (column, 0),
                Mutation::DeleteRow => continue,
            };
            if column.is_empty() {
                return Err(KvError::Invalid("a column needs a name".into()));
            }
            too_large("column name", column.len(), self.limits.column_bytes_max)?;
            size += column.len() + value;
        }
        too_large("row", size, self.limits.row_bytes_max)
    }
}

fn too_large(what: &'static str, size: usize, limit: usize) -> Result<(), KvError> {
    if size > limit { Err(KvError::TooLarge { what, size, limit }) } else { Ok(()) }
}

fn unexpected(answer: &Answer) -> KvError {
    tracing::error!(?answer, "an answer of another kind");
    KvError::Internal("a replica gave an answer of another kind".into())
}

fn unreachable_node(node: NodeId, error: String) -> v1::NodeStatus {
    v1::NodeStatus { node: node.0, error, ..v1::NodeStatus::default() }
}

fn overlaps(range: &RangeView, scan: &Scan) -> bool {
    let starts_before_end = scan.end.as_ref().is_none_or(|end| range.descriptor.start < *end);
    let ends_after_start = range.descriptor.end.as_ref().is_none_or(|end| *end > scan.start);
    starts_before_end && ends_after_start
}

impl RangeScan {
    /// Leaves only what comes behind the row.
    fn continue_after(&mut self, key: &Bytes) {
        if self.reverse {
            self.end = Some(key.clone());
        } else {
            // The next key in byte order.
            let mut next = Vec::with_capacity(key.len() + 1);
            next.extend_from_slice(key);
            next.push(0);
            self.start = next.into();
        }
    }
}
