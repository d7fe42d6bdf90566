//! Writing a lost coordinator anew from what the nodes keep on their disks: `recover-metadata`.
//!
//! 1. [`export`] reads a stopped node's data directory: which cluster, which disk, each range's description with its
//!    table, and the highest epoch that the node's log knows of it. It changes nothing. An export is also a text
//!    file, for nodes on other machines.
//! 2. [`plan`] puts the exports of *all* nodes together, and refuses whenever they do not give one clear answer.
//! 3. [`write()`] writes the plan into an empty tree. Its last step makes the cluster's id: until then no node joins, and a
//!    run that was cut off is begun anew by the next.
//!
//! No epoch is given twice: each range's epoch znode begins above every promise and every entry that any member's disk
//! knows. A member that does not hold the range any more rejoins it as a learner ([rejoin-as-learner]).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use replication::coordination::{Coordinator, CreateMode, Op};
use wal::{CohortId, Epoch, NodeId, ReplicaId};

use crate::cluster::layout::{self, ClusterId, Paths, RangeDescriptor, TableDescriptor};
use crate::cluster::local::{self, KeptObjects, KeptRange};
use crate::cluster::map::ClusterMap;
use crate::opening;
use crate::request::TableId;
use crate::stopped::Stopped;

/// First words of an export.
const HEAD: &str = "spinnaker-metadata 1";
/// Numbers of tables that may have been given since a table of which nothing is left: they are not given again.
const NUMBERS_SKIPPED: u64 = 1000;

/// What one node's disk knows of the metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    /// The cluster's name.
    pub name: String,
    cluster: ClusterId,
    /// The node and its disk.
    me: ReplicaId,
    ranges: Vec<(KeptRange, Epoch)>,
    objects: KeptObjects,
}

/// Reads the data directory of a node that is stopped. The error is one line for the operator.
pub fn export(data_dir: &Path) -> Result<Export, String> {
    let named = |error: &dyn std::fmt::Display| format!("{}: {error}", data_dir.display());
    let Stopped { disk, me, cluster: name, cohorts, .. } =
        Stopped::open(data_dir).map_err(|error| named(&error))?;
    let cluster = local::read_cluster(&*disk).map_err(|error| named(&error))?.ok_or_else(|| {
        named(&"it was last used by a release that kept no metadata on the nodes: nothing can be recovered from it")
    })?;
    let objects = KeptObjects::read(&*disk).map_err(|error| named(&error))?;
    let mut export = Export { name, cluster, me, ranges: Vec::new(), objects };
    for dir in disk.list_dirs().map_err(|error| named(&error))? {
        let Some(id) = opening::range_of(&dir) else { continue };
        let kept = KeptRange::read(&*disk, &dir, id).map_err(|error| named(&error))?;
        let kept = kept.ok_or_else(|| {
            named(&format!(
                "{dir} has no description (a start was cut off while it was made): remove it if it is empty"
            ))
        })?;
        let epoch = cohorts.get(&id).map_or(Epoch(0), |log| log.promise.epoch.max(log.committed.epoch));
        export.ranges.push((kept, epoch));
    }
    export.ranges.sort_by_key(|(kept, _)| kept.descriptor.id.0);
    Ok(export)
}

impl Export {
    /// As a text file.
    pub fn to_text(&self) -> String {
        let mut text =
            format!("{HEAD} {} {} {} {}\n", self.name, self.cluster, self.me.node.0, self.me.incarnation);
        for (kept, epoch) in &self.ranges {
            let bytes = layout::hex(&kept.encode());
            writeln!(text, "range {} {epoch} {bytes}", kept.descriptor.id).unwrap_or_default();
        }
        if self.objects.change > 0 {
            writeln!(text, "objects {}", layout::hex(self.objects.to_text().as_bytes())).unwrap_or_default();
        }
        let crc = crc32c::crc32c(text.as_bytes());
        writeln!(text, "end {crc:08x}").unwrap_or_default();
        text
    }

    /// Reads such a text; `None` if it is none, or damaged.
    pub fn parse(text: &str) -> Option<Export> {
        let (body, end) = text.split_at(text.rfind("end ")?);
        if u32::from_str_radix(end.strip_prefix("end ")?.trim_end(), 16).ok()?
            != crc32c::crc32c(body.as_bytes())
        {
            return None;
        }
        let mut lines = body.lines();
        let words: Vec<&str> = lines.next()?.strip_prefix(HEAD)?.split_whitespace().collect();
        let [name, cluster, node, incarnation] = words[..] else { return None };
        let me = ReplicaId { node: NodeId(node.parse().ok()?), incarnation: incarnation.parse().ok()? };
        let (name, cluster) = (name.to_owned(), cluster.parse().ok()?);
        let objects = KeptObjects::default();
        let mut export = Export { name, cluster, me, ranges: Vec::new(), objects };
        for line in lines {
            if let Some(text) = line.strip_prefix("objects ") {
                let text = layout::unhex(text)?;
                export.objects = KeptObjects::parse(std::str::from_utf8(&text).ok()?)?;
                continue;
            }
            let words: Vec<&str> = line.strip_prefix("range ")?.split(' ').collect();
            let [id, epoch, bytes] = words[..] else { return None };
            let kept = KeptRange::decode(id.parse().ok()?, layout::unhex(bytes)?)?;
            export.ranges.push((kept, Epoch(epoch.parse().ok()?)));
        }
        Some(export)
    }
}

/// What is to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The cluster's name.
    pub name: String,
    cluster: ClusterId,
    nodes: Vec<ReplicaId>,
    tables: Vec<TableDescriptor>,
    ranges: Vec<(RangeDescriptor, Epoch)>,
    /// The catalog's objects, of the node that has seen the newest change.
    objects: KeptObjects,
    /// Ranges of tables that are to stay dropped, and who holds data of them.
    dropped: Vec<(CohortId, Vec<NodeId>)>,
}

/// One range in all exports.
struct Found<'a> {
    newest: &'a KeptRange,
    epoch: Epoch,
    holders: BTreeSet<NodeId>,
}

/// What the operator knows of tables of which some members hold nothing, by their numbers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known<'a> {
    /// They were dropped.
    pub dropped: &'a [u64],
    /// They were not: the data of those members are lost.
    pub kept: &'a [u64],
}

/// Puts the exports of all nodes together. The error says what is in doubt, and what would settle it.
pub fn plan(exports: &[Export], known: Known<'_>) -> Result<Plan, String> {
    let first = exports.first().ok_or("no node's data were given")?;
    let mut nodes: BTreeMap<NodeId, ReplicaId> = BTreeMap::new();
    for export in exports {
        if (&export.name, export.cluster) != (&first.name, first.cluster) {
            return Err(format!(
                "{} belongs to cluster {} ({}), {} to {} ({}): give the nodes of one cluster",
                first.me.node, first.name, first.cluster, export.me.node, export.name, export.cluster
            ));
        }
        if nodes.insert(export.me.node, export.me).is_some_and(|known| known != export.me) {
            return Err(format!(
                "{} was given with two disks: give the one that it last ran with",
                export.me.node
            ));
        }
    }
    let found = gather(exports)?;
    let mut plan = Plan {
        name: first.name.clone(),
        cluster: first.cluster,
        nodes: nodes.values().copied().collect(),
        tables: Vec::new(),
        ranges: Vec::new(),
        dropped: Vec::new(),
        objects: exports
            .iter()
            .map(|export| &export.objects)
            .max_by_key(|own| own.change)
            .cloned()
            .unwrap_or_default(),
    };
    plan.objects.objects.retain(|object| !known.dropped.contains(&object.id.0));
    let mut tables: BTreeMap<TableId, &TableDescriptor> = BTreeMap::new();
    for (id, range) in &found {
        let table = &range.newest.table;
        if known.dropped.contains(&table.table.id.0) {
            plan.dropped.push((*id, range.holders.iter().copied().collect()));
            continue;
        }
        if *tables.entry(table.table.id).or_insert(table) != table {
            return Err(format!(
                "the nodes differ about table \"{}\" (number {})",
                table.table.name, table.table.id.0
            ));
        }
        let descriptor = settle(range, &nodes, known)?;
        // Above whatever may have been promised: the next leader takes the one after it.
        plan.ranges.push((descriptor, Epoch(range.epoch.0.saturating_add(1))));
    }
    check_tables(&tables, &plan.objects, &found)?;
    plan.tables = tables.into_values().cloned().collect();
    Ok(plan)
}

/// Each range with its newest description.
fn gather(exports: &[Export]) -> Result<BTreeMap<CohortId, Found<'_>>, String> {
    let mut found: BTreeMap<CohortId, Found<'_>> = BTreeMap::new();
    for export in exports {
        for (kept, epoch) in &export.ranges {
            let id = kept.descriptor.id;
            if kept.cluster != export.cluster {
                return Err(format!(
                    "{} holds range {id} of another cluster ({})",
                    export.me.node, kept.cluster
                ));
            }
            let new = || Found { newest: kept, epoch: *epoch, holders: BTreeSet::new() };
            let range = found.entry(id).or_insert_with(new);
            if kept.version == range.newest.version && kept.descriptor != range.newest.descriptor {
                return Err(format!("the nodes differ about the members of range {id}"));
            }
            if kept.version > range.newest.version {
                range.newest = kept;
            }
            range.epoch = range.epoch.max(*epoch);
            range.holders.insert(export.me.node);
        }
    }
    Ok(found)
}

/// The descriptor of a range, if all its members were seen and a majority of them holds it. A member that holds nothing of it
/// is in doubt unless it has a new disk: it has lost the range, or was the first to drop it.
fn settle(
    range: &Found<'_>,
    nodes: &BTreeMap<NodeId, ReplicaId>,
    known: Known<'_>,
) -> Result<RangeDescriptor, String> {
    let mut descriptor = range.newest.descriptor.clone();
    let table = &range.newest.table.table;
    let of = format!("range {} of table \"{}\" (number {})", descriptor.id, table.name, table.id.0);
    for member in &descriptor.members {
        match nodes.get(&member.node) {
            Some(given) if given == member => {}
            Some(given) => {
                return Err(format!(
                    "{of} has a member on {} with disk {}, and the given data directory of {} is disk {}: give the \
                     one that it last ran with",
                    member.node, member.incarnation, member.node, given.incarnation
                ));
            }
            None => {
                return Err(format!(
                    "{of} has a member on {}, whose data directory was not given: give it, too",
                    member.node
                ));
            }
        }
    }
    let lacking: Vec<NodeId> = descriptor.nodes().filter(|node| !range.holders.contains(node)).collect();
    if lacking.len() * 2 >= descriptor.members.len() {
        let nodes: Vec<String> = lacking.iter().map(NodeId::to_string).collect();
        return Err(format!(
            "{of} is not on {}, a majority or half of its members: if the table was dropped while the others were \
             away, say so with --dropped {}; if their data are lost, bring them back",
            nodes.join(", "),
            table.id.0
        ));
    }
    for node in lacking.into_iter().filter(|node| !range.newest.descriptor.rebuilt.contains(node)) {
        if !known.kept.contains(&table.id.0) {
            return Err(format!(
                "{of} is not on {node}: if the table was dropped while the others were away, say so with --dropped {}; if \
                 it was not, and {node} has lost it, with --kept {}",
                table.id.0, table.id.0
            ));
        }
        descriptor.rebuilt.push(node);
    }
    Ok(descriptor)
}

/// Each table is whole, and no name stands for two.
fn check_tables(
    tables: &BTreeMap<TableId, &TableDescriptor>,
    objects: &KeptObjects,
    found: &BTreeMap<CohortId, Found<'_>>,
) -> Result<(), String> {
    let mut names: BTreeMap<&str, TableId> = objects
        .objects
        .iter()
        .filter(|object| !tables.contains_key(&object.id))
        .map(|object| (&*object.name, object.id))
        .collect();
    for (id, table) in tables {
        let name = name_now(objects, table);
        if let Some(other) = names.insert(name, *id) {
            return Err(format!(
                "there are two tables \"{name}\", number {} and number {}: one was dropped; say which with --dropped",
                other.0, id.0
            ));
        }
        if let Some(missing) = table.ranges.iter().find(|range| !found.contains_key(range)) {
            return Err(format!(
                "range {missing} of table \"{name}\" (number {}) is on none of the given nodes: give those that hold \
                 it, or say with --dropped {} that the table was dropped",
                id.0, id.0
            ));
        }
    }
    Ok(())
}

/// The name that a table has now.
fn name_now<'a>(objects: &'a KeptObjects, table: &'a TableDescriptor) -> &'a str {
    let changed = objects.objects.iter().find(|object| object.id == table.table.id);
    changed.map_or(&table.table.name, |changed| &changed.name)
}

impl Plan {
    /// What it would write, in lines for the operator.
    pub fn describe(&self) -> Vec<String> {
        let mut lines = vec![format!("cluster {} ({}), {} nodes", self.name, self.cluster, self.nodes.len())];
        for table in &self.tables {
            lines.push(format!(
                "table \"{}\" (number {}), {} ranges",
                name_now(&self.objects, table),
                table.table.id.0,
                table.ranges.len()
            ));
        }
        if !self.objects.objects.is_empty() {
            let (objects, change) = (self.objects.objects.len(), self.objects.change);
            lines.push(format!("{objects} other objects of the catalog, as of its change {change}"));
        }
        for (range, epoch) in &self.ranges {
            let nodes: Vec<String> = range.nodes().map(|node| node.to_string()).collect();
            let mut line = format!("range {} on {}, next epoch {}", range.id, nodes.join(", "), epoch.0 + 1);
            for node in &range.rebuilt {
                write!(line, "; {node} does not have it, or has another disk: it refills it from the others")
                    .unwrap_or_default();
            }
            lines.push(line);
        }
        for (range, nodes) in &self.dropped {
            let nodes: Vec<String> = nodes.iter().map(NodeId::to_string).collect();
            lines.push(format!("range {range} stays dropped: {} will delete its data", nodes.join(", ")));
        }
        lines
    }
}

/// Writes the plan into the tree, which must hold nothing of the cluster. The error is one line for the operator.
pub async fn write(coordinator: Arc<dyn Coordinator>, plan: &Plan) -> Result<(), String> {
    let map = ClusterMap::new(coordinator.clone(), Paths::new(&plan.name));
    let paths = &map.paths;
    let failed = |error: replication::coordination::CoordinationError| error.to_string();
    coordinator.sync().await.map_err(failed)?;
    if coordinator.get(&paths.id()).await.map_err(failed)?.is_some() {
        return Err(format!(
            "{} holds a cluster (it has an id): nothing was changed; if a part of it is lost there, delete all below {} first",
            paths.root, paths.root
        ));
    }
    let begun = coordinator.get(&paths.recovering()).await.map_err(failed)?.is_some();
    for dir in layout::DIRS {
        let dir = paths.dir(dir);
        if begun {
            map.clear(dir).await.map_err(failed)?;
        } else if !coordinator.list(&dir).await.map_err(failed)?.is_empty() {
            return Err(format!(
                "{dir} is not empty: nothing was changed; if all below {} is to be replaced, delete it there first",
                paths.root
            ));
        }
    }
    coordinator.ensure(&paths.recovering()).await.map_err(failed)?;
    map.ensure().await.map_err(failed)?;
    for ops in steps(plan, paths) {
        coordinator.multi(ops).await.map_err(failed)?;
    }
    let last = vec![
        persistent(paths.id(), layout::encode_cluster(plan.cluster)),
        Op::Delete { path: paths.recovering(), version: None },
    ];
    coordinator.multi(last).await.map_err(failed)
}

/// What is written, table by table.
fn steps(plan: &Plan, paths: &Paths) -> Vec<Vec<Op>> {
    let mut steps = vec![Vec::new()];
    let registrations = plan
        .nodes
        .iter()
        .map(|node| persistent(paths.registry(node.node), layout::encode_registration(node.incarnation)));
    steps[0].extend(registrations);
    let tables = plan.tables.iter().map(|table| table.table.id.0);
    let highest = tables.chain(plan.objects.objects.iter().map(|object| object.id.0)).max().unwrap_or(0);
    let counter = format!("{}\n", highest.saturating_add(NUMBERS_SKIPPED)).into();
    steps[0].push(Op::Set { path: paths.dir("tables"), data: counter, version: None });
    for (range, epoch) in &plan.ranges {
        // Nobody leads: the next leader takes the epoch after this one.
        let holder: Bytes = format!("{epoch} n0 {}", wal::Incarnation(0)).into();
        let path = paths.range(range.id);
        let epoch = persistent(format!("{path}/epoch"), holder);
        steps.push(vec![persistent(path, range.encode()), epoch]);
    }
    for table in &plan.tables {
        let id = table.table.id;
        steps.push(vec![
            persistent(paths.name(name_now(&plan.objects, table)), format!("{}\n", id.0).into()),
            persistent(paths.table(id), table.encode()),
        ]);
    }
    let mut objects = Vec::new();
    for object in &plan.objects.objects {
        objects.push(persistent(paths.object(object.id), layout::encode_object(object)));
        if !plan.tables.iter().any(|table| table.table.id == object.id) {
            objects.push(persistent(paths.name(&object.name), format!("{}\n", object.id.0).into()));
        }
    }
    if plan.objects.change > 0 {
        // Above every change that a node has seen.
        let data = layout::encode_change(plan.objects.change + 1, 0);
        objects.push(Op::Set { path: paths.objects(), data, version: None });
    }
    steps.push(objects);
    for (range, nodes) in &plan.dropped {
        steps.push(vec![persistent(paths.dropped(*range), layout::encode_nodes(nodes.iter().copied()))]);
    }
    steps
}

fn persistent(path: String, data: Bytes) -> Op {
    Op::Create { path, data, mode: CreateMode::Persistent }
}
