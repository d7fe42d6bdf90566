//! protocol
pub mod coordination;
pub mod effect;
pub mod event;
pub mod message;
pub mod time;
