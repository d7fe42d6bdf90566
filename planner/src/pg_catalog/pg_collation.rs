//! pg_collation: the collations; both order by bytes.

use super::definition::{Definition, PG_CATALOG, column, oid, text, unused};
use crate::expression::{OWNER_OID, PG_CATALOG_OID};
use crate::types::Type;
use crate::types::declared::{BOOL, CHAR, INT4, NAME, OID, TEXT};

pub(super) static PG_COLLATION: Definition<(u32, &str)> = Definition {
    oid: 3456,
    schema: PG_CATALOG,
    name: "pg_collation",
    columns: &[
        column("oid", OID, |(number, _), _| oid(*number)),
        column("collname", NAME, |(_, name), _| text(*name)),
        column("collnamespace", OID, |_, _| oid(PG_CATALOG_OID)),
        unused("collprovider", CHAR),
        unused("collisdeterministic", BOOL),
        unused("collencoding", INT4),
        unused("collcollate", TEXT),
        unused("collctype", TEXT),
        unused("colliculocale", TEXT),
        unused("collversion", TEXT),
        column("collowner", OID, |_, _| oid(OWNER_OID)),
    ],
    items: |_| vec![(DEFAULT_OID, "default"), (C_OID, "C")],
};

const DEFAULT_OID: u32 = 100;
const C_OID: u32 = 950;

/// The collation of a type: 0 if it has none.
pub(super) fn collation(ty: &Type) -> u32 {
    match ty {
        Type::Text | Type::Varchar(_) | Type::Bpchar(_) => DEFAULT_OID,
        Type::Name => C_OID,
        _ => 0,
    }
}
