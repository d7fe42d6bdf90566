//! Relations that describe what this server does not have: views, triggers, publications, .. They exist, without rows: an
//! empty answer serves clients better than an error. One that gets rows moves to a file of its own.

use super::definition::{Definition, INFORMATION_SCHEMA, PG_CATALOG, no_rows, unused};
use crate::types::declared::{
    BOOL, CHAR, CHARS, FLOAT8, INT2, INT2S, INT4, INT8, NAME, OID, OIDS, TEXT, TEXTS,
};

pub(super) static PG_AUTH_MEMBERS: Definition<()> = Definition {
    oid: 1261,
    schema: PG_CATALOG,
    name: "pg_auth_members",
    columns: &[
        unused("roleid", OID),
        unused("member", OID),
        unused("grantor", OID),
        unused("admin_option", BOOL),
    ],
    items: no_rows,
};

pub(super) static PG_POLICY: Definition<()> = Definition {
    oid: 3256,
    schema: PG_CATALOG,
    name: "pg_policy",
    columns: &[
        unused("oid", OID),
        unused("polname", NAME),
        unused("polrelid", OID),
        unused("polcmd", CHAR),
        unused("polpermissive", BOOL),
        unused("polroles", OIDS),
        unused("polqual", TEXT),
        unused("polwithcheck", TEXT),
    ],
    items: no_rows,
};

pub(super) static PG_STATISTIC_EXT: Definition<()> = Definition {
    oid: 3381,
    schema: PG_CATALOG,
    name: "pg_statistic_ext",
    columns: &[
        unused("oid", OID),
        unused("stxrelid", OID),
        unused("stxname", NAME),
        unused("stxnamespace", OID),
        unused("stxowner", OID),
        unused("stxstattarget", INT4),
        unused("stxkeys", INT2S),
        unused("stxkind", CHARS),
        unused("stxexprs", TEXT),
    ],
    items: no_rows,
};

pub(super) static PG_PUBLICATION: Definition<()> = Definition {
    oid: 6104,
    schema: PG_CATALOG,
    name: "pg_publication",
    columns: &[
        unused("oid", OID),
        unused("pubname", NAME),
        unused("pubowner", OID),
        unused("puballtables", BOOL),
        unused("pubinsert", BOOL),
        unused("pubupdate", BOOL),
        unused("pubdelete", BOOL),
        unused("pubtruncate", BOOL),
        unused("pubviaroot", BOOL),
    ],
    items: no_rows,
};

pub(super) static PG_PUBLICATION_REL: Definition<()> = Definition {
    oid: 6106,
    schema: PG_CATALOG,
    name: "pg_publication_rel",
    columns: &[
        unused("oid", OID),
        unused("prpubid", OID),
        unused("prrelid", OID),
        unused("prqual", TEXT),
        unused("prattrs", INT2S),
    ],
    items: no_rows,
};

pub(super) static PG_PUBLICATION_NAMESPACE: Definition<()> = Definition {
    oid: 6237,
    schema: PG_CATALOG,
    name: "pg_publication_namespace",
    columns: &[unused("oid", OID), unused("pnpubid", OID), unused("pnnspid", OID)],
    items: no_rows,
};

pub(super) static PG_INHERITS: Definition<()> = Definition {
    oid: 2611,
    schema: PG_CATALOG,
    name: "pg_inherits",
    columns: &[
        unused("inhrelid", OID),
        unused("inhparent", OID),
        unused("inhseqno", INT4),
        unused("inhdetachpending", BOOL),
    ],
    items: no_rows,
};

pub(super) static PG_TRIGGER: Definition<()> = Definition {
    oid: 2620,
    schema: PG_CATALOG,
    name: "pg_trigger",
    columns: &[
        unused("oid", OID),
        unused("tgrelid", OID),
        unused("tgparentid", OID),
        unused("tgname", NAME),
        unused("tgfoid", OID),
        unused("tgtype", INT2),
        unused("tgenabled", CHAR),
        unused("tgisinternal", BOOL),
        unused("tgconstraint", OID),
    ],
    items: no_rows,
};

pub(super) static PG_REWRITE: Definition<()> = Definition {
    oid: 2618,
    schema: PG_CATALOG,
    name: "pg_rewrite",
    columns: &[
        unused("oid", OID),
        unused("rulename", NAME),
        unused("ev_class", OID),
        unused("ev_type", CHAR),
        unused("ev_enabled", CHAR),
    ],
    items: no_rows,
};

pub(super) static PG_PROC: Definition<()> = Definition {
    oid: 1255,
    schema: PG_CATALOG,
    name: "pg_proc",
    columns: &[
        unused("oid", OID),
        unused("proname", NAME),
        unused("pronamespace", OID),
        unused("proowner", OID),
        unused("prolang", OID),
        unused("prokind", CHAR),
        unused("prorettype", OID),
        unused("proargtypes", OIDS),
        unused("proretset", BOOL),
        unused("provolatile", CHAR),
        unused("prosrc", TEXT),
        unused("proacl", TEXTS),
    ],
    items: no_rows,
};

pub(super) static PG_DEPEND: Definition<()> = Definition {
    oid: 2608,
    schema: PG_CATALOG,
    name: "pg_depend",
    columns: &[
        unused("classid", OID),
        unused("objid", OID),
        unused("objsubid", INT4),
        unused("refclassid", OID),
        unused("refobjid", OID),
        unused("refobjsubid", INT4),
        unused("deptype", CHAR),
    ],
    items: no_rows,
};

pub(super) static PG_DESCRIPTION: Definition<()> = Definition {
    oid: 2609,
    schema: PG_CATALOG,
    name: "pg_description",
    columns: &[
        unused("objoid", OID),
        unused("classoid", OID),
        unused("objsubid", INT4),
        unused("description", TEXT),
    ],
    items: no_rows,
};

pub(super) static PG_SHDESCRIPTION: Definition<()> = Definition {
    oid: 2396,
    schema: PG_CATALOG,
    name: "pg_shdescription",
    columns: &[unused("objoid", OID), unused("classoid", OID), unused("description", TEXT)],
    items: no_rows,
};

pub(super) static PG_ENUM: Definition<()> = Definition {
    oid: 3501,
    schema: PG_CATALOG,
    name: "pg_enum",
    columns: &[
        unused("oid", OID),
        unused("enumtypid", OID),
        unused("enumsortorder", FLOAT8),
        unused("enumlabel", NAME),
    ],
    items: no_rows,
};

pub(super) static PG_RANGE: Definition<()> = Definition {
    oid: 3541,
    schema: PG_CATALOG,
    name: "pg_range",
    columns: &[unused("rngtypid", OID), unused("rngsubtype", OID), unused("rngmultitypid", OID)],
    items: no_rows,
};

pub(super) static PG_EXTENSION: Definition<()> = Definition {
    oid: 3079,
    schema: PG_CATALOG,
    name: "pg_extension",
    columns: &[
        unused("oid", OID),
        unused("extname", NAME),
        unused("extowner", OID),
        unused("extnamespace", OID),
        unused("extversion", TEXT),
    ],
    items: no_rows,
};

pub(super) static PG_SEQUENCE: Definition<()> = Definition {
    oid: 2224,
    schema: PG_CATALOG,
    name: "pg_sequence",
    columns: &[unused("seqrelid", OID), unused("seqtypid", OID), unused("seqstart", INT8)],
    items: no_rows,
};

pub(super) static PG_VIEWS: Definition<()> = Definition {
    oid: 12_006,
    schema: PG_CATALOG,
    name: "pg_views",
    columns: &[
        unused("schemaname", NAME),
        unused("viewname", NAME),
        unused("viewowner", NAME),
        unused("definition", TEXT),
    ],
    items: no_rows,
};

pub(super) static PG_MATVIEWS: Definition<()> = Definition {
    oid: 12_007,
    schema: PG_CATALOG,
    name: "pg_matviews",
    columns: &[unused("schemaname", NAME), unused("matviewname", NAME), unused("matviewowner", NAME)],
    items: no_rows,
};

pub(super) static PG_DB_ROLE_SETTING: Definition<()> = Definition {
    oid: 2964,
    schema: PG_CATALOG,
    name: "pg_db_role_setting",
    columns: &[unused("setdatabase", OID), unused("setrole", OID), unused("setconfig", TEXTS)],
    items: no_rows,
};

pub(super) static PG_FOREIGN_DATA_WRAPPER: Definition<()> = Definition {
    oid: 2328,
    schema: PG_CATALOG,
    name: "pg_foreign_data_wrapper",
    columns: &[unused("oid", OID), unused("fdwname", NAME)],
    items: no_rows,
};

pub(super) static PG_FOREIGN_SERVER: Definition<()> = Definition {
    oid: 1417,
    schema: PG_CATALOG,
    name: "pg_foreign_server",
    columns: &[unused("oid", OID), unused("srvname", NAME), unused("srvfdw", OID)],
    items: no_rows,
};

pub(super) static PG_FOREIGN_TABLE: Definition<()> = Definition {
    oid: 3118,
    schema: PG_CATALOG,
    name: "pg_foreign_table",
    columns: &[unused("ftrelid", OID), unused("ftserver", OID), unused("ftoptions", TEXTS)],
    items: no_rows,
};

pub(super) static PG_PARTITIONED_TABLE: Definition<()> = Definition {
    oid: 3350,
    schema: PG_CATALOG,
    name: "pg_partitioned_table",
    columns: &[unused("partrelid", OID), unused("partstrat", CHAR), unused("partnatts", INT2)],
    items: no_rows,
};

pub(super) static VIEWS: Definition<()> = Definition {
    oid: 13_006,
    schema: INFORMATION_SCHEMA,
    name: "views",
    columns: &[
        unused("table_catalog", NAME),
        unused("table_schema", NAME),
        unused("table_name", NAME),
        unused("view_definition", TEXT),
    ],
    items: no_rows,
};
