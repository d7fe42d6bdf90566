//! What one replica of one range can be asked, and its answers: what gateways send, the same to a
//! replica in this process and to one behind a stream.

use std::time::Duration;

use bytes::Bytes;
use wal::{Lsn, NodeId};

use crate::request::{Columns, Condition, Mutation, RequestId, Row, Source, WriteOutcome, key_after};

/// Which replica may answer a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
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

impl Mode {
    /// Of a read as of an LSN that some replica of the range has read before. What was committed once stays so: no leader
    /// is needed, only a replica that has got so far.
    pub fn as_of(at: Lsn) -> Mode {
        Mode::Timeline { floor: at, max_staleness: None }
    }
}

/// A write on its way to the leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeWrite {
    /// Row key.
    pub key: Bytes,
    /// All must hold.
    pub conditions: Vec<Condition>,
    /// The changes, applied in this order.
    pub mutations: Vec<Mutation>,
    /// The same at every attempt.
    pub request: RequestId,
    /// The range's LSN known to the gateway before the first attempt ([dedup-floor]).
    pub known: Lsn,
    /// An earlier attempt may still be under way.
    pub retry: bool,
}

/// Key bounds and direction of a scan inside one range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeScan {
    /// First key, inclusive.
    pub start: Bytes,
    /// End key, exclusive.
    pub end: Option<Bytes>,
    /// From the end to the start.
    pub reverse: bool,
    /// At most so many rows.
    pub limit: Option<u64>,
    /// Which columns to read.
    pub columns: Columns,
}

impl RangeScan {
    /// Takes out of what is left everything up to a key, and so many rows.
    pub fn pass(&mut self, rows: u64, key: &Bytes) {
        self.limit = self.limit.map(|limit| limit.saturating_sub(rows));
        match self.reverse {
            true => self.end = Some(key.clone()),
            false => self.start = key_after(key),
        }
    }

    /// Whether a key lies within the bounds.
    pub fn holds(&self, key: &[u8]) -> bool {
        *key >= self.start[..] && self.end.as_ref().is_none_or(|end| *key < end[..])
    }
}

/// Where a scan goes on at its replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The open scan at the replica, for which that keeps what the scan reads. Random, so that no other scan of any
    /// process is ever taken for it ([scan-bound]).
    pub id: u64,
    /// The page looked at everything up to and with this key; `None` from a node of the last release, which goes by
    /// the number alone.
    pub passed: Option<Bytes>,
}

/// A request to one replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
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
        /// As of this LSN, whoever answers ([one-lsn]); `None`: as of now.
        at: Option<Lsn>,
        /// The answer may hold the rows of the first keys only, if all would be too large for one.
        partial: bool,
    },
    /// First page of a scan, which fixes its LSN; answered by [`Answer::Rows`].
    Scan {
        /// What to read.
        scan: RangeScan,
        /// Who may answer.
        mode: Mode,
        /// The page ends after about so many bytes.
        page_bytes: usize,
    },
    /// What is left of a scan, as of the LSN of its first page; any replica may answer that still has it ([one-lsn]).
    Rest {
        /// What is left.
        scan: RangeScan,
        /// The LSN.
        at: Lsn,
        /// The open scan ([`Cursor::id`]) if it is the replica that answered last, else 0.
        cursor: u64,
        /// The page ends after about so many bytes.
        page_bytes: usize,
    },
    /// Next page of an open scan, asked by and of nodes of the last release.
    Next(u64),
    /// The caller needs no more pages of this open scan.
    Close(u64),
    /// A write.
    Write(RangeWrite),
    /// Transfer the leadership to this node, or to the follower that is furthest.
    Transfer(Option<NodeId>),
}

/// A replica's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
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
        cursor: Option<Cursor>,
    },
    /// The write is decided: committed and applied here, or refused because a condition did not hold.
    Write(WriteOutcome),
    /// The write is not in the window, and its `known` lies below the window's floor: it was not executed now, and
    /// whether it ever was is forgotten ([dedup-floor]).
    Forgotten {
        /// The range's LSN now.
        applied: Lsn,
    },
    /// Done; there is nothing to say about it.
    Done,
}
