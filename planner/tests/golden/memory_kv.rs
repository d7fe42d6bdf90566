//! A store in memory behind the `Kv` trait: versions, conditions, scans over split ranges. One replica, node 1.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt};
use kvstore::error::KvError;
use kvstore::request::{
    Cell, Columns, Condition, Kv, Mutation, RangeInfo, ReadOptions, ReadRow, Row, Scan, ScanBatch,
    SessionToken, Source, Table, TableId, Write, WriteOutcome, Written,
};
use wal::{CohortId, Lsn, NodeId};

type Cells = BTreeMap<Bytes, (Bytes, Lsn)>;

#[derive(Default)]
struct State {
    tables: BTreeMap<String, (Table, Vec<Bytes>)>,
    rows: BTreeMap<(TableId, Bytes), Cells>,
    lsn: u64,
    ids: u64,
}

/// The store.
#[derive(Default)]
pub(crate) struct MemoryKv {
    state: Mutex<State>,
    version: AtomicU64,
}

fn source(state: &State) -> Source {
    Source {
        range: CohortId(1),
        replica: NodeId(1),
        lsn: Lsn::new(1, state.lsn),
        staleness: Some(Duration::ZERO),
    }
}

fn row(key: &Bytes, cells: Option<&Cells>) -> Row {
    let cell = |(column, (value, version)): (&Bytes, &(Bytes, Lsn))| Cell {
        column: column.clone(),
        value: value.clone(),
        version: *version,
    };
    Row { key: key.clone(), cells: cells.map(|cells| cells.iter().map(cell).collect()).unwrap_or_default() }
}

impl MemoryKv {
    fn read(&self, table: TableId, key: Bytes) -> ReadRow {
        let state = self.state.lock().unwrap();
        ReadRow { row: row(&key, state.rows.get(&(table, key.clone()))), source: source(&state) }
    }

    fn write_one(&self, write: &Write) -> WriteOutcome {
        let mut state = self.state.lock().unwrap();
        let id = (write.table, write.key.clone());
        let current = row(&write.key, state.rows.get(&id));
        let holds = |condition: &Condition| match condition {
            Condition::RowAbsent => current.cells.is_empty(),
            Condition::RowPresent => !current.cells.is_empty(),
            Condition::RowVersion(version) => current.version() == *version,
            Condition::ColumnVersion { .. } => true,
        };
        if !write.conditions.iter().all(holds) {
            let at = Written { range: CohortId(1), lsn: Lsn::new(1, state.lsn) };
            return WriteOutcome::ConditionFailed { current, at };
        }
        state.lsn += 1;
        let lsn = Lsn::new(1, state.lsn);
        let cells = state.rows.entry(id.clone()).or_default();
        for mutation in &write.mutations {
            match mutation {
                Mutation::Put { column, value } => drop(cells.insert(column.clone(), (value.clone(), lsn))),
                Mutation::Delete { column } => drop(cells.remove(column)),
                Mutation::DeleteRow => cells.clear(),
            }
        }
        if cells.is_empty() {
            state.rows.remove(&id);
        }
        WriteOutcome::Written(Written { range: CohortId(1), lsn })
    }
}

impl Kv for MemoryKv {
    fn get<'a>(
        &'a self,
        table: TableId,
        key: Bytes,
        _columns: Columns,
        _options: &'a ReadOptions,
        _session: Option<&'a SessionToken>,
    ) -> BoxFuture<'a, Result<ReadRow, KvError>> {
        async move { Ok(self.read(table, key)) }.boxed()
    }

    fn multi_get<'a>(
        &'a self,
        table: TableId,
        keys: Vec<Bytes>,
        _columns: Columns,
        _options: &'a ReadOptions,
        _session: Option<&'a SessionToken>,
    ) -> BoxFuture<'a, Result<Vec<ReadRow>, KvError>> {
        async move { Ok(keys.into_iter().map(|key| self.read(table, key)).collect()) }.boxed()
    }

    fn scan<'a>(
        &'a self,
        scan: Scan,
        _options: &'a ReadOptions,
        _session: Option<&'a SessionToken>,
    ) -> BoxStream<'a, Result<ScanBatch, KvError>> {
        let state = self.state.lock().unwrap();
        let inside = |key: &Bytes| *key >= scan.start && scan.end.as_ref().is_none_or(|end| key < end);
        let mut rows: Vec<Row> = state
            .rows
            .iter()
            .filter(|((table, key), _)| *table == scan.table && inside(key))
            .map(|((_, key), cells)| row(key, Some(cells)))
            .collect();
        if scan.reverse {
            rows.reverse();
        }
        rows.truncate(scan.limit.map_or(usize::MAX, |limit| limit as usize));
        // Small batches, so that every statement meets several.
        let source = source(&state);
        let batches: Vec<_> =
            rows.chunks(3).map(|rows| Ok(ScanBatch { rows: rows.to_vec(), source })).collect();
        stream::iter(batches).boxed()
    }

    fn write<'a>(
        &'a self,
        write: Write,
        _deadline: Instant,
        _session: Option<&'a SessionToken>,
    ) -> BoxFuture<'a, Result<WriteOutcome, KvError>> {
        async move {
            let size: usize = write
                .mutations
                .iter()
                .map(|mutation| match mutation {
                    Mutation::Put { value, .. } => value.len(),
                    _ => 0,
                })
                .sum();
            if size > 1 << 20 {
                return Err(KvError::TooLarge { what: "row", size, limit: 1 << 20 });
            }
            Ok(self.write_one(&write))
        }
        .boxed()
    }

    fn write_many<'a>(
        &'a self,
        writes: Vec<Write>,
        _deadline: Instant,
        _session: Option<&'a SessionToken>,
    ) -> BoxFuture<'a, Vec<Result<WriteOutcome, KvError>>> {
        async move { writes.iter().map(|write| Ok(self.write_one(write))).collect() }.boxed()
    }

    fn create_table<'a>(
        &'a self,
        name: &'a str,
        schema: Bytes,
        splits: Vec<Bytes>,
        _deadline: Instant,
    ) -> BoxFuture<'a, Result<Table, KvError>> {
        async move {
            let mut state = self.state.lock().unwrap();
            if state.tables.contains_key(name) {
                return Err(KvError::TableExists(name.into()));
            }
            state.ids += 1;
            let table = Table { id: TableId(state.ids), name: name.into(), schema };
            state.tables.insert(name.into(), (table.clone(), splits));
            self.version.fetch_add(1, Ordering::SeqCst);
            Ok(table)
        }
        .boxed()
    }

    fn drop_table<'a>(&'a self, name: &'a str, _deadline: Instant) -> BoxFuture<'a, Result<(), KvError>> {
        async move {
            let mut state = self.state.lock().unwrap();
            let (table, _) = state.tables.remove(name).ok_or_else(|| KvError::NoTable(name.into()))?;
            state.rows.retain(|(own, _), _| *own != table.id);
            self.version.fetch_add(1, Ordering::SeqCst);
            Ok(())
        }
        .boxed()
    }

    fn tables(&self, _fresh: bool) -> BoxFuture<'_, Result<Vec<Table>, KvError>> {
        async move { Ok(self.state.lock().unwrap().tables.values().map(|(table, _)| table.clone()).collect()) }
            .boxed()
    }

    fn catalog_version(&self) -> u64 {
        self.version.load(Ordering::SeqCst)
    }

    fn ranges(&self, table: TableId) -> BoxFuture<'_, Result<Vec<RangeInfo>, KvError>> {
        async move {
            let state = self.state.lock().unwrap();
            let splits = state.tables.values().find(|(own, _)| own.id == table).map(|(_, s)| s.clone());
            let mut bounds = vec![Bytes::new()];
            bounds.extend(splits.unwrap_or_default());
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
