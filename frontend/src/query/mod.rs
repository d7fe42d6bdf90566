//! The sub-protocols of a session, one in each file.

pub(crate) mod copy;
pub(crate) mod extended;
pub(crate) mod pipeline;
pub(crate) mod portal;
pub(crate) mod simple;
