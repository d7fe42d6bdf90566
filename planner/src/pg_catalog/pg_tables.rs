//! pg_tables: the tables.

use super::definition::tables;
use super::definition::{Definition, PG_CATALOG, column, flag, text, unused};
use crate::catalog::TableSchema;
use crate::types::declared::{BOOL, NAME};
use std::sync::Arc;

pub(super) static PG_TABLES: Definition<Arc<TableSchema>> = Definition {
    oid: 12_003,
    schema: PG_CATALOG,
    name: "pg_tables",
    columns: &[
        column("schemaname", NAME, |t, _| text(&*t.schema)),
        column("tablename", NAME, |t, _| text(&*t.name)),
        column("tableowner", NAME, |_, env| text(env.session.user())),
        column("tablespace", NAME, |_, _| None),
        column("hasindexes", BOOL, |_, _| flag(true)),
        unused("hasrules", BOOL),
        unused("hastriggers", BOOL),
        unused("rowsecurity", BOOL),
    ],
    items: tables,
};
