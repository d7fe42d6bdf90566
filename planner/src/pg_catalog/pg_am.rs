//! pg_am: access methods, of tables and of their keys.

use super::definition::{Definition, PG_CATALOG, column, oid, text, unused};
use crate::types::declared::{CHAR, NAME, OID, TEXT};

pub(super) static PG_AM: Definition<(u32, &str, &str)> = Definition {
    oid: 2601,
    schema: PG_CATALOG,
    name: "pg_am",
    columns: &[
        column("oid", OID, |(number, ..), _| oid(*number)),
        column("amname", NAME, |(_, name, _), _| text(*name)),
        unused("amhandler", TEXT),
        column("amtype", CHAR, |(.., kind), _| text(*kind)),
    ],
    items: |_| vec![(HEAP_OID, "heap", "t"), (BTREE_OID, "btree", "i")],
};

/// pg_am.oid of the access method of tables.
pub(super) const HEAP_OID: u32 = 2;
/// pg_am.oid of the access method of indexes.
pub(super) const BTREE_OID: u32 = 403;
