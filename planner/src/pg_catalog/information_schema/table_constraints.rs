//! information_schema.table_constraints: the primary keys.

use super::super::definition::tables;
use super::super::definition::{Definition, INFORMATION_SCHEMA, column, text, unused};
use crate::catalog::TableSchema;
use crate::types::declared::{NAME, TEXT};
use std::sync::Arc;

pub(crate) static TABLE_CONSTRAINTS: Definition<Arc<TableSchema>> = Definition {
    oid: 13_003,
    schema: INFORMATION_SCHEMA,
    name: "table_constraints",
    columns: &[
        column("constraint_catalog", NAME, |_, env| text(&*env.info.database)),
        column("constraint_schema", NAME, |t, _| text(&*t.schema)),
        column("constraint_name", NAME, |t, _| text(&*t.key_name)),
        column("table_catalog", NAME, |_, env| text(&*env.info.database)),
        column("table_schema", NAME, |t, _| text(&*t.schema)),
        column("table_name", NAME, |t, _| text(&*t.name)),
        column("constraint_type", TEXT, |_, _| text("PRIMARY KEY")),
        column("is_deferrable", TEXT, |_, _| text("NO")),
        column("initially_deferred", TEXT, |_, _| text("NO")),
        column("enforced", TEXT, |_, _| text("YES")),
        unused("nulls_distinct", TEXT),
    ],
    items: tables,
};
