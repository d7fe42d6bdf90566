//! Configuration of one node: flags over `SPINNAKER_*` environment over TOML file over defaults.
//!
//! [`StartArgs`] is the one list of options: clap reads it from flags and environment, serde from the file, so
//! the three cannot drift apart. `spinnaker start` flattens it into its own flags and adds what belongs to SQL;
//! such keys of the file come back in [`Resolved::extra`]. Everything is checked here, once: a [`NodeConfig`] is
//! valid by construction and its errors are one line that names the option.

use std::fmt;
use std::net::ToSocketAddrs;
use std::path::PathBuf;
use std::time::Duration;

use replication::protocol::time::Millis;
use replication::protocol::{LEASE_MAX, Settings};
use replication::store::PAYLOAD_BYTES_MAX;
use wal::NodeId;

use crate::memory::MEMORY_MIB_MIN;
pub use crate::memory::MemoryConfig;

/// Port at which a node is expected to serve gRPC, unless an address says something else.
pub const GRPC_PORT: u16 = 7401;
/// Most bytes of a write that may be configured: half of what an entry of the log may hold, so that names and lengths of
/// common columns fit beside them. A write of very many small columns is measured as the log holds it.
const ROW_BYTES_LIMIT: usize = PAYLOAD_BYTES_MAX / 2;
/// Longest period that may be configured, in ms.
const PERIOD_MS_MAX: u32 = 600_000;

/// Options of `start`, each optional here: what is absent comes from the next layer. The help text gets its defaults
/// from [`StartArgs::defaults`].
#[derive(Clone, Debug, Default, clap::Args, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StartArgs {
    /// Number of this node, 1 and up, unique in the cluster and bound to its data directory
    #[arg(long, env = "SPINNAKER_NODE_ID")]
    pub node_id: Option<u32>,
    /// Directory of the log and the tables; made if absent
    #[arg(long, env = "SPINNAKER_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
    /// ZooKeeper servers: HOST:PORT[,HOST:PORT..], then /chroot if wanted
    #[arg(long, env = "SPINNAKER_ZOOKEEPER")]
    pub zookeeper: Option<String>,
    /// Address of the gRPC listener (clients and peers), HOST:PORT, such as 127.0.0.1:7401
    #[arg(long, env = "SPINNAKER_LISTEN")]
    pub listen: Option<String>,
    /// Address of the HTTP listener for /health, /ready and /metrics, HOST:PORT, such as 127.0.0.1:8401 [default: none]
    #[arg(long, env = "SPINNAKER_HTTP_LISTEN")]
    pub http_listen: Option<String>,
    /// gRPC address that is announced to other nodes [default: the listener's]
    #[arg(long, env = "SPINNAKER_ADVERTISE")]
    pub advertise: Option<String>,
    /// Name of the cluster: nodes with the same name and ZooKeeper belong together
    #[arg(long, env = "SPINNAKER_CLUSTER")]
    pub cluster: Option<String>,
    /// Largest row (key and all columns, however many writes they come from), in bytes
    #[arg(long, env = "SPINNAKER_ROW_BYTES_MAX")]
    pub row_bytes_max: Option<usize>,
    /// Memory of the node, in MiB: a quarter for memtables, a quarter for cached table blocks, the rest for scans and other work
    /// [default: 60 % of the machine's, or of the control group's limit]
    #[arg(long, env = "SPINNAKER_MEMORY_MIB")]
    pub memory_mib: Option<u64>,
    /// Memory for cached table blocks, in MiB [default: a quarter of --memory-mib]
    #[arg(long, env = "SPINNAKER_BLOCK_CACHE_MIB")]
    pub block_cache_mib: Option<u64>,
    /// Log kept for followers that were away, in MiB
    #[arg(long, env = "SPINNAKER_LOG_RETENTION_MIB")]
    pub log_retention_mib: Option<u64>,
    /// Snapshots for other nodes leave this one at most so fast, in MiB a second over all ranges
    #[arg(long, env = "SPINNAKER_SNAPSHOT_MIB_PER_S")]
    pub snapshot_mib_per_s: Option<u64>,
    /// Heartbeat period, in ms
    #[arg(long, env = "SPINNAKER_HEARTBEAT_MS")]
    pub heartbeat_ms: Option<u32>,
    /// Commit message period, in ms
    #[arg(long, env = "SPINNAKER_COMMIT_PERIOD_MS")]
    pub commit_period_ms: Option<u32>,
    /// Whether commits ride on proposals; false waits for the commit period as the paper does
    #[arg(long, env = "SPINNAKER_COMMIT_PIGGYBACK")]
    pub commit_piggyback: Option<bool>,
    /// Lease that followers grant the leader for strong reads, in ms
    #[arg(long, env = "SPINNAKER_LEASE_MS")]
    pub lease_ms: Option<u32>,
    /// Silence of the leader after which a follower suspects it, in ms
    #[arg(long, env = "SPINNAKER_SUSPECT_AFTER_MS")]
    pub suspect_after_ms: Option<u32>,
    /// Seconds of calm after which a leadership goes back to its range's first member; 0: never
    #[arg(long, env = "SPINNAKER_SPREAD_LEADERS_AFTER_S")]
    pub spread_leaders_after_s: Option<u32>,
    /// Show the numbers of each range in /metrics, too
    #[arg(long, env = "SPINNAKER_RANGE_METRICS")]
    #[serde(default)]
    pub range_metrics: bool,
    /// Let tables be made while fewer than three nodes have registered: they never get more replicas
    #[arg(long, env = "SPINNAKER_ALLOW_FEWER_REPLICAS")]
    #[serde(default)]
    pub allow_fewer_replicas: bool,
    /// Give this node's number to this empty data directory: the disk that had it is lost for good
    #[arg(long, env = "SPINNAKER_REBUILD")]
    #[serde(skip)]
    pub rebuild: bool,
    /// File with these options as TOML (node_id = 1, ..); flags and environment win over it
    #[arg(long, env = "SPINNAKER_CONFIG")]
    #[serde(skip)]
    pub config: Option<PathBuf>,
    /// Print the configuration that would be used, and exit
    #[arg(long)]
    #[serde(skip)]
    pub check_config: bool,
}

/// What a node needs to know to start; checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeConfig {
    /// Number of this node, 1 and up.
    pub node: NodeId,
    /// Name of the cluster; all its metadata is below `/spinnaker/<cluster>`.
    pub cluster: String,
    /// Directory of the log and the tables.
    pub data_dir: PathBuf,
    /// gRPC listener, HOST:PORT; port 0 takes a free one.
    pub listen: String,
    /// HTTP listener, HOST:PORT; `None`: none.
    pub http_listen: Option<String>,
    /// gRPC address announced to others; `None`: the listener's.
    pub advertise: Option<String>,
    /// The SQL gateway's address on this node, announced to others for information.
    pub pg_address: Option<String>,
    /// Limits of keys, columns and rows.
    pub limits: Limits,
    /// Memory, divided.
    pub memory: MemoryConfig,
    /// Bytes of log kept for followers that were away.
    pub log_retention_bytes: u64,
    /// Periods and limits of the replication.
    pub replication: Settings,
    /// Calm after which a leadership goes back to its range's first member; `None`: it never does.
    pub spread_leaders_after: Option<Duration>,
    /// `/metrics` shows the numbers of each range.
    pub range_metrics: bool,
    /// The disk that had this node's number is lost: this empty one takes its place, refilled by the others.
    pub rebuild: bool,
    /// Tables may be made while fewer than three nodes have registered.
    pub allow_fewer_replicas: bool,
}

/// Sizes that a request may not exceed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Row key, in bytes.
    pub key_bytes_max: usize,
    /// Column name, in bytes.
    pub column_bytes_max: usize,
    /// Key, column names and values of a row, however many writes they come from, in bytes.
    pub row_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { key_bytes_max: 4 << 10, column_bytes_max: 255, row_bytes_max: 1 << 20 }
    }
}

/// A wrong flag, variable or file; one line that says which. The process exits with code 2.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub String);

/// All layers merged.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolved {
    /// The node.
    pub node: NodeConfig,
    /// ZooKeeper's connection string.
    pub zookeeper: String,
    /// Keys of the file that belong to another layer (such as `pg_listen`), as they stand there.
    pub extra: toml::Table,
}

/// As `--check-config` shows it.
impl fmt::Display for Resolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#?}\nzookeeper: {}", self.node, self.zookeeper)
    }
}

impl NodeConfig {
    /// A configuration with the defaults, for `demo` and tests.
    pub fn new(node: NodeId, data_dir: impl Into<PathBuf>, listen: impl Into<String>) -> NodeConfig {
        NodeConfig {
            node,
            cluster: "default".into(),
            data_dir: data_dir.into(),
            listen: listen.into(),
            http_listen: None,
            advertise: None,
            pg_address: None,
            limits: Limits::default(),
            memory: MemoryConfig::divide(256 << 20),
            log_retention_bytes: 256 << 20,
            replication: Settings::default(),
            spread_leaders_after: Some(Duration::from_secs(30)),
            range_metrics: false,
            rebuild: false,
            allow_fewer_replicas: false,
        }
    }
}

impl StartArgs {
    /// Names (as clap knows them) and defaults of the options that have one, as the help text gives them.
    pub fn defaults() -> Vec<(&'static str, String)> {
        let NodeConfig { cluster, limits, log_retention_bytes, replication, spread_leaders_after, .. } =
            NodeConfig::new(NodeId(1), "", "");
        let ms = |period: Millis| period.0.to_string();
        vec![
            ("cluster", cluster),
            ("row_bytes_max", limits.row_bytes_max.to_string()),
            ("log_retention_mib", (log_retention_bytes >> 20).to_string()),
            ("snapshot_mib_per_s", (replication.snapshot_bytes_per_s >> 20).to_string()),
            ("heartbeat_ms", ms(replication.heartbeat)),
            ("commit_period_ms", ms(replication.commit_period)),
            ("commit_piggyback", replication.commit_piggyback.to_string()),
            ("lease_ms", ms(replication.lease)),
            ("suspect_after_ms", ms(replication.suspect_after)),
            ("spread_leaders_after_s", spread_leaders_after.unwrap_or_default().as_secs().to_string()),
        ]
    }

    /// Reads the file, if one is named, below what flags and environment gave, and checks everything. Keys of the
    /// file named in `extra` are another layer's.
    pub fn resolve(self, extra: &[&str]) -> Result<Resolved, ConfigError> {
        let text = match &self.config {
            None => String::new(),
            Some(path) => std::fs::read_to_string(path)
                .map_err(|error| ConfigError(format!("--config {}: {error}", path.display())))?,
        };
        let name = self.config.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
        self.resolve_with_file(&name, &text, extra)
    }

    fn resolve_with_file(self, name: &str, text: &str, extra: &[&str]) -> Result<Resolved, ConfigError> {
        let (file, extra) = parse_file(text, extra).map_err(|error| {
            ConfigError(format!("{name}: {}", error.to_string().replace('\n', " ").trim()))
        })?;
        let args = self.or(file);
        let required = |name: &str| {
            let variable = name.replace('-', "_");
            ConfigError(format!(
                "--{name} is missing (or SPINNAKER_{}, or {variable} in the --config file)",
                variable.to_uppercase()
            ))
        };
        let id = args.node_id.ok_or_else(|| required("node-id"))?;
        if id == 0 {
            return Err(ConfigError("--node-id must be 1 or more".into()));
        }
        let data_dir = args.data_dir.clone().ok_or_else(|| required("data-dir"))?;
        let zookeeper = args.zookeeper.clone().ok_or_else(|| required("zookeeper"))?;
        let listen = args.listen.clone().ok_or_else(|| required("listen"))?;
        check_address("listen", &listen)?;
        if let Some(address) = &args.http_listen {
            check_address("http-listen", address)?;
        }
        if let Some(address) = &args.advertise {
            check_host_port("advertise", address)?;
        }
        let mut node = NodeConfig::new(NodeId(id), data_dir, listen);
        args.apply_limits(&mut node)?;
        node.cluster = args.cluster.unwrap_or(node.cluster);
        let cluster = &node.cluster;
        if cluster.is_empty() || !cluster.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_') {
            return Err(ConfigError(format!(
                "--cluster {cluster}: only letters, digits, - and _ are allowed"
            )));
        }
        node.http_listen = args.http_listen;
        node.rebuild = args.rebuild;
        node.range_metrics = args.range_metrics;
        if let Some(seconds) = args.spread_leaders_after_s {
            node.spread_leaders_after = (seconds > 0).then(|| Duration::from_secs(seconds.into()));
        }
        node.allow_fewer_replicas = args.allow_fewer_replicas;
        node.advertise = args.advertise;
        Ok(Resolved { node, zookeeper, extra })
    }

    /// Sizes and periods: what is given replaces the default in `node`.
    fn apply_limits(&self, node: &mut NodeConfig) -> Result<(), ConfigError> {
        if let Some(bytes) = self.row_bytes_max {
            if !(1024..=ROW_BYTES_LIMIT).contains(&bytes) {
                return Err(ConfigError(format!(
                    "--row-bytes-max must be between 1024 and {ROW_BYTES_LIMIT}"
                )));
            }
            node.limits.row_bytes_max = bytes;
        }
        self.apply_memory(node)?;
        if let Some(mib) = self.log_retention_mib {
            node.log_retention_bytes = mib.saturating_mul(1 << 20);
        }
        let settings = &mut node.replication;
        match self.snapshot_mib_per_s {
            None => {}
            Some(mib @ 1..=65_536) => settings.snapshot_bytes_per_s = mib << 20,
            Some(_) => {
                return Err(ConfigError("--snapshot-mib-per-s must be between 1 and 65536".into()));
            }
        }
        let periods = [
            ("heartbeat-ms", self.heartbeat_ms, &mut settings.heartbeat),
            ("commit-period-ms", self.commit_period_ms, &mut settings.commit_period),
            ("lease-ms", self.lease_ms, &mut settings.lease),
            ("suspect-after-ms", self.suspect_after_ms, &mut settings.suspect_after),
        ];
        for (name, given, period) in periods {
            let most = if name == "lease-ms" { LEASE_MAX.0 } else { PERIOD_MS_MAX };
            match given {
                None => {}
                Some(ms) if (1..=most).contains(&ms) => *period = Millis(ms),
                Some(_) => return Err(ConfigError(format!("--{name} must be between 1 and {most}"))),
            }
        }
        settings.commit_piggyback = self.commit_piggyback.unwrap_or(settings.commit_piggyback);
        // A follower that suspects its leader within two heartbeats would depose it at every hiccup.
        let least = Millis(settings.heartbeat.0 * 3);
        if settings.suspect_after < least || settings.lease < least {
            return Err(ConfigError(
                "--suspect-after-ms and --lease-ms must each be at least three times --heartbeat-ms".into(),
            ));
        }
        Ok(())
    }

    fn apply_memory(&self, node: &mut NodeConfig) -> Result<(), ConfigError> {
        node.memory = match self.memory_mib {
            None => MemoryConfig::of_machine(),
            Some(mib) if mib < MEMORY_MIB_MIN => {
                return Err(ConfigError(format!("--memory-mib must be at least {MEMORY_MIB_MIN}")));
            }
            Some(mib) => MemoryConfig::divide(mib.saturating_mul(1 << 20)),
        };
        if let Some(mib) = self.block_cache_mib {
            node.memory.block_cache_bytes = mib.saturating_mul(1 << 20);
        }
        let MemoryConfig { total_bytes, block_cache_bytes, .. } = node.memory;
        if block_cache_bytes > total_bytes / 2 {
            return Err(ConfigError(format!(
                "--block-cache-mib may be at most half of --memory-mib, which is {}",
                total_bytes >> 20
            )));
        }
        Ok(())
    }

    /// Takes from `file` what is absent here.
    fn or(self, file: StartArgs) -> StartArgs {
        StartArgs {
            node_id: self.node_id.or(file.node_id),
            data_dir: self.data_dir.or(file.data_dir),
            zookeeper: self.zookeeper.or(file.zookeeper),
            listen: self.listen.or(file.listen),
            http_listen: self.http_listen.or(file.http_listen),
            advertise: self.advertise.or(file.advertise),
            cluster: self.cluster.or(file.cluster),
            row_bytes_max: self.row_bytes_max.or(file.row_bytes_max),
            memory_mib: self.memory_mib.or(file.memory_mib),
            block_cache_mib: self.block_cache_mib.or(file.block_cache_mib),
            log_retention_mib: self.log_retention_mib.or(file.log_retention_mib),
            snapshot_mib_per_s: self.snapshot_mib_per_s.or(file.snapshot_mib_per_s),
            heartbeat_ms: self.heartbeat_ms.or(file.heartbeat_ms),
            commit_period_ms: self.commit_period_ms.or(file.commit_period_ms),
            commit_piggyback: self.commit_piggyback.or(file.commit_piggyback),
            lease_ms: self.lease_ms.or(file.lease_ms),
            suspect_after_ms: self.suspect_after_ms.or(file.suspect_after_ms),
            spread_leaders_after_s: self.spread_leaders_after_s.or(file.spread_leaders_after_s),
            range_metrics: self.range_metrics || file.range_metrics,
            allow_fewer_replicas: self.allow_fewer_replicas || file.allow_fewer_replicas,
            rebuild: self.rebuild,
            config: self.config,
            check_config: self.check_config,
        }
    }
}

/// The file's own options, and those of `extra`. `node-id` and `node_id` are the same key.
fn parse_file(text: &str, extra: &[&str]) -> Result<(StartArgs, toml::Table), toml::de::Error> {
    let table: toml::Table = toml::from_str(text)?;
    let (theirs, ours): (toml::Table, toml::Table) = table
        .into_iter()
        .map(|(key, value)| (key.replace('-', "_"), value))
        .partition(|(key, _)| extra.contains(&key.as_str()));
    Ok((ours.try_into()?, theirs))
}

/// Host and port that can be listened on: names are resolved, so that a typing error shows at once.
fn check_address(option: &str, address: &str) -> Result<(), ConfigError> {
    match address.to_socket_addrs().map(|mut found| found.next().is_some()) {
        Ok(true) => Ok(()),
        Ok(false) => Err(ConfigError(format!("--{option} {address}: the name has no address"))),
        Err(error) => Err(ConfigError(format!("--{option} {address}: not a HOST:PORT ({error})"))),
    }
}

/// Host and port as others will see them; need not resolve here.
fn check_host_port(option: &str, address: &str) -> Result<(), ConfigError> {
    match address.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0) => Ok(()),
        _ => Err(ConfigError(format!("--{option} {address}: not a HOST:PORT"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags() -> StartArgs {
        StartArgs {
            node_id: Some(1),
            data_dir: Some("/d".into()),
            zookeeper: Some("127.0.0.1:2181".into()),
            listen: Some("127.0.0.1:7401".into()),
            ..StartArgs::default()
        }
    }

    #[test]
    fn flags_win_over_the_file_and_the_file_over_defaults() {
        let file = "node-id = 7\ncluster = 'c'\nlease_ms = 900\npg_listen = '127.0.0.1:5433'\n";
        let resolved = flags().resolve_with_file("f", file, &["pg_listen"]).unwrap();
        assert_eq!(resolved.node.node, NodeId(1));
        assert_eq!(resolved.node.cluster, "c");
        assert_eq!(resolved.node.replication.lease, Millis(900));
        assert_eq!(resolved.node.replication.heartbeat, Settings::default().heartbeat);
        assert_eq!(resolved.node.spread_leaders_after, Some(Duration::from_secs(30)));
        assert_eq!(resolved.extra["pg_listen"].as_str(), Some("127.0.0.1:5433"));
    }

    #[test]
    fn leaders_are_spread_after_a_time_or_never() {
        let spread = |file| flags().resolve_with_file("f", file, &[]).unwrap().node.spread_leaders_after;
        assert_eq!(spread("spread_leaders_after_s = 7"), Some(Duration::from_secs(7)));
        assert_eq!(spread("spread_leaders_after_s = 0"), None);
    }

    #[test]
    fn each_mistake_is_one_line_that_names_the_option() {
        let cases: [(StartArgs, &str, &str); 10] = [
            (StartArgs { node_id: None, ..flags() }, "", "--node-id is missing"),
            (StartArgs { node_id: Some(0), ..flags() }, "", "--node-id must be"),
            (StartArgs { listen: Some("nowhere".into()), ..flags() }, "", "--listen nowhere"),
            (StartArgs { advertise: Some("h:0".into()), ..flags() }, "", "--advertise h:0"),
            (StartArgs { cluster: Some("a/b".into()), ..flags() }, "", "--cluster a/b"),
            (StartArgs { memory_mib: Some(63), ..flags() }, "", "--memory-mib"),
            (
                StartArgs { memory_mib: Some(64), block_cache_mib: Some(33), ..flags() },
                "",
                "--block-cache-mib",
            ),
            (StartArgs { suspect_after_ms: Some(60), ..flags() }, "", "--suspect-after-ms"),
            (flags(), "liste = 'x'", "unknown field"),
            (flags(), "node_id = 'x'", "node_id"),
        ];
        for (args, file, expected) in cases {
            let error = args.resolve_with_file("f.toml", file, &[]).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }
}
