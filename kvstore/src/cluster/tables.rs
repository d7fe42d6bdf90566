//! Making a table: one atomic step at the coordinator, so a crash leaves nothing half done. The table's number, name,
//! descriptor and ranges appear together in one multi.

use bytes::Bytes;
use replication::coordination::{CoordinationError, CreateMode, Op};
use wal::{CohortId, NodeId, ReplicaId};

use super::layout::{self, RangeDescriptor, TableDescriptor};
use super::map::{ClusterMap, coordination};
use crate::error::KvError;
use crate::request::{Table, TableId};

/// Replicas of a range.
pub(crate) const REPLICAS: usize = 3;
/// ZooKeeper takes 1 MiB per request; this leaves room for its own words.
pub(super) const MULTI_BYTES_MAX: usize = 768 << 10;
/// Longest table name, in bytes.
const NAME_BYTES_MAX: usize = 255;
/// Largest number of a table: nobody makes so many, so a larger one was never given.
const NUMBER_MAX: u64 = 1 << 48;
/// Tries against others that make tables at the same time.
pub(super) const TRIES_MAX: usize = 50;

/// Members of `count` ranges by chained declustering: a first node and the next two, each range one further.
pub(crate) fn place(nodes: &[ReplicaId], count: usize, first: usize) -> Vec<Vec<ReplicaId>> {
    let replicas = nodes.len().min(REPLICAS);
    let chain = |start: usize| (0..replicas).map(|next| nodes[(start + next) % nodes.len()]).collect();
    (0..count).map(|range| chain(first + range)).collect()
}

impl ClusterMap {
    /// Makes a table. Returns when it stands at the coordinator; its replicas open by themselves.
    pub async fn create_table(&self, name: &str, schema: Bytes, splits: &[Bytes]) -> Result<Table, KvError> {
        check_name(name)?;
        check_splits(splits)?;
        self.coordinator.sync().await.map_err(coordination)?;
        self.check_cluster().await.map_err(coordination)?;
        for _ in 0..TRIES_MAX {
            let nodes = self.nodes_for_replicas().await?;
            let (last, version) = self.last_table().await?;
            let table = Table { id: TableId(last + 1), name: name.to_owned(), schema: schema.clone() };
            let members = nodes.place(splits.len() + 1, last as usize);
            let (descriptor, steps) = self.table_steps(&table, splits, members);
            // Nobody's number has been given to another disk meanwhile.
            let mut ops = nodes.checks.clone();
            ops.extend([
                Op::Set {
                    path: self.paths.dir("tables"),
                    data: format!("{}\n", table.id.0).into(),
                    version: Some(version),
                },
                create(self.paths.name(name), format!("{}\n", table.id.0).into()),
            ]);
            ops.extend(steps);
            if ops.iter().map(op_bytes).sum::<usize>() > MULTI_BYTES_MAX {
                return Err(KvError::Invalid(
                    "too many or too long split keys (or schema) for one table".into(),
                ));
            }
            match self.coordinator.multi(ops).await {
                Ok(()) => return Ok(table),
                Err(CoordinationError::BadVersion(_) | CoordinationError::NoNode(_)) => {}
                Err(CoordinationError::NodeExists(_)) if self.name_taken(name).await? => {
                    return Err(KvError::TableExists(name.to_owned()));
                }
                Err(CoordinationError::NodeExists(_)) => {}
                Err(error @ CoordinationError::Unknown(_)) => {
                    // Ours, if the table with our number has our first range.
                    let found = self.coordinator.get(&self.paths.table(table.id)).await.ok().flatten();
                    match found.and_then(|found| TableDescriptor::decode(table.id, &found.data)) {
                        Some(found) if found == descriptor => return Ok(table),
                        // Another table has the number: ours was not made. Once more.
                        Some(_) => {}
                        // Not made, or made and dropped by somebody since, or nobody can say.
                        None => return Err(KvError::OutcomeUnknown(error.to_string())),
                    }
                }
                Err(error) => return Err(coordination(error)),
            }
        }
        Err(KvError::Overloaded("too many tables are being created at once".into()))
    }

    /// A new table's descriptor, and the steps that write it and its ranges.
    pub(super) fn table_steps(
        &self,
        table: &Table,
        splits: &[Bytes],
        members: Vec<Vec<ReplicaId>>,
    ) -> (TableDescriptor, Vec<Op>) {
        let ranges = new_ranges(table.id, splits, members, &*self.new_range);
        let descriptor =
            TableDescriptor { table: table.clone(), ranges: ranges.iter().map(|range| range.id).collect() };
        let range = |range: &RangeDescriptor| create(self.paths.range(range.id), range.encode());
        let mut ops: Vec<Op> = ranges.iter().map(range).collect();
        ops.push(create(self.paths.table(table.id), descriptor.encode()));
        (descriptor, ops)
    }

    /// The number of the newest table or object, and the version of the znode that holds it.
    pub(super) async fn last_table(&self) -> Result<(u64, i32), KvError> {
        let counter = self.paths.dir("tables");
        let found = self.coordinator.get(&counter).await.map_err(coordination)?;
        let found = found.ok_or_else(|| KvError::Coordination(format!("no node {counter}")))?;
        let last = last_number(&found.data).ok_or_else(|| {
            KvError::Coordination(format!(
                "{counter} does not hold the number of the newest table: restore it, larger than any below it"
            ))
        })?;
        Ok((last, found.version))
    }

    async fn name_taken(&self, name: &str) -> Result<bool, KvError> {
        let found = self.coordinator.get(&self.paths.name(name)).await.map_err(coordination)?;
        Ok(found.is_some())
    }

    /// The nodes that may be members of new ranges, by the registry: whether a member lives now is a question of where
    /// it is best, not of whether it is one. Fewer than three are refused unless that was asked for: a range's members
    /// do not change.
    pub(super) async fn nodes_for_replicas(&self) -> Result<Candidates, KvError> {
        let registered = self.coordinator.list(&self.paths.dir("registry")).await.map_err(coordination)?;
        let announced = self.coordinator.list(&self.paths.dir("nodes")).await.map_err(coordination)?;
        let (mut live, mut away, mut checks) = (Vec::new(), Vec::new(), Vec::new());
        for name in &registered {
            let Ok(node) = name.parse().map(NodeId) else { continue };
            let path = self.paths.registry(node);
            let Some(found) = self.coordinator.get(&path).await.map_err(coordination)? else { continue };
            let Some(incarnation) = layout::decode_registration(&found.data) else { continue };
            checks.push(Op::Check { path, version: found.version });
            let nodes = if announced.contains(name) { &mut live } else { &mut away };
            nodes.push(ReplicaId { node, incarnation });
        }
        live.sort();
        away.sort();
        Candidates::new(live, away, checks, self.fewer_replicas)
    }
}

/// The nodes that new ranges can be placed on.
#[derive(Debug)]
pub(super) struct Candidates {
    live: Vec<ReplicaId>,
    away: Vec<ReplicaId>,
    /// That their registrations are as they were read.
    pub(super) checks: Vec<Op>,
}

impl Candidates {
    /// Refuses if they are too few for three replicas, or too few live for a majority of them.
    fn new(
        live: Vec<ReplicaId>,
        away: Vec<ReplicaId>,
        checks: Vec<Op>,
        fewer: bool,
    ) -> Result<Candidates, KvError> {
        let registered = live.len() + away.len();
        if registered < REPLICAS && !fewer {
            return Err(KvError::NotReady(format!(
                "a table needs {REPLICAS} replicas, and {registered} of the cluster's nodes have registered so far; its \
                 members do not change afterwards: start more nodes, or this one with --allow-fewer-replicas"
            )));
        }
        let needed = registered.min(REPLICAS) / 2 + 1;
        if live.len() < needed {
            return Err(KvError::Unavailable(format!(
                "a new range needs {needed} live nodes, and only {} of the cluster's {registered} nodes are; start the \
                 others",
                live.len()
            )));
        }
        Ok(Candidates { live, away, checks })
    }

    /// Members of `count` ranges: live nodes; if they are too few, all of them and some that are away.
    pub(super) fn place(&self, count: usize, first: usize) -> Vec<Vec<ReplicaId>> {
        let replicas = (self.live.len() + self.away.len()).min(REPLICAS);
        let Some(missing) = replicas.checked_sub(self.live.len()).filter(|missing| *missing > 0) else {
            return place(&self.live, count, first);
        };
        let with = |range: usize| {
            let away = (0..missing).map(|next| self.away[(first + range + next) % self.away.len()]);
            self.live.iter().copied().chain(away).collect()
        };
        (0..count).map(with).collect()
    }
}

/// The content of `tables`: the number of the newest one, if one more can be given.
fn last_number(data: &[u8]) -> Option<u64> {
    match std::str::from_utf8(data).ok()?.trim() {
        "" => Some(0),
        number => number.parse().ok().filter(|number| *number < NUMBER_MAX),
    }
}

/// Refuses a name that no table can have.
pub(super) fn check_name(name: &str) -> Result<(), KvError> {
    if name.is_empty() {
        return Err(KvError::Invalid("a table needs a name".into()));
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(KvError::TooLarge { what: "table name", size: name.len(), limit: NAME_BYTES_MAX });
    }
    Ok(())
}

/// Refuses keys that divide nothing.
pub(super) fn check_splits(splits: &[Bytes]) -> Result<(), KvError> {
    if splits.first().is_some_and(|split| split.is_empty()) || !splits.is_sorted_by(|a, b| a < b) {
        return Err(KvError::Invalid("split keys must be sorted, distinct and not empty".into()));
    }
    Ok(())
}

fn new_ranges(
    table: TableId,
    splits: &[Bytes],
    members: Vec<Vec<ReplicaId>>,
    new_range: &dyn Fn() -> CohortId,
) -> Vec<RangeDescriptor> {
    let starts = std::iter::once(Bytes::new()).chain(splits.iter().cloned());
    let ends = splits.iter().cloned().map(Some).chain(std::iter::once(None));
    let ranges = starts.zip(ends).zip(members);
    ranges
        .map(|((start, end), members)| RangeDescriptor {
            id: new_range(),
            table,
            start,
            end,
            members,
            rebuilt: Vec::new(),
        })
        .collect()
}

pub(super) fn create(path: String, data: Bytes) -> Op {
    Op::Create { path, data, mode: CreateMode::Persistent }
}

pub(super) fn op_bytes(op: &Op) -> usize {
    match op {
        Op::Create { path, data, .. } | Op::Set { path, data, .. } => path.len() + data.len() + 64,
        Op::Check { path, .. } | Op::Delete { path, .. } => path.len() + 64,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use wal::Incarnation;

    use super::*;
    use crate::cluster::map::random_range;

    #[test]
    fn ids_of_ranges_are_random() {
        let ids: BTreeSet<CohortId> = (0..1000).map(|_| random_range()).collect();
        assert_eq!(ids.len(), 1000);
        // Each bit is set in about half of them ([random-cohort-ids]).
        for bit in 0..128 {
            let set = ids.iter().filter(|id| id.0 >> bit & 1 == 1).count();
            assert!((300..700).contains(&set), "bit {bit}: {set} of 1000");
        }
    }

    #[test]
    fn ranges_are_placed_in_a_chain() {
        let nodes: Vec<ReplicaId> =
            (1..=4).map(|node| ReplicaId { node: NodeId(node), incarnation: Incarnation(0) }).collect();
        let placed: Vec<Vec<u32>> = place(&nodes, 5, 0)
            .iter()
            .map(|members| members.iter().map(|member| member.node.0).collect())
            .collect();
        let expected = [vec![1, 2, 3], vec![2, 3, 4], vec![3, 4, 1], vec![4, 1, 2], vec![1, 2, 3]];
        assert_eq!(placed, expected);
        assert_eq!(place(&nodes[..1], 2, 5), vec![vec![nodes[0]], vec![nodes[0]]]);
    }

    #[test]
    fn members_are_registered_nodes_and_live_ones_first() {
        let nodes: Vec<ReplicaId> =
            (1..=5).map(|node| ReplicaId { node: NodeId(node), incarnation: Incarnation(0) }).collect();
        let candidates = |live: &[ReplicaId], away: &[ReplicaId], fewer| {
            Candidates::new(live.into(), away.into(), vec![], fewer)
        };
        let placed = |live: usize| {
            let candidates = candidates(&nodes[..live], &nodes[live..], false)?;
            let members =
                |range: Vec<ReplicaId>| range.iter().map(|member| member.node.0).collect::<Vec<_>>();
            Ok(candidates.place(2, 0).into_iter().map(members).collect::<Vec<_>>())
        };
        assert_eq!(placed(3), Ok(vec![vec![1, 2, 3], vec![2, 3, 1]]), "three live ones are enough");
        assert_eq!(placed(2), Ok(vec![vec![1, 2, 3], vec![1, 2, 4]]), "a majority of each range lives");
        assert!(matches!(placed(1), Err(KvError::Unavailable(_))));
        assert!(matches!(candidates(&nodes[..2], &[], false), Err(KvError::NotReady(_))));
        assert_eq!(candidates(&nodes[..2], &[], true).unwrap().place(1, 0), vec![nodes[..2].to_vec()]);
        assert!(matches!(candidates(&nodes[..1], &nodes[1..2], true), Err(KvError::Unavailable(_))));
    }

    #[test]
    fn only_a_number_below_the_largest_is_one() {
        assert_eq!((last_number(b""), last_number(b"7\n")), (Some(0), Some(7)));
        for junk in [&b"x"[..], b"-1", b"18446744073709551615", b"\xff"] {
            assert_eq!(last_number(junk), None, "{junk:?}");
        }
    }
}
