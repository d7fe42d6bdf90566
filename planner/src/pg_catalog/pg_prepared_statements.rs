//! pg_prepared_statements: the named statements that the session has prepared.

use super::definition::{Definition, PG_CATALOG, column, text, unused};
use crate::expression::Env;
use crate::types::declared::{BOOL, INT8, TEXT, TIMESTAMPTZ};

pub(super) static PG_PREPARED_STATEMENTS: Definition<(String, String)> = Definition {
    oid: 12_005,
    schema: PG_CATALOG,
    name: "pg_prepared_statements",
    columns: &[
        column("name", TEXT, |(name, _), _| text(&**name)),
        column("statement", TEXT, |(_, sql), _| text(&**sql)),
        unused("prepare_time", TIMESTAMPTZ),
        unused("from_sql", BOOL),
        unused("generic_plans", INT8),
        unused("custom_plans", INT8),
    ],
    items: named_statements,
};

fn named_statements(env: &Env) -> Vec<(String, String)> {
    env.session.statement_names().into_iter().filter(|(name, _)| !name.is_empty()).collect()
}
