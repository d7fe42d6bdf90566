//! Rows of an input that is being read.

use crate::error::SqlError;
use crate::expression::{Env, Scope};
use crate::types::Row;

/// An input that is being read.
pub(super) trait OpenRows: Send {
    /// The next row. `scope` is the one that it was opened with: the row before the input in FROM, and the rows of the
    /// queries around.
    fn next(&mut self, env: &Env, scope: &Scope<'_>) -> Result<Option<Row>, SqlError>;
}
