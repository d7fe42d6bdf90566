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
//! A [`Cohort`] is one of three typed roles at work on what every role keeps: `follower.rs`, `candidate.rs` and `leader/`, over
//! `member/`. Each takes one event or message at a time, puts out effects, and says which role comes next
//! (`transition.rs`). `epoch_rule.rs` decides whose messages count.
//!
//! # Invariants
//! Each part has a `check`, run at the end of every step in tests and simulations, and asserts where something is about to be
//! done that cannot be undone. The rules in brackets are explained in docs/protocol.md.
//!
//! | | invariant | looked after in |
//! |---|---|---|
//! | 1 | What was answered as written is forced by a majority, and in the log of every later leader [own-epoch-commits] | `leader/role.rs`, `leader/commit_queue.rs` |
//! | 2 | A promise is forced before anyone hears of it, and only grows; a leader's word counts only where the promise is bound to it [bound-promise] | `member/promises.rs`, `epoch_rule.rs`, `follower.rs` |
//! | 3 | An epoch has one leader, a leadership one epoch, never resumed after a restart or a release [epoch-never-resumed] | `leader/role.rs`, `candidate.rs` |
//! | 4 | Two logs that hold the same LSN are equal up to it; each entry carries the hash of all before it | `log.rs` |
//! | 5 | `applied <= committed`; a follower applies only what is matched, too [apply-only-matched] | `log.rs`, `follower.rs` |
//! | 6 | Only what a bound leader has shown to differ is truncated, and the Skip is forced before the next ack [skip-is-positional] | `log.rs`, `follower.rs` |
//! | 7 | No higher promise while a granted lease may run; a restart waits out the longest ever logged [lease-margin] | `member/promises.rs` |
//! | 8 | A write is executed once: the store's part is its window, ours is that one LSN answers one client [exactly-once] | `leader/commit_queue.rs` |
//! | 9 | A failed force is final, a full disk is not [failed-force-is-final] | `member/appends.rs` |
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

// In this order: a file uses only modules that are declared below it.
mod epoch_rule;

mod cohort;

mod rejoin;
mod snapshot;

mod leader;

mod candidate;
mod follower;

mod member;
mod pre_vote;

mod config;
mod log;
mod transition;

pub mod effect;
pub mod event;
pub mod message;

pub mod coordination;
pub mod notice;
mod quorum;
mod settings;
mod status;
pub mod time;

pub use cohort::{Cohort, INVARIANTS_CHECKED};
pub use config::{Config, Recovered};
pub use settings::{LEASE_MAX, Settings};
pub use status::{FollowerStatus, RoleName, Status};
