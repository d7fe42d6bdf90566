//! COPY, in all its forms.

use sqlparser::parser::Parser;
use sqlparser::tokenizer::{Token, TokenWithSpan};

use super::converter::Converter;
use super::words::{Words, is};
use crate::error::{SqlError, sqlstate};
use crate::statement::{Copy, CopyColumns, CopyFormat, CopyHeader, CopyOptions, CopySource, Name, Statement};

/// COPY; `None` if the statement is another one.
pub(super) fn copy(
    converter: &Converter<'_>,
    tokens: &[TokenWithSpan],
) -> Result<Option<Statement>, SqlError> {
    if !is(tokens.first(), "copy") {
        return Ok(None);
    }
    let mut words = Words { converter, tokens, at: 1 };
    let mut options = Options { given: Vec::new(), options: CopyOptions::default() };
    if is(words.peek(), "binary") && !matches!(tokens.get(2).map(|next| &next.token), Some(Token::Period)) {
        words.at += 1;
        options.set(&words, "format")?;
        options.options.format = CopyFormat::Binary;
    }
    let source = source(&mut words)?;
    let is_query = matches!(source, CopySource::Query(_));
    let from = !is_query && words.take("from");
    if !from {
        words.expect("to")?;
    }
    if !words.take("stdin") && !words.take("stdout") {
        if words.text().is_none() && !words.take("program") {
            return words.wrong();
        }
        return Err(SqlError::unsupported("COPY with a file or program of the server")
            .hint("Use COPY .. FROM STDIN / TO STDOUT, or psql's \\copy."));
    }
    if words.take("using") {
        words.expect("delimiters")?;
        options.delimiter(&mut words)?;
    } else if words.take("delimiters") {
        options.delimiter(&mut words)?;
    }
    let _ = words.take("with");
    if words.take_token(&Token::LParen) {
        options.list(&mut words)?;
    } else {
        options.old(&mut words)?;
    }
    let at = words.position();
    let filter = match words.take("where") {
        false => None,
        true if !from => {
            let error = SqlError::new(sqlstate::SYNTAX, "WHERE clause not allowed with COPY TO");
            return Err(error.at_if_known(at));
        }
        true => {
            let mut parser: Parser<'_> = words.parser(tokens.len());
            let parsed = parser.parse_expr().map_err(|e| converter.syntax_error(&e))?;
            words.end_of(&parser)?;
            words.at = tokens.len();
            Some(converter.expr(parsed)?)
        }
    };
    words.end()?;
    Ok(Some(Statement::Copy(Box::new(Copy { source, from, filter, options: options.options }))))
}

/// The table with its columns, or the query in parentheses.
fn source(words: &mut Words<'_>) -> Result<CopySource, SqlError> {
    if words.take_token(&Token::LParen) {
        let mut depth = 1;
        let mut end = words.at;
        while depth > 0 {
            match words.tokens.get(end).map(|token| &token.token) {
                Some(Token::LParen) => depth += 1,
                Some(Token::RParen) => depth -= 1,
                None => return Err(words.converter.end_of_input()),
                Some(_) => {}
            }
            end += 1;
        }
        if ["insert", "update", "delete"].iter().any(|word| is(words.peek(), word)) {
            return Err(SqlError::unsupported("COPY of the rows that a writing statement returns"));
        }
        let query = words.query(end - 1)?;
        words.expect_token(&Token::RParen)?;
        return Ok(CopySource::Query(query));
    }
    let position = words.position();
    let mut parts = vec![words.name()?];
    while words.take_token(&Token::Period) {
        parts.push(words.name()?);
    }
    let is_list = words.peek().is_some_and(|token| token.token == Token::LParen);
    let columns = if is_list { words.names()? } else { Vec::new() };
    Ok(CopySource::Table { name: Name { parts, position }, columns })
}

/// The options read so far.
struct Options {
    /// Their names.
    given: Vec<&'static str>,
    options: CopyOptions,
}

impl Options {
    /// 42601 if the option was given before.
    fn set(&mut self, words: &Words<'_>, name: &'static str) -> Result<(), SqlError> {
        if self.given.contains(&name) {
            let error = SqlError::new(sqlstate::SYNTAX, "conflicting or redundant options");
            return Err(error.at_if_known(words.position()));
        }
        self.given.push(name);
        Ok(())
    }

    /// The options between parentheses, the first of which has been read.
    fn list(&mut self, words: &mut Words<'_>) -> Result<(), SqlError> {
        loop {
            let position = words.position();
            let name = words.name()?;
            self.one(words, &name).map_err(|error| match error.position {
                None if self.given.last().is_none_or(|given| *given != name) => error.at_if_known(position),
                _ => error,
            })?;
            if words.take_token(&Token::RParen) {
                return Ok(());
            }
            words.expect_token(&Token::Comma)?;
        }
    }

    /// An option of the list.
    fn one(&mut self, words: &mut Words<'_>, name: &str) -> Result<(), SqlError> {
        match name {
            "format" => {
                self.set(words, "format")?;
                self.options.format = format(&value(words, name)?)?;
            }
            "freeze" => {
                // Rows that come in are seen by all at once, frozen or not.
                self.set(words, "freeze")?;
                boolean(words, name)?;
            }
            "delimiter" => {
                self.set(words, "delimiter")?;
                self.options.delimiter = Some(value(words, name)?);
            }
            "null" => {
                self.set(words, "null")?;
                self.options.null = Some(value(words, name)?);
            }
            "header" => {
                self.set(words, "header")?;
                self.options.header = header(words)?;
            }
            "quote" => {
                self.set(words, "quote")?;
                self.options.quote = Some(value(words, name)?);
            }
            "escape" => {
                self.set(words, "escape")?;
                self.options.escape = Some(value(words, name)?);
            }
            "force_quote" => {
                self.set(words, "force_quote")?;
                self.options.force_quote = if words.take_token(&Token::Mul) {
                    CopyColumns::All
                } else {
                    CopyColumns::Some(columns(words, name)?)
                };
            }
            "force_not_null" => {
                self.set(words, "force_not_null")?;
                self.options.force_not_null = CopyColumns::Some(columns(words, name)?);
            }
            "force_null" => {
                self.set(words, "force_null")?;
                self.options.force_null = CopyColumns::Some(columns(words, name)?);
            }
            "encoding" => {
                self.set(words, "encoding")?;
                check_encoding(&value(words, name)?)?;
            }
            other => {
                return Err(SqlError::new(sqlstate::SYNTAX, format!("option \"{other}\" not recognized")));
            }
        }
        Ok(())
    }

    fn delimiter(&mut self, words: &mut Words<'_>) -> Result<(), SqlError> {
        self.set(words, "delimiter")?;
        self.options.delimiter = Some(text(words)?);
        Ok(())
    }

    /// The options as they were written before PostgreSQL 9.0.
    fn old(&mut self, words: &mut Words<'_>) -> Result<(), SqlError> {
        loop {
            if words.take("binary") {
                self.set(words, "format")?;
                self.options.format = CopyFormat::Binary;
            } else if words.take("csv") {
                self.set(words, "format")?;
                self.options.format = CopyFormat::Csv;
            } else if words.take("freeze") {
                self.set(words, "freeze")?;
            } else if words.take("header") {
                self.set(words, "header")?;
                self.options.header = CopyHeader::Yes;
            } else if words.take("delimiter") {
                self.delimiter(words)?;
            } else if words.take("null") {
                self.set(words, "null")?;
                self.options.null = Some(text(words)?);
            } else if words.take("quote") {
                self.set(words, "quote")?;
                self.options.quote = Some(text(words)?);
            } else if words.take("escape") {
                self.set(words, "escape")?;
                self.options.escape = Some(text(words)?);
            } else if words.take("encoding") {
                self.set(words, "encoding")?;
                check_encoding(&text(words)?)?;
            } else if words.take("force") {
                self.force(words)?;
            } else {
                return Ok(());
            }
        }
    }

    fn force(&mut self, words: &mut Words<'_>) -> Result<(), SqlError> {
        if words.take("quote") {
            self.set(words, "force_quote")?;
            self.options.force_quote = if words.take_token(&Token::Mul) {
                CopyColumns::All
            } else {
                CopyColumns::Some(words.names_here()?)
            };
        } else if words.take("not") {
            words.expect("null")?;
            self.set(words, "force_not_null")?;
            self.options.force_not_null = CopyColumns::Some(words.names_here()?);
        } else if words.take("null") {
            self.set(words, "force_null")?;
            self.options.force_null = CopyColumns::Some(words.names_here()?);
        } else {
            return words.wrong();
        }
        Ok(())
    }
}

/// `[AS] 'text'`.
fn text(words: &mut Words<'_>) -> Result<String, SqlError> {
    let _ = words.take("as");
    match words.text() {
        Some(text) => Ok(text),
        None => words.wrong(),
    }
}

/// An option's value: a text, a word or a number. 42601 if there is none.
fn value(words: &mut Words<'_>, name: &str) -> Result<String, SqlError> {
    if let Some(text) = words.text() {
        return Ok(text);
    }
    match words.peek().map(|token| &token.token) {
        Some(Token::Word(_)) => words.name(),
        Some(Token::Number(digits, _)) => {
            let digits = digits.clone();
            words.at += 1;
            Ok(digits)
        }
        Some(Token::Comma | Token::RParen) => {
            Err(SqlError::new(sqlstate::SYNTAX, format!("{name} requires a parameter")))
        }
        _ => words.wrong(),
    }
}

/// An option that is on or off; on without a value.
fn boolean(words: &mut Words<'_>, name: &str) -> Result<bool, SqlError> {
    if matches!(words.peek().map(|token| &token.token), Some(Token::Comma | Token::RParen)) {
        return Ok(true);
    }
    match value(words, name)?.to_lowercase().as_str() {
        "true" | "on" | "1" => Ok(true),
        "false" | "off" | "0" => Ok(false),
        _ => Err(SqlError::new(sqlstate::SYNTAX, format!("{name} requires a Boolean value"))),
    }
}

fn header(words: &mut Words<'_>) -> Result<CopyHeader, SqlError> {
    if is(words.peek(), "match") {
        words.at += 1;
        return Ok(CopyHeader::Match);
    }
    match boolean(words, "header") {
        Ok(true) => Ok(CopyHeader::Yes),
        Ok(false) => Ok(CopyHeader::No),
        Err(_) => Err(SqlError::new(sqlstate::SYNTAX, "header requires a Boolean value or \"match\"")),
    }
}

fn format(name: &str) -> Result<CopyFormat, SqlError> {
    match name {
        "text" => Ok(CopyFormat::Text),
        "csv" => Ok(CopyFormat::Csv),
        "binary" => Ok(CopyFormat::Binary),
        other => {
            Err(SqlError::new(sqlstate::INVALID_PARAMETER, format!("COPY format \"{other}\" not recognized")))
        }
    }
}

/// Names in parentheses. 22023 if there is something else.
fn columns(words: &mut Words<'_>, name: &str) -> Result<Vec<Name>, SqlError> {
    if words.peek().is_none_or(|token| token.token != Token::LParen) {
        let message = format!("argument to option \"{name}\" must be a list of column names");
        return Err(SqlError::new(sqlstate::INVALID_PARAMETER, message));
    }
    words.names()
}

/// Encodings that PostgreSQL knows and this server does not, without their punctuation.
const OTHER_ENCODINGS: &[&str] = &[
    "abc", "alt", "big5", "eucjp", "euccn", "euckr", "euctw", "gb18030", "gbk", "johab", "koi8", "koi8r",
    "koi8u", "mskanji", "shiftjis", "sjis", "sqlascii", "tcvn", "tcvn5712", "uhc", "vscii", "win", "win1250",
    "win1251", "win1252", "win1253", "win1254", "win1255", "win1256", "win1257", "win1258", "win866",
    "win874", "win949",
];

/// 0A000 for an encoding other than UTF8, 22023 if there is none of that name.
fn check_encoding(name: &str) -> Result<(), SqlError> {
    let plain: String = name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_lowercase();
    let is_numbered = |prefix: &str| {
        plain.strip_prefix(prefix).is_some_and(|number| !number.is_empty() && number.len() <= 2)
    };
    if plain == "utf8" || plain == "unicode" {
        Ok(())
    } else if OTHER_ENCODINGS.contains(&plain.as_str()) || is_numbered("latin") || is_numbered("iso8859") {
        Err(SqlError::unsupported("an encoding other than UTF8"))
    } else {
        Err(SqlError::new(
            sqlstate::INVALID_PARAMETER,
            "argument to option \"encoding\" must be a valid encoding name",
        ))
    }
}
