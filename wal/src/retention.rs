//! Which segments may go: the oldest ones, once nothing that a cohort needs is left in them.
//!
//! A cohort needs its entries above what is flushed, and its control state. Entries are held for a while, so that their
//! range can be flushed; when the log has grown to twice its retention they are copied forward. Control state is
//! repeated before the last segment that holds it goes.

use std::io;
use std::sync::Arc;

use crate::error::{LogError, ReadError};
use crate::lsn::CohortId;
use crate::record::Record;
use crate::sync;
use crate::writer::LogWriter;

/// Bytes of a tail that are copied forward in one step.
const COPY_BYTES: u64 = 4 << 20;

impl LogWriter {
    /// Removes segments, oldest first, while the log is longer than its retention. Returns the cohorts whose
    /// entries above their checkpoint keep the oldest segment: they should be flushed.
    pub fn reclaim(&mut self) -> Result<Vec<CohortId>, LogError> {
        let newest = self.newest_segment();
        loop {
            if let Some(holding) = self.reclaim_step(newest)? {
                return Ok(holding);
            }
        }
    }

    /// The segment that is written to.
    pub(crate) fn newest_segment(&self) -> u64 {
        self.segments.current().map_or(0, |segment| segment.id)
    }

    /// One step of [`LogWriter::reclaim`], which takes not much longer than a batch: copies a part of a tail forward, or
    /// removes one segment. `None`: there is more to do. `newest` is what [`LogWriter::newest_segment`] was at the first
    /// step: what is copied forward makes new segments, and they are not for this call, which would never end.
    pub(crate) fn reclaim_step(&mut self, newest: u64) -> Result<Option<Vec<CohortId>>, LogError> {
        self.note()?;
        let limit = self.segments.bytes_max();
        let total = self.segments.bytes();
        let Some(oldest) = self.segments.oldest() else { return Ok(Some(Vec::new())) };
        let id = oldest.id;
        if total <= limit || self.segments.len() < 2 || id >= newest {
            return Ok(Some(Vec::new()));
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
            return Ok(Some(holding));
        }
        for &cohort in &holding {
            if self.copy_forward(cohort, id)? {
                return Ok(None);
            }
        }
        self.repeat_controls(id)?;
        let next = self.segments.second().map_or(id, |next| next.id);
        // Noted before it goes: a segment that is missing was lost [lost-log-is-seen].
        if let Err(error) = self.note_from(next).and_then(|()| self.segments.remove_file(id)) {
            // It stays the oldest, and is tried again.
            return Err(LogError::Segment(Arc::new(error)));
        }
        self.segments.forget_oldest();
        let mut shared = sync::write(&self.shared);
        shared.files.remove(&id);
        for index in shared.index.values_mut() {
            index.drop_below(id + 1);
        }
        Ok(None)
    }

    /// Appends again the control state that stands in no segment behind `id` [control-state-outlives-segment].
    fn repeat_controls(&mut self, id: u64) -> Result<(), LogError> {
        let stale = self.controls.iter().filter(|(_, control)| control.segment <= id);
        let stale: Vec<_> = stale.map(|(&cohort, control)| (cohort, control.checkpoint.clone())).collect();
        for (cohort, checkpoint) in stale {
            self.set_checkpoint(cohort, checkpoint)?;
        }
        self.force()
    }

    /// Appends again the first of the entries above the cohort's checkpoint that still stand in segment `id`
    /// [keep-acked-tail], and forces them. Says whether there were any.
    fn copy_forward(&mut self, cohort: CohortId, id: u64) -> Result<bool, LogError> {
        self.force()?;
        let flushed = self.controls.get(&cohort).map(|control| control.checkpoint.flushed.seq).unwrap_or(0);
        let entries = match self.reader().read_segment(cohort, flushed, id, COPY_BYTES) {
            Ok(entries) => entries,
            Err(ReadError::Io(error)) => return Err(LogError::Segment(Arc::new(error))),
            // Bytes that were forced are not there any more.
            Err(error) => {
                return Err(self.poison(io::Error::other(format!("copying a live tail forward: {error}"))));
            }
        };
        let copied = !entries.is_empty();
        for entry in entries {
            self.put(cohort, &Record::Entry(entry), true);
        }
        self.force()?;
        Ok(copied)
    }
}
