//! pg_settings: the session's settings, as SHOW ALL gives them.

use super::definition::{Definition, PG_CATALOG, column, text, unused};
use crate::types::declared::{BOOL, INT4, TEXT, TEXTS};

pub(super) static PG_SETTINGS: Definition<(String, String, &str)> = Definition {
    oid: 12_002,
    schema: PG_CATALOG,
    name: "pg_settings",
    columns: &[
        column("name", TEXT, |(name, ..), _| text(&**name)),
        column("setting", TEXT, |(_, value, _), _| text(&**value)),
        unused("unit", TEXT),
        column("category", TEXT, |_, _| text("Session")),
        column("short_desc", TEXT, |(.., about), _| text(*about)),
        unused("extra_desc", TEXT),
        column("context", TEXT, |_, _| text("user")),
        column("vartype", TEXT, |_, _| text("string")),
        column("source", TEXT, |_, _| text("session")),
        unused("min_val", TEXT),
        unused("max_val", TEXT),
        unused("enumvals", TEXTS),
        column("boot_val", TEXT, |(_, value, _), _| text(&**value)),
        column("reset_val", TEXT, |(_, value, _), _| text(&**value)),
        unused("pending_restart", BOOL),
        unused("sourcefile", TEXT),
        column("sourceline", INT4, |_, _| None),
    ],
    items: |env| env.session.show_all(),
};
