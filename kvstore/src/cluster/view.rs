//! What the cluster consists of, at one moment.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use wal::{CohortId, NodeId, ReplicaId};

use super::layout::{self, NodeAddresses};
use super::route::RangeRoute;
use crate::request::{Table, TableId};

/// A table with its ranges in key order; they cover all keys.
#[derive(Debug)]
pub struct TableView {
    /// Its number, name and schema.
    pub table: Table,
    /// The same as they were when it was made: what stands in its descriptor forever.
    pub(crate) made: Table,
    /// Its ranges.
    pub ranges: Vec<Arc<RangeRoute>>,
}

impl TableView {
    /// Whether a range says another disk of one of these nodes than this.
    pub(super) fn names_another_disk(&self, disks: &[ReplicaId]) -> bool {
        self.ranges.iter().any(|range| disks.iter().any(|disk| range.descriptor.names_another_disk(*disk)))
    }

    /// Takes over what an older view has learned of the ranges.
    pub(super) fn learn(&self, old: &TableView) {
        for range in &self.ranges {
            if let Some(known) = old.ranges.iter().find(|known| known.descriptor.id == range.descriptor.id) {
                range.learn(known);
            }
        }
    }

    /// The same table with the name and the schema that a change has given it.
    pub(super) fn as_it_is_now(self: Arc<TableView>, changed: Option<&Arc<Table>>) -> Arc<TableView> {
        let table = changed.map_or(&self.made, |changed| changed);
        if *table == self.table {
            return self;
        }
        Arc::new(TableView { table: table.clone(), made: self.made.clone(), ranges: self.ranges.clone() })
    }

    /// The range that holds the key.
    pub(crate) fn range_of(&self, key: &[u8]) -> &Arc<RangeRoute> {
        // The first range starts at the empty key, so there is always one that starts at or before.
        let after = self.ranges.partition_point(|range| &range.descriptor.start[..] <= key);
        &self.ranges[after.saturating_sub(1)]
    }
}

/// The metadata at one moment.
#[derive(Debug, Default)]
pub struct View {
    pub(crate) by_name: BTreeMap<String, Arc<TableView>>,
    pub(crate) by_id: HashMap<TableId, Arc<TableView>>,
    /// Live nodes.
    pub(crate) nodes: BTreeMap<NodeId, NodeAddresses>,
    /// Ranges dropped, whose data some node still holds.
    pub(crate) dropped: BTreeSet<CohortId>,
    /// Tables that stand at the coordinator and cannot be read there, and why.
    pub(crate) unreadable: BTreeMap<TableId, String>,
    /// What has a name and no rows, and what tables have in place of their first name and schema.
    pub(crate) objects: BTreeMap<TableId, Arc<Table>>,
    /// The newest change of the catalog that this view is certain to show.
    pub(crate) change: u64,
}

impl View {
    /// The ranges that `me` is a member of, with their tables, and that nobody has dropped.
    pub fn own(&self, me: NodeId) -> impl Iterator<Item = (&Arc<TableView>, &Arc<RangeRoute>)> {
        let all = self.by_id.values().flat_map(|table| table.ranges.iter().map(move |range| (table, range)));
        all.filter(move |(_, range)| {
            range.descriptor.has_node(me) && !self.dropped.contains(&range.descriptor.id)
        })
    }

    /// The ranges that are dropped for certain; and whether there are others that are neither dropped nor to be opened
    /// yet: the table was read before it was dropped, and the mark after. The next view tells the one from the other.
    pub fn certainly_dropped(&self) -> (Vec<CohortId>, bool) {
        let tables = self.by_id.values();
        let listed: HashSet<CohortId> =
            tables.flat_map(|table| table.ranges.iter().map(|range| range.range())).collect();
        let ranges = self.dropped.iter().copied().filter(|mark| layout::barrier_of(*mark).is_none());
        let (doubtful, certain): (Vec<_>, Vec<_>) = ranges.partition(|range| listed.contains(range));
        (certain, !doubtful.is_empty())
    }

    /// The marks of changes of the catalog that this view shows; and whether there are others that it may not show yet.
    pub(crate) fn barriers(&self) -> (Vec<CohortId>, bool) {
        let marks = self.dropped.iter().copied();
        let marks = marks.filter_map(|mark| layout::barrier_of(mark).map(|change| (mark, change)));
        let (seen, later): (Vec<_>, Vec<_>) = marks.partition(|(_, change)| *change <= self.change);
        (seen.into_iter().map(|(mark, _)| mark).collect(), !later.is_empty())
    }

    /// Whether a number is a table's.
    pub(crate) fn is_table(&self, id: TableId) -> bool {
        self.by_id.contains_key(&id) || self.unreadable.contains_key(&id)
    }
}

pub(super) fn covers_all_keys(ranges: &[Arc<RangeRoute>]) -> bool {
    let first = ranges.first().is_some_and(|range| range.descriptor.start.is_empty());
    let last = ranges.last().is_some_and(|range| range.descriptor.end.is_none());
    let joined =
        ranges.windows(2).all(|pair| pair[0].descriptor.end.as_ref() == Some(&pair[1].descriptor.start));
    first && last && joined
}
