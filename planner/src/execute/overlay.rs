//! A block's own write, laid over what the store returns, so that the block reads it.

use bytes::Bytes;
use kvstore::request::{Mutation, ReadRow, Row as StoredRow};

use crate::catalog::TableSchema;
use crate::error::SqlError;
use crate::row_encoding;
use crate::session::Session;
use crate::types::Row;

/// A block's own write of a row.
pub(super) struct Overlay {
    pub(super) key: Bytes,
    mutations: Vec<Mutation>,
    /// Whether a scan has come past the row.
    pub(super) seen: bool,
}

impl Overlay {
    /// The session's own write into a table, if it has one.
    pub(super) fn of(table: &TableSchema, session: &Session) -> Option<Overlay> {
        let write = session.deferred().filter(|write| write.table == table.id)?;
        Some(Overlay { key: write.key, mutations: write.mutations, seen: false })
    }

    /// The row as the block sees it; `None` if it has deleted it.
    pub(super) fn apply(&self, row: &StoredRow) -> Option<StoredRow> {
        let row = row_encoding::overlay(row, &self.mutations);
        (!row.cells.is_empty()).then_some(row)
    }
}

/// What was read as a row, the block's own write laid over it; `None` if there is no row.
pub(super) fn row(
    table: &TableSchema,
    overlay: &Option<Overlay>,
    read: ReadRow,
) -> Result<Option<Row>, SqlError> {
    let stored = match overlay {
        Some(overlay) if overlay.key == read.row.key => overlay.apply(&read.row),
        _ => (!read.row.cells.is_empty()).then_some(read.row),
    };
    stored.map(|stored| row_encoding::read_row(table, &stored, &read.source)).transpose()
}
