//! What `spinnaker status` shows: every range with its replicas, gathered from all nodes that answer.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use replication::protocol::Status;
use tonic::transport::Endpoint;

use crate::cluster::map::ClusterMap;
use crate::ranges::{LocalRange, Ranges};
use crate::rpc::convert;
use crate::rpc::proto::v1;
use crate::rpc::proto::v1::kv_client::KvClient;

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
    ask(address, true).await
}

/// The same without the hashes: costs next to nothing.
pub async fn fetch_quick(address: &str) -> Result<ClusterStatus, String> {
    ask(address, false).await
}

async fn ask(address: &str, checksums: bool) -> Result<ClusterStatus, String> {
    let mut client = connect(address).await?;
    let mut request = tonic::Request::new(v1::StatusRequest { cluster: true, checksums });
    request.set_timeout(TIMEOUT);
    let response =
        client.status(request).await.map_err(|status| format!("{address}: {}", status.message()))?;
    Ok(ClusterStatus { nodes: response.into_inner().nodes })
}

/// A client of the public service at HOST:PORT. The error is one line for the user.
pub async fn connect(address: &str) -> Result<KvClient<tonic::transport::Channel>, String> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .map_err(|error| format!("{address}: not a HOST:PORT ({error})"))?;
    let endpoint = endpoint.connect_timeout(Duration::from_secs(3)).tcp_nodelay(true);
    let channel = endpoint.connect().await.map_err(|_| format!("{address}: no node answers there"))?;
    Ok(KvClient::new(channel).max_decoding_message_size(crate::rpc::MESSAGE_BYTES_MAX))
}

/// This node's part.
pub(crate) async fn describe(
    address: String,
    pg_address: Option<String>,
    ranges: Arc<Ranges>,
    map: Arc<ClusterMap>,
    checksums: bool,
) -> v1::NodeStatus {
    let node = ranges.node().0;
    // Hashing reads whole tables: not on the threads that serve.
    let work = tokio::task::spawn_blocking(move || {
        let view = map.view();
        let mut replicas: Vec<v1::ReplicaStatus> = ranges
            .all()
            .into_iter()
            .map(|range| {
                let table = view.by_id.get(&range.descriptor.table).map(|table| table.table.name.clone());
                replica(&range, table.unwrap_or_default(), checksums)
            })
            .collect();
        replicas.sort_by(|a, b| (&a.table, &a.start).cmp(&(&b.table, &b.start)));
        replicas
    });
    let (replicas, error) = match work.await {
        Ok(replicas) => (replicas, String::new()),
        Err(error) => (Vec::new(), error.to_string()),
    };
    v1::NodeStatus { node, address, pg_address: pg_address.unwrap_or_default(), error, replicas }
}

fn replica(range: &LocalRange, table: String, checksums: bool) -> v1::ReplicaStatus {
    let descriptor = &range.descriptor;
    let mut status = v1::ReplicaStatus {
        range: descriptor.id.to_string(),
        table_id: descriptor.table.0,
        table,
        start: descriptor.start.clone(),
        end: descriptor.end.clone(),
        members: descriptor.nodes().map(|node| node.0).collect(),
        ..v1::ReplicaStatus::default()
    };
    let replica = match &range.replica {
        Ok(replica) => replica,
        Err(why) => {
            status.refusal = why.clone();
            return status;
        }
    };
    let cohort = replica.cohort.status();
    status.role = cohort.role.to_string();
    status.epoch = cohort.epoch.0;
    status.leader = cohort.leader.map_or(0, |node| node.0);
    status.open = cohort.open;
    status.committed = Some(convert::lsn(cohort.committed));
    status.last = Some(convert::lsn(cohort.last));
    status.applied = Some(convert::lsn(cohort.applied));
    status.flushed = Some(convert::lsn(replica.store.engine().flushed()));
    status.staleness_ms = replica.cohort.staleness().map(convert::millis);
    status.trouble = trouble(&cohort).unwrap_or_default();
    if checksums {
        match replica.store.engine().checksum() {
            Ok((lsn, checksum)) => {
                status.checksum = Some(checksum);
                status.checksum_lsn = Some(convert::lsn(lsn));
            }
            Err(error) => status.trouble = format!("{error}; it is being repaired from another replica"),
        }
    }
    status
}

fn trouble(cohort: &Status) -> Option<String> {
    let mending = if cohort.learner {
        "its log was damaged: it is brought level by its leader once all other replicas have answered, and does not count \
         before"
    } else if cohort.damaged {
        "a table is damaged: it is being repaired from another replica"
    } else {
        return cohort.broken.clone();
    };
    Some(mending.to_owned())
}

impl fmt::Display for ClusterStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<6}{:<24}{:<24}STATE", "NODE", "GRPC", "SQL")?;
        for node in &self.nodes {
            let state = if node.error.is_empty() { "up" } else { &node.error };
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
