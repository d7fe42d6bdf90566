//! Snapshots of one range on their way out, one for each member, and the one on its way in.
//!
//! An outgoing snapshot pins its tables: compaction cannot give their space back while somebody may still ask for the next
//! part. So it is let go when the leadership ends, and when nobody has asked for a while; whoever asks for a part of it then
//! starts again. No lock is held while a part is read. [`Incoming`] is locked while a part is written and until all of it is
//! in force: only background threads come here, and nobody waits for them.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use replication::protocol::message::SnapshotPart;
use wal::sync::lock;
use wal::{Lsn, NodeId};

use crate::engine::{Engine, Receipt, Snapshot, SnapshotHead};

/// Payload of a part of a snapshot, about.
const PART_BYTES: usize = 256 << 10;

/// Snapshots on their way.
#[derive(Default)]
pub(crate) struct Shipping {
    outgoing: Mutex<HashMap<NodeId, Outgoing>>,
    incoming: Mutex<Incoming>,
}

/// A snapshot on its way out.
struct Outgoing {
    /// Its number, and that of its next part. Later snapshots have larger ones.
    next: (u64, u64),
    snapshot: Snapshot,
    /// When a part was last read.
    used: Instant,
}

/// What has come of a snapshot on its way in, and the number of its next part.
#[derive(Default)]
pub(crate) struct Incoming(Option<(u64, Receipt)>);

impl Shipping {
    /// Reads a part, given by the numbers of the snapshot and of the part in it, for a member whose tables hold everything up
    /// to `tables`. Part 0 begins the snapshot.
    pub(crate) fn read(
        &self,
        engine: &Engine,
        to: NodeId,
        (number, part): (u64, u64),
        tables: Lsn,
    ) -> Result<SnapshotPart, String> {
        if part == 0 {
            let snapshot = engine.snapshot(tables).map_err(|error| error.to_string())?;
            let (flushed, bytes) = (snapshot.head().flushed, snapshot.head().encode());
            self.keep(to, (number, 1), snapshot);
            return Ok(SnapshotPart { number: 0, flushed, bytes, last: false });
        }
        let Some(mut snapshot) = self.take(to, (number, part)) else {
            return Err(format!("part {part} of a snapshot for {to} is out of turn, or was let go"));
        };
        let flushed = snapshot.head().flushed;
        let chunk = snapshot.chunk(PART_BYTES).map_err(|error| error.to_string())?;
        let last = chunk.is_none();
        if !last {
            self.keep(to, (number, part + 1), snapshot);
        }
        Ok(SnapshotPart { number: part, flushed, bytes: chunk.unwrap_or_default(), last })
    }

    /// Takes the snapshot for a member out, if its next part is this one.
    fn take(&self, to: NodeId, part: (u64, u64)) -> Option<Snapshot> {
        let mut outgoing = lock(&self.outgoing);
        let taken = outgoing.remove(&to)?;
        if taken.next == part {
            return Some(taken.snapshot);
        }
        // A part of an earlier snapshot is asked for late: the later one goes on.
        if taken.next.0 > part.0 {
            outgoing.insert(to, taken);
        }
        None
    }

    /// Keeps the snapshot for its next part, unless a later one was begun meanwhile.
    fn keep(&self, to: NodeId, next: (u64, u64), snapshot: Snapshot) {
        let mut outgoing = lock(&self.outgoing);
        if outgoing.get(&to).is_none_or(|other| other.next.0 <= next.0) {
            outgoing.insert(to, Outgoing { next, snapshot, used: Instant::now() });
        }
    }

    /// Lets go of outgoing snapshots of which nobody has asked for a part for so long.
    pub(crate) fn release_idle(&self, idle_max: Duration) {
        lock(&self.outgoing).retain(|_, outgoing| outgoing.used.elapsed() < idle_max);
    }

    /// Lets go of all outgoing snapshots.
    pub(crate) fn release(&self) {
        lock(&self.outgoing).clear();
    }

    /// What has come in, for one caller at a time.
    pub(crate) fn incoming(&self) -> MutexGuard<'_, Incoming> {
        lock(&self.incoming)
    }
}

impl Incoming {
    /// Takes a part in; with the last one all that was received.
    pub(crate) fn receive(&mut self, engine: &Engine, part: SnapshotPart) -> Result<Option<Receipt>, String> {
        let SnapshotPart { number, bytes, last, .. } = part;
        if number == 0 {
            self.abandon(engine);
            let head = SnapshotHead::decode(bytes).ok_or("its head is damaged or of another version")?;
            self.0 = Some((1, engine.receive(head)));
        } else {
            let (next, mut receipt) = self.0.take().ok_or("its beginning is missing")?;
            let added = match next == number {
                true if bytes.is_empty() => Ok(()),
                true => engine.receive_chunk(&mut receipt, bytes).map_err(|error| error.to_string()),
                false => Err(format!("part {number} comes after part {next}")),
            };
            if let Err(error) = added {
                engine.refuse(receipt);
                return Err(error);
            }
            self.0 = Some((next + 1, receipt));
        }
        Ok(self.0.take_if(|_| last).map(|(_, receipt)| receipt))
    }

    /// Throws away what has come so far.
    pub(crate) fn abandon(&mut self, engine: &Engine) {
        if let Some((_, abandoned)) = self.0.take() {
            engine.refuse(abandoned);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use wal::ChainHash;
    use wal::disk::MemoryDisk;

    use super::*;
    use crate::engine::{BlockCache, EngineOptions};
    use crate::request::Mutation;

    fn engine() -> Engine {
        let cache = Arc::new(BlockCache::new(1 << 20));
        let disk = Arc::new(MemoryDisk::new());
        let (engine, _) = Engine::open(disk, "r-1", EngineOptions::default(), cache).unwrap();
        let put = Mutation::Put { column: "a".into(), value: "1".into() };
        engine.apply(Lsn::new(1, 1), ChainHash(1), &"k".into(), &[put]);
        engine.freeze(Bytes::new);
        engine.flush(|_| Ok(())).unwrap();
        engine
    }

    #[test]
    fn a_snapshot_that_nobody_asks_for_is_let_go_and_starts_again() {
        let (engine, shipping, to) = (engine(), Shipping::default(), NodeId(2));
        let read = |part| shipping.read(&engine, to, (7, part), Lsn::ZERO);
        assert!(read(0).is_ok());
        shipping.release_idle(Duration::from_secs(60));
        assert!(read(1).is_ok_and(|part| !part.last));
        shipping.release_idle(Duration::ZERO);
        assert!(read(2).is_err());
        assert!(read(0).is_ok() && read(1).is_ok());
        assert!(read(2).is_ok_and(|part| part.last));
        assert!(lock(&shipping.outgoing).is_empty(), "what is through pins nothing");
        assert!(read(0).is_ok());
        shipping.release();
        assert!(lock(&shipping.outgoing).is_empty());
    }

    /// Else the parts of one would follow the head of another.
    #[test]
    fn a_call_for_an_earlier_snapshot_does_not_touch_a_later_one() {
        let (engine, shipping, to) = (engine(), Shipping::default(), NodeId(2));
        let read = |number, part| shipping.read(&engine, to, (number, part), Lsn::ZERO);
        assert!(read(8, 0).is_ok());
        assert!(read(7, 0).is_ok(), "it is of no use, and harms nobody");
        assert!(read(7, 1).is_err());
        assert!(read(8, 1).is_ok_and(|part| !part.last));
        assert!(read(8, 2).is_ok_and(|part| part.last));
    }
}
