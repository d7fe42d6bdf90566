//! pg_attrdef: the default values of columns.

use super::definition::{Definition, PG_CATALOG, column, int2, oid, text};
use crate::expression::Env;
use crate::types::declared::{INT2, OID, TEXT};

pub(super) static PG_ATTRDEF: Definition<Default> = Definition {
    oid: 2604,
    schema: PG_CATALOG,
    name: "pg_attrdef",
    columns: &[
        column("oid", OID, |d, _| oid(d.table | 0x2000_0000 | (d.column as u32) << 16)),
        column("adrelid", OID, |d, _| oid(d.table)),
        column("adnum", INT2, |d, _| int2(d.column as i16 + 1)),
        column("adbin", TEXT, |d, _| text(&*d.expression)),
    ],
    items: defaults,
};

pub(super) struct Default {
    table: u32,
    /// The position of the column, from 0.
    column: usize,
    expression: String,
}

fn defaults(env: &Env) -> Vec<Default> {
    let mut defaults = Vec::new();
    for table in env.snapshot.tables.values() {
        for (column, schema) in table.columns.iter().enumerate() {
            if let Some(expression) = schema.default.clone() {
                defaults.push(Default { table: table.oid(), column, expression });
            }
        }
    }
    defaults
}
