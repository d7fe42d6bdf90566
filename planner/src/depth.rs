//! How deep a statement may nest, and stack for it.
//!
//! Statements are trees, and what works on a tree calls itself. A text of a few kilobytes can make a tree of thousands of
//! levels, so nothing may rely on the stack of the thread that it happens to run on: the parser's own tree is read
//! and dropped on a stack that fits the text (`parse`), ours is limited to [`DEPTH_MAX`] levels, and each step down
//! looks first whether there is stack left ([`deeper`]).

use crate::error::{SqlError, sqlstate};

/// Levels of a statement's tree at most.
pub(crate) const DEPTH_MAX: u32 = 1_000;

/// A step down has at least so much stack, which is enough for what does not call itself.
const STEP_BYTES: usize = 192 << 10;
/// So much more stack is taken at a time.
const SEGMENT_BYTES: usize = 2 << 20;

/// Takes a step down a tree, on more stack if little is left.
pub(crate) fn deeper<T>(step: impl FnOnce() -> T) -> T {
    stacker::maybe_grow(STEP_BYTES, SEGMENT_BYTES, step)
}

/// Runs `work` where there is so much stack.
pub(crate) fn with_stack<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    stacker::maybe_grow(bytes, bytes, work)
}

/// 54001.
pub(crate) fn too_deep() -> SqlError {
    SqlError::new(sqlstate::TOO_COMPLEX, "stack depth limit exceeded")
        .detail(format!("The statement is nested deeper than {DEPTH_MAX} levels."))
        .hint("Write it flatter: an IN list or one array parameter (= ANY($1)) in place of a chain of operators.")
}
