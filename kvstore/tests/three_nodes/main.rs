//! The store as its users meet it: three nodes in one process, over loopback, with the embedded coordinator.

mod rows;
mod failures;
mod repairs;
mod missing;
mod scans;
mod threads;
mod outside;
mod liars;
mod cluster;
