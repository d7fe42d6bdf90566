//! Changing the catalog: several tables and objects at once, in one atomic step at the coordinator.
//!
//! An object has a name and bytes of the layer above, and no rows: a schema of SQL, a view. Names of tables and objects are
//! unique together. An object with the number of a table holds the table's name and schema as they are now; the table's
//! own descriptor never changes.
//!
//! A change says on which state of the catalog it was based, by the number of the newest change; if there was another one
//! meanwhile, nothing is done, and the caller looks again ([catalog-changes-in-line]). It is answered when the live nodes
//! have seen it: what is planned at any gateway afterwards is planned with it.

use std::time::{Duration, Instant};

use bytes::Bytes;
use replication::coordination::{CoordinationError, Op};
use wal::NodeId;

use super::layout::{self, barrier};
use super::map::{ClusterMap, coordination};
use super::tables::{MULTI_BYTES_MAX, TRIES_MAX, check_name, check_splits, create, op_bytes};
use crate::error::KvError;
use crate::request::{CatalogStep, Table, TableId};

/// How long the answer to a change waits for the other live nodes.
const OTHERS_WAIT_MAX: Duration = Duration::from_secs(1);
/// How often it looks whether they have seen it.
const POLL: Duration = Duration::from_millis(5);

/// What came of a try.
enum Try {
    Done(Vec<Table>),
    /// The catalog is another one than the change was based on.
    Stale,
    /// Nothing was done, for a reason that has passed.
    Again,
}

/// The steps of a change at the coordinator, and what they make.
struct Prepared {
    ops: Vec<Op>,
    made: Vec<Table>,
}

impl ClusterMap {
    /// Does all of the steps or none. `None`: the catalog has changed since `based_on`, and nothing was done. Gives what
    /// was made, in the order of the steps; the replicas of tables open by themselves.
    pub async fn change_catalog(
        &self,
        steps: &[CatalogStep],
        based_on: u64,
    ) -> Result<Option<Vec<Table>>, KvError> {
        self.coordinator.sync().await.map_err(coordination)?;
        self.check_cluster().await.map_err(coordination)?;
        for _ in 0..TRIES_MAX {
            match self.try_change(steps, based_on).await? {
                Try::Done(made) => return Ok(Some(made)),
                Try::Stale => return Ok(None),
                Try::Again => {}
            }
        }
        Err(KvError::Overloaded("too many tables are being created at once".into()))
    }

    async fn try_change(&self, steps: &[CatalogStep], based_on: u64) -> Result<Try, KvError> {
        let path = self.paths.objects();
        let Some(found) = self.coordinator.get(&path).await.map_err(coordination)? else {
            // A cluster of an older release.
            self.coordinator.ensure(&path).await.map_err(coordination)?;
            return Ok(Try::Again);
        };
        match layout::decode_change(&found.data) {
            Some(newest) if newest == based_on => {}
            Some(_) => return Ok(Try::Stale),
            None => {
                let why = format!("{path} does not hold the number of the newest change: restore it");
                return Err(KvError::Coordination(why));
            }
        }
        let ours = layout::encode_change(based_on + 1, u64::from_le_bytes(wal::random()));
        let Prepared { mut ops, made } = self.prepare_change(steps).await?;
        ops.push(Op::Set { path: path.clone(), data: ours.clone(), version: Some(found.version) });
        let mark = self.paths.dropped(barrier(based_on + 1));
        let others = self.others();
        if !others.is_empty() {
            ops.push(create(mark.clone(), layout::encode_nodes(others.into_iter())));
        }
        if ops.iter().map(op_bytes).sum::<usize>() > MULTI_BYTES_MAX {
            return Err(KvError::Invalid(
                "too many or too long split keys (or schema) for one change of the catalog".into(),
            ));
        }
        match self.coordinator.multi(ops).await {
            Ok(()) => Ok(Try::Done(made)),
            Err(CoordinationError::BadVersion(at)) if at == path => Ok(Try::Stale),
            Err(CoordinationError::BadVersion(_) | CoordinationError::NoNode(_)) => {
                // A node has got another disk; or a table was dropped past the catalog's number.
                self.refresh().await.map_err(coordination)?;
                Ok(Try::Again)
            }
            Err(CoordinationError::NodeExists(at)) => match self.taken(steps, &at) {
                Some(name) => Err(KvError::TableExists(name)),
                // A mark that is left of a change that a restored coordinator has forgotten.
                None if at == mark => {
                    self.clear(mark).await.map_err(coordination)?;
                    Ok(Try::Again)
                }
                None => Ok(Try::Again),
            },
            Err(error @ CoordinationError::Unknown(_)) => {
                // Ours, if our words stand there.
                match self.coordinator.get(&path).await.ok().flatten() {
                    Some(found) if found.data == ours => Ok(Try::Done(made)),
                    _ => Err(KvError::OutcomeUnknown(error.to_string())),
                }
            }
            Err(error) => Err(coordination(error)),
        }
    }

    /// The name whose znode stands in the way.
    fn taken(&self, steps: &[CatalogStep], path: &str) -> Option<String> {
        steps.iter().filter_map(new_name).find(|name| self.paths.name(name) == path).map(str::to_owned)
    }

    /// The live nodes but this one.
    fn others(&self) -> Vec<NodeId> {
        let me = self.belonging.me().map(|me| me.node);
        self.view().nodes.keys().copied().filter(|node| Some(*node) != me).collect()
    }

    async fn prepare_change(&self, steps: &[CatalogStep]) -> Result<Prepared, KvError> {
        let (mut ops, mut made) = (Vec::new(), Vec::new());
        let makes = |step: &CatalogStep| {
            matches!(step, CatalogStep::CreateTable { .. } | CatalogStep::CreateObject { .. })
        };
        let mut number = 0;
        let news = steps.iter().filter(|step| makes(step)).count() as u64;
        if news > 0 {
            let path = self.paths.dir("tables");
            let (last, version) = self.last_table().await?;
            number = last;
            let data = format!("{}\n", last + news).into();
            ops.push(Op::Set { path, data, version: Some(version) });
        }
        let tables = steps.iter().any(|step| matches!(step, CatalogStep::CreateTable { .. }));
        let nodes = if tables { Some(self.nodes_for_replicas().await?) } else { None };
        ops.extend(nodes.iter().flat_map(|nodes| nodes.checks.clone()));
        for step in steps {
            let name_of = |id: TableId| format!("{}\n", id.0).into();
            match step {
                CatalogStep::CreateTable { name, schema, splits } => {
                    check_name(name)?;
                    check_splits(splits)?;
                    let Some(nodes) = &nodes else { continue };
                    let table = Table { id: TableId(number + 1), name: name.clone(), schema: schema.clone() };
                    let members = nodes.place(splits.len() + 1, number as usize);
                    number += 1;
                    ops.push(create(self.paths.name(name), name_of(table.id)));
                    ops.extend(self.table_steps(&table, splits, members).1);
                    made.push(table);
                }
                CatalogStep::CreateObject { name, content } => {
                    check_name(name)?;
                    number += 1;
                    let object = Table { id: TableId(number), name: name.clone(), schema: content.clone() };
                    ops.push(create(self.paths.name(name), name_of(object.id)));
                    ops.push(create(self.paths.object(object.id), layout::encode_object(&object)));
                    made.push(object);
                }
                CatalogStep::Change { of, name, content } => {
                    check_name(name)?;
                    ops.extend(self.replace_steps(*of, name, content).await?);
                }
                CatalogStep::Drop(id) => ops.extend(self.remove_steps(*id)?),
            }
        }
        Ok(Prepared { ops, made })
    }

    /// Other content and perhaps another name of an object or a table.
    async fn replace_steps(&self, id: TableId, name: &str, content: &Bytes) -> Result<Vec<Op>, KvError> {
        let view = self.view();
        let gone = || KvError::NoTable(name.to_owned());
        let known = view.objects.get(&id).map(|object| &**object);
        let table = view.by_id.get(&id);
        let old = known.or(table.map(|table| &table.made)).ok_or_else(gone)?;
        let object = Table { id, name: name.to_owned(), schema: content.clone() };
        let (path, data) = (self.paths.object(id), layout::encode_object(&object));
        let mut ops = vec![match known {
            Some(_) => Op::Set { path, data, version: None },
            None => create(path, data),
        }];
        if let Some(table) = table {
            // It stands until then; its descriptor may have been mended, which is a version more.
            let path = self.paths.table(table.table.id);
            let found = self.coordinator.get(&path).await.map_err(coordination)?.ok_or_else(gone)?;
            ops.push(Op::Check { path, version: found.version });
        }
        if old.name != name {
            ops.push(Op::Delete { path: self.paths.name(&old.name), version: None });
            ops.push(create(self.paths.name(name), format!("{}\n", id.0).into()));
        }
        Ok(ops)
    }

    fn remove_steps(&self, id: TableId) -> Result<Vec<Op>, KvError> {
        let view = self.view();
        if let Some(table) = view.by_id.get(&id) {
            return Ok(self.drop_steps(table));
        }
        let object = view.objects.get(&id).ok_or_else(|| KvError::NoTable(format!("number {}", id.0)))?;
        Ok(vec![
            Op::Delete { path: self.paths.name(&object.name), version: None },
            Op::Delete { path: self.paths.object(id), version: None },
        ])
    }

    /// Waits until the live nodes have seen a change, for a bounded time. `false`: some have not, or nobody can tell.
    pub(crate) async fn await_change(&self, change: u64, deadline: Instant) -> bool {
        let mark = barrier(change);
        let path = self.paths.dropped(mark);
        let until = deadline.min(self.time.now() + OTHERS_WAIT_MAX);
        loop {
            let Ok(found) = self.coordinator.get(&path).await else { return false };
            let Some(found) = found else { return true };
            let view = self.view();
            let left = layout::decode_nodes(&found.data).unwrap_or_default();
            let seen = !left.iter().any(|node| view.nodes.contains_key(node));
            if seen || self.time.now() + POLL > until {
                // It is there for this wait only.
                let _ = self.coordinator.delete(&path, None).await;
                return seen;
            }
            self.time.sleep(POLL).await;
        }
    }
}

fn new_name(step: &CatalogStep) -> Option<&str> {
    match step {
        CatalogStep::CreateTable { name, .. }
        | CatalogStep::CreateObject { name, .. }
        | CatalogStep::Change { name, .. } => Some(name),
        CatalogStep::Drop(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use replication::coordination::embedded::Embedded;
    use wal::{Incarnation, ReplicaId};

    use super::*;
    use crate::cluster::layout::{NodeAddresses, Paths};
    use crate::cluster::membership::{self, Rebuild};

    async fn map() -> ClusterMap {
        let map = ClusterMap::new(Embedded::new().client(), Paths::new("c"));
        map.ensure().await.unwrap();
        for node in (1..=3).map(NodeId) {
            let disk = ReplicaId { node, incarnation: Incarnation(7) };
            membership::register(&map, disk, Rebuild::Never).await.unwrap();
            membership::announce(&map, node, &NodeAddresses::default()).await.unwrap();
        }
        map.refresh().await.unwrap();
        map
    }

    fn create_object(name: &str) -> CatalogStep {
        CatalogStep::CreateObject { name: name.into(), content: Bytes::from_static(b"{}") }
    }

    /// A coordinator that was restored from a backup may have marks of changes whose numbers come again.
    #[tokio::test]
    async fn a_mark_that_is_left_stands_in_nobodys_way() {
        let map = map().await;
        let left = create(map.paths.dropped(barrier(1)), layout::encode_nodes([NodeId(2)].into_iter()));
        map.coordinator.multi(vec![left]).await.unwrap();
        let made = map.change_catalog(&[create_object("s")], 0).await.unwrap().unwrap();
        assert_eq!(made[0].name, "s");
        assert_eq!(
            map.change_catalog(&[create_object("s")], 1).await,
            Err(KvError::TableExists("s".into())),
            "a name that is taken is told as ever"
        );
    }

    #[tokio::test]
    async fn a_table_whose_descriptor_was_mended_can_be_changed() {
        let map = map().await;
        let create = CatalogStep::CreateTable { name: "t".into(), schema: Bytes::new(), splits: Vec::new() };
        let table = map.change_catalog(&[create], 0).await.unwrap().unwrap().remove(0);
        let path = map.paths.table(table.id);
        let found = map.coordinator.get(&path).await.unwrap().unwrap();
        map.coordinator.set(&path, found.data, None).await.unwrap();
        map.refresh().await.unwrap();
        let rename = CatalogStep::Change { of: table.id, name: "u".into(), content: Bytes::new() };
        assert_eq!(map.change_catalog(&[rename], 1).await, Ok(Some(Vec::new())));
        map.refresh().await.unwrap();
        assert_eq!(map.table_named("u").await.unwrap().table.id, table.id);
    }
}
