//! One line to fields and back, in text and csv.

use bytes::Bytes;

use super::lines::Quoting;
use crate::error::{SqlError, sqlstate};
use crate::statement::CopyOptions;
use crate::types::Datum;

/// The options of a COPY, checked and with their defaults.
#[derive(Debug)]
pub(super) struct Format {
    csv: bool,
    header: bool,
    delimiter: char,
    null: String,
    quote: char,
    escape: char,
    /// By column.
    force_quote: Vec<bool>,
    force_not_null: Vec<bool>,
    force_null: Vec<bool>,
}

fn invalid(message: &str) -> SqlError {
    SqlError::new(sqlstate::INVALID_PARAMETER, message)
}

impl Format {
    pub(super) fn new(options: &CopyOptions, columns: &[String]) -> Result<Format, SqlError> {
        let csv = options.csv;
        if !csv && (options.quote.is_some() || options.escape.is_some()) {
            return Err(SqlError::unsupported("COPY QUOTE or ESCAPE outside of CSV mode"));
        }
        let flags = |names: &[String]| -> Result<Vec<bool>, SqlError> {
            if let Some(unknown) = names.iter().find(|name| !columns.contains(name)) {
                return Err(SqlError::new(
                    sqlstate::UNDEFINED_COLUMN,
                    format!("column \"{unknown}\" is not referenced by COPY"),
                ));
            }
            Ok(columns.iter().map(|column| names.contains(column)).collect())
        };
        let quote = options.quote.unwrap_or('"');
        let format = Format {
            csv,
            header: options.header,
            delimiter: options.delimiter.unwrap_or(if csv { ',' } else { '\t' }),
            null: options.null.clone().unwrap_or_else(|| if csv { String::new() } else { "\\N".into() }),
            quote,
            escape: options.escape.unwrap_or(quote),
            force_quote: flags(&options.force_quote)?,
            force_not_null: flags(&options.force_not_null)?,
            force_null: flags(&options.force_null)?,
        };
        let single = |c: char| c.is_ascii();
        if !single(format.delimiter) || matches!(format.delimiter, '\n' | '\r') {
            return Err(invalid("COPY delimiter must be a single one-byte character"));
        }
        if !csv && "\\.abcdefghijklmnopqrstuvwxyz0123456789".contains(format.delimiter) {
            return Err(invalid(&format!("COPY delimiter cannot be \"{}\"", format.delimiter)));
        }
        if !single(format.quote) || !single(format.escape) {
            return Err(invalid("COPY quote and escape must be a single one-byte character"));
        }
        if csv && format.delimiter == format.quote {
            return Err(invalid("COPY delimiter and quote must be different"));
        }
        if format.null.contains(['\n', '\r']) {
            return Err(invalid("COPY null representation cannot use newline or carriage return"));
        }
        Ok(format)
    }

    /// Is the first line a header?
    pub(super) fn header(&self) -> bool {
        self.header
    }

    /// How newlines can stand in values.
    pub(super) fn quoting(&self) -> Quoting {
        if self.csv {
            Quoting::Quoted { quote: self.quote as u8, escape: self.escape as u8 }
        } else {
            Quoting::None
        }
    }

    /// The fields of a line; `None` is NULL.
    pub(super) fn split(&self, line: &str) -> Result<Vec<Option<String>>, SqlError> {
        if self.csv { self.split_csv(line) } else { self.split_text(line) }
    }

    fn split_text(&self, line: &str) -> Result<Vec<Option<String>>, SqlError> {
        // A backslash before the delimiter makes it part of the value.
        let mut fields = Vec::new();
        let mut raw = String::new();
        let mut chars = line.chars();
        loop {
            match chars.next() {
                Some('\\') => {
                    raw.push('\\');
                    raw.extend(chars.next());
                }
                Some(c) if c != self.delimiter => raw.push(c),
                end => {
                    fields.push(if raw == self.null { None } else { Some(unescape(&raw)?) });
                    raw.clear();
                    if end.is_none() {
                        return Ok(fields);
                    }
                }
            }
        }
    }

    fn split_csv(&self, line: &str) -> Result<Vec<Option<String>>, SqlError> {
        let mut fields = Vec::new();
        let mut chars = line.chars().peekable();
        loop {
            let mut value = String::new();
            let (mut was_quoted, mut quoted, mut end) = (false, false, None);
            while let Some(c) = chars.next() {
                if quoted {
                    let escapes = |next: &char| *next == self.quote || *next == self.escape;
                    if c == self.escape && chars.peek().is_some_and(escapes) {
                        value.extend(chars.next());
                    } else if c == self.quote {
                        quoted = false;
                    } else {
                        value.push(c);
                    }
                } else if c == self.quote {
                    quoted = true;
                    was_quoted = true;
                } else if c == self.delimiter {
                    end = Some(c);
                    break;
                } else {
                    value.push(c);
                }
            }
            if quoted {
                return Err(SqlError::new(sqlstate::BAD_COPY, "unterminated CSV quoted field"));
            }
            let at = fields.len();
            let flag = |flags: &Vec<bool>| flags.get(at).copied().unwrap_or(false);
            let may_be_null = if was_quoted { flag(&self.force_null) } else { !flag(&self.force_not_null) };
            fields.push(if may_be_null && value == self.null { None } else { Some(value) });
            if end.is_none() {
                return Ok(fields);
            }
        }
    }

    /// A line with its newline.
    pub(super) fn join(&self, row: &[Datum]) -> Bytes {
        let mut out = Vec::with_capacity(64);
        for (at, datum) in row.iter().enumerate() {
            if at > 0 {
                out.push(self.delimiter as u8);
            }
            match datum {
                None => out.extend_from_slice(self.null.as_bytes()),
                Some(value) => {
                    let text = value.to_string_text();
                    if self.csv {
                        self.write_csv(&text, at, row.len(), &mut out)
                    } else {
                        self.write_text(&text, &mut out)
                    }
                }
            }
        }
        out.push(b'\n');
        out.into()
    }

    fn write_text(&self, text: &str, out: &mut Vec<u8>) {
        for byte in text.bytes() {
            let letter = match byte {
                b'\\' => b'\\',
                8 => b'b',
                12 => b'f',
                b'\n' => b'n',
                b'\r' => b'r',
                b'\t' => b't',
                11 => b'v',
                byte if byte == self.delimiter as u8 => byte,
                byte => {
                    out.push(byte);
                    continue;
                }
            };
            out.extend_from_slice(&[b'\\', letter]);
        }
    }

    fn write_csv(&self, text: &str, at: usize, width: usize, out: &mut Vec<u8>) {
        let special = |c: char| c == self.delimiter || c == self.quote || c == '\n' || c == '\r';
        let quote = self.force_quote.get(at).copied().unwrap_or(false)
            || text == self.null
            || text.contains(special)
            // Alone on its line it would read as the end of data.
            || (width == 1 && text == "\\.");
        if !quote {
            out.extend_from_slice(text.as_bytes());
            return;
        }
        out.push(self.quote as u8);
        for byte in text.bytes() {
            if byte == self.quote as u8 || byte == self.escape as u8 {
                out.push(self.escape as u8);
            }
            out.push(byte);
        }
        out.push(self.quote as u8);
    }
}

/// The escapes of the text format.
fn unescape(raw: &str) -> Result<String, SqlError> {
    if !raw.contains('\\') {
        return Ok(raw.to_string());
    }
    let bytes = raw.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] != b'\\' || at + 1 == bytes.len() {
            out.push(bytes[at]);
            at += 1;
            continue;
        }
        at += 1;
        let digits = |radix: u32, from: usize, most: usize| {
            bytes[from..].iter().take(most).take_while(|b| char::from(**b).is_digit(radix)).count()
        };
        match bytes[at] {
            b'b' => out.push(8),
            b'f' => out.push(12),
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b't' => out.push(b'\t'),
            b'v' => out.push(11),
            b'0'..=b'7' => {
                let count = digits(8, at, 3);
                let value = raw[at..at + count].bytes().fold(0u32, |acc, b| acc * 8 + u32::from(b - b'0'));
                out.push(value as u8);
                at += count;
                continue;
            }
            b'x' if digits(16, at + 1, 2) > 0 => {
                let count = digits(16, at + 1, 2);
                out.push(u8::from_str_radix(&raw[at + 1..at + 1 + count], 16).unwrap_or(0));
                at += 1 + count;
                continue;
            }
            byte => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8(out)
        .map_err(|error| crate::types::bad_utf8(&error.as_bytes()[error.utf8_error().valid_up_to()..]))
}
