//! The cluster as a node knows it: which tables, ranges and nodes there are, and how to reach them.
//!
//! - `layout`: the texts of the znodes.
//! - `map`: tables, ranges and live nodes, cached and kept fresh by a watch.
//! - `tables`: making and dropping tables, each one atomic step at the coordinator.
//! - `membership`: this node's registration and its ephemeral address.
//! - `peers`: one stream of requests to each other node.

pub(crate) mod layout;
pub(crate) mod map;
pub(crate) mod membership;
pub(crate) mod peers;
pub(crate) mod tables;
