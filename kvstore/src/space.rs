//! A node's disk: its data directory, locked, and how much space it has.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use wal::disk::{Disk, FileDisk, ReserveDisk};

/// How long, and how often, whoever opens a data directory waits for its lock.
const LOCK_WAIT: Duration = Duration::from_secs(3);
const LOCK_RETRY: Duration = Duration::from_millis(20);

/// Ending of the names of tables: all else is small, and what frees space begins with it [space-can-be-freed].
const TABLES: &str = ".sst";

/// The disk of a node, as its log and as its tables see it.
#[derive(Clone)]
pub(crate) struct Space {
    disk: Arc<dyn Disk>,
    tables: ReserveDisk,
}

impl Space {
    /// A disk of which tables leave so many bytes to the log.
    pub(crate) fn new(disk: Arc<dyn Disk>, reserve_bytes: u64) -> Space {
        Space { tables: ReserveDisk::new(disk.clone(), reserve_bytes, TABLES), disk }
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

/// Opens a data directory and locks it. Waits a moment: the node's earlier life may still be letting go of its last file.
pub(crate) fn open_disk(path: &Path) -> io::Result<FileDisk> {
    let mut waited = Duration::ZERO;
    loop {
        match FileDisk::open(path) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && waited < LOCK_WAIT => {
                std::thread::sleep(LOCK_RETRY);
                waited += LOCK_RETRY;
            }
            opened => return opened,
        }
    }
}
