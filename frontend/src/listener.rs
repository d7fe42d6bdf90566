//! A gateway: accepts connections, limits them, and ends them.
//!
//! A gateway ends in one of two ways. [`Gateway::shutdown`] is polite: sessions finish the statement that they run
//! and then get 57P01, and what has not ended after a bounded time is cut off. [`Gateway::kill`] cuts everything
//! off at once, as the end of the process would.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use kvstore::accept::{ACCEPT_PAUSE, AcceptLog};
use kvstore::command_line::Failure;
use kvstore::request::Kv;
use planner::{Planner, ServerInfo};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::connection;
use crate::server::Server;

/// The only database's name.
pub(crate) const DATABASE: &str = "spinnaker";
/// Port at which a gateway is expected to serve, unless an address says something else.
pub(crate) const PG_PORT: u16 = 5433;
/// Connections that may be in startup (or bring a cancel request) while all sessions are taken.
const STARTUPS_MAX: usize = 64;
/// Connections that are being refused for want of file descriptors at a time, and how long one may take; more are closed
/// without a word.
const REFUSALS_MAX: usize = 32;
const REFUSAL_MAX: Duration = Duration::from_secs(2);
/// A connection that was silent for so long is probed, then again at each interval.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// Limits of a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GatewayOptions {
    /// Sessions at a time; one more is refused with 53300.
    pub connections_max: usize,
    /// How long a polite shutdown waits for running statements.
    pub drain: Duration,
}

impl Default for GatewayOptions {
    fn default() -> GatewayOptions {
        GatewayOptions { connections_max: 1000, drain: Duration::from_secs(5) }
    }
}

/// A running PostgreSQL gateway.
pub struct Gateway {
    address: SocketAddr,
    closing: CancellationToken,
    stop: CancellationToken,
    accepting: JoinHandle<()>,
}

/// Opens a listener at HOST:PORT as `option` of the command line says; a port in use is one clear line.
pub(crate) async fn listen(option: &str, address: &str) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => {
            Failure::run(format!("{address} is in use: choose another with {option}"))
        }
        io::ErrorKind::InvalidInput => Failure::usage(format!("{option} {address}: not a HOST:PORT")),
        _ => Failure::run(format!("cannot listen on {address} ({option}): {error}")),
    })
}

impl Gateway {
    /// Serves the database on a store.
    pub(crate) fn open(
        listener: TcpListener,
        kv: Arc<dyn Kv>,
        options: GatewayOptions,
    ) -> io::Result<Gateway> {
        let mut info = ServerInfo::new(DATABASE);
        info.port = listener.local_addr().ok().map(|address| address.port());
        Gateway::start(listener, Arc::new(Planner::new(kv, info)), options)
    }

    /// Serves on a listener until it is shut down or killed.
    pub fn start(
        listener: TcpListener,
        planner: Arc<Planner>,
        options: GatewayOptions,
    ) -> io::Result<Gateway> {
        let address = listener.local_addr()?;
        let server = Server::new(planner, options.connections_max);
        let (closing, stop) = (server.closing.clone(), server.stop.clone());
        let accepting = tokio::spawn(accept(listener, server, options));
        Ok(Gateway { address, closing, stop, accepting })
    }

    /// The listener's address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Completes when the gateway has ended by itself, which it never should: the process must exit with an error then.
    pub async fn failed(&mut self) -> String {
        match (&mut self.accepting).await {
            Err(error) if error.is_panic() => "the SQL listener has panicked".to_owned(),
            Ok(()) | Err(_) => "the SQL listener has ended".to_owned(),
        }
    }

    /// From now on new sessions are refused with 57P03, while those that are open go on.
    pub fn refuse_sessions(&self) {
        self.closing.cancel();
    }

    /// Ends politely: no new connections, running statements and open transaction blocks finish
    /// (for a bounded time), sessions get 57P01.
    pub async fn shutdown(mut self) {
        self.stop.cancel();
        // It ends by itself in a bounded time; if it panicked, its sessions are gone with it.
        if !self.accepting.is_finished() {
            let _ended = (&mut self.accepting).await;
        }
    }

    /// Ends at once: listener and connections are closed, whatever they are doing. The port is free afterwards.
    pub async fn kill(mut self) {
        self.accepting.abort();
        if !self.accepting.is_finished() {
            let _aborted = (&mut self.accepting).await;
        }
    }
}

/// However a gateway ends, nothing of it stays behind.
impl Drop for Gateway {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// The accept loop owns the connections: when it ends, so do they.
async fn accept(listener: TcpListener, server: Server, options: GatewayOptions) {
    let mut connections = JoinSet::new();
    let accepted_max = options.connections_max + STARTUPS_MAX;
    let mut log = AcceptLog::new("SQL");
    // Those for which there is no file descriptor, and that are told so.
    let refusals = Arc::new(Semaphore::new(REFUSALS_MAX));
    loop {
        tokio::select! {
            () = server.stop.cancelled() => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept(), if connections.len() < accepted_max => match accepted {
                Ok((stream, _)) => match log.accepted() {
                    Some(place) => {
                        let server = server.clone();
                        connections.spawn(async move {
                            serve(stream, server).await;
                            drop(place);
                        });
                    }
                    None => if let Ok(permit) = refusals.clone().try_acquire_owned() {
                        let server = Server { full: true, ..server.clone() };
                        connections.spawn(async move {
                            // Whoever does not ask soon is not told.
                            let _ = tokio::time::timeout(REFUSAL_MAX, serve(stream, server)).await;
                            drop(permit);
                        });
                    },
                },
                Err(error) => {
                    log.failed(&error);
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    let ended = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(options.drain, ended).await.is_err() {
        tracing::info!(sessions = connections.len(), "sessions were still busy and are cut off");
    }
}

async fn serve(stream: TcpStream, server: Server) {
    // Replies are gathered before they are written; delaying them further helps nobody.
    if let Err(error) = stream.set_nodelay(true).and_then(|()| keep_alive(&stream)) {
        tracing::debug!(%error, "socket options");
    }
    if let Err(error) = connection::serve(stream, server).await {
        tracing::debug!(%error, "connection lost");
    }
}

/// An idle session whose client has vanished without a word must not last forever.
fn keep_alive(stream: &TcpStream) -> io::Result<()> {
    use rustix::net::sockopt;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, KEEPALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(stream, KEEPALIVE_INTERVAL)?;
    Ok(())
}
