//! From memory to disk: freezing a memtable and writing it out.
//!
//! The log may forget what lies up to the returned LSN once a flush is done [manifest-before-log-goes]; that is what was
//! applied when the memtable was frozen [flush-reaches-freeze].

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use wal::Lsn;
use wal::sync::lock;

use super::lsm::{Engine, State};
use super::manifest::FlushedState;
use super::merge::Walk;
use super::row_source::RowSource;
use super::version::{Frozen, Version};
use crate::table::TableError as EngineError;

impl Engine {
    /// Starts a new memtable; the old one waits for [`Engine::flush`], together with the store's `attachment` of this
    /// very moment. Does nothing while one waits, or if nothing was applied since. May not run beside
    /// [`Engine::apply`].
    pub fn freeze(&self, attachment: impl FnOnce() -> Bytes) {
        let idle = |state: &State| state.version.frozen.is_some() || state.applied == state.version.flushed;
        if idle(&self.read_state()) || self.damage.any() {
            return;
        }
        self.flush_requested.store(false, Ordering::Release);
        // It may take a while to make; readers need not wait for it.
        let attachment = attachment();
        let mut state = self.write_state();
        if idle(&state) {
            return;
        }
        let frozen = Frozen {
            memtable: state.version.active.clone(),
            lsn: state.applied,
            chain: state.chain,
            attachment,
        };
        state.version =
            Arc::new(Version { active: Arc::default(), frozen: Some(frozen), ..(*state.version).clone() });
    }

    /// Writes what is frozen as one table and returns how far the tables reach now. `ready` is called first, with the
    /// LSN that they are about to reach, and may wait or refuse; no lock is held meanwhile. An error leaves all as it was;
    /// try again.
    pub fn flush(
        &self,
        ready: impl FnOnce(Lsn) -> Result<(), EngineError>,
    ) -> Result<FlushedState, EngineError> {
        self.check()?;
        let frozen = || self.version().frozen.clone();
        let Some(waiting) = frozen() else { return Ok(lock(&self.manifest).flushed.clone()) };
        ready(waiting.lsn)?;
        let _one = lock(&self.flushing);
        self.check()?;
        // A snapshot may have taken its place meanwhile.
        let Some(frozen) = frozen().filter(|frozen| Arc::ptr_eq(&frozen.memtable, &waiting.memtable)) else {
            return Ok(lock(&self.manifest).flushed.clone());
        };
        let Frozen { memtable, lsn, chain, attachment } = frozen;
        let walk = Walk::new(vec![RowSource::Memtable(memtable)], lsn, Bytes::new(), None, false);
        let made = self.write_tables(walk, u64::MAX, |_, _| {})?;
        let snapshot = lock(&self.manifest).flushed.snapshot;
        let flushed = FlushedState { lsn, chain, attachment, snapshot };
        self.install(&made, |manifest| {
            manifest.tables.splice(0..0, made.iter().map(|table| (0, table.number())));
            manifest.flushed = flushed.clone();
        })?;
        self.swap(|version| version.flushed(made, lsn));
        self.compaction_due.store(true, Ordering::Release);
        Ok(flushed)
    }
}
