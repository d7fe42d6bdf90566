//! LIKE and regular expressions.

use std::cell::RefCell;
use std::collections::HashMap;

use regex::Regex;

use crate::error::{SqlError, sqlstate};

/// Compiled patterns kept per thread.
const CACHE_MAX: usize = 64;
/// Size of a compiled pattern at most.
const COMPILED_BYTES_MAX: usize = 1 << 20;

thread_local! {
    static COMPILED: RefCell<HashMap<String, Regex>> = RefCell::new(HashMap::new());
}

fn matches(text: &str, pattern: String) -> Result<bool, SqlError> {
    COMPILED.with_borrow_mut(|cache| {
        if let Some(regex) = cache.get(&pattern) {
            return Ok(regex.is_match(text));
        }
        let regex = regex::RegexBuilder::new(&pattern).size_limit(COMPILED_BYTES_MAX).build();
        let regex = regex.map_err(|error| {
            let text = error.to_string();
            let reason = text.lines().last().unwrap_or("").trim_start_matches("error: ").to_string();
            SqlError::new(sqlstate::INVALID_REGEX, format!("invalid regular expression: {reason}"))
        })?;
        let found = regex.is_match(text);
        if cache.len() >= CACHE_MAX {
            cache.clear();
        }
        cache.insert(pattern, regex);
        Ok(found)
    })
}

/// `text ~ pattern`.
pub(super) fn regex(text: &str, pattern: &str, insensitive: bool) -> Result<bool, SqlError> {
    // PostgreSQL's ARE and this engine share what clients use: anchors, classes, groups, alternation.
    matches(text, format!("{}{pattern}", if insensitive { "(?i)" } else { "" }))
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
