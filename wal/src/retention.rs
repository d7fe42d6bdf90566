//! Which segments may go: the oldest ones, once nothing that a cohort needs is left in them.
//!
//! A cohort needs its entries above what is flushed, and its control state. Entries are held for a while, so that their
//! range can be flushed; when the log has grown to twice its retention they are copied forward. Control state is
//! repeated before the last segment that holds it goes.

use std::io;

use crate::error::LogError;
use crate::lsn::CohortId;
use crate::record::Record;
use crate::sync;
use crate::writer::LogWriter;

impl LogWriter {
    /// Removes segments, oldest first, while the log is longer than its retention. Returns the cohorts whose
    /// entries above their checkpoint keep the oldest segment: they should be flushed.
    pub fn reclaim(&mut self) -> Result<Vec<CohortId>, LogError> {
        let limit = self.segments.bytes_max();
        // What is copied forward makes new segments: they are not for this call, which would never end.
        let newest = self.segments.current().map_or(0, |segment| segment.id);
        loop {
            let total = self.segments.bytes();
            let Some(oldest) = self.segments.oldest() else { return Ok(Vec::new()) };
            let id = oldest.id;
            if total <= limit || self.segments.len() < 2 || id >= newest {
                return Ok(Vec::new());
            }
            let holding: Vec<CohortId> = oldest
                .entries
                .iter()
                .filter(|&(cohort, &seq)| {
                    self.controls
                        .get(cohort)
                        .is_some_and(|control| control.checkpoint.flushed.seq < seq.min(control.seq))
                })
                .map(|(&cohort, _)| cohort)
                .collect();
            if !holding.is_empty() && total <= 2 * limit {
                return Ok(holding);
            }
            for &cohort in &holding {
                self.copy_forward(cohort, id)?;
            }
            let stale: Vec<CohortId> = self
                .controls
                .iter()
                .filter(|(_, control)| control.segment <= id)
                .map(|(&cohort, _)| cohort)
                .collect();
            for cohort in stale {
                if let Some(control) = self.controls.get(&cohort) {
                    let checkpoint = control.checkpoint.clone();
                    self.set_checkpoint(cohort, checkpoint)?;
                }
            }
            self.force()?;
            self.segments.forget_oldest();
            let mut shared = sync::write(&self.shared);
            shared.files.remove(&id);
            for index in shared.index.values_mut() {
                index.drop_below(id + 1);
            }
            drop(shared);
            self.segments.remove_file(id).map_err(|error| self.poison(error))?;
        }
    }

    /// Appends again the entries above the cohort's checkpoint that stand in segment `id` [keep-acked-tail].
    fn copy_forward(&mut self, cohort: CohortId, id: u64) -> Result<(), LogError> {
        self.force()?;
        let flushed = self.controls.get(&cohort).map(|control| control.checkpoint.flushed.seq).unwrap_or(0);
        let entries = self.reader().read_segment(cohort, flushed, id).map_err(|error| {
            self.poison(io::Error::other(format!("copying a live tail forward: {error}")))
        })?;
        for entry in entries {
            self.put(cohort, &Record::Entry(entry), true);
        }
        self.force()
    }
}
