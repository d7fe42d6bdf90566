//! Per range, the log is the order: every answer must be what the log says at its LSN, and LSNs must respect real time.
//!
//! 1. The log replayed, with the mutations that clients asked for, gives every state there ever was; each read shows the
//!    state at its LSN, cell by cell; each condition held, or not, where its write stands.
//! 2. An operation that began after another had ended stands behind it: strictly, if it writes.
//! 3. An acknowledged write stands in the log where its answer said; one that was refused, or certainly not done, does not.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use kvstore::request::{Condition, Mutation, RequestId, Row};
use wal::Lsn;

use crate::sim::history::{Call, Checker, Consistency, Event, Node, OpId, Range, Response};

/// Replays the log of each range and holds every answer against it.
#[derive(Default)]
pub(crate) struct Linearizability {
    operations: BTreeMap<OpId, Operation>,
    logs: HashMap<Range, BTreeMap<u64, Logged>>,
    /// The highest sequence number that any ended operation of the range has shown.
    shown: HashMap<Range, u64>,
}

struct Operation {
    range: Range,
    call: Call,
    /// Nothing that stands at or below may be this write; no read may show less.
    floor: u64,
    /// The rows that a scan has handed on so far, as of this LSN, from this node.
    handed: Option<(Vec<Row>, Lsn, Node)>,
    outcome: Option<Response>,
}

#[derive(Clone, Copy)]
struct Logged {
    lsn: Lsn,
    request: Option<(RequestId, bool)>,
}

type Cells = BTreeMap<Bytes, (Bytes, Lsn)>;

/// A row, and the last write that touched it, whatever that did.
#[derive(Clone, Debug, Default)]
struct RowState {
    cells: Cells,
    touched: Lsn,
}

/// A range at a place of its log.
#[derive(Default)]
struct State {
    rows: BTreeMap<String, RowState>,
    /// The last write that deleted anything.
    deleted: Lsn,
}

impl State {
    fn row(&self, key: &str) -> RowState {
        self.rows.get(key).cloned().unwrap_or_default()
    }
}

impl Checker for Linearizability {
    fn name(&self) -> &'static str {
        "linearizability"
    }

    fn see(&mut self, _: u64, event: &Event) -> Result<(), String> {
        match event {
            Event::Applied { range, entry, request, .. } => {
                let logged = Logged { lsn: entry.lsn, request: *request };
                self.logs.entry(*range).or_default().entry(entry.lsn.seq).or_insert(logged);
            }
            Event::Invoked { op, range, call, .. } => {
                let floor = self.shown.get(range).copied().unwrap_or(0);
                let operation =
                    Operation { range: *range, call: call.clone(), floor, handed: None, outcome: None };
                self.operations.insert(*op, operation);
            }
            Event::Page { op, rows, lsn, node, .. } if !rows.is_empty() => {
                if let Some(operation) = self.operations.get_mut(op) {
                    let handed = operation.handed.get_or_insert_with(|| (Vec::new(), *lsn, *node));
                    handed.0.extend(rows.iter().cloned());
                }
            }
            Event::Returned { op, outcome } => return self.returned(*op, outcome),
            _ => {}
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), String> {
        let mut ranges: Vec<Range> = self.logs.keys().copied().collect();
        ranges.sort_unstable();
        ranges.into_iter().try_for_each(|range| self.replay(range))
    }
}

impl Linearizability {
    /// The second promise, as soon as it can be seen.
    fn returned(&mut self, op: OpId, outcome: &Response) -> Result<(), String> {
        let Some(operation) = self.operations.get_mut(&op) else { return Ok(()) };
        operation.outcome = Some(outcome.clone());
        let strong = !matches!(
            operation.call,
            Call::Get { consistency: Consistency::Timeline, .. }
                | Call::Scan { consistency: Consistency::Timeline, .. }
        );
        let (seq, least) = match outcome {
            Response::Written(lsn) => (lsn.seq, operation.floor + 1),
            Response::Refused { at, .. } => (at.seq, operation.floor),
            Response::Rows { lsn, .. } => (lsn.seq, operation.floor),
            Response::Failed | Response::Unknown => return Ok(()),
        };
        if strong && seq < least {
            return Err(format!(
                "op {op} of range {} ended as {outcome:?}, but before it began seq {} had been shown",
                operation.range, operation.floor
            ));
        }
        let shown = self.shown.entry(operation.range).or_default();
        *shown = (*shown).max(seq);
        Ok(())
    }

    /// The first and the third promise.
    fn replay(&self, range: Range) -> Result<(), String> {
        let Some(log) = self.logs.get(&range) else { return Ok(()) };
        let mut writers: HashMap<RequestId, OpId> = HashMap::new();
        let mut readers: BTreeMap<u64, Vec<OpId>> = BTreeMap::new();
        for (op, operation) in self.operations.iter().filter(|(_, operation)| operation.range == range) {
            if let Call::Write { request, .. } = &operation.call {
                writers.insert(*request, *op);
            }
            match &operation.outcome {
                Some(Response::Rows { lsn, .. }) => readers.entry(lsn.seq).or_default().push(*op),
                Some(Response::Refused { at, current: Some(_) }) => {
                    readers.entry(at.seq).or_default().push(*op)
                }
                Some(
                    Response::Refused { .. } | Response::Written(_) | Response::Failed | Response::Unknown,
                )
                | None => {
                    if let Some((_, lsn, _)) = &operation.handed {
                        readers.entry(lsn.seq).or_default().push(*op);
                    }
                }
            }
        }
        let mut state = State::default();
        let mut done: HashMap<OpId, (Lsn, bool)> = HashMap::new();
        let last = log.keys().next_back().copied().unwrap_or(0);
        for seq in 0..=last.max(readers.keys().next_back().copied().unwrap_or(0)) {
            if seq > 0 {
                let Some(logged) = log.get(&seq) else {
                    return Err(format!("seq {seq} of range {range} was read but never applied"));
                };
                if let Some((request, refused)) = logged.request {
                    let Some(&op) = writers.get(&request) else {
                        return Err(format!(
                            "{request:?} at {} of range {range} was never asked for",
                            logged.lsn
                        ));
                    };
                    self.execute(op, logged.lsn, refused, &mut state)?;
                    done.insert(op, (logged.lsn, refused));
                }
            }
            for op in readers.get(&seq).into_iter().flatten() {
                self.compare(*op, &state)?;
            }
        }
        for op in writers.into_values() {
            self.concluded(op, done.get(&op).copied())?;
        }
        Ok(())
    }

    /// The log has a write here.
    fn execute(&self, op: OpId, lsn: Lsn, refused: bool, state: &mut State) -> Result<(), String> {
        let operation = &self.operations[&op];
        let Call::Write { key, conditions, mutations, .. } = &operation.call else {
            return Err(format!("op {op} at {lsn} is no write"));
        };
        if lsn.seq <= operation.floor {
            let floor = operation.floor;
            return Err(format!("op {op} stands at {lsn}, but seq {floor} had been shown before it began"));
        }
        let row = state.row(key);
        let held = conditions.iter().all(|condition| holds(condition, &row));
        if held == refused && !(refused && forgettable(conditions, &row, state.deleted)) {
            let decision = if refused { "refused" } else { "executed" };
            return Err(format!("op {op} is {decision} at {lsn}; {conditions:?} on {row:?}"));
        }
        if !refused {
            mutate(state, key, lsn, mutations);
        }
        Ok(())
    }

    /// What a client saw at this state.
    fn compare(&self, op: OpId, state: &State) -> Result<(), String> {
        let operation = &self.operations[&op];
        match (&operation.call, &operation.outcome) {
            (Call::Get { keys, .. }, Some(Response::Rows { rows, lsn, node, .. })) => {
                for (key, row) in keys.iter().zip(rows) {
                    let expected = state.row(key);
                    if !shows(row, *lsn, &expected) {
                        return Err(format!(
                            "op {op} read {key} from n{node} at {lsn} of range {} as {row:?}, expected {expected:?}",
                            operation.range,
                        ));
                    }
                }
            }
            (Call::Scan { .. }, Some(Response::Rows { rows, lsn, node, .. })) => {
                self.compare_scan(op, (rows, *lsn, *node), true, state)?;
            }
            (Call::Scan { .. }, _) => {
                if let Some((rows, lsn, node)) = &operation.handed {
                    self.compare_scan(op, (rows, *lsn, *node), false, state)?;
                }
            }
            (Call::Write { key, conditions, .. }, Some(Response::Refused { at, current: Some(current) })) => {
                let expected = state.row(key);
                if !shows(current, *at, &expected) {
                    return Err(format!(
                        "op {op} was refused at {at} for {key} = {current:?}, expected {expected:?}"
                    ));
                }
                if conditions.iter().all(|condition| holds(condition, &expected))
                    && !forgettable(conditions, &expected, state.deleted)
                {
                    return Err(format!("op {op} was refused at {at}, but {conditions:?} held"));
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// The rows of a scan, all of them or those that were handed on before it failed.
    fn compare_scan(
        &self,
        op: OpId,
        (rows, lsn, node): (&[Row], Lsn, Node),
        ended: bool,
        state: &State,
    ) -> Result<(), String> {
        let Operation { range, call: Call::Scan { start, end, reverse, limit, .. }, .. } =
            &self.operations[&op]
        else {
            return Ok(());
        };
        let inside = |key: &&String| *key >= start && end.as_ref().is_none_or(|end| *key < end);
        let mut expected: Vec<(&String, &RowState)> =
            state.rows.iter().filter(|(key, row)| inside(key) && !row.cells.is_empty()).collect();
        if *reverse {
            expected.reverse();
        }
        expected.truncate(limit.map_or(usize::MAX, |limit| limit as usize));
        let as_expected = |(row, (key, expected)): (&Row, &(&String, &RowState))| {
            row.key == key.as_bytes() && shows(row, lsn, expected)
        };
        let counted = if ended { rows.len() == expected.len() } else { rows.len() <= expected.len() };
        if !counted || !rows.iter().zip(&expected).all(as_expected) {
            return Err(format!(
                "op {op} scanned range {range} on n{node} at {lsn} as {rows:?}, expected {expected:?}"
            ));
        }
        Ok(())
    }

    /// What became of a write, against what its client was answered.
    fn concluded(&self, op: OpId, done: Option<(Lsn, bool)>) -> Result<(), String> {
        let wrong = |why: &str| Err(format!("op {op} ({:?}) {why}", self.operations[&op].outcome));
        match (&self.operations[&op].outcome, done) {
            (Some(Response::Written(lsn)), Some((stands, false))) if *lsn == stands => Ok(()),
            (Some(Response::Written(_)), _) => wrong("is not in the log as it was answered"),
            (Some(Response::Refused { .. }), Some((_, false))) => wrong("was executed"),
            (Some(Response::Refused { at, current: None }), done)
                if done.map(|(lsn, _)| lsn) != Some(*at) =>
            {
                wrong("is not in the log as it was answered")
            }
            (Some(Response::Failed), Some((_, false))) => wrong("was executed"),
            (
                Some(Response::Refused { .. } | Response::Failed | Response::Unknown | Response::Rows { .. })
                | None,
                _,
            ) => Ok(()),
        }
    }
}

/// Whether a client was shown this very row, at this LSN: its cells, and as its version the last write that touched it,
/// or, of a row that does not exist, an LSN since when it has not been touched.
fn shows(row: &Row, lsn: Lsn, expected: &RowState) -> bool {
    let cells: Cells =
        row.cells.iter().map(|cell| (cell.column.clone(), (cell.value.clone(), cell.version))).collect();
    let version = match cells.is_empty() {
        true => expected.touched <= row.version && row.version <= lsn,
        false => row.version == expected.touched,
    };
    cells == expected.cells && version
}

fn holds(condition: &Condition, row: &RowState) -> bool {
    let absent = row.cells.is_empty();
    match condition {
        Condition::RowAbsent => absent,
        Condition::RowPresent => !absent,
        Condition::RowVersion(version) if *version == Lsn::ZERO => absent,
        // Nothing has touched it since then.
        Condition::RowVersion(version) if absent => row.touched <= *version,
        Condition::RowVersion(version) => row.touched == *version,
        Condition::CellsVersion(version) => {
            row.cells.values().map(|(_, version)| *version).max().unwrap_or(Lsn::ZERO) == *version
        }
        Condition::ColumnVersion { column, version } => {
            row.cells.get(column).map_or(Lsn::ZERO, |(_, version)| *version) == *version
        }
    }
}

/// Whether conditions that hold may be refused: the row does not exist, and a deletion that was forgotten since the
/// client looked may have been its own.
fn forgettable(conditions: &[Condition], row: &RowState, deleted: Lsn) -> bool {
    let old = |condition: &Condition| match condition {
        Condition::RowVersion(version) => *version != Lsn::ZERO && *version < deleted,
        _ => false,
    };
    row.cells.is_empty() && conditions.iter().any(old)
}

fn mutate(state: &mut State, key: &str, lsn: Lsn, mutations: &[Mutation]) {
    let row = state.rows.entry(key.to_owned()).or_default();
    row.touched = lsn;
    for mutation in mutations {
        match mutation {
            Mutation::Put { column, value } => {
                row.cells.insert(column.clone(), (value.clone(), lsn));
            }
            Mutation::Delete { column } => {
                row.cells.remove(column);
                state.deleted = lsn;
            }
            Mutation::DeleteRow => {
                row.cells.clear();
                state.deleted = lsn;
            }
        }
    }
}
