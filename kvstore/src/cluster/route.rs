//! One range as the gateway of this node knows it: what the coordinator says, and what answers have told.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use wal::sync::lock;
use wal::{CohortId, Lsn, NodeId};

use super::layout::RangeDescriptor;

/// The call that looks for a leader does so for all that wait, and is replaced if it was not at it for so long.
const SEARCHER_ABSENT: Duration = Duration::from_millis(100);

/// One range, with what this node's gateway has learned about it.
#[derive(Debug)]
pub struct RangeRoute {
    pub(crate) descriptor: Arc<RangeDescriptor>,
    /// Version of the range's znode that held the descriptor.
    pub(crate) version: u32,
    knowledge: Mutex<Knowledge>,
    /// Grows whenever waiting calls should ask whoever leads now.
    news: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Knowledge {
    /// Where the leader is thought to be.
    leader: Option<NodeId>,
    /// What the replica in this process said last of the leader.
    local: Option<NodeId>,
    /// The last attempt at the leader failed, and none has succeeded since.
    troubled: bool,
    /// The call that looks for the leader, and when it was at it last.
    searcher: Option<(u64, Instant)>,
    /// Highest LSN seen in any answer.
    known: Lsn,
}

impl RangeRoute {
    /// A range of which nothing is known yet but what the coordinator says.
    pub(crate) fn new(descriptor: Arc<RangeDescriptor>, version: u32) -> RangeRoute {
        RangeRoute { descriptor, version, knowledge: Mutex::default(), news: watch::Sender::new(0) }
    }

    /// The range.
    pub fn range(&self) -> CohortId {
        self.descriptor.id
    }

    /// The nodes of its members.
    pub fn members(&self) -> Vec<NodeId> {
        self.descriptor.nodes().collect()
    }

    /// Where the leader is thought to be.
    pub fn leader(&self) -> Option<NodeId> {
        self.lock().leader
    }

    /// Notes where the leader is thought to be.
    pub(crate) fn set_leader(&self, leader: Option<NodeId>) {
        self.lock().leader = leader;
    }

    /// Highest LSN seen in any answer.
    pub fn known(&self) -> Lsn {
        self.lock().known
    }

    /// An answer of the range came with this LSN.
    pub fn saw(&self, lsn: Lsn) {
        let mut knowledge = self.lock();
        knowledge.known = lsn.max(knowledge.known);
    }

    /// Takes over what an older route of the same range has learned.
    pub(crate) fn learn(&self, old: &RangeRoute) {
        let Knowledge { leader, known, .. } = *old.lock();
        self.set_leader(leader);
        self.saw(known);
    }

    /// What the replica in this process says of the leader.
    pub fn heard_locally(&self, local: Option<NodeId>) {
        let mut knowledge = self.lock();
        if knowledge.local == local {
            return;
        }
        knowledge.local = local;
        if local.is_some() && knowledge.leader != local {
            knowledge.leader = local;
            drop(knowledge);
            self.news.send_modify(|news| *news += 1);
        }
    }

    /// A node has answered as the leader.
    pub(crate) fn answered(&self, node: NodeId) {
        let mut knowledge = self.lock();
        let news = knowledge.leader != Some(node) || knowledge.troubled;
        (knowledge.leader, knowledge.troubled, knowledge.searcher) = (Some(node), false, None);
        drop(knowledge);
        if news {
            self.news.send_modify(|news| *news += 1);
        }
    }

    /// A node does not lead, or cannot be asked; somebody may have said who leads.
    pub(crate) fn failed(&self, node: NodeId, hint: Option<NodeId>) {
        let mut knowledge = self.lock();
        knowledge.troubled = true;
        if hint.is_some() || knowledge.leader == Some(node) {
            knowledge.leader = hint;
        }
    }

    /// The leader was reached, but can do nothing now.
    pub(crate) fn is_busy(&self) {
        self.lock().troubled = true;
    }

    /// Where the leader is thought to be, and how much news there was up to now.
    pub(crate) fn leading(&self) -> (Option<NodeId>, u64) {
        // In this order: news that comes in between is looked at again.
        let news = self.news();
        (self.leader(), news)
    }

    /// How often waiting calls should have asked whoever leads.
    pub fn news(&self) -> u64 {
        *self.news.borrow()
    }

    /// To wait for news.
    pub(crate) fn follow(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    /// Whether the call of this number is the one that looks for the leader: one does it for all.
    pub(crate) fn searches(&self, call: u64, now: Instant) -> bool {
        let mut knowledge = self.lock();
        let taken = knowledge
            .searcher
            .is_some_and(|(other, at)| other != call && now.saturating_duration_since(at) < SEARCHER_ABSENT);
        if !taken {
            knowledge.searcher = Some((call, now));
        }
        !taken
    }

    fn lock(&self) -> MutexGuard<'_, Knowledge> {
        lock(&self.knowledge)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use wal::{CohortId, Incarnation, ReplicaId};

    use super::*;
    use crate::request::TableId;

    /// A range on nodes 1, 2 and 3.
    pub(crate) fn range() -> RangeRoute {
        let members = (1..=3).map(|node| ReplicaId { node: NodeId(node), incarnation: Incarnation(7) });
        RangeRoute::new(
            Arc::new(RangeDescriptor {
                id: CohortId(9),
                table: TableId(1),
                start: "".into(),
                end: None,
                members: members.collect(),
                rebuilt: Vec::new(),
            }),
            0,
        )
    }

    #[test]
    fn news_is_a_new_leader_or_one_that_answers_again() {
        let (route, one, two) = (range(), NodeId(1), NodeId(2));
        route.answered(one);
        assert_eq!((route.leader(), route.news()), (Some(one), 1));
        route.answered(one);
        assert_eq!(route.news(), 1, "nobody waits for it");
        route.is_busy();
        route.answered(one);
        assert_eq!(route.news(), 2, "who waited may ask again");
        route.heard_locally(Some(two));
        assert_eq!((route.leader(), route.news()), (Some(two), 3));
        route.failed(two, Some(one));
        route.heard_locally(Some(two));
        assert_eq!((route.leader(), route.news()), (Some(one), 3), "a hint is news to the one call only");
    }

    #[test]
    fn one_call_searches_until_it_is_absent() {
        let (route, start) = (range(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        assert!(route.searches(1, at(0)) && !route.searches(2, at(50)));
        assert!(route.searches(1, at(90)) && !route.searches(2, at(150)));
        assert!(route.searches(2, at(190)) && !route.searches(1, at(191)));
    }
}
