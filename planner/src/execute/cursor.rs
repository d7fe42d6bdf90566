//! DECLARE, FETCH, MOVE and CLOSE.

use super::read;
use super::run::Run;
use crate::error::{SqlError, sqlstate};
use crate::execution::Execution;
use crate::expression::CursorInfo;
use crate::plan::{DeclarePlan, Scroll};
use crate::result::{RowStream, Rows};
use crate::session::Cursor;
use crate::statement::Direction;
use crate::types::Row;

/// Runs DECLARE: the query begins, and is read when rows are fetched. That of a cursor WITH HOLD is read at once.
pub(super) async fn declare(run: &Run<'_>, plan: &DeclarePlan) -> Result<Execution, SqlError> {
    let session = run.session;
    if !plan.hold && !session.in_block() {
        return Err(SqlError::new(
            sqlstate::NO_ACTIVE_TRANSACTION,
            "DECLARE CURSOR can only be used in transaction blocks",
        ));
    }
    session.check_new_cursor(&plan.name)?;
    let info = CursorInfo {
        name: plan.name.clone(),
        statement: plan.sql.clone(),
        hold: plan.hold,
        binary: plan.binary,
        scrolls: plan.scroll == Scroll::All,
        created: run.env.now,
    };
    let (columns, rows) = (plan.select.columns.clone().into(), read::stream(run, &plan.select).await?);
    let cursor = if plan.hold {
        let scroll = if plan.scroll == Scroll::No { Scroll::No } else { Scroll::All };
        let rows = rows.hold(&run.env.memory).await?;
        match scroll {
            Scroll::No => Cursor::new(info, columns, scroll, RowStream::held(rows), run.env.memory.rows()),
            _ => Cursor::over(info, columns, scroll, rows),
        }
    } else {
        Cursor::new(info, columns, plan.scroll, rows, run.env.memory.rows())
    };
    session.add_cursor(cursor)?;
    Ok(Execution::Done { tag: "DECLARE CURSOR".into() })
}

/// Runs FETCH.
pub(super) async fn fetch(run: &Run<'_>, name: &str, direction: Direction) -> Result<Execution, SqlError> {
    let mut cursor = run.session.take_cursor(name)?;
    let mut rows = run.env.memory.rows();
    let gone = cursor.go(direction, &mut |row: &Row| rows.push(row.clone())).await;
    let (columns, binary) = (cursor.columns.clone(), cursor.info.binary);
    run.session.put_cursor_back(cursor);
    gone?;
    let mut rows = Rows::new(columns, RowStream::held(rows), run.session.text_settings(), "FETCH");
    rows.binary = binary;
    Ok(Execution::Rows(rows))
}

/// Runs MOVE.
pub(super) async fn skip(run: &Run<'_>, name: &str, direction: Direction) -> Result<Execution, SqlError> {
    let mut cursor = run.session.take_cursor(name)?;
    let gone = cursor.go(direction, &mut |_: &Row| Ok(())).await;
    run.session.put_cursor_back(cursor);
    Ok(Execution::Done { tag: format!("MOVE {}", gone?) })
}
