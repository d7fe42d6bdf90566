//! What an entry of a function table holds, and what its code is given.

use std::borrow::Cow;

use super::signature::Signature;
use crate::error::SqlError;
use crate::expression::env::Env;
use crate::types::{Datum, DeclaredType, Value};

/// The code of a function.
pub(super) type Code = fn(&Arguments<'_>) -> Result<Datum, SqlError>;

/// A scalar function: an entry of a table.
#[derive(Debug)]
pub(crate) struct Function {
    /// Its name and its types.
    pub(crate) signature: Signature,
    /// Is its code called although an argument is NULL? Otherwise the result is NULL then.
    accepts_null: bool,
    volatile: bool,
    code: Code,
}

/// A function that is NULL when an argument is, and the same for the same arguments throughout a statement.
pub(super) const fn function(
    name: &'static str,
    arguments: &'static [DeclaredType],
    result: DeclaredType,
    code: Code,
) -> Function {
    let signature = Signature { name, arguments, optional: 0, variadic: false, result };
    Function { signature, accepts_null: false, volatile: false, code }
}

impl Function {
    /// The last `count` arguments may be left out.
    pub(super) const fn optional(mut self, count: usize) -> Function {
        self.signature.optional = count;
        self
    }

    /// The last argument may be given any number of times, but once.
    pub(super) const fn variadic(mut self) -> Function {
        self.signature.variadic = true;
        self
    }

    /// The code sees NULL arguments.
    pub(super) const fn accepts_null(mut self) -> Function {
        self.accepts_null = true;
        self
    }

    /// Each call gives another value, or changes something: no call is left out or computed ahead.
    pub(super) const fn volatile(mut self) -> Function {
        self.volatile = true;
        self
    }

    /// Does each call give another value, or change something?
    pub(crate) fn is_volatile(&self) -> bool {
        self.volatile
    }

    /// Calls it. The values have the types that its signature asks for.
    pub(crate) fn call(&self, values: &[Datum], env: &Env) -> Result<Datum, SqlError> {
        if !self.accepts_null && values.iter().any(Option::is_none) {
            return Ok(None);
        }
        (self.code)(&Arguments { values, env })
    }
}

/// Functions are entries of tables: one is equal to itself only.
impl PartialEq for Function {
    fn eq(&self, other: &Function) -> bool {
        std::ptr::eq(self, other)
    }
}

/// What a call gives to the code of a function.
pub(crate) struct Arguments<'a> {
    /// The arguments, in order. Optional ones may be missing at the end.
    pub(super) values: &'a [Datum],
    /// The session, the tables, and the time of the statement.
    pub(super) env: &'a Env,
}

impl<'a> Arguments<'a> {
    /// An argument. `None` if it is NULL or was left out.
    pub(super) fn value(&self, at: usize) -> Option<&'a Value> {
        self.values.get(at).and_then(Option::as_ref)
    }

    /// An argument as text: empty if it is NULL or was left out.
    pub(super) fn text(&self, at: usize) -> Cow<'a, str> {
        self.optional_text(at).unwrap_or_default()
    }

    /// An argument as text. `None` if it is NULL or was left out.
    pub(super) fn optional_text(&self, at: usize) -> Option<Cow<'a, str>> {
        self.value(at).map(|value| match value {
            Value::Text(text) | Value::Bpchar(text) | Value::Json(text) | Value::Jsonb(text) => {
                Cow::Borrowed(text.as_str())
            }
            other => Cow::Owned(other.to_string_text_in(&self.env.text)),
        })
    }

    /// An argument as a whole number (or oid): 0 if it is NULL or was left out.
    pub(super) fn integer(&self, at: usize) -> i64 {
        self.value(at).and_then(Value::as_i64).unwrap_or(0)
    }

    /// Is an argument true? NULL or left out is not.
    pub(super) fn is_true(&self, at: usize) -> bool {
        self.value(at) == Some(&Value::Bool(true))
    }
}

/// A text as a result.
pub(super) fn text(value: impl Into<String>) -> Result<Datum, SqlError> {
    Ok(Some(Value::Text(value.into())))
}

/// A truth value as a result.
pub(super) fn boolean(value: bool) -> Result<Datum, SqlError> {
    Ok(Some(Value::Bool(value)))
}

/// A count or a position as a result: an integer.
pub(super) fn count(value: usize) -> Result<Datum, SqlError> {
    Ok(Some(Value::Int4(i32::try_from(value).unwrap_or(i32::MAX))))
}

/// The code of functions that describe what this server does not have: NULL.
pub(super) fn null(_: &Arguments<'_>) -> Result<Datum, SqlError> {
    Ok(None)
}
