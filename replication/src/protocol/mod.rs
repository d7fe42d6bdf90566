//! The protocol: how one cohort of replicas agrees on one log. Pure: events and the time come in, effects go out; no
//! clock, socket, file, thread or random number in here.
//!
//! # The idea
//! A cohort has one leader and followers (three members by default). A client's write goes to the leader, which
//! appends it to its own log and proposes it to the followers at the same time. Whoever has forced it says so; when a
//! majority has, it is committed: the leader applies it and answers. Followers learn the commit point from what the
//! leader sends next and apply in LSN order. Strong reads are the leader's, under a lease that followers grant with
//! each answer; timeline reads are anyone's.
//!
//! # Roles
//! [`Cohort`] is one of three typed roles over what every role keeps (`member.rs`): `follower.rs`, `candidate.rs`,
//! `leader.rs` (with `takeover.rs`, `catchup.rs` and what it knows of each follower in `progress.rs`). The epoch rule
//! and the transitions stand in `cohort.rs`, the view of the log in `log.rs`, majorities in `quorum.rs`.
//!
//! # Invariants
//! 1. A promise is durable before anyone hears of it, and only grows: (epoch, nobody) < (epoch, a leader) < higher
//!    epochs. A leader's word counts only where the promise is bound to that leader.
//! 2. An epoch has one leader, and a leadership has one epoch, never resumed after a restart or a release.
//! 3. Two logs that hold the same LSN are equal up to it; each entry carries the hash of all before it.
//! 4. `applied <= committed`; on a follower `applied <= min(committed, matched, forced)`.
//! 5. An ack says what is forced and matched. What a majority acked, and is of the leader's own epoch (or before such an
//!    entry), is committed, and is in the log of every later leader.
//! 6. Nothing is truncated but what a bound leader has shown to differ, and the Skip is forced before the next ack.
//! 7. No higher promise is made while a lease that was granted may run, unless the leader released it.
//!
//! # Where this departs from the paper, and why
//! * Promises (Paxos phase 1) fence old leaders; the paper trusts ZooKeeper's election alone.
//! * EpochStart and the own-epoch commit rule: without them a re-proposed record can be committed, read, and lost.
//! * Truncation is a record in the log at its place, not a list of LSNs beside it: a dropped LSN can come back.
//! * Proposals name the LSN before them; a cumulative commit never passes a gap.
//! * Commits ride on proposals and heartbeats; strong reads need a lease or a round; writes need no force at the
//!   leader itself if two others have it.
//! * A live leader is not deposed because it lost its ZooKeeper session.
//!
//! # Left out
//! Changing which nodes are the members of a cohort; a member may only get another disk ([`event::Event::Members`]).

mod candidate;
mod catchup;
mod cohort;
pub mod coordination;
pub mod effect;
pub mod event;
mod follower;
mod leader;
mod log;
mod member;
pub mod message;
mod progress;
mod quorum;
mod rejoin;
mod settings;
mod snapshot;
mod status;
mod takeover;
pub mod time;

pub use cohort::Cohort;
pub use member::{Config, Recovered};
pub use settings::Settings;
pub use status::{FollowerStatus, RoleName, Status};
