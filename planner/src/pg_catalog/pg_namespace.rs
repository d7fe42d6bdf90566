//! pg_namespace: the schemas.

use super::definition::{Definition, PG_CATALOG, column, oid, text, unused};
use crate::expression::OWNER_OID;
use crate::types::declared::{NAME, OID, TEXTS};

pub(super) static PG_NAMESPACE: Definition<(u32, String)> = Definition {
    oid: 2615,
    schema: PG_CATALOG,
    name: "pg_namespace",
    columns: &[
        column("oid", OID, |(number, _), _| oid(*number)),
        column("nspname", NAME, |(_, name), _| text(&**name)),
        column("nspowner", OID, |_, _| oid(OWNER_OID)),
        unused("nspacl", TEXTS),
    ],
    items: |env| env.snapshot.schemas.iter().map(|(name, schema)| (schema.oid, name.clone())).collect(),
};
