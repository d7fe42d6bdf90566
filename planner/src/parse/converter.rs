//! What all converters share: the text at hand, its positions and names, and the errors that point into it.

use std::cell::Cell;

use sqlparser::ast::{Ident, ObjectName, ObjectNamePart};
use sqlparser::parser::ParserError;
use sqlparser::tokenizer::{Location, Token, TokenWithSpan};

use crate::depth::{DEPTH_MAX, too_deep};
use crate::error::{SqlError, sqlstate};
use crate::statement::Name;

/// Converts the parser's trees of one text into ours. The text turns the parser's lines and columns into positions.
pub(super) struct Converter<'a> {
    pub(super) text: &'a str,
    /// Levels of our tree above the point at hand.
    depth: Cell<u32>,
    /// The most that it has been.
    deepest: Cell<u32>,
}

impl<'a> Converter<'a> {
    /// For trees of this text.
    pub(super) fn new(text: &'a str) -> Converter<'a> {
        Converter { text, depth: Cell::new(0), deepest: Cell::new(0) }
    }

    /// Converts what stands one level deeper. 54001 if our tree would become too deep. (It takes no stack of its own for
    /// that: an error drops the rest of the parser's tree right here, and only the stack of the whole fits that.)
    pub(super) fn nested<T>(&self, convert: impl FnOnce() -> Result<T, SqlError>) -> Result<T, SqlError> {
        let above = self.depth.get();
        if above == DEPTH_MAX {
            return Err(too_deep());
        }
        self.depth.set(above + 1);
        self.deepest.set(self.deepest.get().max(above + 1));
        let converted = convert();
        self.depth.set(above);
        converted
    }

    /// How many levels the trees of this text have.
    pub(super) fn deepest(&self) -> u32 {
        self.deepest.get()
    }

    /// Converts a tree of so many levels at most, which will stand in the trees of other statements.
    pub(super) fn shallow<T>(
        &self,
        levels: u32,
        convert: impl FnOnce() -> Result<T, SqlError>,
    ) -> Result<T, SqlError> {
        let above = self.depth.get();
        self.depth.set(above.max(DEPTH_MAX.saturating_sub(levels)));
        let converted = convert();
        self.depth.set(above);
        converted
    }

    /// 54001 if a chain of so many links, each of which hangs below the next, is too deep.
    pub(super) fn check_chain(&self, links: usize) -> Result<(), SqlError> {
        if links > (DEPTH_MAX - self.depth.get()) as usize { Err(too_deep()) } else { Ok(()) }
    }

    /// A character position, from 1.
    pub(super) fn position(&self, location: Location) -> Option<u32> {
        if location.line == 0 {
            return None;
        }
        let before = self.text.split_inclusive('\n').take(location.line as usize - 1);
        let chars: usize = before.map(|line| line.chars().count()).sum();
        Some(chars as u32 + location.column as u32)
    }

    /// Where a location is in the text, in bytes.
    pub(super) fn byte(&self, location: Location) -> usize {
        let chars = self.position(location).unwrap_or(1).saturating_sub(1) as usize;
        self.text.char_indices().nth(chars).map_or(self.text.len(), |(at, _)| at)
    }

    /// A name with its position.
    pub(super) fn name(&self, name: &ObjectName) -> Result<Name, SqlError> {
        let mut idents = Vec::with_capacity(name.0.len());
        for part in &name.0 {
            match part {
                ObjectNamePart::Identifier(ident) => idents.push(ident.clone()),
                ObjectNamePart::Function(_) => return Err(SqlError::unsupported("a computed name")),
            }
        }
        Ok(self.idents_name(&idents))
    }

    /// A name with its position, from its parts.
    pub(super) fn idents_name(&self, idents: &[Ident]) -> Name {
        Name {
            parts: idents.iter().map(fold).collect(),
            position: idents.first().and_then(|ident| self.position(ident.span.start)),
        }
    }

    /// 42601 behind the last character.
    pub(super) fn end_of_input(&self) -> SqlError {
        SqlError::new(sqlstate::SYNTAX, "syntax error at end of input")
            .at(self.text.chars().count() as u32 + 1)
    }

    /// PostgreSQL's form of a syntax error, at a token.
    pub(super) fn near(&self, token: &TokenWithSpan) -> SqlError {
        if token.token == Token::EOF {
            return self.end_of_input();
        }
        let error = SqlError::new(sqlstate::SYNTAX, format!("syntax error at or near \"{}\"", token.token));
        error.at_if_known(self.position(token.span.start))
    }

    /// The error of the parser. It tells lines and columns only in its message:
    /// "Expected: .., found: x at Line: 1, Column: 5".
    pub(super) fn syntax_error(&self, error: &ParserError) -> SqlError {
        let text = match error {
            ParserError::ParserError(text) | ParserError::TokenizerError(text) => text.as_str(),
            ParserError::RecursionLimitExceeded => {
                return too_deep();
            }
        };
        let (what, location) = match text.rfind(" at Line: ") {
            Some(at) => (&text[..at], parse_location(&text[at + 10..])),
            None => (text, None),
        };
        let found = what.rfind("found: ").map(|at| &what[at + 7..]);
        let expected = what.split(", found:").next().unwrap_or(what);
        let mut error = match found {
            Some("EOF") => return self.end_of_input().detail(expected),
            Some(found) => SqlError::new(sqlstate::SYNTAX, format!("syntax error at or near \"{found}\"")),
            None => SqlError::new(sqlstate::SYNTAX, format!("syntax error: {what}")),
        };
        if found.is_some() {
            error = error.detail(expected);
        }
        error.at_if_known(location.and_then(|location| self.position(location)))
    }
}

fn parse_location(text: &str) -> Option<Location> {
    let (line, column) = text.split_once(", Column: ")?;
    Some(Location { line: line.trim().parse().ok()?, column: column.trim().parse().ok()? })
}

/// An identifier, folded as PostgreSQL folds it.
pub(super) fn fold(ident: &Ident) -> String {
    if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_lowercase() }
}

/// Is it the word DEFAULT?
pub(super) fn is_default(word: &str) -> bool {
    word.eq_ignore_ascii_case("default")
}
