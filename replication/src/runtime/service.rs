//! The serving side of the streams between nodes: who may speak, and handing what is said to the cohorts.
//!
//! A stream opens with an introduction, checked on both sides: protocol version, cluster, and that the one who answers
//! is the one who was meant. Every envelope that follows is then from exactly that member, in exactly that
//! incarnation (rule 12). A frame that does not decode ends the stream with a clear line in the log.
//!
//! One stream per sender counts, the newest: what still arrives on an older one (a connection that was thought dead)
//! could be out of order, and is dropped.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};
use tracing::{debug, error, warn};
use wal::{Incarnation, NodeId, ReplicaId};

use super::node::Node;
use super::peer::{CONNECTION_WINDOW, KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT, STREAM_WINDOW};
use super::wire::proto::peer_server::{Peer, PeerServer};
use super::wire::proto::{Frame, Hello};

/// Version of the protocol between nodes; it changes with the meaning of any message.
const VERSION: u32 = 1;
/// Longest wait for the introduction.
const HELLO_MAX: Duration = Duration::from_secs(5);
/// Largest frame that is taken, in bytes: one proposal of several rows of the largest size, with room.
const FRAME_BYTES_MAX: usize = 32 << 20;

/// The service that a node mounts on its gRPC listener, beside its public ones.
pub type PeerService = PeerServer<Receiver>;

/// Takes the frames of all peers.
pub struct Receiver {
    node: Arc<Node>,
}

/// Why two nodes must not speak, as told to both.
#[derive(Debug)]
pub(crate) struct Refusal(pub(crate) String);

/// The service over `node`.
pub(crate) fn service(node: Arc<Node>) -> PeerService {
    PeerServer::new(Receiver { node }).max_decoding_message_size(FRAME_BYTES_MAX)
}

/// Sets what streams between nodes need on a server that mounts the service: no delay, windows, pings.
pub fn tuned(server: Server) -> Server {
    server
        .tcp_nodelay(true)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
}

/// How `node` introduces itself to `to`.
pub(crate) fn hello(node: &Node, to: NodeId) -> Hello {
    Hello {
        version: VERSION,
        cluster: node.cluster.clone(),
        node: node.me.node.0,
        incarnation: node.me.incarnation.0,
        to: to.0,
    }
}

/// Who introduced itself, if it may speak to `node` at all.
pub(crate) fn check(node: &Node, hello: &Hello) -> Result<ReplicaId, Refusal> {
    if hello.version != VERSION {
        return Err(Refusal(format!(
            "speaks version {} of the protocol between nodes, this node speaks {VERSION}",
            hello.version
        )));
    }
    if hello.cluster != node.cluster {
        return Err(Refusal(format!(
            "belongs to cluster \"{}\", this node belongs to \"{}\"",
            hello.cluster, node.cluster
        )));
    }
    if hello.to != node.me.node.0 {
        return Err(Refusal(format!(
            "looks for node {}, this is node {}: check the addresses that nodes advertise",
            NodeId(hello.to),
            node.me.node
        )));
    }
    if hello.node == node.me.node.0 {
        return Err(Refusal(format!("calls itself node {}, as this node does", node.me.node)));
    }
    let from = ReplicaId { node: NodeId(hello.node), incarnation: Incarnation(hello.incarnation) };
    match node.disk(from.node) {
        Some(disk) if disk != from.incarnation => Err(Refusal(format!(
            "is {} on another disk ({}) than the one that has the number now ({disk})",
            from.node, from.incarnation
        ))),
        Some(_) | None => Ok(from),
    }
}

#[tonic::async_trait]
impl Peer for Receiver {
    type ExchangeStream = ReceiverStream<Result<Hello, Status>>;

    async fn exchange(
        &self,
        request: Request<Streaming<Frame>>,
    ) -> Result<Response<Self::ExchangeStream>, Status> {
        let address = request.remote_addr();
        let mut frames = request.into_inner();
        let hello = match timeout(HELLO_MAX, frames.message()).await {
            Ok(Ok(Some(Frame { hello: Some(hello), .. }))) => hello,
            Ok(Ok(_)) => return Err(Status::invalid_argument("the stream has no introduction")),
            Ok(Err(status)) => return Err(status),
            Err(_) => return Err(Status::deadline_exceeded("no introduction")),
        };
        let from = check(&self.node, &hello).map_err(|Refusal(reason)| {
            error!(?address, node = hello.node, reason, "refused the stream of a node");
            Status::failed_precondition(reason)
        })?;
        let (answers, stream) = mpsc::channel(2);
        // Room for two was just made, and this is the first.
        let _ = answers.try_send(Ok(self::hello(&self.node, from.node)));
        let node = Arc::clone(&self.node);
        let number = node.new_stream_from(from.node);
        node.nudge(from.node);
        tokio::spawn(receive(node, from, number, frames, answers));
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

/// Hands frames to the cohorts until the stream ends, the sender opens a newer one, or the node stops. Dropping
/// `answers` then ends the stream for the sender.
async fn receive(
    node: Arc<Node>,
    from: ReplicaId,
    number: u64,
    mut frames: Streaming<Frame>,
    answers: mpsc::Sender<Result<Hello, Status>>,
) {
    let mut stopped = node.stopped();
    loop {
        let frame = tokio::select! {
            frame = frames.message() => frame,
            () = stopped.wait() => return,
        };
        match frame {
            Ok(Some(frame)) if node.is_newest_stream(from.node, number) => {
                if let Err(reason) = node.receive(from, frame) {
                    error!(peer = %from.node, %reason, "a peer sent what makes no sense: its stream is ended");
                    let _ = answers.try_send(Err(Status::invalid_argument(reason.to_string())));
                    return;
                }
            }
            Ok(Some(_)) => {
                warn!(peer = %from.node, "a peer's older stream is ended: it has opened another");
                return;
            }
            Ok(None) => return debug!(peer = %from.node, "a peer has closed its stream"),
            Err(status) => return debug!(peer = %from.node, %status, "a peer's stream broke"),
        }
    }
}
