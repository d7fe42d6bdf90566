//! Clients of a trial: they work until they are told to stop, and record what they saw.

mod crew;
mod counters;
mod rows;
mod sql;
mod sessions;
mod registers;
mod probes;
mod kv;
mod shared;

pub use self::crew::{Clients, leaders};
pub use self::shared::{Found, Gaps, LETTERS, Shared};
