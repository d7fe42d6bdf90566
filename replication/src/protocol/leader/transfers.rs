//! The leases of an epoch given away: to us by the leader before us, and by us to a successor.
//!
//! A release is final: after it the leader never serves or heartbeats under its epoch again [release-is-final].

use wal::{Epoch, NodeId};

use crate::protocol::effect::{Effect, Reply};
use crate::protocol::event::Token;
use crate::protocol::time::Stamp;

/// A transfer of leadership under way: no new writes.
#[derive(Debug)]
pub(crate) struct Transfer {
    /// The client that asked for it; nobody, if the leader itself did.
    pub(crate) token: Option<Token>,
    /// The successor.
    pub(crate) target: NodeId,
    /// It is given up then.
    pub(crate) deadline: Stamp,
}

impl Transfer {
    pub(crate) fn reply(&self, reply: Reply, out: &mut Vec<Effect>) {
        out.extend(self.token.map(|token| Effect::Reply { token, reply }));
    }
}

/// Releases of leases, and the transfer under way.
#[derive(Debug)]
pub(crate) struct Transfers {
    /// The epoch whose leases the former leader released for us.
    inherited: Option<Epoch>,
    under_way: Option<Transfer>,
    /// For whom the leases of our own epoch are given away.
    released: Option<NodeId>,
    /// The leader does not try (again) to transfer by itself before this.
    again_at: Option<Stamp>,
}

impl Transfers {
    pub(crate) fn new(inherited: Option<Epoch>) -> Transfers {
        Transfers { inherited, under_way: None, released: None, again_at: None }
    }

    /// The epoch whose leases were released for us, for those whom we ask to promise.
    pub(crate) fn inherited(&self) -> Option<Epoch> {
        self.inherited.filter(|_| self.released.is_none())
    }

    pub(crate) fn has_released(&self) -> bool {
        self.released.is_some()
    }

    /// For whom the leases of our own epoch are given away.
    pub(crate) fn released_to(&self) -> Option<NodeId> {
        self.released
    }

    pub(crate) fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    pub(crate) fn target(&self) -> Option<NodeId> {
        self.under_way.as_ref().map(|transfer| transfer.target)
    }

    pub(crate) fn begin(&mut self, transfer: Transfer) {
        self.under_way = Some(transfer);
    }

    /// The successor has everything: the leases are its own from now on.
    pub(crate) fn release(&mut self) -> Option<Transfer> {
        self.released = self.target();
        self.under_way.take()
    }

    /// The transfer ends without a release.
    pub(crate) fn give_up(&mut self) -> Option<Transfer> {
        self.under_way.take()
    }

    /// The transfer, if its deadline has passed: it ends without a release.
    pub(crate) fn expire(&mut self, now: Stamp) -> Option<Transfer> {
        self.under_way.take_if(|transfer| now >= transfer.deadline)
    }

    /// Whether the leader may try to transfer by itself now.
    pub(crate) fn may_try(&self, now: Stamp) -> bool {
        self.under_way.is_none() && self.again_at.is_none_or(|at| now >= at)
    }

    pub(crate) fn try_again_at(&mut self, at: Stamp) {
        self.again_at = Some(at);
    }
}
