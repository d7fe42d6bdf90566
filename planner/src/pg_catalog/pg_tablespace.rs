//! pg_tablespace: one, for there are none to choose from.

use super::definition::{Definition, PG_CATALOG, column, oid, text, unused};
use crate::types::declared::{NAME, OID, TEXTS};

pub(super) static PG_TABLESPACE: Definition<()> = Definition {
    oid: 1213,
    schema: PG_CATALOG,
    name: "pg_tablespace",
    columns: &[
        column("oid", OID, |_, _| oid(1663)),
        column("spcname", NAME, |_, _| text("pg_default")),
        unused("spcowner", OID),
        unused("spcacl", TEXTS),
        unused("spcoptions", TEXTS),
    ],
    items: |_| vec![()],
};
