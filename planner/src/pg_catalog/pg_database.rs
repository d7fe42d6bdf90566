//! pg_database: the only database.

use super::definition::{Definition, PG_CATALOG, column, flag, int4, oid, text, unused};
use crate::expression::OWNER_OID;
use crate::types::declared::{BOOL, CHAR, INT4, NAME, OID, TEXT, TEXTS};

pub(super) static PG_DATABASE: Definition<()> = Definition {
    oid: 1262,
    schema: PG_CATALOG,
    name: "pg_database",
    columns: &[
        column("oid", OID, |_, _| oid(5)),
        column("datname", NAME, |_, env| text(&*env.info.database)),
        column("datdba", OID, |_, _| oid(OWNER_OID)),
        column("encoding", INT4, |_, _| int4(6)),
        column("datlocprovider", CHAR, |_, _| text("c")),
        unused("datistemplate", BOOL),
        column("datallowconn", BOOL, |_, _| flag(true)),
        column("datconnlimit", INT4, |_, _| int4(-1)),
        unused("dattablespace", OID),
        column("datcollate", TEXT, |_, _| text("C")),
        column("datctype", TEXT, |_, _| text("C")),
        unused("daticulocale", TEXT),
        unused("datacl", TEXTS),
        unused("datfrozenxid", OID),
        unused("datminmxid", OID),
        unused("datcollversion", TEXT),
    ],
    items: |_| vec![()],
};
