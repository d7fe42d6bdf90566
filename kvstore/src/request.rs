//! What the store can be asked, and what it answers: the calls of the paper (section 3) with several columns,
//! row conditions, scans, sessions and exactly-once retries on top.
//!
//! [`Kv`] is what the planner and the gRPC service call; the gateway implements it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use wal::sync::lock;
use wal::{CohortId, Lsn, NodeId, Reserved};

use crate::error::KvError;

/// A table's number, unique in the cluster for all time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableId(pub u64);

/// A table as the coordinator keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Its number.
    pub id: TableId,
    /// Its name, unique in the cluster.
    pub name: String,
    /// The schema of the layer above (SQL), opaque here; empty for a plain key-value table.
    pub schema: Bytes,
}

/// All tables and objects at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalog {
    /// The tables, sorted by name.
    pub tables: Vec<Table>,
    /// What has a name, unique together with those of the tables, and no rows.
    pub objects: Vec<Table>,
    /// The number of the newest change that is certainly in it, for [`Kv::change_catalog`].
    pub change: u64,
}

/// A step of a change of the catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CatalogStep {
    /// Makes a table, as [`Kv::create_table`] does.
    CreateTable {
        /// Its name.
        name: String,
        /// The schema of the layer above.
        schema: Bytes,
        /// Keys at which its ranges begin.
        splits: Vec<Bytes>,
    },
    /// Makes an object.
    CreateObject {
        /// Its name.
        name: String,
        /// What the layer above keeps there.
        content: Bytes,
    },
    /// Gives a table or an object another name or another schema.
    Change {
        /// Which one.
        of: TableId,
        /// Its name from now on; may be the old one.
        name: String,
        /// Its schema or content from now on.
        content: Bytes,
    },
    /// Drops a table with its data, or an object.
    Drop(TableId),
}

/// One column's value in a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    /// The column's name, 1 to 255 bytes (opaque).
    pub column: Bytes,
    /// The column's value in this row (opaque).
    pub value: Bytes,
    /// Its version: the LSN of the write that put it.
    pub version: Lsn,
}

/// A row as read: its live cells, sorted by column. A row exists while it has a cell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// The row's key.
    pub key: Bytes,
    /// Its cells, sorted by column name; of those that were asked for.
    pub cells: Vec<Cell>,
    /// Its version ([row-version-grows]): the LSN of the last write that touched it in any way, deletions of its cells
    /// included, whichever columns were asked for. Of a row that does not exist: the LSN at which it was found so.
    pub version: Lsn,
}

impl Row {
    /// Bytes of the key, and of the names and values of the cells: what the limit of rows is about.
    pub(crate) fn content_bytes(&self) -> usize {
        self.key.len() + self.cells.iter().map(|cell| cell.column.len() + cell.value.len()).sum::<usize>()
    }

    /// What it takes in memory, about.
    pub fn bytes(&self) -> usize {
        let cells = self.cells.iter().map(|cell| cell.column.len() + cell.value.len() + ROW_OVERHEAD);
        self.key.len() + ROW_OVERHEAD + cells.sum::<usize>()
    }
}

/// What a row, and each cell, takes beside its bytes, about.
const ROW_OVERHEAD: usize = 64;

/// Which columns to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Columns {
    /// All columns of the row.
    All,
    /// Only the columns with these names.
    Some(Vec<Bytes>),
}

/// Which replica may answer a read (paper, section 3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Consistency {
    /// The latest value: the leader answers, under its lease or after a quorum round.
    #[default]
    Strong,
    /// Any replica answers, possibly with an older value.
    Timeline,
}

/// How a read is to be served.
#[derive(Clone, Debug)]
pub struct ReadOptions {
    /// Which replica may answer.
    pub consistency: Consistency,
    /// Timeline only: a replica whose data is older than this is not used.
    pub max_staleness: Option<Duration>,
    /// The answer may not come from a replica that has applied less than this (gRPC's `min_lsn`).
    pub min_lsn: Option<Lsn>,
    /// When the call gives up.
    pub deadline: Instant,
}

/// A session's token: the last LSN seen, for each range ([session-floor]). Shared by the statements of one session.
#[derive(Debug, Default)]
pub struct SessionToken(Mutex<BTreeMap<CohortId, Lsn>>);

impl SessionToken {
    /// The LSN below which this session may not read in the range.
    pub fn floor(&self, range: CohortId) -> Lsn {
        lock(&self.0).get(&range).copied().unwrap_or(Lsn::ZERO)
    }

    /// The session saw (or wrote) `lsn` in the range.
    pub fn saw(&self, range: CohortId, lsn: Lsn) {
        let mut seen = lock(&self.0);
        let floor = seen.entry(range).or_default();
        *floor = lsn.max(*floor);
    }
}

/// Which replica an answer comes from, and of when it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// The range that was read.
    pub range: CohortId,
    /// The node whose replica answered.
    pub replica: NodeId,
    /// The LSN up to which that replica had applied the range.
    pub lsn: Lsn,
    /// An upper bound of the data's age; zero for a strong read, `None` if the replica does not know one.
    pub staleness: Option<Duration>,
}

/// A row that was read.
#[derive(Clone, Debug)]
pub struct ReadRow {
    /// The row; it has no cells if it does not exist.
    pub row: Row,
    /// Which replica it comes from.
    pub source: Source,
}

/// A piece of a scan: rows in order, all of one range.
#[derive(Clone, Debug)]
pub struct ScanBatch {
    /// The rows, in the order of the scan.
    pub rows: Vec<Row>,
    /// Which replica it comes from.
    pub source: Source,
    /// The memory that the rows take in the node's budget for scans, given back when the last clone is dropped.
    pub held: Option<Arc<Reserved>>,
}

/// A range of row keys to read.
#[derive(Clone, Debug)]
pub struct Scan {
    /// The table to read.
    pub table: TableId,
    /// First key (inclusive).
    pub start: Bytes,
    /// End key (exclusive); `None`: to the end of the table.
    pub end: Option<Bytes>,
    /// Whether to read from the end to the start.
    pub reverse: bool,
    /// How many rows at most; `None`: all.
    pub limit: Option<u64>,
    /// Which columns to read; a row without any of these is not returned.
    pub columns: Columns,
}

/// What must hold for a write to be executed; decided once, by the leader, against committed and pending state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// The row has no cell.
    RowAbsent,
    /// The row has a cell.
    RowPresent,
    /// No write has touched the row since it was read with this [`Row::version`], whether it existed then or not.
    /// [`Lsn::ZERO`]: it does not exist, whatever was before. A row that does not exist may be refused though nothing
    /// has touched it, if the store has meanwhile forgotten a deletion that is newer than this version.
    RowVersion(Lsn),
    /// The highest version of the row's cells; [`Lsn::ZERO`]: it has none. What [`Condition::RowVersion`] meant to
    /// gateways of release 1, which send no other; no guard against deletions of cells.
    CellsVersion(Lsn),
    /// A column's version; [`Lsn::ZERO`]: it has no value, whatever was before.
    ColumnVersion {
        /// The column's name.
        column: Bytes,
        /// The version that it must have.
        version: Lsn,
    },
}

/// One change inside a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// Put a value into a column.
    Put {
        /// The column's name.
        column: Bytes,
        /// Its new value.
        value: Bytes,
    },
    /// Delete a column's value.
    Delete {
        /// The column's name.
        column: Bytes,
    },
    /// Delete all the row's cells. First in the list: later puts of the same write stand.
    DeleteRow,
}

/// By how many bytes a row can grow by these changes ([`Row::content_bytes`]).
pub(crate) fn growth(mutations: &[Mutation]) -> usize {
    let growth = |mutation: &Mutation| match mutation {
        Mutation::Put { column, value } => column.len() + value.len(),
        Mutation::Delete { .. } | Mutation::DeleteRow => 0,
    };
    mutations.iter().map(growth).sum()
}

/// Who writes, so that a retry is recognised ([exactly-once]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId {
    /// Random 128-bit number of the client. A gateway draws one when it starts, for all writes that come without an id.
    pub client: u128,
    /// Number of the write among the client's; never used for another write.
    pub sequence: u64,
}

/// An atomic write to one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// The table to write to.
    pub table: TableId,
    /// The row's key.
    pub key: Bytes,
    /// Nothing is written unless all of these hold.
    pub conditions: Vec<Condition>,
    /// The changes, applied in this order as one record of the log.
    pub mutations: Vec<Mutation>,
    /// For retries; `None`: the gateway gives one.
    pub request: Option<RequestId>,
}

/// Where a committed write is in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// The range.
    pub range: CohortId,
    /// Its LSN: the version of the cells it put.
    pub lsn: Lsn,
}

/// What happened to a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteOutcome {
    /// The write is committed.
    Written(Written),
    /// A condition did not hold; nothing was written. The row as it was found.
    ConditionFailed {
        /// The current row.
        current: Row,
        /// The range, and the LSN at which it was found so.
        at: Written,
    },
}

/// One range for `status` and `EXPLAIN`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeInfo {
    /// The range's identity.
    pub id: CohortId,
    /// The table that it is a part of.
    pub table: TableId,
    /// First row key (inclusive); empty: from the start.
    pub start: Bytes,
    /// End (exclusive); `None`: to the end.
    pub end: Option<Bytes>,
    /// The nodes of its replicas, in the order of their placement.
    pub members: Vec<NodeId>,
    /// The leader as known here.
    pub leader: Option<NodeId>,
}

/// The next row key in byte order.
pub(crate) fn key_after(key: &[u8]) -> Bytes {
    let mut next = Vec::with_capacity(key.len() + 1);
    next.extend_from_slice(key);
    next.push(0);
    next.into()
}

/// Checks a write of a client that goes past the layer above to a table which that layer gave a schema, and completes it
/// where the layer would. The error says what is wrong with it.
pub type RowCheck = Arc<dyn Fn(&Table, &mut Write) -> Result<(), String> + Send + Sync>;

/// The store as its users call it. Every call retries inside until its deadline; errors are final for the call.
///
/// ```no_run
/// use std::time::{Duration, Instant};
///
/// use bytes::Bytes;
/// use kvstore::error::KvError;
/// use kvstore::request::{
///     Columns, Condition, Consistency, Kv, Mutation, ReadOptions, Write, WriteOutcome,
/// };
///
/// async fn example(kv: &dyn Kv) -> Result<(), KvError> {
///     let deadline = Instant::now() + Duration::from_secs(5);
///     let table = kv.create_table("animals", Bytes::new(), Vec::new(), deadline).await?;
///     let write = Write {
///         table: table.id,
///         key: "moose".into(),
///         conditions: vec![Condition::RowAbsent],
///         mutations: vec![Mutation::Put { column: "legs".into(), value: "4".into() }],
///         request: None,
///     };
///     match kv.write(write, deadline, None).await? {
///         WriteOutcome::Written(written) => println!("committed as {}", written.lsn),
///         WriteOutcome::ConditionFailed { current, .. } => println!("it is there already: {current:?}"),
///     }
///     let options =
///         ReadOptions { consistency: Consistency::Strong, max_staleness: None, min_lsn: None, deadline };
///     let read = kv.get(table.id, "moose".into(), Columns::All, &options, None).await?;
///     assert_eq!(read.row.cells[0].value, "4");
///     Ok(())
/// }
/// ```
pub trait Kv: Send + Sync + 'static {
    /// Reads one row.
    fn get<'a>(
        &'a self,
        table: TableId,
        key: Bytes,
        columns: Columns,
        options: &'a ReadOptions,
        session: Option<&'a SessionToken>,
    ) -> BoxFuture<'a, Result<ReadRow, KvError>>;

    /// Reads several rows at once, answers in the order of `keys`. No common snapshot across ranges.
    fn multi_get<'a>(
        &'a self,
        table: TableId,
        keys: Vec<Bytes>,
        columns: Columns,
        options: &'a ReadOptions,
        session: Option<&'a SessionToken>,
    ) -> BoxFuture<'a, Result<Vec<ReadRow>, KvError>>;

    /// Reads a key range in key order (or backwards), range after range. Each range is read at one LSN.
    fn scan<'a>(
        &'a self,
        scan: Scan,
        options: &'a ReadOptions,
        session: Option<&'a SessionToken>,
    ) -> BoxStream<'a, Result<ScanBatch, KvError>>;

    /// Writes one row.
    fn write<'a>(
        &'a self,
        write: Write,
        deadline: Instant,
        session: Option<&'a SessionToken>,
    ) -> BoxFuture<'a, Result<WriteOutcome, KvError>>;

    /// Writes many rows concurrently, each atomic by itself; outcomes in order. Used by COPY and multi-row INSERT.
    fn write_many<'a>(
        &'a self,
        writes: Vec<Write>,
        deadline: Instant,
        session: Option<&'a SessionToken>,
    ) -> BoxFuture<'a, Vec<Result<WriteOutcome, KvError>>>;

    /// Creates a table with `splits` (sorted, distinct row keys) dividing it into `splits.len() + 1` ranges, and
    /// waits until each range has an open leader. [`KvError::TableExists`] if the name is taken.
    fn create_table<'a>(
        &'a self,
        name: &'a str,
        schema: Bytes,
        splits: Vec<Bytes>,
        deadline: Instant,
    ) -> BoxFuture<'a, Result<Table, KvError>>;

    /// Drops a table and its data. [`KvError::NoTable`] if there is none.
    fn drop_table<'a>(&'a self, name: &'a str, deadline: Instant) -> BoxFuture<'a, Result<(), KvError>>;

    /// Changes the catalog in several steps at once, or not at all. `None`: somebody else has changed it since `based_on`
    /// ([`Catalog::change`]), and nothing was done: look again. Gives what was made, in the order of the steps. Returns
    /// when the live nodes know of it, and new tables have open leaders. [`KvError::TableExists`] if a name is taken.
    fn change_catalog(
        &self,
        steps: Vec<CatalogStep>,
        based_on: u64,
        deadline: Instant,
    ) -> BoxFuture<'_, Result<Option<Vec<Table>>, KvError>>;

    /// All tables and objects as this node knows them; fresh from the coordinator if `fresh`.
    fn catalog(&self, fresh: bool) -> BoxFuture<'_, Result<Catalog, KvError>>;

    /// All tables, sorted by name, as this node knows them; fresh from the coordinator if `fresh`.
    fn tables(&self, fresh: bool) -> BoxFuture<'_, Result<Vec<Table>, KvError>>;

    /// A number that grows whenever the known tables change, to invalidate caches of names and plans.
    fn catalog_version(&self) -> u64;

    /// The ranges of a table in key order.
    fn ranges(&self, table: TableId) -> BoxFuture<'_, Result<Vec<RangeInfo>, KvError>>;

    /// Has this check done for writes of key-value clients to tables that have a schema; until then there are none. The
    /// first one given stays.
    fn check_rows_with(&self, check: RowCheck) {
        drop(check);
    }

    /// This node.
    fn node(&self) -> NodeId;
}
