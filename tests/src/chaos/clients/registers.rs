//! Registers: rows that several clients write and read at once, through all nodes. Each is used for a while only, so
//! that its whole history can be searched for an order.

use std::sync::Arc;
use std::time::Duration;

use kvstore::request::{Cell, Mutation, RequestId, Row};
use replication::testing::options::Random;
use wal::{Epoch, Lsn};

use super::kv::{Failure, Kv};
use super::shared::{Found, LETTERS, Shared, from_home};
use crate::sim::history::{Call, Consistency, Range, Response};

/// How long one register is used, in microseconds: some 30 operations of all clients.
const TERM: u64 = 250_000;

/// Works until the trial ends.
pub(super) async fn work(shared: Arc<Shared>, client: u32) -> Found {
    let mut random = Random(shared.trial << 8 | u64::from(client));
    let (mut attempt, mut sequence) = (client as usize, 0);
    let mut kv = Kv::to(from_home(attempt, 0));
    while !shared.stopping() {
        let range = client % 3;
        let key = format!("{}reg-{}-{}", LETTERS[range as usize], shared.trial, shared.record.now() / TERM);
        let failed = match random.below(2) {
            0 => {
                sequence += 1;
                write(&shared, &mut kv, client, range, &key, sequence).await
            }
            _ => read(&shared, &mut kv, client, range, &key).await,
        };
        if failed {
            attempt += 1;
            kv = Kv::to(from_home(attempt, 0));
        }
        tokio::time::sleep(Duration::from_millis(random.below(30))).await;
    }
    Found::default()
}

/// Whether the client should go to another node.
async fn write(shared: &Shared, kv: &mut Kv, client: u32, range: Range, key: &str, sequence: u64) -> bool {
    let value = format!("{client}.{sequence}");
    let mutations = vec![Mutation::Put { column: "v".into(), value: value.clone().into() }];
    let request = RequestId { client: client.into(), sequence };
    let call = Call::Write { key: key.into(), conditions: Vec::new(), mutations, request };
    let op = shared.record.invoke(client, false, range, call);
    let (outcome, failed) = match kv.put(key, &value).await {
        Ok(written) => (Response::Written(to_lsn(written.lsn)), false),
        Err(Failure::NotDone(_)) => (Response::Failed, true),
        Err(Failure::Unknown(_)) => (Response::Unknown, true),
    };
    shared.record.returned(op, outcome);
    failed
}

async fn read(shared: &Shared, kv: &mut Kv, client: u32, range: Range, key: &str) -> bool {
    let call = Call::Get { keys: vec![key.into()], consistency: Consistency::Strong };
    let op = shared.record.invoke(client, false, range, call);
    let (outcome, failed) = match kv.get(key, None).await {
        Ok(answer) => (rows(answer, shared.record.now()), false),
        Err(Failure::NotDone(_) | Failure::Unknown(_)) => (Response::Failed, true),
    };
    shared.record.returned(op, outcome);
    failed
}

/// What a read returned, as the history has it.
pub(super) fn rows(answer: kvstore::proto::v1::GetResponse, now: u64) -> Response {
    let source = answer.source.unwrap_or_default();
    let row = answer.row.map(|row| {
        let cell = |cell: kvstore::proto::v1::Cell| Cell {
            column: cell.column,
            value: cell.value,
            version: to_lsn(cell.version),
        };
        let version = to_lsn(row.version);
        Row { key: row.key, cells: row.cells.into_iter().map(cell).collect(), version }
    });
    Response::Rows {
        rows: row.into_iter().collect(),
        lsn: to_lsn(source.lsn),
        node: source.replica,
        served: now,
        staleness_ms: source.staleness_ms,
    }
}

/// An LSN of the public interface.
pub(super) fn to_lsn(lsn: Option<kvstore::proto::v1::Lsn>) -> Lsn {
    lsn.map_or(Lsn::ZERO, |lsn| Lsn { epoch: Epoch(lsn.epoch), seq: lsn.sequence })
}
