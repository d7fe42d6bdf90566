//! json and jsonb: documents, and the canonical text of jsonb that PostgreSQL would print.
//!
//! Objects' keys are sorted by length and then by bytes, of duplicates the last one wins, numbers keep their
//! digits (as numeric does: `1.50` stays, `1e2` becomes `100`), and there is one space after `:` and `,`.

use std::cmp::Ordering;

use super::numeric::Numeric;
use crate::error::{SqlError, sqlstate};

/// Nesting at most.
const DEPTH_MAX: usize = 200;

/// A parsed document.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    Number(Numeric),
    String(String),
    Array(Vec<Json>),
    /// Sorted by (length, bytes) of the key, keys unique.
    Object(Vec<(String, Json)>),
}

impl Json {
    /// An object of members in any order, of which the last of each key counts.
    pub(crate) fn object(mut entries: Vec<(String, Json)>) -> Json {
        // A stable sort keeps duplicates in order of appearance.
        entries.sort_by(|a, b| key_order(&a.0, &b.0));
        let mut unique: Vec<(String, Json)> = Vec::with_capacity(entries.len());
        for entry in entries {
            match unique.last_mut() {
                Some(last) if last.0 == entry.0 => *last = entry,
                _ => unique.push(entry),
            }
        }
        Json::Object(unique)
    }

    /// The canonical text.
    pub(crate) fn to_text(&self) -> String {
        let mut out = String::new();
        write(self, &mut out);
        out
    }
}

/// The order of an object's keys.
pub(super) fn key_order(a: &str, b: &str) -> Ordering {
    a.len().cmp(&b.len()).then_with(|| a.as_bytes().cmp(b.as_bytes()))
}

/// Reads a JSON text and gives jsonb's canonical text.
pub(super) fn canonical(text: &str) -> Result<String, SqlError> {
    let mut out = String::with_capacity(text.len());
    write(&parse(text)?, &mut out);
    Ok(out)
}

/// Reads a JSON text.
pub(crate) fn parse(text: &str) -> Result<Json, SqlError> {
    let mut parser = Parser { text, at: 0 };
    let value = parser.value(0)?;
    parser.space();
    if parser.at < text.len() {
        return Err(parser.invalid());
    }
    Ok(value)
}

/// Reads a JSON text from a position on.
pub(super) struct Parser<'a> {
    pub(super) text: &'a str,
    pub(super) at: usize,
}

impl Parser<'_> {
    pub(super) fn invalid(&self) -> SqlError {
        // A word, the rest of a string, or one character.
        let rest = &self.text[self.at..];
        let in_word = |c: &char| c.is_alphanumeric() || *c == '_';
        let token: String = match rest.chars().next() {
            Some('"') => rest.to_string(),
            Some(c) if in_word(&c) => rest.chars().take_while(in_word).collect(),
            first => first.into_iter().collect(),
        };
        SqlError::new(sqlstate::INVALID_TEXT, "invalid input syntax for type json").detail(
            if token.is_empty() {
                "The input string ended unexpectedly.".to_string()
            } else {
                format!("Token \"{token}\" is invalid.")
            },
        )
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    pub(super) fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    pub(super) fn take(&mut self, byte: u8) -> bool {
        self.space();
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    pub(super) fn value(&mut self, depth: usize) -> Result<Json, SqlError> {
        if depth > DEPTH_MAX {
            return Err(SqlError::new(
                sqlstate::TOO_COMPLEX,
                format!("json is nested deeper than {DEPTH_MAX}"),
            ));
        }
        self.space();
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => Ok(Json::String(self.string()?)),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => {
                for (word, value) in
                    [("null", Json::Null), ("true", Json::Bool(true)), ("false", Json::Bool(false))]
                {
                    if self.text[self.at..].starts_with(word) {
                        self.at += word.len();
                        return Ok(value);
                    }
                }
                Err(self.invalid())
            }
        }
    }

    fn object(&mut self, depth: usize) -> Result<Json, SqlError> {
        self.at += 1;
        let mut entries: Vec<(String, Json)> = Vec::new();
        if !self.take(b'}') {
            loop {
                self.space();
                if self.peek() != Some(b'"') {
                    return Err(self.invalid());
                }
                let key = self.string()?;
                if !self.take(b':') {
                    return Err(self.invalid());
                }
                entries.push((key, self.value(depth + 1)?));
                if self.take(b'}') {
                    break;
                }
                if !self.take(b',') {
                    return Err(self.invalid());
                }
            }
        }
        Ok(Json::object(entries))
    }

    fn array(&mut self, depth: usize) -> Result<Json, SqlError> {
        self.at += 1;
        let mut items = Vec::new();
        if !self.take(b']') {
            loop {
                items.push(self.value(depth + 1)?);
                if self.take(b']') {
                    break;
                }
                if !self.take(b',') {
                    return Err(self.invalid());
                }
            }
        }
        Ok(Json::Array(items))
    }

    fn number(&mut self) -> Result<Json, SqlError> {
        let start = self.at;
        let digits = |parser: &mut Self| {
            let from = parser.at;
            while matches!(parser.peek(), Some(b'0'..=b'9')) {
                parser.at += 1;
            }
            parser.at - from
        };
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        let leading_zero = self.peek() == Some(b'0');
        let whole = digits(self);
        let mut valid = whole > 0 && (whole == 1 || !leading_zero);
        if self.peek() == Some(b'.') {
            self.at += 1;
            valid &= digits(self) > 0;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            valid &= digits(self) > 0;
        }
        if !valid {
            self.at = start;
            return Err(self.invalid());
        }
        Ok(Json::Number(Numeric::parse(&self.text[start..self.at])?))
    }

    pub(super) fn string(&mut self) -> Result<String, SqlError> {
        self.at += 1;
        let mut out = String::new();
        loop {
            let rest = &self.text[self.at..];
            let Some(c) = rest.chars().next() else { return Err(self.invalid()) };
            match c {
                '"' => {
                    self.at += 1;
                    return Ok(out);
                }
                '\\' => {
                    self.at += 1;
                    out.push(self.escape()?);
                }
                c if (c as u32) < 0x20 => {
                    return Err(SqlError::new(sqlstate::INVALID_TEXT, "invalid input syntax for type json")
                        .detail(format!("Character with value 0x{:02x} must be escaped.", c as u32)));
                }
                c => {
                    out.push(c);
                    self.at += c.len_utf8();
                }
            }
        }
    }

    fn escape(&mut self) -> Result<char, SqlError> {
        let c = self.peek().ok_or_else(|| self.invalid())?;
        if !c.is_ascii() {
            return Err(self.invalid());
        }
        self.at += 1;
        Ok(match c {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let high = self.hex()?;
                let code = match high {
                    0 => {
                        return Err(SqlError::new("22P05", "unsupported Unicode escape sequence")
                            .detail("\\u0000 cannot be converted to text."));
                    }
                    0xD800..=0xDBFF => {
                        if !self.text[self.at..].starts_with("\\u") {
                            return Err(self.invalid());
                        }
                        self.at += 2;
                        let low = self.hex()?;
                        if !(0xDC00..=0xDFFF).contains(&low) {
                            return Err(self.invalid());
                        }
                        0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00)
                    }
                    code => code,
                };
                char::from_u32(code).ok_or_else(|| self.invalid())?
            }
            _ => return Err(self.invalid()),
        })
    }

    fn hex(&mut self) -> Result<u32, SqlError> {
        let digits = self.text.get(self.at..self.at + 4).ok_or_else(|| self.invalid())?;
        if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(self.invalid());
        }
        self.at += 4;
        u32::from_str_radix(digits, 16).map_err(|_| self.invalid())
    }
}

/// Appends the canonical text.
fn write(json: &Json, out: &mut String) {
    match json {
        Json::Null => out.push_str("null"),
        Json::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Json::Number(value) => out.push_str(&value.to_string()),
        Json::String(value) => write_string(value, out),
        Json::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push_str(", ");
                }
                write(item, out);
            }
            out.push(']');
        }
        Json::Object(entries) => {
            out.push('{');
            for (i, (key, value)) in entries.iter().enumerate() {
                if i > 0 {
                    out.push_str(", ");
                }
                write_string(key, out);
                out.push_str(": ");
                write(value, out);
            }
            out.push('}');
        }
    }
}

/// Appends a string in quotes.
pub(crate) fn write_string(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if (c as u32) < 0x20 => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
}

/// jsonb's order (by kind, then by content), on canonical texts.
pub(super) fn compare(a: &str, b: &str) -> Ordering {
    let is_empty = |json: &Json| matches!(json, Json::Array(items) if items.is_empty());
    match (parse(a), parse(b)) {
        // By itself, though not within another document, an empty array is less than anything else: so is
        // PostgreSQL's order.
        (Ok(a), Ok(b)) if is_empty(&a) != is_empty(&b) => is_empty(&b).cmp(&is_empty(&a)),
        (Ok(a), Ok(b)) => order(&a, &b),
        _ => a.cmp(b),
    }
}

pub(super) fn order(a: &Json, b: &Json) -> Ordering {
    // PostgreSQL: Object > Array > Boolean > Number > String > Null.
    let rank = |json: &Json| match json {
        Json::Null => 0,
        Json::String(_) => 1,
        Json::Number(_) => 2,
        Json::Bool(_) => 3,
        Json::Array(_) => 4,
        Json::Object(_) => 5,
    };
    match (a, b) {
        (Json::Bool(a), Json::Bool(b)) => a.cmp(b),
        (Json::Number(a), Json::Number(b)) => a.cmp(b),
        (Json::String(a), Json::String(b)) => a.as_bytes().cmp(b.as_bytes()),
        (Json::Array(a), Json::Array(b)) => a.len().cmp(&b.len()).then_with(|| {
            a.iter().zip(b).map(|(a, b)| order(a, b)).find(|o| o.is_ne()).unwrap_or(Ordering::Equal)
        }),
        (Json::Object(a), Json::Object(b)) => a.len().cmp(&b.len()).then_with(|| {
            a.iter()
                .zip(b)
                .map(|((ka, va), (kb, vb))| key_order(ka, kb).then_with(|| order(va, vb)))
                .find(|o| o.is_ne())
                .unwrap_or(Ordering::Equal)
        }),
        (a, b) => rank(a).cmp(&rank(b)),
    }
}
