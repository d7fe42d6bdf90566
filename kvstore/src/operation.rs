//! What one replica of one range can be asked, and its answers: what gateways send, the same to a
//! replica in this process and to one behind a stream.

use std::time::Duration;

use bytes::Bytes;
use wal::{Lsn, NodeId};

use crate::request::{Columns, Condition, Mutation, RequestId, Row, Source};

/// Which replica may answer a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// The leader's, which proves that it has the latest.
    Strong,
    /// Any one that is new enough.
    Timeline {
        /// It must have applied this.
        floor: Lsn,
        /// Its data may not be older.
        max_staleness: Option<Duration>,
    },
}

/// A write on its way to the leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RangeWrite {
    /// Row key.
    pub(crate) key: Bytes,
    /// All must hold.
    pub(crate) conditions: Vec<Condition>,
    /// The changes, applied in this order.
    pub(crate) mutations: Vec<Mutation>,
    /// The same at every attempt.
    pub(crate) request: RequestId,
    /// The range's LSN known to the gateway before the first attempt ([dedup-floor]).
    pub(crate) known: Lsn,
    /// An earlier attempt may still be under way.
    pub(crate) retry: bool,
}

/// Key bounds and direction of a scan inside one range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RangeScan {
    /// First key, inclusive.
    pub(crate) start: Bytes,
    /// End key, exclusive.
    pub(crate) end: Option<Bytes>,
    /// From the end to the start.
    pub(crate) reverse: bool,
    /// At most so many rows.
    pub(crate) limit: Option<u64>,
    /// Which columns to read.
    pub(crate) columns: Columns,
}

/// A request to one replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// One row; answered by [`Answer::Row`].
    Get {
        /// Row key.
        key: Bytes,
        /// Which columns to read.
        columns: Columns,
        /// Who may answer.
        mode: Mode,
    },
    /// Rows by key; answered by [`Answer::Rows`] in the order of the keys, one for each.
    MultiGet {
        /// Row keys.
        keys: Vec<Bytes>,
        /// Which columns to read.
        columns: Columns,
        /// Who may answer.
        mode: Mode,
    },
    /// First page of a scan, all at one LSN.
    Scan(RangeScan, Mode),
    /// Next page of a scan at the same LSN.
    Next(u64),
    /// The caller needs no more pages.
    Close(u64),
    /// A write.
    Write(RangeWrite),
    /// Transfer the leadership to this node, or to the follower that is furthest.
    Transfer(Option<NodeId>),
}

/// A replica's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// One row.
    Row {
        /// Without cells, if it does not exist.
        row: Row,
        /// Where from.
        source: Source,
    },
    /// Rows, or a page of a scan.
    Rows {
        /// In the order of the keys that were asked for, or of the scan.
        rows: Vec<Row>,
        /// Where from.
        source: Source,
        /// For the next page; `None`: that was all.
        cursor: Option<u64>,
    },
    /// Committed and applied.
    Written(Lsn),
    /// A condition did not hold.
    ConditionFailed {
        /// The row as found.
        current: Row,
        /// Found at this LSN.
        at: Lsn,
    },
    /// The write is not in the window, and its `known` lies below the window's floor: it was not executed now, and
    /// whether it ever was is forgotten ([dedup-floor]).
    Forgotten {
        /// The range's LSN now.
        applied: Lsn,
    },
    /// Done; there is nothing to say about it.
    Done,
}
