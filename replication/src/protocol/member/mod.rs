//! What a member keeps in every role: four parts with rules of their own, and what ties them together.
//!
//! | part | keeps | its rule |
//! |---|---|---|
//! | [`Promises`] | promise, granted leases | promises grow, and are forced before they are announced |
//! | [`Appends`] | records on their way to the disk | durable in order; a full disk loses nothing |
//! | [`Freshness`] | how old the data are at most | only an echo of our own stamp counts |
//! | [`Health`] | damage, lost log, differing history | whoever cannot be trusted counts for nothing |
//!
//! [`Common`] holds them, with the log, the store's flushed LSN, and the coordinator's view. A [`Member`] is a role at work on
//! what is common, for the length of one step.

mod state;

mod appends;
mod freshness;
mod health;
mod promises;
mod rejoin;

pub(crate) use appends::Persisted;
pub(crate) use rejoin::ProbeStep;
pub(crate) use state::{Common, Member};
