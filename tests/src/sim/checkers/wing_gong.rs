//! An independent oracle for registers: values and times alone, no LSN is believed (Wing and Gong's search, with Lowe's
//! memory of states seen). Run on one register of each history.

use std::collections::{BTreeMap, HashSet};

use crate::sim::history::{Call, Checker, Consistency, Event, OpId, Range, Response};

/// Operations looked at: the search is exponential in those that overlap.
const OPERATIONS_MAX: usize = 60;

/// States looked at: a history that needs more is left to the other checkers.
const STATES_MAX: usize = 20_000;

/// Searches for an order of all operations of one register that explains what they returned.
pub(crate) struct WingGong {
    clock: usize,
    operations: BTreeMap<OpId, Operation>,
    /// When the first operation began that is not looked at: what ended later may have seen it.
    full_at: Option<usize>,
    /// The register that is looked at.
    range: Range,
    key: String,
}

impl WingGong {
    /// For a register.
    pub(crate) fn of(range: Range, key: String) -> WingGong {
        WingGong { clock: 0, operations: BTreeMap::new(), full_at: None, range, key }
    }
}

impl Default for WingGong {
    /// For a register of the simulator's workload.
    fn default() -> WingGong {
        WingGong::of(0, "reg0".into())
    }
}

#[derive(Clone, Debug)]
struct Operation {
    /// A write's value.
    writes: Option<Vec<u8>>,
    /// A read's.
    reads: Option<Option<Vec<u8>>>,
    began: usize,
    /// `usize::MAX`: its end is not known, it may happen at any later time or never.
    ended: usize,
}

impl Checker for WingGong {
    fn name(&self) -> &'static str {
        "wing-gong"
    }

    fn see(&mut self, _: u64, event: &Event) -> Result<(), String> {
        match event {
            Event::Invoked { op, range, call, .. } if *range == self.range => {
                self.clock += 1;
                if self.operations.len() == OPERATIONS_MAX {
                    self.full_at.get_or_insert(self.clock);
                    return Ok(());
                }
                let began = self.clock;
                let mut operation = Operation { writes: None, reads: None, began, ended: usize::MAX };
                match call {
                    Call::Write { key, mutations, .. } if *key == self.key => {
                        operation.writes = mutations.iter().find_map(|mutation| match mutation {
                            kvstore::request::Mutation::Put { value, .. } => Some(value.to_vec()),
                            _ => None,
                        });
                    }
                    Call::Get { keys, consistency: Consistency::Strong } if keys.contains(&self.key) => {}
                    _ => return Ok(()),
                }
                self.operations.insert(*op, operation);
            }
            Event::Returned { op, outcome } => {
                self.clock += 1;
                let Some(operation) = self.operations.get_mut(op) else { return Ok(()) };
                match outcome {
                    Response::Written(_) => operation.ended = self.clock,
                    Response::Rows { rows, .. } => {
                        let row = rows.iter().find(|row| row.key == self.key);
                        let value = row.and_then(|row| row.cells.iter().find(|cell| cell.column == "v"));
                        operation.reads = Some(value.map(|cell| cell.value.to_vec()));
                        operation.ended = self.clock;
                    }
                    Response::Unknown => {}
                    Response::Failed | Response::Refused { .. } => {
                        self.operations.remove(op);
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), String> {
        if let Some(full_at) = self.full_at {
            for operation in self.operations.values_mut().filter(|one| one.ended > full_at) {
                (operation.ended, operation.reads) = (usize::MAX, None);
            }
        }
        // A read that has not ended says nothing, nor does a write without an end that nobody has read.
        let read: HashSet<&Vec<u8>> =
            self.operations.values().filter_map(|one| one.reads.as_ref()?.as_ref()).collect();
        let says = |one: &&Operation| match &one.writes {
            Some(value) => one.ended != usize::MAX || read.contains(value),
            None => one.reads.is_some(),
        };
        let all: Vec<&Operation> = self.operations.values().filter(says).collect();
        let mut seen = HashSet::new();
        match search(&all, 0, None, &mut seen) {
            true => Ok(()),
            false if seen.len() >= STATES_MAX => Ok(()),
            false => Err(format!(
                "no order of these operations on {key} explains what was read: {all:?}",
                key = self.key
            )),
        }
    }
}

/// Whether the operations that are not in `done` can be ordered, with the register holding `state` (a write's number).
fn search(
    all: &[&Operation],
    done: u64,
    state: Option<usize>,
    seen: &mut HashSet<(u64, Option<usize>)>,
) -> bool {
    let open = |index: &usize| done & (1 << index) == 0;
    let left: Vec<usize> = (0..all.len()).filter(open).collect();
    // Whoever has no end need not happen.
    if left.iter().all(|&index| all[index].ended == usize::MAX) {
        return true;
    }
    if seen.len() >= STATES_MAX || !seen.insert((done, state)) {
        return false;
    }
    let first_end = left.iter().map(|&index| all[index].ended).min().unwrap_or(usize::MAX);
    left.iter().filter(|&&index| all[index].began < first_end).any(|&index| {
        let next = match &all[index].reads {
            None => Some(index),
            Some(value) => {
                let held = state.and_then(|state| all[state].writes.as_ref());
                if value.as_ref() != held {
                    return false;
                }
                state
            }
        };
        search(all, done | (1 << index), next, seen)
    })
}
