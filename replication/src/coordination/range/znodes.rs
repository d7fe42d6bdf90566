//! The znodes of one range: where they are, what they say, and how each request of the protocol changes them.
//!
//! Below the cluster's root, all content human-readable:
//!
//! ```text
//! ranges/<id>                        made and dropped by the catalog; nothing here brings it back
//! ranges/<id>/epoch                  "7 n2 00c0ffee00c0ffee": highest epoch won, and its holder
//! ranges/<id>/leader                 the same text, ephemeral: the holder's session lives
//! ranges/<id>/election/8/n1-0000..3  "00c0ffee00c0ffee 7.41", ephemeral: a candidate and its last LSN
//! ```
//!
//! Requests read before they write, so each can be tried again as often as need be: that is how an unknown outcome
//! (connection lost) becomes a known one. What is reported is the truth at some time after the request: `done` for
//! [`CoordinationRequest::Win`] means that the epoch znode names (epoch, me), which nobody else can undo but by winning
//! a later epoch.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::future::{join_all, try_join, try_join3};
use tracing::{error, warn};
use wal::sync::lock;
use wal::{CohortId, Epoch, Lsn, ReplicaId};

use crate::coordination::coordinator::{
    CoordinationError, Coordinator, CreateMode, Op, Result, SessionState, Znode,
};
use crate::protocol::coordination::{
    Candidate, CoordinationOutcome, CoordinationRequest, EPOCH_MAX, RangeView, SEQ_MAX,
};

/// Version of the epoch znode in [`RangeView::epoch_version`] while that znode does not exist: the winner creates it.
pub const NO_EPOCH: i32 = -1;

/// How often a request starts over because it lost a race, before it counts as not done.
const CONFLICTS_MAX: u32 = 8;
/// Znodes of a range of which it is told that they hold what cannot be.
const JUNK_TOLD_MAX: usize = 100;
/// Pause before an unknown outcome is read back.
const RETRY: Duration = Duration::from_millis(100);

/// The znode of a range below a cluster's root.
pub fn range_path(root: &str, range: CohortId) -> String {
    format!("{}/ranges/{range}", root.trim_end_matches('/'))
}

/// The leader named by a range's ephemeral leader znode, for routing: a hint, never a proof.
pub async fn leader(
    coordinator: &dyn Coordinator,
    root: &str,
    range: CohortId,
) -> Result<Option<(Epoch, ReplicaId)>> {
    let path = format!("{}/leader", range_path(root, range));
    Ok(coordinator.get(&path).await?.and_then(|node| parse_holder(&node.data)))
}

/// A range's subtree, as one node uses it.
pub(crate) struct RangeZnodes {
    pub(crate) coordinator: Arc<dyn Coordinator>,
    /// The range's own znode.
    pub(crate) path: String,
    pub(crate) me: ReplicaId,
    /// Znodes that were told to hold what cannot be.
    pub(crate) junk: Mutex<BTreeSet<String>>,
}

/// One attempt at a request: it ended, or lost a race and must start over.
enum Attempt {
    Ended(bool),
    Conflict,
}

impl RangeZnodes {
    pub(crate) fn is_session_live(&self) -> bool {
        self.coordinator.session().borrow().state == SessionState::Live
    }

    fn epoch_path(&self) -> String {
        format!("{}/epoch", self.path)
    }

    fn leader_path(&self) -> String {
        format!("{}/leader", self.path)
    }

    fn elections_path(&self) -> String {
        format!("{}/election", self.path)
    }

    fn election_path(&self, epoch: Epoch) -> String {
        format!("{}/election/{epoch}", self.path)
    }

    /// Reads the whole subtree. Its parts are read one after the other: whoever needs a view of one moment reads again if
    /// the watch has fired meanwhile.
    pub(crate) async fn view(&self) -> Result<RangeView> {
        let (epoch_path, leader_path) = (self.epoch_path(), self.leader_path());
        let (epoch_node, leader, directories) = try_join3(
            self.coordinator.get(&epoch_path),
            self.coordinator.get(&leader_path),
            self.election_epochs(),
        )
        .await?;
        let holder = epoch_node.as_ref().and_then(|node| parse_holder(&node.data));
        if holder.is_none() && epoch_node.is_some() {
            self.tell_junk(&epoch_path, "the next leader writes it anew");
        }
        let epoch = holder.map_or(Epoch(0), |(epoch, _)| epoch);
        let mut elections = BTreeMap::new();
        for election in directories.into_iter().filter(|&election| election > epoch) {
            elections.insert(election, self.candidates(election).await?);
        }
        Ok(RangeView {
            session: self.is_session_live(),
            epoch,
            holder: holder.map(|(_, member)| member),
            epoch_version: epoch_node.map_or(NO_EPOCH, |node| node.version),
            leader: leader.and_then(|node| parse_holder(&node.data)),
            elections,
        })
    }

    /// Epochs that have an election directory. A name that is none, or one above all that can be, is nobody's election.
    async fn election_epochs(&self) -> Result<Vec<Epoch>> {
        let names = self.coordinator.list(&self.elections_path()).await?;
        let mut epochs = Vec::with_capacity(names.len());
        for name in names {
            match name.parse().map(Epoch) {
                Ok(epoch) if epoch <= EPOCH_MAX => epochs.push(epoch),
                Ok(_) | Err(_) => {
                    self.tell_junk(&format!("{}/{name}", self.elections_path()), "it is no election");
                }
            }
        }
        Ok(epochs)
    }

    /// Somebody has written what cannot be; told once for each znode.
    fn tell_junk(&self, path: &str, then: &str) {
        let mut told = lock(&self.junk);
        if told.len() < JUNK_TOLD_MAX && told.insert(path.to_owned()) {
            error!(path, "a znode of a range holds what cannot be: {then}");
        }
    }

    async fn candidates(&self, election: Epoch) -> Result<Vec<Candidate>> {
        let directory = self.election_path(election);
        let names = self.coordinator.list(&directory).await?;
        let path = |name: &String| format!("{directory}/{name}");
        let reads = names.iter().map(|name| {
            let path = path(name);
            async move { self.coordinator.get(&path).await }
        });
        let mut candidates = Vec::with_capacity(names.len());
        for (name, node) in names.iter().zip(join_all(reads).await) {
            // Gone meanwhile: the watch has fired, or will.
            let Some(node) = node? else { continue };
            match parse_candidate(name, &node.data).filter(|candidate| candidate.last.epoch < election) {
                Some(candidate) => candidates.push(candidate),
                None => self.tell_junk(&path(name), "it is no candidate"),
            }
        }
        Ok(candidates)
    }

    /// Carries out a request; tries until the outcome is known.
    pub(crate) async fn carry_out(self: Arc<Self>, request: CoordinationRequest) -> CoordinationOutcome {
        let mut conflicts = 0;
        let mut unknown = false;
        let done = loop {
            let attempt = match request {
                CoordinationRequest::Stand { epoch, last } => self.stand(epoch, last).await,
                CoordinationRequest::Win { epoch, epoch_version } => self.win(epoch, epoch_version).await,
                CoordinationRequest::Restore { epoch } => self.restore(epoch).await,
                CoordinationRequest::Resign { epoch } => self.resign(epoch).await,
            };
            match attempt {
                Ok(Attempt::Ended(done)) => break done,
                Ok(Attempt::Conflict) if conflicts < CONFLICTS_MAX => conflicts += 1,
                Ok(Attempt::Conflict) => break false,
                Err(CoordinationError::Unknown(reason)) => {
                    warn!(range = %self.path, ?request, %reason, "outcome unknown, reading back");
                    unknown = true;
                    tokio::time::sleep(RETRY).await;
                }
                Err(CoordinationError::Unavailable(_)) if unknown => tokio::time::sleep(RETRY).await,
                Err(error) => {
                    warn!(range = %self.path, ?request, %error, "coordination request not done");
                    break false;
                }
            }
        };
        CoordinationOutcome { request, done }
    }

    async fn stand(&self, epoch: Epoch, last: Lsn) -> Result<Attempt> {
        let won = self.coordinator.get(&self.epoch_path()).await?;
        if won.and_then(|node| parse_holder(&node.data)).is_some_and(|(won, _)| won >= epoch) {
            return Ok(Attempt::Ended(false));
        }
        let content = format!("{} {last}", self.me.incarnation);
        if self.withdraw(Some((epoch, &content))).await? {
            return Ok(Attempt::Ended(true));
        }
        let directory = self.election_path(epoch);
        for path in [self.elections_path(), directory.clone()] {
            match self.coordinator.create(&path, Bytes::new(), CreateMode::Persistent).await {
                Ok(_) | Err(CoordinationError::NodeExists(_)) => {}
                Err(error) => return conflict(error),
            }
        }
        let path = format!("{directory}/{}-", self.me.node);
        match self.coordinator.create(&path, Bytes::from(content), CreateMode::EphemeralSequential).await {
            Ok(_) => Ok(Attempt::Ended(true)),
            Err(error) => conflict(error),
        }
    }

    /// Deletes this node's candidacies in all directories, but keeps the one to `keep` if its content is just
    /// that and it belongs to the living session; returns whether it was there.
    async fn withdraw(&self, keep: Option<(Epoch, &str)>) -> Result<bool> {
        let prefix = format!("{}-", self.me.node);
        let mut kept = false;
        for election in self.election_epochs().await? {
            let directory = self.election_path(election);
            for name in self.coordinator.list(&directory).await? {
                if !name.starts_with(&prefix) {
                    continue;
                }
                let path = format!("{directory}/{name}");
                let Some(node) = self.coordinator.get(&path).await? else { continue };
                let wanted = keep.is_some_and(|(epoch, content)| {
                    epoch == election && node.mine && node.data == content.as_bytes()
                });
                if wanted && !kept {
                    kept = true;
                } else {
                    self.delete(&path).await?;
                }
            }
        }
        Ok(kept)
    }

    async fn win(&self, epoch: Epoch, epoch_version: i32) -> Result<Attempt> {
        let (epoch_path, leader_path) = (self.epoch_path(), self.leader_path());
        let content = self.holder_text(epoch);
        // Asked for at once: a range is without a leader while we look.
        let (node, old) =
            try_join(self.coordinator.get(&epoch_path), self.coordinator.get(&leader_path)).await?;
        if node.as_ref().is_some_and(|node| node.data == content) {
            return Ok(Attempt::Ended(true));
        }
        if node.map_or(NO_EPOCH, |node| node.version) != epoch_version {
            return Ok(Attempt::Ended(false));
        }
        let mut ops = vec![if epoch_version == NO_EPOCH {
            Op::Create { path: epoch_path, data: content.clone(), mode: CreateMode::Persistent }
        } else {
            Op::Set { path: epoch_path, data: content.clone(), version: Some(epoch_version) }
        }];
        ops.extend(self.replace_leader(old.as_ref(), content));
        self.all_or_nothing(ops).await
    }

    async fn restore(&self, epoch: Epoch) -> Result<Attempt> {
        let content = self.holder_text(epoch);
        let Some(node) = self.coordinator.get(&self.epoch_path()).await? else {
            return Ok(Attempt::Ended(false));
        };
        if node.data != content {
            return Ok(Attempt::Ended(false));
        }
        let old = self.coordinator.get(&self.leader_path()).await?;
        if old.as_ref().is_some_and(|old| old.mine && old.data == content) {
            return Ok(Attempt::Ended(true));
        }
        let mut ops = vec![Op::Check { path: self.epoch_path(), version: node.version }];
        ops.extend(self.replace_leader(old.as_ref(), content));
        self.all_or_nothing(ops).await
    }

    async fn resign(&self, epoch: Epoch) -> Result<Attempt> {
        let content = self.holder_text(epoch);
        let standing = self.coordinator.get(&self.leader_path()).await?;
        if standing.is_some_and(|node| node.data == content) {
            let Some(node) = self.coordinator.get(&self.epoch_path()).await? else {
                return Ok(Attempt::Conflict);
            };
            // The check keeps a successor's leader znode, made meanwhile, from being deleted in place of mine.
            let check = Op::Check { path: self.epoch_path(), version: node.version };
            let delete = Op::Delete { path: self.leader_path(), version: None };
            if node.data != content {
                return Ok(Attempt::Conflict);
            }
            if let Attempt::Conflict = self.all_or_nothing(vec![check, delete]).await? {
                return Ok(Attempt::Conflict);
            }
        }
        self.withdraw(None).await?;
        Ok(Attempt::Ended(true))
    }

    fn replace_leader(&self, old: Option<&Znode>, content: Bytes) -> Vec<Op> {
        let path = self.leader_path();
        let delete = old.map(|_| Op::Delete { path: path.clone(), version: None });
        let create = Op::Create { path, data: content, mode: CreateMode::Ephemeral };
        delete.into_iter().chain([create]).collect()
    }

    async fn all_or_nothing(&self, ops: Vec<Op>) -> Result<Attempt> {
        match self.coordinator.multi(ops).await {
            Ok(()) => Ok(Attempt::Ended(true)),
            Err(error) => conflict(error),
        }
    }

    /// Removes what elections up to `epoch` left behind. What cannot be removed now goes with the next win.
    pub(crate) async fn clear_elections(self: Arc<Self>, epoch: Epoch) {
        if let Err(error) = self.try_clear_elections(epoch).await {
            warn!(range = %self.path, %error, "old elections not cleared");
        }
    }

    async fn try_clear_elections(&self, epoch: Epoch) -> Result<()> {
        for election in self.election_epochs().await?.into_iter().filter(|&election| election <= epoch) {
            let directory = self.election_path(election);
            for name in self.coordinator.list(&directory).await? {
                self.delete(&format!("{directory}/{name}")).await?;
            }
            match self.delete(&directory).await {
                // A late candidate has come; its node learns from the epoch that this election is over.
                Ok(()) | Err(CoordinationError::NotEmpty(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Deletes a node; that it is gone already is no error.
    async fn delete(&self, path: &str) -> Result<()> {
        match self.coordinator.delete(path, None).await {
            Ok(()) | Err(CoordinationError::NoNode(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn holder_text(&self, epoch: Epoch) -> Bytes {
        Bytes::from(format!("{epoch} {} {}", self.me.node, self.me.incarnation))
    }
}

/// A lost race starts the request over; anything else is an error.
fn conflict(error: CoordinationError) -> Result<Attempt> {
    match error {
        CoordinationError::NoNode(_)
        | CoordinationError::NodeExists(_)
        | CoordinationError::BadVersion(_)
        | CoordinationError::NotEmpty(_) => Ok(Attempt::Conflict),
        CoordinationError::Unknown(_)
        | CoordinationError::Unavailable(_)
        | CoordinationError::Refused(_)
        | CoordinationError::Io(_) => Err(error),
    }
}

/// `7 n2 00c0ffee00c0ffee`
fn parse_holder(data: &[u8]) -> Option<(Epoch, ReplicaId)> {
    let mut words = std::str::from_utf8(data).ok()?.split(' ');
    let epoch = Epoch(words.next()?.parse().ok()?);
    let member = ReplicaId { node: words.next()?.parse().ok()?, incarnation: words.next()?.parse().ok()? };
    (words.next().is_none() && epoch <= EPOCH_MAX).then_some((epoch, member))
}

/// Name `n1-0000000003`, content `00c0ffee00c0ffee 7.41`.
fn parse_candidate(name: &str, data: &[u8]) -> Option<Candidate> {
    let (node, order) = name.split_once('-')?;
    let (incarnation, last) = std::str::from_utf8(data).ok()?.split_once(' ')?;
    let member = ReplicaId { node: node.parse().ok()?, incarnation: incarnation.parse().ok()? };
    let last: Lsn = last.parse().ok().filter(|last: &Lsn| last.epoch <= EPOCH_MAX && last.seq <= SEQ_MAX)?;
    Some(Candidate { member, last, order: order.parse().ok()? })
}
