//! The log's promises, on the simulated disk.

mod chain;
mod forced;
mod group;
mod segments;
