//! `spinnaker demo`: a cluster in one process.
//!
//! The nodes are real: each has its directory, its log, its gRPC listener and its gateway, and they talk to each
//! other through the network. Only the coordination is embedded. `kill` ends a node as a crash would: its
//! connections close at once, nothing is handed over, and its coordination session is left to run out.
//!
//! Commands come line by line on standard input. When it ends, a terminal means goodbye (Ctrl-D); a script that
//! only meant to start the cluster may close it, so then the demo serves on until it gets a signal.

use std::io::{BufRead, IsTerminal};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kvstore::NodeId;
use kvstore::accept;
use kvstore::command_line::{Failure, Signals, say};
use kvstore::config::{GRPC_PORT, NodeConfig};
use kvstore::coordination::embedded::{Embedded, EmbeddedClient};
use kvstore::disk::FileDisk;
use kvstore::node::Node;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::listener::{DATABASE, Gateway, GatewayOptions, PG_PORT, listen};

/// All listeners are for this machine only.
const HOST: Ipv4Addr = Ipv4Addr::LOCALHOST;
/// How long the coordination session of a killed node lives on.
const SESSION_TIMEOUT: Duration = Duration::from_secs(6);
/// What standard input may say.
const COMMANDS: &str = "commands: status, kill N, start N, quit";

/// Flags of `demo`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct DemoArgs {
    /// Number of nodes
    #[arg(long, env = "SPINNAKER_NODES", default_value_t = 3, value_parser = clap::value_parser!(u32).range(3..=32))]
    nodes: u32,
    /// PostgreSQL port of the first node; the others take the next ones
    #[arg(long, env = "SPINNAKER_PG_PORT", default_value_t = PG_PORT, value_parser = clap::value_parser!(u16).range(1..))]
    pg_port: u16,
    /// gRPC port of the first node; the others take the next ones [default: 7401, or any free ports if one is taken]
    #[arg(long, env = "SPINNAKER_GRPC_PORT", value_parser = clap::value_parser!(u16).range(1..))]
    grpc_port: Option<u16>,
    /// Directory of the nodes' data [default: a temporary one, removed at the end]
    #[arg(long, env = "SPINNAKER_DATA_DIR")]
    data_dir: Option<PathBuf>,
}

/// Runs a cluster until it is asked to stop.
pub(crate) async fn demo(args: DemoArgs) -> Result<(), Failure> {
    let mut signals = Signals::new()?;
    let directory = Directory::open(args.data_dir.clone())?;
    let mut demo = Demo::new(&args, &directory.path).await?;
    let served = tokio::select! {
        served = demo.serve(commands()) => served,
        () = signals.stop() => Ok(()),
    };
    tokio::select! {
        () = demo.shutdown() => {}
        () = signals.stop() => {}
    }
    served
}

/// Where the nodes keep their data; a temporary directory goes with this.
struct Directory {
    path: PathBuf,
    temporary: bool,
}

impl Directory {
    fn open(given: Option<PathBuf>) -> Result<Directory, Failure> {
        let temporary = given.is_none();
        let path = given
            .unwrap_or_else(|| std::env::temp_dir().join(format!("spinnaker-demo-{}", std::process::id())));
        std::fs::create_dir_all(&path)
            .map_err(|error| Failure::run(format!("--data-dir {}: {error}", path.display())))?;
        Ok(Directory { path, temporary })
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if self.temporary
            && let Err(error) = std::fs::remove_dir_all(&self.path)
        {
            tracing::warn!(%error, directory = %self.path.display(), "the demo's directory could not be removed");
        }
    }
}

/// Lines of standard input. Reading them blocks a thread of its own; the channel closes with the input, unless
/// the cluster is meant to outlive it.
fn commands() -> mpsc::UnboundedReceiver<String> {
    let (sender, receiver) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        let input = std::io::stdin();
        for line in input.lock().lines() {
            let Ok(line) = line else { break };
            if sender.send(line).is_err() {
                return;
            }
        }
        if !input.is_terminal() {
            // A sender that is never dropped keeps the receiver waiting.
            std::mem::forget(sender);
        }
    });
    receiver
}

/// Listens on `count` ports of this machine from `first` on; `option` is the flag that chooses them.
async fn listen_all(option: &str, first: u16, count: u32) -> Result<Vec<TcpListener>, Failure> {
    let last = u32::from(first) + count - 1;
    if last > u32::from(u16::MAX) {
        return Err(Failure::usage(format!("{option} {first}: {count} nodes need ports up to {last}")));
    }
    let mut listeners = Vec::new();
    for port in u32::from(first)..=last {
        listeners.push(listen(option, &format!("{HOST}:{port}")).await?);
    }
    Ok(listeners)
}

fn addresses(listeners: &[TcpListener]) -> Result<Vec<SocketAddr>, Failure> {
    listeners.iter().map(|listener| listener.local_addr().map_err(Failure::run)).collect()
}

/// Lets the node take any free port.
fn any_port() -> SocketAddr {
    SocketAddr::from((HOST, 0))
}

struct Demo {
    coordination: Embedded,
    members: Vec<Member>,
}

/// A node that runs or was killed.
struct Member {
    config: NodeConfig,
    /// Nobody asked for its gRPC port: if that is taken, another one will do.
    any_grpc_port: bool,
    pg: SocketAddr,
    running: Option<Running>,
}

struct Running {
    node: Node,
    gateway: Gateway,
    client: Arc<EmbeddedClient>,
    /// Prints a line when the node cannot go on; ends with this.
    _watch: JoinSet<()>,
}

/// What a line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Request {
    Nothing,
    Status,
    Kill(u32),
    Start(u32),
    Quit,
    Unknown(String),
}

impl Request {
    fn parse(line: &str) -> Request {
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |text: &str| text.parse::<u32>().ok();
        match words[..] {
            [] => Request::Nothing,
            ["status"] => Request::Status,
            ["quit" | "exit"] => Request::Quit,
            ["kill", id] if number(id).is_some() => Request::Kill(number(id).unwrap_or_default()),
            ["start", id] if number(id).is_some() => Request::Start(number(id).unwrap_or_default()),
            _ => Request::Unknown(line.trim().to_string()),
        }
    }
}

impl Demo {
    async fn new(args: &DemoArgs, directory: &Path) -> Result<Demo, Failure> {
        let connections_max = GatewayOptions::default().connections_max * args.nodes as usize;
        accept::check_limit(connections_max).map_err(Failure::run)?;
        // All ports first: with one of them taken nothing is started.
        let pg = listen_all("--pg-port", args.pg_port, args.nodes).await?;
        let grpc = match args.grpc_port {
            Some(port) => addresses(&listen_all("--grpc-port", port, args.nodes).await?)?,
            None => match listen_all("--grpc-port", GRPC_PORT, args.nodes).await {
                Ok(free) => addresses(&free)?,
                Err(_) => vec![any_port(); args.nodes as usize],
            },
        };
        let unusable = |error| Failure::run(format!("--data-dir {}: {error}", directory.display()));
        let disk = FileDisk::open(directory.join("coordination")).map_err(unusable)?;
        let coordination = Embedded::open(Arc::new(disk)).map_err(unusable)?;
        let mut demo = Demo { coordination, members: Vec::new() };
        for (id, (listener, grpc)) in (1..).zip(pg.into_iter().zip(grpc)) {
            let pg = listener.local_addr().map_err(Failure::run)?;
            let mut config =
                NodeConfig::new(NodeId(id), directory.join(format!("node-{id}")), grpc.to_string());
            config.pg_address = Some(pg.to_string());
            let mut member = Member { config, any_grpc_port: args.grpc_port.is_none(), pg, running: None };
            member.start(&demo.coordination, listener).await?;
            demo.members.push(member);
        }
        Ok(demo)
    }

    async fn serve(&mut self, mut commands: mpsc::UnboundedReceiver<String>) -> Result<(), Failure> {
        for member in &self.members {
            say(format_args!("node {}  postgres://root@{}/{DATABASE}", member.config.node.0, member.pg));
        }
        let running = self.members.iter().filter_map(|member| member.running.as_ref());
        let grpc: Vec<String> = running.map(|running| running.node.address().to_string()).collect();
        // One write, so that nobody who waits for `ready` takes the other line for the answer to a command.
        say(format_args!("ready\ngRPC on {}", grpc.join(", ")));
        while let Some(line) = commands.recv().await {
            match Request::parse(&line) {
                Request::Nothing => {}
                Request::Quit => break,
                Request::Status => self.status().await,
                Request::Kill(id) => say(self.kill(id).await),
                Request::Start(id) => say(self.start(id).await),
                Request::Unknown(line) => say(format_args!("unknown command: {line} ({COMMANDS})")),
            }
        }
        Ok(())
    }

    async fn status(&self) {
        for member in &self.members {
            if member.running.is_none() {
                say(format_args!("node {} is down", member.config.node.0));
            }
        }
        let Some(running) = self.members.iter().find_map(|member| member.running.as_ref()) else { return };
        match kvstore::status::fetch(&running.node.address().to_string()).await {
            Ok(status) => say(status.to_string().trim_end()),
            Err(error) => say(format_args!("status: {error}")),
        }
    }

    async fn kill(&mut self, id: u32) -> String {
        match self.member(id) {
            Err(error) => error,
            Ok(member) => match member.running.take() {
                None => format!("node {id} is down already"),
                Some(Running { node, gateway, client, _watch }) => {
                    // The connections first: clients of a crashed node hear nothing from it, not even an error.
                    gateway.kill().await;
                    node.kill();
                    client.kill(SESSION_TIMEOUT);
                    format!("node {id} killed")
                }
            },
        }
    }

    async fn start(&mut self, id: u32) -> String {
        let coordination = self.coordination.clone();
        let member = match self.member(id) {
            Err(error) => return error,
            Ok(member) => member,
        };
        if member.running.is_some() {
            return format!("node {id} is running already");
        }
        let started = match listen("--pg-port", &member.pg.to_string()).await {
            Ok(listener) => member.start(&coordination, listener).await,
            Err(failure) => Err(failure),
        };
        match started {
            Ok(()) => format!("node {id} started"),
            Err(failure) => format!("node {id} did not start: {failure}"),
        }
    }

    fn member(&mut self, id: u32) -> Result<&mut Member, String> {
        let count = self.members.len();
        self.members
            .iter_mut()
            .find(|member| member.config.node == NodeId(id))
            .ok_or_else(|| format!("there is no node {id}: the nodes are 1 to {count}"))
    }

    /// Ends all nodes politely: sessions first, then leaderships, which the last nodes keep for lack of others.
    async fn shutdown(&mut self) {
        let running: Vec<Running> =
            self.members.iter_mut().filter_map(|member| member.running.take()).collect();
        let (gateways, nodes): (Vec<Gateway>, Vec<Node>) =
            running.into_iter().map(|running| (running.gateway, running.node)).unzip();
        futures::future::join_all(gateways.into_iter().map(Gateway::shutdown)).await;
        futures::future::join_all(nodes.iter().map(Node::shutdown)).await;
    }
}

impl Member {
    async fn start(&mut self, coordination: &Embedded, listener: TcpListener) -> Result<(), Failure> {
        let client = coordination.client();
        let mut started = Node::start(self.config.clone(), client.clone()).await;
        if started.is_err() && self.any_grpc_port {
            // Somebody took the port meanwhile, or the node's earlier life has not let go of it yet.
            let config = NodeConfig { listen: any_port().to_string(), ..self.config.clone() };
            started = Node::start(config, client.clone()).await;
        }
        let node = started.map_err(|error| {
            client.kill(Duration::ZERO);
            Failure::run(error)
        })?;
        let gateway = Gateway::open(listener, node.kv(), GatewayOptions::default()).map_err(Failure::run)?;
        let mut watch = JoinSet::new();
        let (id, failed) = (self.config.node.0, node.failed());
        watch.spawn(async move { say(format_args!("node {id} cannot go on: {}", failed.await)) });
        self.running = Some(Running { node, gateway, client, _watch: watch });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_understood_or_answered() {
        let cases = [
            ("", Request::Nothing),
            ("  status ", Request::Status),
            ("kill 2", Request::Kill(2)),
            ("start 3", Request::Start(3)),
            ("quit", Request::Quit),
            ("kill", Request::Unknown("kill".into())),
            ("kill two", Request::Unknown("kill two".into())),
            ("kill 1 2", Request::Unknown("kill 1 2".into())),
            ("help", Request::Unknown("help".into())),
        ];
        for (line, expected) in cases {
            assert_eq!(Request::parse(line), expected, "{line:?}");
        }
    }

    #[test]
    fn a_temporary_directory_goes_and_a_given_one_stays() {
        let temporary = Directory::open(None).unwrap();
        let path = temporary.path.clone();
        assert!(path.is_dir());
        drop(temporary);
        assert!(!path.exists());

        let given = Directory::open(Some(path.clone())).unwrap();
        drop(given);
        assert!(path.is_dir());
        std::fs::remove_dir_all(&path).unwrap();
    }
}
