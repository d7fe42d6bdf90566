//! One client stream of many requests: each runs by itself, answers carry the request's id.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::calls::Calls;
use crate::error::KvError;
use crate::proto::v1::batch_request::Request;
use crate::proto::v1::batch_response::Answer;
use crate::proto::{MESSAGE_BYTES_MAX, errors, public, v1};

/// Requests of one stream that run at once; over it the stream is read no further until some have ended.
const RUNNING_MAX: usize = 1024;

/// Serves the stream until it ends.
pub(crate) fn serve(
    calls: Calls,
    mut requests: Streaming<v1::BatchRequest>,
) -> ReceiverStream<Result<v1::BatchResponse, Status>> {
    let (answers, outgoing) = mpsc::channel(256);
    tokio::spawn(async move {
        let running = Arc::new(Semaphore::new(RUNNING_MAX));
        while let Ok(Some(request)) = requests.message().await {
            let Ok(permit) = running.clone().acquire_owned().await else { return };
            let (calls, answers) = (calls.clone(), answers.clone());
            tokio::spawn(async move {
                let id = request.id;
                let answer = execute(&calls, request)
                    .await
                    .unwrap_or_else(|status| Answer::Error(errors::batch_error(&status)));
                let mut response = v1::BatchResponse { id, answer: Some(answer) };
                let size = prost::Message::encoded_len(&response);
                if size > MESSAGE_BYTES_MAX {
                    // It would end the stream, and with it all other requests.
                    let error = KvError::TooLarge { what: "answer", size, limit: MESSAGE_BYTES_MAX };
                    response.answer = Some(Answer::Error(errors::batch_error(&errors::from_error(&error))));
                }
                // An error: the client has gone.
                let _ = answers.send(Ok(response)).await;
                drop(permit);
            });
        }
    });
    ReceiverStream::new(outgoing)
}

async fn execute(calls: &Calls, request: v1::BatchRequest) -> Result<Answer, Status> {
    let timeout = match request.timeout_ms {
        0 => public::TIMEOUT,
        ms => Duration::from_millis(ms.into()),
    };
    let deadline = Instant::now() + timeout;
    let incomplete = || errors::from_error(&KvError::Invalid("an empty request in a batch".into()));
    match request.request.ok_or_else(incomplete)? {
        Request::Get(get) => calls.read(get, deadline).await.map(Answer::Get),
        Request::MultiGet(get) => calls.read_many(get, deadline).await.map(Answer::MultiGet),
        Request::Put(put) => calls.write_put(put, Vec::new(), deadline).await.map(Answer::Write),
        Request::Delete(delete) => calls.write_delete(delete, Vec::new(), deadline).await.map(Answer::Write),
        Request::ConditionalPut(request) => {
            let put = request.put.ok_or_else(incomplete)?;
            calls.write_put(put, request.conditions, deadline).await.map(Answer::Write)
        }
        Request::ConditionalDelete(request) => {
            let delete = request.delete.ok_or_else(incomplete)?;
            calls.write_delete(delete, request.conditions, deadline).await.map(Answer::Write)
        }
    }
}
