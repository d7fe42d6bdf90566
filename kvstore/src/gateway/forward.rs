//! Passing a request on to the leader, for a node that cannot reach it. One hop: what is passed on is not passed on again.

use std::time::Duration;

use wal::NodeId;

use crate::cluster::peers::CallError;
use crate::cluster::silence::Silence;
use crate::error::KvError;
use crate::operation::{Answer, Operation};

/// What was passed on is waited for so long: less than the node that asked waits before it takes us for silent. It
/// asks again.
pub const FORWARD_MAX: Duration = Duration::from_millis(150);

/// To whom node `me`, whose replica gave this answer, passes the request on that came with the wish for it.
pub fn forward_to(answer: &Result<Answer, KvError>, me: NodeId, silence: &Silence) -> Option<NodeId> {
    match answer {
        Err(KvError::NotLeader { hint: Some(leader) }) if *leader != me && !silence.is_silent(*leader) => {
            Some(*leader)
        }
        _ => None,
    }
}

/// The answer for the node that asked, when this came of passing its request on to `leader`.
pub fn passed_back(
    result: Result<Answer, CallError>,
    operation: &Operation,
    leader: NodeId,
) -> Result<Answer, KvError> {
    match result {
        Ok(answer) => Ok(answer),
        Err(CallError::Refused(error)) => Err(error),
        Err(CallError::Lost(why)) if matches!(operation, Operation::Write(_)) => {
            Err(KvError::OutcomeUnknown(why))
        }
        Err(CallError::Lost(_) | CallError::NotSent(_)) => Err(KvError::NotLeader { hint: Some(leader) }),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    const ME: NodeId = NodeId(1);
    const LEADER: NodeId = NodeId(2);

    #[test]
    fn only_what_another_node_leads_is_passed_on_and_only_if_that_is_heard_of() {
        let silence = Silence::default();
        let names = |hint| Err(KvError::NotLeader { hint });
        assert_eq!(forward_to(&names(Some(LEADER)), ME, &silence), Some(LEADER));
        assert_eq!(forward_to(&names(Some(ME)), ME, &silence), None);
        assert_eq!(forward_to(&names(None), ME, &silence), None);
        assert_eq!(forward_to(&Ok(Answer::Done), ME, &silence), None);
        silence.lost(LEADER, Instant::now());
        assert_eq!(forward_to(&names(Some(LEADER)), ME, &silence), None);
    }

    #[test]
    fn a_write_that_was_lost_behind_us_may_be_done() {
        let lost = || Err(CallError::Lost("broke".into()));
        let write = Operation::Write(crate::operation::RangeWrite {
            key: "k".into(),
            conditions: Vec::new(),
            mutations: Vec::new(),
            request: crate::request::RequestId { client: 1, sequence: 1 },
            known: wal::Lsn::ZERO,
            retry: false,
        });
        assert_eq!(passed_back(lost(), &write, LEADER), Err(KvError::OutcomeUnknown("broke".into())));
        let read = Operation::Next(1);
        assert_eq!(passed_back(lost(), &read, LEADER), Err(KvError::NotLeader { hint: Some(LEADER) }));
        let unsent = Err(CallError::NotSent("down".into()));
        assert_eq!(passed_back(unsent, &write, LEADER), Err(KvError::NotLeader { hint: Some(LEADER) }));
    }
}
