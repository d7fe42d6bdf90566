//! From text to our own tree: caps, the rewrites that sqlparser needs, parsing, conversion.
//!
//! sqlparser knows neither UPSERT nor SPLIT AT VALUES, so both are handled on its tokens: `UPSERT INTO` becomes
//! `INSERT INTO` and is remembered, and the token tail from SPLIT on is cut off and parsed as expressions of its
//! own. PREPARE keeps its statement's text, so that it is planned like any other. The parser's tree is made, read and
//! dropped on a stack that fits the text, and never leaves this module.

mod statement;
mod catalog;
mod write;
mod create_table;
mod copy;
mod cursor;
mod query;
mod expression;
mod window;
mod data_type;
mod words;
mod converter;
mod refuse;
mod split;

pub use split::StatementText;
pub(crate) use split::split;

use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};

use crate::depth::{DEPTH_MAX, with_stack};
use crate::error::{SqlError, sqlstate};
use crate::statement::{Statement, Syntax};
use converter::Converter;
use words::{is, table_as_select, word};

/// Frames of code that is not optimized are so many times larger.
const FRAMES: usize = if cfg!(debug_assertions) { 6 } else { 1 };
/// Stack that the parser takes for each level of its recursion, of which it allows 50.
const PARSER_STEP_BYTES: usize = FRAMES * (24 << 10);
/// Stack that its recursion takes at most.
const PARSER_BYTES_MAX: usize = 16 << 20;
/// Stack that reading its tree takes for each level of ours.
const CONVERT_STEP_BYTES: usize = FRAMES * (16 << 10);
/// Stack that dropping its tree takes for each level.
const DROP_STEP_BYTES: usize = 1 << 10;

/// Parses one statement; gives also how many levels its tree has.
pub(crate) fn parse(sql: &str) -> Result<(Statement, u32), SqlError> {
    on_stack(sql, |sql| {
        let converter = Converter::new(sql);
        let statement = parse_here(&converter)?;
        Ok((statement, converter.deepest()))
    })
}

/// 42601 if a statement is none. What this server does not do is no matter here.
pub(crate) fn check_syntax(sql: &str) -> Result<(), SqlError> {
    match parse(sql) {
        Err(error) if error.sqlstate == sqlstate::SYNTAX => Err(error),
        _ => Ok(()),
    }
}

/// Parses one expression (a column's default, as the schema keeps it).
pub(crate) fn parse_expression(sql: &str) -> Result<Syntax, SqlError> {
    on_stack(sql, |sql| {
        let converter = Converter::new(sql);
        let tokens = tokenize(&converter)?;
        let mut parser = Parser::new(&PostgreSqlDialect {}).with_tokens_with_locations(tokens);
        let expr = parser.parse_expr().map_err(|e| converter.syntax_error(&e))?;
        converter.expr(expr)
    })
}

/// Checks the caps, then runs `parse` where it has stack enough.
fn on_stack<T>(sql: &str, parse: impl FnOnce(&str) -> Result<T, SqlError>) -> Result<T, SqlError> {
    let pieces = split::pieces(sql)?;
    if pieces.iter().filter(|piece| !piece.empty).count() > 1 {
        return Err(SqlError::new(
            sqlstate::SYNTAX,
            "cannot insert multiple commands into a prepared statement",
        ));
    }
    let Some(piece) = pieces.iter().find(|piece| !piece.empty) else { return parse("") };
    let levels = piece.depth as usize;
    let stack = (levels * PARSER_STEP_BYTES).min(PARSER_BYTES_MAX)
        + levels.min(DEPTH_MAX as usize) * CONVERT_STEP_BYTES
        + levels * DROP_STEP_BYTES;
    with_stack(stack, || parse(&sql[..piece.end]))
}

fn tokenize(converter: &Converter<'_>) -> Result<Vec<TokenWithSpan>, SqlError> {
    let mut tokens =
        Tokenizer::new(&PostgreSqlDialect {}, converter.text).tokenize_with_location().map_err(|e| {
            let error = SqlError::new(sqlstate::SYNTAX, e.message.clone());
            match converter.position(e.location) {
                Some(position) => error.at(position),
                None => error,
            }
        })?;
    tokens.retain(|token| !matches!(token.token, Token::Whitespace(_)));
    Ok(tokens)
}

fn parse_here(converter: &Converter<'_>) -> Result<Statement, SqlError> {
    let mut tokens = tokenize(converter)?;
    if tokens.iter().all(|token| matches!(token.token, Token::EOF | Token::SemiColon)) {
        return Ok(Statement::Empty);
    }
    if let Some(noise) = noise(converter, &tokens)? {
        return Ok(noise);
    }
    check_numbers(converter, &tokens)?;
    refuse_locks(&tokens)?;
    if let Some(copy) = copy::copy(converter, &tokens)? {
        return Ok(copy);
    }
    if let Some(cursor) = cursor::cursor(converter, &tokens)? {
        return Ok(cursor);
    }
    statement::check_command(converter.text)?;
    table_as_select(&mut tokens);
    if let Some(prepare) = prepare(converter, &tokens)? {
        return Ok(prepare);
    }
    end_select_before_conflict(&mut tokens);
    let upsert = rewrite_upsert(&mut tokens);
    let splits = cut_splits(converter, &mut tokens)?;
    let mut parser = Parser::new(&PostgreSqlDialect {}).with_tokens_with_locations(tokens);
    let statement = parser.parse_statement().map_err(|e| converter.syntax_error(&e))?;
    let rest = parser.peek_token();
    if rest.token != Token::EOF && rest.token != Token::SemiColon {
        return Err(converter.near(&rest));
    }
    converter.statement(statement, upsert, splits)
}

/// Statements that are accepted without effect, and that the parser may not know in all their forms. There is nothing to
/// clean, to count or to write down by hand, and nobody listens.
fn noise(converter: &Converter<'_>, tokens: &[TokenWithSpan]) -> Result<Option<Statement>, SqlError> {
    let Some(first) = tokens.first().and_then(word) else { return Ok(None) };
    let tag = match first.to_ascii_uppercase().as_str() {
        "VACUUM" => "VACUUM",
        "ANALYZE" | "ANALYSE" => "ANALYZE",
        "CHECKPOINT" => "CHECKPOINT",
        "UNLISTEN" => "UNLISTEN",
        _ => return Ok(None),
    };
    let allowed = |token: &Token| match token {
        Token::SemiColon | Token::EOF => true,
        Token::Mul => tag == "UNLISTEN",
        Token::Word(_) | Token::Comma | Token::Period | Token::LParen | Token::RParen => tag != "CHECKPOINT",
        _ => false,
    };
    match tokens[1..].iter().find(|token| !allowed(&token.token)) {
        Some(token) => Err(converter.near(token)),
        None => Ok(Some(Statement::NoEffect(tag))),
    }
}

/// 42601 for a number with a word right behind it, which the parser takes for an alias.
fn check_numbers(converter: &Converter<'_>, tokens: &[TokenWithSpan]) -> Result<(), SqlError> {
    for pair in tokens.windows(2) {
        if let [number, word] = pair
            && let (Token::Number(digits, _), Token::Word(junk)) = (&number.token, &word.token)
            && number.span.end == word.span.start
        {
            let error = SqlError::new(
                sqlstate::SYNTAX,
                format!("trailing junk after numeric literal at or near \"{digits}{}\"", junk.value),
            );
            return Err(error.at_if_known(converter.position(number.span.start)));
        }
    }
    Ok(())
}

/// `PREPARE name [(types)] AS statement`: the statement's text is kept as it is.
fn prepare(converter: &Converter<'_>, tokens: &[TokenWithSpan]) -> Result<Option<Statement>, SqlError> {
    if !is(tokens.first(), "prepare") || is(tokens.get(1), "transaction") {
        return Ok(None);
    }
    let name = match tokens.get(1).map(|token| &token.token) {
        Some(Token::Word(word)) if word.quote_style.is_some() => word.value.clone(),
        Some(Token::Word(word)) => word.value.to_ascii_lowercase(),
        _ => {
            return Err(tokens
                .get(1)
                .map_or_else(|| converter.end_of_input(), |token| converter.near(token)));
        }
    };
    let at = tokens.iter().position(|token| is(Some(token), "as")).ok_or_else(|| converter.end_of_input())?;
    let mut types = Vec::new();
    if at > 2 {
        let mut inner = tokens[2..at].to_vec();
        inner.push(TokenWithSpan::wrap(Token::EOF));
        let mut parser = Parser::new(&PostgreSqlDialect {}).with_tokens_with_locations(inner);
        let parsed = parser
            .expect_token(&Token::LParen)
            .and_then(|_| parser.parse_comma_separated(Parser::parse_data_type))
            .and_then(|types| parser.expect_token(&Token::RParen).map(|_| types))
            .map_err(|e| converter.syntax_error(&e))?;
        for ty in parsed {
            types.push(data_type::data_type(&ty)?);
        }
    }
    let Some(first) = tokens.get(at + 1).filter(|token| token.token != Token::EOF) else {
        return Err(converter.end_of_input());
    };
    let sql = converter.text[converter.byte(first.span.start)..].trim_end_matches(';').to_string();
    Ok(Some(Statement::Prepare { name, types, sql }))
}

/// Turns `UPSERT INTO` into `INSERT INTO`; whether it was there.
fn rewrite_upsert(tokens: &mut [TokenWithSpan]) -> bool {
    // At the start, or behind EXPLAIN and its options.
    let explain = is(tokens.first(), "explain");
    for at in 0..tokens.len() {
        if is(tokens.get(at), "upsert") && is(tokens.get(at + 1), "into") {
            tokens[at].token = Token::make_keyword("INSERT");
            return true;
        }
        if !explain {
            return false;
        }
    }
    false
}

/// Puts `WHERE TRUE` between a SELECT without FROM and ON CONFLICT: the parser takes ON for an alias of its last column.
fn end_select_before_conflict(tokens: &mut Vec<TokenWithSpan>) {
    let first = tokens.first();
    if !is(first, "insert") && !is(first, "upsert") && !is(first, "explain") {
        return;
    }
    let (mut depth, mut bare) = (0_u32, false);
    for at in 0..tokens.len() {
        match &tokens[at].token {
            Token::LParen => depth += 1,
            Token::RParen => depth = depth.saturating_sub(1),
            Token::Word(own) if depth == 0 && own.quote_style.is_none() => {
                match own.value.to_ascii_uppercase().as_str() {
                    "SELECT" => bare = true,
                    "FROM" | "WHERE" | "GROUP" | "HAVING" | "ORDER" | "LIMIT" | "OFFSET" => bare = false,
                    "ON" if bare && is(tokens.get(at + 1), "conflict") => {
                        let clause =
                            ["WHERE", "TRUE"].map(|word| TokenWithSpan::wrap(Token::make_keyword(word)));
                        tokens.splice(at..at, clause);
                        return;
                    }
                    _ => {}
                }
            }
            _ => {}
        }
    }
}

/// What there is in place of row locks.
const LOCKS_HINT: &str = "Read _version and write back with a WHERE on the old values, or use UPDATE with expressions: it \
                          is atomic for its row.";

/// 0A000 for what locks rows, or goes by the row at which a cursor stands.
fn refuse_locks(tokens: &[TokenWithSpan]) -> Result<(), SqlError> {
    for at in 0..tokens.len() {
        let next = |by: usize, word: &str| is(tokens.get(at + by), word);
        if next(0, "where") && next(1, "current") && next(2, "of") {
            return Err(
                SqlError::unsupported("WHERE CURRENT OF a cursor").hint("Name the row by its primary key.")
            );
        }
        let locks = next(1, "update") || next(1, "share") || next(1, "key") && next(2, "share");
        if next(0, "for") && (locks || next(1, "no") && next(2, "key")) {
            return Err(SqlError::unsupported("FOR UPDATE / FOR SHARE").hint(LOCKS_HINT));
        }
    }
    Ok(())
}

/// Cuts `SPLIT AT VALUES ((..), ..)` off the end of CREATE TABLE.
fn cut_splits(
    converter: &Converter<'_>,
    tokens: &mut Vec<TokenWithSpan>,
) -> Result<Vec<Vec<Syntax>>, SqlError> {
    if !is(tokens.first(), "create") {
        return Ok(Vec::new());
    }
    let start = (0..tokens.len()).find(|at| {
        is(tokens.get(*at), "split") && is(tokens.get(at + 1), "at") && is(tokens.get(at + 2), "values")
    });
    let Some(start) = start else { return Ok(Vec::new()) };
    let tail = tokens.split_off(start);
    tokens.push(TokenWithSpan::wrap(Token::EOF));
    let mut parser = Parser::new(&PostgreSqlDialect {}).with_tokens_with_locations(tail[3..].to_vec());
    let rows = parser
        .expect_token(&Token::LParen)
        .and_then(|_| {
            parser.parse_comma_separated(|parser| {
                parser.expect_token(&Token::LParen)?;
                let row = parser.parse_comma_separated(Parser::parse_expr)?;
                parser.expect_token(&Token::RParen)?;
                Ok(row)
            })
        })
        .and_then(|rows| parser.expect_token(&Token::RParen).map(|_| rows))
        .map_err(|e| converter.syntax_error(&e).hint("Write SPLIT AT VALUES (('h'), ('q')).".to_string()))?;
    let rest = parser.peek_token();
    if rest.token != Token::EOF && rest.token != Token::SemiColon {
        return Err(converter.near(&rest));
    }
    rows.into_iter().map(|row| row.into_iter().map(|expr| converter.expr(expr)).collect()).collect()
}
