//! SQL types and values, with PostgreSQL's text and binary formats.
//!
//! [`Type`] is what a column, parameter or expression has; [`Value`] is what a row holds. NULL is not a value:
//! a [`Datum`] is an optional one. Integers keep their width, because the binary format and overflow depend on
//! it; text-like types (text, varchar, name, "char", but not char(n)) share [`Value::Text`].

#[cfg(test)]
mod tests;

mod binary;
mod text;
mod array_literal;
mod json_parts;
mod value;
mod json_edit;
mod json;
mod numeric_binary;
mod numeric_math;
mod numeric;
mod float;
pub(crate) mod declared;
mod sql_type;
pub(crate) mod datetime;

pub use datetime::{Interval, IntervalLimit, TextSettings};
pub use numeric::Numeric;
pub use sql_type::Type;
pub(crate) use value::utc;
pub use value::{Array, Datum, Dimension, Row, Value};

pub(crate) use binary::bad_utf8;
pub(crate) use datetime::now_micros;
pub(crate) use declared::DeclaredType;
pub(crate) use json::{Json, parse as parse_json, write_string as write_json_string};
pub(crate) use json_edit::Edit as JsonEdit;
pub(crate) use json_parts::{
    JsonKey, member as json_member, plain_text as json_plain_text, raw_member, raw_parts,
};
pub(crate) use text::{fit_bpchar, fit_varchar, parse_bool};
pub(crate) use value::unpadded;
