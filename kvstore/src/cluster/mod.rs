//! The cluster as a node knows it: which tables, ranges and nodes there are, and how to reach them.
//!
//! - `changing`: several changes of tables and objects in one atomic step.
//! - `dropping`: dropping a table: one atomic step, then each member gives its data back.
//! - `tables`: making a table, one atomic step at the coordinator.
//! - `identity`: whether the coordinator holds this node's cluster.
//! - `membership`: this node's registration and its ephemeral address.
//! - `map`: tables, ranges and live nodes, cached and kept fresh by a watch. `view`: one state of them.
//! - `belonging`: which cluster this node has joined. `local`: what its disk keeps of the metadata.
//! - `gone`: ranges of dropped tables. `time`: the clock that waits at the coordinator go by.
//! - `route`: one range, with what answers have told of it.
//! - `layout`: the texts of the znodes.
//! - `peers`: one stream of requests to each other node. `silence`: which of them are not heard of.

pub(crate) mod changing;
pub(crate) mod dropping;
pub(crate) mod tables;
pub(crate) mod identity;
pub(crate) mod membership;
pub(crate) mod map;
pub(crate) mod view;
pub(crate) mod belonging;
pub(crate) mod local;
pub(crate) mod gone;
pub(crate) mod time;
pub(crate) mod route;
pub(crate) mod layout;
pub(crate) mod peers;
pub(crate) mod silence;
