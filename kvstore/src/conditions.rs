//! Conditions of writes, decided once by the leader against what is applied and what is pending ([conditions-see-pending]).
//!
//! A write that was proposed and not yet applied is *pending*: a later write must see it, or two conditional puts
//! could both win. [`Pending`] keeps those writes by row key; a row as the leader sees it is the applied row with
//! the pending mutations on top, each with its own LSN as version, exactly as if they had been applied.

use std::collections::{BTreeMap, HashMap, VecDeque};

use bytes::Bytes;
use replication::store::LoggedWrite;
use wal::Lsn;

use crate::request::{Cell, Condition, Mutation, RequestId, Row, growth};

/// How many bytes the row has after these changes ([`Row::content_bytes`]).
pub(crate) fn size_after(mut row: Row, mutations: &[Mutation]) -> usize {
    mutate(&mut row, Lsn::ZERO, mutations);
    row.content_bytes()
}

/// What is kept of a proposed write until it is applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingWrite {
    /// Whose write.
    pub(crate) request: RequestId,
    /// Row key.
    pub(crate) key: Bytes,
    /// In order; none if what is logged is a refusal.
    pub(crate) mutations: Vec<Mutation>,
}

/// Writes proposed and not yet applied, in LSN order.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    rows: HashMap<Bytes, VecDeque<(Lsn, Vec<Mutation>)>>,
    requests: HashMap<RequestId, LoggedWrite>,
    order: VecDeque<(Lsn, Bytes, RequestId)>,
}

impl Pending {
    /// The write is in the log with this outcome.
    pub(crate) fn push(&mut self, outcome: LoggedWrite, write: PendingWrite) {
        let PendingWrite { request, key, mutations } = write;
        let lsn = outcome.lsn;
        self.requests.insert(request, outcome);
        self.order.push_back((lsn, key.clone(), request));
        self.rows.entry(key).or_default().push_back((lsn, mutations));
    }

    /// Everything up to `lsn` has been applied.
    pub(crate) fn applied(&mut self, lsn: Lsn) {
        while self.order.front().is_some_and(|(pending, ..)| *pending <= lsn) {
            let Some((_, key, request)) = self.order.pop_front() else { return };
            self.requests.remove(&request);
            if let Some(writes) = self.rows.get_mut(&key) {
                writes.pop_front();
                if writes.is_empty() {
                    self.rows.remove(&key);
                }
            }
        }
    }

    /// Nothing is pending any more: the leadership ended.
    pub(crate) fn clear(&mut self) {
        *self = Pending::default();
    }

    /// How a pending write with this request id will end when it commits.
    pub(crate) fn find(&self, request: &RequestId) -> Option<LoggedWrite> {
        self.requests.get(request).copied()
    }

    /// By how many bytes the pending writes let the row grow at most.
    pub(crate) fn growth(&self, key: &Bytes) -> usize {
        self.rows.get(key).into_iter().flatten().map(|(_, mutations)| growth(mutations)).sum()
    }

    /// Puts the pending writes of the row on top of it; returns the LSN of the last one.
    pub(crate) fn overlay(&self, row: &mut Row) -> Option<Lsn> {
        let writes = self.rows.get(&row.key)?;
        for (lsn, mutations) in writes {
            mutate(row, *lsn, mutations);
        }
        writes.back().map(|(lsn, _)| *lsn)
    }
}

/// Changes a row as the write `lsn` does. A refusal, which has no mutations, changes nothing.
pub(crate) fn mutate(row: &mut Row, lsn: Lsn, mutations: &[Mutation]) {
    if !mutations.is_empty() {
        row.version = lsn;
    }
    let mut cells: BTreeMap<Bytes, Cell> =
        row.cells.drain(..).map(|cell| (cell.column.clone(), cell)).collect();
    for mutation in mutations {
        match mutation {
            Mutation::Put { column, value } => {
                let cell = Cell { column: column.clone(), value: value.clone(), version: lsn };
                cells.insert(column.clone(), cell);
            }
            Mutation::Delete { column } => {
                cells.remove(column);
            }
            Mutation::DeleteRow => cells.clear(),
        }
    }
    row.cells = cells.into_values().collect();
}

/// Whether all conditions hold for the row, read with all its columns. If it does not exist its `version` is an LSN
/// above which no write has touched it: a condition that is as new or newer holds ([row-version-grows]).
pub(crate) fn hold(conditions: &[Condition], row: &Row) -> bool {
    let absent = row.cells.is_empty();
    conditions.iter().all(|condition| match condition {
        Condition::RowAbsent => absent,
        Condition::RowPresent => !absent,
        Condition::RowVersion(version) if absent => *version == Lsn::ZERO || *version >= row.version,
        Condition::RowVersion(version) => *version == row.version,
        Condition::CellsVersion(version) => {
            row.cells.iter().map(|cell| cell.version).max().unwrap_or(Lsn::ZERO) == *version
        }
        Condition::ColumnVersion { column, version } => {
            let cell = row.cells.iter().find(|cell| cell.column == column);
            cell.map_or(Lsn::ZERO, |cell| cell.version) == *version
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(column: &'static str, value: &'static str) -> Mutation {
        Mutation::Put { column: column.into(), value: value.into() }
    }

    /// A row that was last touched by 1.7.
    fn row(cells: &[(&'static str, u64)]) -> Row {
        let cells = cells
            .iter()
            .map(|(column, seq)| Cell {
                column: (*column).into(),
                value: "v".into(),
                version: Lsn::new(1, *seq),
            })
            .collect();
        Row { key: "k".into(), cells, version: Lsn::new(1, 7) }
    }

    #[test]
    fn each_condition_against_each_kind_of_row() {
        let (none, one) = (row(&[]), row(&[("a", 3), ("b", 5)]));
        let column =
            |column: &'static str, version| Condition::ColumnVersion { column: column.into(), version };
        let cases = [
            (Condition::RowAbsent, true, false),
            (Condition::RowPresent, false, true),
            (Condition::RowVersion(Lsn::ZERO), true, false),
            // Older than the last write that touched it, whatever that did.
            (Condition::RowVersion(Lsn::new(1, 5)), false, false),
            (Condition::RowVersion(Lsn::new(1, 7)), true, true),
            // It was absent at 1.9, and still is.
            (Condition::RowVersion(Lsn::new(1, 9)), true, false),
            (Condition::CellsVersion(Lsn::ZERO), true, false),
            (Condition::CellsVersion(Lsn::new(1, 5)), false, true),
            (Condition::CellsVersion(Lsn::new(1, 7)), false, false),
            (column("a", Lsn::new(1, 3)), false, true),
            (column("a", Lsn::new(1, 5)), false, false),
            (column("c", Lsn::ZERO), true, true),
        ];
        for (condition, absent, present) in cases {
            assert_eq!(hold(std::slice::from_ref(&condition), &none), absent, "{condition:?}");
            assert_eq!(hold(std::slice::from_ref(&condition), &one), present, "{condition:?}");
        }
    }

    #[test]
    fn a_row_shows_what_is_pending_until_it_is_applied() {
        let mut pending = Pending::default();
        let id = |sequence| RequestId { client: 1, sequence };
        let done = |seq| LoggedWrite { lsn: Lsn::new(1, seq), refused: false };
        pending.push(
            done(6),
            PendingWrite {
                request: id(1),
                key: "k".into(),
                mutations: vec![Mutation::DeleteRow, put("c", "x")],
            },
        );
        pending.push(
            done(7),
            PendingWrite { request: id(2), key: "other".into(), mutations: vec![put("a", "y")] },
        );
        pending.push(
            done(8),
            PendingWrite {
                request: id(3),
                key: "k".into(),
                mutations: vec![Mutation::Delete { column: "c".into() }],
            },
        );
        assert_eq!(pending.find(&id(1)), Some(done(6)));

        let mut seen = row(&[("a", 3)]);
        assert_eq!(pending.overlay(&mut seen), Some(Lsn::new(1, 8)));
        assert!(seen.cells.is_empty(), "deleted by 1.6, and its put by 1.8");
        assert_eq!(seen.version, Lsn::new(1, 8));

        pending.applied(Lsn::new(1, 7));
        assert_eq!(pending.find(&id(1)), None);
        let mut seen = row(&[("c", 6)]);
        assert_eq!(pending.overlay(&mut seen), Some(Lsn::new(1, 8)));
        pending.applied(Lsn::new(1, 8));
        assert_eq!(pending.overlay(&mut row(&[])), None);
    }
}
