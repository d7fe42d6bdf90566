//! The key-value store: rows of versioned cells in tables, ranges of rows on cohorts of three nodes.

pub mod config;
pub mod error;
pub mod node;
pub mod request;
pub mod status;
