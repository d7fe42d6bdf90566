//! A world for cohort members to be tested in: real logs on simulated disks, a network, a coordinator and clocks that
//! misbehave on request, one thread, no time but its own.
//!
//! [`world::World`] runs one cohort and checks what must always hold (its list of promises is there); `tests/random.rs`
//! drives it by seed, `tests/golden.rs` by script.

mod clients;
mod faults;
mod effects;
pub mod world;

pub mod coordinator;
pub mod options;
