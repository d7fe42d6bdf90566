//! Parts of documents: what `->` and `->>` give. A part of json is as it was written.

use super::json::{Json, Parser, parse};
use super::value::{Datum, Value};
use crate::error::SqlError;

/// What `->` asks a document for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum JsonKey<'a> {
    /// The member of an object.
    Member(&'a str),
    /// The element of an array, from 0; negative: from the end.
    Element(i64),
}

/// A part of a document, of the document's type or as text (a string without its quotes). NULL if it is not there; as
/// text also if it is null. A part of json is as it was written.
pub(crate) fn member(document: &Value, key: JsonKey<'_>, plain: bool) -> Result<Datum, SqlError> {
    if let Value::Json(text) = document {
        let part = raw_member(text, key)?;
        return match part {
            Some(part) if plain => Ok(plain_text(part)?.map(Value::Text)),
            part => Ok(part.map(|part| Value::Json(part.to_string()))),
        };
    }
    let parsed = parse(&document.as_text())?;
    let found = match (&parsed, key) {
        (Json::Object(_), JsonKey::Member(key)) => parsed.member(key),
        (Json::Array(items), JsonKey::Element(index)) => {
            let at = if index < 0 { items.len() as i64 + index } else { index };
            usize::try_from(at).ok().and_then(|at| items.get(at))
        }
        // A document that is one value counts as an array of it.
        (Json::Object(_), JsonKey::Element(_)) | (_, JsonKey::Member(_)) => None,
        (scalar, JsonKey::Element(0 | -1)) => Some(scalar),
        _ => None,
    };
    Ok(match (found, plain) {
        (Some(json), true) => json.to_plain().map(Value::Text),
        (found, _) => found.map(|json| Value::Jsonb(json.to_text())),
    })
}

impl Json {
    /// The text that `->>` gives: a string without its quotes. `None` for null.
    pub(crate) fn to_plain(&self) -> Option<String> {
        match self {
            Json::Null => None,
            Json::String(text) => Some(text.clone()),
            json => Some(json.to_text()),
        }
    }
}

/// As [`Json::to_plain`], of a part of json.
pub(crate) fn plain_text(part: &str) -> Result<Option<String>, SqlError> {
    Ok(match part.as_bytes().first() {
        Some(b'"') => parse(part)?.to_plain(),
        Some(b'n') => None,
        _ => Some(part.to_string()),
    })
}

/// A part of json, as it is written there; of members of the same name the last.
pub(crate) fn raw_member<'a>(text: &'a str, key: JsonKey<'_>) -> Result<Option<&'a str>, SqlError> {
    let mut parts: Vec<(Option<String>, &str)> = Vec::new();
    let is_object = raw_parts(text, &mut parts)?;
    let at = match key {
        JsonKey::Member(name) if is_object => parts.iter().rposition(|(own, _)| own.as_deref() == Some(name)),
        JsonKey::Element(at) if !is_object => {
            usize::try_from(if at < 0 { parts.len() as i64 + at } else { at }).ok()
        }
        _ => None,
    };
    Ok(at.and_then(|at| parts.get(at)).map(|(_, part)| *part))
}

/// The members of an object with their names, or the elements of an array, as they are written. Is it an object?
pub(crate) fn raw_parts<'a>(
    text: &'a str,
    parts: &mut Vec<(Option<String>, &'a str)>,
) -> Result<bool, SqlError> {
    let mut parser = Parser { text, at: 0 };
    parser.space();
    let (is_object, end) = match parser.peek() {
        Some(b'{') => (true, b'}'),
        Some(b'[') => (false, b']'),
        _ => return Ok(false),
    };
    parser.at += 1;
    if parser.take(end) {
        return Ok(is_object);
    }
    loop {
        parser.space();
        let name = if is_object { Some(parser.string()?) } else { None };
        if is_object && !parser.take(b':') {
            return Err(parser.invalid());
        }
        parser.space();
        let start = parser.at;
        parser.value(1)?;
        parts.push((name, &text[start..parser.at]));
        if parser.take(end) {
            return Ok(is_object);
        }
        if !parser.take(b',') {
            return Err(parser.invalid());
        }
    }
}
