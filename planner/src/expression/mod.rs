//! Bound expressions and their evaluation: what is left of a SELECT list or WHERE once names have a meaning.
//!
//! An expression ([`Expr`]) is evaluated over the current row ([`Scope`]), rows of enclosing queries, the statement's
//! parameters, and the session ([`Env`]). Evaluation is synchronous. Nothing in it touches the store but subqueries,
//! which wait for it: an expression with one is evaluated where a thread may wait.

mod eval;
mod expr;
mod functions;
mod cast;
mod datetime;
mod parts;
mod object_names;
mod arithmetic;
mod pattern;
mod subscript;
mod value_limit;
mod subquery;
mod scope;
mod env;
mod results;

pub(crate) use arithmetic::{binary as arithmetic, integer};
pub(crate) use cast::{Strength, cast_value, cast_value_in, castable, common_type};
pub(crate) use env::{CursorInfo, Env, SessionView, StoredScan, StoredTables, SystemRelation};
pub(crate) use expr::Expr;
pub(crate) use functions::{
    Accumulator, AggregateFunction, NotUnique, is_aggregate, is_missing, resolve, resolve_aggregate,
    resolve_operator,
};
pub(crate) use object_names::{INFORMATION_SCHEMA_OID, OWNER_OID, PG_CATALOG_OID, index_definition};
pub(crate) use results::Results;
pub(crate) use scope::Scope;
pub(crate) use subquery::{OpenQuery, RunQuery, Subquery};
