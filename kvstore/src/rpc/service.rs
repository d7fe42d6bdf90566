//! The public gRPC service: checks, translates, and leaves the rest to the gateway.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use wal::{CohortId, NodeId};

use super::batch;
use super::calls::Calls;
use super::scans;
use crate::error::KvError;
use crate::gateway::Gateway;
use crate::proto::v1::kv_server::Kv as KvService;
use crate::proto::{errors, public, v1};
use crate::reporter::Reporter;
use crate::request::{Kv, Scan};

/// Serves clients.
pub(crate) struct PublicService {
    calls: Calls,
    reporter: Arc<Reporter>,
}

impl PublicService {
    pub(crate) fn new(gateway: Arc<Gateway>, reporter: Arc<Reporter>) -> PublicService {
        PublicService { calls: Calls { gateway }, reporter }
    }
}

/// The call's deadline: the standard header `grpc-timeout` (digits and a unit), else the default.
pub(crate) fn deadline<T>(request: &Request<T>) -> Instant {
    let header = request.metadata().get("grpc-timeout").and_then(|value| value.to_str().ok());
    let timeout = header.and_then(parse_timeout).unwrap_or(public::TIMEOUT);
    Instant::now() + timeout
}

fn parse_timeout(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u32 = number.parse().ok()?;
    // Longer than a day is as good as a day, and keeps the arithmetic of instants safe.
    let timeout = match unit {
        "H" => Duration::from_secs(u64::from(number) * 3600),
        "M" => Duration::from_secs(u64::from(number) * 60),
        "S" => Duration::from_secs(number.into()),
        "m" => Duration::from_millis(number.into()),
        "u" => Duration::from_micros(number.into()),
        "n" => Duration::from_nanos(number.into()),
        _ => return None,
    };
    Some(timeout.min(Duration::from_secs(86_400)))
}

fn refuse(error: KvError) -> Status {
    errors::from_error(&error)
}

#[tonic::async_trait]
impl KvService for PublicService {
    type ScanStream = Pin<Box<dyn Stream<Item = Result<v1::ScanResponse, Status>> + Send>>;
    type BatchStream = ReceiverStream<Result<v1::BatchResponse, Status>>;

    async fn get(&self, request: Request<v1::GetRequest>) -> Result<Response<v1::GetResponse>, Status> {
        let deadline = deadline(&request);
        self.calls.read(request.into_inner(), deadline).await.map(Response::new)
    }

    async fn multi_get(
        &self,
        request: Request<v1::MultiGetRequest>,
    ) -> Result<Response<v1::MultiGetResponse>, Status> {
        let deadline = deadline(&request);
        self.calls.read_many(request.into_inner(), deadline).await.map(Response::new)
    }

    async fn put(&self, request: Request<v1::PutRequest>) -> Result<Response<v1::WriteResponse>, Status> {
        let deadline = deadline(&request);
        self.calls.write_put(request.into_inner(), Vec::new(), deadline).await.map(Response::new)
    }

    async fn delete(
        &self,
        request: Request<v1::DeleteRequest>,
    ) -> Result<Response<v1::WriteResponse>, Status> {
        let deadline = deadline(&request);
        self.calls.write_delete(request.into_inner(), Vec::new(), deadline).await.map(Response::new)
    }

    async fn conditional_put(
        &self,
        request: Request<v1::ConditionalPutRequest>,
    ) -> Result<Response<v1::WriteResponse>, Status> {
        let deadline = deadline(&request);
        let v1::ConditionalPutRequest { put, conditions } = request.into_inner();
        let put = put.ok_or_else(|| refuse(KvError::Invalid("the put is missing".into())))?;
        self.calls.write_put(put, conditions, deadline).await.map(Response::new)
    }

    async fn conditional_delete(
        &self,
        request: Request<v1::ConditionalDeleteRequest>,
    ) -> Result<Response<v1::WriteResponse>, Status> {
        let deadline = deadline(&request);
        let v1::ConditionalDeleteRequest { delete, conditions } = request.into_inner();
        let delete = delete.ok_or_else(|| refuse(KvError::Invalid("the delete is missing".into())))?;
        self.calls.write_delete(delete, conditions, deadline).await.map(Response::new)
    }

    async fn scan(&self, request: Request<v1::ScanRequest>) -> Result<Response<Self::ScanStream>, Status> {
        let deadline = deadline(&request);
        let request = request.into_inner();
        let options = public::to_options(request.options, deadline).map_err(refuse)?;
        let table = self.calls.gateway.map().table_named(&request.table).await.map_err(refuse)?.table.id;
        let scan = Scan {
            table,
            start: request.start,
            end: request.end,
            reverse: request.reverse,
            limit: request.limit,
            columns: public::to_columns(request.columns),
        };
        Ok(Response::new(scans::stream(self.calls.gateway.clone(), scan, options)))
    }

    async fn batch(
        &self,
        request: Request<Streaming<v1::BatchRequest>>,
    ) -> Result<Response<Self::BatchStream>, Status> {
        Ok(Response::new(batch::serve(self.calls.clone(), request.into_inner())))
    }

    async fn create_table(
        &self,
        request: Request<v1::CreateTableRequest>,
    ) -> Result<Response<v1::CreateTableResponse>, Status> {
        let deadline = deadline(&request);
        let v1::CreateTableRequest { table, splits } = request.into_inner();
        let made = self
            .calls
            .gateway
            .create_table(&table, bytes::Bytes::new(), splits, deadline)
            .await
            .map_err(refuse)?;
        Ok(Response::new(v1::CreateTableResponse { table_id: made.id.0 }))
    }

    async fn drop_table(
        &self,
        request: Request<v1::DropTableRequest>,
    ) -> Result<Response<v1::DropTableResponse>, Status> {
        let deadline = deadline(&request);
        self.calls.gateway.drop_table(&request.into_inner().table, deadline).await.map_err(refuse)?;
        Ok(Response::new(v1::DropTableResponse {}))
    }

    async fn list_tables(
        &self,
        _: Request<v1::ListTablesRequest>,
    ) -> Result<Response<v1::ListTablesResponse>, Status> {
        let tables = self.calls.gateway.tables(true).await.map_err(refuse)?;
        let tables = tables.into_iter().map(|table| v1::Table { id: table.id.0, name: table.name }).collect();
        Ok(Response::new(v1::ListTablesResponse { tables }))
    }

    async fn describe_ranges(
        &self,
        request: Request<v1::DescribeRangesRequest>,
    ) -> Result<Response<v1::DescribeRangesResponse>, Status> {
        let name = request.into_inner().table;
        let table = self.calls.gateway.map().table_named(&name).await.map_err(refuse)?;
        let ranges = Kv::ranges(&*self.calls.gateway, table.table.id).await.map_err(refuse)?;
        let ranges = ranges.into_iter().map(public::range).collect();
        Ok(Response::new(v1::DescribeRangesResponse { ranges }))
    }

    async fn status(
        &self,
        request: Request<v1::StatusRequest>,
    ) -> Result<Response<v1::StatusResponse>, Status> {
        let deadline = deadline(&request);
        let v1::StatusRequest { cluster, checksums } = request.into_inner();
        let nodes = match cluster {
            true => self.reporter.cluster(checksums, deadline).await,
            false => vec![self.reporter.node(checksums).await],
        };
        Ok(Response::new(v1::StatusResponse { nodes }))
    }

    async fn transfer_leader(
        &self,
        request: Request<v1::TransferLeaderRequest>,
    ) -> Result<Response<v1::TransferLeaderResponse>, Status> {
        let deadline = deadline(&request);
        let v1::TransferLeaderRequest { range, target } = request.into_inner();
        let range: CohortId = range
            .parse()
            .map_err(|_| refuse(KvError::Invalid("range must be 32 hexadecimal digits".into())))?;
        let target = (target != 0).then_some(NodeId(target));
        self.calls.gateway.transfer(range, target, deadline).await.map_err(refuse)?;
        Ok(Response::new(v1::TransferLeaderResponse {}))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_have_a_unit() {
        assert_eq!(parse_timeout("250m"), Some(Duration::from_millis(250)));
        assert_eq!(parse_timeout("2S"), Some(Duration::from_secs(2)));
        assert_eq!(parse_timeout("99999999H"), Some(Duration::from_secs(86_400)));
        for wrong in ["", "m", "5", "5x", "-5m", "5ü"] {
            assert_eq!(parse_timeout(wrong), None, "{wrong}");
        }
    }
}
