//! A row's version only grows, and a condition on it holds only while nobody touches the row: by what clients were answered
//! alone, whatever the log and the code say a version is.
//!
//! 1. A row that is read shows a version that is not below any acknowledged write of it up to the read's LSN. Of a row that
//!    exists the version never falls from read to read, and never stands for two contents.
//! 2. Between the version that a conditional write was given and the write itself no other write of the row stands.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use kvstore::request::{Condition, Row};
use wal::Lsn;

use crate::sim::history::{Call, Checker, Event, OpId, Range, Response};

/// Keeps the acknowledged writes and the reads of each row.
#[derive(Default)]
pub(crate) struct Versions {
    running: HashMap<OpId, (Range, Call)>,
    rows: BTreeMap<(Range, String), History>,
}

/// What clients know of one row.
#[derive(Default)]
struct History {
    /// Acknowledged writes by LSN, with the version that the row had to have.
    writes: BTreeMap<Lsn, (OpId, Option<Lsn>)>,
    reads: Vec<Read>,
}

/// A row as it was read.
struct Read {
    op: OpId,
    lsn: Lsn,
    version: Lsn,
    /// Without any, the row did not exist.
    cells: Vec<(Bytes, Bytes)>,
}

impl Checker for Versions {
    fn name(&self) -> &'static str {
        "versions"
    }

    fn see(&mut self, _: u64, event: &Event) -> Result<(), String> {
        match event {
            Event::Invoked { op, range, call, .. } => {
                self.running.insert(*op, (*range, call.clone()));
            }
            Event::Returned { op, outcome } => {
                let Some((range, call)) = self.running.remove(op) else { return Ok(()) };
                self.returned(*op, range, &call, outcome);
            }
            _ => {}
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), String> {
        self.rows.iter().try_for_each(|((range, key), history)| {
            history.check().map_err(|what| format!("row {key} of range {range}: {what}"))
        })
    }
}

impl Versions {
    fn returned(&mut self, op: OpId, range: Range, call: &Call, outcome: &Response) {
        match (call, outcome) {
            (Call::Write { key, conditions, .. }, Response::Written(lsn)) => {
                let given = conditions.iter().find_map(|condition| match condition {
                    Condition::RowVersion(version) if *version != Lsn::ZERO => Some(*version),
                    _ => None,
                });
                self.row(range, key).writes.insert(*lsn, (op, given));
            }
            (Call::Write { key, .. }, Response::Refused { at, current: Some(row) }) => {
                self.row(range, key).reads.push(Read::of(op, *at, row));
            }
            (Call::Get { .. } | Call::Scan { .. }, Response::Rows { rows, lsn, .. }) => {
                for row in rows {
                    let key = String::from_utf8_lossy(&row.key).into_owned();
                    self.row(range, &key).reads.push(Read::of(op, *lsn, row));
                }
            }
            _ => {}
        }
    }

    fn row(&mut self, range: Range, key: &str) -> &mut History {
        self.rows.entry((range, key.to_owned())).or_default()
    }
}

impl Read {
    fn of(op: OpId, lsn: Lsn, row: &Row) -> Read {
        let cells = row.cells.iter().map(|cell| (cell.column.clone(), cell.value.clone())).collect();
        Read { op, lsn, version: row.version, cells }
    }
}

impl History {
    fn check(&self) -> Result<(), String> {
        for (lsn, (op, given)) in &self.writes {
            let Some(given) = given else { continue };
            let between = self.writes.range(*given..*lsn).find(|(between, _)| *between > given);
            if let Some((between, (other, _))) = between {
                return Err(format!(
                    "op {op} was done at {lsn} on version {given}, but op {other} stands at {between}"
                ));
            }
        }
        let mut seen: BTreeMap<Lsn, &Read> = BTreeMap::new();
        let mut reads: Vec<&Read> = self.reads.iter().collect();
        reads.sort_by_key(|read| read.lsn);
        let mut highest = Lsn::ZERO;
        for read in reads {
            let Read { op, lsn, version, .. } = read;
            if let Some((write, (other, _))) = self.writes.range(..=*lsn).next_back()
                && write > version
            {
                return Err(format!(
                    "op {op} read version {version} at {lsn}, but op {other} stands at {write}"
                ));
            }
            if read.cells.is_empty() {
                continue;
            }
            if *version < highest {
                return Err(format!("op {op} read version {version} at {lsn}, which had been {highest}"));
            }
            highest = *version;
            let other = *seen.entry(*version).or_insert(read);
            if other.cells != read.cells {
                return Err(format!("version {version} was {:?} and {:?}", other.cells, read.cells));
            }
        }
        Ok(())
    }
}
