//! The functions of SQL: one file for each family, and in it one table.
//!
//! # To add a function
//! Add a row to the table of its family: name, the types of its arguments, the type of its result, its code. The code
//! is a closure, or a small function below the table; it gets its arguments in those types, none of them NULL. A
//! function of several signatures has a row for each. The row may go on with `.optional(n)`, `.variadic()`,
//! `.accepts_null()` or `.volatile()`. Then add a case to `testdata/functions`.
//!
//! A new family is a new file with such a table, and its line in [`FAMILIES`].

mod array;
mod bytea;
mod catalog;
mod conditional;
mod datetime;
mod datetime_operators;
mod numeric;
mod random;
mod regexp;
mod session;
mod text;
mod trigonometry;
mod aggregate;
mod statistics;
mod json;
mod accumulator;
mod json_build;
mod function;
mod signature;

#[cfg(test)]
mod tests;

pub(crate) use accumulator::Accumulator;
pub(crate) use aggregate::AggregateFunction;
pub(crate) use datetime_operators::{NotUnique, resolve_operator};
pub(crate) use function::Function;

use crate::types::Type;

/// The tables of scalar functions.
const FAMILIES: &[&[Function]] = &[
    array::FUNCTIONS,
    bytea::FUNCTIONS,
    catalog::FUNCTIONS,
    conditional::FUNCTIONS,
    datetime::FUNCTIONS,
    datetime_operators::FUNCTIONS,
    json::FUNCTIONS,
    numeric::FUNCTIONS,
    random::FUNCTIONS,
    regexp::FUNCTIONS,
    session::FUNCTIONS,
    text::FUNCTIONS,
    trigonometry::FUNCTIONS,
];

/// A function found for a call.
pub(crate) struct Resolved<F: 'static> {
    /// The function.
    pub(crate) function: &'static F,
    /// The types that the arguments must be cast to; `Unknown`: as they are.
    pub(crate) arguments: Vec<Type>,
    /// The type of the result.
    pub(crate) result: Type,
}

/// The scalar function of that name that suits arguments of these types best. `None` if there is none.
pub(crate) fn resolve(name: &str, given: &[Type]) -> Option<Resolved<Function>> {
    let named = FAMILIES.iter().copied().flatten().filter(|own| own.signature.name == name);
    let (function, found) = signature::nearest(named, |function| &function.signature, given)?;
    Some(Resolved { function, arguments: found.arguments, result: found.result })
}

/// Is this the name of an aggregate?
pub(crate) fn is_aggregate(name: &str) -> bool {
    aggregate::FUNCTIONS.iter().any(|own| own.signature.name == name)
}

/// The aggregate of that name that suits arguments of these types best (none: `count(*)`). `None` if there is none.
pub(crate) fn resolve_aggregate(name: &str, given: &[Type]) -> Option<Resolved<AggregateFunction>> {
    let named = aggregate::FUNCTIONS.iter().filter(|own| own.signature.name == name);
    let (function, found) = signature::nearest(named, |function| &function.signature, given)?;
    Some(Resolved { function, arguments: found.arguments, result: found.result })
}

/// The names of PostgreSQL's functions, one a line.
const POSTGRES_NAMES: &str = include_str!("postgres_names.txt");

/// Is this the name of a function that PostgreSQL has and this server has not?
pub(crate) fn is_missing(name: &str) -> bool {
    let mut scalar = FAMILIES.iter().copied().flatten();
    let known = is_aggregate(name) || scalar.any(|own| own.signature.name == name);
    !known && POSTGRES_NAMES.lines().any(|own| own == name)
}
