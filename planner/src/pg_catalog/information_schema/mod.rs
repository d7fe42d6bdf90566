//! The relations of information_schema.

mod columns;
mod key_column_usage;
mod schemata;
mod table_constraints;
mod tables;

pub(crate) use columns::COLUMNS;
pub(crate) use key_column_usage::KEY_COLUMN_USAGE;
pub(crate) use schemata::SCHEMATA;
pub(crate) use table_constraints::TABLE_CONSTRAINTS;
pub(crate) use tables::TABLES;
