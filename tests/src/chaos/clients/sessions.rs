//! Sessions: a client writes and reads a row at whatever node answers, with timeline reads that may not go back.

use std::sync::Arc;
use std::time::Duration;

use kvstore::proto::v1::Lsn;
use kvstore::request::{Mutation, RequestId};

use super::kv::{Failure, Kv};
use super::registers::{rows, to_lsn};
use super::shared::{Found, LETTERS, Shared, from_home};
use crate::sim::history::{Call, Consistency, Response};

/// Works until the trial ends.
pub(super) async fn work(shared: Arc<Shared>, client: u32) -> Found {
    let range = client % 3;
    let key = format!("{}session-{}-{client}", LETTERS[range as usize], shared.trial);
    let mut floor: Option<Lsn> = None;
    for turn in 0.. {
        if shared.stopping() {
            break;
        }
        let mut kv = Kv::to(from_home(client as usize, turn));
        if turn % 3 == 0 {
            let value = turn.to_string();
            let mutations = vec![Mutation::Put { column: "v".into(), value: value.clone().into() }];
            let request = RequestId { client: client.into(), sequence: turn as u64 };
            let call = Call::Write { key: key.clone(), conditions: Vec::new(), mutations, request };
            let op = shared.record.invoke(client, true, range, call);
            let outcome = match kv.put(&key, &value).await {
                Ok(written) => {
                    floor = later(floor, written.lsn);
                    Response::Written(to_lsn(written.lsn))
                }
                Err(Failure::NotDone(_)) => Response::Failed,
                Err(Failure::Unknown(_)) => Response::Unknown,
            };
            shared.record.returned(op, outcome);
        } else {
            let call = Call::Get { keys: vec![key.clone()], consistency: Consistency::Timeline };
            let op = shared.record.invoke(client, true, range, call);
            let outcome = match kv.get(&key, Some(floor)).await {
                Ok(answer) => {
                    floor = later(floor, answer.source.as_ref().and_then(|source| source.lsn));
                    rows(answer, shared.record.now())
                }
                Err(Failure::NotDone(_) | Failure::Unknown(_)) => Response::Failed,
            };
            shared.record.returned(op, outcome);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Found::default()
}

fn later(a: Option<Lsn>, b: Option<Lsn>) -> Option<Lsn> {
    if to_lsn(a) >= to_lsn(b) { a } else { b }
}
