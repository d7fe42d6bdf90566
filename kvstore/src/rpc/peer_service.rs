//! The serving side of the streams between nodes: each request runs by itself, answers go out as they are ready.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::error::KvError;
use crate::operation;
use crate::proto::gateway::gateway_server::Gateway;
use crate::proto::gateway::{self, Answers, Requests};
use crate::proto::peer;
use crate::ranges::Ranges;

/// Requests of one peer that run at once; over it they are refused as overload.
const RUNNING_MAX: usize = 8192;
/// A frame of answers is closed at so many bytes.
const FRAME_BYTES: usize = 1 << 20;

/// Serves other nodes' requests for the ranges that are here.
pub(crate) struct GatewayService {
    ranges: Arc<Ranges>,
}

impl GatewayService {
    pub(crate) fn new(ranges: Arc<Ranges>) -> GatewayService {
        GatewayService { ranges }
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
        tokio::spawn(receive(self.ranges.clone(), request.into_inner(), answers));
        tokio::spawn(send(ready, frames));
        Ok(Response::new(ReceiverStream::new(outgoing)))
    }
}

/// Starts each request as it comes. Ends with the stream; what runs then finds nobody to answer.
async fn receive(
    ranges: Arc<Ranges>,
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
            let (ranges, answers) = (ranges.clone(), answers.clone());
            tokio::spawn(async move {
                let answer = execute(&ranges, request).await;
                // An error: the stream has gone, and with it whoever asked.
                let _ = answers.send(peer::answer(id, answer)).await;
                drop(permit);
            });
        }
    }
}

async fn execute(ranges: &Ranges, request: gateway::Request) -> Result<operation::Answer, KvError> {
    let deadline = Instant::now() + Duration::from_millis(request.timeout_ms.into());
    let (range, operation) = peer::to_operation(request)?;
    ranges.execute(range, operation, deadline).await
}

/// Puts whatever is ready into one frame.
async fn send(mut ready: mpsc::Receiver<gateway::Answer>, frames: mpsc::Sender<Result<Answers, Status>>) {
    while let Some(answer) = ready.recv().await {
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
