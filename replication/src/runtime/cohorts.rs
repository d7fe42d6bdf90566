//! The cohorts of a node, whatever their stores: where what happens is handed to them.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};

use tokio::sync::oneshot;
use wal::{CohortId, NodeId, sync};

use super::outbox::Outbox;
use crate::drive::ReplicaError;
use crate::protocol::event::Event;

/// A cohort of whatever store, as the node drives it.
pub(crate) trait Driven: Send + Sync {
    fn id(&self) -> CohortId;
    /// All members, this node among them.
    fn members(&self) -> &[NodeId];
    /// Puts an event into the inbox.
    fn push(&self, event: Event);
    /// Handles what is in the inbox, unless somebody is at it (who then takes all).
    fn run(&self, wakes: &mut Wakes);
    /// Transfers the leadership to another member, if it is here; the receiver gets how that ended.
    fn transfer_away(&self) -> Option<oneshot::Receiver<Result<(), ReplicaError>>>;
    /// Whether a member is heard of that could take the leadership over.
    fn has_heir(&self) -> bool;
    /// Whether another member leads and serves, as far as is known here: its epoch has begun.
    fn is_succeeded(&self) -> bool;
    /// Ends for good: when it returns nothing acts any more.
    fn end(&self);
}

/// Queues with new messages, to be woken once at the end of a round.
#[derive(Default)]
pub(crate) struct Wakes(Vec<Arc<Outbox>>);

impl Wakes {
    pub(crate) fn add(&mut self, outbox: &Arc<Outbox>) {
        if !self.0.iter().any(|other| Arc::ptr_eq(other, outbox)) {
            self.0.push(Arc::clone(outbox));
        }
    }

    /// Lets the transport have what was pushed.
    pub(crate) fn flush(self) {
        for outbox in self.0 {
            outbox.wake();
        }
    }
}

/// All cohorts of a node. No lock is held while one acts.
#[derive(Default)]
pub(crate) struct Cohorts(RwLock<HashMap<CohortId, Arc<dyn Driven>>>);

impl Cohorts {
    /// Adds a cohort. Whoever opens one twice has lost track of its data: refused.
    pub(crate) fn add(&self, cohort: Arc<dyn Driven>) -> bool {
        let mut cohorts = sync::write(&self.0);
        if cohorts.contains_key(&cohort.id()) {
            return false;
        }
        cohorts.insert(cohort.id(), cohort);
        true
    }

    pub(crate) fn remove(&self, id: CohortId) {
        sync::write(&self.0).remove(&id);
    }

    pub(crate) fn get(&self, id: CohortId) -> Option<Arc<dyn Driven>> {
        sync::read(&self.0).get(&id).cloned()
    }

    /// All of them now.
    pub(crate) fn all(&self) -> Vec<Arc<dyn Driven>> {
        sync::read(&self.0).values().cloned().collect()
    }

    /// Takes all of them out.
    pub(crate) fn take_all(&self) -> Vec<Arc<dyn Driven>> {
        sync::write(&self.0).drain().map(|(_, cohort)| cohort).collect()
    }

    /// Hands an event to each cohort that `member` belongs to (to every one, if `None`) in one round, so that what they
    /// all say goes out in one frame per peer.
    pub(crate) fn notify(&self, member: Option<NodeId>, event: impl Fn() -> Event) {
        let mut wakes = Wakes::default();
        for cohort in self.all() {
            if member.is_none_or(|member| cohort.members().contains(&member)) {
                cohort.push(event());
                cohort.run(&mut wakes);
            }
        }
        wakes.flush();
    }
}
