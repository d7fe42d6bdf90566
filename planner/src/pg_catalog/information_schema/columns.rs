//! information_schema.columns: the columns of tables.

use super::super::definition::{Definition, INFORMATION_SCHEMA, column, int4, text, unused};
use crate::catalog::{ColumnSchema, TableSchema};
use crate::expression::Env;
use crate::types::declared::{INT4, NAME, TEXT};
use crate::types::{Datum, Type, Value};
use std::sync::Arc;

pub(crate) static COLUMNS: Definition<ColumnRow> = Definition {
    oid: 13_002,
    schema: INFORMATION_SCHEMA,
    name: "columns",
    columns: &[
        column("table_catalog", NAME, |_, env| text(&*env.info.database)),
        column("table_schema", NAME, |c, _| text(&*c.table.schema)),
        column("table_name", NAME, |c, _| text(&*c.table.name)),
        column("column_name", NAME, |c, _| text(&*c.schema().name)),
        column("ordinal_position", INT4, |c, _| int4(c.at as i32 + 1)),
        column("column_default", TEXT, |c, _| c.schema().default.clone().map(Value::Text)),
        column("is_nullable", TEXT, |c, _| text(if c.schema().not_null { "NO" } else { "YES" })),
        column("data_type", TEXT, |c, _| text(c.schema().ty.plain().to_string())),
        column("character_maximum_length", INT4, |c, _| c.length()),
        column("numeric_precision", INT4, |c, _| c.precision()),
        column("numeric_scale", INT4, |c, _| c.scale()),
        column("udt_catalog", NAME, |_, env| text(&*env.info.database)),
        column("udt_schema", NAME, |_, _| text("pg_catalog")),
        column("udt_name", NAME, |c, _| text(c.schema().ty.name())),
        column("is_identity", TEXT, |_, _| text("NO")),
        column("is_generated", TEXT, |_, _| text("NEVER")),
        column("is_updatable", TEXT, |_, _| text("YES")),
        column("character_octet_length", INT4, |_, _| None),
        column("numeric_precision_radix", INT4, |_, _| None),
        column("datetime_precision", INT4, |_, _| None),
        unused("interval_type", TEXT),
        column("interval_precision", INT4, |_, _| None),
        unused("character_set_catalog", TEXT),
        unused("character_set_schema", TEXT),
        unused("character_set_name", TEXT),
        unused("collation_catalog", TEXT),
        unused("collation_schema", TEXT),
        unused("collation_name", TEXT),
        unused("domain_catalog", TEXT),
        unused("domain_schema", TEXT),
        unused("domain_name", TEXT),
        unused("scope_catalog", TEXT),
        unused("scope_schema", TEXT),
        unused("scope_name", TEXT),
        column("maximum_cardinality", INT4, |_, _| None),
        column("dtd_identifier", TEXT, |c, _| text((c.at + 1).to_string())),
        column("is_self_referencing", TEXT, |_, _| text("NO")),
        unused("identity_generation", TEXT),
        unused("identity_start", TEXT),
        unused("identity_increment", TEXT),
        unused("identity_maximum", TEXT),
        unused("identity_minimum", TEXT),
        column("identity_cycle", TEXT, |_, _| text("NO")),
        unused("generation_expression", TEXT),
    ],
    items: rows,
};

pub(crate) struct ColumnRow {
    table: Arc<TableSchema>,
    at: usize,
}

impl ColumnRow {
    fn schema(&self) -> &ColumnSchema {
        &self.table.columns[self.at]
    }

    fn length(&self) -> Datum {
        match self.schema().ty {
            Type::Varchar(Some(length)) | Type::Bpchar(Some(length)) => int4(length as i32),
            _ => None,
        }
    }

    /// Digits of a numeric, bits of another number.
    fn precision(&self) -> Datum {
        match self.schema().ty {
            Type::Numeric(Some((precision, _))) => int4(i32::from(precision)),
            Type::Int2 => int4(16),
            Type::Int4 => int4(32),
            Type::Int8 => int4(64),
            Type::Float4 => int4(24),
            Type::Float8 => int4(53),
            _ => None,
        }
    }

    fn scale(&self) -> Datum {
        match self.schema().ty {
            Type::Numeric(Some((_, scale))) => int4(i32::from(scale)),
            Type::Int2 | Type::Int4 | Type::Int8 => int4(0),
            _ => None,
        }
    }
}

fn rows(env: &Env) -> Vec<ColumnRow> {
    let columns = |table: &Arc<TableSchema>| {
        let table = table.clone();
        (0..table.columns.len()).map(move |at| ColumnRow { table: table.clone(), at })
    };
    env.snapshot.tables.values().flat_map(columns).collect()
}
