//! Finding the leader of a range: guess, ask, follow hints, pause, until the deadline. Pure: it says whom to ask or how
//! long to wait, and somebody else does that.

use std::time::{Duration, Instant};

use wal::{NodeId, ReplicaId};

use crate::error::KvError;

/// First and longest pause before the next round of attempts. An election takes some hundred milliseconds; asking
/// more often than every 25 would only cost.
const PAUSE_MIN: Duration = Duration::from_millis(2);
const PAUSE_MAX: Duration = Duration::from_millis(25);

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Ask this node.
    Ask(NodeId),
    /// All have been asked: wait so long, then step again.
    Pause(Duration),
    /// The deadline has passed.
    GiveUp,
}

/// Where the search stands between two steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Nobody has been asked yet.
    Guess,
    /// One member after the other is asked.
    Round,
    /// All have been asked, and the pause is over when the next step is taken.
    Paused,
}

/// The search for the leader of one range, for one call.
pub(super) struct LeaderSearch<'a> {
    members: &'a [ReplicaId],
    deadline: Instant,
    stage: Stage,
    /// Whom the last answer named as the leader.
    hint: Option<NodeId>,
    /// Attempts since the last pause.
    asked: usize,
    /// Whose turn it is among the members.
    turn: usize,
    pause: Duration,
    /// The last reason why it did not work, for the caller.
    why: String,
}

impl<'a> LeaderSearch<'a> {
    /// A search among the members of a range.
    pub(super) fn new(members: &'a [ReplicaId], deadline: Instant) -> LeaderSearch<'a> {
        assert!(!members.is_empty(), "a range has members");
        LeaderSearch {
            members,
            deadline,
            stage: Stage::Guess,
            hint: None,
            asked: 0,
            turn: 0,
            pause: PAUSE_MIN,
            why: "the range has no leader".into(),
        }
    }

    /// The next step. `known` tells where the leader is thought to be; it is asked at the start and after each pause.
    pub(super) fn step(&mut self, now: Instant, known: impl FnOnce() -> Option<NodeId>) -> Step {
        match self.stage {
            Stage::Guess => {
                self.stage = Stage::Round;
                if let Some(leader) = known() {
                    self.asked = 1;
                    return Step::Ask(leader);
                }
            }
            Stage::Round if self.asked > self.members.len() => {
                if now >= self.deadline {
                    return Step::GiveUp;
                }
                let pause = self.pause.min(self.deadline - now);
                self.pause = (self.pause * 2).min(PAUSE_MAX);
                self.stage = Stage::Paused;
                return Step::Pause(pause);
            }
            Stage::Round => {}
            Stage::Paused => {
                self.stage = Stage::Round;
                self.asked = 0;
                // More may be known by now: a replica in this process learns of a new leader at once.
                self.hint = self.hint.take().or_else(known);
            }
        }
        if now >= self.deadline {
            return Step::GiveUp;
        }
        self.asked += 1;
        Step::Ask(self.hint.take().unwrap_or_else(|| {
            self.turn += 1;
            self.members[self.turn % self.members.len()].node
        }))
    }

    /// The node could not be asked, or did not answer.
    pub(super) fn failed(&mut self, why: String) {
        self.why = why;
    }

    /// The node answered with an error. Errors that another node or another moment may mend are swallowed, and the
    /// search goes on; the others come back.
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
            | KvError::OutOfMemory(_)
            | KvError::ReadTooOld(_)
            | KvError::Internal(_) => return Err(error),
        }
        // What it means for the request is said once, by the error that this ends in.
        self.why = match error {
            KvError::Unavailable(why) | KvError::DeadlineExceeded(why) => why,
            error => error.to_string(),
        };
        // A pause helps a leader that is overloaded or taking over; a round through the others does not.
        self.asked = self.members.len() + 1;
        Ok(())
    }

    /// The last reason why it did not work.
    pub(super) fn why(&self) -> String {
        self.why.clone()
    }

    /// What the caller gets when the search was given up and nothing was done.
    pub(super) fn deadline_error(&self) -> KvError {
        KvError::DeadlineExceeded(self.why())
    }
}

#[cfg(test)]
mod tests {
    use wal::Incarnation;

    use super::*;

    fn members() -> Vec<ReplicaId> {
        (1..=3).map(|node| ReplicaId { node: NodeId(node), incarnation: Incarnation(7) }).collect()
    }

    fn nobody() -> Option<NodeId> {
        None
    }

    #[test]
    fn guesses_follows_hints_and_asks_everyone_before_it_pauses() {
        let (members, now) = (members(), Instant::now());
        let mut search = LeaderSearch::new(&members, now + Duration::from_secs(1));
        assert_eq!(search.step(now, || Some(NodeId(3))), Step::Ask(NodeId(3)));
        search.refused(KvError::NotLeader { hint: Some(NodeId(1)) }).unwrap();
        assert_eq!(search.step(now, nobody), Step::Ask(NodeId(1)));
        search.refused(KvError::NotLeader { hint: None }).unwrap();
        assert_eq!(search.step(now, nobody), Step::Ask(NodeId(2)));
        search.failed("no route".into());
        assert_eq!(search.step(now, nobody), Step::Ask(NodeId(3)));
        assert_eq!(search.step(now, nobody), Step::Pause(PAUSE_MIN));
        assert_eq!(
            search.step(now, || Some(NodeId(2))),
            Step::Ask(NodeId(2)),
            "what is known after the pause"
        );
        assert_eq!(search.why(), "no route");
    }

    #[test]
    fn a_leader_that_is_busy_gets_a_pause_at_once() {
        let (members, now) = (members(), Instant::now());
        let mut search = LeaderSearch::new(&members, now + Duration::from_millis(3));
        assert_eq!(search.step(now, || Some(NodeId(1))), Step::Ask(NodeId(1)));
        search.refused(KvError::Unavailable("taking over".into())).unwrap();
        assert_eq!(search.step(now, nobody), Step::Pause(PAUSE_MIN));
        let later = now + PAUSE_MIN;
        assert_eq!(search.step(later, || Some(NodeId(1))), Step::Ask(NodeId(1)));
        search.refused(KvError::Unavailable("taking over".into())).unwrap();
        assert_eq!(
            search.step(later, nobody),
            Step::Pause(Duration::from_millis(1)),
            "not past the deadline"
        );
        assert_eq!(search.step(later + Duration::from_millis(1), nobody), Step::GiveUp);
    }

    #[test]
    fn errors_that_no_other_node_mends_come_back() {
        let members = members();
        let mut search = LeaderSearch::new(&members, Instant::now());
        let full = KvError::DiskFull(NodeId(1));
        assert_eq!(search.refused(full.clone()), Err(full));
        assert_eq!(search.step(Instant::now(), nobody), Step::GiveUp);
    }
}
