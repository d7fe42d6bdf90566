//! Coordination: who may lead a range, agreed on through an election service.
//!
//! [`Coordinator`] is a small znode service. ZooKeeper ([`zookeeper`]) and an in-process tree ([`embedded`]) stand
//! behind it, and both pass one contract suite (`contract`). [`range`] turns it into the protocol's view of one range
//! and carries out the protocol's requests. Nothing above this folder knows which service is used.
//!
//! A module uses only modules listed below it.

#[cfg(any(test, feature = "testing"))]
pub mod contract;
pub mod range;
pub mod embedded;
pub mod tree;
pub mod zookeeper;
mod coordinator;
mod slot;
mod watches;

pub use self::coordinator::{
    CoordinationError, Coordinator, CreateMode, Op, Result, Session, SessionState, Znode,
};
