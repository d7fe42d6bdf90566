//! How new tables are written, and the one step in which they come into force.
//!
//! | step                              | what a crash leaves                                   |
//! |-----------------------------------|-------------------------------------------------------|
//! | write and force the tables        | files that no manifest names: removed at the next open |
//! | force the directory               | the same                                              |
//! | write and force the manifest aside| the same, and a leftover that the next edit replaces  |
//! | rename it, force the directory    | the old state or the new one, whole                   |
//!

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use wal::sync::lock;

use super::lsm::Engine;
use super::manifest::Manifest;
use super::merge::{self, Walk};
use super::version::Version;
use crate::table::{CellVersion, RowVersions, Table, TableBuilder, TableError as EngineError, io_error};

impl Engine {
    /// Writes the merged rows of a walk into new tables of about `bytes` each; nothing names them yet. `edit` may take
    /// cells out of a row. On failure no file stays behind: a full disk must not fill up with attempts.
    pub(super) fn write_tables(
        &self,
        mut walk: Walk,
        bytes: u64,
        mut edit: impl FnMut(&Bytes, &mut Vec<CellVersion>),
    ) -> Result<Vec<Arc<Table>>, EngineError> {
        let (mut made, mut open) = (Vec::new(), None);
        let mut write = || {
            while let Some((key, parts)) = walk.step()? {
                let mut cells = merge::merge_row(parts);
                edit(&key, &mut cells);
                if cells.is_empty() {
                    continue;
                }
                let (number, mut builder) = match open.take() {
                    Some(open) => open,
                    None => self.create_table()?,
                };
                // Remembered before anything can fail.
                let added = builder.add(&RowVersions { key, cells });
                let full = builder.bytes() >= bytes;
                open = Some((number, builder));
                added?;
                if full && let Some((number, builder)) = open.take() {
                    made.push(self.finish_table(number, builder)?);
                }
            }
            if let Some((number, builder)) = open.take() {
                made.push(self.finish_table(number, builder)?);
            }
            Ok(())
        };
        let written = write();
        if let Err(error) = written {
            if let Some((_, builder)) = open {
                self.discard(builder.name());
            }
            made.iter().for_each(|table| self.discard(table.name()));
            return Err(error);
        }
        Ok(made)
    }

    pub(super) fn create_table(&self) -> Result<(u64, TableBuilder), EngineError> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        Ok((number, TableBuilder::create(&*self.disk, &self.dir, number)?))
    }

    pub(super) fn finish_table(&self, number: u64, builder: TableBuilder) -> Result<Arc<Table>, EngineError> {
        let name = builder.name().to_owned();
        let finished = builder.finish();
        let opened = finished.and_then(|()| self.open_table(number));
        opened.map(Arc::new).inspect_err(|_| self.discard(&name))
    }

    fn open_table(&self, number: u64) -> Result<Table, EngineError> {
        Table::open(&*self.disk, &self.dir, number, self.cache.clone(), self.damage.clone())
    }

    /// Changes the manifest, durably, after the names of the new tables are durable [table-before-manifest].
    pub(super) fn install(
        &self,
        made: &[Arc<Table>],
        change: impl FnOnce(&mut Manifest),
    ) -> Result<(), EngineError> {
        let _one = lock(&self.editing);
        let mut next = lock(&self.manifest).clone();
        change(&mut next);
        next.next = self.next.load(Ordering::Relaxed);
        let forced = self.disk.sync_dir(&self.dir).map_err(|error| io_error(&self.dir, error));
        let prepared = forced.and_then(|()| next.write_aside(&*self.disk, &self.dir));
        if let Err(error) = prepared {
            made.iter().for_each(|table| self.discard(table.name()));
            return Err(error);
        }
        // If this fails, either manifest may be the one that a restart finds, so the files of both stay.
        next.put_in_force(&*self.disk, &self.dir)?;
        *lock(&self.manifest) = next;
        Ok(())
    }

    /// Removes a file that nothing names; if that fails, the next open does it.
    pub(super) fn discard(&self, name: &str) {
        let _ = self.disk.remove(name);
    }

    /// Puts another version in the place of the current one.
    pub(super) fn swap(&self, next: impl FnOnce(&Version) -> Version) {
        let mut state = self.write_state();
        let next = Arc::new(next(&state.version));
        let old = std::mem::replace(&mut state.version, next);
        drop(state);
        // Freeing a full memtable takes milliseconds: not under the lock.
        drop(old);
    }
}
