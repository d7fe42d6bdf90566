//! One write, over as many attempts as it takes, done once.
//!
//! All attempts carry the same request id and the same `known`, and attempts after one whose fate is unknown say so
//! ([exactly-once], [dedup-floor]). While the deadline lasts, an unknown fate is resolved by asking again; only when it
//! passes does the caller get "outcome unknown". A write that was never sent, or whose every attempt was refused before
//! it was logged, ends in a plain deadline error: nothing was done.

use std::time::Instant;

use wal::Lsn;

use super::limits;
use super::routing::{Gateway, unexpected};
use super::search::LeaderSearch;
use crate::cluster::map::RangeRoute;
use crate::cluster::peers::CallError;
use crate::error::KvError;
use crate::operation::{Answer, Operation, RangeWrite};
use crate::request::{RequestId, SessionToken, Write, WriteOutcome, Written};

/// How a write names itself at its attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Identity {
    /// Its first attempt is this call's.
    New(RequestId),
    /// It may have been sent before, by anyone, when the range's LSN was anything.
    Repeated(RequestId),
}

/// The attempts of one write so far. Pure: it says what to send, and what an answer means.
#[derive(Debug)]
struct Attempts {
    /// What the next attempt sends. Its `retry` is set once an attempt, of this call or of an earlier one, may be under
    /// way.
    next: RangeWrite,
    /// An attempt of *this call* may be, or have been, under way.
    in_doubt: bool,
}

impl Attempts {
    /// Before the first attempt; `known` is the range's LSN as it is known now.
    fn new(write: Write, identity: Identity, known: Lsn) -> Attempts {
        let (request, known, retry) = match identity {
            Identity::New(request) => (request, known, false),
            Identity::Repeated(request) => (request, Lsn::ZERO, true),
        };
        let Write { key, conditions, mutations, .. } = write;
        Attempts { next: RangeWrite { key, conditions, mutations, request, known, retry }, in_doubt: false }
    }

    /// Takes what came of an attempt: an answer that settles the write, or `None`: try again. An error is final.
    fn settle(
        &mut self,
        result: Result<Answer, CallError>,
        search: &mut LeaderSearch<'_>,
    ) -> Result<Option<Answer>, KvError> {
        match result {
            // Never executed and never will be: no attempt is under way. With the newer LSN it is known to be new.
            Ok(Answer::Forgotten { applied }) if !self.next.retry => self.next.known = applied,
            Ok(Answer::Forgotten { .. }) => {
                return Err(KvError::OutcomeUnknown(
                    "its first attempt is too long ago to be remembered".into(),
                ));
            }
            Ok(answer) => return Ok(Some(answer)),
            Err(CallError::NotSent(why)) => search.failed(why),
            Err(CallError::Lost(why) | CallError::Refused(KvError::OutcomeUnknown(why))) => {
                (self.in_doubt, self.next.retry) = (true, true);
                search.failed(why);
            }
            Err(CallError::Refused(error)) => search.refused(error).map_err(|error| match self.in_doubt {
                true => KvError::OutcomeUnknown(error.to_string()),
                false => error,
            })?,
        }
        Ok(None)
    }

    /// The error at the deadline.
    fn give_up(&self, search: &LeaderSearch<'_>) -> KvError {
        match self.in_doubt {
            true => KvError::OutcomeUnknown(search.why()),
            false => search.deadline_error(),
        }
    }
}

impl Gateway {
    /// Writes one row under the given identity, or a new one.
    pub(crate) async fn write_as(
        &self,
        write: Write,
        identity: Option<Identity>,
        deadline: Instant,
        session: Option<&SessionToken>,
    ) -> Result<WriteOutcome, KvError> {
        limits::check_write(&self.limits, &write)?;
        let table = self.map.table(write.table).await?;
        let range = table.range_of(&write.key);
        let identity = identity.unwrap_or_else(|| Identity::New(self.new_request()));
        let mut attempts = Attempts::new(write, identity, range.known());
        let mut search = LeaderSearch::new(&range.descriptor.members, deadline);
        loop {
            let Some(node) = self.next_node(range, &mut search).await else {
                return Err(attempts.give_up(&search));
            };
            let operation = Operation::Write(attempts.next.clone());
            let result = self.ask(node, range.descriptor.id, operation, deadline).await;
            if let Some(answer) = attempts.settle(result, &mut search)? {
                range.set_leader(Some(node));
                return outcome(answer, range, session);
            }
            range.saw(attempts.next.known);
            range.set_leader(None);
        }
    }
}

/// The outcome for the caller, and what the session and the range learn from it.
fn outcome(
    answer: Answer,
    range: &RangeRoute,
    session: Option<&SessionToken>,
) -> Result<WriteOutcome, KvError> {
    let id = range.descriptor.id;
    let seen = |lsn| {
        range.saw(lsn);
        if let Some(session) = session {
            session.saw(id, lsn);
        }
        Written { range: id, lsn }
    };
    match answer {
        Answer::Written(lsn) => Ok(WriteOutcome::Written(seen(lsn))),
        Answer::ConditionFailed { current, at } => {
            Ok(WriteOutcome::ConditionFailed { current, at: seen(at) })
        }
        other => Err(unexpected(&other)),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use wal::{Incarnation, NodeId, ReplicaId};

    use super::*;
    use crate::request::TableId;

    const REQUEST: RequestId = RequestId { client: 1, sequence: 2 };

    fn attempts(identity: Identity) -> Attempts {
        let write = Write {
            table: TableId(1),
            key: "k".into(),
            conditions: Vec::new(),
            mutations: Vec::new(),
            request: None,
        };
        Attempts::new(write, identity, Lsn::new(1, 5))
    }

    fn with_search(test: impl FnOnce(&mut LeaderSearch<'_>)) {
        let members = [ReplicaId { node: NodeId(1), incarnation: Incarnation(1) }];
        test(&mut LeaderSearch::new(&members, Instant::now() + Duration::from_secs(1)));
    }

    #[test]
    fn what_was_never_sent_or_was_refused_leaves_no_doubt() {
        with_search(|search| {
            let mut attempts = attempts(Identity::New(REQUEST));
            assert_eq!(attempts.settle(Err(CallError::NotSent("down".into())), search), Ok(None));
            let refused = CallError::Refused(KvError::Unavailable("taking over".into()));
            assert_eq!(attempts.settle(Err(refused), search), Ok(None));
            assert!(!attempts.next.retry);
            assert!(matches!(attempts.give_up(search), KvError::DeadlineExceeded(_)));
        });
    }

    #[test]
    fn after_a_lost_attempt_all_others_are_retries_and_the_outcome_may_stay_unknown() {
        with_search(|search| {
            let mut attempts = attempts(Identity::New(REQUEST));
            assert_eq!(attempts.settle(Err(CallError::Lost("broke".into())), search), Ok(None));
            assert!(attempts.next.retry);
            assert_eq!((attempts.next.request, attempts.next.known), (REQUEST, Lsn::new(1, 5)));
            assert!(matches!(attempts.give_up(search), KvError::OutcomeUnknown(_)));
            // An error that says "nothing was done" speaks of the last attempt only.
            let full = CallError::Refused(KvError::DiskFull(NodeId(1)));
            assert!(matches!(attempts.settle(Err(full), search), Err(KvError::OutcomeUnknown(_))));
        });
    }

    #[test]
    fn a_forgotten_first_attempt_is_repeated_above_the_floor_and_a_forgotten_retry_stays_unknown() {
        with_search(|search| {
            let forgotten = || Ok(Answer::Forgotten { applied: Lsn::new(1, 9) });
            let mut first = attempts(Identity::New(REQUEST));
            assert_eq!(first.settle(forgotten(), search), Ok(None));
            assert_eq!((first.next.known, first.next.retry), (Lsn::new(1, 9), false));
            let mut repeated = attempts(Identity::Repeated(REQUEST));
            assert_eq!((repeated.next.known, repeated.next.retry), (Lsn::ZERO, true));
            assert!(matches!(repeated.settle(forgotten(), search), Err(KvError::OutcomeUnknown(_))));
        });
    }
}
