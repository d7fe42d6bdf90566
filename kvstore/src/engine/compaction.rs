//! Carrying out a merge that `choice` decided: read the tables, write them merged, name that in the manifest, let the old
//! files go.
//!
//! A deletion must outlive everything that it hides: it is dropped only where no deeper level can hold its row
//! ([no-resurrection]). The highest LSN dropped is kept in the same manifest edit as `gc_lsn`, for a member that turns up with
//! tables that hold less, and that the log does not reach, needs a whole snapshot of the range. And a row that lives keeps
//! the deletion that is its newest version ([row-version-grows]).

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use wal::Lsn;
use wal::sync::lock;

use super::choice::{Choice, Shape, choose};
use super::lsm::Engine;
use super::merge::{Walk, newest};
use super::row_source::RowSource;
use super::version::{Version, table_for};
use crate::table::{Caching, CellVersion, RunCursor, Table, TableError as EngineError};

impl Engine {
    /// Whether [`Engine::compact`] would do something. Costs next to nothing while no table has changed.
    pub fn needs_compaction(&self) -> bool {
        if self.damage.any() || !self.compaction_due.swap(false, Ordering::AcqRel) {
            return false;
        }
        let due = self.choice(&self.version()).is_some();
        if due {
            self.compaction_due.store(true, Ordering::Release);
        }
        due
    }

    /// Does the most urgent merge, if one is due; tells whether it did.
    pub fn compact(&self) -> Result<bool, EngineError> {
        let _one = lock(&self.compacting);
        self.check()?;
        let version = self.version();
        let Some(choice) = self.choice(&version) else { return Ok(false) };
        self.perform(&version, &choice)?;
        self.compaction_due.store(true, Ordering::Release);
        Ok(true)
    }

    fn choice(&self, version: &Version) -> Option<Choice> {
        let shapes: Vec<Vec<Shape>> =
            version.levels.iter().map(|level| level.iter().map(|table| shape(table)).collect()).collect();
        choose(&shapes, &self.options)
    }

    fn perform(&self, version: &Version, choice: &Choice) -> Result<(), EngineError> {
        let into = choice.from + 1;
        let taken = |level: usize, numbers: &[u64]| -> Vec<Arc<Table>> {
            version.levels[level].iter().filter(|table| numbers.contains(&table.number())).cloned().collect()
        };
        let (inputs, overlaps) = (taken(choice.from, &choice.inputs), taken(into, &choice.overlaps));
        // What is read once and never again has no business in the cache.
        let run = |run| RowSource::Run(RunCursor::new(run, Caching::Bypass));
        let mut sources: Vec<RowSource> = inputs.iter().map(|table| run(vec![table.clone()])).collect();
        sources.push(run(overlaps.clone()));
        let mut dropped = Lsn::ZERO;
        let made = self.write_tables(
            // Tables hold committed versions only, and all of them count.
            Walk::new(sources, Lsn::ZERO, Bytes::new(), None, false),
            self.options.table_bytes,
            |key, cells: &mut Vec<CellVersion>| {
                let hides = version.levels[into + 1..]
                    .iter()
                    .any(|run| table_for(run, key).is_some_and(|table| table.may_hold(key)));
                if !hides {
                    dropped = dropped.max(drop_deletions(cells));
                }
            },
        )?;
        let old: Vec<u64> = choice.inputs.iter().chain(&choice.overlaps).copied().collect();
        self.install(&made, |manifest| {
            manifest.gc_lsn = manifest.gc_lsn.max(dropped);
            manifest.tables.retain(|(_, number)| !old.contains(number));
            manifest.tables.extend(made.iter().map(|table| (into as u8, table.number())));
        })?;
        self.swap(|version| version.compacted(&old, into, made, dropped));
        for table in inputs.iter().chain(&overlaps) {
            // Readers keep the open file; a name that stays is removed at the next start.
            let _ = self.disk.remove(table.name());
        }
        Ok(())
    }
}

/// Takes the deletions out of a row that no deeper level holds, but for the one that is the version of a row that lives.
/// Returns the highest LSN among them, [`Lsn::ZERO`] if there were none.
fn drop_deletions(cells: &mut Vec<CellVersion>) -> Lsn {
    let put = newest(cells.iter().filter(|cell| cell.value.is_some()));
    // One of the newest write will do.
    let mut version = put.and_then(|put| newest(cells.iter()).filter(|newest| *newest > put));
    let mut dropped = Lsn::ZERO;
    cells.retain(|cell| {
        let stays = cell.value.is_some() || version.take_if(|version| *version == cell.lsn).is_some();
        if !stays {
            dropped = dropped.max(cell.lsn);
        }
        stays
    });
    dropped
}

fn shape(table: &Table) -> Shape {
    let summary = table.summary();
    Shape {
        number: table.number(),
        first: summary.first_key.clone(),
        last: summary.last_key.clone(),
        bytes: summary.bytes,
    }
}
