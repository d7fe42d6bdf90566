//! What `spinnaker status` shows: every range with its replicas, gathered from all nodes that answer, and what it lacks.

use std::fmt;
use std::time::Duration;

use replication::runtime::dial;
use serde_json::{Value, json};

use crate::diagnosis::{RangeDiagnosis, diagnose, sequence};
use crate::proto::v1::kv_client::KvClient;
use crate::proto::{MESSAGE_BYTES_MAX, v1};

/// Longest wait for the answer of the node that is asked for the whole cluster: a status comes within a second.
const QUICK_TIMEOUT: Duration = Duration::from_millis(950);
/// And if each replica is to hash its content.
const CHECKSUMS_TIMEOUT: Duration = Duration::from_secs(10);
/// The version of what [`ClusterStatus::json`] makes; it changes when a field goes or changes its meaning.
const SCHEMA: u32 = 1;

/// All nodes of the cluster, each with its replicas. `Display` prints it for people.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClusterStatus {
    /// Registered nodes; one that did not answer has an error and no replicas of its own.
    pub nodes: Vec<v1::NodeStatus>,
}

/// Asks the node at `address` (HOST:PORT) for the state of the whole cluster; every replica hashes its whole content
/// for it. The error is one line for the user.
pub async fn fetch(address: &str) -> Result<ClusterStatus, String> {
    fetch_cluster(address, true, CHECKSUMS_TIMEOUT).await
}

/// The same without the hashes: within a second, and costs next to nothing.
pub async fn fetch_quick(address: &str) -> Result<ClusterStatus, String> {
    fetch_cluster(address, false, QUICK_TIMEOUT).await
}

async fn fetch_cluster(address: &str, checksums: bool, timeout: Duration) -> Result<ClusterStatus, String> {
    let request = v1::StatusRequest { cluster: true, checksums };
    Ok(ClusterStatus { nodes: ask(address, request, timeout).await? })
}

/// Asks the node at `address` for its own state alone.
pub(crate) async fn fetch_node(
    address: &str,
    checksums: bool,
    timeout: Duration,
) -> Result<v1::NodeStatus, String> {
    let nodes = ask(address, v1::StatusRequest { cluster: false, checksums }, timeout).await?;
    nodes.into_iter().next().ok_or_else(|| format!("{address}: it has nothing to report"))
}

async fn ask(
    address: &str,
    request: v1::StatusRequest,
    timeout: Duration,
) -> Result<Vec<v1::NodeStatus>, String> {
    let asked = async {
        let mut client = connect(address).await?;
        let mut request = tonic::Request::new(request);
        request.set_timeout(timeout);
        let answer = client.status(request).await;
        answer.map_err(|status| format!("{address}: {}", status.message()))
    };
    let answer = tokio::time::timeout(timeout, asked).await;
    Ok(answer.map_err(|_| format!("{address}: no answer in time"))??.into_inner().nodes)
}

/// A client of the public service at HOST:PORT. The error is one line for the user.
pub async fn connect(address: &str) -> Result<KvClient<tonic::transport::Channel>, String> {
    let channel =
        dial(address).await.map_err(|error| format!("{address}: no node answers there ({error})"))?;
    Ok(KvClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX))
}

impl ClusterStatus {
    /// Ranges that do not serve, and all ranges.
    pub fn without_leader(&self) -> (usize, usize) {
        let ranges = diagnose(&self.nodes);
        (ranges.iter().filter(|range| !range.serves()).count(), ranges.len())
    }

    /// One line about all of it.
    pub fn summary(&self) -> String {
        let (without, all) = self.without_leader();
        let answering = self.nodes.iter().filter(|node| answered(node)).count();
        let nodes = format!("{answering} of {} nodes answer", self.nodes.len());
        match without {
            0 => format!("{all} ranges: all serve; {nodes}"),
            without => format!("{all} ranges: {} serve, {without} without a leader; {nodes}", all - without),
        }
    }

    /// Everything, for programs; docs/operations.md describes it.
    pub fn json(&self) -> Value {
        let ranges = diagnose(&self.nodes);
        let without = ranges.iter().filter(|range| !range.serves()).count();
        json!({
            "schema": SCHEMA,
            "summary": self.summary(),
            "ranges_total": ranges.len(),
            "ranges_without_leader": without,
            "nodes": self.nodes.iter().map(node_json).collect::<Vec<_>>(),
            "ranges": ranges.iter().map(range_json).collect::<Vec<_>>(),
        })
    }
}

/// Whether the node itself has said something.
fn answered(node: &v1::NodeStatus) -> bool {
    !node.address.is_empty()
}

fn node_json(node: &v1::NodeStatus) -> Value {
    json!({
        "node": node.node,
        "answered": answered(node),
        "grpc_address": text(&node.address),
        "sql_address": text(&node.pg_address),
        "error": text(&node.error),
        "not_ready": text(&node.not_ready),
        "silent_ms": node.silent_ms,
        "disk_free_bytes": node.disk_free_bytes,
        "disk_full": node.disk_full,
        "version": text(&node.version),
    })
}

fn range_json(range: &RangeDiagnosis<'_>) -> Value {
    let about = range.about;
    let newest = newest(range);
    let replica = |(node, replica): (&u32, &&v1::ReplicaStatus)| {
        json!({
            "node": node,
            "role": text(&replica.role),
            "epoch": replica.epoch,
            "leader": Some(replica.leader).filter(|leader| *leader != 0),
            "open": replica.open,
            "suspended": replica.suspended,
            "committed": replica.committed.as_ref().map(lsn),
            "last": replica.last.as_ref().map(lsn),
            "applied": replica.applied.as_ref().map(lsn),
            "flushed": replica.flushed.as_ref().map(lsn),
            "lag": newest.saturating_sub(sequence(replica.applied.as_ref())),
            "staleness_ms": replica.staleness_ms,
            "checksum": replica.checksum.map(|sum| format!("{sum:016x}")),
            "row_checksum": replica.row_checksum.map(|sum| format!("{sum:016x}")),
            "checksum_lsn": replica.checksum_lsn.as_ref().map(lsn),
            "learner": replica.learner,
            "damaged": replica.damaged,
            "disk_full": replica.disk_full,
            "out_of_service": text(&replica.refusal),
            "trouble": text(&replica.trouble),
        })
    };
    json!({
        "range": about.range,
        "table": text(&about.table),
        "table_id": about.table_id,
        "start": about.start.escape_ascii().to_string(),
        "end": about.end.as_ref().map(|end| end.escape_ascii().to_string()),
        "members": about.members,
        "serves": range.serves(),
        "leader": range.leader,
        "lacks": range.lacks,
        "replicas": range.replicas.iter().map(replica).collect::<Vec<_>>(),
    })
}

fn text(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

impl fmt::Display for ClusterStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<6}{:<24}{:<24}STATE", "NODE", "GRPC", "SQL")?;
        for node in &self.nodes {
            let [address, sql] =
                [&node.address, &node.pg_address].map(|text| self::text(text).unwrap_or("-"));
            write!(f, "n{:<5}{address:<24}{sql:<24}", node.node)?;
            match (text(&node.error), text(&node.not_ready)) {
                (Some(error), _) => f.write_str(error)?,
                (None, Some(reason)) => write!(f, "up, not ready: {reason}")?,
                (None, None) => f.write_str("up")?,
            }
            if node.disk_full {
                f.write_str("; its disk is full: free space there")?;
            }
            match node.silent_ms {
                Some(silent) => {
                    writeln!(f, " (last heard {:.1} s ago)", Duration::from_millis(silent).as_secs_f64())?
                }
                None => writeln!(f)?,
            }
        }
        for range in diagnose(&self.nodes) {
            write_range(f, &range)?;
        }
        writeln!(f, "\n{}", self.summary())
    }
}

fn write_range(f: &mut fmt::Formatter<'_>, range: &RangeDiagnosis<'_>) -> fmt::Result {
    writeln!(f, "\n{}  range {}", range.name(), range.about.range)?;
    let head = ("NODE", "ROLE", "CMT", "LST", "APPLIED", "LAG", "STALE", "CHECKSUM");
    let (node, role, committed, last, applied, lag, stale, checksum) = head;
    writeln!(f, "  {node:<6}{role:<11}{committed:<12}{last:<12}{applied:<12}{lag:<8}{stale:<9}{checksum}")?;
    let newest = newest(range);
    for (node, replica) in &range.replicas {
        if !replica.refusal.is_empty() {
            writeln!(f, "  n{node:<5}out of service")?;
            continue;
        }
        let lag = newest.saturating_sub(sequence(replica.applied.as_ref()));
        let stale = replica.staleness_ms.map_or("-".to_owned(), |ms| format!("{ms} ms"));
        let checksum = match (&replica.checksum, &replica.checksum_lsn) {
            (Some(sum), Some(at)) => {
                let rows = replica.row_checksum.map(|rows| format!(" rows {rows:016x}")).unwrap_or_default();
                format!("{sum:016x} at {}{rows}", lsn(at))
            }
            _ => "-".to_owned(),
        };
        let [committed, last, applied] = [&replica.committed, &replica.last, &replica.applied]
            .map(|at| at.as_ref().map_or("-".to_owned(), lsn));
        let role = &replica.role;
        writeln!(
            f,
            "  n{node:<5}{role:<11}{committed:<12}{last:<12}{applied:<12}{lag:<8}{stale:<9}{checksum}"
        )?;
    }
    for lack in &range.lacks {
        writeln!(f, "  ! {}: {}", lack.what, lack.advice)?;
    }
    Ok(())
}

/// What the furthest replica has committed is what the others lag behind.
fn newest(range: &RangeDiagnosis<'_>) -> u64 {
    range.replicas.values().map(|replica| sequence(replica.committed.as_ref())).max().unwrap_or(0)
}

fn lsn(lsn: &v1::Lsn) -> String {
    format!("{}.{}", lsn.epoch, lsn.sequence)
}
