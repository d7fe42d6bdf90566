//! Requests to other nodes: one long-lived stream to each, made at first need.
//!
//! Whatever has queued up goes out as one frame, answers come back in any order. When the stream breaks, every
//! request under way ends as [`CallError::Lost`], and one that was never sent as [`CallError::NotSent`]. Nobody waits
//! for a peer to be dialled again that could not be reached. The gateway knows what to do with each. There is no retry
//! here.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use replication::runtime::{Addresses, dial};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;
use wal::sync::lock;
use wal::{CohortId, NodeId};

use super::silence::Silence;
use crate::error::KvError;
use crate::operation::{Answer, Operation};
use crate::proto::gateway::gateway_client::GatewayClient;
use crate::proto::gateway::{Answer as Frame, Answers, Requests};
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
/// A stream that does not stand after so long is given up.
const OPEN_MAX: Duration = Duration::from_secs(1);

/// How a request to a peer ended without the peer's own answer, or with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallError {
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
    forward: bool,
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
    silence: Arc<Silence>,
    /// Calls that wait for their answers.
    waiting: AtomicU64,
    stopped: watch::Sender<bool>,
}

impl Peers {
    pub(crate) fn new(addresses: Arc<dyn Addresses>) -> Peers {
        let (queues, silence) = (Mutex::default(), Arc::default());
        let (waiting, stopped) = (AtomicU64::new(0), watch::Sender::new(false));
        Peers { addresses, queues, silence, waiting, stopped }
    }

    /// Calls that wait for their answers.
    pub(crate) fn calls_waiting(&self) -> u64 {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Nodes from which nothing is heard.
    pub(crate) fn silence(&self) -> &Silence {
        &self.silence
    }

    /// Asks a replica on another node, which is to pass the request on to the leader if `forward` says so and it does not
    /// lead. Called within a tokio runtime.
    pub(crate) async fn call(
        &self,
        node: NodeId,
        range: CohortId,
        operation: Operation,
        forward: bool,
        deadline: Instant,
    ) -> Result<Answer, CallError> {
        if *self.stopped.borrow() {
            return Err(CallError::NotSent("this node has stopped".into()));
        }
        let (reply, answer) = oneshot::channel();
        let call = Call { range, operation, forward, deadline, reply };
        let queue = self.queue(node);
        match tokio::time::timeout_at(deadline.into(), queue.send(call)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(CallError::NotSent("this node has stopped".into())),
            Err(_) => return Err(CallError::NotSent(format!("the queue to {node} is full"))),
        }
        let mut awaited = Awaited::new(self, node, answer);
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
            let peer = Peer { node, addresses: self.addresses.clone(), silence: self.silence.clone() };
            let mut stopped = self.stopped.subscribe();
            tokio::spawn(async move {
                tokio::select! {
                    () = peer.run(calls) => {}
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

impl Awaited<'_> {
    fn new(peers: &Peers, node: NodeId, answer: oneshot::Receiver<Result<Answer, CallError>>) -> Awaited<'_> {
        peers.waiting.fetch_add(1, Ordering::Relaxed);
        Awaited { peers, node, answer }
    }
}

impl Drop for Awaited<'_> {
    fn drop(&mut self) {
        self.peers.waiting.fetch_sub(1, Ordering::Relaxed);
        // It may have come when its caller had left: nobody else will close the scan that was opened for it.
        self.answer.close();
        if let Ok(Ok(Answer::Rows { cursor: Some(cursor), .. })) = self.answer.try_recv() {
            self.peers.close_scan(self.node, cursor.id);
        }
    }
}

/// The way to one peer.
struct Peer {
    node: NodeId,
    addresses: Arc<dyn Addresses>,
    silence: Arc<Silence>,
}

impl Peer {
    /// Serves the peer's queue: connects when there is something to send, and again after the stream broke.
    async fn run(self, mut calls: mpsc::Receiver<Call>) {
        // The last attempt to connect failed, or the stream broke: nobody waits for the next attempt.
        let mut lost = false;
        while let Some(first) = calls.recv().await {
            let mut waiting = vec![first];
            if lost {
                self.refuse(waiting.drain(..), "it is being dialled");
            }
            let connecting = self.connect();
            tokio::pin!(connecting);
            let connected = loop {
                tokio::select! {
                    connected = &mut connecting => break connected,
                    call = calls.recv() => match call {
                        Some(call) if lost => self.refuse([call], "it is being dialled"),
                        Some(call) => waiting.push(call),
                        None => return,
                    },
                }
            };
            match connected {
                Ok(connection) => {
                    self.silence.heard(self.node, Instant::now());
                    session(self.node, connection, waiting, &mut calls, &self.silence).await;
                    lost = true;
                }
                Err(why) => {
                    lost = true;
                    self.silence.lost(self.node, Instant::now());
                    self.refuse(waiting, &why);
                    let pause = tokio::time::sleep(DIAL_PAUSE);
                    tokio::pin!(pause);
                    loop {
                        tokio::select! {
                            () = &mut pause => break,
                            call = calls.recv() => match call {
                                Some(call) => self.refuse([call], &why),
                                None => return,
                            },
                        }
                    }
                }
            }
        }
    }

    fn refuse(&self, calls: impl IntoIterator<Item = Call>, why: &str) {
        for call in calls {
            let why = format!("{} is unreachable: {why}", self.node);
            let _ = call.reply.send(Err(CallError::NotSent(why)));
        }
    }

    /// A stream that stands: the peer has answered.
    async fn connect(&self) -> Result<Connection, String> {
        let address = self.addresses.address(self.node).ok_or("its address is not known")?;
        let mut client = connect(&address).await?;
        let (frames, outgoing) = mpsc::channel(2);
        // A process that stands still takes connections, and says nothing.
        match timeout(OPEN_MAX, client.exchange(ReceiverStream::new(outgoing))).await {
            Ok(Ok(response)) => Ok(Connection { frames, answers: response.into_inner() }),
            Ok(Err(status)) => Err(status.message().to_owned()),
            Err(_) => Err("it does not answer".to_owned()),
        }
    }
}

/// A stream that stands.
struct Connection {
    frames: mpsc::Sender<Requests>,
    answers: Streaming<Answers>,
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
    let (operation, deadline) = (Operation::Close(cursor), Instant::now() + TELL_MAX);
    Call { range, operation, forward: false, deadline, reply }
}

/// One stream's life. When it returns, every call that was sent has been answered or counts as lost.
async fn session(
    node: NodeId,
    connection: Connection,
    waiting: Vec<Call>,
    calls: &mut mpsc::Receiver<Call>,
    silence: &Silence,
) {
    let Connection { frames, answers: mut stream } = connection;
    // Dropping it tells the callers that their calls are lost.
    let in_flight = InFlight::default();
    let (closing, mut to_close) = mpsc::channel(QUEUE_LEN);
    let receive = async {
        while let Ok(Some(frame)) = stream.message().await {
            silence.heard(node, Instant::now());
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
        let mut waiting = waiting.into_iter();
        while let Some(call) = match waiting.next() {
            Some(call) => Some(call),
            None => tokio::select! {
                call = calls.recv() => call,
                Some(cursor) = to_close.recv() => Some(close(cursor)),
            },
        } {
            let (mut requests, mut bytes) = (Vec::new(), 0);
            let mut call = Some(call);
            while let Some(Call { range, operation, forward, deadline, reply }) = call.take() {
                let id = next;
                next += 1;
                let left = deadline.saturating_duration_since(Instant::now());
                let request = peer::request(id, range, operation, forward, left);
                bytes += prost::Message::encoded_len(&request);
                requests.push(request);
                lock(&in_flight).insert(id, (range, reply));
                if requests.len() < FRAME_LEN && bytes < FRAME_BYTES {
                    call = waiting.next().or_else(|| calls.try_recv().ok());
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
