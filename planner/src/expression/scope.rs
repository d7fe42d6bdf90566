//! The rows that an expression sees.

use crate::types::Datum;

/// The row at hand, and the rows of enclosing queries.
#[derive(Clone, Copy)]
pub(crate) struct Scope<'a> {
    /// The values of the row at hand.
    pub(crate) row: &'a [Datum],
    /// The row of the query around this one.
    pub(crate) outer: Option<&'a Scope<'a>>,
}

impl Scope<'_> {
    /// No row: for constants and parameters.
    pub(crate) const EMPTY: Scope<'static> = Scope { row: &[], outer: None };
}
