//! information_schema.schemata: the schemas.

use super::super::definition::{Definition, INFORMATION_SCHEMA, column, text, unused};
use crate::types::declared::{NAME, TEXT};

pub(crate) static SCHEMATA: Definition<String> = Definition {
    oid: 13_005,
    schema: INFORMATION_SCHEMA,
    name: "schemata",
    columns: &[
        column("catalog_name", NAME, |_, env| text(&*env.info.database)),
        column("schema_name", NAME, |name, _| text(&**name)),
        column("schema_owner", NAME, |_, env| text(env.session.user())),
        unused("default_character_set_catalog", TEXT),
        unused("default_character_set_schema", TEXT),
        unused("default_character_set_name", TEXT),
        unused("sql_path", TEXT),
    ],
    items: |env| env.snapshot.schemas.keys().cloned().collect(),
};
