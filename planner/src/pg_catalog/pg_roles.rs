//! pg_roles and pg_authid: the only user, under the name of the session's.

use super::definition::{Definition, PG_CATALOG, SystemColumn, column, flag, int4, oid, text, unused};
use crate::expression::OWNER_OID;
use crate::types::declared::{BOOL, INT4, NAME, OID, TEXT, TEXTS, TIMESTAMPTZ};

pub(super) static PG_ROLES: Definition<()> =
    Definition { oid: 12_000, schema: PG_CATALOG, name: "pg_roles", columns: COLUMNS, items: |_| vec![()] };

pub(super) static PG_AUTHID: Definition<()> =
    Definition { oid: 1260, schema: PG_CATALOG, name: "pg_authid", columns: COLUMNS, items: |_| vec![()] };

const COLUMNS: &[SystemColumn<()>] = &[
    column("oid", OID, |_, _| oid(OWNER_OID)),
    column("rolname", NAME, |_, env| text(env.session.user())),
    column("rolsuper", BOOL, |_, _| flag(true)),
    column("rolinherit", BOOL, |_, _| flag(true)),
    column("rolcreaterole", BOOL, |_, _| flag(true)),
    column("rolcreatedb", BOOL, |_, _| flag(true)),
    column("rolcanlogin", BOOL, |_, _| flag(true)),
    unused("rolreplication", BOOL),
    column("rolconnlimit", INT4, |_, _| int4(-1)),
    column("rolpassword", TEXT, |_, _| text("********")),
    unused("rolvaliduntil", TIMESTAMPTZ),
    column("rolbypassrls", BOOL, |_, _| flag(true)),
    unused("rolconfig", TEXTS),
];
