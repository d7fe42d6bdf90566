//! What the data directory holds: locked, its identity checked, its log scanned.

use std::collections::HashMap;
use std::fmt::Display;
use std::io;
use std::sync::Arc;

use wal::disk::Disk;
use wal::{CohortId, CohortRecovery, LogOptions, LogWriter, ReplicaId};

use crate::cluster::layout::ClusterId;
use crate::cluster::local::{self, KeptRange};
use crate::config::NodeConfig;
use crate::error::StartError;
use crate::opening;
use crate::space::{self, Space};

/// The open data directory.
pub(super) struct Storage {
    pub(super) space: Space,
    /// This node, with its disk's incarnation.
    pub(super) me: ReplicaId,
    pub(super) writer: LogWriter,
    /// What the scan of the log found, by range.
    pub(super) cohorts: HashMap<CohortId, CohortRecovery>,
    /// Damage that the scan found, wherever it may belong.
    pub(super) damaged: Option<wal::Corruption>,
    /// Whether there is anything of any range.
    pub(super) holds_data: bool,
    /// It takes the place of a lost one: that was asked for, now or by a start that was cut off.
    pub(super) rebuild: bool,
}

/// A data directory as it joins its cluster.
pub(super) struct Own {
    pub(super) me: ReplicaId,
    pub(super) holds_data: bool,
    pub(super) rebuild: bool,
    pub(super) disk: Arc<dyn Disk>,
}

impl Own {
    /// The ranges that the directory describes as this cluster's. One whose description cannot be read is left out. An error:
    /// nobody can say which ranges there are.
    pub(super) fn kept(&self, cluster: ClusterId) -> io::Result<Vec<KeptRange>> {
        let dirs = self.disk.list_dirs()?;
        let kept = dirs.iter().filter_map(|dir| {
            let read = KeptRange::read(&*self.disk, dir, opening::range_of(dir)?);
            let told =
                read.inspect_err(|error| tracing::warn!(%error, "a range's description cannot be read"));
            told.ok().flatten()
        });
        Ok(kept.filter(|kept| kept.cluster == cluster).collect())
    }
}

impl Storage {
    /// What joining the cluster needs to know of it.
    pub(super) fn own(&self) -> Own {
        Own { me: self.me, holds_data: self.holds_data, rebuild: self.rebuild, disk: self.space.tables() }
    }

    /// Locks the directory, checks whose it is, and scans the log.
    pub(super) async fn open(config: &NodeConfig) -> Result<Storage, StartError> {
        let config = config.clone();
        let opened = tokio::task::spawn_blocking(move || Storage::open_blocking(&config));
        opened.await.map_err(|error| StartError(format!("opening the log: {error}")))?
    }

    fn open_blocking(config: &NodeConfig) -> Result<Storage, StartError> {
        let named = |error: &dyn Display| {
            StartError(format!("data directory {}: {error}", config.data_dir.display()))
        };
        let disk: Arc<dyn Disk> =
            Arc::new(space::open_disk(&config.data_dir).map_err(|error| named(&error))?);
        let identity = wal::identity::open_or_create(&*disk, &config.cluster, config.node);
        let identity = identity.map_err(|error| named(&error))?;
        let dirs = disk.list_dirs().map_err(|error| named(&error))?;
        let has_ranges = dirs.iter().any(|dir| opening::range_of(dir).is_some());
        if config.rebuild && !has_ranges && !identity.log_noted {
            // A start that is cut off now is gone on with by the next one.
            local::note_rebuilding(&*disk, true).map_err(|error| named(&error))?;
        }
        let rebuild = config.rebuild || local::is_rebuilding(&*disk).map_err(|error| named(&error))?;
        let options = LogOptions {
            // The log stands before the first range is opened.
            history: opening::history(&identity, &dirs),
            ..LogOptions::retaining(config.log_retention_bytes)
        };
        let (writer, recovery) = LogWriter::open(disk.clone(), options).map_err(|error| named(&error))?;
        wal::identity::note_log(&*disk, &identity).map_err(|error| named(&error))?;
        check_space(&*disk, &options, writer.bytes());
        let me = ReplicaId { node: config.node, incarnation: identity.incarnation };
        let cohorts: HashMap<CohortId, CohortRecovery> = recovery.cohorts.into_iter().collect();
        let damaged = recovery.damaged;
        if let Some(damaged) = &damaged {
            tracing::error!(
                %damaged,
                "the log has lost something: the ranges that it may belong to rejoin as learners; look at the disk"
            );
        }
        let holds_data = !cohorts.is_empty() || damaged.is_some() || has_ranges;
        // What the log may still need: its reserve, and one segment.
        let space = Space::new(disk, options.reserve_bytes + options.segment_bytes);
        Ok(Storage { space, me, writer, cohorts, damaged, holds_data, rebuild })
    }
}

/// Says so if the disk is too small for what the log may need.
fn check_space(disk: &dyn Disk, options: &LogOptions, used: u64) {
    let (needed, mib) = (options.disk_bytes_max(), |bytes: u64| bytes >> 20);
    if let Ok(free) = disk.free_bytes()
        && free + used < needed
    {
        tracing::warn!(
            "the disk has {} MiB for the log, which may need {} MiB (and the tables need theirs): lower \
             --log-retention-mib, or give it more space",
            mib(free + used),
            mib(needed)
        );
    }
}

#[cfg(test)]
mod tests {
    use wal::disk::{Faults, MemoryDisk};
    use wal::{Incarnation, NodeId};

    use super::*;

    #[test]
    fn a_directory_that_cannot_be_listed_does_not_pass_for_one_without_ranges() {
        let disk = MemoryDisk::new();
        let me = ReplicaId { node: NodeId(1), incarnation: Incarnation(1) };
        let own = Own { me, holds_data: true, rebuild: false, disk: Arc::new(disk.clone()) };
        assert_eq!(own.kept(ClusterId(1)).expect("it can be listed"), []);
        disk.set_faults(Faults { no_descriptors: true, ..Faults::default() });
        own.kept(ClusterId(1)).expect_err("nobody can say which ranges there are");
    }
}
