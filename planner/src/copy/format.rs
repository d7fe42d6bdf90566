//! One line to fields and back, in text and csv.

use bytes::Bytes;

use super::lines::Quoting;
use crate::error::{SqlError, sqlstate};
use crate::statement::{CopyColumns, CopyFormat, CopyHeader, CopyOptions};
use crate::types::{Datum, TextSettings};

/// The options of a COPY of text or csv, checked and with their defaults.
#[derive(Debug)]
pub(super) struct Format {
    csv: bool,
    header: CopyHeader,
    delimiter: char,
    null: String,
    quote: char,
    escape: char,
    /// By column.
    force_quote: Vec<bool>,
    force_not_null: Vec<bool>,
    force_null: Vec<bool>,
}

fn invalid(message: impl Into<String>) -> SqlError {
    SqlError::new(sqlstate::INVALID_PARAMETER, message)
}

/// What PostgreSQL does not do either.
fn refused(message: impl Into<String>) -> SqlError {
    SqlError::new(sqlstate::FEATURE_NOT_SUPPORTED, message)
}

/// The one character of an option. 0A000 if it is more, or none.
fn single(option: &str, text: &str) -> Result<char, SqlError> {
    let mut chars = text.chars();
    match (chars.next(), chars.next()) {
        (Some(char), None) if char.is_ascii() => Ok(char),
        _ => Err(refused(format!("COPY {option} must be a single one-byte character"))),
    }
}

fn is_given(columns: &CopyColumns) -> bool {
    !matches!(columns, CopyColumns::None)
}

/// For each column, whether an option is about it. 42P10 if the option names another one.
fn flags(option: &str, named: &CopyColumns, columns: &[String]) -> Result<Vec<bool>, SqlError> {
    let named = match named {
        CopyColumns::None => return Ok(vec![false; columns.len()]),
        CopyColumns::All => return Ok(vec![true; columns.len()]),
        CopyColumns::Some(named) => named,
    };
    if let Some(unknown) = named.iter().find(|name| !columns.iter().any(|column| column == name.last())) {
        let message = format!("{option} column \"{}\" not referenced by COPY", unknown.last());
        return Err(SqlError::new(sqlstate::INVALID_COLUMN_REFERENCE, message));
    }
    Ok(columns.iter().map(|column| named.iter().any(|name| name.last() == column)).collect())
}

/// Checks the options of a COPY in binary format.
fn check_binary(options: &CopyOptions) -> Result<(), SqlError> {
    let syntax = |message: &str| Err(SqlError::new(sqlstate::SYNTAX, message));
    if options.delimiter.is_some() {
        return syntax("cannot specify DELIMITER in BINARY mode");
    }
    if options.null.is_some() {
        return syntax("cannot specify NULL in BINARY mode");
    }
    if options.header != CopyHeader::No {
        return Err(refused("cannot specify HEADER in BINARY mode"));
    }
    check_csv_only(options)
}

/// 0A000 for options that csv alone has.
fn check_csv_only(options: &CopyOptions) -> Result<(), SqlError> {
    let given = [
        ("quote", options.quote.is_some()),
        ("escape", options.escape.is_some()),
        ("force quote", is_given(&options.force_quote)),
        ("force not null", is_given(&options.force_not_null)),
        ("force null", is_given(&options.force_null)),
    ];
    match given.iter().find(|(_, given)| *given) {
        Some((option, _)) => Err(refused(format!("COPY {option} available only in CSV mode"))),
        None => Ok(()),
    }
}

/// 0A000 for options that the direction does not have.
fn check_direction(options: &CopyOptions, from: bool) -> Result<(), SqlError> {
    if from && is_given(&options.force_quote) {
        return Err(refused("COPY force quote only available using COPY TO"));
    }
    if !from && is_given(&options.force_not_null) {
        return Err(refused("COPY force not null only available using COPY FROM"));
    }
    if !from && is_given(&options.force_null) {
        return Err(refused("COPY force null only available using COPY FROM"));
    }
    if !from && options.header == CopyHeader::Match {
        return Err(refused("cannot use \"match\" with HEADER in COPY TO"));
    }
    Ok(())
}

impl Format {
    /// The format of a COPY in or out (`from`) of some columns; `None`: binary.
    pub(super) fn new(
        options: &CopyOptions,
        columns: &[String],
        from: bool,
    ) -> Result<Option<Format>, SqlError> {
        if options.format == CopyFormat::Binary {
            return check_binary(options).map(|()| None);
        }
        let csv = options.format == CopyFormat::Csv;
        check_direction(options, from)?;
        if !csv {
            check_csv_only(options)?;
        }
        let delimiter = options.delimiter.as_deref().unwrap_or(if csv { "," } else { "\t" });
        let delimiter = single("delimiter", delimiter)?;
        let quote = single("quote", options.quote.as_deref().unwrap_or("\""))?;
        let escape = options.escape.as_deref().map_or(Ok(quote), |escape| single("escape", escape))?;
        let null = options.null.clone().unwrap_or_else(|| if csv { String::new() } else { "\\N".into() });
        let format = Format {
            csv,
            header: options.header,
            delimiter,
            null,
            quote,
            escape,
            force_quote: flags("FORCE_QUOTE", &options.force_quote, columns)?,
            force_not_null: flags("FORCE_NOT_NULL", &options.force_not_null, columns)?,
            force_null: flags("FORCE_NULL", &options.force_null, columns)?,
        };
        format.check().map(|()| Some(format))
    }

    /// Checks that the characters can be told from each other.
    fn check(&self) -> Result<(), SqlError> {
        let Format { csv, delimiter, quote, null, .. } = self;
        if matches!(delimiter, '\n' | '\r') {
            return Err(invalid("COPY delimiter cannot be newline or carriage return"));
        }
        if null.contains(['\n', '\r']) {
            return Err(invalid("COPY null representation cannot use newline or carriage return"));
        }
        if !csv && "\\.abcdefghijklmnopqrstuvwxyz0123456789".contains(*delimiter) {
            return Err(invalid(format!("COPY delimiter cannot be \"{delimiter}\"")));
        }
        if *csv && delimiter == quote {
            return Err(invalid("COPY delimiter and quote must be different"));
        }
        if null.contains(*delimiter) {
            return Err(refused("COPY delimiter must not appear in the NULL specification"));
        }
        if *csv && null.contains(*quote) {
            return Err(refused("CSV quote character must not appear in the NULL specification"));
        }
        Ok(())
    }

    /// What the first line is.
    pub(super) fn header(&self) -> CopyHeader {
        self.header
    }

    /// How newlines can stand in values.
    pub(super) fn quoting(&self) -> Quoting {
        if self.csv {
            Quoting::Quoted { quote: self.quote as u8, escape: self.escape as u8 }
        } else {
            Quoting::Backslash
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

    /// A line of names, with its newline.
    pub(super) fn join_names(&self, names: &[String]) -> Bytes {
        let mut out = Vec::with_capacity(64);
        for (at, name) in names.iter().enumerate() {
            if at > 0 {
                out.push(self.delimiter as u8);
            }
            // No column is forced into quotes here.
            if self.csv {
                self.write_csv(name, false, names.len(), &mut out)
            } else {
                self.write_text(name, &mut out)
            }
        }
        out.push(b'\n');
        out.into()
    }

    /// A line with its newline.
    pub(super) fn join(&self, row: &[Datum], settings: &TextSettings) -> Bytes {
        let mut out = Vec::with_capacity(64);
        for (at, datum) in row.iter().enumerate() {
            if at > 0 {
                out.push(self.delimiter as u8);
            }
            match datum {
                None => out.extend_from_slice(self.null.as_bytes()),
                Some(value) => {
                    let text = value.to_string_text_in(settings);
                    if self.csv {
                        self.write_csv(&text, self.force_quote.get(at) == Some(&true), row.len(), &mut out)
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

    fn write_csv(&self, text: &str, forced: bool, width: usize, out: &mut Vec<u8>) {
        let special = |c: char| c == self.delimiter || c == self.quote || c == '\n' || c == '\r';
        let quote = forced
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
