//! One cohort of replicas agrees on one log. Four folders are the whole idea:
//!
//! * [`protocol`] decides: a pure state machine of one cohort member, events in, effects out;
//! * [`drive`] joins it to a store and to clients: effects performed, in order, still without I/O or clock;
//! * [`coordination`] elects: the only place that knows an election service (ZooKeeper, or the embedded tree) exists;
//! * [`runtime`] performs: drives the cohorts of a node over one shared log and one stream per node pair.
//!
//! What replicates is opaque here: [`store`] says what the layer above must offer.

#[cfg(feature = "testing")]
pub mod testing;
pub mod runtime;
pub mod coordination;
pub mod drive;
pub mod store;
pub mod protocol;
