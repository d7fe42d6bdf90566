//! pg_constraint: the primary key of each table.

use super::definition::{Definition, PG_CATALOG, column, flag, oid, text, unused};
use super::definition::{key_numbers, tables};
use crate::catalog::TableSchema;
use crate::types::declared::{BOOL, CHAR, INT2S, INT4, NAME, OID, OIDS, TEXT};
use std::sync::Arc;

pub(super) static PG_CONSTRAINT: Definition<Arc<TableSchema>> = Definition {
    oid: 2606,
    schema: PG_CATALOG,
    name: "pg_constraint",
    columns: &[
        column("oid", OID, |t, _| oid(t.constraint_oid())),
        column("conname", NAME, |t, _| text(&*t.key_name)),
        column("connamespace", OID, |t, env| oid(env.snapshot.schema_oid(&t.schema))),
        column("contype", CHAR, |_, _| text("p")),
        unused("condeferrable", BOOL),
        unused("condeferred", BOOL),
        column("convalidated", BOOL, |_, _| flag(true)),
        column("conrelid", OID, |t, _| oid(t.oid())),
        unused("contypid", OID),
        column("conindid", OID, |t, _| oid(t.key_oid())),
        unused("conparentid", OID),
        unused("confrelid", OID),
        unused("confupdtype", CHAR),
        unused("confdeltype", CHAR),
        unused("confmatchtype", CHAR),
        column("conislocal", BOOL, |_, _| flag(true)),
        unused("coninhcount", INT4),
        column("connoinherit", BOOL, |_, _| flag(true)),
        column("conkey", INT2S, |t, _| key_numbers(t)),
        unused("confkey", INT2S),
        unused("conbin", TEXT),
        unused("conpfeqop", OIDS),
        unused("conppeqop", OIDS),
        unused("conffeqop", OIDS),
        unused("confdelsetcols", INT2S),
        unused("conexclop", OIDS),
    ],
    items: tables,
};
