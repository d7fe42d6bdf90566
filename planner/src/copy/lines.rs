//! Lines out of pieces of bytes.

use crate::error::{SqlError, sqlstate};

/// Bytes of a line at most: a row's limit with room for escapes.
const LINE_BYTES_MAX: usize = 8 << 20;

/// How a newline can be part of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Quoting {
    /// text: never (it is written `\n`).
    None,
    /// csv: inside of quotes. With an escape other than the quote, an escaped character counts for nothing.
    Quoted { quote: u8, escape: u8 },
}

/// Collects bytes and gives whole lines, without their ends (`\n` or `\r\n`).
#[derive(Debug)]
pub(super) struct Lines {
    quoting: Quoting,
    buffer: Vec<u8>,
    /// Where the current line begins, and how far it was looked at.
    start: usize,
    seen: usize,
    quoted: bool,
}

impl Lines {
    pub(super) fn new(quoting: Quoting) -> Lines {
        Lines { quoting, buffer: Vec::new(), start: 0, seen: 0, quoted: false }
    }

    /// Adds bytes.
    pub(super) fn push(&mut self, data: &[u8]) {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.seen -= self.start;
            self.start = 0;
        }
        self.buffer.extend_from_slice(data);
    }

    /// The next whole line.
    pub(super) fn next(&mut self) -> Result<Option<Vec<u8>>, SqlError> {
        while self.seen < self.buffer.len() {
            let byte = self.buffer[self.seen];
            match self.quoting {
                Quoting::Quoted { quote, escape } => {
                    if self.quoted && byte == escape && escape != quote {
                        if self.seen + 1 >= self.buffer.len() {
                            return Ok(None);
                        }
                        self.seen += 1;
                    } else if byte == quote {
                        self.quoted = !self.quoted;
                    }
                }
                Quoting::None => {}
            }
            if byte == b'\n' && !self.quoted {
                let mut line = self.buffer[self.start..self.seen].to_vec();
                if line.last() == Some(&b'\r') {
                    line.pop();
                }
                self.seen += 1;
                self.start = self.seen;
                return Ok(Some(line));
            }
            self.seen += 1;
        }
        if self.buffer.len() - self.start > LINE_BYTES_MAX {
            return Err(SqlError::new(
                sqlstate::LIMIT_EXCEEDED,
                format!("a line of COPY data is longer than {LINE_BYTES_MAX} bytes"),
            ));
        }
        Ok(None)
    }

    /// The last line, if it has no end. 22P04 if a quote is open.
    pub(super) fn finish(&mut self) -> Result<Option<Vec<u8>>, SqlError> {
        if self.quoted {
            return Err(SqlError::new(sqlstate::BAD_COPY, "unterminated CSV quoted field"));
        }
        let line = self.buffer.split_off(self.start);
        Ok((!line.is_empty()).then_some(line))
    }
}
