//! Lines out of pieces of bytes.

use crate::error::{SqlError, sqlstate};

/// Bytes of a line at most: a row's limit with room for escapes.
pub(super) const LINE_BYTES_MAX: usize = 8 << 20;

/// How a newline can be part of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Quoting {
    /// text: behind a backslash.
    Backslash,
    /// csv: inside of quotes. With an escape other than the quote, an escaped quote counts for nothing.
    Quoted { quote: u8, escape: u8 },
}

/// How lines end. The first one decides for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Unknown,
    Newline,
    Return,
    ReturnNewline,
}

/// Collects bytes and gives whole lines, without their ends.
#[derive(Debug)]
pub(super) struct Lines {
    quoting: Quoting,
    buffer: Vec<u8>,
    /// Where the current line begins, and how far it was looked at.
    start: usize,
    seen: usize,
    quoted: bool,
    /// The last byte was an escape inside of quotes.
    escaped: bool,
    ending: Ending,
    /// The number of the last line; lines inside of a quoted value count.
    number: u64,
    /// Ends of lines inside of the current one.
    inside: u64,
    /// `\.` was found: what follows is no data.
    ended: bool,
    /// No more bytes come.
    complete: bool,
}

/// What comes next.
enum Found {
    /// Nothing, until there are more bytes.
    Nothing,
    /// The line ends here, and the next one begins behind so many bytes.
    End { behind: usize },
    /// The data end here.
    EndOfData,
    /// So many bytes of the line.
    Part(usize),
}

impl Lines {
    pub(super) fn new(quoting: Quoting) -> Lines {
        Lines {
            quoting,
            buffer: Vec::new(),
            start: 0,
            seen: 0,
            quoted: false,
            escaped: false,
            ending: Ending::Unknown,
            number: 0,
            inside: 0,
            ended: false,
            complete: false,
        }
    }

    /// Adds bytes.
    pub(super) fn push(&mut self, data: &[u8]) {
        if self.ended {
            return;
        }
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.seen -= self.start;
            self.start = 0;
        }
        self.buffer.extend_from_slice(data);
    }

    /// No more bytes come: the last line needs no end.
    pub(super) fn complete(&mut self) {
        self.complete = true;
    }

    /// The number of the line that was given last, or could not be given.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// The next whole line.
    pub(super) fn next(&mut self) -> Result<Option<Vec<u8>>, SqlError> {
        while !self.ended && self.seen < self.buffer.len() {
            let found = self.look().inspect_err(|_| self.number += 1)?;
            match found {
                Found::Nothing => break,
                Found::Part(bytes) => self.seen += bytes,
                Found::End { behind } => return Ok(Some(self.line(self.seen, behind))),
                Found::EndOfData => {
                    self.ended = true;
                    let is_empty = self.start == self.seen;
                    let line = self.line(self.seen, 0);
                    self.buffer = Vec::new();
                    return Ok((!is_empty).then_some(line));
                }
            }
        }
        if self.ended {
            return Ok(None);
        }
        if self.complete && self.start < self.buffer.len() {
            return Ok(Some(self.line(self.buffer.len(), 0)));
        }
        if self.buffer.len() - self.start > LINE_BYTES_MAX {
            return Err(SqlError::new(
                sqlstate::LIMIT_EXCEEDED,
                format!("a line of COPY data is longer than {LINE_BYTES_MAX} bytes"),
            ));
        }
        Ok(None)
    }

    /// Takes the line up to `end`; the next one begins `behind` bytes later.
    fn line(&mut self, end: usize, behind: usize) -> Vec<u8> {
        let line = self.buffer[self.start..end].to_vec();
        self.number += 1 + self.inside;
        self.inside = 0;
        self.start = end + behind;
        self.seen = self.start;
        line
    }

    /// Looks at the byte at hand, and as many behind it as it takes.
    fn look(&mut self) -> Result<Found, SqlError> {
        let ahead = |by: usize| self.buffer.get(self.seen + by).copied();
        let byte = self.buffer[self.seen];
        let marks = byte == b'\\' && (self.quoting == Quoting::Backslash || self.seen == self.start);
        let is_short = |by: usize| ahead(by).is_none() && !self.complete;
        if (byte == b'\r' || marks) && is_short(1) || marks && ahead(1) == Some(b'.') && is_short(2) {
            return Ok(Found::Nothing);
        }
        let (next, third) = (ahead(1), ahead(2));
        self.quote(byte);
        if self.quoted {
            return Ok(Found::Part(1));
        }
        match byte {
            b'\r' => self.end_at_return(next),
            b'\n' if matches!(self.ending, Ending::Return | Ending::ReturnNewline) => {
                Err(self.bad_end("newline", "\\n"))
            }
            b'\n' => {
                self.ending = Ending::Newline;
                Ok(Found::End { behind: 1 })
            }
            b'\\' if marks && next == Some(b'.') => match third {
                None | Some(b'\n' | b'\r') => Ok(Found::EndOfData),
                Some(_) if self.quoting == Quoting::Backslash => {
                    Err(SqlError::new(sqlstate::BAD_COPY, "end-of-copy marker corrupt"))
                }
                Some(_) => Ok(Found::Part(1)),
            },
            // Whatever stands behind a backslash is data.
            b'\\' if self.quoting == Quoting::Backslash && next.is_some() => Ok(Found::Part(2)),
            _ => Ok(Found::Part(1)),
        }
    }

    /// Keeps account of quotes.
    fn quote(&mut self, byte: u8) {
        let Quoting::Quoted { quote, escape } = self.quoting else { return };
        let escapes = byte == escape && escape != quote;
        if self.quoted && escapes {
            self.escaped = !self.escaped;
        }
        if byte == quote && !self.escaped {
            self.quoted = !self.quoted;
        }
        if !escapes {
            self.escaped = false;
        }
        let end = if self.ending == Ending::Newline { b'\n' } else { b'\r' };
        self.inside += u64::from(self.quoted && byte == end);
    }

    fn end_at_return(&mut self, next: Option<u8>) -> Result<Found, SqlError> {
        match (self.ending, next) {
            (Ending::Unknown | Ending::ReturnNewline, Some(b'\n')) => {
                self.ending = Ending::ReturnNewline;
                Ok(Found::End { behind: 2 })
            }
            (Ending::Unknown | Ending::Return, _) => {
                self.ending = Ending::Return;
                Ok(Found::End { behind: 1 })
            }
            (Ending::Newline | Ending::ReturnNewline, _) => Err(self.bad_end("carriage return", "\\r")),
        }
    }

    /// 22P04 for another end than lines have.
    fn bad_end(&self, what: &str, escape: &str) -> SqlError {
        let (how, hint) = match self.quoting {
            Quoting::Backslash => ("literal", format!("Use \"{escape}\" to represent {what}.")),
            Quoting::Quoted { .. } => ("unquoted", format!("Use quoted CSV field to represent {what}.")),
        };
        SqlError::new(sqlstate::BAD_COPY, format!("{how} {what} found in data")).hint(hint)
    }
}
