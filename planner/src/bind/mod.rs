//! Binding: from our tree of a statement to a plan. Names get their meaning, and every expression gets a type.
//!
//! A [`Binder`] holds the scopes of the queries around the point at hand (innermost last) and the parameter types
//! found so far: a parameter gets its type from what it is compared with or stored into, text if nothing says.
//! Expressions hold queries and queries hold expressions, so the methods of `Binder` call each other across the
//! files `query`, `grouping`, `from`, `output`, `expression`, `operators` and `call`: they are one recursive grammar.

mod statement;
mod write;
mod create_table;
mod query;
mod grouping;
mod with;
mod from;
mod joins;
mod output;
mod expression;
mod call;
mod window;
mod operators;
mod defaults;
mod coerce;
mod binder;

pub(crate) use statement::{BindError, Bound, bind};
