//! A store in memory with one range per table, and a gate at which its calls can be held.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{BoxStream, StreamExt};
use kvstore::NodeId;
use kvstore::error::KvError;
use kvstore::request::*;
use tokio::sync::watch;
use wal::{CohortId, Lsn};

type Rows = BTreeMap<Bytes, BTreeMap<Bytes, (Bytes, Lsn)>>;

#[derive(Default)]
struct State {
    tables: BTreeMap<String, Table>,
    rows: BTreeMap<u64, Rows>,
    last: u64,
    catalog: u64,
}

/// The store.
pub(crate) struct MemoryKv {
    state: Mutex<State>,
    /// Calls wait while this is true.
    held: watch::Sender<bool>,
    running: AtomicUsize,
    running_most: AtomicUsize,
    /// Calls that started to write a row.
    pub(crate) writes: AtomicUsize,
    /// Scans yield batches of so many rows.
    batch: usize,
    /// Batches of scans given out.
    pub(crate) batches: AtomicUsize,
}

impl MemoryKv {
    pub(crate) fn new() -> Arc<MemoryKv> {
        Arc::new(MemoryKv {
            state: Mutex::default(),
            held: watch::Sender::new(false),
            running: AtomicUsize::new(0),
            running_most: AtomicUsize::new(0),
            writes: AtomicUsize::new(0),
            batch: 3,
            batches: AtomicUsize::new(0),
        })
    }

    /// Holds reads and writes of rows at their start, or lets them go on.
    pub(crate) fn hold(&self, held: bool) {
        self.held.send_replace(held);
    }

    /// Waits until so many calls are at the gate.
    pub(crate) async fn wait_running(&self, calls: usize) {
        while self.running.load(Ordering::SeqCst) != calls {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// The most calls that were running at the same time.
    pub(crate) fn running_most(&self) -> usize {
        self.running_most.load(Ordering::SeqCst)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
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
        Source {
            range: CohortId(1),
            replica: NodeId(1),
            lsn: Lsn::new(1, self.state().last),
            staleness: Some(Duration::ZERO),
        }
    }

    fn row(&self, table: TableId, key: &Bytes, columns: &Columns) -> Row {
        let state = self.state();
        let cells = state.rows.get(&table.0).and_then(|rows| rows.get(key));
        let wanted = |column: &Bytes| match columns {
            Columns::All => true,
            Columns::Some(list) => list.contains(column),
        };
        let cells = cells.into_iter().flatten().filter(|(column, _)| wanted(column));
        let cell = |(column, (value, version)): (&Bytes, &(Bytes, Lsn))| Cell {
            column: column.clone(),
            value: value.clone(),
            version: *version,
        };
        Row { key: key.clone(), cells: cells.map(cell).collect() }
    }

    fn apply(&self, write: &Write) -> WriteOutcome {
        let current = self.row(write.table, &write.key, &Columns::All);
        let mut state = self.state();
        let at = Written { range: CohortId(1), lsn: Lsn::new(1, state.last) };
        let holds = write.conditions.iter().all(|condition| match condition {
            Condition::RowAbsent => current.cells.is_empty(),
            Condition::RowPresent => !current.cells.is_empty(),
            Condition::RowVersion(version) => current.version() == *version,
            Condition::ColumnVersion { column, version } => {
                let cell = current.cells.iter().find(|cell| cell.column == column);
                cell.map_or(Lsn::ZERO, |cell| cell.version) == *version
            }
        });
        if !holds {
            return WriteOutcome::ConditionFailed { current, at };
        }
        state.last += 1;
        let lsn = Lsn::new(1, state.last);
        let cells = state.rows.entry(write.table.0).or_default().entry(write.key.clone()).or_default();
        for mutation in &write.mutations {
            match mutation {
                Mutation::Put { column, value } => {
                    cells.insert(column.clone(), (value.clone(), lsn));
                }
                Mutation::Delete { column } => {
                    cells.remove(column);
                }
                Mutation::DeleteRow => cells.clear(),
            }
        }
        WriteOutcome::Written(Written { range: CohortId(1), lsn })
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
        Box::pin(async move {
            self.gate().await;
            Ok(ReadRow { row: self.row(table, &key, &columns), source: self.source() })
        })
    }

    fn multi_get<'a>(
        &'a self,
        table: TableId,
        keys: Vec<Bytes>,
        columns: Columns,
        _options: &'a ReadOptions,
        _session: Option<&'a SessionToken>,
    ) -> BoxFuture<'a, Result<Vec<ReadRow>, KvError>> {
        Box::pin(async move {
            self.gate().await;
            let read = |key: &Bytes| ReadRow { row: self.row(table, key, &columns), source: self.source() };
            Ok(keys.iter().map(read).collect())
        })
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
            state
                .rows
                .get(&scan.table.0)
                .into_iter()
                .flat_map(|rows| rows.keys())
                .filter(|k| inside(k))
                .cloned()
                .collect()
        };
        let rows = keys
            .iter()
            .map(|key| self.row(scan.table, key, &scan.columns))
            .filter(|row| !row.cells.is_empty());
        let mut rows: Vec<Row> = rows.collect();
        if scan.reverse {
            rows.reverse();
        }
        rows.truncate(scan.limit.map_or(usize::MAX, |limit| limit as usize));
        let batches: Vec<Vec<Row>> = rows.chunks(self.batch).map(<[Row]>::to_vec).collect();
        let batches = futures::stream::iter(batches).then(move |rows| async move {
            self.gate().await;
            self.batches.fetch_add(1, Ordering::SeqCst);
            Ok(ScanBatch { rows, source: self.source() })
        });
        batches.boxed()
    }

    fn write<'a>(
        &'a self,
        write: Write,
        _deadline: Instant,
        _session: Option<&'a SessionToken>,
    ) -> BoxFuture<'a, Result<WriteOutcome, KvError>> {
        Box::pin(async move {
            self.writes.fetch_add(1, Ordering::SeqCst);
            self.gate().await;
            Ok(self.apply(&write))
        })
    }

    fn write_many<'a>(
        &'a self,
        writes: Vec<Write>,
        _deadline: Instant,
        _session: Option<&'a SessionToken>,
    ) -> BoxFuture<'a, Vec<Result<WriteOutcome, KvError>>> {
        Box::pin(async move {
            self.gate().await;
            writes.iter().map(|write| Ok(self.apply(write))).collect()
        })
    }

    fn create_table<'a>(
        &'a self,
        name: &'a str,
        schema: Bytes,
        _splits: Vec<Bytes>,
        _deadline: Instant,
    ) -> BoxFuture<'a, Result<Table, KvError>> {
        Box::pin(async move {
            let mut state = self.state();
            if state.tables.contains_key(name) {
                return Err(KvError::TableExists(name.into()));
            }
            state.catalog += 1;
            let table = Table { id: TableId(state.catalog), name: name.into(), schema };
            state.tables.insert(name.into(), table.clone());
            Ok(table)
        })
    }

    fn drop_table<'a>(&'a self, name: &'a str, _deadline: Instant) -> BoxFuture<'a, Result<(), KvError>> {
        Box::pin(async move {
            let mut state = self.state();
            let table = state.tables.remove(name).ok_or_else(|| KvError::NoTable(name.into()))?;
            state.rows.remove(&table.id.0);
            state.catalog += 1;
            Ok(())
        })
    }

    fn tables(&self, _fresh: bool) -> BoxFuture<'_, Result<Vec<Table>, KvError>> {
        Box::pin(async move { Ok(self.state().tables.values().cloned().collect()) })
    }

    fn catalog_version(&self) -> u64 {
        self.state().catalog
    }

    fn ranges(&self, table: TableId) -> BoxFuture<'_, Result<Vec<RangeInfo>, KvError>> {
        let range = RangeInfo {
            id: CohortId(1),
            table,
            start: Bytes::new(),
            end: None,
            members: vec![NodeId(1)],
            leader: Some(NodeId(1)),
        };
        Box::pin(async move { Ok(vec![range]) })
    }

    fn node(&self) -> NodeId {
        NodeId(1)
    }
}
