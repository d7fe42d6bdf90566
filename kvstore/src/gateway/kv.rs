//! The gateway as the [`Kv`] that planner and gRPC service call.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Instant;

use bytes::Bytes;
use futures::future::{BoxFuture, join, join_all};
use futures::stream::{self, BoxStream, StreamExt};
use tokio::sync::mpsc;
use wal::{Lsn, NodeId};

use super::call::{Call, Identity};
use super::limits;
use super::read::Reader;
use super::routing::Gateway;

use crate::cluster::map::coordination;
use crate::error::KvError;
use crate::operation::{Mode, Operation};
use crate::request::{
    Catalog, CatalogStep, Columns, Kv, RangeInfo, ReadOptions, ReadRow, RowCheck, Scan, ScanBatch,
    SessionToken, Table, TableId, Write, WriteOutcome,
};

/// Writes of one `write_many` under way at once.
const WRITES_AT_ONCE: usize = 256;

fn then_failed(error: impl fmt::Display) -> String {
    format!("then the coordination service failed ({error})")
}

/// Why it is not known whether a table was made or dropped.
const SILENT_COORDINATOR: &str = "the coordination service did not answer in time";

/// The error of a CREATE whose table stands: none of those that say that nothing was done.
fn made_but(name: &str, error: KvError) -> KvError {
    let why = match error {
        // Somebody dropped it at once.
        KvError::NoTable(_) => return KvError::NoTable(name.to_owned()),
        KvError::Coordination(why) => then_failed(why),
        KvError::DeadlineExceeded(why) | KvError::Unavailable(why) => format!("has no leader yet ({why})"),
        KvError::ShuttingDown => "then the node was shut down".to_owned(),
        KvError::Overloaded(why) | KvError::OutOfMemory(why) => format!("cannot be used yet ({why})"),
        other => format!("cannot be used yet ({other})"),
    };
    KvError::Unavailable(format!("table {name} was made, but {why}"))
}

impl Gateway {
    /// Waits until each range of a new table has an open leader.
    async fn await_leaders(&self, table: TableId, deadline: Instant) -> Result<(), KvError> {
        self.map.refresh().await.map_err(coordination)?;
        let view = self.map.table(table).await?;
        // A strong read of nothing: answered by an open leader only.
        let (keys, columns) = (Vec::new(), Columns::All);
        let probe = Operation::MultiGet { keys, columns, mode: Mode::Strong, at: None, partial: false };
        let open = view.ranges.iter().map(|range| {
            let call = Call::strong(self.new_call(), range, probe.clone(), Lsn::ZERO, deadline);
            self.drive(range, call, deadline)
        });
        join_all(open).await.into_iter().try_for_each(|answer| answer.map(drop))
    }
}

impl Kv for Gateway {
    fn get<'a>(
        &'a self,
        table: TableId,
        key: Bytes,
        columns: Columns,
        options: &'a ReadOptions,
        session: Option<&'a SessionToken>,
    ) -> BoxFuture<'a, Result<ReadRow, KvError>> {
        Box::pin(async move {
            let started = Instant::now();
            let found = self.get_one(table, key, columns, Reader { options, session }).await?;
            self.metrics.reads.took(started.elapsed());
            Ok(found)
        })
    }

    fn multi_get<'a>(
        &'a self,
        table: TableId,
        keys: Vec<Bytes>,
        columns: Columns,
        options: &'a ReadOptions,
        session: Option<&'a SessionToken>,
    ) -> BoxFuture<'a, Result<Vec<ReadRow>, KvError>> {
        Box::pin(async move {
            let started = Instant::now();
            let rows = self.get_many(table, keys, columns, Reader { options, session }).await?;
            self.metrics.reads.took(started.elapsed());
            Ok(rows)
        })
    }

    fn scan<'a>(
        &'a self,
        scan: Scan,
        options: &'a ReadOptions,
        session: Option<&'a SessionToken>,
    ) -> BoxStream<'a, Result<ScanBatch, KvError>> {
        // One page waits while the next is fetched. The scan runs when the stream is polled, and ends with it.
        let (sink, mut pages) = mpsc::channel(1);
        let run = async move {
            if let Err(error) = self.scan_all(&scan, Reader { options, session }, &sink).await {
                let _ = sink.send(Err(error)).await;
            }
        };
        let mut run: Option<Pin<Box<dyn Future<Output = ()> + Send + 'a>>> = Some(Box::pin(run));
        stream::poll_fn(move |context| {
            if run.as_mut().is_some_and(|running| running.as_mut().poll(context).is_ready()) {
                run = None;
            }
            pages.poll_recv(context)
        })
        .boxed()
    }

    fn write<'a>(
        &'a self,
        write: Write,
        deadline: Instant,
        session: Option<&'a SessionToken>,
    ) -> BoxFuture<'a, Result<WriteOutcome, KvError>> {
        Box::pin(async move {
            let started = Instant::now();
            // A request id from outside may have been used before, on any node.
            let identity = write.request.map(Identity::Repeated);
            let outcome = self.write_as(write, identity, deadline, session).await;
            self.metrics.writes.took(started.elapsed());
            outcome
        })
    }

    fn write_many<'a>(
        &'a self,
        writes: Vec<Write>,
        deadline: Instant,
        session: Option<&'a SessionToken>,
    ) -> BoxFuture<'a, Vec<Result<WriteOutcome, KvError>>> {
        let writes = writes.into_iter().map(move |write| self.write(write, deadline, session));
        Box::pin(stream::iter(writes).buffered(WRITES_AT_ONCE).collect())
    }

    fn create_table<'a>(
        &'a self,
        name: &'a str,
        schema: Bytes,
        splits: Vec<Bytes>,
        deadline: Instant,
    ) -> BoxFuture<'a, Result<Table, KvError>> {
        Box::pin(async move {
            splits.iter().try_for_each(|split| limits::check_key(&self.limits, split))?;
            let made = self.map.create_table(name, schema, &splits);
            let late = |_| KvError::OutcomeUnknown(SILENT_COORDINATOR.into());
            let table = tokio::time::timeout_at(deadline.into(), made).await.map_err(late)??;
            self.await_leaders(table.id, deadline).await.map_err(|error| made_but(name, error))?;
            Ok(table)
        })
    }

    fn drop_table<'a>(&'a self, name: &'a str, deadline: Instant) -> BoxFuture<'a, Result<(), KvError>> {
        Box::pin(async move {
            match tokio::time::timeout_at(deadline.into(), self.map.drop_named(name)).await {
                Ok(dropped) => {
                    let (dropped, _) = dropped?;
                    self.map.await_drop(&dropped, deadline).await;
                    Ok(())
                }
                Err(_) => Err(KvError::OutcomeUnknown(SILENT_COORDINATOR.into())),
            }
        })
    }

    fn change_catalog(
        &self,
        steps: Vec<CatalogStep>,
        based_on: u64,
        deadline: Instant,
    ) -> BoxFuture<'_, Result<Option<Vec<Table>>, KvError>> {
        Box::pin(async move {
            for step in &steps {
                if let CatalogStep::CreateTable { splits, .. } = step {
                    splits.iter().try_for_each(|split| limits::check_key(&self.limits, split))?;
                }
            }
            let view = self.map.view();
            let dropped = steps.iter().filter_map(|step| match step {
                CatalogStep::Drop(id) => view.by_id.get(id).cloned(),
                _ => None,
            });
            let dropped: Vec<_> = dropped.collect();
            let late = |_| KvError::OutcomeUnknown(SILENT_COORDINATOR.into());
            let changed = self.map.change_catalog(&steps, based_on);
            let changed = tokio::time::timeout_at(deadline.into(), changed).await.map_err(late)??;
            let Some(made) = changed else { return Ok(None) };
            let done_but =
                |error| KvError::Unavailable(format!("the catalog was changed, but {}", then_failed(error)));
            self.map.refresh().await.map_err(done_but)?;
            for table in &dropped {
                self.map.await_drop(table, deadline).await;
            }
            let view = self.map.view();
            let tables = made.iter().filter(|table| view.by_id.contains_key(&table.id));
            let open = tables.map(|table| async {
                let opened = self.await_leaders(table.id, deadline).await;
                opened.map_err(|error| made_but(&table.name, error))
            });
            let (_, opened) = join(self.map.await_change(based_on + 1, deadline), join_all(open)).await;
            opened.into_iter().collect::<Result<(), KvError>>()?;
            Ok(Some(made))
        })
    }

    fn catalog(&self, fresh: bool) -> BoxFuture<'_, Result<Catalog, KvError>> {
        Box::pin(async move {
            if fresh {
                self.map.refresh_now().await.map_err(coordination)?;
            }
            let view = self.map.view();
            let objects = view.objects.values().filter(|object| !view.is_table(object.id));
            Ok(Catalog {
                tables: view.by_name.values().map(|table| table.table.clone()).collect(),
                objects: objects.map(|object| (**object).clone()).collect(),
                change: view.change,
            })
        })
    }

    fn tables(&self, fresh: bool) -> BoxFuture<'_, Result<Vec<Table>, KvError>> {
        Box::pin(async move {
            if fresh {
                self.map.refresh_now().await.map_err(coordination)?;
            }
            Ok(self.map.view().by_name.values().map(|view| view.table.clone()).collect())
        })
    }

    fn catalog_version(&self) -> u64 {
        self.map.version()
    }

    fn ranges(&self, table: TableId) -> BoxFuture<'_, Result<Vec<RangeInfo>, KvError>> {
        Box::pin(async move {
            let table = self.map.table(table).await?;
            let mut ranges = Vec::with_capacity(table.ranges.len());
            for range in &table.ranges {
                let descriptor = &range.descriptor;
                ranges.push(RangeInfo {
                    id: descriptor.id,
                    table: descriptor.table,
                    start: descriptor.start.clone(),
                    end: descriptor.end.clone(),
                    members: descriptor.nodes().collect(),
                    leader: self.leader_of(range),
                });
            }
            Ok(ranges)
        })
    }

    fn check_rows_with(&self, check: RowCheck) {
        let _set_before = self.row_check.set(check);
    }

    fn node(&self) -> NodeId {
        self.ranges.node()
    }
}
