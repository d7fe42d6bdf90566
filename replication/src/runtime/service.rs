//! The serving side of the streams between nodes: who may speak, and handing what is said to the cohorts.
//!
//! A stream opens with an introduction (`introduction`). Every envelope that follows is then from exactly that replica,
//! in exactly that incarnation. A message that is not understood, of a newer release or malformed, counts as lost: the
//! others of the frame, of this range and of all others, are taken, and one line in a while says so [stranger-is-skipped].
//!
//! One stream per sender counts, the newest: what still arrives on an older one (a connection that was thought dead)
//! could be out of order, and is dropped.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use tracing::{debug, error, warn};
use wal::{CohortId, NodeId, ReplicaId, sync};

use super::cohorts::{Driven, Wakes};
use super::introduction::{self, Refusal};
use super::node::Node;
use super::outbox;
use super::peer::Peers;
use super::seldom::Seldom;
use super::wire::proto::replication_server::{Replication, ReplicationServer};
use super::wire::proto::{Frame, Hello};
use super::wire::{self, WireError};
use crate::protocol::event::Event;
use crate::protocol::message::Envelope;

/// Longest wait for the introduction.
const HELLO_MAX: Duration = Duration::from_secs(5);
/// Messages of a peer that are not understood are told of so often at most.
const TOLD_EVERY: Duration = Duration::from_secs(10);
/// While so many bytes of this node's appends wait for their force, it takes no entries from leaders: they count as lost and
/// are sent again, so that a disk that hangs does not fill the memory, however many ranges there are. Twice as much as
/// where its own leaders stop ([`Replica::write`](super::driver::Replica::write)).
const LOG_WAITING_BYTES_MAX: u64 = 128 << 20;
/// Largest frame that is taken, in bytes: one proposal of several rows of the largest size, with room.
const FRAME_BYTES_MAX: usize = 32 << 20;

/// The service that a node mounts on its gRPC listener, beside its public ones.
pub type ReplicationService = ReplicationServer<Receiver>;

/// Takes the frames of all peers.
pub struct Receiver {
    shared: Arc<Shared>,
}

struct Shared {
    node: Arc<Node>,
    peers: Arc<Peers>,
    /// Number of the newest stream from each peer.
    streams: Mutex<HashMap<NodeId, u64>>,
    /// Lines about messages of each peer that are not understood.
    strange: Seldom<NodeId>,
}

/// The service of a node.
pub(crate) fn service(node: Arc<Node>, peers: Arc<Peers>) -> ReplicationService {
    let shared =
        Arc::new(Shared { node, peers, streams: Mutex::default(), strange: Seldom::new(TOLD_EVERY) });
    ReplicationServer::new(Receiver { shared }).max_decoding_message_size(FRAME_BYTES_MAX)
}

impl Shared {
    /// Registers a stream from a peer; it is the newest until the next one.
    fn new_stream_from(&self, peer: NodeId) -> u64 {
        let mut streams = sync::lock(&self.streams);
        let number = streams.entry(peer).or_insert(0);
        *number += 1;
        *number
    }

    fn is_newest_stream(&self, peer: NodeId, number: u64) -> bool {
        sync::lock(&self.streams).get(&peer) == Some(&number)
    }

    /// Gives a frame's messages to their cohorts. One that is not understood is lost, and with it nothing else
    /// [stranger-is-skipped]. A second introduction is an error: nobody knows who says what follows.
    fn take_frame(&self, from: ReplicaId, frame: Frame) -> Result<(), WireError> {
        let node = &self.node;
        if frame.hello.is_some() {
            return Err(WireError::Range { what: "number of introductions", value: 2 });
        }
        node.metrics.messages_received.add(frame.envelopes.len() as u64);
        let mut touched: Vec<Arc<dyn Driven>> = Vec::new();
        for envelope in frame.envelopes {
            let cohort = wire::cohort(&envelope);
            let (id, message) = match wire::decode(envelope) {
                Ok(decoded) => decoded,
                Err(error) => {
                    self.skip(from.node, cohort, &error);
                    continue;
                }
            };
            node.metrics.bytes_received.add(outbox::size(&message) as u64);
            if outbox::has_entries(&message) && node.log.waiting_bytes() > LOG_WAITING_BYTES_MAX {
                node.metrics.proposals_refused.count();
                continue;
            }
            let Some(cohort) = node.cohorts.get(id) else {
                node.metrics.rejected_peers.count();
                debug!(cohort = %id, peer = %from.node, "message for a cohort that is not here");
                continue;
            };
            cohort.push(Event::Received(Envelope { from, to: node.me.node, message }));
            if !touched.iter().any(|other| Arc::ptr_eq(other, &cohort)) {
                touched.push(cohort);
            }
        }
        // Every cohort takes all that the frame has for it in one go.
        let mut wakes = Wakes::default();
        for cohort in touched {
            cohort.run(&mut wakes);
        }
        wakes.flush();
        Ok(())
    }

    fn skip(&self, peer: NodeId, cohort: CohortId, reason: &WireError) {
        self.node.metrics.messages_skipped.count();
        if let Some(before) = self.strange.count(peer) {
            warn!(
                %peer, %cohort, %reason, before,
                "a peer's message is not understood and is skipped: it may run a newer release; the range that it is of may \
                 not follow until this node runs that, too"
            );
        }
    }
}

#[tonic::async_trait]
impl Replication for Receiver {
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
        let Shared { node, peers, .. } = &*self.shared;
        let disk = |peer| node.addresses.disk(peer);
        let checked = introduction::check(&hello, node.me, &node.cluster, disk);
        let from = checked.map_err(|Refusal(reason)| {
            error!(?address, node = hello.node, reason, "refused the stream of a node");
            Status::failed_precondition(reason)
        })?;
        let (answers, stream) = mpsc::channel(2);
        // Room for two was just made, and this is the first.
        let _ = answers.try_send(Ok(introduction::hello(node.me, &node.cluster, from.node)));
        let number = self.shared.new_stream_from(from.node);
        peers.nudge(from.node);
        let received = receive(Arc::clone(&self.shared), from, number, frames, answers);
        // Wherever the connection is served: what it brings is handled on replication's threads.
        node.tokio.spawn(received);
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

/// Hands frames to the cohorts until the stream ends, the sender opens a newer one, or the node stops. Dropping
/// `answers` then ends the stream for the sender.
async fn receive(
    shared: Arc<Shared>,
    from: ReplicaId,
    number: u64,
    mut frames: Streaming<Frame>,
    answers: mpsc::Sender<Result<Hello, Status>>,
) {
    let mut stopped = shared.node.stopped();
    loop {
        let frame = tokio::select! {
            frame = frames.message() => frame,
            () = stopped.wait() => return,
        };
        match frame {
            Ok(Some(frame)) if shared.is_newest_stream(from.node, number) => {
                shared.node.heard(from.node);
                if let Err(reason) = shared.take_frame(from, frame) {
                    error!(peer = %from.node, %reason, "a peer broke the order of its stream: it is ended");
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
