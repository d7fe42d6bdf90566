//! Functions on jsonb.

use super::function::{Arguments, Function, function, text};
use crate::error::SqlError;
use crate::types::Datum;
use crate::types::declared::{JSONB, TEXT};

pub(super) const FUNCTIONS: &[Function] = &[function("jsonb_typeof", &[JSONB], TEXT, jsonb_typeof)];

fn jsonb_typeof(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    // The canonical text starts with the value, without a space before it.
    text(match a.text(0).as_bytes().first() {
        Some(b'{') => "object",
        Some(b'[') => "array",
        Some(b'"') => "string",
        Some(b't' | b'f') => "boolean",
        Some(b'n') => "null",
        _ => "number",
    })
}
