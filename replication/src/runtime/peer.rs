//! The way to one peer: dial it, introduce ourselves, keep the stream, and start again when it breaks.
//!
//! Each node dials every node that it shares a cohort with and sends on that stream alone; what the peer has to say
//! comes on the peer's own. So the sender owns the connection that it depends on, and nobody has to settle which of
//! two crossing connections is to stay. The cost, a second TCP connection per pair, is nothing.
//!
//! What cohorts learn from here: `Connected` when a stream stands (what was sent before may be lost), `Unreachable`
//! when it breaks or the peer cannot be dialled: a hint that it is gone, which starts a pre-vote at once instead of
//! after a silence (design 4.4). HTTP/2 pings find a peer that is gone without a word.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;
use tonic::transport::{Channel, Endpoint};
use tracing::{debug, error, info};
use wal::NodeId;

use super::node::Node;
use super::outbox::Outbox;
use super::service::{self, Refusal};
use super::wire::proto;
use super::wire::proto::peer_client::PeerClient;
use crate::protocol::event::Event;

/// First pause before dialling again; doubles up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(20);
/// Longest pause. A peer that comes back dials us, which ends the pause.
const PAUSE_MAX: Duration = Duration::from_millis(500);
/// Pause after the peer refused us or is not who we look for: somebody has to change a configuration.
const PAUSE_REFUSED: Duration = Duration::from_secs(5);
/// Longest wait for a TCP connection, and for the answer to the introduction.
const DIAL_MAX: Duration = Duration::from_secs(1);
/// A ping goes out when the connection was silent for this long.
pub(crate) const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(1);
/// No answer to a ping for this long: the connection is dead.
pub(crate) const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(2);
/// HTTP/2 windows, per stream and per connection: more than one bandwidth-delay product of a fast LAN.
pub(crate) const STREAM_WINDOW: u32 = 4 << 20;
pub(crate) const CONNECTION_WINDOW: u32 = 8 << 20;

/// One peer, as all local cohorts share it.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) node: NodeId,
    pub(crate) outbox: Arc<Outbox>,
    /// Rung when the peer has dialled us: it lives, so dial it now.
    alive: Notify,
}

/// Why there is no stream (any more).
enum Broken {
    /// Its address is not known: it never registered, or its registration is gone.
    NoAddress,
    /// It cannot be dialled, or the stream ended.
    Lost(String),
    /// It or we have the wrong configuration.
    Refused(String),
}

impl Peer {
    pub(crate) fn new(node: NodeId, outbox: Outbox) -> Peer {
        Peer { node, outbox: Arc::new(outbox), alive: Notify::new() }
    }

    /// The peer is known to live: if it is not connected, dial at once.
    pub(crate) fn nudge(&self) {
        self.alive.notify_waiters();
    }

    /// Keeps a stream to the peer until the node stops.
    pub(crate) async fn run(self: Arc<Peer>, node: Arc<Node>) {
        let mut stopped = node.stopped();
        let mut pause = PAUSE_MIN;
        let mut announced = false;
        loop {
            let alive = self.alive.notified();
            let broken = tokio::select! {
                broken = self.exchange(&node, &mut pause, &mut announced) => broken,
                () = stopped.wait() => break,
            };
            self.outbox.close();
            node.tell(self.node, || Event::Unreachable(self.node));
            let rest = match broken {
                Broken::NoAddress => {
                    debug!(peer = %self.node, "address of the peer is not known yet");
                    pause
                }
                Broken::Lost(reason) => {
                    // Once per loss: a node that stays down must not fill the log.
                    if !announced {
                        info!(peer = %self.node, reason, "no stream to the peer, dialling until there is one");
                    }
                    pause
                }
                Broken::Refused(reason) => {
                    error!(peer = %self.node, reason, "the stream to the peer was refused");
                    PAUSE_REFUSED
                }
            };
            announced = true;
            pause = (pause * 2).min(PAUSE_MAX);
            tokio::select! {
                () = tokio::time::sleep(rest) => (),
                () = alive => pause = PAUSE_MIN,
                () = stopped.wait() => break,
            }
        }
        self.outbox.close();
    }

    /// Dials, introduces itself, and stays until the stream ends.
    async fn exchange(&self, node: &Arc<Node>, pause: &mut Duration, announced: &mut bool) -> Broken {
        let Some(address) = node.address(self.node) else { return Broken::NoAddress };
        let channel = match dial(&address).await {
            Ok(channel) => channel,
            Err(reason) => return Broken::Lost(format!("{address}: {reason}")),
        };
        let frames = self.outbox.frames(service::hello(node, self.node));
        let answer = match timeout(DIAL_MAX, PeerClient::new(channel).exchange(frames)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(status)) if status.code() == tonic::Code::FailedPrecondition => {
                return Broken::Refused(format!("{address}: {}", status.message()));
            }
            Ok(Err(status)) => return Broken::Lost(format!("{address}: {status}")),
            Err(_) => return Broken::Lost(format!("{address}: no answer to the introduction")),
        };
        let mut answers = answer.into_inner();
        match timeout(DIAL_MAX, answers.message()).await {
            Ok(Ok(Some(hello))) => match service::check(node, &hello) {
                Ok(member) if member.node == self.node => (),
                Ok(member) => return Broken::Refused(format!("{address} is node {}", member.node)),
                Err(Refusal(reason)) => return Broken::Refused(format!("{address}: {reason}")),
            },
            Ok(Ok(None)) => return Broken::Lost(format!("{address}: the stream ended at once")),
            Ok(Err(status)) => return Broken::Lost(format!("{address}: {status}")),
            Err(_) => return Broken::Lost(format!("{address}: no introduction")),
        }
        (*pause, *announced) = (PAUSE_MIN, false);
        self.outbox.open();
        node.metrics.reconnects.count();
        info!(peer = %self.node, address, "stream to the peer stands");
        node.tell(self.node, || Event::Connected(self.node));
        // The peer says nothing more; this only tells when the stream ends.
        match answers.message().await {
            Ok(Some(proto::Hello { .. })) => Broken::Lost(format!("{address}: a second introduction")),
            Ok(None) => Broken::Lost(format!("{address}: closed by the peer")),
            Err(status) => Broken::Lost(format!("{address}: {status}")),
        }
    }
}

/// Connects to a node's gRPC listener at `address` (HOST:PORT), with the windows and pings that streams between nodes
/// need: a node that hangs is noticed in three seconds. The error says what the system said.
pub async fn dial(address: &str) -> Result<Channel, String> {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(|error| error.to_string())?;
    endpoint
        .connect_timeout(DIAL_MAX)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .connect()
        .await
        // The error's own text is just "transport error"; what it wraps says more.
        .map_err(|error| std::error::Error::source(&error).map_or(error.to_string(), ToString::to_string))
}
