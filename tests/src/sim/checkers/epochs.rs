//! One leader per epoch; an LSN names one record forever; promises never go down.

use std::collections::HashMap;

use wal::{ChainHash, Epoch, Lsn, Promise};

use crate::sim::history::{Checker, Event, Node, Range};

/// Keeps who opened each epoch, which record each LSN names, and the promises of each replica.
#[derive(Default)]
pub(crate) struct Epochs {
    openers: HashMap<(Range, Epoch), Node>,
    records: HashMap<(Range, Lsn), ChainHash>,
    promises: HashMap<(Node, Range), Promise>,
}

impl Checker for Epochs {
    fn name(&self) -> &'static str {
        "epochs"
    }

    fn see(&mut self, _: u64, event: &Event) -> Result<(), String> {
        match event {
            Event::Opened { node, range, epoch } => {
                let opener = *self.openers.entry((*range, *epoch)).or_insert(*node);
                if opener != *node {
                    return Err(format!("epoch {epoch} of range {range} is led by n{opener} and by n{node}"));
                }
            }
            Event::Appended { node, range, lsn, chain }
                if *self.records.entry((*range, *lsn)).or_insert(*chain) != *chain =>
            {
                return Err(format!("{lsn} of range {range} is another record on n{node} than before"));
            }
            Event::Promised { node, range, promise } => {
                let known = self.promises.entry((*node, *range)).or_default();
                if *promise < *known {
                    return Err(format!(
                        "n{node} announced promise {known:?} for range {range}, and now {promise:?}"
                    ));
                }
                *known = *promise;
            }
            Event::Recovered { node, range, must_rejoin: true, .. } => {
                // What it has forgotten, it may not know; that it does no harm is for the others to show.
                self.promises.remove(&(*node, *range));
            }
            Event::Recovered { node, range, promise, .. } => {
                let known = self.promises.get(&(*node, *range)).copied().unwrap_or_default();
                if *promise < known {
                    return Err(format!(
                        "n{node} announced promise {known:?} for range {range}, came back with {promise:?}"
                    ));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
