//! Reads and writes of clients, the same for a call of its own and for a request in a batch.

use std::sync::Arc;
use std::time::Instant;

use tonic::Status;

use crate::gateway::{Gateway, Identity};
use crate::proto::{errors, public, v1};
use crate::request::{Condition, Kv, Mutation, Write, WriteOutcome};

/// Reads and writes of clients, whichever way they come.
#[derive(Clone)]
pub(crate) struct Calls {
    pub(crate) gateway: Arc<Gateway>,
}

impl Calls {
    pub(crate) async fn read(
        &self,
        get: v1::GetRequest,
        deadline: Instant,
    ) -> Result<v1::GetResponse, Status> {
        let read = async {
            let options = public::to_options(get.options, deadline)?;
            let table = self.gateway.map().table_named(&get.table).await?.table.id;
            let columns = public::to_columns(get.columns);
            self.gateway.get(table, get.key, columns, &options, None).await
        };
        read.await.map(public::read_row).map_err(|error| errors::from_error(&error))
    }

    pub(crate) async fn read_many(
        &self,
        get: v1::MultiGetRequest,
        deadline: Instant,
    ) -> Result<v1::MultiGetResponse, Status> {
        let read = async {
            let options = public::to_options(get.options, deadline)?;
            let table = self.gateway.map().table_named(&get.table).await?.table.id;
            let columns = public::to_columns(get.columns);
            self.gateway.multi_get(table, get.keys, columns, &options, None).await
        };
        let rows = read.await.map_err(|error| errors::from_error(&error))?;
        Ok(v1::MultiGetResponse { rows: rows.into_iter().map(public::read_row).collect() })
    }

    pub(crate) async fn write_put(
        &self,
        put: v1::PutRequest,
        conditions: Vec<v1::Condition>,
        deadline: Instant,
    ) -> Result<v1::WriteResponse, Status> {
        let mutations = public::to_puts(put.columns);
        self.write(put.table, put.key, mutations, conditions, put.request, deadline).await
    }

    pub(crate) async fn write_delete(
        &self,
        delete: v1::DeleteRequest,
        conditions: Vec<v1::Condition>,
        deadline: Instant,
    ) -> Result<v1::WriteResponse, Status> {
        let mutations = public::to_deletes(delete.columns);
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
            let conditions: Vec<Condition> = public::to_conditions(conditions)?;
            let identity = match request.map(public::to_request_id).transpose()? {
                None => None,
                Some((id, false)) => Some(Identity::New(id)),
                Some((id, true)) => Some(Identity::Repeated(id)),
            };
            let table = self.gateway.map().table_named(&table).await?;
            let mut write = Write { table: table.table.id, key, conditions, mutations, request: None };
            self.gateway.check_row(&table.table, &mut write)?;
            self.gateway.write_as(write, identity, deadline, None).await
        };
        match write.await {
            Ok(WriteOutcome::Written(written)) => Ok(v1::WriteResponse {
                lsn: Some(public::lsn(written.lsn)),
                range: written.range.to_string(),
            }),
            Ok(WriteOutcome::ConditionFailed { current, .. }) => Err(errors::version_mismatch(current)),
            Err(error) => Err(errors::from_error(&error)),
        }
    }
}
