//! SQL over the store: a statement's text becomes a plan, the plan becomes calls of [`kvstore::request::Kv`], and
//! the answers become rows.
//!
//! # Life of a statement
//! 1. `Planner::split` cuts a simple-protocol text into statements, after checking its size.
//! 2. `Planner::prepare` looks the text up in the plan cache; a hit skips steps 3 to 6.
//! 3. `parse` tokenizes, rewrites what sqlparser does not know (UPSERT, SPLIT AT), and parses.
//! 4. `statement` holds our own small tree, into which the parser's large one is converted at once.
//! 5. `bind` resolves names against the `catalog` and gives every expression a type, parameters included.
//! 6. `access` finds the keys or the key range that WHERE names; `plan` holds the result. EXPLAIN prints it.
//! 7. `Planner::execute` takes the parameters' values, and `execute` makes the store calls.
//! 8. `rows` turns cells into values and back, with the keys of `key_encoding`.
//! 9. `expression` computes the select list and what is left of WHERE.
//! 10. Rows go out in batches through [`RowStream`]; errors are [`SqlError`]s with PostgreSQL's SQLSTATEs.
//!
//! The catalog (pg_catalog, information_schema) is virtual tables under the same expressions (`query`).
//! The planner knows nothing of the wire: the frontend passes values in the formats of [`types`].

mod access;
mod bind;
mod catalog;
mod context;
mod copy;
mod error;
mod execute;
mod execution;
mod expression;
mod key_encoding;
mod parse;
mod pg_catalog;
mod plan;
mod planner;
mod prepared;
mod query;
mod result;
mod row_encoding;
mod session;
mod settings;
mod statement;
pub mod types;

pub use context::ServerInfo;
pub use copy::{CopyIn, CopyOut};
pub use error::{SqlError, sqlstate};
pub use execution::Execution;
pub use parse::StatementText;
pub use planner::{OnOneRow, Overlap, Planner};
pub use prepared::Prepared;
pub use result::{Column, RowStream, Rows};
pub use session::{Notice, Session, TransactionStatus};
