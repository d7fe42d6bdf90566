//! A client of the gRPC service.

use std::time::Duration;

use kvstore::error::KvError;
use kvstore::proto::errors;
use kvstore::proto::v1::kv_client::KvClient;
use kvstore::proto::v1::{
    Consistency, CreateTableRequest, DescribeRangesRequest, GetRequest, GetResponse, Lsn, PutRequest,
    ReadOptions, WriteResponse,
};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use super::shared::{ANSWER_MAX, KV_TABLE};
use crate::chaos::site::machine;

/// How an operation ended badly.
pub(super) enum Failure {
    /// Certainly not done.
    NotDone(String),
    /// Perhaps done.
    Unknown(String),
}

/// A connection to one node; made when it is first used, and again when it broke.
#[derive(Clone)]
pub(super) struct Kv(KvClient<Channel>);

impl Kv {
    /// To a node.
    pub(super) fn to(node: usize) -> Kv {
        let endpoint = Endpoint::from_shared(format!("http://{}:7401", machine(node).address()));
        let endpoint = endpoint.expect("a sound address").connect_timeout(Duration::from_secs(1));
        Kv(KvClient::new(endpoint.connect_lazy()))
    }

    /// Puts one column of a row.
    pub(super) async fn put(&mut self, key: &str, value: &str) -> Result<WriteResponse, Failure> {
        let columns =
            vec![kvstore::proto::v1::ColumnValue { column: "v".into(), value: value.to_owned().into() }];
        let request =
            PutRequest { table: KV_TABLE.into(), key: key.to_owned().into(), columns, request: None };
        let answer = tokio::time::timeout(ANSWER_MAX, self.0.put(limited(request))).await;
        answer.map_err(|_| late())?.map(tonic::Response::into_inner).map_err(|status| classify(&status))
    }

    /// Reads a row, strongly, or as a session that has seen `floor`.
    pub(super) async fn get(
        &mut self,
        key: &str,
        floor: Option<Option<Lsn>>,
    ) -> Result<GetResponse, Failure> {
        let consistency = if floor.is_some() { Consistency::Timeline } else { Consistency::Strong };
        let options =
            ReadOptions { consistency: consistency as i32, max_staleness_ms: None, min_lsn: floor.flatten() };
        let request = GetRequest {
            table: KV_TABLE.into(),
            key: key.to_owned().into(),
            columns: Vec::new(),
            options: Some(options),
        };
        let answer = tokio::time::timeout(ANSWER_MAX, self.0.get(limited(request))).await;
        answer.map_err(|_| late())?.map(tonic::Response::into_inner).map_err(|status| classify(&status))
    }
}

/// Makes the table.
pub(super) async fn make_table() -> Result<(), String> {
    let Kv(mut client) = Kv::to(1);
    let splits = vec!["h".into(), "q".into()];
    let made = client.create_table(limited(CreateTableRequest { table: KV_TABLE.into(), splits })).await;
    made.map(drop).map_err(|status| format!("CreateTable: {status}"))
}

/// The leaders of the table's ranges, in key order, as a node knows them.
pub(super) async fn leaders(node: usize) -> Result<Vec<usize>, String> {
    let Kv(mut client) = Kv::to(node);
    let request = DescribeRangesRequest { table: KV_TABLE.into() };
    let answer = tokio::time::timeout(ANSWER_MAX, client.describe_ranges(limited(request))).await;
    let answer = answer.map_err(|_| format!("node {node} does not answer"))?;
    let ranges =
        answer.map_err(|status| format!("DescribeRanges at node {node}: {status}"))?.into_inner().ranges;
    Ok(ranges.iter().map(|range| range.leader as usize).collect())
}

fn limited<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(ANSWER_MAX);
    request
}

fn late() -> Failure {
    Failure::Unknown("no answer from the node".into())
}

/// Only what the node itself says in the details of its answer is believed not to have been done.
fn classify(status: &Status) -> Failure {
    let error = errors::to_error(status);
    let text = format!("{:?}: {}", status.code(), status.message());
    match error {
        KvError::NoTable(_)
        | KvError::TooLarge { .. }
        | KvError::NotLeader { .. }
        | KvError::RangeMoved
        | KvError::DiskFull(_)
        | KvError::Overloaded(_)
        | KvError::DeadlineExceeded(_) => Failure::NotDone(text),
        _ => Failure::Unknown(text),
    }
}
