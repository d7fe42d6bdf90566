//! Leads: proposes to the followers while its own force runs, commits what a majority has forced, in LSN order, answers
//! clients, holds the lease for strong reads.
//!
//! A leadership goes through the phases of [`Phase`]: Winning (the coordinator's compare-and-set) → Binding (its own promise
//! is forced) → Promising (Paxos phase 1: a majority is bound to it and has nothing that it lacks) → Leading (EpochStart is
//! appended; when that is committed and applied, the leader is open).
//!
//! | file | |
//! |---|---|
//! | `events.rs` | what happens to a leader, and what members say to it |
//! | `takeover.rs` | the phases before Leading |
//! | `catchup.rs` | finds where logs agree, sends what followers lack |
//! | `steady.rs` | acks, heartbeats, the lease, transfers of the leadership |
//! | `clients.rs` | writes, reads, commits |
//! | `role.rs` | the state, and below it one file for each part of it |

mod events;

mod takeover;

mod catchup;
mod clients;
mod steady;

mod role;

mod commit_queue;
mod lease;
mod progress;
mod reads;
mod transfers;

pub(crate) use progress::{Following, Progress, SnapshotTransfer};
pub(crate) use role::Leader;
