//! What the clients of a trial saw, in the order in which it happened, and whether the promises were kept: by the very
//! checkers of the simulator ([`crate::sim::checkers`]), as far as they need no more than what clients see.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Instant;

use wal::sync::lock;

use crate::sim::checkers::{Sessions, WingGong};
use crate::sim::history::{Call, Checker, Event, OpId, Range, Response, Violation};

/// The history of one trial.
pub struct Record {
    began: Instant,
    events: Mutex<Events>,
}

#[derive(Default)]
struct Events {
    next: OpId,
    all: Vec<(u64, Event)>,
}

impl Default for Record {
    fn default() -> Record {
        Record { began: Instant::now(), events: Mutex::default() }
    }
}

impl Record {
    /// A client begins an operation.
    pub fn invoke(&self, client: u32, session: bool, range: Range, call: Call) -> OpId {
        let mut events = lock(&self.events);
        events.next += 1;
        let op = events.next;
        events.all.push((self.now(), Event::Invoked { op, client, session, range, call }));
        op
    }

    /// It has ended.
    pub fn returned(&self, op: OpId, outcome: Response) {
        lock(&self.events).all.push((self.now(), Event::Returned { op, outcome }));
    }

    /// Microseconds since the trial began.
    pub fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Operations begun.
    pub fn operations(&self) -> u32 {
        lock(&self.events).next
    }

    /// Runs the checkers.
    pub fn check(&self) -> Vec<Violation> {
        let events = lock(&self.events);
        let mut checkers: BTreeMap<(Range, String), Box<dyn Checker>> = BTreeMap::new();
        let mut sessions = Sessions::default();
        let mut violations = Vec::new();
        let mut registers: BTreeMap<OpId, (Range, String)> = BTreeMap::new();
        for (at, event) in &events.all {
            note(&mut violations, sessions.name(), sessions.see(*at, event));
            let register = match event {
                Event::Invoked { op, session: false, range, call, .. } => {
                    let register = (*range, key_of(call));
                    registers.insert(*op, register.clone());
                    register
                }
                Event::Returned { op, .. } => match registers.get(op) {
                    Some(register) => register.clone(),
                    None => continue,
                },
                _ => continue,
            };
            let (range, key) = register.clone();
            let checker = checkers.entry(register).or_insert_with(|| Box::new(WingGong::of(range, key)));
            note(&mut violations, checker.name(), checker.see(*at, event));
        }
        for checker in checkers.values_mut() {
            note(&mut violations, checker.name(), checker.end());
        }
        violations
    }
}

fn key_of(call: &Call) -> String {
    match call {
        Call::Write { key, .. } => key.clone(),
        Call::Get { keys, .. } => keys.concat(),
        Call::Scan { start, .. } => start.clone(),
    }
}

fn note(violations: &mut Vec<Violation>, checker: &'static str, seen: Result<(), String>) {
    violations.extend(seen.err().map(|what| Violation { checker, what }));
}

#[cfg(test)]
mod tests {
    use kvstore::request::{Cell, Mutation, RequestId, Row};
    use wal::Lsn;

    use super::*;
    use crate::sim::history::Consistency;

    fn write(value: &str) -> Call {
        let mutations = vec![Mutation::Put { column: "v".into(), value: value.to_owned().into() }];
        let request = RequestId { client: 1, sequence: 1 };
        Call::Write { key: "k".into(), conditions: Vec::new(), mutations, request }
    }

    fn read(record: &Record, value: &str) {
        let call = Call::Get { keys: vec!["k".into()], consistency: Consistency::Strong };
        let op = record.invoke(2, false, 1, call);
        let cell = Cell { column: "v".into(), value: value.to_owned().into(), version: Lsn::ZERO };
        let rows = vec![Row { key: "k".into(), cells: vec![cell], version: Lsn::ZERO }];
        record.returned(op, Response::Rows { rows, lsn: Lsn::ZERO, node: 1, served: 0, staleness_ms: None });
    }

    #[test]
    fn a_read_that_goes_back_is_found_and_one_that_does_not_is_not() {
        for (last, violations) in [("b", 0), ("a", 1)] {
            let record = Record::default();
            for value in ["a", "b"] {
                let op = record.invoke(1, false, 1, write(value));
                record.returned(op, Response::Written(Lsn::ZERO));
            }
            read(&record, "b");
            read(&record, last);
            assert_eq!(record.check().len(), violations, "{:?}", record.check());
        }
    }
}
