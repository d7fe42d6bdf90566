//! A session with guarantees never goes back in time and sees its own writes, whichever replicas answer.

use std::collections::HashMap;

use wal::Lsn;

use crate::sim::history::{Checker, Event, OpId, Range, Response};

/// Keeps the highest LSN that each session has seen of each range.
#[derive(Default)]
pub(crate) struct Sessions {
    running: HashMap<OpId, (u32, Range)>,
    seen: HashMap<(u32, Range), Lsn>,
}

impl Checker for Sessions {
    fn name(&self) -> &'static str {
        "sessions"
    }

    fn see(&mut self, _: u64, event: &Event) -> Result<(), String> {
        match event {
            Event::Invoked { op, client, session: true, range, .. } => {
                self.running.insert(*op, (*client, *range));
            }
            Event::Returned { op, outcome } => {
                let Some(session) = self.running.remove(op) else { return Ok(()) };
                let seen = self.seen.entry(session).or_default();
                match outcome {
                    Response::Rows { lsn, node, .. } => {
                        if lsn < seen {
                            let (client, range) = session;
                            return Err(format!(
                                "client {client} has seen {seen} of range {range}, and reads {lsn} from n{node} (op {op})"
                            ));
                        }
                        *seen = *lsn;
                    }
                    Response::Written(lsn) | Response::Refused { at: lsn, .. } => *seen = (*seen).max(*lsn),
                    Response::Failed | Response::Unknown => {}
                }
            }
            _ => {}
        }
        Ok(())
    }
}
