//! The text of an array of one dimension, `{1,NULL,"a b"}`, taken apart into texts of its elements and put together.

use std::iter::Peekable;
use std::str::Chars;

use crate::error::{SqlError, sqlstate};

/// The texts of the elements; `None` is NULL. 22P02 if it is no array, 0A000 if it has several dimensions.
pub(super) fn split(text: &str) -> Result<Vec<Option<String>>, SqlError> {
    let malformed = |why: &str| {
        SqlError::new(sqlstate::INVALID_TEXT, format!("malformed array literal: \"{text}\"")).detail(why)
    };
    let body = text.trim().strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    let body = body.ok_or_else(|| malformed("Array value must start with \"{\" and end with \"}\"."))?;
    let mut items = Vec::new();
    if body.trim().is_empty() {
        return Ok(items);
    }
    let mut chars = body.chars().peekable();
    loop {
        skip_space(&mut chars);
        let item = if chars.next_if_eq(&'"').is_some() {
            let item = quoted(&mut chars).ok_or_else(|| malformed("Unexpected end of input."))?;
            skip_space(&mut chars);
            Some(item)
        } else {
            let item = unquoted(&mut chars)?.ok_or_else(|| malformed("Unexpected end of input."))?;
            if item.is_empty() {
                return Err(malformed("Unexpected \",\" character."));
            }
            (!item.eq_ignore_ascii_case("null")).then_some(item)
        };
        items.push(item);
        match chars.next() {
            None => return Ok(items),
            Some(',') => {}
            Some(_) => return Err(malformed("Unexpected array element.")),
        }
    }
}

fn skip_space(chars: &mut Peekable<Chars<'_>>) {
    while chars.next_if(|c| c.is_ascii_whitespace()).is_some() {}
}

/// The rest of a quoted element; `None` if its end is missing.
fn quoted(chars: &mut Peekable<Chars<'_>>) -> Option<String> {
    let mut item = String::new();
    loop {
        match chars.next()? {
            '"' => return Some(item),
            '\\' => item.push(chars.next()?),
            c => item.push(c),
        }
    }
}

/// An element up to the next comma, without spaces around it; `None` if it ends in a backslash. 0A000 if there is an array in it.
fn unquoted(chars: &mut Peekable<Chars<'_>>) -> Result<Option<String>, SqlError> {
    let mut item = String::new();
    while let Some(c) = chars.next_if(|c| *c != ',') {
        match c {
            '{' | '}' => return Err(SqlError::unsupported("an array of several dimensions")),
            '\\' => match chars.next() {
                Some(c) => item.push(c),
                None => return Ok(None),
            },
            c => item.push(c),
        }
    }
    item.truncate(item.trim_end().len());
    Ok(Some(item))
}

/// The text of an array with elements of these texts; `None` is NULL.
pub(super) fn join(items: impl Iterator<Item = Option<String>>) -> String {
    let mut out = String::from("{");
    for (at, item) in items.enumerate() {
        if at > 0 {
            out.push(',');
        }
        match item {
            None => out.push_str("NULL"),
            Some(text) if is_plain(&text) => out.push_str(&text),
            Some(text) => {
                out.push('"');
                for c in text.chars() {
                    if c == '"' || c == '\\' {
                        out.push('\\');
                    }
                    out.push(c);
                }
                out.push('"');
            }
        }
    }
    out.push('}');
    out
}

/// Can an element's text stand without quotes?
fn is_plain(text: &str) -> bool {
    !text.is_empty()
        && !text.eq_ignore_ascii_case("null")
        && !text.contains(|c: char| c.is_ascii_whitespace() || "{},\"\\".contains(c))
}
