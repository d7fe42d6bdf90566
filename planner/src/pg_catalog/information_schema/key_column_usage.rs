//! information_schema.key_column_usage: the columns of primary keys.

use super::super::definition::{Definition, INFORMATION_SCHEMA, column, int4, text};
use crate::catalog::TableSchema;
use crate::expression::Env;
use crate::types::declared::{INT4, NAME};
use std::sync::Arc;

pub(crate) static KEY_COLUMN_USAGE: Definition<KeyColumn> = Definition {
    oid: 13_004,
    schema: INFORMATION_SCHEMA,
    name: "key_column_usage",
    columns: &[
        column("constraint_catalog", NAME, |_, env| text(&*env.info.database)),
        column("constraint_schema", NAME, |k, _| text(&*k.table.schema)),
        column("constraint_name", NAME, |k, _| text(&*k.table.key_name)),
        column("table_catalog", NAME, |_, env| text(&*env.info.database)),
        column("table_schema", NAME, |k, _| text(&*k.table.schema)),
        column("table_name", NAME, |k, _| text(&*k.table.name)),
        column("column_name", NAME, |k, _| text(&*k.table.columns[k.table.key[k.nth]].name)),
        column("ordinal_position", INT4, |k, _| int4(k.nth as i32 + 1)),
        column("position_in_unique_constraint", INT4, |_, _| None),
    ],
    items: rows,
};

pub(crate) struct KeyColumn {
    table: Arc<TableSchema>,
    /// Which column of the key, from 0.
    nth: usize,
}

fn rows(env: &Env) -> Vec<KeyColumn> {
    let columns = |table: &Arc<TableSchema>| {
        let table = table.clone();
        (0..table.key.len()).map(move |nth| KeyColumn { table: table.clone(), nth })
    };
    env.snapshot.tables.values().flat_map(columns).collect()
}
