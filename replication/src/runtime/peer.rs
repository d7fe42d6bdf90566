//! The way to one peer: dial it, introduce ourselves, keep the stream, and start again when it breaks.
//!
//! Each node dials every node that it shares a cohort with and sends on that stream alone; what the peer has to say
//! comes on the peer's own. So the sender owns the connection that it depends on, and nobody has to settle which of
//! two crossing connections is to stay. The cost, a second TCP connection per pair, is nothing.
//!
//! What cohorts learn from here: `Connected` when a stream stands (what was sent before may be lost), `Unreachable`
//! when it breaks or the peer cannot be dialled: a hint that it is gone, which starts a pre-vote at once instead of
//! after a silence [pre-vote]. HTTP/2 pings find a peer that is gone without a word.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;
use tracing::{debug, error, info};
use wal::{NodeId, sync};

use super::introduction::{self, Refusal};
use super::node::Node;
use super::outbox::Outbox;
use super::transport::{CONNECT_TIMEOUT, dial_peer};
use super::wire::proto;
use super::wire::proto::replication_client::ReplicationClient;
use crate::protocol::event::Event;

/// First pause before dialling again; doubles up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(20);
/// Longest pause. A peer that comes back dials us, which ends the pause.
const PAUSE_MAX: Duration = Duration::from_millis(500);
/// Pause after the peer refused us or is not who we look for: somebody has to change a configuration.
const PAUSE_REFUSED: Duration = Duration::from_secs(5);
/// The peers of a node, each dialled at first need.
pub(crate) struct Peers {
    node: Arc<Node>,
    known: Mutex<BTreeMap<NodeId, Arc<Peer>>>,
}

impl Peers {
    pub(crate) fn new(node: Arc<Node>) -> Peers {
        Peers { node, known: Mutex::default() }
    }

    /// The queue of what is to be sent to a peer.
    pub(crate) fn outbox(&self, peer: NodeId) -> Arc<Outbox> {
        let mut known = sync::lock(&self.known);
        let made = known.entry(peer).or_insert_with(|| {
            let made = Arc::new(Peer::new(peer, Outbox::new(Arc::clone(&self.node.metrics))));
            let run = Arc::clone(&made).run(Arc::clone(&self.node));
            self.node.supervise(format!("the stream to node {}", peer.0), run);
            made
        });
        Arc::clone(&made.outbox)
    }

    /// What waits to be sent to all peers: messages, and bytes of bulk among them.
    pub(crate) fn unsent(&self) -> (u64, u64) {
        let outboxes: Vec<_> =
            sync::lock(&self.known).values().map(|peer| Arc::clone(&peer.outbox)).collect();
        let each = outboxes.iter().map(|outbox| outbox.unsent());
        each.fold((0, 0), |(messages, bytes), one| (messages + one.0, bytes + one.1))
    }

    /// A peer has dialled us, so it lives: if it is not connected, it is dialled at once.
    pub(crate) fn nudge(&self, peer: NodeId) {
        if let Some(peer) = sync::lock(&self.known).get(&peer) {
            peer.alive.notify_waiters();
        }
    }
}

/// One peer, as all local cohorts share it.
struct Peer {
    node: NodeId,
    outbox: Arc<Outbox>,
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
    fn new(node: NodeId, outbox: Outbox) -> Peer {
        Peer { node, outbox: Arc::new(outbox), alive: Notify::new() }
    }

    /// Keeps a stream to the peer until the node stops.
    async fn run(self: Arc<Peer>, node: Arc<Node>) {
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
            node.cohorts.notify(Some(self.node), || Event::Unreachable(self.node));
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
        let Some(address) = node.addresses.address(self.node) else { return Broken::NoAddress };
        let channel = match dial_peer(&address).await {
            Ok(channel) => channel,
            Err(reason) => return Broken::Lost(format!("{address}: {reason}")),
        };
        let hello = introduction::hello(node.me, &node.cluster, self.node);
        let frames = self.outbox.frames(hello);
        let answer = match timeout(CONNECT_TIMEOUT, ReplicationClient::new(channel).exchange(frames)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(status)) if status.code() == tonic::Code::FailedPrecondition => {
                return Broken::Refused(format!("{address}: {}", status.message()));
            }
            Ok(Err(status)) => return Broken::Lost(format!("{address}: {status}")),
            Err(_) => return Broken::Lost(format!("{address}: no answer to the introduction")),
        };
        let mut answers = answer.into_inner();
        match timeout(CONNECT_TIMEOUT, answers.message()).await {
            Ok(Ok(Some(hello))) => {
                match introduction::check(&hello, node.me, &node.cluster, |peer| node.addresses.disk(peer)) {
                    Ok(member) if member.node == self.node => (),
                    Ok(member) => return Broken::Refused(format!("{address} is node {}", member.node)),
                    Err(Refusal(reason)) => return Broken::Refused(format!("{address}: {reason}")),
                }
            }
            Ok(Ok(None)) => return Broken::Lost(format!("{address}: the stream ended at once")),
            Ok(Err(status)) => return Broken::Lost(format!("{address}: {status}")),
            Err(_) => return Broken::Lost(format!("{address}: no introduction")),
        }
        (*pause, *announced) = (PAUSE_MIN, false);
        self.outbox.open();
        node.metrics.reconnects.count();
        info!(peer = %self.node, address, "stream to the peer stands");
        node.cohorts.notify(Some(self.node), || Event::Connected(self.node));
        // The peer says nothing more; this only shows when the stream ends.
        match answers.message().await {
            Ok(Some(proto::Hello { .. })) => Broken::Lost(format!("{address}: a second introduction")),
            Ok(None) => Broken::Lost(format!("{address}: closed by the peer")),
            Err(status) => Broken::Lost(format!("{address}: {status}")),
        }
    }
}
