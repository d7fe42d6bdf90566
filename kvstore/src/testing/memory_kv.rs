//! A store in memory behind the [`Kv`] trait, for tests of the layers above: versions, conditions, scans in small
//! batches, split tables, and a gate at which its calls can be held.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, StreamExt};
use tokio::sync::watch;
use wal::sync::lock;
use wal::{CohortId, Lsn, NodeId};

use crate::conditions;
use crate::config::Limits;
use crate::error::KvError;
use crate::request::{
    Catalog, CatalogStep, Columns, Kv, Mutation, RangeInfo, ReadOptions, ReadRow, Row, Scan, ScanBatch,
    SessionToken, Source, Table, TableId, Write, WriteOutcome, Written,
};

/// Rows of a batch of a scan: few, so that every statement meets several batches.
const BATCH_ROWS: usize = 3;

#[derive(Clone, Default)]
struct State {
    /// By name, with the splits.
    tables: BTreeMap<String, (Table, Vec<Bytes>)>,
    rows: BTreeMap<(TableId, Bytes), Row>,
    /// When each row was deleted that does not exist any more.
    deleted: BTreeMap<(TableId, Bytes), Lsn>,
    last: u64,
    newest_table: u64,
    catalog_version: u64,
    objects: BTreeMap<TableId, Table>,
    /// The number of the newest change of the catalog.
    change: u64,
}

impl State {
    fn name_of(&self, id: TableId) -> Result<String, KvError> {
        let tables = self.tables.values().map(|(table, _)| table);
        let named = tables.chain(self.objects.values()).find(|own| own.id == id);
        named.map(|own| own.name.clone()).ok_or_else(|| KvError::NoTable(format!("number {}", id.0)))
    }

    fn is_taken(&self, name: &str) -> bool {
        self.tables.contains_key(name) || self.objects.values().any(|own| own.name == name)
    }

    fn step(&mut self, step: CatalogStep) -> Result<Option<Table>, KvError> {
        if let CatalogStep::CreateTable { name, .. } | CatalogStep::CreateObject { name, .. } = &step {
            if self.is_taken(name) {
                return Err(KvError::TableExists(name.clone()));
            }
            self.newest_table += 1;
        }
        let id = TableId(self.newest_table);
        match step {
            CatalogStep::CreateTable { name, schema, splits } => {
                let table = Table { id, name: name.clone(), schema };
                self.tables.insert(name, (table.clone(), splits));
                Ok(Some(table))
            }
            CatalogStep::CreateObject { name, content } => {
                let object = Table { id, name, schema: content };
                self.objects.insert(id, object.clone());
                Ok(Some(object))
            }
            CatalogStep::Change { of, name, content } => {
                let old = self.name_of(of)?;
                if old != name && self.is_taken(&name) {
                    return Err(KvError::TableExists(name));
                }
                let now = Table { id: of, name: name.clone(), schema: content };
                match self.tables.remove(&old).filter(|(table, _)| table.id == of) {
                    Some((_, splits)) => drop(self.tables.insert(name, (now, splits))),
                    None => drop(self.objects.insert(of, now)),
                }
                Ok(None)
            }
            CatalogStep::Drop(id) => {
                let name = self.name_of(id)?;
                if self.objects.remove(&id).is_none() {
                    self.tables.remove(&name);
                    self.rows.retain(|(of, _), _| *of != id);
                }
                Ok(None)
            }
        }
    }
}

/// The store: one replica, on node 1.
#[derive(Default)]
pub struct MemoryKv {
    state: Mutex<State>,
    /// Calls wait while this is true.
    held: watch::Sender<bool>,
    running: AtomicUsize,
    running_most: AtomicUsize,
    /// Calls that started to write a row.
    pub writes: AtomicUsize,
    /// Batches of scans given out.
    pub batches: AtomicUsize,
}

impl MemoryKv {
    /// An empty store.
    pub fn new() -> Arc<MemoryKv> {
        Arc::default()
    }

    /// Holds reads and writes of rows at their start, or lets them go on.
    pub fn hold(&self, held: bool) {
        self.held.send_replace(held);
    }

    /// Waits until so many calls are at the gate.
    pub async fn wait_running(&self, calls: usize) {
        while self.running.load(Ordering::SeqCst) != calls {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// The most calls that were running at the same time.
    pub fn running_most(&self) -> usize {
        self.running_most.load(Ordering::SeqCst)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    async fn gate(&self) {
        struct Leave<'a>(&'a AtomicUsize);
        impl Drop for Leave<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::SeqCst);
            }
        }
        let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        let _leave = Leave(&self.running);
        self.running_most.fetch_max(running, Ordering::SeqCst);
        let _ = self.held.subscribe().wait_for(|held| !held).await;
    }

    fn source(&self) -> Source {
        let lsn = Lsn::new(1, self.state().last);
        Source { range: CohortId(1), replica: NodeId(1), lsn, staleness: Some(Duration::ZERO) }
    }

    fn row(&self, table: TableId, key: &Bytes, columns: &Columns) -> Row {
        let found = self.state().rows.get(&(table, key.clone())).cloned();
        let absent = Row { key: key.clone(), cells: Vec::new(), version: Lsn::new(1, self.state().last) };
        let mut row = found.unwrap_or(absent);
        if let Columns::Some(some) = columns {
            row.cells.retain(|cell| some.contains(&cell.column));
        }
        row
    }

    fn apply(&self, write: &Write) -> Result<WriteOutcome, KvError> {
        let size = write.mutations.iter().map(|mutation| match mutation {
            Mutation::Put { value, .. } => value.len(),
            Mutation::Delete { .. } | Mutation::DeleteRow => 0,
        });
        let (size, limit) = (size.sum(), Limits::default().row_bytes_max);
        if size > limit {
            return Err(KvError::TooLarge { what: "row", size, limit });
        }
        // Under one lock from the conditions to the change.
        let mut state = self.state();
        let at = (write.table, write.key.clone());
        let absent = Row { key: write.key.clone(), cells: Vec::new(), version: Lsn::new(1, state.last) };
        let mut row = state.rows.get(&at).cloned().unwrap_or(absent);
        if row.cells.is_empty() {
            row.version = state.deleted.get(&at).copied().unwrap_or(Lsn::ZERO);
        }
        if !conditions::hold(&write.conditions, &row) {
            let at = Written { range: CohortId(1), lsn: Lsn::new(1, state.last) };
            if row.cells.is_empty() {
                row.version = at.lsn;
            }
            return Ok(WriteOutcome::ConditionFailed { current: row, at });
        }
        state.last += 1;
        let lsn = Lsn::new(1, state.last);
        conditions::mutate(&mut row, lsn, &write.mutations);
        if row.cells.is_empty() {
            state.rows.remove(&at);
            state.deleted.insert(at, lsn);
        } else {
            state.rows.insert(at, row);
        }
        Ok(WriteOutcome::Written(Written { range: CohortId(1), lsn }))
    }
}

impl Kv for MemoryKv {
    fn get<'a>(
        &'a self,
        table: TableId,
        key: Bytes,
        columns: Columns,
        _options: &'a ReadOptions,
        _session: Option<&'a SessionToken>,
    ) -> BoxFuture<'a, Result<ReadRow, KvError>> {
        async move {
            self.gate().await;
            Ok(ReadRow { row: self.row(table, &key, &columns), source: self.source() })
        }
        .boxed()
    }

    fn multi_get<'a>(
        &'a self,
        table: TableId,
        keys: Vec<Bytes>,
        columns: Columns,
        _options: &'a ReadOptions,
        _session: Option<&'a SessionToken>,
    ) -> BoxFuture<'a, Result<Vec<ReadRow>, KvError>> {
        async move {
            self.gate().await;
            let read = |key: &Bytes| ReadRow { row: self.row(table, key, &columns), source: self.source() };
            Ok(keys.iter().map(read).collect())
        }
        .boxed()
    }

    fn scan<'a>(
        &'a self,
        scan: Scan,
        _options: &'a ReadOptions,
        _session: Option<&'a SessionToken>,
    ) -> BoxStream<'a, Result<ScanBatch, KvError>> {
        let keys: Vec<Bytes> = {
            let state = self.state();
            let inside = |key: &Bytes| *key >= scan.start && scan.end.as_ref().is_none_or(|end| key < end);
            let keys = state.rows.keys().filter(|(table, key)| *table == scan.table && inside(key));
            keys.map(|(_, key)| key.clone()).collect()
        };
        let rows = keys.iter().map(|key| self.row(scan.table, key, &scan.columns));
        let mut rows: Vec<Row> = rows.filter(|row| !row.cells.is_empty()).collect();
        if scan.reverse {
            rows.reverse();
        }
        rows.truncate(scan.limit.map_or(usize::MAX, |limit| limit as usize));
        let batches: Vec<Vec<Row>> = rows.chunks(BATCH_ROWS).map(<[Row]>::to_vec).collect();
        let batches = stream::iter(batches).then(move |rows| async move {
            self.gate().await;
            self.batches.fetch_add(1, Ordering::SeqCst);
            Ok(ScanBatch { rows, source: self.source(), held: None })
        });
        batches.boxed()
    }

    fn write<'a>(
        &'a self,
        write: Write,
        _deadline: Instant,
        _session: Option<&'a SessionToken>,
    ) -> BoxFuture<'a, Result<WriteOutcome, KvError>> {
        async move {
            self.writes.fetch_add(1, Ordering::SeqCst);
            self.gate().await;
            self.apply(&write)
        }
        .boxed()
    }

    fn write_many<'a>(
        &'a self,
        writes: Vec<Write>,
        _deadline: Instant,
        _session: Option<&'a SessionToken>,
    ) -> BoxFuture<'a, Vec<Result<WriteOutcome, KvError>>> {
        async move {
            self.gate().await;
            writes.iter().map(|write| self.apply(write)).collect()
        }
        .boxed()
    }

    fn create_table<'a>(
        &'a self,
        name: &'a str,
        schema: Bytes,
        splits: Vec<Bytes>,
        _deadline: Instant,
    ) -> BoxFuture<'a, Result<Table, KvError>> {
        async move {
            let mut state = self.state();
            if state.is_taken(name) {
                return Err(KvError::TableExists(name.into()));
            }
            state.newest_table += 1;
            state.catalog_version += 1;
            let table = Table { id: TableId(state.newest_table), name: name.into(), schema };
            state.tables.insert(name.into(), (table.clone(), splits));
            Ok(table)
        }
        .boxed()
    }

    fn drop_table<'a>(&'a self, name: &'a str, _deadline: Instant) -> BoxFuture<'a, Result<(), KvError>> {
        async move {
            let mut state = self.state();
            let (table, _) = state.tables.remove(name).ok_or_else(|| KvError::NoTable(name.into()))?;
            state.rows.retain(|(of, _), _| *of != table.id);
            state.catalog_version += 1;
            Ok(())
        }
        .boxed()
    }

    fn change_catalog(
        &self,
        steps: Vec<CatalogStep>,
        based_on: u64,
        _deadline: Instant,
    ) -> BoxFuture<'_, Result<Option<Vec<Table>>, KvError>> {
        async move {
            let mut state = self.state();
            if state.change != based_on {
                return Ok(None);
            }
            // All or nothing.
            let mut next = state.clone();
            let made: Result<Vec<_>, KvError> = steps.into_iter().map(|step| next.step(step)).collect();
            let made = made?;
            next.change += 1;
            next.catalog_version += 1;
            *state = next;
            Ok(Some(made.into_iter().flatten().collect()))
        }
        .boxed()
    }

    fn catalog(&self, _fresh: bool) -> BoxFuture<'_, Result<Catalog, KvError>> {
        async move {
            let state = self.state();
            Ok(Catalog {
                tables: state.tables.values().map(|(table, _)| table.clone()).collect(),
                objects: state.objects.values().cloned().collect(),
                change: state.change,
            })
        }
        .boxed()
    }

    fn tables(&self, _fresh: bool) -> BoxFuture<'_, Result<Vec<Table>, KvError>> {
        async move { Ok(self.state().tables.values().map(|(table, _)| table.clone()).collect()) }.boxed()
    }

    fn catalog_version(&self) -> u64 {
        self.state().catalog_version
    }

    fn ranges(&self, table: TableId) -> BoxFuture<'_, Result<Vec<RangeInfo>, KvError>> {
        async move {
            let state = self.state();
            let splits = state.tables.values().find(|(own, _)| own.id == table).map(|(_, splits)| splits);
            let mut bounds = vec![Bytes::new()];
            bounds.extend(splits.into_iter().flatten().cloned());
            let range = |(at, start): (usize, &Bytes)| RangeInfo {
                id: CohortId(at as u128 + 1),
                table,
                start: start.clone(),
                end: bounds.get(at + 1).cloned(),
                members: vec![NodeId(1), NodeId(2), NodeId(3)],
                leader: Some(NodeId(1)),
            };
            Ok(bounds.iter().enumerate().map(range).collect())
        }
        .boxed()
    }

    fn node(&self) -> NodeId {
        NodeId(1)
    }
}
