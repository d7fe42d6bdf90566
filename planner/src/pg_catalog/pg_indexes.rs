//! pg_indexes: the index of each table's key.

use super::definition::tables;
use super::definition::{Definition, PG_CATALOG, column, text};
use crate::catalog::TableSchema;
use crate::expression::index_definition;
use crate::types::declared::{NAME, TEXT};
use std::sync::Arc;

pub(super) static PG_INDEXES: Definition<Arc<TableSchema>> = Definition {
    oid: 12_004,
    schema: PG_CATALOG,
    name: "pg_indexes",
    columns: &[
        column("schemaname", NAME, |t, _| text(&*t.schema)),
        column("tablename", NAME, |t, _| text(&*t.name)),
        column("indexname", NAME, |t, _| text(&*t.key_name)),
        column("tablespace", NAME, |_, _| None),
        column("indexdef", TEXT, |t, _| text(index_definition(t))),
    ],
    items: tables,
};
