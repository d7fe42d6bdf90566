//! The rows of what the client sends, in any format, and where in it they stand.

use super::format::Format;
use super::lines::Lines;
use super::tuples::Tuples;
use crate::error::{SqlError, sqlstate};
use crate::statement::CopyHeader;
use crate::types::{Datum, TextSettings, Type, Value, bad_utf8};

/// Characters of a line or value that an error shows.
const SHOWN_CHARS: usize = 100;

/// Turns the client's bytes into rows of values.
#[derive(Debug)]
pub(super) struct Reader {
    table: String,
    /// Names and types of the columns that come.
    names: Vec<String>,
    types: Vec<Type>,
    /// How their texts are read.
    text: TextSettings,
    input: Input,
}

#[derive(Debug)]
enum Input {
    Lines {
        format: Format,
        lines: Lines,
        /// The first line has been read.
        begun: bool,
    },
    Tuples(Tuples),
}

/// A row, and where it stands.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) values: Vec<Datum>,
    /// The number of its line.
    pub(super) number: u64,
    /// The context of an error about it.
    pub(super) context: String,
    /// Bytes that it took.
    pub(super) bytes: usize,
}

impl Reader {
    /// For these columns of a table. No format: binary.
    pub(super) fn new(
        table: &str,
        names: Vec<String>,
        types: Vec<Type>,
        format: Option<Format>,
        text: TextSettings,
    ) -> Reader {
        let input = match format {
            None => Input::Tuples(Tuples::default()),
            Some(format) => Input::Lines { lines: Lines::new(format.quoting()), format, begun: false },
        };
        Reader { table: table.to_owned(), names, types, text, input }
    }

    /// How many columns come.
    pub(super) fn columns(&self) -> usize {
        self.names.len()
    }

    /// Are the values binary?
    pub(super) fn binary(&self) -> bool {
        matches!(self.input, Input::Tuples(_))
    }

    /// Adds bytes.
    pub(super) fn push(&mut self, data: &[u8]) {
        match &mut self.input {
            Input::Lines { lines, .. } => lines.push(data),
            Input::Tuples(tuples) => tuples.push(data),
        }
    }

    /// No more bytes come.
    pub(super) fn complete(&mut self) {
        match &mut self.input {
            Input::Lines { lines, .. } => lines.complete(),
            Input::Tuples(tuples) => tuples.complete(),
        }
    }

    /// The context of an error at a line.
    pub(super) fn at(&self, number: u64) -> String {
        format!("COPY {}, line {number}", self.table)
    }

    /// The next row.
    pub(super) fn next(&mut self) -> Result<Option<Record>, SqlError> {
        if let Input::Tuples(tuples) = &mut self.input {
            let next = tuples.next(&self.types);
            let (number, column) = (tuples.number(), tuples.column());
            return match next {
                Ok(values) => Ok(values.map(|values| {
                    let bytes = values.len();
                    Record { values, number, context: self.at(number), bytes }
                })),
                Err(error) if number == 0 => Err(error),
                Err(error) => Err(error.context(match column {
                    None => self.at(number),
                    Some(at) => format!("{}, column {}", self.at(number), self.names[at]),
                })),
            };
        }
        loop {
            let Input::Lines { lines, begun, format } = &mut self.input else { return Ok(None) };
            let line = lines.next();
            let (number, first) = (lines.number(), !std::mem::replace(begun, true));
            let header = format.header();
            let line = line.map_err(|error| error.context(self.at(number)))?;
            let Some(line) = line else {
                if first {
                    // Nothing has come yet.
                    self.begin_again();
                }
                return Ok(None);
            };
            if first && header == CopyHeader::Yes {
                continue;
            }
            let text = std::str::from_utf8(&line)
                .map_err(|error| bad_utf8(&line[error.valid_up_to()..]).context(self.at(number)))?;
            let context = format!("{}: \"{}\"", self.at(number), shown(text));
            let with_context = |error: SqlError| match error.context {
                Some(_) => error,
                None => error.context(context.clone()),
            };
            if first && header == CopyHeader::Match {
                self.check_header(text).map_err(with_context)?;
                continue;
            }
            let values = self.values(text, number).map_err(with_context)?;
            return Ok(Some(Record { values, number, context, bytes: line.len() }));
        }
    }

    fn begin_again(&mut self) {
        if let Input::Lines { begun, .. } = &mut self.input {
            *begun = false;
        }
    }

    fn split(&self, text: &str) -> Result<Vec<Option<String>>, SqlError> {
        match &self.input {
            Input::Lines { format, .. } => format.split(text),
            Input::Tuples(_) => Err(SqlError::internal("binary data have no lines")),
        }
    }

    /// The values of a line.
    fn values(&self, text: &str, number: u64) -> Result<Vec<Datum>, SqlError> {
        let fields = self.split(text)?;
        if fields.len() > self.names.len() {
            return Err(SqlError::new(sqlstate::BAD_COPY, "extra data after last expected column"));
        }
        if let Some(missing) = self.names.get(fields.len()) {
            return Err(SqlError::new(sqlstate::BAD_COPY, format!("missing data for column \"{missing}\"")));
        }
        let value = |(at, field): (usize, Option<String>)| {
            let Some(field) = field else { return Ok(None) };
            let read = Value::from_text_in(&self.types[at], &field, &self.text);
            read.map(Some).map_err(|error| {
                let column = &self.names[at];
                error.context(format!("{}, column {column}: \"{}\"", self.at(number), shown(&field)))
            })
        };
        fields.into_iter().enumerate().map(value).collect()
    }

    /// 22P04 if a header does not name the columns.
    fn check_header(&self, text: &str) -> Result<(), SqlError> {
        let fields = self.split(text)?;
        let bad = |message: String| Err(SqlError::new(sqlstate::BAD_COPY, message));
        if fields.len() != self.names.len() {
            return bad(format!(
                "wrong number of fields in header line: got {}, expected {}",
                fields.len(),
                self.names.len()
            ));
        }
        for (at, (field, name)) in fields.iter().zip(&self.names).enumerate() {
            if field.as_ref() != Some(name) {
                let got = field.as_ref().map_or("null value".to_owned(), |field| format!("\"{field}\""));
                return bad(format!(
                    "column name mismatch in header line field {}: got {got}, expected \"{name}\"",
                    at + 1
                ));
            }
        }
        Ok(())
    }
}

/// The beginning of a long text.
fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text.to_owned(),
    }
}
