//! One call of a client to one range, over as many attempts as it takes. Pure: [`Call::step`] says whom to ask or how long to
//! wait, [`Call::answered`] takes what came of an attempt, and whoever drives it sends and waits.
//!
//! An attempt that waits for too long is not given up: others are asked beside it, and the first answer counts. So a leader
//! that stands still costs its clients no longer than the election of the next one ([silent-is-passed-over]).
//!
//! - Writes are done exactly once: all attempts carry the same request id and the same `known`, and an attempt that is sent
//!   while the fate of another is open says so ([exactly-once], [dedup-floor]). A write ends as "outcome unknown" only if its
//!   deadline passes while an attempt may be under way. One that was never sent, or whose every attempt was refused before it
//!   was logged, ends in a plain deadline error: nothing was done.
//! - Reads are never answered below their session's floor ([session-floor]). A timeline read says its floor to the replica,
//!   which refuses if it does not reach it in a moment; then the leader is asked. A leader below the floor (a lone survivor)
//!   is asked again until the deadline, at which the read fails.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use wal::{Lsn, NodeId};

pub use super::search::Around;
use super::search::{ATTEMPT_WAIT_MAX, Next, Search};
use crate::cluster::peers::CallError;
use crate::cluster::route::RangeRoute;
use crate::error::KvError;
use crate::operation::{Answer, Mode, Operation, RangeWrite};
use crate::request::{RequestId, SessionToken, Source, Write, WriteOutcome};

/// Pause before a leader that lags behind a session is asked again.
const LAG_PAUSE: Duration = Duration::from_millis(20);

/// How a write names itself at its attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// Its first attempt is this call's.
    New(RequestId),
    /// It may have been sent before, by anyone, when the range's LSN was anything.
    Repeated(RequestId),
}

/// What to do next.
#[derive(Debug)]
pub enum Step {
    /// Send this to a node; what comes of it goes to [`Call::answered`] under the attempt's number.
    Ask {
        /// The attempt's number.
        attempt: u32,
        /// Whom to ask.
        node: NodeId,
        /// What to ask.
        operation: Operation,
        /// A node that does not lead shall pass it on to the one that does: we may not reach it.
        forward: bool,
    },
    /// Step again then, or when an attempt was answered, or when the range's route has news.
    Wait(Instant),
    /// The call has ended.
    Done(Result<Answer, KvError>),
}

/// What the call is for.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "there is one for each call, and a read allocates nothing for it"
)]
enum Request {
    /// Its `retry` is set once an attempt, of this call or of an earlier one, may be under way.
    Write(RangeWrite),
    Read {
        /// For the leader.
        strong: Operation,
        /// For a replica near by, and which ones are left to be asked.
        timeline: Option<(Operation, VecDeque<NodeId>)>,
        /// No answer may be below.
        floor: Lsn,
        /// If the first replica cannot answer, only the leader surely can.
        strict: bool,
    },
    /// Asked of the leader, one attempt after the other.
    Other(Operation),
}

/// An attempt that has not been answered.
#[derive(Debug)]
struct Attempt {
    number: u32,
    node: NodeId,
    since: Instant,
    /// It said that an earlier one may be under way.
    retry: bool,
    /// It is a timeline read.
    timeline: bool,
    /// It may have been passed on.
    forward: bool,
}

/// One call.
#[derive(Debug)]
pub struct Call {
    request: Request,
    deadline: Instant,
    /// Attempts so far.
    sent: u32,
    under_way: Vec<Attempt>,
    /// An attempt of *this call* was lost: it may have been, or may still be, executed.
    in_doubt: bool,
    search: Search,
    outcome: Option<Result<Answer, KvError>>,
}

impl Call {
    /// A call of this number, unlike those of all other calls of the process.
    fn new(number: u64, route: &RangeRoute, request: Request, deadline: Instant) -> Call {
        Call {
            request,
            deadline,
            sent: 0,
            under_way: Vec::new(),
            in_doubt: false,
            search: Search::new(number, route.members()),
            outcome: None,
        }
    }

    /// A write.
    pub fn write(
        number: u64,
        route: &RangeRoute,
        write: Write,
        identity: Identity,
        deadline: Instant,
    ) -> Call {
        let (request, known, retry) = match identity {
            Identity::New(request) => (request, route.known(), false),
            Identity::Repeated(request) => (request, Lsn::ZERO, true),
        };
        let Write { key, conditions, mutations, .. } = write;
        let write = RangeWrite { key, conditions, mutations, request, known, retry };
        Call::new(number, route, Request::Write(write), deadline)
    }

    /// A strong read: `operation` as it is for the leader.
    pub fn strong(
        number: u64,
        route: &RangeRoute,
        operation: Operation,
        floor: Lsn,
        deadline: Instant,
    ) -> Call {
        let request = Request::Read { strong: operation, timeline: None, floor, strict: false };
        Call::new(number, route, request, deadline)
    }

    /// A timeline read, of `nearest` in that order and then of the leader. `operation` makes what is asked.
    pub fn timeline(
        number: u64,
        route: &RangeRoute,
        operation: impl Fn(Mode) -> Operation,
        (floor, max_staleness): (Lsn, Option<Duration>),
        nearest: Vec<NodeId>,
        deadline: Instant,
    ) -> Call {
        let request = Request::Read {
            strong: operation(Mode::Strong),
            timeline: Some((operation(Mode::Timeline { floor, max_staleness }), nearest.into())),
            floor,
            strict: max_staleness.is_some() || floor > Lsn::ZERO,
        };
        Call::new(number, route, request, deadline)
    }

    /// Another operation of the leader, which may be repeated when it has failed, but not while it is under way.
    pub fn other(number: u64, route: &RangeRoute, operation: Operation, deadline: Instant) -> Call {
        Call::new(number, route, Request::Other(operation), deadline)
    }

    /// The next step.
    pub fn step(&mut self, now: Instant, around: &Around<'_>) -> Step {
        if let Some(outcome) = self.outcome.take() {
            return Step::Done(outcome);
        }
        if now >= self.deadline {
            return Step::Done(Err(self.give_up()));
        }
        let waiting = self.under_way.iter().filter(|attempt| now >= attempt.since + ATTEMPT_WAIT_MAX);
        for attempt in waiting.filter(|attempt| attempt.node != around.me) {
            around.silence.overdue(attempt.node, attempt.since, now);
        }
        let next = match self.next_near(now, around) {
            Some(next) => next,
            None if matches!(self.request, Request::Other(_)) && !self.under_way.is_empty() => {
                Next::Wait(self.deadline)
            }
            None => {
                let mut asked: Vec<_> = self.under_way.iter().map(|one| (one.node, one.since)).collect();
                // A node that has been waited for is only passed over; asked for a replica's word it may still lead.
                asked.retain(|(node, _)| !self.has_timeline(*node));
                self.search.next(now, &asked, around)
            }
        };
        match next {
            Next::Ask(node) => self.ask(node, now, around),
            Next::Wait(until) => Step::Wait(until.min(self.deadline)),
        }
    }

    fn has_timeline(&self, node: NodeId) -> bool {
        self.under_way.iter().any(|one| one.node == node && one.timeline)
    }

    /// Whom a timeline read asks before it asks the leader; `None`: nobody any more.
    fn next_near(&mut self, now: Instant, around: &Around<'_>) -> Option<Next> {
        let Request::Read { timeline: Some((_, nearest)), .. } = &mut self.request else { return None };
        let patient = self.under_way.iter().filter(|one| !around.silence.is_silent(one.node));
        if let Some(until) =
            patient.map(|one| one.since + ATTEMPT_WAIT_MAX).filter(|until| now < *until).max()
        {
            return Some(Next::Wait(until));
        }
        while let Some(node) = nearest.pop_front() {
            if around.silence.may_ask(node, now) {
                return Some(Next::Ask(node));
            }
        }
        if let Request::Read { timeline, .. } = &mut self.request {
            *timeline = None;
        }
        None
    }

    fn ask(&mut self, node: NodeId, now: Instant, around: &Around<'_>) -> Step {
        // What is under way may be executed: this is a repetition, whatever becomes of the other.
        let open = !self.under_way.is_empty();
        let mut is_timeline = false;
        let operation = match &mut self.request {
            Request::Write(write) => {
                write.retry |= open;
                Operation::Write(write.clone())
            }
            Request::Read { timeline: Some((operation, _)), .. } => {
                is_timeline = true;
                operation.clone()
            }
            Request::Read { strong: operation, timeline: None, .. } | Request::Other(operation) => {
                operation.clone()
            }
        };
        let retry = matches!(&self.request, Request::Write(write) if write.retry);
        let forward = !is_timeline && around.route.members().iter().any(|one| around.silence.is_silent(*one));
        self.sent += 1;
        let attempt = self.sent;
        self.under_way.push(Attempt {
            number: attempt,
            node,
            since: now,
            retry,
            timeline: is_timeline,
            forward,
        });
        Step::Ask { attempt, node, operation, forward }
    }

    /// What came of an attempt.
    pub fn answered(
        &mut self,
        number: u32,
        result: Result<Answer, CallError>,
        now: Instant,
        around: &Around<'_>,
    ) {
        let Some(at) = self.under_way.iter().position(|attempt| attempt.number == number) else { return };
        let attempt = self.under_way.remove(at);
        if self.outcome.is_some() {
            return;
        }
        match result {
            Ok(answer) => self.take(&attempt, answer, now, around),
            Err(error) if attempt.timeline => self.not_near(error),
            Err(CallError::NotSent(why)) => {
                around.route.failed(attempt.node, None);
                self.search.failed(why);
            }
            Err(CallError::Lost(why)) => self.lost(&attempt, why, around),
            Err(CallError::Refused(KvError::OutcomeUnknown(why)))
                if matches!(self.request, Request::Write(_)) =>
            {
                self.lost(&attempt, why, around);
            }
            Err(CallError::Refused(error)) => {
                let node = attempt.node;
                if let Err(error) = self.search.refused(node, error, around) {
                    self.outcome = Some(Err(match self.may_be_done() {
                        true => KvError::OutcomeUnknown(error.to_string()),
                        false => error,
                    }));
                }
            }
        }
    }

    /// An answer settles the call, or does not.
    fn take(&mut self, attempt: &Attempt, answer: Answer, now: Instant, around: &Around<'_>) {
        if !attempt.timeline && !attempt.forward {
            around.route.answered(attempt.node);
        }
        let may_be_done = self.may_be_done();
        match (&mut self.request, &answer) {
            // Never executed and never will be: no attempt is under way. With the newer LSN it is known to be new.
            (Request::Write(write), Answer::Forgotten { applied }) if !write.retry => {
                write.known = *applied;
                around.route.saw(*applied);
                self.search.follow(Some(attempt.node));
            }
            (Request::Write(_), Answer::Forgotten { .. }) => {
                let why = "its first attempt is too long ago to be remembered";
                self.outcome = Some(Err(KvError::OutcomeUnknown(why.into())));
            }
            // It is not in the log that this attempt was refused, and another one may be executed yet ([exactly-once]).
            (Request::Write(_), Answer::Write(WriteOutcome::ConditionFailed { .. }))
                if !attempt.retry && may_be_done =>
            {
                self.search.follow(Some(attempt.node));
            }
            (Request::Read { floor, strict, timeline, .. }, answer) => match source(answer) {
                // A replica that is wiped between its own look at the floor and the read is below it.
                Some(source) if source.lsn < *floor => {
                    around.route.saw(source.lsn);
                    if !attempt.timeline {
                        self.search.failed(format!("no replica has reached LSN {floor} of this session"));
                        self.search.rest_for(LAG_PAUSE, now);
                    } else if let Some((_, nearest)) = timeline.as_mut().filter(|_| *strict) {
                        nearest.clear();
                    }
                }
                _ => self.outcome = Some(Ok(answer.clone())),
            },
            (Request::Write(_) | Request::Other(_), _) => self.outcome = Some(Ok(answer)),
        }
    }

    /// A replica near by could not answer: too old, unreachable or out of service.
    fn not_near(&mut self, error: CallError) {
        if let Request::Read { timeline: Some((_, nearest)), strict: true, .. } = &mut self.request {
            nearest.clear();
        }
        match error {
            CallError::NotSent(why) | CallError::Lost(why) => self.search.failed(why),
            CallError::Refused(_) => {}
        }
    }

    /// Nobody knows whether the attempt was executed.
    fn lost(&mut self, attempt: &Attempt, why: String, around: &Around<'_>) {
        around.route.failed(attempt.node, None);
        if let Request::Write(write) = &mut self.request {
            (self.in_doubt, write.retry) = (true, true);
        }
        self.search.failed(why);
    }

    /// Whether an attempt of this call may have been, or may yet be, executed.
    fn may_be_done(&self) -> bool {
        self.in_doubt || matches!(self.request, Request::Write(_)) && !self.under_way.is_empty()
    }

    /// The error at the deadline.
    fn give_up(&self) -> KvError {
        match self.may_be_done() {
            true => KvError::OutcomeUnknown(self.search.why()),
            false => self.search.deadline_error(),
        }
    }
}

/// Where an answer of a read comes from.
fn source(answer: &Answer) -> Option<Source> {
    match answer {
        Answer::Row { source, .. } | Answer::Rows { source, .. } => Some(*source),
        Answer::Write(_) | Answer::Forgotten { .. } | Answer::Done => None,
    }
}

/// What the range and the session learn from the answer that a call ended with ([session-floor]).
pub fn learn(answer: &Answer, route: &RangeRoute, session: Option<&SessionToken>) {
    let lsn = match answer {
        Answer::Write(WriteOutcome::Written(at) | WriteOutcome::ConditionFailed { at, .. }) => at.lsn,
        Answer::Row { source, .. } | Answer::Rows { source, .. } => source.lsn,
        Answer::Forgotten { .. } | Answer::Done => return,
    };
    route.saw(lsn);
    if let Some(session) = session {
        session.saw(route.descriptor.id, lsn);
    }
}

#[cfg(test)]
mod tests {
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
        world.answered(
            &mut call,
            second,
            110,
            Ok(Answer::Write(WriteOutcome::Written(written(Lsn::new(2, 7))))),
        );
        world.answered(&mut call, first, 111, Err(CallError::Lost("broke".into())));
        assert_eq!(
            world.ends(&mut call, 111),
            Ok(Answer::Write(WriteOutcome::Written(written(Lsn::new(2, 7)))))
        );
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
        let read =
            |floor, nearest| Call::timeline(1, &world.route, get, (floor, None), nearest, world.at(1000));
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
}
