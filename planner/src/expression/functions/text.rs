//! Functions on text.

use super::function::{Arguments, Function, boolean, count, function, text};
use crate::error::{SqlError, sqlstate};
use crate::expression::object_names::quote_ident;
use crate::expression::value_limit::check_value_bytes;
use crate::types::declared::{ANY, BOOL, BPCHAR, BYTEA, INT4, TEXT};
use crate::types::{Datum, Value};

pub(super) const FUNCTIONS: &[Function] = &[
    function("btrim", &[TEXT, TEXT], TEXT, |a| trim(a, |text, set| text.trim_matches(set))).optional(1),
    function("char_length", &[TEXT], INT4, |a| count(a.text(0).chars().count())),
    function("character_length", &[TEXT], INT4, |a| count(a.text(0).chars().count())),
    function("concat", &[ANY], TEXT, concat).variadic().accepts_null(),
    function("initcap", &[TEXT], TEXT, initcap),
    function("left", &[TEXT, INT4], TEXT, left),
    function("length", &[TEXT], INT4, length),
    function("length", &[BYTEA], INT4, length),
    function("lower", &[TEXT], TEXT, |a| text(a.text(0).to_lowercase())),
    function("lpad", &[TEXT, INT4, TEXT], TEXT, |a| pad(a, |text, filling| filling + text)).optional(1),
    function("ltrim", &[TEXT, TEXT], TEXT, |a| trim(a, |text, set| text.trim_start_matches(set))).optional(1),
    function("md5", &[TEXT], TEXT, |_| Err(SqlError::unsupported("md5()"))),
    function("octet_length", &[TEXT], INT4, octet_length),
    function("octet_length", &[BPCHAR], INT4, octet_length),
    function("octet_length", &[BYTEA], INT4, octet_length),
    function("quote_ident", &[TEXT], TEXT, |a| text(quote_ident(&a.text(0)))),
    function("quote_literal", &[TEXT], TEXT, |a| text(format!("'{}'", a.text(0).replace('\'', "''")))),
    function("repeat", &[TEXT, INT4], TEXT, repeat),
    function("replace", &[TEXT, TEXT, TEXT], TEXT, replace),
    function("reverse", &[TEXT], TEXT, |a| text(a.text(0).chars().rev().collect::<String>())),
    function("right", &[TEXT, INT4], TEXT, right),
    function("rpad", &[TEXT, INT4, TEXT], TEXT, |a| pad(a, |text, filling| text.to_string() + &filling))
        .optional(1),
    function("rtrim", &[TEXT, TEXT], TEXT, |a| trim(a, |text, set| text.trim_end_matches(set))).optional(1),
    function("split_part", &[TEXT, TEXT, INT4], TEXT, split_part),
    function("starts_with", &[TEXT, TEXT], BOOL, |a| boolean(a.text(0).starts_with(&*a.text(1)))),
    function("strpos", &[TEXT, TEXT], INT4, strpos),
    function("substr", &[TEXT, INT4, INT4], TEXT, substring).optional(1),
    function("substring", &[TEXT, INT4, INT4], TEXT, substring).optional(1),
    function("upper", &[TEXT], TEXT, |a| text(a.text(0).to_uppercase())),
];

fn trim(a: &Arguments<'_>, cut: for<'t> fn(&'t str, &[char]) -> &'t str) -> Result<Datum, SqlError> {
    let set: Vec<char> = a.optional_text(1).map_or(vec![' '], |set| set.chars().collect());
    text(cut(&a.text(0), &set))
}

fn concat(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    let parts: Vec<_> = (0..a.values.len()).map(|at| a.text(at)).collect();
    check_value_bytes(parts.iter().map(|part| part.len()).sum())?;
    text(parts.concat())
}

fn initcap(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    let mut starts_word = true;
    let convert = |c: char| {
        let converted = if starts_word { c.to_uppercase().next() } else { c.to_lowercase().next() };
        starts_word = !c.is_alphanumeric();
        converted.unwrap_or(c)
    };
    text(a.text(0).chars().map(convert).collect::<String>())
}

fn length(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    match a.value(0) {
        Some(Value::Bytea(bytes)) => count(bytes.len()),
        _ => count(a.text(0).chars().count()),
    }
}

fn octet_length(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    match a.value(0) {
        Some(Value::Bytea(bytes)) => count(bytes.len()),
        _ => count(a.text(0).len()),
    }
}

/// How many of `length` characters left() and right() keep: a negative number says how many go.
fn kept(length: usize, wanted: i64) -> usize {
    let length = length as i64;
    (if wanted < 0 { length + wanted } else { wanted }).clamp(0, length) as usize
}

fn left(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    let whole = a.text(0);
    text(whole.chars().take(kept(whole.chars().count(), a.integer(1))).collect::<String>())
}

fn right(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    let whole = a.text(0);
    let length = whole.chars().count();
    text(whole.chars().skip(length - kept(length, a.integer(1))).collect::<String>())
}

fn pad(a: &Arguments<'_>, join: fn(&str, String) -> String) -> Result<Datum, SqlError> {
    let (whole, width) = (a.text(0), a.integer(1).max(0) as usize);
    check_value_bytes(width)?;
    let fill = a.optional_text(2).unwrap_or(" ".into());
    let length = whole.chars().count();
    if length >= width || fill.is_empty() {
        return text(whole.chars().take(width).collect::<String>());
    }
    text(join(&whole, fill.chars().cycle().take(width - length).collect()))
}

fn repeat(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    let (unit, times) = (a.text(0), a.integer(1).max(0) as usize);
    check_value_bytes(unit.len().saturating_mul(times))?;
    text(unit.repeat(times))
}

fn replace(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    let (whole, old) = (a.text(0), a.text(1));
    if old.is_empty() {
        return text(whole);
    }
    let new = a.text(2);
    if new.len() > old.len() {
        let more = whole.matches(&*old).count().saturating_mul(new.len() - old.len());
        check_value_bytes(whole.len().saturating_add(more))?;
    }
    text(whole.replace(&*old, &new))
}

fn split_part(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    let (whole, separator) = (a.text(0), a.text(1));
    let parts: Vec<&str> = whole.split(&*separator).collect();
    let at = match a.integer(2) {
        0 => return Err(SqlError::new(sqlstate::INVALID_PARAMETER, "field position must not be zero")),
        from_end if from_end < 0 => parts.len() as i64 + from_end,
        from_start => from_start - 1,
    };
    text(usize::try_from(at).ok().and_then(|at| parts.get(at)).copied().unwrap_or(""))
}

fn strpos(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    let whole = a.text(0);
    count(whole.find(&*a.text(1)).map_or(0, |at| whole[..at].chars().count() + 1))
}

fn substring(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    let start = a.integer(1);
    let end = match a.value(2) {
        Some(_) if a.integer(2) < 0 => {
            return Err(SqlError::new("22011", "negative substring length not allowed"));
        }
        Some(_) => start.saturating_add(a.integer(2)),
        None => i64::MAX,
    };
    // Positions count from 1; those before it are allowed, and empty.
    let skipped = usize::try_from(start - 1).unwrap_or(0);
    let taken = usize::try_from(end.saturating_sub(start.max(1))).unwrap_or(0);
    text(a.text(0).chars().skip(skipped).take(taken).collect::<String>())
}
