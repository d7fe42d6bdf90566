//! Functions on text.

use super::function::{Arguments, Function, boolean, count, function, text};
use crate::error::{SqlError, sqlstate};
use crate::expression::object_names::quote_ident;
use crate::expression::value_limit::check_value_bytes;
use crate::types::declared::{ANY, ANYELEMENT, BOOL, BPCHAR, INT4, INT8, TEXT};
use crate::types::{Datum, Value};

pub(super) const FUNCTIONS: &[Function] = &[
    function("ascii", &[TEXT], INT4, |a| count(a.text(0).chars().next().map_or(0, |c| c as usize))),
    function("bit_length", &[TEXT], INT4, |a| count(a.text(0).len() * 8)),
    function("btrim", &[TEXT, TEXT], TEXT, |a| trim(a, |text, set| text.trim_matches(set))).optional(1),
    function("char_length", &[TEXT], INT4, |a| count(a.text(0).chars().count())),
    function("character_length", &[TEXT], INT4, |a| count(a.text(0).chars().count())),
    function("chr", &[INT4], TEXT, chr),
    function("concat", &[ANY], TEXT, concat).variadic().accepts_null(),
    function("concat_ws", &[TEXT, ANY], TEXT, concat_ws).optional(1).variadic().accepts_null(),
    function("format", &[TEXT, ANY], TEXT, format).optional(1).variadic().accepts_null(),
    function("initcap", &[TEXT], TEXT, initcap),
    function("left", &[TEXT, INT4], TEXT, left),
    function("length", &[TEXT], INT4, |a| count(a.text(0).chars().count())),
    function("lower", &[TEXT], TEXT, |a| text(a.text(0).chars().map(lower).collect::<String>())),
    function("lpad", &[TEXT, INT4, TEXT], TEXT, |a| pad(a, |text, filling| filling + text)).optional(1),
    function("ltrim", &[TEXT, TEXT], TEXT, |a| trim(a, |text, set| text.trim_start_matches(set))).optional(1),
    function("num_nonnulls", &[ANY], INT4, |a| count(a.values.iter().flatten().count()))
        .variadic()
        .accepts_null(),
    function("num_nulls", &[ANY], INT4, |a| count(a.values.iter().filter(|value| value.is_none()).count()))
        .variadic()
        .accepts_null(),
    function("octet_length", &[TEXT], INT4, |a| count(a.text(0).len())),
    function("octet_length", &[BPCHAR], INT4, |a| count(a.text(0).len())),
    function("overlay", &[TEXT, TEXT, INT4, INT4], TEXT, overlay).optional(1),
    function("quote_ident", &[TEXT], TEXT, |a| text(quote_ident(&a.text(0)))),
    function("quote_literal", &[ANYELEMENT], TEXT, |a| text(quote_literal(&a.text(0)))),
    function("quote_nullable", &[ANYELEMENT], TEXT, quote_nullable).accepts_null(),
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
    function("to_hex", &[INT4], TEXT, |a| text(format!("{:x}", a.integer(0) as i32))),
    function("to_hex", &[INT8], TEXT, |a| text(format!("{:x}", a.integer(0)))),
    function("translate", &[TEXT, TEXT, TEXT], TEXT, translate),
    function("upper", &[TEXT], TEXT, |a| text(a.text(0).chars().map(upper).collect::<String>())),
];

/// A letter becomes one letter, as in PostgreSQL.
fn upper(c: char) -> char {
    let mut letters = c.to_uppercase();
    if letters.len() == 1 { letters.next().unwrap_or(c) } else { c }
}

fn lower(c: char) -> char {
    let mut letters = c.to_lowercase();
    if letters.len() == 1 { letters.next().unwrap_or(c) } else { c }
}

fn trim(a: &Arguments<'_>, cut: for<'t> fn(&'t str, &[char]) -> &'t str) -> Result<Datum, SqlError> {
    let set: Vec<char> = a.optional_text(1).map_or(vec![' '], |set| set.chars().collect());
    text(cut(&a.text(0), &set))
}

fn chr(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    let code = a.integer(0);
    let failed = |why: String| Err(SqlError::new(sqlstate::LIMIT_EXCEEDED, why));
    match u32::try_from(code) {
        Err(_) => Err(SqlError::new(sqlstate::INVALID_PARAMETER, "character number must be positive")),
        Ok(0) => failed("null character not permitted".into()),
        Ok(code) => match char::from_u32(code) {
            Some(c) => text(c),
            None if code > 0x10_FFFF => failed(format!("requested character too large for encoding: {code}")),
            None => failed(format!("requested character not valid for encoding: {code}")),
        },
    }
}

fn concat(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    let parts: Vec<_> = (0..a.values.len()).map(|at| a.text(at)).collect();
    check_value_bytes(parts.iter().map(|part| part.len()).sum())?;
    text(parts.concat())
}

fn concat_ws(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    let Some(separator) = a.optional_text(0) else { return Ok(None) };
    let parts: Vec<_> = (1..a.values.len()).filter_map(|at| a.optional_text(at)).collect();
    let bytes = parts.iter().map(|part| part.len().saturating_add(separator.len())).sum();
    check_value_bytes(bytes)?;
    text(parts.join(&*separator))
}

fn initcap(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    let mut starts_word = true;
    let convert = |c: char| {
        let converted = if starts_word { upper(c) } else { lower(c) };
        starts_word = !c.is_alphanumeric();
        converted
    };
    text(a.text(0).chars().map(convert).collect::<String>())
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
    let fill = a.optional_text(2).unwrap_or(" ".into());
    let length = whole.chars().count();
    if length >= width || fill.is_empty() {
        return text(whole.chars().take(width).collect::<String>());
    }
    check_value_bytes(whole.len().saturating_add((width - length).saturating_mul(4)))?;
    text(join(&whole, fill.chars().cycle().take(width - length).collect()))
}

fn overlay(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    let (whole, new, start) = (a.text(0), a.text(1), a.integer(2));
    let length = if a.values.len() > 3 { a.integer(3) } else { new.chars().count() as i64 };
    if start <= 0 {
        return Err(SqlError::new("22011", "negative substring length not allowed"));
    }
    let skipped = usize::try_from(start.saturating_add(length).saturating_sub(1)).unwrap_or(0);
    let before: String = whole.chars().take(start as usize - 1).collect();
    let behind: String = whole.chars().skip(skipped).collect();
    check_value_bytes(before.len() + new.len() + behind.len())?;
    text(before + &new + &behind)
}

/// A text as a literal; one with backslashes in the form that takes them as escapes.
fn quote_literal(whole: &str) -> String {
    let quoted = whole.replace('\'', "''");
    match quoted.contains('\\') {
        true => format!("E'{}'", quoted.replace('\\', "\\\\")),
        false => format!("'{quoted}'"),
    }
}

fn quote_nullable(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    text(a.optional_text(0).map_or("NULL".into(), |whole| quote_literal(&whole)))
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
    let parts: Vec<&str> = match separator.is_empty() {
        true => vec![&whole],
        false => whole.split(&*separator).collect(),
    };
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

/// Where a part begins and how long it is, from 0, out of a position from 1 and a length (none: to the end). 22011 if it
/// is negative. Positions before 1 are allowed, and empty.
pub(super) fn part(start: i64, length: Option<i64>) -> Result<(usize, usize), SqlError> {
    let end = match length {
        Some(length) if length < 0 => {
            return Err(SqlError::new("22011", "negative substring length not allowed"));
        }
        Some(length) => start.saturating_add(length),
        None => i64::MAX,
    };
    let taken = usize::try_from(end.saturating_sub(start.max(1))).unwrap_or(0);
    Ok((usize::try_from(start - 1).unwrap_or(0), taken))
}

fn substring(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    let (skipped, taken) = part(a.integer(1), a.value(2).map(|_| a.integer(2)))?;
    text(a.text(0).chars().skip(skipped).take(taken).collect::<String>())
}

/// translate(text, from, to): each character of `from` becomes that of `to`; those without one go.
fn translate(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    let (from, to): (Vec<char>, Vec<char>) = (a.text(1).chars().collect(), a.text(2).chars().collect());
    let whole = a.text(0);
    let translated = whole.chars().filter_map(|c| match from.iter().position(|own| *own == c) {
        Some(at) => to.get(at).copied(),
        None => Some(c),
    });
    let translated: String = translated.collect();
    check_value_bytes(translated.len())?;
    text(translated)
}

/// 22023 for what stands behind a percent sign.
fn bad_format(why: String) -> SqlError {
    SqlError::new(sqlstate::INVALID_PARAMETER, why).hint("For a single \"%\" use \"%%\".")
}

fn format(a: &Arguments<'_>) -> Result<Datum, SqlError> {
    let Some(template) = a.optional_text(0) else { return Ok(None) };
    let mut chars = template.chars().peekable();
    let (mut out, mut next) = (String::new(), 1);
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let unterminated = || bad_format("unterminated format() type specifier".into());
        if chars.next_if_eq(&'%').is_some() {
            out.push('%');
            continue;
        }
        // %[position$][-][width]type
        let mut digits = number(&mut chars);
        if let Some(position) = digits
            && chars.next_if_eq(&'$').is_some()
        {
            if position == 0 {
                let text = "format specifies argument 0, but arguments are numbered from 1";
                return Err(SqlError::new(sqlstate::INVALID_PARAMETER, text));
            }
            next = position;
            digits = None;
        }
        let mut left = false;
        while digits.is_none() && chars.next_if_eq(&'-').is_some() {
            left = true;
        }
        let mut width = digits.or_else(|| number(&mut chars)).unwrap_or(0) as i64;
        if chars.next_if_eq(&'*').is_some() {
            width = argument(a, next)?.and_then(Value::as_i64).unwrap_or(0);
            next += 1;
        }
        let kind = chars.next().ok_or_else(unterminated)?;
        if !matches!(kind, 's' | 'I' | 'L') {
            return Err(bad_format(format!("unrecognized format() type specifier \"{kind}\"")));
        }
        let shown = converted(argument(a, next)?, kind)?;
        next += 1;
        let width_wanted = usize::try_from(width.unsigned_abs()).unwrap_or(usize::MAX);
        let missing = width_wanted.saturating_sub(shown.chars().count());
        check_value_bytes(out.len().saturating_add(shown.len()).saturating_add(missing))?;
        let blanks = " ".repeat(missing);
        out += &if left || width < 0 { shown + &blanks } else { blanks + &shown };
    }
    text(out)
}

fn number(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<usize> {
    let mut number = None;
    while let Some(digit) = chars.peek().and_then(|c| c.to_digit(10)) {
        chars.next();
        let so_far: usize = number.unwrap_or(0);
        number = Some(so_far.saturating_mul(10).saturating_add(digit as usize).min(i32::MAX as usize));
    }
    number
}

fn argument<'a>(a: &Arguments<'a>, at: usize) -> Result<Option<&'a Value>, SqlError> {
    if at >= a.values.len() {
        return Err(SqlError::new(sqlstate::INVALID_PARAMETER, "too few arguments for format()"));
    }
    Ok(a.value(at))
}

fn converted(value: Option<&Value>, kind: char) -> Result<String, SqlError> {
    Ok(match (kind, value.map(Value::as_text)) {
        ('I', None) => {
            let text = "null values cannot be formatted as an SQL identifier";
            return Err(SqlError::new(sqlstate::NULL_NOT_ALLOWED, text));
        }
        ('I', Some(name)) => quote_ident(&name),
        ('L', None) => "NULL".into(),
        ('L', Some(whole)) => quote_literal(&whole),
        (_, shown) => shown.map_or(String::new(), |shown| shown.into_owned()),
    })
}
