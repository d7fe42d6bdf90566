//! Which tables of a range have been found damaged, by whoever read them: a client, a compaction, the scrub, a snapshot.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use wal::sync::lock;

use super::format::TableError;

/// What has been found so far.
#[derive(Default)]
pub(crate) struct Damage {
    any: AtomicBool,
    tables: Mutex<BTreeMap<u64, TableError>>,
}

impl Damage {
    /// This table cannot be read as it was written.
    pub(crate) fn note(&self, table: u64, error: &TableError) {
        let mut tables = lock(&self.tables);
        tables.entry(table).or_insert_with(|| {
            tracing::error!(%error, "a table is damaged: its range is repaired from another replica");
            error.clone()
        });
        self.any.store(true, Ordering::Release);
    }

    /// Whether anything was found. One load: it is asked at every read.
    pub(crate) fn any(&self) -> bool {
        self.any.load(Ordering::Acquire)
    }

    /// The first error, if a table is damaged that is still `in_use`; the others are forgotten.
    pub(crate) fn first(&self, in_use: impl Fn(u64) -> bool) -> Option<TableError> {
        let mut tables = lock(&self.tables);
        tables.retain(|table, _| in_use(*table));
        self.any.store(!tables.is_empty(), Ordering::Release);
        tables.values().next().cloned()
    }
}
