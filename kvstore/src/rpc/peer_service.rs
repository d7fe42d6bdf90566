//! The serving side of the streams between nodes: each request runs by itself, answers go out as they are ready.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use wal::CohortId;

use crate::cluster::peers::Peers;
use crate::config::Limits;
use crate::error::KvError;
use crate::gateway::forward::{FORWARD_MAX, forward_to, passed_back};
use crate::gateway::limits::check_write;
use crate::operation::{self, Operation};
use crate::proto::gateway::gateway_server::Gateway;
use crate::proto::gateway::{self, Answers, Requests};
use crate::proto::peer;
use crate::ranges::{LocalRange, Ranges};

/// Requests of one peer that run at once; over it they are refused as overload.
const RUNNING_MAX: usize = 8192;
/// A frame of answers is closed at so many bytes.
const FRAME_BYTES: usize = 1 << 20;

/// Serves other nodes' requests for the ranges that are here.
pub(crate) struct GatewayService {
    serving: Arc<Serving>,
}

/// What requests are answered from.
struct Serving {
    ranges: Arc<Ranges>,
    /// Where requests are passed on to.
    peers: Arc<Peers>,
}

impl GatewayService {
    pub(crate) fn new(ranges: Arc<Ranges>, peers: Arc<Peers>) -> GatewayService {
        GatewayService { serving: Arc::new(Serving { ranges, peers }) }
    }
}

#[tonic::async_trait]
impl Gateway for GatewayService {
    type ExchangeStream = ReceiverStream<Result<Answers, Status>>;

    async fn exchange(
        &self,
        request: Request<Streaming<Requests>>,
    ) -> Result<Response<Self::ExchangeStream>, Status> {
        let (answers, ready) = mpsc::channel(1024);
        let (frames, outgoing) = mpsc::channel(2);
        tokio::spawn(receive(self.serving.clone(), request.into_inner(), answers));
        tokio::spawn(send(ready, frames));
        Ok(Response::new(ReceiverStream::new(outgoing)))
    }
}

/// Starts each request as it comes. Ends with the stream; what runs then finds nobody to answer.
async fn receive(
    serving: Arc<Serving>,
    mut requests: Streaming<Requests>,
    answers: mpsc::Sender<gateway::Answer>,
) {
    let running = Arc::new(Semaphore::new(RUNNING_MAX));
    while let Ok(Some(frame)) = requests.message().await {
        for request in frame.requests {
            let id = request.id;
            let Ok(permit) = running.clone().try_acquire_owned() else {
                let overload = Err(KvError::Overloaded("the node serves too many requests".into()));
                if answers.send(peer::answer(id, overload)).await.is_err() {
                    return;
                }
                continue;
            };
            let (serving, answers) = (serving.clone(), answers.clone());
            tokio::spawn(async move {
                let answer = tokio::select! {
                    biased;
                    answer = serving.execute(request) => answer,
                    // The stream has gone, and with it whoever asked.
                    () = answers.closed() => return,
                };
                // An error: the stream has gone, and with it whoever asked.
                let _ = answers.send(peer::answer(id, answer)).await;
                drop(permit);
            });
        }
    }
}

impl Serving {
    /// Whether what another node asks for can be done at all. Gateways check it for their clients; but a key in the wrong
    /// range, or one that is too long, would stay there, and who asks here may be broken.
    fn check(&self, range: CohortId, operation: &Operation) -> Result<(), KvError> {
        // One that is not here is told by whoever looks for its replica.
        let Some(LocalRange { descriptor, .. }) = self.ranges.find(range) else { return Ok(()) };
        let belongs = |key: &Bytes| match descriptor.contains(key) {
            true => Ok(()),
            false => Err(KvError::Invalid("a node asked for a row of another range".into())),
        };
        match operation {
            Operation::Get { key, .. } => belongs(key),
            Operation::MultiGet { keys, .. } => keys.iter().try_for_each(belongs),
            Operation::Write(write) => {
                belongs(&write.key)?;
                // How large a row may be is for its gateway to say, by its configuration.
                let limits = Limits { row_bytes_max: usize::MAX, ..Limits::default() };
                check_write(&limits, &write.key, &write.mutations)
            }
            // Of these, each is bound to what is in the range.
            Operation::Scan { .. }
            | Operation::Rest { .. }
            | Operation::Next(_)
            | Operation::Close(_)
            | Operation::Transfer(_) => Ok(()),
        }
    }

    async fn execute(&self, request: gateway::Request) -> Result<operation::Answer, KvError> {
        let deadline = Instant::now() + Duration::from_millis(request.timeout_ms.into());
        let forward = request.forward;
        let (range, operation) = peer::to_operation(request)?;
        self.check(range, &operation)?;
        let again = forward.then(|| operation.clone());
        let answer = self.ranges.execute(range, operation, deadline).await;
        let silence = self.peers.silence();
        let Some((operation, leader)) = again.zip(forward_to(&answer, self.ranges.node(), silence)) else {
            return answer;
        };
        let deadline = deadline.min(Instant::now() + FORWARD_MAX);
        let result = self.peers.call(leader, range, operation.clone(), false, deadline).await;
        passed_back(result, &operation, leader)
    }
}

/// Puts whatever is ready into one frame.
async fn send(mut ready: mpsc::Receiver<gateway::Answer>, frames: mpsc::Sender<Result<Answers, Status>>) {
    while let Some(answer) = tokio::select! {
        answer = ready.recv() => answer,
        () = frames.closed() => None,
    } {
        let mut bytes = prost::Message::encoded_len(&answer);
        let mut answers = vec![answer];
        while bytes < FRAME_BYTES
            && let Ok(answer) = ready.try_recv()
        {
            bytes += prost::Message::encoded_len(&answer);
            answers.push(answer);
        }
        if frames.send(Ok(Answers { answers })).await.is_err() {
            return;
        }
    }
}
