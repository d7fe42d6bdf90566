//! The engine against a map, against a disk that fails at every step, against damage, and beside itself.

mod crash;
mod damage;
mod model;
mod pinned;
mod readers;
mod snapshot;
mod tombstones;
mod versions;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use wal::disk::{Disk, MemoryDisk};
use wal::{ChainHash, Lsn};

use super::manifest::{self, Manifest};
use super::{BlockCache, Engine, EngineError, EngineOptions, FlushedState};
use crate::request::{Cell, Columns, Mutation, Row};
use crate::table::{Table, file_name, io_error};

const DIR: &str = "r-1";

/// Sizes at which a few writes fill several levels.
const SMALL: EngineOptions = EngineOptions {
    memtable_bytes: 1 << 20,
    level0_tables: 2,
    level0_stall: 4,
    level1_bytes: 700,
    table_bytes: 256,
    row_bytes_max: 1 << 20,
};

fn try_open(disk: &MemoryDisk, options: EngineOptions) -> Result<(Engine, FlushedState), EngineError> {
    Engine::open(Arc::new(disk.clone()), DIR, options, Arc::new(BlockCache::new(1 << 20)))
}

fn open(disk: &MemoryDisk, options: EngineOptions) -> Engine {
    try_open(disk, options).unwrap().0
}

fn put(column: &str, value: &str) -> Mutation {
    Mutation::Put { column: column.to_owned().into(), value: value.to_owned().into() }
}

/// Applies one write to one row as `1.seq`.
fn write(engine: &Engine, seq: u64, key: &str, mutations: &[Mutation]) {
    engine.apply(Lsn::new(1, seq), ChainHash(seq), &key.to_owned().into(), mutations);
}

/// Freezes and flushes, with the applied LSN as attachment.
fn flush(engine: &Engine) -> Result<FlushedState, EngineError> {
    engine.freeze(|| engine.applied().to_string().into());
    engine.flush(|_| Ok(()))
}

fn scan(engine: &Engine) -> Result<Vec<Row>, EngineError> {
    engine.scan(b"", None, false, &Columns::All)?.collect()
}

/// The cells of a row as `column=value@seq`.
fn show(engine: &Engine, key: &str) -> String {
    let (row, _) = engine.get(key.as_bytes(), &Columns::All).unwrap();
    let cells = row.cells.iter().map(|cell| {
        let (column, value) = (String::from_utf8_lossy(&cell.column), String::from_utf8_lossy(&cell.value));
        format!("{column}={value}@{}", cell.version.seq)
    });
    cells.collect::<Vec<_>>().join(" ")
}

/// Cells of a row by column, each with its version.
type ModelCells = BTreeMap<Bytes, (Bytes, Lsn)>;

/// What the engine should hold: each row with its version.
#[derive(Clone, Default)]
struct Model(BTreeMap<Bytes, (Lsn, ModelCells)>);

impl Model {
    fn apply(&mut self, lsn: Lsn, key: &Bytes, mutations: &[Mutation]) {
        if mutations.is_empty() {
            return;
        }
        let (version, row) = self.0.entry(key.clone()).or_default();
        *version = lsn;
        for mutation in mutations {
            match mutation {
                Mutation::Put { column, value } => {
                    row.insert(column.clone(), (value.clone(), lsn));
                }
                Mutation::Delete { column } => {
                    row.remove(column);
                }
                Mutation::DeleteRow => row.clear(),
            }
        }
    }

    fn rows(&self) -> Vec<Row> {
        let rows =
            self.0.iter().filter(|(_, (_, cells))| !cells.is_empty()).map(|(key, (version, cells))| {
                let cells = cells.iter().map(|(column, (value, version))| Cell {
                    column: column.clone(),
                    value: value.clone(),
                    version: *version,
                });
                Row { key: key.clone(), cells: cells.collect(), version: *version }
            });
        rows.collect()
    }
}
