//! The relations of information_schema.

mod columns;
mod key_column_usage;
mod schemata;
mod table_constraints;
mod tables;

pub(in crate::pg_catalog) use columns::COLUMNS;
pub(in crate::pg_catalog) use key_column_usage::KEY_COLUMN_USAGE;
pub(in crate::pg_catalog) use schemata::SCHEMATA;
pub(in crate::pg_catalog) use table_constraints::TABLE_CONSTRAINTS;
pub(in crate::pg_catalog) use tables::TABLES;
