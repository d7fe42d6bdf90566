//! One node's replica of one cohort, as the store above uses it: write, read, wait, transfer.
//!
//! How to read strongly: `lease()` gives the epoch under which reads may be served, without any lock; read the store;
//! `lease()` must then give the same epoch, else what was read may be stale and the read starts over [lease-recheck].
//! Without a lease, [`Replica::read_barrier`] asks a majority once; when it returns, a read of the store that starts then is
//! strong. A timeline read takes the store as it is, and [`Replica::staleness`] says how old that may be.

use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, timeout_at};
use wal::{ChainHash, Epoch, Lsn, NodeId, ReplicaId};

use super::driver::Replica;
use crate::drive::{Input, ReplicaError, WriteResult};
use crate::protocol::effect::Unavailable;
use crate::protocol::event::Event;
use crate::store::Store;

/// While so many bytes of this node's appends wait for their force, its leaders take no further write: followers may
/// commit without this disk, and what it has not forced would grow as long as it hangs.
const LOG_WAITING_BYTES_MAX: u64 = 64 << 20;

/// Tells when the leadership that a replica is taking over, or giving away, has come to where it goes.
pub struct Turn {
    openings: watch::Receiver<Epoch>,
    leaders: watch::Receiver<Option<NodeId>>,
}

impl Turn {
    /// Returns when the replica has opened a leadership, or another leader is known there, since the last time. Cancel-safe.
    pub async fn come(&mut self) {
        tokio::select! {
            opened = self.openings.changed() => opened,
            changed = self.leaders.changed() => changed,
        }
        // An error means that the replica is gone.
        .unwrap_or_default();
    }
}

impl<S: Store> Replica<S> {
    /// What happens to the leadership here from now on.
    pub fn turn(&self) -> Turn {
        Turn { openings: self.openings.subscribe(), leaders: self.leader_changes() }
    }

    /// Some members have other disks now (this node has not): the same nodes, each with its disk.
    pub fn replaced(&self, members: Vec<ReplicaId>) {
        self.submit(Input::Event(Event::Members(members)));
    }

    /// Has the leader, if it is here, decide and replicate a write. Returns when it is committed and applied, or
    /// certainly refused, or lost. Waits as long as that takes: callers set deadlines. A caller that stops waiting
    /// leaves the write as it is: it may still commit.
    pub async fn write(&self, request: S::Request) -> WriteResult<S::Refusal> {
        if self.log_waiting_bytes() > LOG_WAITING_BYTES_MAX {
            return Err(ReplicaError::Unavailable(Unavailable::Overloaded));
        }
        let (sender, receiver) = oneshot::channel();
        let begun = Instant::now();
        self.submit(Input::Write { request, sender });
        // The sender is dropped unused only if the replica ends while the write is under way: it may be in the log.
        let written = receiver.await.unwrap_or(Err(ReplicaError::Unknown));
        if matches!(written, Ok(Ok(_))) {
            self.node.metrics.commit_times.took(begun.elapsed());
        }
        written
    }

    /// The epoch under which strong reads may be served here now. Takes no lock.
    pub fn lease(&self) -> Option<Epoch> {
        self.lease.valid()
    }

    /// Returns when `after` is applied here and a majority has confirmed, after this call, that this replica leads: a
    /// read of the store that starts now is strong. For when there is no lease.
    pub async fn read_barrier(&self, after: Lsn) -> Result<(), ReplicaError> {
        let (sender, receiver) = oneshot::channel();
        self.submit(Input::Read { after, sender });
        receiver.await.unwrap_or(Err(ReplicaError::Closed))
    }

    /// Returns when `lsn` is applied here, whoever leads; [`ReplicaError::Behind`] at the deadline.
    pub async fn wait_applied(&self, lsn: Lsn, deadline: Instant) -> Result<(), ReplicaError> {
        if self.store.applied() >= lsn {
            return Ok(());
        }
        let mut applied = self.applied.subscribe();
        match timeout_at(deadline, applied.wait_for(|applied| *applied >= lsn)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(ReplicaError::Closed),
            Err(_) => Err(ReplicaError::Behind { applied: self.store.applied() }),
        }
    }

    /// Transfers the leadership to `target`, or to the follower that is furthest; returns when this replica has let go
    /// and the successor was asked to take over.
    pub async fn transfer(&self, target: Option<NodeId>) -> Result<(), ReplicaError> {
        let (sender, receiver) = oneshot::channel();
        self.submit(Input::Transfer { target, sender });
        receiver.await.unwrap_or(Err(ReplicaError::Closed))
    }

    /// Has the leadership, if it is here, go to the follower that is furthest; nobody waits for how that ends.
    pub fn give_away(&self) {
        let (sender, _) = oneshot::channel();
        self.submit(Input::Transfer { target: None, sender });
    }

    /// The store holds everything up to `flushed` durably in SSTables: the log need not.
    pub fn note_flushed(&self, flushed: Lsn, flushed_chain: ChainHash) {
        self.submit(Input::Event(Event::Flushed { flushed, flushed_chain }));
    }
}
