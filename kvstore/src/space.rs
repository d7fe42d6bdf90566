//! How much space a node's disk has.

use std::sync::Arc;

use wal::disk::{Disk, ReserveDisk};

/// The disk of a node, as its log and as its tables see it.
#[derive(Clone)]
pub(crate) struct Space {
    disk: Arc<dyn Disk>,
    tables: ReserveDisk,
}

impl Space {
    /// A disk of which tables leave so many bytes to the log.
    pub(crate) fn new(disk: Arc<dyn Disk>, reserve_bytes: u64) -> Space {
        Space { tables: ReserveDisk::new(disk.clone(), reserve_bytes), disk }
    }

    /// The disk for tables: flush and compaction stop before the log does.
    pub(crate) fn tables(&self) -> Arc<dyn Disk> {
        Arc::new(self.tables.clone())
    }

    /// Free bytes; `None` if the system does not tell.
    pub(crate) fn free_bytes(&self) -> Option<u64> {
        self.disk.free_bytes().ok()
    }

    /// Whether tables are not written any more.
    pub(crate) fn is_full(&self) -> bool {
        self.tables.free_bytes().is_ok_and(|free| free == 0)
    }
}
