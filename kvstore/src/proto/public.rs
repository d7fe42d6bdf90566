//! Public messages to requests and back. What comes in is checked here, and nowhere again.

use std::time::{Duration, Instant};

use bytes::Bytes;
use wal::{Epoch, Lsn};

use super::v1;
use crate::error::KvError;
use crate::request::{
    Cell, Columns, Condition, Consistency, Mutation, RangeInfo, ReadOptions, ReadRow, RequestId, Row, Source,
};

/// Deadline of a request that names none.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) fn lsn(lsn: Lsn) -> v1::Lsn {
    v1::Lsn { epoch: lsn.epoch.0, sequence: lsn.seq }
}

pub(crate) fn to_lsn(lsn: &v1::Lsn) -> Lsn {
    Lsn { epoch: Epoch(lsn.epoch), seq: lsn.sequence }
}

pub(crate) fn row(row: Row) -> v1::Row {
    let cells = row.cells.into_iter();
    let cells = cells.map(|cell| v1::Cell {
        column: cell.column,
        value: cell.value,
        version: Some(lsn(cell.version)),
    });
    v1::Row { key: row.key, cells: cells.collect(), version: Some(lsn(row.version)) }
}

pub(crate) fn to_row(row: v1::Row) -> Row {
    let cells = row.cells.into_iter().map(|cell| Cell {
        column: cell.column,
        value: cell.value,
        version: to_lsn(&cell.version.unwrap_or_default()),
    });
    let cells: Vec<Cell> = cells.collect();
    // A node of release 1 does not say it, and compares the highest of the cells' versions.
    let highest = || cells.iter().map(|cell| cell.version).max().unwrap_or(Lsn::ZERO);
    let version = row.version.as_ref().map_or_else(highest, to_lsn);
    Row { key: row.key, cells, version }
}

/// Whole milliseconds, rounded up: an age must not come out too young.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

pub(crate) fn source(source: Source) -> v1::Source {
    v1::Source {
        range: source.range.to_string(),
        replica: source.replica.0,
        lsn: Some(lsn(source.lsn)),
        staleness_ms: source.staleness.map(millis),
    }
}

pub(crate) fn read_row(read: ReadRow) -> v1::GetResponse {
    v1::GetResponse {
        found: !read.row.cells.is_empty(),
        version: Some(lsn(read.row.version)),
        row: Some(row(read.row)),
        source: Some(source(read.source)),
    }
}

/// No columns named: all of them.
pub(crate) fn to_columns(columns: Vec<Bytes>) -> Columns {
    if columns.is_empty() { Columns::All } else { Columns::Some(columns) }
}

pub(crate) fn to_options(
    options: Option<v1::ReadOptions>,
    deadline: Instant,
) -> Result<ReadOptions, KvError> {
    let options = options.unwrap_or_default();
    let consistency = match v1::Consistency::try_from(options.consistency) {
        Ok(v1::Consistency::Strong) => Consistency::Strong,
        Ok(v1::Consistency::Timeline) => Consistency::Timeline,
        Err(_) => return Err(KvError::Invalid("unknown consistency: STRONG or TIMELINE".into())),
    };
    if consistency == Consistency::Strong && options.max_staleness_ms.is_some() {
        return Err(KvError::Invalid("max_staleness_ms is for TIMELINE reads only".into()));
    }
    Ok(ReadOptions {
        consistency,
        max_staleness: options.max_staleness_ms.map(Duration::from_millis),
        min_lsn: options.min_lsn.as_ref().map(to_lsn),
        deadline,
    })
}

/// A client's name for its write, and whether it may have been sent before.
pub(crate) fn to_request_id(request: v1::RequestId) -> Result<(RequestId, bool), KvError> {
    let client: [u8; 16] = (&request.client[..])
        .try_into()
        .map_err(|_| KvError::Invalid("request.client must be 16 random bytes".into()))?;
    let id = RequestId { client: u128::from_be_bytes(client), sequence: request.sequence };
    Ok((id, request.retry))
}

pub(crate) fn to_puts(columns: Vec<v1::ColumnValue>) -> Vec<Mutation> {
    columns.into_iter().map(|put| Mutation::Put { column: put.column, value: put.value }).collect()
}

/// No columns named: the whole row.
pub(crate) fn to_deletes(columns: Vec<Bytes>) -> Vec<Mutation> {
    if columns.is_empty() {
        return vec![Mutation::DeleteRow];
    }
    columns.into_iter().map(|column| Mutation::Delete { column }).collect()
}

pub(crate) fn condition(condition: Condition) -> v1::Condition {
    use v1::condition::{ColumnVersion, Kind};
    let kind = match condition {
        Condition::RowAbsent => Kind::RowAbsent(true),
        Condition::RowPresent => Kind::RowPresent(true),
        Condition::RowVersion(version) | Condition::CellsVersion(version) => Kind::RowVersion(lsn(version)),
        Condition::ColumnVersion { column, version } => {
            Kind::ColumnVersion(ColumnVersion { column, version: Some(lsn(version)) })
        }
    };
    v1::Condition { kind: Some(kind) }
}

pub(crate) fn to_condition(condition: v1::Condition) -> Result<Condition, KvError> {
    use v1::condition::Kind;
    match condition.kind {
        Some(Kind::RowAbsent(true)) => Ok(Condition::RowAbsent),
        Some(Kind::RowPresent(true)) => Ok(Condition::RowPresent),
        // "not absent" and "not present" would each have two spellings.
        Some(Kind::RowAbsent(false) | Kind::RowPresent(false)) => {
            Err(KvError::Invalid("row_absent and row_present are true or not given".into()))
        }
        Some(Kind::RowVersion(version)) => Ok(Condition::RowVersion(to_lsn(&version))),
        Some(Kind::ColumnVersion(column)) => Ok(Condition::ColumnVersion {
            version: to_lsn(&column.version.unwrap_or_default()),
            column: column.column,
        }),
        None => Err(KvError::Invalid("a condition of an unknown kind".into())),
    }
}

pub(crate) fn to_conditions(conditions: Vec<v1::Condition>) -> Result<Vec<Condition>, KvError> {
    conditions.into_iter().map(to_condition).collect()
}

pub(crate) fn range(range: RangeInfo) -> v1::Range {
    v1::Range {
        range: range.id.to_string(),
        start: range.start,
        end: range.end,
        members: range.members.iter().map(|node| node.0).collect(),
        leader: range.leader.map_or(0, |node| node.0),
    }
}
