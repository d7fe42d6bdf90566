//! Functions on json and jsonb.

use super::function::{Arguments, Function, boolean, count, function, text};
use super::json_build::{json_text, to_document};
use crate::error::{SqlError, sqlstate};
use crate::expression::value_limit::check_value_bytes;
use crate::types::declared::{ANY, ANYELEMENT, BOOL, INT4, JSON, JSONB, TEXT, TEXTS};
use crate::types::{
    Datum, Json, JsonEdit, JsonKey, Value, json_plain_text, parse_json, raw_member, raw_parts,
    write_json_string,
};

pub(super) const FUNCTIONS: &[Function] = &[
    function("json_array_length", &[JSON], INT4, array_length),
    function("json_build_array", &[ANY], JSON, json_build_array).optional(1).variadic().accepts_null(),
    function("json_build_object", &[ANY], JSON, json_build_object).optional(1).variadic().accepts_null(),
    function("json_extract_path", &[JSON, TEXT], JSON, |a| raw_path(a, false)).optional(1).variadic(),
    function("json_extract_path", &[JSON, TEXTS], JSON, |a| raw_path(a, false)),
    function("json_extract_path_text", &[JSON, TEXT], TEXT, |a| raw_path(a, true)).optional(1).variadic(),
    function("json_extract_path_text", &[JSON, TEXTS], TEXT, |a| raw_path(a, true)),
    function("json_strip_nulls", &[JSON], JSON, json_strip_nulls),
    function("json_typeof", &[JSON], TEXT, type_of),
    function("jsonb_array_length", &[JSONB], INT4, array_length),
    function("jsonb_build_array", &[ANY], JSONB, jsonb_build_array).optional(1).variadic().accepts_null(),
    function("jsonb_build_object", &[ANY], JSONB, jsonb_build_object).optional(1).variadic().accepts_null(),
    function("jsonb_concat", &[JSONB, JSONB], JSONB, jsonb_concat),
    function("jsonb_contained", &[JSONB, JSONB], BOOL, |a| {
        boolean(document(a, 1)?.contains(&document(a, 0)?))
    }),
    function("jsonb_contains", &[JSONB, JSONB], BOOL, |a| {
        boolean(document(a, 0)?.contains(&document(a, 1)?))
    }),
    function("jsonb_delete", &[JSONB, TEXT], JSONB, |a| jsonb(document(a, 0)?.without(&[&a.text(1)])?)),
    function("jsonb_delete", &[JSONB, INT4], JSONB, |a| {
        jsonb(document(a, 0)?.without_element(a.integer(1))?)
    }),
    function("jsonb_delete", &[JSONB, TEXTS], JSONB, |a| jsonb(document(a, 0)?.without(&keys(a, 1))?)),
    function("jsonb_delete_path", &[JSONB, TEXTS], JSONB, |a| edited(a, JsonEdit::Delete)),
    function("jsonb_exists", &[JSONB, TEXT], BOOL, |a| boolean(document(a, 0)?.has(&a.text(1)))),
    function("jsonb_exists_all", &[JSONB, TEXTS], BOOL, |a| exists(a, true)),
    function("jsonb_exists_any", &[JSONB, TEXTS], BOOL, |a| exists(a, false)),
    function("jsonb_extract_path", &[JSONB, TEXT], JSONB, |a| path(a, false)).optional(1).variadic(),
    function("jsonb_extract_path", &[JSONB, TEXTS], JSONB, |a| path(a, false)),
    function("jsonb_extract_path_text", &[JSONB, TEXT], TEXT, |a| path(a, true)).optional(1).variadic(),
    function("jsonb_extract_path_text", &[JSONB, TEXTS], TEXT, |a| path(a, true)),
    function("jsonb_insert", &[JSONB, TEXTS, JSONB, BOOL], JSONB, jsonb_insert).optional(1),
    function("jsonb_pretty", &[JSONB], TEXT, jsonb_pretty),
    function("jsonb_set", &[JSONB, TEXTS, JSONB, BOOL], JSONB, jsonb_set).optional(1),
    function("jsonb_strip_nulls", &[JSONB], JSONB, |a| jsonb(stripped(document(a, 0)?))),
    function("jsonb_typeof", &[JSONB], TEXT, type_of),
    function("to_json", &[ANYELEMENT], JSON, |a| Ok(a.value(0).map(|own| Value::Json(json_text(Some(own)))))),
    function("to_jsonb", &[ANYELEMENT], JSONB, |a| jsonb(to_document(a.value(0))?)),
];

/// An argument as a document.
fn document(a: &Arguments<'_>, at: usize) -> Result<Json, SqlError> {
    parse_json(&a.text(at))
}

fn jsonb(document: Json) -> Result<Datum, SqlError> {
    let text = document.to_text();
    check_value_bytes(text.len())?;
    Ok(Some(Value::Jsonb(text)))
}

/// The texts of an array; NULL is none.
fn keys<'a>(a: &Arguments<'a>, at: usize) -> Vec<&'a str> {
    let text = |item: &'a Datum| match item {
        Some(Value::Text(text)) => Some(text.as_str()),
        _ => None,
    };
    match a.value(at) {
        Some(Value::Array(array)) => array.items.iter().filter_map(text).collect(),
        _ => Vec::new(),
    }
}

fn jsonb_concat(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    jsonb(document(a, 0)?.concat(document(a, 1)?))
}

fn exists(a: &Arguments<'_>, all: bool) -> Result<Datum, SqlError> {
    let (document, keys) = (document(a, 0)?, keys(a, 1));
    let mut keys = keys.iter();
    boolean(if all { keys.all(|key| document.has(key)) } else { keys.any(|key| document.has(key)) })
}

/// The kind of a document. The text begins with it, behind spaces.
fn kind(text: &str) -> &'static str {
    match text.trim_start().as_bytes().first() {
        Some(b'{') => "object",
        Some(b'[') => "array",
        Some(b'"') => "string",
        Some(b't' | b'f') => "boolean",
        Some(b'n') => "null",
        _ => "number",
    }
}

fn type_of(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    text(kind(&a.text(0)))
}

fn array_length(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    let document = a.text(0);
    let failed = |what: &str| {
        SqlError::new(sqlstate::INVALID_PARAMETER, format!("cannot get array length of a {what}"))
    };
    match kind(&document) {
        "array" => {
            let mut parts = Vec::new();
            raw_parts(&document, &mut parts)?;
            count(parts.len())
        }
        "object" => Err(failed("non-array")),
        _ => Err(failed("scalar")),
    }
}

/// The steps of a path: an array, or all arguments behind the first.
fn steps(a: &Arguments<'_>) -> Option<Vec<String>> {
    match a.value(1) {
        Some(Value::Array(array)) => {
            array.items.iter().map(|item| item.as_ref().map(Value::to_string_text)).collect()
        }
        _ => (1..a.values.len()).map(|at| a.optional_text(at).map(String::from)).collect(),
    }
}

fn path(a: &Arguments<'_>, plain: bool) -> Result<Datum, SqlError> {
    let Some(steps) = steps(a) else { return Ok(None) };
    let steps: Vec<&str> = steps.iter().map(String::as_str).collect();
    let document = document(a, 0)?;
    match document.at_path(&steps) {
        Some(found) if plain => Ok(found.to_plain().map(Value::Text)),
        Some(found) => jsonb(found.clone()),
        None => Ok(None),
    }
}

fn raw_path(a: &Arguments<'_>, plain: bool) -> Result<Datum, SqlError> {
    let Some(steps) = steps(a) else { return Ok(None) };
    let document = a.text(0);
    let mut part: &str = &document;
    for step in &steps {
        let key = match kind(part) {
            "array" => match step.trim().parse() {
                Ok(at) => JsonKey::Element(at),
                Err(_) => return Ok(None),
            },
            _ => JsonKey::Member(step),
        };
        match raw_member(part, key)? {
            Some(inner) => part = inner,
            None => return Ok(None),
        }
    }
    match plain {
        true => Ok(json_plain_text(part.trim())?.map(Value::Text)),
        false => Ok(Some(Value::Json(part.to_string()))),
    }
}

fn edited(a: &Arguments<'_>, edit: JsonEdit) -> Result<Datum, SqlError> {
    if let Some(Value::Array(array)) = a.value(1)
        && let Some(at) = array.items.iter().position(Option::is_none)
    {
        let text = format!("path element at position {} is null", at + 1);
        return Err(SqlError::new(sqlstate::NULL_NOT_ALLOWED, text));
    }
    jsonb(document(a, 0)?.edited(&keys(a, 1), &edit)?)
}

fn jsonb_set(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    edited(a, JsonEdit::Set { value: document(a, 2)?, create: a.values.len() < 4 || a.is_true(3) })
}

fn jsonb_insert(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    edited(a, JsonEdit::Insert { value: document(a, 2)?, after: a.is_true(3) })
}

/// Without members of objects that are null.
fn stripped(document: Json) -> Json {
    match document {
        Json::Array(items) => Json::Array(items.into_iter().map(stripped).collect()),
        Json::Object(entries) => {
            let kept = entries.into_iter().filter(|(_, value)| *value != Json::Null);
            Json::Object(kept.map(|(key, value)| (key, stripped(value))).collect())
        }
        scalar => scalar,
    }
}

fn json_strip_nulls(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    let mut out = String::new();
    strip_raw(a.text(0).trim(), &mut out)?;
    Ok(Some(Value::Json(out)))
}

/// As [`stripped`], of json: without spaces, and in the order that it was written in.
fn strip_raw(part: &str, out: &mut String) -> Result<(), SqlError> {
    let mut parts = Vec::new();
    let is_object = raw_parts(part, &mut parts)?;
    if !matches!(kind(part), "object" | "array") {
        out.push_str(part);
        return Ok(());
    }
    out.push(if is_object { '{' } else { '[' });
    let mut first = true;
    for (name, value) in parts {
        if is_object && value == "null" {
            continue;
        }
        if !std::mem::take(&mut first) {
            out.push(',');
        }
        if let Some(name) = name {
            write_json_string(&name, out);
            out.push(':');
        }
        strip_raw(value, out)?;
    }
    out.push(if is_object { '}' } else { ']' });
    Ok(())
}

fn jsonb_pretty(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    let mut out = String::new();
    pretty(&document(a, 0)?, 0, &mut out)?;
    text(out)
}

fn pretty(document: &Json, level: usize, out: &mut String) -> Result<(), SqlError> {
    let line = |level: usize, out: &mut String| {
        out.push('\n');
        out.push_str(&"    ".repeat(level));
    };
    check_value_bytes(out.len())?;
    match document {
        Json::Array(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                out.push_str(if at > 0 { "," } else { "" });
                line(level + 1, out);
                pretty(item, level + 1, out)?;
            }
            line(level, out);
            out.push(']');
        }
        Json::Object(entries) => {
            out.push('{');
            for (at, (key, value)) in entries.iter().enumerate() {
                out.push_str(if at > 0 { "," } else { "" });
                line(level + 1, out);
                write_json_string(key, out);
                out.push_str(": ");
                pretty(value, level + 1, out)?;
            }
            line(level, out);
            out.push('}');
        }
        scalar => out.push_str(&scalar.to_text()),
    }
    Ok(())
}

/// 22023 if the arguments are no pairs of keys and values, 22004 if a key is NULL.
fn pairs<'a>(a: &Arguments<'a>, name: &str) -> Result<Vec<(String, Option<&'a Value>)>, SqlError> {
    if !a.values.len().is_multiple_of(2) {
        let text = "argument list must have even number of elements";
        return Err(SqlError::new(sqlstate::INVALID_PARAMETER, text)
            .hint(format!("The arguments of {name}() must consist of alternating keys and values.")));
    }
    let pair = |at: usize| match a.value(at) {
        Some(key) => Ok((key_text(key)?, a.value(at + 1))),
        None if name.starts_with("jsonb") => {
            let text = format!("argument {}: key must not be null", at + 1);
            Err(SqlError::new(sqlstate::INVALID_PARAMETER, text))
        }
        None => {
            let text = format!("argument {} cannot be null", at + 1);
            Err(SqlError::new(sqlstate::INVALID_PARAMETER, text).hint("Object keys should be text."))
        }
    };
    (0..a.values.len()).step_by(2).map(pair).collect()
}

/// 22023 if the value cannot be the key of an object.
pub(super) fn key_text(key: &Value) -> Result<String, SqlError> {
    match key {
        Value::Array(_) | Value::Json(_) | Value::Jsonb(_) => {
            let text = "key value must be scalar, not array, composite, or json";
            Err(SqlError::new(sqlstate::INVALID_PARAMETER, text))
        }
        Value::Bool(value) => Ok(value.to_string()),
        key => Ok(key.to_string_text()),
    }
}

fn jsonb_build_object(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    let pairs = pairs(a, "jsonb_build_object")?;
    let entries = pairs.into_iter().map(|(key, value)| Ok((key, to_document(value)?)));
    jsonb(Json::object(entries.collect::<Result<_, SqlError>>()?))
}

fn jsonb_build_array(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    let items = (0..a.values.len()).map(|at| to_document(a.value(at)));
    jsonb(Json::Array(items.collect::<Result<_, _>>()?))
}

fn json_build_object(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    let member = |(key, value): (String, Option<&Value>)| {
        let mut out = String::new();
        write_json_string(&key, &mut out);
        out + " : " + &json_text(value)
    };
    let members: Vec<String> = pairs(a, "json_build_object")?.into_iter().map(member).collect();
    let text = format!("{{{}}}", members.join(", "));
    check_value_bytes(text.len())?;
    Ok(Some(Value::Json(text)))
}

fn json_build_array(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    let items: Vec<String> = (0..a.values.len()).map(|at| json_text(a.value(at))).collect();
    let text = format!("[{}]", items.join(", "));
    check_value_bytes(text.len())?;
    Ok(Some(Value::Json(text)))
}
