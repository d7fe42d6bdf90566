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
    /// Scans that were opened for answers which did not do.
    abandoned: Vec<(NodeId, u64)>,
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
            abandoned: Vec::new(),
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

    /// Scans open at nodes that nobody continues, to be closed there.
    pub fn abandoned(&mut self) -> Vec<(NodeId, u64)> {
        std::mem::take(&mut self.abandoned)
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
        let at = self.under_way.iter().position(|attempt| attempt.number == number);
        let attempt = at.map(|at| self.under_way.remove(at)).filter(|_| self.outcome.is_none());
        let Some(attempt) = attempt else {
            // It was given up, or another one was faster.
            return result.iter().for_each(|answer| self.abandon(answer));
        };
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
                    if let Answer::Rows { cursor: Some(cursor), .. } = answer {
                        self.abandoned.push((source.replica, cursor.id));
                    }
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

    /// An answer does not do: what was opened for it is to be closed.
    fn abandon(&mut self, answer: &Answer) {
        if let Answer::Rows { source, cursor: Some(cursor), .. } = answer {
            self.abandoned.push((source.replica, cursor.id));
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
mod tests;
