//! A light pass over the text before anything parses it: cuts statements apart and enforces the caps.
//!
//! sqlparser limits its own recursion, but it reads chains of operators in a loop, and the tree that it makes of them
//! is as deep as the chain is long. What hangs below one another in a tree has no comma between it in the text, save in
//! parentheses: the tokens between commas, added up along the nesting, bound the depth of every tree, whatever the
//! tokens are. So the stack that the tree needs is known before there is a tree.

use crate::error::{SqlError, sqlstate};

/// Bytes of a statement text at most. A row is at most 1 MiB, which as hex is 2 MiB.
pub(crate) const TEXT_BYTES_MAX: usize = 4 << 20;
/// Commas at most: list items cost the parser some 400 bytes each.
const ITEMS_MAX: usize = 200_000;
/// Tokens without a comma between them at most, added up along the nesting: some 5,000 conditions.
const CHAIN_MAX: u32 = 25_000;
/// Tokens at most: they cost the parser some 100 bytes each.
const TOKENS_MAX: usize = 1_000_000;
/// Open parentheses at most (the parser itself stops at some 48).
const NESTING_MAX: usize = 100;

/// One statement of a simple-protocol text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatementText {
    /// The statement without its semicolon.
    pub sql: String,
    /// Characters of the whole text before it: to be added to an error's position.
    pub offset: u32,
}

/// What the pass found in one statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// Characters before `start`.
    pub(crate) offset: u32,
    /// No token at all: spaces and comments.
    pub(crate) empty: bool,
    /// No tree of it is deeper than so many levels.
    pub(crate) depth: u32,
}

fn too_complex(message: &str, what: &str, limit: usize) -> SqlError {
    SqlError::new(sqlstate::TOO_COMPLEX, message)
        .detail(format!("The statement has more than {limit} {what}."))
        .hint("Pass long lists as one array parameter (= ANY($1)), or use COPY.")
}

fn too_deep(what: &str, limit: usize) -> SqlError {
    too_complex("stack depth limit exceeded", what, limit)
}

/// Cuts a text at its semicolons.
pub(crate) fn pieces(sql: &str) -> Result<Vec<Piece>, SqlError> {
    if sql.len() > TEXT_BYTES_MAX {
        return Err(SqlError::new(sqlstate::LIMIT_EXCEEDED, "statement text is too long")
            .detail(format!("It has {} bytes; the limit is {TEXT_BYTES_MAX}.", sql.len()))
            .hint("Use COPY to load many rows."));
    }
    let bytes = sql.as_bytes();
    let (mut at, mut start, mut counted, mut chars) = (0, 0, 0, 0u32);
    let mut pieces = Vec::new();
    let mut piece = Scan::default();
    while at < bytes.len() {
        if bytes[at] == b';' {
            chars += characters(&bytes[counted..start]);
            counted = start;
            pieces.push(piece.finish(start, at, chars));
            piece = Scan::default();
            at += 1;
            start = at;
        } else {
            at = piece.step(bytes, at)?;
        }
    }
    chars += characters(&bytes[counted..start]);
    pieces.push(piece.finish(start, bytes.len(), chars));
    Ok(pieces)
}

fn characters(bytes: &[u8]) -> u32 {
    bytes.iter().filter(|b| (**b & 0xC0) != 0x80).count() as u32
}

/// Counters over one statement.
#[derive(Default)]
struct Scan {
    tokens: usize,
    items: usize,
    /// Of each open parenthesis, the tokens on the way to it.
    open: Vec<u32>,
    /// Tokens on the way here: since the last comma, and those of the parentheses around.
    here: u32,
    longest: u32,
}

impl Scan {
    fn finish(&self, start: usize, end: usize, offset: u32) -> Piece {
        Piece { start, end, offset, empty: self.tokens == 0, depth: self.longest }
    }

    /// Counts a token.
    fn token(&mut self) -> Result<(), SqlError> {
        self.tokens += 1;
        self.here += 1;
        self.longest = self.longest.max(self.here);
        if self.here > CHAIN_MAX {
            return Err(too_deep("words without a comma between them", CHAIN_MAX as usize));
        }
        if self.tokens > TOKENS_MAX {
            return Err(too_complex("statement too complex", "words", TOKENS_MAX));
        }
        Ok(())
    }

    /// Passes one token; gives where the next begins.
    fn step(&mut self, bytes: &[u8], at: usize) -> Result<usize, SqlError> {
        let next = bytes.get(at + 1).copied();
        match bytes[at] {
            b' ' | b'\t' | b'\n' | b'\r' | 0x0c => return Ok(at + 1),
            b'-' if next == Some(b'-') => return Ok(line_end(bytes, at)),
            b'/' if next == Some(b'*') => return Ok(comment_end(bytes, at)),
            _ => self.token()?,
        }
        match bytes[at] {
            b'\'' => Ok(quoted_end(bytes, at, b'\'', escapes_before(bytes, at))),
            b'"' => Ok(quoted_end(bytes, at, b'"', false)),
            b'$' => Ok(dollar_end(bytes, at)),
            b'(' | b'[' => {
                self.open.push(self.here);
                if self.open.len() > NESTING_MAX {
                    return Err(too_deep("levels of parentheses", NESTING_MAX));
                }
                Ok(at + 1)
            }
            b')' | b']' => {
                self.here = self.open.pop().unwrap_or_default() + 1;
                Ok(at + 1)
            }
            b',' => {
                self.items += 1;
                if self.items > ITEMS_MAX {
                    return Err(too_complex("statement too complex", "list items", ITEMS_MAX));
                }
                self.here = self.open.last().copied().unwrap_or_default();
                Ok(at + 1)
            }
            byte if byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80 => {
                let mut end = at;
                while end < bytes.len() && is_word(bytes[end]) {
                    end += 1;
                }
                Ok(end)
            }
            byte if byte.is_ascii_digit() => {
                let mut end = at;
                while end < bytes.len() && (is_word(bytes[end]) || bytes[end] == b'.') {
                    end += 1;
                }
                Ok(end)
            }
            _ => Ok(at + 1),
        }
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte >= 0x80
}

fn line_end(bytes: &[u8], at: usize) -> usize {
    bytes[at..].iter().position(|b| *b == b'\n').map_or(bytes.len(), |length| at + length + 1)
}

fn comment_end(bytes: &[u8], mut at: usize) -> usize {
    let mut depth = 0;
    while at < bytes.len() {
        match (bytes[at], bytes.get(at + 1)) {
            (b'/', Some(b'*')) => {
                depth += 1;
                at += 2;
            }
            (b'*', Some(b'/')) => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    bytes.len()
}

/// Is the quote at `at` opened by E'..', where a backslash escapes?
fn escapes_before(bytes: &[u8], at: usize) -> bool {
    at > 0 && matches!(bytes[at - 1], b'e' | b'E') && (at < 2 || !is_word(bytes[at - 2]))
}

fn quoted_end(bytes: &[u8], at: usize, quote: u8, escapes: bool) -> usize {
    let mut end = at + 1;
    while end < bytes.len() {
        if escapes && bytes[end] == b'\\' {
            end += 2;
        } else if bytes[end] == quote {
            if bytes.get(end + 1) != Some(&quote) {
                return end + 1;
            }
            end += 2;
        } else {
            end += 1;
        }
    }
    bytes.len()
}

/// `$tag$ .. $tag$`, or a parameter.
fn dollar_end(bytes: &[u8], at: usize) -> usize {
    let mut tag_end = at + 1;
    while tag_end < bytes.len() && is_word(bytes[tag_end]) && bytes[tag_end] != b'$' {
        tag_end += 1;
    }
    let is_tag = bytes.get(tag_end) == Some(&b'$') && !bytes.get(at + 1).is_some_and(u8::is_ascii_digit);
    if !is_tag {
        return tag_end.max(at + 1);
    }
    let tag = &bytes[at..=tag_end];
    let body = tag_end + 1;
    bytes[body..]
        .windows(tag.len())
        .position(|w| w == tag)
        .map_or(bytes.len(), |found| body + found + tag.len())
}

/// The first words of a statement, in upper case: what it is.
pub(super) fn first_words(sql: &str, count: usize) -> Vec<String> {
    let bytes = sql.as_bytes();
    let (mut at, mut words) = (0, Vec::new());
    while at < bytes.len() && words.len() < count {
        match (bytes[at], bytes.get(at + 1)) {
            (b' ' | b'\t' | b'\n' | b'\r' | 0x0c | b'(', _) => at += 1,
            (b'-', Some(b'-')) => at = line_end(bytes, at),
            (b'/', Some(b'*')) => at = comment_end(bytes, at),
            (byte, _) if byte.is_ascii_alphabetic() => {
                let end = (at..bytes.len()).find(|at| !is_word(bytes[*at])).unwrap_or(bytes.len());
                words.push(sql[at..end].to_uppercase());
                at = end;
            }
            _ => break,
        }
    }
    words
}

/// The statements of a text, without empty ones.
pub(crate) fn split(sql: &str) -> Result<Vec<StatementText>, SqlError> {
    let pieces = pieces(sql)?;
    let full = pieces.into_iter().filter(|piece| !piece.empty);
    Ok(full.map(|p| StatementText { sql: sql[p.start..p.end].to_string(), offset: p.offset }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(sql: &str) -> Vec<String> {
        split(sql).unwrap().into_iter().map(|s| s.sql.trim().to_string()).collect()
    }

    #[test]
    fn semicolons_split_only_outside_of_quotes_and_comments() {
        assert_eq!(texts("select 1; select 2;"), ["select 1", "select 2"]);
        assert_eq!(
            texts("select ';', E'\\';', \";\" -- ;\n, $$;$$, $a$;$$;$a$ /* ; /* ; */ ; */; x"),
            ["select ';', E'\\';', \";\" -- ;\n, $$;$$, $a$;$$;$a$ /* ; /* ; */ ; */", "x"]
        );
        assert!(texts("-- ping").is_empty());
        assert!(texts(" ; /* x */ ;; ").is_empty());
    }

    #[test]
    fn offsets_count_characters() {
        let all = split("select 'ä'; select 2").unwrap();
        assert_eq!(all[1].offset, 11);
    }

    #[test]
    fn long_chains_are_refused_before_parsing() {
        for chain in [" +1", " notnull", " or a", "[1]", "::text", " union select 1", " in (true)", "(1)"] {
            let text = format!("select 1{}", chain.repeat(CHAIN_MAX as usize));
            assert_eq!(split(&text).unwrap_err().sqlstate, "54001", "{chain}");
            let short = pieces(&format!("select 1{}", chain.repeat(100))).unwrap();
            assert!((100..=1000).contains(&short[0].depth), "{chain}: {short:?}");
        }
        let logic = format!("select 1 {}", "or a = 1 ".repeat(5000));
        assert!(split(&logic).is_ok());
        let values = format!("insert into t values (-1){}", ", (-1)".repeat(20_000));
        assert!(pieces(&values).unwrap()[0].depth < 12);
        let wide = format!("select {}", "(a, (b".repeat(90) + &"))".repeat(90));
        assert!(split(&wide).is_err_and(|error| error.sqlstate == "54001"));
        assert_eq!(split(&"x".repeat(TEXT_BYTES_MAX + 1)).unwrap_err().sqlstate, "54000");
        let many = format!("select {}1", ("(1) ".repeat(5) + ",").repeat(70_000));
        assert_eq!(split(&many).unwrap_err().sqlstate, "54001");
    }
}
