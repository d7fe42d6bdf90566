//! What an aggregate gathers row by row.

use crate::error::SqlError;
use crate::types::Datum;

/// What an aggregate has gathered of one group.
pub(crate) trait Accumulator: Send + CopyAccumulator {
    /// Takes the arguments of one row, in the types that the signature asks for.
    fn add(&mut self, arguments: &[Datum]) -> Result<(), SqlError>;

    /// Bytes that it has come to hold of all those arguments.
    fn held_bytes(&self) -> u64 {
        0
    }

    /// The result, of the type that it was started with.
    fn finish(self: Box<Self>) -> Result<Datum, SqlError>;
}

/// A copy of what has been gathered, to see the value so far.
pub(crate) trait CopyAccumulator {
    /// A copy.
    fn copy(&self) -> Box<dyn Accumulator>;
}

impl<T: Accumulator + Clone + 'static> CopyAccumulator for T {
    fn copy(&self) -> Box<dyn Accumulator> {
        Box::new(self.clone())
    }
}
