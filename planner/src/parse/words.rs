//! Statements read token by token, which the parser knows only in part.

use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::{Token, TokenWithSpan};

use super::converter::Converter;
use crate::error::SqlError;
use crate::statement::{Name, Query};

/// The words of a statement, one after the other.
pub(super) struct Words<'a> {
    pub(super) converter: &'a Converter<'a>,
    pub(super) tokens: &'a [TokenWithSpan],
    /// The next token.
    pub(super) at: usize,
}

impl Words<'_> {
    pub(super) fn peek(&self) -> Option<&TokenWithSpan> {
        self.tokens.get(self.at)
    }

    /// Takes a word if it comes next.
    pub(super) fn take(&mut self, word: &str) -> bool {
        let found = is(self.peek(), word);
        self.at += usize::from(found);
        found
    }

    /// 42601 at what comes next.
    pub(super) fn wrong<T>(&self) -> Result<T, SqlError> {
        Err(self.peek().map_or_else(|| self.converter.end_of_input(), |token| self.converter.near(token)))
    }

    pub(super) fn expect(&mut self, word: &str) -> Result<(), SqlError> {
        if self.take(word) { Ok(()) } else { self.wrong() }
    }

    /// A name, folded.
    pub(super) fn name(&mut self) -> Result<String, SqlError> {
        let name = match self.peek().map(|token| &token.token) {
            Some(Token::Word(word)) if word.quote_style.is_some() => word.value.clone(),
            Some(Token::Word(word)) => word.value.to_lowercase(),
            _ => return self.wrong(),
        };
        self.at += 1;
        Ok(name)
    }

    /// A whole number with a sign, if one comes next.
    pub(super) fn number(&mut self) -> Result<Option<i64>, SqlError> {
        let sign = match self.peek().map(|token| &token.token) {
            Some(Token::Minus) => "-",
            Some(Token::Plus) => "+",
            _ => "",
        };
        let at = self.at + sign.len();
        let Some(Token::Number(digits, _)) = self.tokens.get(at).map(|token| &token.token) else {
            return if sign.is_empty() { Ok(None) } else { self.wrong() };
        };
        let number = format!("{sign}{digits}").parse::<i32>();
        match number {
            Ok(number) => {
                self.at = at + 1;
                Ok(Some(i64::from(number)))
            }
            Err(_) => self.wrong(),
        }
    }

    /// Takes a token if it comes next.
    pub(super) fn take_token(&mut self, token: &Token) -> bool {
        let found = self.peek().is_some_and(|next| next.token == *token);
        self.at += usize::from(found);
        found
    }

    /// Takes this token. 42601 if another one comes next.
    pub(super) fn expect_token(&mut self, token: &Token) -> Result<(), SqlError> {
        if self.take_token(token) { Ok(()) } else { self.wrong() }
    }

    /// Takes a string, if one comes next.
    pub(super) fn text(&mut self) -> Option<String> {
        let text = match &self.peek()?.token {
            Token::SingleQuotedString(text) | Token::EscapedStringLiteral(text) => text.clone(),
            Token::DollarQuotedString(text) => text.value.clone(),
            _ => return None,
        };
        self.at += 1;
        Some(text)
    }

    /// Names in parentheses.
    pub(super) fn names(&mut self) -> Result<Vec<Name>, SqlError> {
        self.expect_token(&Token::LParen)?;
        let names = self.names_here()?;
        self.expect_token(&Token::RParen)?;
        Ok(names)
    }

    /// Names between commas.
    pub(super) fn names_here(&mut self) -> Result<Vec<Name>, SqlError> {
        let mut names = Vec::new();
        loop {
            let position = self.position();
            names.push(Name { parts: vec![self.name()?], position });
            if !self.take_token(&Token::Comma) {
                return Ok(names);
            }
        }
    }

    /// Where the next token stands.
    pub(super) fn position(&self) -> Option<u32> {
        self.peek().and_then(|token| self.converter.position(token.span.start))
    }

    /// A parser for the tokens that are left up to `end`.
    pub(super) fn parser(&self, end: usize) -> Parser<'static> {
        let mut tokens = self.tokens[self.at..end].to_vec();
        tokens.push(TokenWithSpan::wrap(Token::EOF));
        table_as_select(&mut tokens);
        Parser::new(&PostgreSqlDialect {}).with_tokens_with_locations(tokens)
    }

    /// Reads the query that stands up to `end`.
    pub(super) fn query(&mut self, end: usize) -> Result<Query, SqlError> {
        let starts = ["select", "values", "table", "with"];
        let begins = self.peek().is_some_and(|token| token.token == Token::LParen)
            || starts.iter().any(|word| is(self.peek(), word));
        if !begins {
            return self.wrong();
        }
        let mut parser = self.parser(end);
        let parsed = parser.parse_query().map_err(|e| self.converter.syntax_error(&e))?;
        self.end_of(&parser)?;
        self.at = end;
        self.converter.query(*parsed)
    }

    /// 42601 if a parser has not read all of its tokens.
    pub(super) fn end_of(&self, parser: &Parser<'_>) -> Result<(), SqlError> {
        let rest = parser.peek_token();
        match rest.token {
            Token::EOF | Token::SemiColon => Ok(()),
            _ => Err(self.converter.near(&rest)),
        }
    }

    /// 42601 if more follows.
    pub(super) fn end(&self) -> Result<(), SqlError> {
        match self.peek().map(|token| &token.token) {
            None | Some(Token::EOF | Token::SemiColon) => Ok(()),
            Some(_) => self.wrong(),
        }
    }
}

/// Turns `TABLE t`, where a query may begin, into `SELECT * FROM t`.
pub(super) fn table_as_select(tokens: &mut Vec<TokenWithSpan>) {
    const BEFORE: [&str; 5] = ["union", "intersect", "except", "all", "distinct"];
    let mut at = 0;
    while at < tokens.len() {
        let begins = match at.checked_sub(1).map(|before| &tokens[before]) {
            None => true,
            Some(before) => before.token == Token::LParen || BEFORE.iter().any(|word| is(Some(before), word)),
        };
        let named = matches!(tokens.get(at + 1).map(|token| &token.token), Some(Token::Word(_)));
        if begins && named && is(tokens.get(at), "table") {
            let [select, from] =
                ["SELECT", "FROM"].map(|word| TokenWithSpan::wrap(Token::make_keyword(word)));
            tokens.splice(at..=at, [select, TokenWithSpan::wrap(Token::Mul), from]);
        }
        at += 1;
    }
}

pub(super) fn word(token: &TokenWithSpan) -> Option<&str> {
    match &token.token {
        Token::Word(word) if word.quote_style.is_none() => Some(&word.value),
        _ => None,
    }
}

pub(super) fn is(token: Option<&TokenWithSpan>, keyword: &str) -> bool {
    token.and_then(word).is_some_and(|word| word.eq_ignore_ascii_case(keyword))
}
