//! CREATE TABLE and DROP TABLE.

use std::collections::BTreeSet;

use bytes::Bytes;
use kvstore::error::KvError;

use super::run::Run;
use crate::bind::public_name;
use crate::error::{SqlError, sqlstate};
use crate::execution::Execution;
use crate::expression::{Expr, Scope};
use crate::key_encoding;
use crate::plan::CreateTablePlan;
use crate::statement::Name;

fn outside_block(run: &Run<'_>, command: &str) -> Result<(), SqlError> {
    run.session.check_write(command)?;
    if run.session.in_block() {
        return Err(SqlError::unsupported(format!("{command} in a transaction block"))
            .hint("Run it outside of a block (autocommit on): it cannot be rolled back."));
    }
    Ok(())
}

/// The keys at which a new table is split.
fn split_keys(run: &Run<'_>, splits: &[Vec<Expr>]) -> Result<Vec<Bytes>, SqlError> {
    let mut keys = BTreeSet::new();
    for split in splits {
        let mut key = Vec::new();
        for expr in split {
            let value = expr
                .eval(&Scope::EMPTY, &run.env)?
                .ok_or_else(|| SqlError::new(sqlstate::NOT_NULL, "SPLIT AT VALUES cannot hold NULL"))?;
            key_encoding::encode(&value, &mut key)?;
        }
        if !keys.insert(Bytes::from(key)) {
            return Err(SqlError::new(
                sqlstate::INVALID_PARAMETER,
                "SPLIT AT VALUES holds the same value twice",
            ));
        }
    }
    Ok(keys.into_iter().collect())
}

/// CREATE TABLE.
pub(super) async fn create_table(run: &Run<'_>, plan: &CreateTablePlan) -> Result<Execution, SqlError> {
    outside_block(run, "CREATE TABLE")?;
    let CreateTablePlan { schema, splits, if_not_exists } = plan;
    let splits = split_keys(run, splits)?;
    let exists = run.context.catalog.load(true).await?.table(&schema.name).is_some();
    let created = if exists {
        Err(KvError::TableExists(schema.name.clone()))
    } else {
        let deadline = run.session.deadline();
        run.context.kv.create_table(&schema.name, schema.to_bytes()?, splits, deadline).await
    };
    match created {
        Ok(_) => {}
        Err(KvError::TableExists(name)) if *if_not_exists => {
            run.session.notice(format!("relation \"{name}\" already exists, skipping"));
        }
        Err(error) => return Err(error.into()),
    }
    Ok(Execution::Done { tag: "CREATE TABLE".into() })
}

/// DROP TABLE.
pub(super) async fn drop_table(
    run: &Run<'_>,
    names: &[Name],
    if_exists: bool,
) -> Result<Execution, SqlError> {
    outside_block(run, "DROP TABLE")?;
    let snapshot = run.context.catalog.load(true).await?;
    let standing = |name| public_name(name).filter(|own| snapshot.table(own).is_some());
    let missing =
        |own: &str| SqlError::new(sqlstate::UNDEFINED_TABLE, format!("table \"{own}\" does not exist"));
    // Each table is dropped by itself: what is known to fail must not come after others are gone.
    if let Some(name) = names.iter().find(|name| !if_exists && standing(name).is_none()) {
        return Err(missing(&name.dotted()));
    }
    let mut gone = Vec::new();
    for name in names {
        let own = name.dotted();
        let dropped = match standing(name) {
            Some(own) => run.context.kv.drop_table(own, run.session.deadline()).await.map_err(SqlError::from),
            None => Err(missing(&own)),
        };
        match dropped {
            Ok(()) => gone.push(own),
            Err(error) if if_exists && error.sqlstate == sqlstate::UNDEFINED_TABLE => {
                run.session.notice(format!("table \"{own}\" does not exist, skipping"));
            }
            Err(error) => return Err(failed_at(error, &own, &gone)),
        }
    }
    Ok(Execution::Done { tag: "DROP TABLE".into() })
}

/// The error of a DROP that failed at a table after it had dropped others.
fn failed_at(error: SqlError, name: &str, gone: &[String]) -> SqlError {
    if gone.is_empty() {
        return error;
    }
    let before = gone.join(", ");
    let of_it = error.detail.as_deref().map(|detail| format!(" Of {name}: {detail}")).unwrap_or_default();
    error.detail(format!("This is about {name}; {before} had been dropped before.{of_it}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drop_that_failed_in_the_middle_says_what_is_gone() {
        let failed = |gone: &[String]| failed_at(KvError::Coordination("away".into()).into(), "c", gone);
        assert_eq!(failed(&[]).detail, None);
        let detail = failed(&["a".to_owned(), "b".to_owned()]).detail;
        assert_eq!(detail.as_deref(), Some("This is about c; a, b had been dropped before."));
    }
}
