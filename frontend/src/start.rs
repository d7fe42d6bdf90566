//! `spinnaker start`: one node of a cluster, with its PostgreSQL gateway.

use std::sync::Arc;

use kvstore::config::Resolved;
use kvstore::coordination::Coordinator;
use kvstore::coordination::zookeeper::{ZooKeeper, ZooKeeperOptions};
use kvstore::node::Node;
use kvstore::request::Kv;
use planner::{Planner, ServerInfo};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::{Failure, StartCommand, say};
use crate::listener::{Gateway, GatewayOptions};

/// The only database's name.
pub(crate) const DATABASE: &str = "spinnaker";
/// Where the gateway listens unless told otherwise.
const PG_LISTEN_DEFAULT: &str = "127.0.0.1:5433";
/// Sessions that a gateway may be allowed.
const CONNECTIONS_MAX: usize = 100_000;
/// Keys of the file that are read here and not by the store.
const OWN_KEYS: [&str; 2] = ["pg_listen", "pg_connections_max"];

/// Runs a node until it is told to stop.
pub(crate) async fn start(command: StartCommand) -> Result<(), Failure> {
    let mut signals = Signals::new()?;
    let StartCommand { node, pg_listen, pg_connections_max } = command;
    let Resolved { mut node, zookeeper, extra } = node.resolve(&OWN_KEYS).map_err(Failure::usage)?;
    let pg_listen = match (pg_listen, extra.get("pg_listen")) {
        (Some(address), _) => address,
        (None, Some(toml::Value::String(address))) => address.clone(),
        (None, Some(_)) => return Err(Failure::usage("pg_listen in the --config file: not a text")),
        (None, None) => PG_LISTEN_DEFAULT.to_string(),
    };
    let connections_max = match (pg_connections_max, extra.get("pg_connections_max")) {
        (Some(number), _) => Some(number),
        (None, Some(number)) => {
            Some(number.as_integer().and_then(|number| usize::try_from(number).ok()).unwrap_or(0))
        }
        (None, None) => None,
    };
    let mut options = GatewayOptions::default();
    options.connections_max = connections_max.unwrap_or(options.connections_max);
    if !(1..=CONNECTIONS_MAX).contains(&options.connections_max) {
        return Err(Failure::usage(format!("--pg-connections-max must be between 1 and {CONNECTIONS_MAX}")));
    }

    // The cheap checks come first: nothing is touched when the port is taken.
    let listener = listen("--pg-listen", &pg_listen).await?;
    let address = listener.local_addr().map_err(Failure::run)?;
    node.pg_address = Some(address.to_string());
    let coordinator = ZooKeeper::connect(ZooKeeperOptions::new(zookeeper)).await.map_err(Failure::run)?;
    let coordinator: Arc<dyn Coordinator> = coordinator;
    let id = node.node.0;
    let starting = Node::start(node, coordinator);
    let node = tokio::select! {
        started = starting => started.map_err(Failure::run)?,
        () = signals.stop() => return Ok(()),
    };
    let gateway = open_gateway(listener, node.kv(), options)?;
    say(format_args!("node {id}  postgres://root@{address}/{DATABASE}"));
    say("ready");

    let failed = tokio::select! {
        reason = node.failed() => Some(reason),
        () = signals.stop() => None,
    };
    if let Some(reason) = failed {
        gateway.kill().await;
        node.kill();
        return Err(Failure::run(format!("node {id} can not go on: {reason}")));
    }
    // Sessions end first: their last statements still need the node.
    let leaving = async {
        gateway.shutdown().await;
        node.shutdown().await;
    };
    tokio::select! {
        () = leaving => Ok(()),
        () = signals.stop() => Err(Failure::run("stopped before leaderships were handed over")),
    }
}

/// Opens a listener; a port in use is one clear line.
pub(crate) async fn listen(option: &str, address: &str) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            Failure::run(format!("{address} is in use: choose another with {option}"))
        }
        std::io::ErrorKind::InvalidInput => Failure::usage(format!("{option} {address}: not a HOST:PORT")),
        _ => Failure::run(format!("cannot listen on {address} ({option}): {error}")),
    })
}

/// Serves SQL on a listener.
pub(crate) fn open_gateway(
    listener: TcpListener,
    kv: Arc<dyn Kv>,
    options: GatewayOptions,
) -> Result<Gateway, Failure> {
    let mut info = ServerInfo::new(DATABASE);
    info.port = listener.local_addr().ok().map(|address| address.port());
    Gateway::start(listener, Arc::new(Planner::new(kv, info)), options).map_err(Failure::run)
}

/// SIGINT and SIGTERM.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Catches them from now on.
    pub(crate) fn new() -> Result<Signals, Failure> {
        let catch =
            |kind| signal(kind).map_err(|error| Failure::run(format!("cannot catch signals: {error}")));
        Ok(Signals { interrupt: catch(SignalKind::interrupt())?, terminate: catch(SignalKind::terminate())? })
    }

    /// Completes when one of them comes.
    pub(crate) async fn stop(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
