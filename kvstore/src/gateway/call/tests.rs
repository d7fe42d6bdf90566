//! Calls, attempt by attempt: what each answer, loss and silence makes of a call.

use wal::CohortId;

use super::*;
use crate::cluster::route::tests::range;
use crate::cluster::silence::Silence;
use crate::request::{Columns, Row, TableId, Written};

const REQUEST: RequestId = RequestId { client: 1, sequence: 2 };
const A: NodeId = NodeId(1);
const B: NodeId = NodeId(2);

struct World {
    route: RangeRoute,
    silence: Silence,
    start: Instant,
}

impl World {
    /// Node 1 is thought to lead; the range is at 1.5.
    fn new() -> World {
        let route = range();
        route.set_leader(Some(A));
        route.saw(Lsn::new(1, 5));
        World { route, silence: Silence::default(), start: Instant::now() }
    }

    fn at(&self, ms: u64) -> Instant {
        self.start + Duration::from_millis(ms)
    }

    fn around(&self) -> Around<'_> {
        Around { me: NodeId(3), route: &self.route, silence: &self.silence }
    }

    fn write(&self, identity: Identity) -> Call {
        let (table, key) = (TableId(1), "k".into());
        let write = Write { table, key, conditions: Vec::new(), mutations: Vec::new(), request: None };
        Call::write(1, &self.route, write, identity, self.at(1000))
    }

    fn step(&self, call: &mut Call, ms: u64) -> Step {
        call.step(self.at(ms), &self.around())
    }

    /// Lets the call go on until it asks somebody.
    fn asks(&self, call: &mut Call, ms: u64) -> (u32, NodeId, Operation, bool) {
        match self.step(call, ms) {
            Step::Ask { attempt, node, operation, forward } => (attempt, node, operation, forward),
            other => panic!("{other:?}"),
        }
    }

    fn answered(&self, call: &mut Call, attempt: u32, ms: u64, result: Result<Answer, CallError>) {
        call.answered(attempt, result, self.at(ms), &self.around());
    }

    fn ends(&self, call: &mut Call, ms: u64) -> Result<Answer, KvError> {
        match self.step(call, ms) {
            Step::Done(result) => result,
            other => panic!("{other:?}"),
        }
    }
}

fn sent(operation: Operation) -> RangeWrite {
    match operation {
        Operation::Write(write) => write,
        other => panic!("{other:?}"),
    }
}

fn written(lsn: Lsn) -> Written {
    Written { range: CohortId(9), lsn }
}

fn refused(at: Lsn) -> Answer {
    Answer::Write(WriteOutcome::ConditionFailed { current: Row::default(), at: written(at) })
}

fn row(node: NodeId, lsn: Lsn) -> Answer {
    let source = Source { range: CohortId(9), replica: node, lsn, staleness: None };
    Answer::Row { row: Row::default(), source }
}

fn get(mode: Mode) -> Operation {
    Operation::Get { key: "k".into(), columns: Columns::All, mode }
}

/// The first page of a scan, and more to come.
fn page(node: NodeId, lsn: Lsn) -> Answer {
    let source = Source { range: CohortId(9), replica: node, lsn, staleness: None };
    let cursor = Some(crate::operation::Cursor { id: 70 + u64::from(node.0), passed: Some("k".into()) });
    Answer::Rows { rows: Vec::new(), source, cursor }
}

#[test]
fn what_is_open_for_an_answer_that_does_not_do_is_closed() {
    let world = World::new();
    let floor = Lsn::new(1, 6);
    let mut call = Call::strong(1, &world.route, get(Mode::Strong), floor, world.at(1000));
    let (first, ..) = world.asks(&mut call, 0);
    world.answered(&mut call, first, 1, Ok(page(A, Lsn::new(1, 5))));
    assert_eq!(call.abandoned(), [(A, 71)], "it is below what the session has seen");
    world.answered(&mut call, first, 2, Ok(page(B, floor)));
    assert_eq!(call.abandoned(), [(B, 72)], "its attempt has ended");
    let (second, ..) = world.asks(&mut call, 100);
    world.answered(&mut call, second, 101, Ok(page(A, floor)));
    assert_eq!((call.abandoned(), world.ends(&mut call, 102)), (vec![], Ok(page(A, floor))));
}

#[test]
fn what_was_never_sent_or_was_refused_leaves_no_doubt() {
    let world = World::new();
    let mut call = world.write(Identity::New(REQUEST));
    let (first, ..) = world.asks(&mut call, 0);
    world.answered(&mut call, first, 1, Err(CallError::NotSent("down".into())));
    let (second, _, operation, _) = world.asks(&mut call, 1);
    assert!(!sent(operation).retry);
    let busy = KvError::Unavailable("taking over".into());
    world.answered(&mut call, second, 2, Err(CallError::Refused(busy)));
    assert!(matches!(world.ends(&mut call, 1000), Err(KvError::DeadlineExceeded(_))));
}

#[test]
fn after_a_lost_attempt_all_others_are_retries_and_the_outcome_may_stay_unknown() {
    let world = World::new();
    let mut call = world.write(Identity::New(REQUEST));
    let (first, ..) = world.asks(&mut call, 0);
    world.answered(&mut call, first, 1, Err(CallError::Lost("broke".into())));
    let (second, _, operation, _) = world.asks(&mut call, 1);
    let again = sent(operation);
    assert!(again.retry);
    assert_eq!((again.request, again.known), (REQUEST, Lsn::new(1, 5)));
    // An error that says "nothing was done" speaks of the last attempt only.
    world.answered(&mut call, second, 2, Err(CallError::Refused(KvError::DiskFull(B))));
    assert!(matches!(world.ends(&mut call, 3), Err(KvError::OutcomeUnknown(_))));
    let mut call = world.write(Identity::New(REQUEST));
    let _ = world.asks(&mut call, 0);
    assert!(matches!(world.ends(&mut call, 1000), Err(KvError::OutcomeUnknown(_))), "it is under way");
}

#[test]
fn a_forgotten_first_attempt_is_repeated_above_the_floor_and_a_forgotten_retry_stays_unknown() {
    let world = World::new();
    let forgotten = || Ok(Answer::Forgotten { applied: Lsn::new(1, 9) });
    let mut call = world.write(Identity::New(REQUEST));
    let (first, ..) = world.asks(&mut call, 0);
    world.answered(&mut call, first, 1, forgotten());
    let (_, node, operation, _) = world.asks(&mut call, 1);
    let again = sent(operation);
    assert_eq!((node, again.known, again.retry), (A, Lsn::new(1, 9), false));
    let mut repeated = world.write(Identity::Repeated(REQUEST));
    let (first, _, operation, _) = world.asks(&mut repeated, 0);
    let write = sent(operation);
    assert_eq!((write.known, write.retry), (Lsn::ZERO, true));
    world.answered(&mut repeated, first, 1, forgotten());
    assert!(matches!(world.ends(&mut repeated, 1), Err(KvError::OutcomeUnknown(_))));
}

/// The leader stands still; the next one is known here before it has been waited for too long.
#[test]
fn a_call_is_asked_again_when_another_leads_and_the_first_answer_counts() {
    let world = World::new();
    let mut call = world.write(Identity::New(REQUEST));
    let (first, node, ..) = world.asks(&mut call, 0);
    assert_eq!(node, A);
    assert!(matches!(world.step(&mut call, 1), Step::Wait(until) if until == world.at(250)));
    world.route.heard_locally(Some(B));
    let (second, node, operation, _) = world.asks(&mut call, 100);
    assert_eq!((node, sent(operation).retry), (B, true));
    world.answered(&mut call, second, 110, Ok(Answer::Write(WriteOutcome::Written(written(Lsn::new(2, 7))))));
    world.answered(&mut call, first, 111, Err(CallError::Lost("broke".into())));
    assert_eq!(world.ends(&mut call, 111), Ok(Answer::Write(WriteOutcome::Written(written(Lsn::new(2, 7))))));
}

/// The first attempt was refused, which no log says, and the second may still be executed.
#[test]
fn a_refusal_that_is_not_in_the_log_does_not_count_beside_another_attempt() {
    let world = World::new();
    let mut call = world.write(Identity::New(REQUEST));
    let (first, ..) = world.asks(&mut call, 0);
    world.route.heard_locally(Some(B));
    let (second, ..) = world.asks(&mut call, 100);
    world.answered(&mut call, first, 110, Ok(refused(Lsn::new(1, 5))));
    assert!(matches!(world.step(&mut call, 110), Step::Ask { .. } | Step::Wait(_)));
    world.answered(&mut call, second, 120, Ok(refused(Lsn::new(2, 8))));
    assert_eq!(world.ends(&mut call, 120), Ok(refused(Lsn::new(2, 8))), "this one is logged");
    let mut call = world.write(Identity::New(REQUEST));
    let (only, ..) = world.asks(&mut call, 0);
    world.answered(&mut call, only, 1, Ok(refused(Lsn::new(1, 5))));
    assert_eq!(world.ends(&mut call, 1), Ok(refused(Lsn::new(1, 5))));
}

/// We are cut off from the leader, and the others are not.
#[test]
fn whoever_answers_is_asked_to_pass_on_what_a_silent_leader_does_not_hear() {
    let world = World::new();
    let mut call = world.write(Identity::New(REQUEST));
    let (_, node, _, forward) = world.asks(&mut call, 0);
    assert_eq!((node, forward), (A, false));
    let (attempt, node, _, forward) = world.asks(&mut call, 250);
    assert!(node != A && forward, "nothing was heard of the leader");
    world.answered(
        &mut call,
        attempt,
        260,
        Ok(Answer::Write(WriteOutcome::Written(written(Lsn::new(1, 6))))),
    );
    assert!(world.ends(&mut call, 260).is_ok());
    let mut next = world.write(Identity::New(REQUEST));
    let (_, node, _, forward) = world.asks(&mut next, 300);
    assert!(node != A && forward, "the next call does not wait for it");
}

#[test]
fn a_timeline_read_asks_near_by_and_then_the_leader() {
    let world = World::new();
    let floor = Lsn::new(1, 5);
    let read = |floor, nearest| Call::timeline(1, &world.route, get, (floor, None), nearest, world.at(1000));
    let mut call = read(Lsn::ZERO, vec![B, NodeId(3)]);
    let (first, node, operation, _) = world.asks(&mut call, 0);
    assert_eq!((node, operation), (B, get(Mode::Timeline { floor: Lsn::ZERO, max_staleness: None })));
    world.answered(&mut call, first, 1, Err(CallError::Lost("broke".into())));
    assert_eq!(world.asks(&mut call, 1).1, NodeId(3));
    let mut call = read(floor, vec![B, NodeId(3)]);
    let (first, ..) = world.asks(&mut call, 0);
    world.answered(&mut call, first, 1, Ok(row(B, Lsn::new(1, 4))));
    let (second, node, operation, _) = world.asks(&mut call, 1);
    assert_eq!((node, operation), (A, get(Mode::Strong)), "only the leader surely has the floor");
    world.answered(&mut call, second, 2, Ok(row(A, Lsn::new(1, 4))));
    assert!(matches!(world.step(&mut call, 2), Step::Wait(until) if until == world.at(22)));
    let (third, ..) = world.asks(&mut call, 22);
    world.answered(&mut call, third, 23, Ok(row(A, floor)));
    assert_eq!(world.ends(&mut call, 23), Ok(row(A, floor)));
}

#[test]
fn a_transfer_is_never_asked_for_twice_at_once() {
    let world = World::new();
    let mut call = Call::other(1, &world.route, Operation::Transfer(None), world.at(1000));
    let _ = world.asks(&mut call, 0);
    world.route.heard_locally(Some(B));
    assert!(matches!(world.step(&mut call, 600), Step::Wait(until) if until == world.at(1000)));
}
