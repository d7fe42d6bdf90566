//! DECLARE, FETCH, MOVE and CLOSE, which the parser knows only in part.

use sqlparser::tokenizer::{Token, TokenWithSpan};

use super::converter::Converter;
use super::words::{Words, is};
use crate::error::{SqlError, sqlstate};
use crate::statement::{Declare, Direction, Statement};

/// A statement about a cursor; `None` if it is none.
pub(super) fn cursor(
    converter: &Converter<'_>,
    tokens: &[TokenWithSpan],
) -> Result<Option<Statement>, SqlError> {
    let mut words = Words { converter, tokens, at: 1 };
    let first = tokens.first();
    let statement = if is(first, "declare") {
        return declare(&mut words).map(Some);
    } else if is(first, "close") {
        if words.take("all") { Statement::Close(None) } else { Statement::Close(Some(words.name()?)) }
    } else if is(first, "fetch") || is(first, "move") {
        let direction = direction(&mut words)?;
        let _ = words.take("from") || words.take("in");
        let name = words.name()?;
        if is(first, "fetch") {
            Statement::Fetch { name, direction }
        } else {
            Statement::Move { name, direction }
        }
    } else {
        return Ok(None);
    };
    words.end()?;
    Ok(Some(statement))
}

/// `DECLARE name options CURSOR options FOR query`.
fn declare(words: &mut Words<'_>) -> Result<Statement, SqlError> {
    let name = words.name()?;
    let (mut binary, mut scroll, mut no_scroll, mut hold) = (false, false, false, false);
    loop {
        if words.take("binary") {
            binary = true;
        } else if words.take("scroll") {
            scroll = true;
        } else if words.take("no") {
            words.expect("scroll")?;
            no_scroll = true;
        } else if !words.take("insensitive") && !words.take("asensitive") {
            // A cursor sees its query's rows as they were when it was opened, whatever is said.
            break;
        }
    }
    words.expect("cursor")?;
    if words.take("with") {
        words.expect("hold")?;
        hold = true;
    } else if words.take("without") {
        words.expect("hold")?;
    }
    words.expect("for")?;
    if scroll && no_scroll {
        return Err(SqlError::new(sqlstate::INVALID_CURSOR, "cannot specify both SCROLL and NO SCROLL"));
    }
    let query = words.query(words.tokens.len())?;
    let scroll = match (scroll, no_scroll) {
        (true, _) => Some(true),
        (_, true) => Some(false),
        _ => None,
    };
    let sql = words.converter.text.to_owned();
    Ok(Statement::Declare(Box::new(Declare { name, sql, binary, scroll, hold, query })))
}

/// The direction of FETCH and MOVE, the next row if none is said.
fn direction(words: &mut Words<'_>) -> Result<Direction, SqlError> {
    // A cursor may have the name of a direction: FETCH next; FETCH FROM next.
    let named = |words: &Words<'_>| {
        matches!(
            words.tokens.get(words.at + 1).map(|token| &token.token),
            None | Some(Token::EOF | Token::SemiColon)
        )
    };
    if named(words) {
        return Ok(Direction::Forward(Some(1)));
    }
    let signed = |number: i64| match number {
        0 => Direction::Relative(0),
        number if number > 0 => Direction::Forward(Some(number.unsigned_abs())),
        number => Direction::Backward(Some(number.unsigned_abs())),
    };
    if let Some(number) = words.number()? {
        return Ok(signed(number));
    }
    let some = |words: &mut Words<'_>| match words.number()? {
        Some(number) => Ok(number),
        None => words.wrong(),
    };
    Ok(if words.take("next") {
        Direction::Forward(Some(1))
    } else if words.take("prior") {
        Direction::Backward(Some(1))
    } else if words.take("first") {
        Direction::Absolute(1)
    } else if words.take("last") {
        Direction::Absolute(-1)
    } else if words.take("absolute") {
        Direction::Absolute(some(words)?)
    } else if words.take("relative") {
        Direction::Relative(some(words)?)
    } else if words.take("all") {
        Direction::Forward(None)
    } else if words.take("forward") {
        if words.take("all") { Direction::Forward(None) } else { signed(words.number()?.unwrap_or(1)) }
    } else if words.take("backward") {
        if words.take("all") { Direction::Backward(None) } else { signed(-words.number()?.unwrap_or(1)) }
    } else {
        Direction::Forward(Some(1))
    })
}
