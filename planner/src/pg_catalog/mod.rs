//! pg_catalog and information_schema: relations computed from the tables of the store, the session and the server. Clients
//! get answers by relation, whatever the text of their queries.
//!
//! # To add a relation
//! Add a file with a [`definition::Definition`]: its columns, each with its value side by side, and the items that rows are
//! made of. Then add its line to [`WITH_ROWS`], and a case to `testdata/system_relations`. The rows see an
//! [`Env`](crate::expression::Env): tables, session, server; not the store.

mod information_schema;
mod empty;
mod pg_attrdef;
mod pg_attribute;
mod pg_class;
mod pg_constraint;
mod pg_cursors;
mod pg_database;
mod pg_index;
mod pg_indexes;
mod pg_namespace;
mod pg_prepared_statements;
mod pg_roles;
mod pg_settings;
mod pg_tables;
mod pg_tablespace;
mod pg_type;
mod pg_user;
mod pg_am;
mod pg_collation;
mod definition;

use std::sync::LazyLock;

use self::empty::EMPTY;
use crate::expression::SystemRelation;

/// All of them, in the order in which pg_class lists them.
pub(crate) static RELATIONS: LazyLock<Vec<&'static dyn SystemRelation>> =
    LazyLock::new(|| WITH_ROWS.iter().copied().chain(EMPTY.iter().map(|empty| empty as _)).collect());

/// Those that have rows.
static WITH_ROWS: &[&dyn SystemRelation] = &[
    &pg_class::PG_CLASS,
    &pg_namespace::PG_NAMESPACE,
    &pg_attribute::PG_ATTRIBUTE,
    &pg_type::PG_TYPE,
    &pg_attrdef::PG_ATTRDEF,
    &pg_index::PG_INDEX,
    &pg_constraint::PG_CONSTRAINT,
    &pg_database::PG_DATABASE,
    &pg_roles::PG_ROLES,
    &pg_user::PG_USER,
    &pg_roles::PG_AUTHID,
    &pg_am::PG_AM,
    &pg_settings::PG_SETTINGS,
    &pg_tables::PG_TABLES,
    &pg_indexes::PG_INDEXES,
    &pg_prepared_statements::PG_PREPARED_STATEMENTS,
    &pg_cursors::PG_CURSORS,
    &pg_collation::PG_COLLATION,
    &pg_tablespace::PG_TABLESPACE,
    &information_schema::TABLES,
    &information_schema::COLUMNS,
    &information_schema::TABLE_CONSTRAINTS,
    &information_schema::KEY_COLUMN_USAGE,
    &information_schema::SCHEMATA,
];

/// The relation of that name in a schema.
pub(crate) fn find(schema: &str, name: &str) -> Option<&'static dyn SystemRelation> {
    RELATIONS.iter().copied().find(|own| own.schema() == schema && own.name() == name)
}

#[cfg(test)]
mod tests {
    use super::RELATIONS;

    #[test]
    fn names_numbers_and_columns_are_unique() {
        for (at, own) in RELATIONS.iter().enumerate() {
            for other in &RELATIONS[..at] {
                assert_ne!(own.oid(), other.oid(), "{} and {} have one number", own.name(), other.name());
                assert_ne!((own.schema(), own.name()), (other.schema(), other.name()));
            }
            let columns = own.columns();
            for (at, (name, _)) in columns.iter().enumerate() {
                assert!(
                    columns[..at].iter().all(|(other, _)| other != name),
                    "{}.{name} stands twice",
                    own.name()
                );
            }
        }
    }
}
