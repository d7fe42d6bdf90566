//! Chaos: a site of three real `spinnaker start` processes and a ZooKeeper ensemble, real clients, and faults from
//! outside, drawn from a seed. `cargo chaos --help`.
//!
//! Each trial: clients work, one fault is done to the leader of some range and taken back, clients end, all replicas must
//! come to hold the same, and what the clients saw must keep the promises. Histories go through checkers of the simulator
//! ([`record`]); beyond those, what was acknowledged must be there, what was refused must not, and counters must add up
//! ([`clients`]). What is printed: for each fault how often it was tried, how long the ranges that the victim led took no
//! writes, which errors reached clients of other nodes, and what was violated.
//!
//! Where is what, from below: [`network`] (namespaces, cuts), [`disk`] (slow, full), [`znodes`], [`ensemble`], [`site`] (all that runs),
//! [`record`], [`clients`], [`upgrade`] (two releases side by side), [`faults`] (what is done), [`trial`] (one of them), [`report`] (the table).

pub mod trial;
pub mod report;
pub mod faults;
pub mod upgrade;
pub mod clients;
pub mod record;
pub mod site;
pub mod ensemble;
pub mod znodes;
pub mod disk;
pub mod network;
