//! pg_user: the only user, under the name of the session's.

use super::definition::{Definition, PG_CATALOG, column, flag, oid, text, unused};
use crate::expression::OWNER_OID;
use crate::types::declared::{BOOL, NAME, OID, TEXT, TEXTS, TIMESTAMPTZ};

pub(super) static PG_USER: Definition<()> = Definition {
    oid: 12_001,
    schema: PG_CATALOG,
    name: "pg_user",
    columns: &[
        column("usename", NAME, |_, env| text(env.session.user())),
        column("usesysid", OID, |_, _| oid(OWNER_OID)),
        column("usecreatedb", BOOL, |_, _| flag(true)),
        column("usesuper", BOOL, |_, _| flag(true)),
        unused("userepl", BOOL),
        unused("usebypassrls", BOOL),
        unused("valuntil", TIMESTAMPTZ),
        unused("useconfig", TEXTS),
        column("passwd", TEXT, |_, _| text("********")),
    ],
    items: |_| vec![()],
};
