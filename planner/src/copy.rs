//! COPY.
use bytes::Bytes;

use crate::error::SqlError;

/// A COPY .. FROM STDIN in progress: the client's bytes go in, rows are written in batches while they come.
/// Each row is atomic by itself: on an error, rows of earlier batches stay.
pub struct CopyIn {}

impl CopyIn {
    /// Number of columns (CopyInResponse; the format is always text).
    pub fn columns(&self) -> usize {
        0
    }

    /// Takes a piece of data, cut anywhere. After an error the copy is over: the connection loop skips the
    /// client's further data and reports the error.
    pub async fn push(&mut self, _data: &[u8]) -> Result<(), SqlError> {
        std::future::ready(Err(SqlError::unsupported("COPY"))).await
    }

    /// The client is done (CopyDone): writes what is left and gives the command tag ("COPY 12").
    pub async fn finish(self) -> Result<String, SqlError> {
        std::future::ready(Err(SqlError::unsupported("COPY"))).await
    }
}

/// A COPY .. TO STDOUT in progress.
pub struct CopyOut {}

impl CopyOut {
    /// Number of columns (CopyOutResponse; the format is always text).
    pub fn columns(&self) -> usize {
        0
    }

    /// The next rows, one line with its newline each (one CopyData each); `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Vec<Bytes>>, SqlError> {
        std::future::ready(Err(SqlError::unsupported("COPY"))).await
    }

    /// The command tag after the end ("COPY 12").
    pub fn tag(&self) -> String {
        String::new()
    }
}
