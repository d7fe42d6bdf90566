//! What a server answers to a statement, and in what two answers differ.

use std::io;

use super::subject::Statement;
use crate::cluster::wire::{self, Body, Connection, Frame};

/// How a statement travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Query.
    Simple,
    /// Parse, Describe, Bind, Execute, Sync; results in text.
    Text,
    /// The same with results in binary.
    Binary,
}

impl Mode {
    /// All of them.
    pub const ALL: [Mode; 3] = [Mode::Simple, Mode::Text, Mode::Binary];

    /// As the list of differences says it.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Simple => "simple",
            Mode::Text => "extended",
            Mode::Binary => "binary",
        }
    }
}

/// An answer. Numbers of objects and server-made texts (messages, details, hints) are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Types of the parameters, names and types of the columns, tags, SQLSTATEs of notices.
    shape: Vec<String>,
    /// Rows and lines of COPY.
    rows: Vec<String>,
    /// SQLSTATE.
    error: Option<String>,
    /// Message of the error, for the report.
    said: Option<String>,
    /// Of ReadyForQuery; 0 if the connection ended.
    pub status: u8,
}

/// The kinds of differences. What is refused is honest; what is accepted or answered otherwise is a lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Difference {
    /// The connection ended, or no answer came.
    Lost,
    /// Other rows.
    Rows,
    /// PostgreSQL has an error, we have none.
    Accepted,
    /// The same rows, but other names, types, tags or notices.
    Shape,
    /// Another SQLSTATE, and not 0A000.
    Sqlstate,
    /// PostgreSQL has no error, ours is not 0A000.
    Failed,
    /// 0A000.
    Refused,
}

impl Difference {
    /// As the list of differences says it.
    pub fn name(self) -> &'static str {
        match self {
            Difference::Lost => "lost",
            Difference::Rows => "rows",
            Difference::Accepted => "accepted",
            Difference::Shape => "shape",
            Difference::Sqlstate => "sqlstate",
            Difference::Failed => "failed",
            Difference::Refused => "refused",
        }
    }
}

impl Outcome {
    /// Runs a statement.
    pub fn of(connection: &mut Connection, statement: &Statement, mode: Mode) -> io::Result<Outcome> {
        let sql = statement.sql();
        let message = match mode {
            Mode::Simple => wire::query(sql),
            Mode::Text | Mode::Binary => {
                let parameters: Vec<Option<&str>> =
                    statement.parameters.iter().flatten().map(Option::as_deref).collect();
                [
                    wire::parse("", sql, &[]),
                    wire::describe('S', ""),
                    wire::bind("", "", &parameters, mode == Mode::Binary),
                    wire::execute("", 0),
                    wire::sync(),
                ]
                .concat()
            }
        };
        connection.send(&message)?;
        let mut outcome = Outcome::default();
        while let Some(frame) = connection.frame()? {
            if frame.kind == b'G' {
                let lines = statement.data.iter().map(|line| wire::message(b'd', format!("{line}\n")));
                let mut data: Vec<u8> = lines.flatten().collect();
                data.extend(wire::message(b'c', ""));
                // The Sync above was swallowed by the COPY, as the protocol says.
                if mode != Mode::Simple {
                    data.extend(wire::sync());
                }
                connection.send(&data)?;
            }
            outcome.add(&frame);
            if frame.kind == b'Z' {
                break;
            }
        }
        Ok(outcome)
    }

    fn add(&mut self, frame: &Frame) {
        let mut body = Body(&frame.body);
        match frame.kind {
            b't' => {
                let types: Vec<String> = (0..body.i16()).map(|_| body.i32().to_string()).collect();
                self.shape.push(format!("parameters {}", types.join(" ")));
            }
            b'T' => self.shape.push(columns(body)),
            b'D' => {
                let values: Vec<String> = (0..body.i16())
                    .map(|_| match body.i32() {
                        -1 => "null".to_owned(),
                        length => shown(body.take(usize::try_from(length).unwrap_or(0))),
                    })
                    .collect();
                self.rows.push(values.join(" | "));
            }
            b'd' => self.rows.push(shown(body.0)),
            b'C' => self.shape.push(format!("tag {}", body.text())),
            b'I' => self.shape.push("empty".to_owned()),
            b'N' => {
                let fields = body.fields();
                self.shape.push(format!("notice {}", fields.get(&'C').map_or("", String::as_str)));
            }
            b'E' => {
                let mut fields = body.fields();
                self.error = fields.remove(&'C');
                self.said = fields.remove(&'M');
            }
            b'G' | b'H' => self.shape.push(format!("copy {:?}", body.0)),
            b'Z' => self.status = body.0.first().copied().unwrap_or(0),
            _ => {}
        }
    }

    /// In what `ours` differs from this one, PostgreSQL's.
    pub fn difference(&self, ours: &Outcome) -> Option<Difference> {
        if ours.status == 0 && self.status != 0 {
            return Some(Difference::Lost);
        }
        match (&self.error, &ours.error) {
            (None, None) if self.rows != ours.rows => Some(Difference::Rows),
            (None, None) => (self.shape != ours.shape).then_some(Difference::Shape),
            (Some(_), None) => Some(Difference::Accepted),
            (theirs, Some(code)) if theirs.as_ref() != Some(code) => Some(match code.as_str() {
                "0A000" => Difference::Refused,
                _ if theirs.is_some() => Difference::Sqlstate,
                _ => Difference::Failed,
            }),
            // Rows before an error may be fewer or more: who says it first is free.
            _ => None,
        }
    }

    /// For the report.
    pub fn print(&self) -> String {
        let error = self.error.iter().map(|code| format!("{code} {}", self.said.as_deref().unwrap_or("")));
        let mut parts: Vec<String> = self.shape.iter().chain(&self.rows).take(12).cloned().collect();
        parts.extend(error);
        parts.join(" / ")
    }
}

/// Names, types and modifiers.
fn columns(mut body: Body<'_>) -> String {
    let columns: Vec<String> = (0..body.i16())
        .map(|_| {
            let name = body.text();
            let (_table, _attribute, ty) = (body.i32(), body.i16(), body.i32());
            let (size, modifier, _format) = (body.i16(), body.i32(), body.i16());
            format!("{name}:{ty}:{size}:{modifier}")
        })
        .collect();
    format!("columns {}", columns.join(" "))
}

/// Text as it is, other bytes in hexadecimal.
fn shown(value: &[u8]) -> String {
    match std::str::from_utf8(value) {
        Ok(text) if !text.contains(|c: char| c.is_control() && c != '\n' && c != '\t') => format!("'{text}'"),
        _ => format!("x{}", value.iter().map(|byte| format!("{byte:02x}")).collect::<String>()),
    }
}
