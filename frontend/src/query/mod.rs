//! The protocols of a session, one in each file, and what they share; a file uses only those below it.

pub(crate) mod extended;
pub(crate) mod simple;

mod copy;
mod rows;

pub(crate) mod portal;
