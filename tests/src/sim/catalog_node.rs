//! What a node of the simulated catalog does: it opens and gives back what the catalog says, and carries statements out.
//!
//! What is made up is what a replica does: a write is acknowledged while a majority of the range's members has it open.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use kvstore::error::KvError;
use kvstore::request::TableId;
use kvstore::testing::{
    ClusterId, ClusterMap, DroppedBy, Holder, JoinError, NodeAddresses, RangeRoute, Rebuild, TableView, Time,
    register, uphold,
};
use wal::sync::lock;
use wal::{CohortId, Incarnation, NodeId, ReplicaId};

use super::catalog_history::{Act, Done, History};
use super::stepped::{Clock, Dice, Steps, step};

/// Longest wait of a statement.
const DEADLINE: Duration = Duration::from_secs(30);
/// Where tables are split.
const SPLIT: &[u8] = b"m";

/// What all processes have in memory and on their disks.
#[derive(Default)]
pub(super) struct Held {
    /// Replicas that are open.
    pub(super) open: BTreeSet<(u32, CohortId)>,
    /// Data on disks: the writes that each replica has.
    pub(super) disks: BTreeMap<(u32, CohortId), BTreeSet<u64>>,
    /// Which cluster each disk says that it belongs to.
    pub(super) joined: BTreeMap<u32, ClusterId>,
}

/// What is shared by all that runs.
#[derive(Clone)]
pub(super) struct Shared {
    held: Arc<Mutex<Held>>,
    history: Arc<Mutex<History>>,
    pub(super) clock: Clock,
    pub(super) dice: Dice,
}

impl Shared {
    pub(super) fn new(dice: Dice) -> Shared {
        Shared { held: Arc::default(), history: Arc::default(), clock: Clock::new(), dice }
    }

    pub(super) fn held(&self) -> MutexGuard<'_, Held> {
        lock(&self.held)
    }

    pub(super) fn history(&self) -> MutexGuard<'_, History> {
        lock(&self.history)
    }
}

/// A node's hands on what it holds.
struct Hands {
    node: u32,
    shared: Shared,
    steps: Steps,
}

impl Holder for Hands {
    fn close(&self, range: CohortId) {
        self.shared.held().open.remove(&(self.node, range));
    }

    async fn forget(&self, _: CohortId) -> Result<(), String> {
        step().await;
        self.steps.take(async {}).await.ok_or_else(disk_error)
    }

    async fn remove(&self, range: CohortId) -> Result<(), String> {
        step().await;
        let removed = async { self.shared.held().disks.remove(&(self.node, range)) };
        self.steps.take(removed).await.map(drop).ok_or_else(disk_error)
    }
}

fn disk_error() -> String {
    "simulated EIO".to_owned()
}

/// What a node does about the catalog as long as it lives.
pub(super) async fn follow(node: u32, map: Arc<ClusterMap>, shared: Shared, steps: Steps) {
    let me = ReplicaId { node: NodeId(node), incarnation: Incarnation(node.into()) };
    let addresses =
        NodeAddresses { grpc: format!("n{node}:1"), disk: Some(me.incarnation), ..NodeAddresses::default() };
    let pause = |most: u64| shared.clock.sleep(Duration::from_micros(1000 + shared.dice.below(most)));
    while let Err(error) = join(node, me, &map, &shared).await {
        if !matches!(error, JoinError::Coordination(_)) {
            shared.history().broken(format!("n{node} may not join: {error}"));
        }
        pause(10_000).await;
    }
    let hands = Hands { node, shared: shared.clone(), steps: steps.clone() };
    loop {
        if map.refresh().await.is_ok() && uphold(&map, me, &addresses).await.is_ok() {
            let view = map.view();
            let (dropped, _) = view.certainly_dropped();
            for range in dropped {
                // Tried again.
                let _ = map.give_back(range, me.node, &hands).await;
            }
            let mut own: Vec<CohortId> = view.own(me.node).map(|(_, range)| range.range()).collect();
            own.sort_unstable();
            for range in own {
                step().await;
                if shared.held().open.contains(&(node, range)) {
                    continue;
                }
                let opened = async { shared.held().disks.entry((node, range)).or_default().len() };
                if steps.take(opened).await.is_some() {
                    shared.held().open.insert((node, range));
                }
            }
        }
        pause(30_000).await;
    }
}

async fn join(node: u32, me: ReplicaId, map: &ClusterMap, shared: &Shared) -> Result<(), JoinError> {
    let (kept, holds) = {
        let held = shared.held();
        (held.joined.get(&node).copied(), held.disks.keys().any(|(on, _)| *on == node))
    };
    let cluster = map.join(me, kept, holds).await?;
    map.ensure().await?;
    register(map, me, Rebuild::Never).await?;
    shared.held().joined.insert(node, cluster);
    Ok(map.refresh().await?)
}

/// What comes of a statement.
pub(super) async fn carry_out(number: u64, act: &Act, map: &ClusterMap, shared: &Shared) -> Done {
    let deadline = shared.clock.now() + DEADLINE;
    match act {
        Act::Create(name) => match map.create_table(name, Bytes::new(), &[SPLIT.into()]).await {
            Ok(table) => {
                // That it fails changes nothing about the table.
                let _ = map.refresh().await;
                Done::Made(table.id)
            }
            Err(error @ KvError::TableExists(_)) => {
                shared.history().error(&error);
                Done::Exists
            }
            Err(error) => failed(&error, shared),
        },
        Act::Drop(name) => match map.drop_named(name).await {
            Ok((table, by)) => {
                let confirmed = map.await_drop(&table, deadline).await;
                match by {
                    DroppedBy::This => Done::Dropped(table.table.id, confirmed),
                    DroppedBy::ThisOrAnother => Done::Gone(table.table.id, confirmed),
                }
            }
            Err(error @ KvError::NoTable(_)) => {
                shared.history().error(&error);
                Done::Missing
            }
            Err(error) => failed(&error, shared),
        },
        Act::Look(name) => {
            if map.refresh_now().await.is_err() {
                return Done::Nothing;
            }
            match map.table_named(name).await {
                Ok(table) => Done::Found(table.table.id),
                Err(KvError::NoTable(_)) => Done::Missing,
                Err(_) => Done::Nothing,
            }
        }
        Act::Write(table) => write(number, *table, map, shared).await,
        Act::Read(table) => match map.table(*table).await {
            Ok(view) => read(&view, shared).await,
            Err(KvError::NoTable(_)) => Done::Missing,
            Err(_) => Done::Nothing,
        },
    }
}

fn failed(error: &KvError, shared: &Shared) -> Done {
    shared.history().error(error);
    match error {
        // Of a drop: it is done, but not seen.
        KvError::OutcomeUnknown(_) | KvError::Unavailable(_) => Done::Unknown,
        KvError::Overloaded(_) => Done::GaveUp,
        _ => Done::Nothing,
    }
}

/// A write into one of the table's ranges: acknowledged while a majority of its members is open, and then held by all that
/// are.
async fn write(number: u64, table: TableId, map: &ClusterMap, shared: &Shared) -> Done {
    for _ in 0..20 {
        let view = match map.table(table).await {
            Ok(view) => view,
            Err(KvError::NoTable(_)) => return Done::Missing,
            Err(_) => return Done::Nothing,
        };
        step().await;
        let range = &view.ranges[number as usize % view.ranges.len()];
        if let Some(open) = majority(range, shared) {
            let mut held = shared.held();
            for node in open {
                held.disks.entry((node, range.range())).or_default().insert(number);
            }
            return Done::Written;
        }
    }
    Done::Nothing
}

/// The rows of all ranges of a table.
async fn read(view: &TableView, shared: &Shared) -> Done {
    let mut rows = BTreeSet::new();
    for range in &view.ranges {
        let mut tries = 0;
        let open = loop {
            step().await;
            tries += 1;
            match majority(range, shared) {
                Some(open) => break open,
                None if tries == 20 => return Done::Nothing,
                None => {}
            }
        };
        let held = shared.held();
        rows.extend(open.into_iter().filter_map(|node| held.disks.get(&(node, range.range()))).flatten());
    }
    Done::Rows(rows)
}

/// The members of a range that are open, if they are a majority.
fn majority(range: &RangeRoute, shared: &Shared) -> Option<Vec<u32>> {
    let (id, members) = (range.range(), range.members());
    let held = shared.held();
    let open: Vec<u32> =
        members.iter().map(|node| node.0).filter(|node| held.open.contains(&(*node, id))).collect();
    (open.len() * 2 > members.len()).then_some(open)
}
