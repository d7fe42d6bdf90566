//! PostgreSQL on the wire, and the binary `spinnaker`.
//!
//! From top to bottom, each module knows only those below it:
//! - [`cli`]: the commands and their errors. `demo`: a cluster in one process. `start`: one node.
//! - [`listener`]: accepts connections, limits and ends them.
//! - `connection`: the loop of one connection; `query`: the sub-protocols it speaks.
//! - `startup`: everything before the first query. `cancel`: ending a statement from outside.
//! - `response`, `message`, `wire`: what is said, what is heard, and the bytes.
//!
//! SQL is the planner's: nothing here looks at the text of a statement.

mod cancel;
pub mod cli;
mod connection;
mod demo;
pub mod listener;
mod message;
mod query;
mod response;
mod start;
mod startup;
mod wire;

#[cfg(test)]
mod tests;
