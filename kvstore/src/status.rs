//! What `spinnaker status` shows: every range with its replicas, gathered from all nodes that answer.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use replication::runtime::dial;

use crate::proto::v1::kv_client::KvClient;
use crate::proto::{MESSAGE_BYTES_MAX, v1};

/// Longest wait for a node's answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// All nodes of the cluster, each with its replicas. `Display` prints it for people.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClusterStatus {
    /// Registered nodes; one that did not answer has an error and no replicas.
    pub nodes: Vec<v1::NodeStatus>,
}

/// Asks the node at `address` (HOST:PORT) for the state of the whole cluster; every replica hashes its whole content
/// for it. The error is one line for the user.
pub async fn fetch(address: &str) -> Result<ClusterStatus, String> {
    fetch_cluster(address, true).await
}

/// The same without the hashes: costs next to nothing.
pub async fn fetch_quick(address: &str) -> Result<ClusterStatus, String> {
    fetch_cluster(address, false).await
}

async fn fetch_cluster(address: &str, checksums: bool) -> Result<ClusterStatus, String> {
    let request = v1::StatusRequest { cluster: true, checksums };
    Ok(ClusterStatus { nodes: ask(address, request, TIMEOUT).await? })
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

impl fmt::Display for ClusterStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<6}{:<24}{:<24}STATE", "NODE", "GRPC", "SQL")?;
        for node in &self.nodes {
            let state = match node.error.is_empty() {
                true if node.disk_full => "up; its disk is full: free space there",
                true => "up",
                false => &node.error,
            };
            let or_dash = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
            writeln!(
                f,
                "n{:<5}{:<24}{:<24}{state}",
                node.node,
                or_dash(&node.address),
                or_dash(&node.pg_address)
            )?;
        }
        let mut ranges: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for node in &self.nodes {
            for replica in &node.replicas {
                let key = (&replica.table, &replica.start, &replica.range);
                ranges.entry(key).or_default().push((node.node, replica));
            }
        }
        for ((table, start, range), mut replicas) in ranges {
            replicas.sort_by_key(|(node, _)| *node);
            let end = replicas[0].1.end.as_ref().map_or("end".to_owned(), |end| printable(end));
            let start = if start.is_empty() { "start".to_owned() } else { printable(start) };
            writeln!(f, "\n{table} [{start}, {end})  range {range}")?;
            let head = ("NODE", "ROLE", "CMT", "LST", "APPLIED", "LAG", "STALE", "CHECKSUM");
            let (node, role, committed, last, applied, lag, stale, checksum) = head;
            writeln!(
                f,
                "  {node:<6}{role:<11}{committed:<12}{last:<12}{applied:<12}{lag:<8}{stale:<9}{checksum}"
            )?;
            // What the furthest replica has committed is what the others lag behind.
            let newest = replicas.iter().map(|(_, replica)| sequence(&replica.committed)).max().unwrap_or(0);
            for (node, replica) in replicas {
                if !replica.refusal.is_empty() {
                    writeln!(f, "  n{node:<5}out of service: {}", replica.refusal)?;
                    continue;
                }
                let lag = newest.saturating_sub(sequence(&replica.applied));
                let stale = replica.staleness_ms.map_or("-".to_owned(), |ms| format!("{ms} ms"));
                let checksum = match (&replica.checksum, &replica.checksum_lsn) {
                    (Some(sum), Some(at)) => format!("{sum:016x} at {}.{}", at.epoch, at.sequence),
                    _ => "-".to_owned(),
                };
                let [committed, last, applied] =
                    [&replica.committed, &replica.last, &replica.applied].map(printable_lsn);
                let role = &replica.role;
                writeln!(
                    f,
                    "  n{node:<5}{role:<11}{committed:<12}{last:<12}{applied:<12}{lag:<8}{stale:<9}{checksum}"
                )?;
                if !replica.trouble.is_empty() {
                    writeln!(f, "        {}", replica.trouble)?;
                }
            }
        }
        Ok(())
    }
}

fn sequence(lsn: &Option<v1::Lsn>) -> u64 {
    lsn.as_ref().map_or(0, |lsn| lsn.sequence)
}

fn printable_lsn(lsn: &Option<v1::Lsn>) -> String {
    lsn.as_ref().map_or("-".to_owned(), |lsn| format!("{}.{}", lsn.epoch, lsn.sequence))
}

fn printable(key: &[u8]) -> String {
    format!("'{}'", key.escape_ascii())
}
