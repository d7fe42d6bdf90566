//! Values as documents of json and jsonb.

use crate::error::SqlError;
use crate::types::{Array, Datum, Dimension, Json, Value, parse_json, write_json_string};

/// A value as a document; NULL is null.
pub(super) fn to_document(value: Option<&Value>) -> Result<Json, SqlError> {
    let Some(value) = value else { return Ok(Json::Null) };
    Ok(match value {
        Value::Bool(value) => Json::Bool(*value),
        Value::Json(text) | Value::Jsonb(text) => parse_json(text)?,
        Value::Array(array) => {
            Json::Array(nested(array, &mut |item| to_document(item.as_ref()), &mut |items| {
                Ok(Json::Array(items))
            })?)
        }
        other if is_number(other) => parse_json(&other.to_string_text())?,
        other => Json::String(scalar_text(other)),
    })
}

/// A value as json's text; NULL is null.
pub(super) fn json_text(value: Option<&Value>) -> String {
    let Some(value) = value else { return "null".into() };
    match value {
        Value::Bool(value) => value.to_string(),
        Value::Json(text) | Value::Jsonb(text) => text.clone(),
        Value::Array(array) => {
            let joined = |items: Vec<String>| format!("[{}]", items.join(","));
            let items =
                nested(array, &mut |item| Ok(json_text(item.as_ref())), &mut |items| Ok(joined(items)));
            joined(items.unwrap_or_default())
        }
        other if is_number(other) => other.to_string_text(),
        other => {
            let mut out = String::new();
            write_json_string(&scalar_text(other), &mut out);
            out
        }
    }
}

/// Is it a number that JSON has?
fn is_number(value: &Value) -> bool {
    match value {
        Value::Int2(_) | Value::Int4(_) | Value::Int8(_) => true,
        Value::Float4(number) => number.is_finite(),
        Value::Float8(number) => number.is_finite(),
        Value::Numeric(number) => number.finite().is_some(),
        _ => false,
    }
}

/// The text of a value that becomes a string: times as ISO 8601 has them.
fn scalar_text(value: &Value) -> String {
    let text = value.to_string_text();
    match value {
        Value::Timestamptz(_) => {
            let short = text.len() > 3 && matches!(text.as_bytes()[text.len() - 3], b'+' | b'-');
            text.replacen(' ', "T", 1) + if short { ":00" } else { "" }
        }
        _ => text,
    }
}

/// An array's elements, those of inner dimensions put together.
fn nested<T>(
    array: &Array,
    item: &mut dyn FnMut(&Datum) -> Result<T, SqlError>,
    together: &mut dyn FnMut(Vec<T>) -> Result<T, SqlError>,
) -> Result<Vec<T>, SqlError> {
    fn level<T>(
        items: &mut dyn Iterator<Item = &Datum>,
        dimensions: &[Dimension],
        item: &mut dyn FnMut(&Datum) -> Result<T, SqlError>,
        together: &mut dyn FnMut(Vec<T>) -> Result<T, SqlError>,
    ) -> Result<Vec<T>, SqlError> {
        let Some((first, rest)) = dimensions.split_first() else { return Ok(Vec::new()) };
        let mut all = Vec::new();
        for _ in 0..first.length {
            all.push(if rest.is_empty() {
                item(items.next().unwrap_or(&None))?
            } else {
                let inner = level(items, rest, item, together)?;
                together(inner)?
            });
        }
        Ok(all)
    }
    level(&mut array.items.iter(), &array.dimensions, item, together)
}
