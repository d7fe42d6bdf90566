//! The binary format: a header, rows of values with their lengths, a mark at the end.

use std::ops::Range;

use bytes::Bytes;

use super::lines::LINE_BYTES_MAX;
use crate::error::{SqlError, sqlstate};
use crate::types::{Datum, Row, Type, Value};

/// What binary data begin with.
const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";
/// Bytes of the signature, the flags, and the length of the header's extension.
const HEADER_BYTES: usize = SIGNATURE.len() + 8;
/// Flags that a reader must know.
const CRITICAL_FLAGS: u32 = 0xffff_0000;
/// The number of values that stands for the end of the data.
const END: i16 = -1;

/// The header.
pub(super) fn header() -> Bytes {
    [SIGNATURE, &[0; 8]].concat().into()
}

/// The end of the data.
pub(super) fn end() -> Bytes {
    Bytes::copy_from_slice(&END.to_be_bytes())
}

/// A row.
pub(super) fn tuple(row: &Row) -> Bytes {
    let mut out = Vec::with_capacity(64);
    // A result has 1,664 columns at most.
    out.extend((row.len() as i16).to_be_bytes());
    for value in row {
        match value {
            None => out.extend((-1_i32).to_be_bytes()),
            Some(value) => {
                let at = out.len();
                out.extend([0; 4]);
                value.to_binary(&mut out);
                let length = (out.len() - at - 4) as i32;
                out[at..at + 4].copy_from_slice(&length.to_be_bytes());
            }
        }
    }
    out.into()
}

/// Collects bytes and gives whole rows.
#[derive(Debug, Default)]
pub(super) struct Tuples {
    buffer: Vec<u8>,
    /// Where the next row begins.
    start: usize,
    /// The header has been read.
    begun: bool,
    /// The end mark has been read.
    ended: bool,
    /// No more bytes come.
    complete: bool,
    number: u64,
    /// The column at which the row failed.
    column: Option<usize>,
}

/// Where the bytes of a value are; `None` for NULL.
type Field = Option<Range<usize>>;

fn bad(message: impl Into<String>) -> SqlError {
    SqlError::new(sqlstate::BAD_COPY, message)
}

impl Tuples {
    /// Adds bytes.
    pub(super) fn push(&mut self, data: &[u8]) {
        self.buffer.drain(..self.start);
        self.start = 0;
        self.buffer.extend_from_slice(data);
    }

    /// No more bytes come.
    pub(super) fn complete(&mut self) {
        self.complete = true;
    }

    /// The number of the row that was given last, or could not be given; 0 in the header.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// The column at which the row failed that could not be given, if it was one.
    pub(super) fn column(&self) -> Option<usize> {
        self.column
    }

    /// The next whole row.
    pub(super) fn next(&mut self, types: &[Type]) -> Result<Option<Vec<Datum>>, SqlError> {
        if !self.begun && !self.begin()? {
            return Ok(None);
        }
        let rest = &self.buffer[self.start..];
        if self.ended {
            return if rest.is_empty() { Ok(None) } else { Err(bad("received copy data after EOF marker")) };
        }
        let Some(count) = rest.first_chunk::<2>().map(|bytes| i16::from_be_bytes(*bytes)) else {
            return Ok(None);
        };
        if count == END {
            self.number += 1;
            self.ended = true;
            self.start += 2;
            return self.next(types);
        }
        if usize::try_from(count).ok() != Some(types.len()) {
            self.number += 1;
            return Err(bad(format!("row field count is {count}, expected {}", types.len())));
        }
        let Some((fields, end)) = self.fields(types.len())? else { return Ok(None) };
        self.number += 1;
        let mut values = Vec::with_capacity(types.len());
        for (column, (field, ty)) in fields.iter().zip(types).enumerate() {
            let bytes = field.as_ref().map(|field| &self.buffer[field.clone()]);
            let value = bytes.map(|bytes| Value::from_binary(ty, bytes)).transpose();
            values.push(value.inspect_err(|_| self.column = Some(column))?);
        }
        self.start = end;
        Ok(Some(values))
    }

    /// Where the values of the next row are, and where it ends; `None` until all of it is there.
    fn fields(&mut self, columns: usize) -> Result<Option<(Vec<Field>, usize)>, SqlError> {
        let mut at = self.start + 2;
        let mut fields = Vec::with_capacity(columns);
        for column in 0..columns {
            let length = self.buffer[at.min(self.buffer.len())..].first_chunk::<4>();
            let Some(length) = length.map(|bytes| i32::from_be_bytes(*bytes)) else {
                return self.short(column);
            };
            at += 4;
            let field = match usize::try_from(length) {
                Ok(length) => Some(at..at + length),
                Err(_) if length == -1 => None,
                Err(_) => {
                    return self.failed(column, bad("invalid field size"));
                }
            };
            at = field.as_ref().map_or(at, |field| field.end);
            if at - self.start > LINE_BYTES_MAX {
                let message = format!("a row of COPY data is longer than {LINE_BYTES_MAX} bytes");
                return self.failed(column, SqlError::new(sqlstate::LIMIT_EXCEEDED, message));
            }
            if at > self.buffer.len() {
                return self.short(column);
            }
            fields.push(field);
        }
        Ok(Some((fields, at)))
    }

    /// The row is not there as a whole: more must come.
    fn short<T>(&mut self, column: usize) -> Result<Option<T>, SqlError> {
        if !self.complete {
            return Ok(None);
        }
        self.failed(column, bad("unexpected EOF in COPY data"))
    }

    /// The row is none.
    fn failed<T>(&mut self, column: usize, error: SqlError) -> Result<T, SqlError> {
        self.number += 1;
        self.column = Some(column);
        Err(error)
    }

    /// Reads the header, if it is there; whether it was.
    fn begin(&mut self) -> Result<bool, SqlError> {
        let known = self.buffer.len().min(SIGNATURE.len());
        if self.buffer[..known] != SIGNATURE[..known] || self.complete && known < SIGNATURE.len() {
            return Err(bad("COPY file signature not recognized"));
        }
        let Some(rest) = self.buffer.get(SIGNATURE.len()..HEADER_BYTES) else {
            return if self.complete {
                Err(bad("invalid COPY file header (missing flags)"))
            } else {
                Ok(false)
            };
        };
        let number = |at: usize| u32::from_be_bytes([rest[at], rest[at + 1], rest[at + 2], rest[at + 3]]);
        if number(0) & CRITICAL_FLAGS != 0 {
            return Err(bad("unrecognized critical flags in COPY file header"));
        }
        let extension = number(4) as usize;
        if extension > LINE_BYTES_MAX {
            return Err(bad("invalid COPY file header (wrong length)"));
        }
        if self.buffer.len() < HEADER_BYTES + extension {
            return if self.complete {
                Err(bad("invalid COPY file header (wrong length)"))
            } else {
                Ok(false)
            };
        }
        self.start = HEADER_BYTES + extension;
        self.begun = true;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPES: [Type; 2] = [Type::Int4, Type::Text];

    fn rows() -> Vec<Row> {
        let text = |text: &str| Some(Value::Text(text.into()));
        vec![vec![Some(Value::Int4(1)), text("one")], vec![None, text("")], vec![Some(Value::Int4(-3)), None]]
    }

    fn bytes() -> Vec<u8> {
        let tuples: Vec<Bytes> = rows().iter().map(tuple).collect();
        [&[header()], tuples.as_slice(), &[end()]].concat().concat()
    }

    fn read(tuples: &mut Tuples, out: &mut Vec<Row>) -> Result<(), SqlError> {
        while let Some(row) = tuples.next(&TYPES)? {
            out.push(row);
        }
        Ok(())
    }

    #[test]
    fn what_goes_out_comes_in_however_it_is_cut() {
        for size in 1..=bytes().len() {
            let (mut tuples, mut out) = (Tuples::default(), Vec::new());
            for piece in bytes().chunks(size) {
                tuples.push(piece);
                read(&mut tuples, &mut out).unwrap();
            }
            tuples.complete();
            read(&mut tuples, &mut out).unwrap();
            assert_eq!(out, rows(), "pieces of {size} bytes");
        }
    }

    #[test]
    fn data_that_end_too_soon_are_an_error_or_whole_rows() {
        let all = bytes();
        for length in 0..all.len() {
            let (mut tuples, mut out) = (Tuples::default(), Vec::new());
            tuples.push(&all[..length]);
            tuples.complete();
            match read(&mut tuples, &mut out) {
                Ok(()) => assert_eq!(out, rows()[..out.len()]),
                Err(error) => assert_eq!(error.sqlstate, sqlstate::BAD_COPY, "{length}: {error}"),
            }
        }
    }

    #[test]
    fn damaged_data_are_an_error_or_other_values_and_never_a_panic() {
        for at in 0..bytes().len() {
            for damage in [0x00, 0x01, 0x7f, 0x80, 0xff] {
                let mut damaged = bytes();
                damaged[at] ^= damage;
                let mut tuples = Tuples::default();
                tuples.push(&damaged);
                tuples.complete();
                let _ = read(&mut tuples, &mut Vec::new());
            }
        }
    }

    #[test]
    fn errors_name_the_row_and_the_column() {
        let error = |body: &[u8]| {
            let mut tuples = Tuples::default();
            tuples.push(&[&header(), body].concat());
            tuples.complete();
            let error = read(&mut tuples, &mut Vec::new()).unwrap_err();
            (error.message, tuples.column(), tuples.number())
        };
        assert_eq!(error(b"\0\x03"), ("row field count is 3, expected 2".into(), None, 1));
        assert_eq!(error(b"\0\x02\xff\xff\xff\xfe"), ("invalid field size".into(), Some(0), 1));
        let short = ("unexpected EOF in COPY data".into(), Some(1), 1);
        assert_eq!(error(b"\0\x02\xff\xff\xff\xff\0\0\0\x02a"), short);
        let more = [&tuple(&rows()[0])[..], &end(), b"x"].concat();
        assert_eq!(error(&more), ("received copy data after EOF marker".into(), None, 2));
    }
}
