//! Scans, by what their clients are handed and their gateways are told alone: all rows are of one LSN, each is in its place,
//! no page is older than was allowed, and a gateway that lives leaves no scan open at a node.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use wal::Lsn;

use crate::sim::history::{Call, Checker, Consistency, Event, Node, OpId};

/// Keeps what each scan has been handed, and what its gateway knows to be open.
#[derive(Default)]
pub(crate) struct Scans {
    running: BTreeMap<OpId, Scan>,
}

struct Scan {
    call: Call,
    at: Option<Lsn>,
    last: Option<Bytes>,
    rows: u64,
    open: BTreeSet<(Node, u64)>,
}

impl Checker for Scans {
    fn name(&self) -> &'static str {
        "scans"
    }

    fn see(&mut self, _: u64, event: &Event) -> Result<(), String> {
        match event {
            Event::Invoked { op, call: call @ Call::Scan { .. }, .. } => {
                let call = call.clone();
                let scan = Scan { call, at: None, last: None, rows: 0, open: BTreeSet::new() };
                self.running.insert(*op, scan);
            }
            Event::Page { op, rows, lsn, staleness_ms, .. } => {
                let Some(scan) = self.running.get_mut(op) else { return Ok(()) };
                // Before its first row it may start over.
                let at = scan.at.unwrap_or(*lsn);
                if !rows.is_empty() {
                    scan.at = Some(at);
                }
                if at != *lsn {
                    return Err(format!("op {op} scans as of {at}, and is handed rows as of {lsn}"));
                }
                scan.check_age(*staleness_ms).map_err(|what| format!("op {op} {what}"))?;
                for row in rows {
                    scan.check_place(&row.key).map_err(|what| format!("op {op} {what}"))?;
                }
            }
            Event::Cursor { op, node, id, open } => {
                let Some(scan) = self.running.get_mut(op) else { return Ok(()) };
                match open {
                    true => scan.open.insert((*node, *id)),
                    false => scan.open.remove(&(*node, *id)),
                };
            }
            // Who has died closes nothing: it ends by itself.
            Event::Adrift { op } => {
                if let Some(scan) = self.running.get_mut(op) {
                    scan.open.clear();
                }
            }
            Event::Returned { op, .. } => {
                let left = self.running.remove(op).map(|scan| scan.open).unwrap_or_default();
                if !left.is_empty() {
                    return Err(format!("op {op} has ended, and its gateway has left open {left:x?}"));
                }
            }
            _ => {}
        }
        Ok(())
    }
}

impl Scan {
    /// A page of a timeline scan that says nothing of its age, or more than was allowed.
    fn check_age(&self, staleness_ms: Option<u64>) -> Result<(), String> {
        let Call::Scan { consistency: Consistency::Timeline, max_staleness_ms: Some(max), .. } = &self.call
        else {
            return Ok(());
        };
        match staleness_ms.is_none_or(|stale| stale > *max) {
            true => Err(format!("allows {max} ms, and is handed rows {staleness_ms:?} ms old")),
            false => Ok(()),
        }
    }

    /// A row comes next.
    fn check_place(&mut self, key: &Bytes) -> Result<(), String> {
        let Call::Scan { start, end, reverse, limit, .. } = &self.call else { return Ok(()) };
        let inside = key[..] >= *start.as_bytes() && end.as_ref().is_none_or(|end| key[..] < *end.as_bytes());
        let behind = self.last.as_ref().is_none_or(|last| if *reverse { key < last } else { key > last });
        self.rows += 1;
        let few = limit.is_none_or(|limit| self.rows <= limit);
        if !inside || !behind || !few {
            let (last, rows) = (&self.last, self.rows);
            return Err(format!("is handed {key:?} as row {rows} behind {last:?}, which is not its place"));
        }
        self.last = Some(key.clone());
        Ok(())
    }
}
