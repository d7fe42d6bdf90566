//! EXPLAIN of an access: which keys of a table are read.

use std::sync::Arc;

use crate::access::{Access, Bound};
use crate::catalog::TableSchema;
use crate::error::SqlError;
use crate::expression::{Env, Expr, Scope};
use crate::key_encoding::{self, KeySpan};

/// A key as values, for people.
pub(super) fn key_text(table: &TableSchema, key: &[u8]) -> String {
    let mut rest = key;
    let mut values = Vec::new();
    for at in &table.key {
        if rest.is_empty() {
            break;
        }
        match key_encoding::decode(&table.columns[*at].ty, &mut rest) {
            Some(value) => values.push(value.to_string_text()),
            None => {
                values.push("..".into());
                break;
            }
        }
    }
    format!("({})", values.join(", "))
}

/// How the rows of a table are reached, and the span of their keys.
pub(super) fn access_line(
    table: &Arc<TableSchema>,
    access: &Access,
    env: &Env,
) -> Result<(String, Option<KeySpan>), SqlError> {
    if access.is_points() {
        let keys = access.keys(table, env)?;
        let span = keys.first().zip(keys.last()).map(|(first, last)| KeySpan::between(first, last));
        return Ok(match keys.as_slice() {
            [] => ("Nothing to read".into(), None),
            [key] => (format!("Point read of {}", key_text(table, key)), span),
            keys => (format!("Point reads of {} keys", keys.len()), span),
        });
    }
    let Access::Range { prefix, lower, upper, reverse } = access else {
        return Err(SqlError::internal("an access of no kind"));
    };
    let backwards = if *reverse { ", backwards" } else { "" };
    Ok(match access.span(table, env)? {
        None => ("Nothing to read".into(), None),
        Some(span) if prefix.is_empty() && lower.is_none() && upper.is_none() => {
            (format!("Table scan{backwards}"), Some(span))
        }
        Some(span) => {
            let conditions = conditions(table, prefix, lower, upper, env)?;
            (format!("Range scan of {conditions}{backwards}"), Some(span))
        }
    })
}

/// What a range is made of, as conditions on the key's columns.
fn conditions(
    table: &TableSchema,
    prefix: &[Expr],
    lower: &Option<Bound>,
    upper: &Option<Bound>,
    env: &Env,
) -> Result<String, SqlError> {
    let shown = |expr: &Expr| -> Result<String, SqlError> {
        Ok(expr.eval(&Scope::EMPTY, env)?.map_or("NULL".into(), |value| value.to_string_text()))
    };
    let name = |nth: usize| table.key.get(nth).map_or("", |at| table.columns[*at].name.as_str());
    let mut parts = Vec::new();
    for (nth, expr) in prefix.iter().enumerate() {
        parts.push(format!("{} = {}", name(nth), shown(expr)?));
    }
    for (bound, sign) in [(lower, ">"), (upper, "<")] {
        if let Some(bound) = bound {
            let equal = if bound.inclusive { "=" } else { "" };
            parts.push(format!("{} {sign}{equal} {}", name(prefix.len()), shown(&bound.value)?));
        }
    }
    Ok(parts.join(", "))
}
