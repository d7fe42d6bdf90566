//! From text to our own tree: caps, the rewrites that sqlparser needs, parsing, conversion.
//!
//! sqlparser knows neither UPSERT nor SPLIT AT VALUES, so both are handled on its tokens: `UPSERT INTO` becomes
//! `INSERT INTO` and is remembered, and the token tail from SPLIT on is cut off and parsed as expressions of its
//! own. PREPARE keeps its statement's text, so that it is planned like any other. Statements that are deep or
//! long are parsed on a thread with a large stack; the parser's tree never leaves this module.

mod statement;
mod write;
mod create_table;
mod copy;
mod query;
mod expression;
mod data_type;
mod converter;
mod split;

pub use split::StatementText;
pub(crate) use split::split;

use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};

use crate::error::{SqlError, sqlstate};
use crate::statement::{Statement, Syntax};
use converter::Converter;

/// Stack of the thread for heavy statements. Nothing of it is touched unless needed.
const HEAVY_STACK_BYTES: usize = 256 << 20;

/// Parses one statement.
pub(crate) fn parse(sql: &str) -> Result<Statement, SqlError> {
    on_stack(sql, parse_here)
}

/// Parses one expression (a column's default, as the schema keeps it).
pub(crate) fn parse_expression(sql: &str) -> Result<Syntax, SqlError> {
    on_stack(sql, |sql| {
        let converter = Converter { text: sql };
        let tokens = tokenize(&converter)?;
        let mut parser = Parser::new(&PostgreSqlDialect {}).with_tokens_with_locations(tokens);
        let expr = parser.parse_expr().map_err(|e| converter.syntax_error(&e))?;
        converter.expr(expr)
    })
}

/// Checks the caps, then runs `parse` where it has stack enough.
fn on_stack<T: Send>(
    sql: &str,
    parse: impl FnOnce(&str) -> Result<T, SqlError> + Send,
) -> Result<T, SqlError> {
    let pieces = split::pieces(sql)?;
    if pieces.iter().filter(|piece| !piece.empty).count() > 1 {
        return Err(SqlError::new(
            sqlstate::SYNTAX,
            "cannot insert multiple commands into a prepared statement",
        ));
    }
    let piece = pieces.iter().find(|piece| !piece.empty);
    let sql = piece.map_or("", |piece| &sql[..piece.end]);
    if !piece.is_some_and(|piece| piece.heavy) {
        return parse(sql);
    }
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .name("parse".into())
            .stack_size(HEAVY_STACK_BYTES)
            .spawn_scoped(scope, || parse(sql))
            .map_err(|error| {
                SqlError::new(sqlstate::OUT_OF_MEMORY, format!("no thread to parse on: {error}"))
            })?
            .join()
            .unwrap_or_else(|_| Err(SqlError::internal("the parser failed")))
    })
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

fn parse_here(sql: &str) -> Result<Statement, SqlError> {
    let converter = Converter { text: sql };
    let mut tokens = tokenize(&converter)?;
    if tokens.iter().all(|token| matches!(token.token, Token::EOF | Token::SemiColon)) {
        return Ok(Statement::Empty);
    }
    if let Some(noise) = noise(&tokens) {
        return Ok(noise);
    }
    if let Some(prepare) = prepare(&converter, &tokens)? {
        return Ok(prepare);
    }
    let upsert = rewrite_upsert(&mut tokens);
    let splits = cut_splits(&converter, &mut tokens)?;
    let mut parser = Parser::new(&PostgreSqlDialect {}).with_tokens_with_locations(tokens);
    let statement = parser.parse_statement().map_err(|e| converter.syntax_error(&e))?;
    let rest = parser.peek_token();
    if rest.token != Token::EOF && rest.token != Token::SemiColon {
        return Err(converter.near(&rest));
    }
    converter.statement(statement, upsert, splits)
}

fn word(token: &TokenWithSpan) -> Option<&str> {
    match &token.token {
        Token::Word(word) if word.quote_style.is_none() => Some(&word.value),
        _ => None,
    }
}

fn is(token: Option<&TokenWithSpan>, keyword: &str) -> bool {
    token.and_then(word).is_some_and(|word| word.eq_ignore_ascii_case(keyword))
}

/// Statements that are accepted without effect and that the parser may not know in all their forms.
fn noise(tokens: &[TokenWithSpan]) -> Option<Statement> {
    let first = tokens.first().and_then(word)?.to_ascii_uppercase();
    Some(Statement::NoEffect(match first.as_str() {
        "VACUUM" => "VACUUM",
        "ANALYZE" => "ANALYZE",
        "CHECKPOINT" => "CHECKPOINT",
        "UNLISTEN" => "UNLISTEN",
        "CLOSE" => "CLOSE CURSOR ALL",
        _ => return None,
    }))
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
