//! A question to all others before an election: have you lost the leader, too? [pre-vote]

use std::collections::BTreeSet;

use wal::NodeId;

use super::time::{Millis, Stamp};

/// How long a round waits for answers before the question is asked again.
const ROUND: Millis = Millis(100);

/// The round under way, if there is one.
#[derive(Debug, Default)]
pub(crate) struct PreVote {
    round: u64,
    asked_at: Option<Stamp>,
    agreed: BTreeSet<NodeId>,
}

impl PreVote {
    /// The question need not be asked: the leader is heard.
    pub(crate) fn stop(&mut self) {
        self.asked_at = None;
    }

    /// Begins a round if it is time for one: its number.
    pub(crate) fn begin_round(&mut self, now: Stamp) -> Option<u64> {
        if self.asked_at.is_some_and(|asked| now < asked.plus(ROUND)) {
            return None;
        }
        self.round += 1;
        self.asked_at = Some(now);
        self.agreed.clear();
        Some(self.round)
    }

    /// An answer. How many others have lost the leader as far as this round knows; `None` if it is not of this round.
    pub(crate) fn answered(&mut self, round: u64, from: NodeId, agree: bool) -> Option<usize> {
        self.asked_at.filter(|_| round == self.round)?;
        if agree {
            self.agreed.insert(from);
        }
        Some(self.agreed.len())
    }
}
