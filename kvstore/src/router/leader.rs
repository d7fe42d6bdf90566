//! Finding the leader of a range: guess, ask, follow hints, pause, until the deadline.

use std::time::{Duration, Instant};

use wal::NodeId;

use super::Router;
use crate::cluster::map::RangeView;
use crate::error::KvError;

/// First and longest pause before the next round of attempts. An election takes some hundred milliseconds; asking
/// more often than every 25 would only cost.
const PAUSE_MIN: Duration = Duration::from_millis(2);
const PAUSE_MAX: Duration = Duration::from_millis(25);

/// Whom to ask next for the leader of a range, and what went wrong so far.
pub(super) struct LeaderSearch<'a> {
    router: &'a Router,
    range: &'a RangeView,
    deadline: Instant,
    members: Vec<NodeId>,
    /// Whom an answer named.
    hint: Option<NodeId>,
    /// Attempts since the last pause.
    asked: usize,
    /// Place in `members`.
    turn: usize,
    pause: Duration,
    started: bool,
    why: String,
}

impl<'a> LeaderSearch<'a> {
    pub(super) fn new(router: &'a Router, range: &'a RangeView, deadline: Instant) -> LeaderSearch<'a> {
        LeaderSearch {
            router,
            range,
            deadline,
            members: Vec::new(),
            hint: None,
            asked: 0,
            turn: 0,
            pause: PAUSE_MIN,
            started: false,
            why: "the range has no leader".into(),
        }
    }

    /// The next node to ask, after a pause if all have been asked; `None` when the deadline has passed.
    pub(super) async fn next(&mut self) -> Option<NodeId> {
        if !self.started {
            self.started = true;
            let known = self.router.leader_of(self.range);
            if known.is_some() {
                self.asked = 1;
                return known;
            }
        }
        if self.members.is_empty() {
            self.members = self.range.descriptor.nodes().collect();
        }
        self.range.set_leader(None);
        if self.asked > self.members.len() {
            self.router.metrics.retries.count();
            let now = Instant::now();
            if now >= self.deadline {
                return None;
            }
            tokio::time::sleep(self.pause.min(self.deadline - now)).await;
            self.pause = (self.pause * 2).min(PAUSE_MAX);
            self.asked = 0;
            // The map may know better by now: a replica here hears of a new leader at once.
            self.hint = self.hint.take().or_else(|| self.router.leader_of(self.range));
        }
        if Instant::now() >= self.deadline {
            return None;
        }
        self.asked += 1;
        Some(self.hint.take().unwrap_or_else(|| {
            self.turn += 1;
            self.members[self.turn % self.members.len()]
        }))
    }

    /// The node could not be asked, or did not answer.
    pub(super) fn failed(&mut self, why: String) {
        self.why = why;
    }

    /// The node answered with an error; those that another node or another moment may mend are kept.
    pub(super) fn refused(&mut self, error: KvError) -> Result<(), KvError> {
        match &error {
            KvError::NotLeader { hint } => {
                self.hint = *hint;
                // What stays as the reason is what a leader or a broken connection said, if anything.
                return Ok(());
            }
            KvError::RangeMoved
            | KvError::Overloaded(_)
            | KvError::Unavailable(_)
            | KvError::DeadlineExceeded(_)
            | KvError::ShuttingDown => {}
            KvError::DiskFull(_)
            | KvError::NoTable(_)
            | KvError::TableExists(_)
            | KvError::TooLarge { .. }
            | KvError::Invalid(_)
            | KvError::OutcomeUnknown(_)
            | KvError::Coordination(_)
            | KvError::Internal(_) => return Err(error),
        }
        self.why = error.to_string();
        // A leader that is overloaded or taking over deserves the pause, not a round through the others.
        self.asked = self.members.len().max(self.range.descriptor.members.len()) + 1;
        Ok(())
    }

    pub(super) fn why(&self) -> String {
        self.why.clone()
    }

    pub(super) fn deadline_error(&self) -> KvError {
        KvError::DeadlineExceeded(self.why())
    }
}
