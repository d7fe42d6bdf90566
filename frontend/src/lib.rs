//! PostgreSQL on the wire, and the binary `spinnaker`.
//!
//! SQL is the planner's: nothing here looks at the text of a statement.
//!
//! # Order
//!
//! The modules stand below from top to bottom; a file uses only those that stand below it.
//!
//! - [`cli`]: the command line. `demo`: a cluster in one process. `start`: one node.
//! - [`listener`]: a gateway: accepts connections, limits them, ends them.
//! - `waiting`: what is answered while the node starts.
//! - `connection`: what one client's connection expects next, message by message.
//! - `startup`: everything before the first query.
//! - `query`: the protocols of a session: `simple`, `extended`, `copy`; with them `rows` and `portal`.
//! - `client_stream`: messages in, replies out, in order. `pipeline`: statements that run ahead of their replies.
//! - `backend`: what runs one session's statements. `server`: what all connections share.
//! - `cancel`: ending a statement from another connection.
//! - `wire`: the bytes. `response`: the replies. `message`: the messages.
//!
//! # Life of a connection
//!
//! 1. `listener.rs` accepts it and gives it a task of its own: `serve` in `connection.rs`.
//! 2. `startup.rs` refuses encryption, checks user, database and settings, takes a permit of `server.rs`, registers
//!    the session with `cancel.rs`, and makes its `Backend` (`backend.rs`). A cancel request ends here.
//! 3. `connection.rs` loops: `client_stream.rs` takes the next complete frame from `wire.rs`, `message.rs` decodes
//!    it, and a handler in `query/` does what it says. What the handler returns decides on the next state.
//! 4. The handler asks the backend to prepare or execute, and waits for that through `client_stream.rs`, which notices
//!    meanwhile that the client hangs up. `cancel.rs` ends the wait when a cancel request comes.
//! 5. Replies are appended to the outbox (`response.rs`): to the one that goes out next, or, while statements still
//!    run ahead (`pipeline.rs`), to the one that waits behind the newest of them.
//! 6. Before the connection waits for the client, `wire.rs` sends what is due, in one write.
//! 7. Terminate, a lost client, a broken frame or a shutdown lead to the state `Closed`. The registration and the
//!    permit go with the backend.

pub mod cli;
mod demo;
mod start;

pub mod listener;
mod waiting;

mod connection;
mod startup;

mod query;

mod client_stream;
mod pipeline;

mod backend;
mod server;

mod cancel;

mod wire;

mod response;

mod message;

#[cfg(test)]
mod tests;
