//! For tests: a store in memory ([`MemoryKv`]), and the parts of a node that a simulator drives itself: replicas, their
//! opening and background work, and the calls of gateways.

mod memory_kv;

use std::sync::Arc;

use wal::{CohortId, Entry, Incarnation, Lsn, NodeId, ReplicaId};

use crate::cluster::layout::RangeDescriptor;
use crate::payload;
use crate::request::{RequestId, TableId};

pub use self::memory_kv::MemoryKv;
pub use crate::cluster::dropping::{DroppedBy, Holder};
pub use crate::cluster::layout::{ClusterId, NodeAddresses, Paths};
pub use crate::cluster::map::ClusterMap;
pub use crate::cluster::membership::{JoinError, Rebuild, register, uphold};
pub use crate::cluster::peers::CallError;
pub use crate::cluster::route::RangeRoute;
pub use crate::cluster::silence::Silence;
pub use crate::cluster::time::Time;
pub use crate::cluster::view::{TableView, View};
pub use crate::conditions::PendingWrite;
pub use crate::dedup::WindowLimits;
pub use crate::engine::{BlockCache, Engine, EngineError, EngineOptions, FlushedState, Pinned};
pub use crate::gateway::call::{Around, Call, Identity, Step, learn};
pub use crate::gateway::forward::{FORWARD_MAX, forward_to, passed_back};
pub use crate::gateway::range_scan::{ASK_MAX, Handed, LOOK_AFTER, RangeScanSteps, ScanStep, is_given_up};
pub use crate::open_scans::{OpenScans, ScanLimits};
pub use crate::opening::{Found, open_store};
pub use crate::operation::{Answer, Cursor, Mode, Operation, RangeScan, RangeWrite};
pub use crate::reading::{ReadStep, ReplicaRead, Standing};
pub use crate::replica::{PinnedAt, RangeStore, Refusal, as_of, pin_at, refusal};

/// A range of all keys on these nodes, as a gateway knows it at its start.
pub fn route(range: CohortId, nodes: &[NodeId]) -> RangeRoute {
    let members = nodes.iter().map(|node| ReplicaId { node: *node, incarnation: Incarnation(1) }).collect();
    let (table, rebuilt) = (TableId(1), Vec::new());
    let descriptor = RangeDescriptor { id: range, table, start: "".into(), end: None, members, rebuilt };
    RangeRoute::new(Arc::new(descriptor), 0)
}

/// A hash of all that a replica knows at its last applied LSN, which is returned, too: its rows, and the outcomes that it
/// remembers. Replicas at the same LSN have the same.
pub fn contents(store: &RangeStore) -> Result<(Lsn, u64), EngineError> {
    let (lsn, sum) = store.engine().checksum()?;
    Ok((
        lsn,
        sum.cells ^ sum.rows.rotate_left(2) ^ xxhash_rust::xxh3::xxh3_64(&store.window()).rotate_left(1),
    ))
}

/// Whose write a log entry is, and whether it is a refusal; `None` if its payload is no write.
pub fn request_of(entry: &Entry) -> Option<(RequestId, bool)> {
    let payload = payload::decode(entry.payload.clone()).ok()?;
    Some((payload.request, payload.refused))
}
