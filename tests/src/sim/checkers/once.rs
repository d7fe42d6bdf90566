//! A write is applied once at most, whatever is repeated; an answer names the place where it stands.

use std::collections::HashMap;

use kvstore::request::RequestId;
use wal::Lsn;

use crate::sim::history::{Call, Checker, Event, OpId, Range, Response};

/// Keeps which request was applied at which LSN.
#[derive(Default)]
pub(crate) struct Once {
    applied: HashMap<(Range, RequestId), Lsn>,
    asked: HashMap<OpId, (Range, RequestId)>,
}

impl Checker for Once {
    fn name(&self) -> &'static str {
        "once"
    }

    fn see(&mut self, _: u64, event: &Event) -> Result<(), String> {
        match event {
            Event::Applied { node, range, entry, request: Some((request, _)) } => {
                let first = *self.applied.entry((*range, *request)).or_insert(entry.lsn);
                if first != entry.lsn {
                    let lsn = entry.lsn;
                    return Err(format!(
                        "{request:?} of range {range} stands at {first} and at {lsn} (n{node})"
                    ));
                }
            }
            Event::Invoked { op, range, call: Call::Write { request, .. }, .. } => {
                self.asked.insert(*op, (*range, *request));
            }
            Event::Returned { op, outcome: Response::Written(lsn) } => {
                if let Some(asked) = self.asked.get(op)
                    && let Some(applied) = self.applied.get(asked)
                    && applied != lsn
                {
                    return Err(format!(
                        "op {op} was answered {lsn}, but {:?} was applied as {applied}",
                        asked.1
                    ));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
