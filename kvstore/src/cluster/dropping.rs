//! Dropping a table: one atomic step at the coordinator, then each member gives its data back.
//!
//! The step takes name and descriptor away and leaves a `dropped` mark for each range. The marks are what replicas act on:
//! data is deleted only on such an explicit record, never because a znode is missing (a coordinator that was emptied or
//! restored from a backup, or a wrong chroot, must not cost data). A member closes its replica when it sees the mark, and
//! takes itself off it when its data are gone for good; the last one clears up. A member that was away does so when it
//! comes back: the mark names it until then.
//!
//! The drop is answered when a majority of each range's members has closed, so that no write to the table can be
//! acknowledged afterwards, and the live nodes, members or not, have seen that the table is gone.

use std::sync::Arc;
use std::time::{Duration, Instant};

use replication::coordination::{CoordinationError, Op};
use wal::{CohortId, NodeId};

use super::layout::{self, RangeDescriptor};
use super::map::{ClusterMap, coordination};
use super::tables::create;
use super::view::TableView;
use crate::error::KvError;

/// How long the answer waits for a majority of the members, at most.
const MAJORITY_WAIT_MAX: Duration = Duration::from_secs(10);
/// How long it waits for the other live nodes.
const OTHERS_WAIT_MAX: Duration = Duration::from_secs(1);
/// How often it looks whether they have.
const POLL: Duration = Duration::from_millis(10);

/// Who has not taken itself off a dropped range's mark.
struct Waiting {
    /// Members are left that could still acknowledge a write.
    majority: bool,
    /// A live node is left.
    live: bool,
}

/// Whose drop took a table away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DroppedBy {
    /// The caller's.
    This,
    /// The caller's or another one that ran at the same time: the coordinator did not say what became of the step, and then
    /// the table was gone. Its client is told that the table is dropped, which is true and what it asked for.
    ThisOrAnother,
}

/// Who holds ranges: a node's process and its disk.
pub trait Holder {
    /// Nothing of the range is served any more.
    fn close(&self, range: CohortId);

    /// Notes for good that its log is dropped.
    fn forget(&self, range: CohortId) -> impl Future<Output = Result<(), String>> + Send;

    /// Deletes its data.
    fn remove(&self, range: CohortId) -> impl Future<Output = Result<(), String>> + Send;
}

impl ClusterMap {
    /// Drops a table: it is gone for everyone who looks; its data goes when the members see the marks.
    pub(crate) async fn drop_table(&self, table: &TableView) -> Result<DroppedBy, KvError> {
        match self.coordinator.multi(self.drop_steps(table)).await {
            Ok(()) => Ok(DroppedBy::This),
            Err(CoordinationError::NoNode(_)) => Err(KvError::NoTable(table.table.name.clone())),
            Err(error) => {
                let path = self.paths.table(table.table.id);
                match self.coordinator.get(&path).await {
                    Ok(None) => Ok(DroppedBy::ThisOrAnother),
                    _ if matches!(error, CoordinationError::Unknown(_)) => {
                        Err(KvError::OutcomeUnknown(error.to_string()))
                    }
                    Ok(Some(_)) | Err(_) => Err(coordination(error)),
                }
            }
        }
    }

    /// The steps that drop a table, to be done at once.
    pub(super) fn drop_steps(&self, table: &TableView) -> Vec<Op> {
        let mut ops = vec![
            Op::Delete { path: self.paths.name(&table.table.name), version: None },
            Op::Delete { path: self.paths.table(table.table.id), version: None },
        ];
        if table.table != table.made {
            ops.push(Op::Delete { path: self.paths.object(table.table.id), version: None });
        }
        for (at, range) in table.ranges.iter().enumerate() {
            let mut nodes: Vec<NodeId> = range.descriptor.nodes().collect();
            if at == 0 {
                // One mark names all live nodes: their gateways, too, must see that the table is gone.
                nodes.extend(self.view().nodes.keys().filter(|node| !range.descriptor.has_node(**node)));
            }
            let nodes = layout::encode_nodes(nodes.into_iter());
            ops.push(create(self.paths.dropped(range.descriptor.id), nodes));
        }
        ops
    }

    /// Drops the table of this name, and sees that it is gone. It stays to be awaited ([`ClusterMap::await_drop`]).
    pub async fn drop_named(&self, name: &str) -> Result<(Arc<TableView>, DroppedBy), KvError> {
        let mut table = self.table_named(name).await?;
        let by = match self.drop_table(&table).await {
            // Known from a stale cache: another table may bear the name now.
            Err(KvError::NoTable(_)) => {
                self.refresh_now().await.map_err(coordination)?;
                table = self.table_named(name).await?;
                self.drop_table(&table).await?
            }
            result => result?,
        };
        self.refresh().await.map_err(|error| {
            KvError::Unavailable(format!(
                "table {name} was dropped, but then the coordination service failed ({error})"
            ))
        })?;
        Ok((table, by))
    }

    /// Waits until no write to the dropped table can be acknowledged any more ([dropped-takes-no-write]), and the live
    /// nodes know that it is gone;
    /// for a bounded time: members that are away drop their ranges when they come back. `false`: a write may still be
    /// acknowledged, or nobody can tell.
    pub async fn await_drop(&self, table: &TableView, deadline: Instant) -> bool {
        let started = self.time.now();
        let mut confirmed = true;
        let majority_by = deadline.min(started + MAJORITY_WAIT_MAX);
        for range in &table.ranges {
            let descriptor = &range.descriptor;
            loop {
                let waiting = match self.waiting_for(descriptor).await {
                    Ok(waiting) => waiting,
                    // The coordinator is away: what is dropped is dropped, and nobody can be asked.
                    Err(_) => return false,
                };
                let now = self.time.now();
                let live = waiting.live && now < started + OTHERS_WAIT_MAX;
                if !live && !waiting.majority {
                    break;
                }
                if now + POLL > majority_by {
                    tracing::warn!(
                        table = table.table.name,
                        range = %descriptor.id,
                        "the table is dropped, but a majority of a range's members has not confirmed it in time: a \
                         write that is under way there may still be acknowledged, and is lost"
                    );
                    confirmed = false;
                    break;
                }
                self.time.sleep(POLL).await;
            }
        }
        confirmed
    }

    /// Gives back what this node holds of a dropped range, if it does, and takes the node off the mark: not before it is
    /// certain that nothing comes back after a power loss, for then nobody would know any more what it is
    /// ([dropped-everywhere]). `false`: it
    /// was not on the mark.
    pub async fn give_back(&self, range: CohortId, me: NodeId, holder: &impl Holder) -> Result<bool, String> {
        let path = self.paths.dropped(range);
        let mark = self.coordinator.get(&path).await.map_err(|error| error.to_string())?;
        let Some(mark) = mark else { return Ok(false) };
        let Some(nodes) = layout::decode_nodes(&mark.data) else {
            return Err(format!(
                "{path} is no record of a drop: its data stay here; restore its text, or delete it"
            ));
        };
        if !nodes.contains(&me) && !nodes.is_empty() {
            return Ok(false);
        }
        holder.close(range);
        let forgotten = holder.forget(range).await;
        // Even if the log has no space to note it: this is what makes space, and as long as the node is on the mark the range
        // is dropped again at each start [space-can-be-freed].
        holder.remove(range).await?;
        forgotten?;
        self.forgot_range(range, me).await.map_err(|error| error.to_string())?;
        Ok(true)
    }

    async fn waiting_for(&self, range: &RangeDescriptor) -> Result<Waiting, CoordinationError> {
        let Some(mark) = self.coordinator.get(&self.paths.dropped(range.id)).await? else {
            return Ok(Waiting { majority: false, live: false });
        };
        let left = layout::decode_nodes(&mark.data).unwrap_or_default();
        let members = range.nodes().filter(|node| left.contains(node)).count();
        let view = self.view();
        Ok(Waiting {
            majority: members > range.members.len() / 2,
            live: left.iter().any(|node| view.nodes.contains_key(node)),
        })
    }

    /// This node holds nothing of the dropped range any more, and knows that its table is gone.
    pub(crate) async fn forgot_range(&self, range: CohortId, me: NodeId) -> Result<(), CoordinationError> {
        let path = self.paths.dropped(range);
        loop {
            let Some(mark) = self.coordinator.get(&path).await? else { return Ok(()) };
            let Some(mut nodes) = layout::decode_nodes(&mark.data) else { return Ok(()) };
            nodes.retain(|node| *node != me);
            if nodes.is_empty() {
                // Nobody drives the range any more: its znodes can go, and last of all the mark.
                self.clear(self.paths.range(range)).await?;
                return match self.coordinator.delete(&path, None).await {
                    Err(CoordinationError::NoNode(_)) | Ok(()) => Ok(()),
                    Err(error) => Err(error),
                };
            }
            let data = layout::encode_nodes(nodes.into_iter());
            match self.coordinator.set(&path, data, Some(mark.version)).await {
                Ok(_) | Err(CoordinationError::NoNode(_)) => return Ok(()),
                Err(CoordinationError::BadVersion(_)) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Deletes a node and all below it.
    pub(crate) async fn clear(&self, path: String) -> Result<(), CoordinationError> {
        // Depth first, without recursion: a node is met again after its children.
        let mut left = vec![(path, false)];
        while let Some((path, childless)) = left.pop() {
            if childless {
                match self.coordinator.delete(&path, None).await {
                    Ok(()) | Err(CoordinationError::NoNode(_)) => continue,
                    Err(error) => return Err(error),
                }
            }
            let children = self.coordinator.list(&path).await?;
            left.push((path.clone(), true));
            left.extend(children.into_iter().map(|child| (format!("{path}/{child}"), false)));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use bytes::Bytes;
    use replication::coordination::embedded::Embedded;

    use super::*;
    use crate::cluster::layout::Paths;

    /// A node whose log has no space, at first.
    #[derive(Default)]
    struct Full {
        space: AtomicBool,
        removed: AtomicUsize,
    }

    impl Holder for Full {
        fn close(&self, _: CohortId) {}

        async fn forget(&self, _: CohortId) -> Result<(), String> {
            match self.space.load(Ordering::Relaxed) {
                true => Ok(()),
                false => Err("disk full".into()),
            }
        }

        async fn remove(&self, _: CohortId) -> Result<(), String> {
            self.removed.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_drop_frees_space_on_a_node_whose_log_has_none_and_is_done_when_it_has() {
        let map = ClusterMap::new(Embedded::new().client(), Paths::new("c"));
        map.ensure().await.unwrap();
        let (range, node, full) = (CohortId(7), NodeId(1), Full::default());
        let mark = map.paths.dropped(range);
        let nodes = layout::encode_nodes([node].into_iter());
        map.coordinator.multi(vec![create(mark.clone(), nodes)]).await.unwrap();
        let mark = async || map.coordinator.get(&mark).await.unwrap().map(|found| found.data);
        assert_eq!(map.give_back(range, node, &full).await, Err("disk full".into()));
        assert_eq!(full.removed.load(Ordering::Relaxed), 1, "its tables are gone");
        assert_eq!(
            mark().await.as_ref().and_then(|data: &Bytes| layout::decode_nodes(data)),
            Some(vec![node])
        );
        full.space.store(true, Ordering::Relaxed);
        assert_eq!(map.give_back(range, node, &full).await, Ok(true));
        assert_eq!(mark().await, None);
    }
}
