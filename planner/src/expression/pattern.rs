//! LIKE and regular expressions.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use regex::Regex;

use crate::error::{SqlError, sqlstate};

/// Compiled patterns kept per thread.
const CACHE_MAX: usize = 64;
/// Size of a compiled pattern at most.
const COMPILED_BYTES_MAX: usize = 1 << 20;

thread_local! {
    static COMPILED: RefCell<HashMap<String, Rc<Regex>>> = RefCell::new(HashMap::new());
}

/// The options of the functions with regular expressions.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Flags {
    /// All matches, not the first one only.
    pub(super) global: bool,
    insensitive: bool,
    /// Lines count: `.` matches no end of a line, `^` and `$` match at one.
    lines: bool,
    expanded: bool,
    literal: bool,
}

impl Flags {
    /// Reads options. 22023 for one that there is not.
    pub(super) fn parse(text: &str) -> Result<Flags, SqlError> {
        let mut flags = Flags::default();
        for c in text.chars() {
            match c {
                'g' => flags.global = true,
                'i' => flags.insensitive = true,
                'c' => flags.insensitive = false,
                'n' | 'm' => flags.lines = true,
                's' => flags.lines = false,
                'x' => flags.expanded = true,
                't' => flags.expanded = false,
                'q' => flags.literal = true,
                'e' => {}
                'b' | 'p' | 'w' => {
                    return Err(SqlError::unsupported(format!("the regular expression option \"{c}\"")));
                }
                c => {
                    let text = format!("invalid regular expression option: \"{c}\"");
                    return Err(SqlError::new(sqlstate::INVALID_PARAMETER, text));
                }
            }
        }
        Ok(flags)
    }
}

/// A regular expression of PostgreSQL, compiled. 2201B if it is none, 0A000 for what the engine does not have.
pub(super) fn compiled(pattern: &str, flags: Flags) -> Result<Rc<Regex>, SqlError> {
    let body = if flags.literal { regex::escape(pattern) } else { translated(pattern)? };
    let options = [(flags.insensitive, "i"), (flags.lines, "m"), (!flags.lines, "s"), (flags.expanded, "x")];
    let options: String = options.iter().filter(|(on, _)| *on).map(|(_, letter)| *letter).collect();
    cached(format!("(?{options}){body}"))
}

fn cached(pattern: String) -> Result<Rc<Regex>, SqlError> {
    COMPILED.with_borrow_mut(|cache| {
        if let Some(regex) = cache.get(&pattern) {
            return Ok(regex.clone());
        }
        let regex = regex::RegexBuilder::new(&pattern).size_limit(COMPILED_BYTES_MAX).build();
        let regex = regex.map_err(|error| {
            let text = error.to_string();
            let reason = text.lines().last().unwrap_or("").trim_start_matches("error: ").to_string();
            SqlError::new(sqlstate::INVALID_REGEX, format!("invalid regular expression: {reason}"))
        })?;
        if cache.len() >= CACHE_MAX {
            cache.clear();
        }
        let regex = Rc::new(regex);
        cache.insert(pattern, regex.clone());
        Ok(regex)
    })
}

/// PostgreSQL's form of a regular expression in the engine's.
fn translated(pattern: &str) -> Result<String, SqlError> {
    let mut out = String::with_capacity(pattern.len());
    let mut rest = pattern;
    while let Some(c) = rest.chars().next() {
        let tail = &rest[c.len_utf8()..];
        match c {
            '\\' => {
                let (escape, length) = escape(tail)?;
                out.push_str(&escape);
                rest = &tail[length..];
            }
            '[' => {
                let length = bracket(tail, &mut out);
                rest = &tail[length..];
            }
            '(' if ["?=", "?!", "?<=", "?<!"].iter().any(|look| tail.starts_with(look)) => {
                return Err(SqlError::unsupported("look-around in a regular expression"));
            }
            // A brace is one of a repetition only in front of a number.
            '{' if !tail.starts_with(|c: char| c.is_ascii_digit()) => {
                out.push_str("\\{");
                rest = tail;
            }
            c => {
                out.push(c);
                rest = tail;
            }
        }
    }
    Ok(out)
}

/// What stands behind a backslash, in the engine's form, and how many bytes of the text it takes.
fn escape(tail: &str) -> Result<(String, usize), SqlError> {
    let Some(c) = tail.chars().next() else {
        let text = "invalid regular expression: invalid escape \\ sequence";
        return Err(SqlError::new(sqlstate::INVALID_REGEX, text));
    };
    let plain = match c {
        'm' => "\\b{start}",
        'M' => "\\b{end}",
        'y' => "\\b",
        'Y' => "\\B",
        'Z' => "\\z",
        'e' => "\\x1B",
        'b' => "\\x08",
        'B' => "\\\\",
        '1'..='9' => return Err(SqlError::unsupported("a back reference in a regular expression")),
        'u' if tail.get(1..5).is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit())) => {
            return Ok((format!("\\u{{{}}}", &tail[1..5]), 5));
        }
        'A' | 'd' | 'D' | 's' | 'S' | 'w' | 'W' | 'a' | 'f' | 'n' | 'r' | 't' | 'v' | 'x' => {
            return Ok((format!("\\{c}"), 1));
        }
        c => return Ok((regex::escape(&c.to_string()), c.len_utf8())),
    };
    Ok((plain.to_string(), 1))
}

/// Appends a bracket expression in the engine's form; gives how many bytes of the text it takes.
fn bracket(tail: &str, out: &mut String) -> usize {
    out.push('[');
    let mut at = 0;
    if tail.starts_with('^') {
        out.push('^');
        at = 1;
    }
    if tail[at..].starts_with(']') {
        out.push_str("\\]");
        at += 1;
    }
    while let Some(c) = tail[at..].chars().next() {
        let class = tail[at..].starts_with("[:").then(|| tail[at..].find(":]")).flatten();
        if let Some(end) = class {
            out.push_str(&tail[at..at + end + 2]);
            at += end + 2;
            continue;
        }
        at += c.len_utf8();
        match c {
            ']' => {
                out.push(']');
                return at;
            }
            '\\' => {
                let escaped = tail[at..].chars().next().unwrap_or('\\');
                out.extend(['\\', escaped]);
                at += escaped.len_utf8().min(tail.len() - at);
            }
            '[' | '&' | '~' => out.extend(['\\', c]),
            c => out.push(c),
        }
    }
    at
}

fn matches(text: &str, pattern: String) -> Result<bool, SqlError> {
    Ok(cached(pattern)?.is_match(text))
}

/// `text ~ pattern`.
pub(super) fn regex(text: &str, pattern: &str, insensitive: bool) -> Result<bool, SqlError> {
    let flags = Flags { insensitive, ..Flags::default() };
    Ok(compiled(pattern, flags)?.is_match(text))
}

/// `text LIKE pattern`.
pub(super) fn like(
    text: &str,
    pattern: &str,
    escape: Option<char>,
    insensitive: bool,
) -> Result<bool, SqlError> {
    let mut regex = String::from(if insensitive { "(?is)^" } else { "(?s)^" });
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        match c {
            c if Some(c) == escape => match chars.next() {
                Some(c) => regex.push_str(&regex::escape(&c.to_string())),
                None => {
                    return Err(SqlError::new("22025", "LIKE pattern must not end with escape character"));
                }
            },
            '%' => regex.push_str(".*"),
            '_' => regex.push('.'),
            c => regex.push_str(&regex::escape(&c.to_string())),
        }
    }
    regex.push('$');
    matches(text, regex)
}
