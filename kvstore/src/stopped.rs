//! The data directory of a node that is stopped, as the commands for operators open it.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io;
use std::path::Path;
use std::sync::Arc;

use wal::disk::Disk;
use wal::{CohortId, CohortRecovery, LogOptions, LogWriter, ReplicaId};

use crate::opening;
use crate::space;

/// A data directory, locked as long as its disk is in use.
pub(crate) struct Stopped {
    pub(crate) disk: Arc<dyn Disk>,
    /// The node and its disk.
    pub(crate) me: ReplicaId,
    /// Name of its cluster.
    pub(crate) cluster: String,
    pub(crate) writer: LogWriter,
    /// What its log holds of each range.
    pub(crate) cohorts: BTreeMap<CohortId, CohortRecovery>,
    /// Something of its log is lost or damaged.
    pub(crate) damaged: bool,
}

impl Stopped {
    /// Opens it as its node would: what is missing of its log is noticed here, and stays noticed [lost-log-is-seen]. The error
    /// is one line for the operator, without the path.
    pub(crate) fn open(path: &Path) -> Result<Stopped, String> {
        // Asked before the disk is opened, which would make the directory.
        match std::fs::metadata(path.join("IDENTITY")) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err("not a data directory of a node (it has no IDENTITY)".to_owned());
            }
            Err(error) => return Err(format!("IDENTITY: {error}")),
        }
        Stopped::on(Arc::new(space::open_disk(path).map_err(|error| error.to_string())?))
    }

    /// The same of a disk that is open.
    pub(crate) fn on(disk: Arc<dyn Disk>) -> Result<Stopped, String> {
        let text = |error: &dyn Display| error.to_string();
        let identity = wal::identity::read(&*disk).map_err(|error| text(&error))?;
        let dirs = disk.list_dirs().map_err(|error| text(&error))?;
        let options = LogOptions { history: opening::history(&identity, &dirs), ..LogOptions::default() };
        let (writer, recovery) = LogWriter::open(disk.clone(), options).map_err(|error| text(&error))?;
        Ok(Stopped {
            disk,
            me: ReplicaId { node: identity.node, incarnation: identity.incarnation },
            cluster: identity.cluster,
            writer,
            cohorts: recovery.cohorts.into_iter().collect(),
            damaged: recovery.damaged.is_some(),
        })
    }
}
