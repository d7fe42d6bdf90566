//! The public gRPC service: checks, translates, and leaves the rest to the router.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::stream::{Stream, StreamExt};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use wal::{CohortId, NodeId};

use super::proto::v1;
use super::proto::v1::kv_server::Kv as KvService;
use super::{batch, convert, status};
use crate::error::KvError;
use crate::request::{Condition, Kv, Mutation, Scan, Write, WriteOutcome};
use crate::router::{Identity, Router};

/// Pages of a scan that wait for a slow client.
const PAGES_AHEAD: usize = 2;

/// Serves clients.
#[derive(Clone)]
pub(crate) struct PublicService {
    router: Arc<Router>,
}

impl PublicService {
    pub(crate) fn new(router: Arc<Router>) -> PublicService {
        PublicService { router }
    }

    pub(crate) async fn read(
        &self,
        get: v1::GetRequest,
        deadline: Instant,
    ) -> Result<v1::GetResponse, Status> {
        let read = async {
            let options = convert::to_options(get.options, deadline)?;
            let table = self.router.map().table_named(&get.table).await?.table.id;
            let columns = convert::to_columns(get.columns);
            self.router.get(table, get.key, columns, &options, None).await
        };
        read.await.map(convert::read_row).map_err(|error| status::from_error(&error))
    }

    pub(crate) async fn read_many(
        &self,
        get: v1::MultiGetRequest,
        deadline: Instant,
    ) -> Result<v1::MultiGetResponse, Status> {
        let read = async {
            let options = convert::to_options(get.options, deadline)?;
            let table = self.router.map().table_named(&get.table).await?.table.id;
            let columns = convert::to_columns(get.columns);
            self.router.multi_get(table, get.keys, columns, &options, None).await
        };
        let rows = read.await.map_err(|error| status::from_error(&error))?;
        Ok(v1::MultiGetResponse { rows: rows.into_iter().map(convert::read_row).collect() })
    }

    pub(crate) async fn write_put(
        &self,
        put: v1::PutRequest,
        conditions: Vec<v1::Condition>,
        deadline: Instant,
    ) -> Result<v1::WriteResponse, Status> {
        let mutations = convert::to_puts(put.columns);
        self.write(put.table, put.key, mutations, conditions, put.request, deadline).await
    }

    pub(crate) async fn write_delete(
        &self,
        delete: v1::DeleteRequest,
        conditions: Vec<v1::Condition>,
        deadline: Instant,
    ) -> Result<v1::WriteResponse, Status> {
        let mutations = convert::to_deletes(delete.columns);
        self.write(delete.table, delete.key, mutations, conditions, delete.request, deadline).await
    }

    async fn write(
        &self,
        table: String,
        key: bytes::Bytes,
        mutations: Vec<Mutation>,
        conditions: Vec<v1::Condition>,
        request: Option<v1::RequestId>,
        deadline: Instant,
    ) -> Result<v1::WriteResponse, Status> {
        let write = async {
            let conditions: Vec<Condition> = convert::to_conditions(conditions)?;
            let identity = match request.map(convert::to_request_id).transpose()? {
                None => None,
                Some((id, false)) => Some(Identity::New(id)),
                Some((id, true)) => Some(Identity::Repeated(id)),
            };
            let table = self.router.map().table_named(&table).await?.table.id;
            let write = Write { table, key, conditions, mutations, request: None };
            self.router.write_as(write, identity, deadline, None).await
        };
        match write.await {
            Ok(WriteOutcome::Written(written)) => Ok(v1::WriteResponse {
                lsn: Some(convert::lsn(written.lsn)),
                range: written.range.to_string(),
            }),
            Ok(WriteOutcome::ConditionFailed { current, .. }) => Err(status::version_mismatch(current)),
            Err(error) => Err(status::from_error(&error)),
        }
    }
}

/// The call's deadline: the standard header `grpc-timeout` (digits and a unit), else the default.
pub(crate) fn deadline<T>(request: &Request<T>) -> Instant {
    let header = request.metadata().get("grpc-timeout").and_then(|value| value.to_str().ok());
    let timeout = header.and_then(parse_timeout).unwrap_or(convert::TIMEOUT);
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
    status::from_error(&error)
}

#[tonic::async_trait]
impl KvService for PublicService {
    type ScanStream = Pin<Box<dyn Stream<Item = Result<v1::ScanResponse, Status>> + Send>>;
    type BatchStream = ReceiverStream<Result<v1::BatchResponse, Status>>;

    async fn get(&self, request: Request<v1::GetRequest>) -> Result<Response<v1::GetResponse>, Status> {
        let deadline = deadline(&request);
        self.read(request.into_inner(), deadline).await.map(Response::new)
    }

    async fn multi_get(
        &self,
        request: Request<v1::MultiGetRequest>,
    ) -> Result<Response<v1::MultiGetResponse>, Status> {
        let deadline = deadline(&request);
        self.read_many(request.into_inner(), deadline).await.map(Response::new)
    }

    async fn put(&self, request: Request<v1::PutRequest>) -> Result<Response<v1::WriteResponse>, Status> {
        let deadline = deadline(&request);
        self.write_put(request.into_inner(), Vec::new(), deadline).await.map(Response::new)
    }

    async fn delete(
        &self,
        request: Request<v1::DeleteRequest>,
    ) -> Result<Response<v1::WriteResponse>, Status> {
        let deadline = deadline(&request);
        self.write_delete(request.into_inner(), Vec::new(), deadline).await.map(Response::new)
    }

    async fn conditional_put(
        &self,
        request: Request<v1::ConditionalPutRequest>,
    ) -> Result<Response<v1::WriteResponse>, Status> {
        let deadline = deadline(&request);
        let v1::ConditionalPutRequest { put, conditions } = request.into_inner();
        let put = put.ok_or_else(|| refuse(KvError::Invalid("the put is missing".into())))?;
        self.write_put(put, conditions, deadline).await.map(Response::new)
    }

    async fn conditional_delete(
        &self,
        request: Request<v1::ConditionalDeleteRequest>,
    ) -> Result<Response<v1::WriteResponse>, Status> {
        let deadline = deadline(&request);
        let v1::ConditionalDeleteRequest { delete, conditions } = request.into_inner();
        let delete = delete.ok_or_else(|| refuse(KvError::Invalid("the delete is missing".into())))?;
        self.write_delete(delete, conditions, deadline).await.map(Response::new)
    }

    async fn scan(&self, request: Request<v1::ScanRequest>) -> Result<Response<Self::ScanStream>, Status> {
        let deadline = deadline(&request);
        let request = request.into_inner();
        let options = convert::to_options(request.options, deadline).map_err(refuse)?;
        let table = self.router.map().table_named(&request.table).await.map_err(refuse)?.table.id;
        let scan = Scan {
            table,
            start: request.start,
            end: request.end,
            reverse: request.reverse,
            limit: request.limit,
            columns: convert::to_columns(request.columns),
        };
        let (sink, pages) = mpsc::channel(PAGES_AHEAD);
        let router = self.router.clone();
        tokio::spawn(async move {
            let mut found = router.scan(scan, &options, None);
            while let Some(page) = found.next().await {
                let page = page.map_err(refuse).map(|page| v1::ScanResponse {
                    rows: page.rows.into_iter().map(convert::row).collect(),
                    source: Some(convert::source(page.source)),
                });
                if sink.send(page).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(pages))))
    }

    async fn batch(
        &self,
        request: Request<Streaming<v1::BatchRequest>>,
    ) -> Result<Response<Self::BatchStream>, Status> {
        Ok(Response::new(batch::serve(self.clone(), request.into_inner())))
    }

    async fn create_table(
        &self,
        request: Request<v1::CreateTableRequest>,
    ) -> Result<Response<v1::CreateTableResponse>, Status> {
        let deadline = deadline(&request);
        let v1::CreateTableRequest { table, splits } = request.into_inner();
        let made =
            self.router.create_table(&table, bytes::Bytes::new(), splits, deadline).await.map_err(refuse)?;
        Ok(Response::new(v1::CreateTableResponse { table_id: made.id.0 }))
    }

    async fn drop_table(
        &self,
        request: Request<v1::DropTableRequest>,
    ) -> Result<Response<v1::DropTableResponse>, Status> {
        let deadline = deadline(&request);
        self.router.drop_table(&request.into_inner().table, deadline).await.map_err(refuse)?;
        Ok(Response::new(v1::DropTableResponse {}))
    }

    async fn list_tables(
        &self,
        _: Request<v1::ListTablesRequest>,
    ) -> Result<Response<v1::ListTablesResponse>, Status> {
        let tables = self.router.tables(true).await.map_err(refuse)?;
        let tables = tables.into_iter().map(|table| v1::Table { id: table.id.0, name: table.name }).collect();
        Ok(Response::new(v1::ListTablesResponse { tables }))
    }

    async fn describe_ranges(
        &self,
        request: Request<v1::DescribeRangesRequest>,
    ) -> Result<Response<v1::DescribeRangesResponse>, Status> {
        let name = request.into_inner().table;
        let table = self.router.map().table_named(&name).await.map_err(refuse)?;
        let ranges = Kv::ranges(&*self.router, table.table.id).await.map_err(refuse)?;
        let ranges = ranges.into_iter().map(convert::range).collect();
        Ok(Response::new(v1::DescribeRangesResponse { ranges }))
    }

    async fn status(
        &self,
        request: Request<v1::StatusRequest>,
    ) -> Result<Response<v1::StatusResponse>, Status> {
        let deadline = deadline(&request);
        let v1::StatusRequest { cluster, checksums } = request.into_inner();
        let nodes = match cluster {
            true => self.router.cluster_status(checksums, deadline).await,
            false => vec![self.router.node_status(checksums).await],
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
        self.router.transfer(range, target, deadline).await.map_err(refuse)?;
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
