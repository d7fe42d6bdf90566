//! information_schema.tables: tables and system relations.

use super::super::definition::{Definition, INFORMATION_SCHEMA, column, text, unused};
use crate::expression::Env;
use crate::types::declared::{NAME, TEXT};

pub(crate) static TABLES: Definition<TableRow> = Definition {
    oid: 13_001,
    schema: INFORMATION_SCHEMA,
    name: "tables",
    columns: &[
        column("table_catalog", NAME, |_, env| text(&*env.info.database)),
        column("table_schema", NAME, |t, _| text(&*t.schema)),
        column("table_name", NAME, |t, _| text(&*t.name)),
        column("table_type", TEXT, |t, _| text(if t.stored { "BASE TABLE" } else { "VIEW" })),
        column("is_insertable_into", TEXT, |t, _| text(if t.stored { "YES" } else { "NO" })),
        column("is_typed", TEXT, |_, _| text("NO")),
        unused("self_referencing_column_name", TEXT),
        unused("reference_generation", TEXT),
        unused("user_defined_type_catalog", TEXT),
        unused("user_defined_type_schema", TEXT),
        unused("user_defined_type_name", TEXT),
        unused("commit_action", TEXT),
    ],
    items: rows,
};

pub(crate) struct TableRow {
    schema: String,
    name: String,
    /// Is it a table of the store?
    stored: bool,
}

fn rows(env: &Env) -> Vec<TableRow> {
    let tables = env.snapshot.tables.values();
    let mut rows: Vec<TableRow> = tables
        .map(|table| TableRow { schema: table.schema.clone(), name: table.name.clone(), stored: true })
        .collect();
    rows.extend(env.system_relations.iter().filter(|own| own.is_listed()).map(|relation| TableRow {
        schema: relation.schema().into(),
        name: relation.name().into(),
        stored: false,
    }));
    rows
}
