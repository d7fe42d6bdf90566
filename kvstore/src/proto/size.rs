//! How large a message may be.

/// Largest gRPC message: a page of rows, each up to the row limit, with room to spare.
pub const MESSAGE_BYTES_MAX: usize = 64 << 20;
