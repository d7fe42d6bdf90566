//! Functions with regular expressions.

use std::rc::Rc;

use regex::{Captures, Regex};

use super::function::{Arguments, Function, boolean, count, function, text};
use crate::error::{SqlError, sqlstate};
use crate::expression::pattern::{self, Flags};
use crate::expression::value_limit::check_value_bytes;
use crate::types::declared::{BOOL, INT4, TEXT, TEXTS};
use crate::types::{Array, Datum, Type, Value};

pub(super) const FUNCTIONS: &[Function] = &[
    function("regexp_count", &[TEXT, TEXT, INT4, TEXT], INT4, regexp_count).optional(2),
    function("regexp_like", &[TEXT, TEXT, TEXT], BOOL, regexp_like).optional(1),
    function("regexp_match", &[TEXT, TEXT, TEXT], TEXTS, regexp_match).optional(1),
    function("regexp_replace", &[TEXT, TEXT, TEXT, TEXT], TEXT, |a| replaced(a, flags(a, 3)?, 1, None))
        .optional(1),
    function("regexp_replace", &[TEXT, TEXT, TEXT, INT4, INT4, TEXT], TEXT, replace_from).optional(2),
    function("regexp_split_to_array", &[TEXT, TEXT, TEXT], TEXTS, regexp_split_to_array).optional(1),
    function("regexp_substr", &[TEXT, TEXT, INT4, INT4, TEXT, INT4], TEXT, regexp_substr).optional(4),
    function("substring", &[TEXT, TEXT], TEXT, substring),
];

fn flags(a: &Arguments<'_>, at: usize) -> Result<Flags, SqlError> {
    a.optional_text(at).map_or(Ok(Flags::default()), |text| Flags::parse(&text))
}

fn regex(a: &Arguments<'_>, flags: Flags) -> Result<Rc<Regex>, SqlError> {
    pattern::compiled(&a.text(1), flags)
}

/// 22023 for an option that a function does not take.
fn no_global(flags: &Flags, name: &str, hint: Option<&'static str>) -> Result<(), SqlError> {
    if !flags.global {
        return Ok(());
    }
    let text = format!("{name}() does not support the \"global\" option");
    let error = SqlError::new(sqlstate::INVALID_PARAMETER, text);
    Err(match hint {
        Some(hint) => error.hint(hint),
        None => error,
    })
}

/// A number that is at least `least`; it was left out for a default of `least`. 22023.
fn at_least(a: &Arguments<'_>, at: usize, least: i64, default: i64, name: &str) -> Result<usize, SqlError> {
    let value = if a.values.len() > at { a.integer(at) } else { default };
    if value < least {
        let text = format!("invalid value for parameter \"{name}\": {value}");
        return Err(SqlError::new(sqlstate::INVALID_PARAMETER, text));
    }
    Ok(value as usize)
}

/// Where the character of a number, from 1, begins.
fn byte_of(text: &str, character: usize) -> Option<usize> {
    let ends = text.char_indices().map(|(at, _)| at).chain(std::iter::once(text.len()));
    ends.into_iter().nth(character - 1)
}

fn regexp_like(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    let flags = flags(a, 2)?;
    no_global(&flags, "regexp_like", None)?;
    boolean(regex(a, flags)?.is_match(&a.text(0)))
}

fn regexp_count(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    let start = at_least(a, 2, 1, 1, "start")?;
    let flags = flags(a, 3)?;
    no_global(&flags, "regexp_count", None)?;
    let whole = a.text(0);
    let Some(start) = byte_of(&whole, start) else { return count(0) };
    count(regex(a, flags)?.find_iter(&whole[start..]).count())
}

/// The groups of a match, or the whole of it if there are none.
fn groups(captures: &Captures<'_>) -> Datum {
    let group = |at: usize| captures.get(at).map(|group| Value::text(group.as_str()));
    let items = match captures.len() {
        1 => vec![group(0)],
        groups => (1..groups).map(group).collect(),
    };
    Some(Value::Array(Array::new(Type::Text, items).into()))
}

fn regexp_match(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    let flags = flags(a, 2)?;
    no_global(&flags, "regexp_match", Some("Use the regexp_matches function instead."))?;
    let whole = a.text(0);
    Ok(regex(a, flags)?.captures(&whole).and_then(|captures| groups(&captures)))
}

/// substring(text from pattern): the first group, or the whole match.
fn substring(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    let whole = a.text(0);
    let Some(captures) = regex(a, Flags::default())?.captures(&whole) else { return Ok(None) };
    let group = usize::from(captures.len() > 1);
    Ok(captures.get(group).map(|found| Value::text(found.as_str())))
}

fn regexp_substr(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    let (start, nth) = (at_least(a, 2, 1, 1, "start")?, at_least(a, 3, 1, 1, "n")?);
    let flags = flags(a, 4)?;
    no_global(&flags, "regexp_substr", None)?;
    let group = at_least(a, 5, 0, 0, "subexpr")?;
    let whole = a.text(0);
    let Some(start) = byte_of(&whole, start) else { return Ok(None) };
    let found = regex(a, flags)?.captures_iter(&whole[start..]).nth(nth - 1);
    Ok(found.and_then(|captures| captures.get(group).map(|found| Value::text(found.as_str()))))
}

/// regexp_replace(text, pattern, replacement, start[, nth[, flags]]): nth is 0 for all.
fn replace_from(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    let start = at_least(a, 3, 1, 1, "start")?;
    let nth = (a.values.len() > 4).then(|| at_least(a, 4, 0, 1, "n")).transpose()?;
    replaced(a, flags(a, 5)?, start, nth)
}

/// Replaces the first match, or all, or one by its number; what stands before `start` is left out of it.
fn replaced(a: &Arguments<'_>, flags: Flags, start: usize, nth: Option<usize>) -> Result<Datum, SqlError> {
    let (whole, replacement) = (a.text(0), a.text(2));
    let wanted = nth.unwrap_or(if flags.global { 0 } else { 1 });
    let regex = regex(a, flags)?;
    let Some(start) = byte_of(&whole, start) else { return text(whole) };
    let mut out = String::from(&whole[..start]);
    let mut done = start;
    for (at, captures) in regex.captures_iter(&whole[start..]).enumerate() {
        if wanted != 0 && at + 1 != wanted {
            continue;
        }
        if at % 1024 == 0 {
            a.env.interrupt.check()?;
        }
        let Some(found) = captures.get(0) else { continue };
        out.push_str(&whole[done..start + found.start()]);
        expand(&replacement, &captures, &mut out);
        check_value_bytes(out.len())?;
        done = start + found.end();
        if wanted != 0 {
            break;
        }
    }
    out.push_str(&whole[done..]);
    check_value_bytes(out.len())?;
    text(out)
}

/// Appends a replacement, in which `\1` stands for a group and `\&` for the match.
fn expand(replacement: &str, captures: &Captures<'_>, out: &mut String) {
    let mut chars = replacement.chars();
    let group = |at: usize| captures.get(at).map_or("", |group| group.as_str());
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('&') => out.push_str(group(0)),
            Some(digit @ '1'..='9') => out.push_str(group(digit as usize - '0' as usize)),
            Some('\\') | None => out.push('\\'),
            Some(other) => out.extend(['\\', other]),
        }
    }
}

fn regexp_split_to_array(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    let flags = flags(a, 2)?;
    no_global(&flags, "regexp_split_to_array", None)?;
    let whole = a.text(0);
    let (mut items, mut start) = (Vec::new(), 0);
    for found in regex(a, flags)?.find_iter(&whole) {
        // An empty match at an end of the text, or right behind another match, separates nothing.
        if found.is_empty() && (found.start() == start || found.start() == whole.len()) {
            continue;
        }
        items.push(Some(Value::text(&whole[start..found.start()])));
        start = found.end();
    }
    items.push(Some(Value::text(&whole[start..])));
    check_value_bytes(items.len().saturating_mul(size_of::<Datum>()))?;
    Ok(Some(Value::Array(Array::new(Type::Text, items).into())))
}
