//! Rows on their way to the client: as many as there are, or as a row limit allows.

use tokio::io::{AsyncRead, AsyncWrite};

use crate::cancel::Scope;
use crate::client_stream::{ClientStream, HandlerError};
use crate::message::Formats;
use crate::query::portal::Cursor;

/// How far [`send`] came.
pub(crate) enum Sent {
    /// To the end: so many rows.
    All(u64),
    /// To the row limit.
    Limit,
}

/// Sends rows, all or at most `rows_max`, at the pace at which the client takes them.
pub(crate) async fn send<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut ClientStream<S>,
    cursor: &mut Cursor,
    formats: &Formats,
    rows_max: Option<u32>,
    scope: &Scope,
) -> Result<Sent, HandlerError> {
    let mut sent: u64 = 0;
    loop {
        // Also when these were the last rows: whether more follow is not known yet (as in PostgreSQL).
        if rows_max.is_some_and(|max| u64::from(max) == sent) {
            return Ok(Sent::Limit);
        }
        if let Some(row) = cursor.batch.next() {
            stream.replies().data_row(&row, formats, &cursor.rows.text);
            sent += 1;
            stream.flush_large().await?;
            continue;
        }
        // Rows come from reads, or from writes that are done: a cancel request undoes nothing.
        match stream.attend(scope, false, cursor.rows.rows.next()).await? {
            Some(batch) => cursor.batch = batch.into_iter(),
            None => return Ok(Sent::All(sent)),
        }
    }
}
