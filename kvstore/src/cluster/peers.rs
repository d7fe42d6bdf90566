//! Requests to other nodes: one long-lived stream to each, made at first need.
//!
//! Whatever has queued up goes out as one frame, answers come back in any order. When the stream breaks, every
//! request under way ends as [`CallError::Lost`], and one that was never sent as [`CallError::NotSent`]. The gateway
//! knows what to do with each. There is no retry here.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use replication::runtime::{Addresses, dial};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use wal::sync::lock;
use wal::{CohortId, NodeId};

use crate::error::KvError;
use crate::operation::{Answer, Operation};
use crate::proto::gateway::gateway_client::GatewayClient;
use crate::proto::gateway::{Answer as Frame, Requests};
use crate::proto::{MESSAGE_BYTES_MAX, peer};

/// Requests that may wait for one peer's stream.
const QUEUE_LEN: usize = 4096;
/// A frame is closed at so many requests or bytes.
const FRAME_LEN: usize = 256;
const FRAME_BYTES: usize = 1 << 20;
/// Calls that gave up are forgotten once in so many frames.
const SWEEP_FRAMES: u64 = 256;
/// What nobody awaits an answer of may take so long.
const TELL_MAX: Duration = Duration::from_secs(1);
/// After a failed dial the peer counts as unreachable for so long, so that requests do not queue behind dials.
const DIAL_PAUSE: Duration = Duration::from_millis(100);

/// How a request to a peer ended without the peer's own answer, or with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CallError {
    /// It was never sent: nothing was done.
    NotSent(String),
    /// It was sent, and no answer came: it may have been done.
    Lost(String),
    /// The peer's answer.
    Refused(KvError),
}

struct Call {
    range: CohortId,
    operation: Operation,
    deadline: Instant,
    reply: oneshot::Sender<Result<Answer, CallError>>,
}

/// Calls sent and not answered.
type InFlight = Arc<Mutex<HashMap<u64, Waiter>>>;
type Waiter = (CohortId, oneshot::Sender<Result<Answer, CallError>>);

/// The streams to all other nodes.
pub(crate) struct Peers {
    addresses: Arc<dyn Addresses>,
    queues: Mutex<HashMap<NodeId, mpsc::Sender<Call>>>,
    stopped: watch::Sender<bool>,
}

impl Peers {
    pub(crate) fn new(addresses: Arc<dyn Addresses>) -> Peers {
        Peers { addresses, queues: Mutex::default(), stopped: watch::Sender::new(false) }
    }

    /// Asks a replica on another node. Called within a tokio runtime.
    pub(crate) async fn call(
        &self,
        node: NodeId,
        range: CohortId,
        operation: Operation,
        deadline: Instant,
    ) -> Result<Answer, CallError> {
        if *self.stopped.borrow() {
            return Err(CallError::NotSent("this node has stopped".into()));
        }
        let (reply, answer) = oneshot::channel();
        let call = Call { range, operation, deadline, reply };
        let queue = self.queue(node);
        match tokio::time::timeout_at(deadline.into(), queue.send(call)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(CallError::NotSent("this node has stopped".into())),
            Err(_) => return Err(CallError::NotSent(format!("the queue to {node} is full"))),
        }
        let mut awaited = Awaited { peers: self, node, answer };
        match tokio::time::timeout_at(deadline.into(), &mut awaited.answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(CallError::Lost(format!("the stream to {node} broke"))),
            Err(_) => Err(CallError::Lost(format!("{node} did not answer in time"))),
        }
    }

    /// Closes a scan on another node, which may get lost: an open scan ends by itself at last.
    pub(crate) fn close_scan(&self, node: NodeId, cursor: u64) {
        if *self.stopped.borrow() || tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        let _ = self.queue(node).try_send(close(cursor));
    }

    /// Ends all streams at once.
    pub(crate) fn stop(&self) {
        self.stopped.send_replace(true);
        lock(&self.queues).clear();
    }

    fn queue(&self, node: NodeId) -> mpsc::Sender<Call> {
        let mut queues = lock(&self.queues);
        let start = || {
            let (sender, calls) = mpsc::channel(QUEUE_LEN);
            let (addresses, mut stopped) = (self.addresses.clone(), self.stopped.subscribe());
            tokio::spawn(async move {
                tokio::select! {
                    () = run(node, addresses, calls) => {}
                    _ = stopped.wait_for(|stopped| *stopped) => {}
                }
            });
            sender
        };
        let queue = queues.entry(node).or_insert_with(start);
        // Its task can only be gone if the tokio runtime it lived in has ended.
        if queue.is_closed() {
            *queue = start();
        }
        queue.clone()
    }
}

/// The answer that a caller waits for.
struct Awaited<'a> {
    peers: &'a Peers,
    node: NodeId,
    answer: oneshot::Receiver<Result<Answer, CallError>>,
}

impl Drop for Awaited<'_> {
    fn drop(&mut self) {
        // It may have come when its caller had left: nobody else will close the scan that was opened for it.
        self.answer.close();
        if let Ok(Ok(Answer::Rows { cursor: Some(cursor), .. })) = self.answer.try_recv() {
            self.peers.close_scan(self.node, cursor.id);
        }
    }
}

/// Serves one peer's queue: connects when there is something to send, and again after the stream broke.
async fn run(node: NodeId, addresses: Arc<dyn Addresses>, mut calls: mpsc::Receiver<Call>) {
    while let Some(first) = calls.recv().await {
        let connected = match addresses.address(node) {
            None => Err("its address is not known".to_owned()),
            Some(address) => connect(&address).await,
        };
        match connected {
            Ok(client) => session(node, client, first, &mut calls).await,
            Err(why) => {
                let refuse = |call: Call| {
                    let _ = call.reply.send(Err(CallError::NotSent(format!("{node} is unreachable: {why}"))));
                };
                refuse(first);
                let pause = tokio::time::sleep(DIAL_PAUSE);
                tokio::pin!(pause);
                loop {
                    tokio::select! {
                        () = &mut pause => break,
                        call = calls.recv() => match call {
                            Some(call) => refuse(call),
                            None => return,
                        },
                    }
                }
            }
        }
    }
}

async fn connect(address: &str) -> Result<GatewayClient<Channel>, String> {
    Ok(GatewayClient::new(dial(address).await?)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX))
}

/// Gives an answer to whoever waits for it. If that has gone, it will not close the scan that was opened for it: its
/// number is returned.
fn deliver(waiter: Option<Waiter>, answer: Frame) -> Option<u64> {
    let (range, reply) = waiter.map_or((CohortId::default(), None), |(range, reply)| (range, Some(reply)));
    let answer = peer::to_answer(range, answer.kind).map_err(CallError::Refused);
    let unclaimed = match reply {
        Some(reply) => reply.send(answer).err(),
        None => Some(answer),
    };
    match unclaimed {
        Some(Ok(Answer::Rows { cursor, .. })) => cursor.map(|cursor| cursor.id),
        Some(_) | None => None,
    }
}

/// Closes a scan; nobody awaits the answer.
fn close(cursor: u64) -> Call {
    let (reply, _) = oneshot::channel();
    // The number says it all.
    let range = CohortId::default();
    Call { range, operation: Operation::Close(cursor), deadline: Instant::now() + TELL_MAX, reply }
}

/// One stream's life. When it returns, every call that was sent has been answered or counts as lost.
async fn session(
    node: NodeId,
    mut client: GatewayClient<Channel>,
    first: Call,
    calls: &mut mpsc::Receiver<Call>,
) {
    let (frames, outgoing) = mpsc::channel(2);
    let in_flight = InFlight::default();
    // Calls handed to a stream that never comes to stand are lost, too: dropping `in_flight` tells their callers.
    let mut stream = match client.exchange(ReceiverStream::new(outgoing)).await {
        Ok(response) => response.into_inner(),
        Err(status) => {
            let _ = first.reply.send(Err(CallError::NotSent(format!("{node}: {}", status.message()))));
            return;
        }
    };
    let (closing, mut to_close) = mpsc::channel(QUEUE_LEN);
    let receive = async {
        while let Ok(Some(frame)) = stream.message().await {
            for answer in frame.answers {
                let waiter = lock(&in_flight).remove(&answer.id);
                if let Some(cursor) = deliver(waiter, answer) {
                    let _ = closing.try_send(cursor);
                }
            }
        }
    };
    let send = async {
        let (mut next, mut frame) = (1, 0u64);
        let mut first = Some(first);
        while let Some(call) = match first.take() {
            Some(call) => Some(call),
            None => tokio::select! {
                call = calls.recv() => call,
                Some(cursor) = to_close.recv() => Some(close(cursor)),
            },
        } {
            let (mut requests, mut bytes) = (Vec::new(), 0);
            let mut call = Some(call);
            while let Some(Call { range, operation, deadline, reply }) = call.take() {
                let id = next;
                next += 1;
                let left = deadline.saturating_duration_since(Instant::now());
                let request = peer::request(id, range, operation, left);
                bytes += prost::Message::encoded_len(&request);
                requests.push(request);
                lock(&in_flight).insert(id, (range, reply));
                if requests.len() < FRAME_LEN && bytes < FRAME_BYTES {
                    call = calls.try_recv().ok();
                }
            }
            // Those that gave up at their deadline need no answer any more. Now and then is enough.
            frame += 1;
            if frame % SWEEP_FRAMES == 0 {
                lock(&in_flight).retain(|_, (_, reply)| !reply.is_closed());
            }
            if frames.send(Requests { requests }).await.is_err() {
                return;
            }
        }
    };
    // Whichever ends first ends the stream. Calls still in `calls` go out on the next one.
    tokio::select! {
        () = receive => {}
        () = send => {}
    }
}
