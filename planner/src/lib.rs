//! SQL over the store: a statement's text becomes a plan, the plan becomes calls of [`kvstore::request::Kv`], and
//! the answers become rows.
//!
//! # The life of a statement
//! `UPDATE kv SET v = v + $1 WHERE k = $2`, sent by a client in a [`Session`]:
//!
//! 1. `Planner::split` (`parse/split.rs`) cuts a simple-protocol text into statements, after checking its size and
//!    depth.
//! 2. `Planner::prepare` looks the text up in the plan cache (`prepared.rs`); a hit skips steps 3 to 5.
//! 3. `parse/` tokenizes, rewrites what sqlparser does not know (UPSERT, SPLIT AT), parses, and converts the parser's
//!    large tree into our own small one at once (`statement.rs`).
//! 4. `bind/` resolves names against the tables (`catalog.rs`) and gives every expression a type, parameters
//!    included.
//! 5. `access.rs` finds the keys or the key range that WHERE names. The result is a plan (`plan.rs`).
//! 6. `Planner::execute` takes the parameters' values. If the plan touches one row, `execute/target.rs` computes its
//!    key (`key_encoding.rs`), once.
//! 7. `execute/` makes the store calls: `read.rs` and `scan.rs` for SELECT, `insert.rs`, `change.rs` and `writer.rs`
//!    for writes. `row_encoding.rs` turns cells into values and back. A query of more than one table (`query/`) pulls
//!    its rows itself, on a thread that may wait (`tables.rs`).
//! 8. `expression/` computes the select list, new values, and what is left of WHERE; `query/` joins, groups and sorts.
//! 9. Rows go out in batches through a [`RowStream`]; errors are [`SqlError`]s with PostgreSQL's SQLSTATEs.
//!
//! Inside of a transaction block the write of step 7 waits in the session (`session/transaction.rs`) until COMMIT.
//! The system catalog (pg_catalog, information_schema) is computed tables under the same queries. The planner knows
//! nothing of the wire: the frontend passes values in the formats of [`types`].
//!
//! # The order of modules
//! Callers stand above what they call: a file uses only modules that are declared below its own.

mod planner;
mod execute;
mod execution;
mod copy;
mod session;
mod prepared;
mod bind;
mod parse;
mod plan;
mod query;
mod access;
mod pg_catalog;
mod row_check;
mod expression;
mod row_index;
mod row_order;
mod row_encoding;
mod key_encoding;
mod result;
mod context;
mod catalog;
mod statement;
mod operator;
mod table_change;
mod settings;
mod search_path;
mod memory;
pub mod types;
mod interrupt;
mod depth;
mod error;

pub use context::ServerInfo;
pub use copy::{CopyIn, CopyOut};
pub use error::{ErrorObject, SqlError, sqlstate};
pub use execution::Execution;
pub use parse::StatementText;
pub use planner::{OnOneRow, Overlap, Planner};
pub use prepared::Prepared;
pub use result::{Column, RowStream, Rows};
pub use session::{Notice, Session, TransactionStatus};
