//! What a client says after startup: one type per message, decoded from a complete frame.
//!
//! pgwire's decoders are not used for this direction: they panic on truncated messages, replace broken UTF-8
//! silently, and copy every string (its encoders for the cold answers are, see [`crate::response`]). Here every
//! read is checked, a string is a slice of the frame, and what is wrong with a message is an ordinary
//! [`SqlError`]: the frame was complete, so the stream is still in step and the session goes on, as in
//! PostgreSQL. Only a broken frame ends a connection, see [`crate::wire`].

use std::ops::Deref;

use bytes::Bytes;
use planner::{SqlError, sqlstate};

/// UTF-8 text inside a frame, without a copy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Text(Bytes);

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        std::str::from_utf8(&self.0).expect("checked when it was decoded")
    }
}

/// Statements and portals live in two name spaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// A prepared statement.
    Statement,
    /// A portal.
    Portal,
}

/// A message of a client that has a session.
#[derive(Debug)]
pub(crate) enum Message {
    /// Simple protocol: run these statements.
    Query(Text),
    /// Prepare a statement.
    Parse {
        /// Its name; empty: the unnamed one, which is replaced silently.
        name: Text,
        /// Its text.
        sql: Text,
        /// Numbers of the parameter types that the client declares; 0: not declared.
        types: Vec<u32>,
    },
    /// Make a portal: a statement with its parameters.
    Bind(Bind),
    /// Tell the parameter and column types.
    Describe(Target, Text),
    /// Drop a statement or portal; no error if there is none.
    Close(Target, Text),
    /// Run a portal, or go on with it.
    Execute {
        /// Its name.
        portal: Text,
        /// At most so many rows; `None`: all.
        rows_max: Option<u32>,
    },
    /// Send now what is ready.
    Flush,
    /// End of a group of extended messages: errors skip up to here.
    Sync,
    /// A piece of COPY FROM STDIN.
    CopyData(Bytes),
    /// The end of COPY FROM STDIN.
    CopyDone,
    /// The client gives its COPY FROM STDIN up, and says why.
    CopyFail(Text),
    /// Goodbye.
    Terminate,
    /// Password family and FunctionCall: not expected in a session.
    Unexpected(u8),
}

/// The formats of parameters or result columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Formats {
    /// The same for all; the number of codes that the client sent (0 and 1 fit any number of values).
    Uniform {
        /// Codes sent.
        count: usize,
        /// Binary, or text.
        binary: bool,
    },
    /// One for each; `true` is binary.
    Each(Box<[bool]>),
}

impl Formats {
    /// Is value `index` binary?
    pub(crate) fn binary(&self, index: usize) -> bool {
        match self {
            Formats::Uniform { binary, .. } => *binary,
            Formats::Each(each) => each.get(index).copied().unwrap_or(false),
        }
    }

    /// The protocol allows no code (all text), one (for all), or one for each.
    pub(crate) fn fit(&self, values: usize) -> bool {
        let count = match self {
            Formats::Uniform { count, .. } => *count,
            Formats::Each(each) => each.len(),
        };
        count <= 1 || count == values
    }

    /// Codes sent, for messages.
    pub(crate) fn count(&self) -> usize {
        match self {
            Formats::Uniform { count, .. } => *count,
            Formats::Each(each) => each.len(),
        }
    }

    fn decode(body: &mut Body) -> Result<Formats, SqlError> {
        let count = usize::from(body.u16()?);
        let codes = body.take(count * 2)?;
        let codes = || codes.chunks_exact(2).map(|code| u16::from_be_bytes([code[0], code[1]]));
        if let Some(other) = codes().find(|code| *code > 1) {
            return Err(SqlError::new(
                sqlstate::INVALID_PARAMETER,
                format!("unsupported format code: {other}"),
            ));
        }
        let first = codes().next().unwrap_or(0);
        // A list that is all alike, as most drivers send it, needs no memory.
        if codes().all(|code| code == first) {
            return Ok(Formats::Uniform { count, binary: first == 1 });
        }
        Ok(Formats::Each(codes().map(|code| code == 1).collect()))
    }
}

/// Bind: which statement, its parameters, and the formats of the result.
#[derive(Debug)]
pub(crate) struct Bind {
    /// The portal to make; empty: the unnamed one, which is replaced silently.
    pub(crate) portal: Text,
    /// Its statement.
    pub(crate) statement: Text,
    /// Formats of the parameters.
    pub(crate) formats: Formats,
    /// Formats of the result's columns.
    pub(crate) results: Formats,
    /// Number of parameters.
    pub(crate) count: usize,
    values: Bytes,
}

impl Bind {
    /// The parameters as they were sent; `None` is NULL.
    pub(crate) fn values(&self) -> impl Iterator<Item = Option<&[u8]>> {
        let mut rest = &self.values[..];
        (0..self.count).map(move |_| {
            let (length, behind) = rest.split_first_chunk::<4>().expect("checked when it was decoded");
            rest = behind;
            let length = usize::try_from(i32::from_be_bytes(*length)).ok()?;
            let (value, behind) = rest.split_at(length);
            rest = behind;
            Some(value)
        })
    }

    fn decode(body: &mut Body) -> Result<Bind, SqlError> {
        let portal = body.text()?;
        let statement = body.text()?;
        let formats = Formats::decode(body)?;
        let count = usize::from(body.u16()?);
        let start = body.rest.clone();
        for _ in 0..count {
            match body.i32()? {
                -1 => {}
                length => {
                    let length = usize::try_from(length).map_err(|_| truncated())?;
                    body.take(length)?;
                }
            }
        }
        let values = start.slice(..start.len() - body.rest.len());
        let results = Formats::decode(body)?;
        Ok(Bind { portal, statement, formats, results, count, values })
    }
}

impl Message {
    /// Decodes a complete frame: its type byte and what follows the length. Errors: 08P01 for a malformed
    /// message, 22021 for text that is not UTF-8.
    pub(crate) fn decode(kind: u8, body: Bytes) -> Result<Message, SqlError> {
        let mut body = Body { rest: body };
        let message = match kind {
            b'Q' => Message::Query(body.text()?),
            b'P' => {
                let name = body.text()?;
                let sql = body.text()?;
                let count = usize::from(body.u16()?);
                let types = body.take(count * 4)?;
                let types = types.chunks_exact(4).map(|t| u32::from_be_bytes([t[0], t[1], t[2], t[3]]));
                Message::Parse { name, sql, types: types.collect() }
            }
            b'B' => Message::Bind(Bind::decode(&mut body)?),
            b'D' => Message::Describe(body.target()?, body.text()?),
            b'C' => Message::Close(body.target()?, body.text()?),
            b'E' => {
                let portal = body.text()?;
                // Zero and negative limits mean no limit, as in PostgreSQL.
                let rows_max = u32::try_from(body.i32()?).ok().filter(|max| *max > 0);
                Message::Execute { portal, rows_max }
            }
            b'H' => Message::Flush,
            b'S' => Message::Sync,
            b'd' => return Ok(Message::CopyData(body.rest)),
            b'c' => Message::CopyDone,
            b'f' => Message::CopyFail(body.text()?),
            b'X' => Message::Terminate,
            other => return Ok(Message::Unexpected(other)),
        };
        if !body.rest.is_empty() {
            return Err(SqlError::new(sqlstate::PROTOCOL_VIOLATION, "invalid message format"));
        }
        Ok(message)
    }
}

fn truncated() -> SqlError {
    SqlError::new(sqlstate::PROTOCOL_VIOLATION, "insufficient data left in message")
}

/// What is not yet read of a frame.
struct Body {
    rest: Bytes,
}

impl Body {
    fn take(&mut self, length: usize) -> Result<Bytes, SqlError> {
        if length > self.rest.len() {
            return Err(truncated());
        }
        Ok(self.rest.split_to(length))
    }

    fn u16(&mut self) -> Result<u16, SqlError> {
        let bytes = self.take(2)?;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    fn i32(&mut self) -> Result<i32, SqlError> {
        let bytes = self.take(4)?;
        Ok(i32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    fn text(&mut self) -> Result<Text, SqlError> {
        let Some(end) = self.rest.iter().position(|byte| *byte == 0) else {
            return Err(SqlError::new(sqlstate::PROTOCOL_VIOLATION, "invalid string in message"));
        };
        let text = self.rest.split_to(end);
        let _zero = self.rest.split_to(1);
        check_utf8(&text)?;
        Ok(Text(text))
    }

    fn target(&mut self) -> Result<Target, SqlError> {
        match self.take(1)?[0] {
            b'S' => Ok(Target::Statement),
            b'P' => Ok(Target::Portal),
            other => Err(SqlError::new(
                sqlstate::PROTOCOL_VIOLATION,
                format!("invalid Describe or Close message subtype {other}"),
            )),
        }
    }
}

/// Text must be UTF-8; the error names the first byte that is not, as PostgreSQL does.
pub(crate) fn check_utf8(bytes: &[u8]) -> Result<&str, SqlError> {
    std::str::from_utf8(bytes).map_err(|error| {
        SqlError::new(
            sqlstate::BAD_ENCODING,
            format!("invalid byte sequence for encoding \"UTF8\": 0x{:02x}", bytes[error.valid_up_to()]),
        )
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bind(bytes: &[u8]) -> Result<Bind, SqlError> {
        match Message::decode(b'B', Bytes::copy_from_slice(bytes))? {
            Message::Bind(bind) => Ok(bind),
            other => panic!("{other:?}"),
        }
    }

    const BIND: &[u8] =
        b"p\0st\0\0\x02\0\0\0\x01\0\x03\0\0\0\x02ab\xff\xff\xff\xff\0\0\0\0\0\x03\0\x01\0\x01\0\x01";

    #[test]
    fn bind_keeps_values_formats_and_nulls() {
        let bind = bind(BIND).unwrap();
        assert_eq!((&*bind.portal, &*bind.statement), ("p", "st"));
        assert_eq!(bind.values().collect::<Vec<_>>(), [Some(&b"ab"[..]), None, Some(&b""[..])]);
        assert_eq!(bind.formats, Formats::Each([false, true].into()));
        assert!(!bind.formats.fit(3) && bind.formats.fit(2));
        assert_eq!(bind.results, Formats::Uniform { count: 3, binary: true });
        assert!(bind.results.fit(3) && !bind.results.fit(2) && bind.results.binary(2));
    }

    #[test]
    fn every_truncation_of_a_bind_is_an_error_and_no_panic() {
        for length in 0..BIND.len() {
            assert_eq!(bind(&BIND[..length]).unwrap_err().sqlstate, "08P01", "{length} bytes");
        }
        let mut longer = BIND.to_vec();
        longer.push(0);
        assert_eq!(bind(&longer).unwrap_err().sqlstate, "08P01");
    }

    #[test]
    fn broken_utf8_and_wrong_codes_are_named() {
        let error = Message::decode(b'Q', Bytes::from_static(b"select '\xff'\0")).unwrap_err();
        assert_eq!((error.sqlstate, error.message.contains("0xff")), ("22021", true));
        let error = bind(b"\0\0\0\x01\0\x02\0\0\0\0").unwrap_err();
        assert_eq!(error.message, "unsupported format code: 2");
        let error = Message::decode(b'D', Bytes::from_static(b"Xname\0")).unwrap_err();
        assert_eq!(error.sqlstate, "08P01");
    }

    #[test]
    fn a_negative_row_limit_is_no_limit() {
        for (sent, expected) in [(0_i32, None), (-1, None), (1, Some(1)), (i32::MAX, Some(i32::MAX as u32))] {
            let mut body = vec![0];
            body.extend(sent.to_be_bytes());
            let Message::Execute { rows_max, .. } = Message::decode(b'E', body.into()).unwrap() else {
                panic!()
            };
            assert_eq!(rows_max, expected);
        }
    }

    proptest! {
        #[test]
        fn no_message_makes_the_decoder_panic(kind: u8, body in proptest::collection::vec(0..4u8, 0..60)) {
            let _ = Message::decode(kind, body.clone().into());
            for kind in *b"BCDEFHPQSXdcfp" {
                let _ = Message::decode(kind, body.clone().into());
            }
        }

        #[test]
        fn no_bytes_make_the_decoder_panic(kind: u8, body in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(Message::Bind(bind)) = Message::decode(kind, body.into()) {
                prop_assert_eq!(bind.values().count(), bind.count);
            }
        }

        #[test]
        fn no_damaged_bind_makes_the_decoder_panic(at in 0..BIND.len(), byte: u8) {
            let mut body = BIND.to_vec();
            body[at] = byte;
            if let Ok(bind) = bind(&body) {
                prop_assert_eq!(bind.values().count(), bind.count);
            }
        }
    }
}
