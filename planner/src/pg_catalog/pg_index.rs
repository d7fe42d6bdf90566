//! pg_index: the index of each table's key.

use super::definition::{Definition, PG_CATALOG, column, flag, int2, int2s, oid, unused};
use super::definition::{key_numbers, tables};
use crate::catalog::TableSchema;
use crate::types::declared::{BOOL, INT2, INT2S, OID, OIDS, TEXT};
use std::sync::Arc;

pub(super) static PG_INDEX: Definition<Arc<TableSchema>> = Definition {
    oid: 2610,
    schema: PG_CATALOG,
    name: "pg_index",
    columns: &[
        column("indexrelid", OID, |t, _| oid(t.key_oid())),
        column("indrelid", OID, |t, _| oid(t.oid())),
        column("indnatts", INT2, |t, _| int2(t.key.len() as i16)),
        column("indnkeyatts", INT2, |t, _| int2(t.key.len() as i16)),
        column("indisunique", BOOL, |_, _| flag(true)),
        unused("indnullsnotdistinct", BOOL),
        column("indisprimary", BOOL, |_, _| flag(true)),
        unused("indisexclusion", BOOL),
        column("indimmediate", BOOL, |_, _| flag(true)),
        unused("indisclustered", BOOL),
        column("indisvalid", BOOL, |_, _| flag(true)),
        unused("indcheckxmin", BOOL),
        column("indisready", BOOL, |_, _| flag(true)),
        column("indislive", BOOL, |_, _| flag(true)),
        unused("indisreplident", BOOL),
        column("indkey", INT2S, |t, _| key_numbers(t)),
        unused("indcollation", OIDS),
        unused("indclass", OIDS),
        column("indoption", INT2S, |t, _| int2s(t.key.iter().map(|_| 0))),
        unused("indexprs", TEXT),
        unused("indpred", TEXT),
    ],
    items: tables,
};
