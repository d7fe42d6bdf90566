//! Conversations in the protocol, at both servers: the same frames must come back.
//!
//! `tests/differential/frames.txt` holds situations: `== NAME`, then messages, one a line, in the order in which they
//! are sent; `go` sends them in one piece and reads up to the ReadyForQuery of the last Sync or Query. `go quiet` reads
//! what PostgreSQL sends until it is silent, and as many frames of ours; `go closed` reads to the end. `known REASON`
//! (a name of `reasons.txt`) marks a situation that differs; it fails once it does not.
//!
//! Compared are all frames, but for these fields: keys and process numbers, parameter values at the start, numbers of
//! tables and columns, and of errors and notices message, detail, hint, context and the place in the server's source.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::Duration;

use super::list;
use super::run::Ports;
use crate::cluster::wire::{self, Body, Connection, Frame};

/// How long PostgreSQL must be silent to have nothing more to say.
const QUIET: Duration = Duration::from_millis(300);

/// What is read after a piece is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Until {
    /// This many ReadyForQuery.
    Ready(usize),
    Quiet,
    Closed,
}

/// A piece that is sent, and how far the answer goes.
#[derive(Clone, Debug)]
struct Piece {
    bytes: Vec<u8>,
    until: Until,
    /// On a second connection, as a cancel request of the first.
    cancel_after: Option<Duration>,
}

/// A situation.
#[derive(Clone, Debug, Default)]
struct Situation {
    name: String,
    known: Option<String>,
    pieces: Vec<Piece>,
}

/// What came out: how many there are, how many are known to differ, and what is wrong.
#[derive(Debug, Default)]
pub struct FrameReport {
    /// Situations.
    pub situations: usize,
    /// Situations that differ, as they say.
    pub known: usize,
    /// Situations that differ and do not say so, or the other way round.
    pub wrong: Vec<String>,
}

/// Runs the situations whose names contain `only`.
pub fn run_frames(dir: &Path, ports: Ports, only: &str) -> Result<FrameReport, String> {
    let file = dir.join("frames.txt");
    let text = std::fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
    let reasons = list::reasons(dir)?;
    let mut report = FrameReport::default();
    for situation in parse(&text)?.iter().filter(|situation| situation.name.contains(only)) {
        let name = &situation.name;
        let theirs = converse(ports.postgres, situation, None).map_err(|error| {
            format!("{name}: PostgreSQL: {error}; fewer ReadyForQuery come than asked for")
        })?;
        let ours = converse(ports.ours, situation, Some(&theirs))
            .unwrap_or_else(|error| vec![vec![format!("no answer: {error}")]; theirs.len()]);
        report.situations += 1;
        match &situation.known {
            Some(reason) if theirs != ours && reasons.contains_key(reason) => report.known += 1,
            Some(reason) if theirs != ours => report.wrong.push(format!("{name}: no reason {reason}")),
            Some(_) => report.wrong.push(format!("{name}: is the same; strike off `known`")),
            None if theirs != ours => report.wrong.push(format!("{name}:\n{}", side_by_side(&theirs, &ours))),
            None => {}
        }
    }
    Ok(report)
}

fn side_by_side(theirs: &[Vec<String>], ours: &[Vec<String>]) -> String {
    let mut text = String::new();
    for (number, (theirs, ours)) in theirs.iter().zip(ours).enumerate() {
        if theirs != ours {
            text += &format!("  go {}\n    PostgreSQL: {}\n", number + 1, theirs.join("\n                "));
            text += &format!("    ours:       {}\n", ours.join("\n                "));
        }
    }
    text
}

/// Runs a situation on a connection of its own; `like` has the frames of PostgreSQL.
fn converse(port: u16, situation: &Situation, like: Option<&[Vec<String>]>) -> io::Result<Vec<Vec<String>>> {
    let mut connection = Connection::connect(port)?;
    let mut answers = Vec::new();
    for (number, piece) in situation.pieces.iter().enumerate() {
        // A server that has closed says so in what is read.
        let _closed = connection.send(&piece.bytes);
        if let Some(pause) = piece.cancel_after {
            std::thread::sleep(pause);
            Connection::open(port)?.send(&wire::cancel_request(&connection.key))?;
        }
        let frames = match (piece.until, like.and_then(|like| like.get(number))) {
            (Until::Ready(count), _) => connection
                .frames(|frames| frames.iter().filter(|frame| frame.kind == b'Z').count() >= count)?,
            (Until::Closed, _) => connection.frames(|_| false)?,
            (Until::Quiet, None) => connection.frames_until_quiet(QUIET)?,
            (Until::Quiet, Some(like)) => match like.len() {
                0 => connection.frames_until_quiet(QUIET)?,
                count => connection.frames(|frames| frames.len() >= count)?,
            },
        };
        let mut answer: Vec<String> = frames.iter().filter_map(shown).collect();
        if piece.until == Until::Closed {
            answer.push("closed".into());
        }
        answers.push(answer);
    }
    Ok(answers)
}

fn parse(text: &str) -> Result<Vec<Situation>, String> {
    let mut situations: Vec<Situation> = Vec::new();
    let (mut bytes, mut ready) = (Vec::new(), 0);
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix("== ") {
            situations.push(Situation { name: name.to_owned(), ..Situation::default() });
            continue;
        }
        let situation = situations.last_mut().ok_or("a message before the first situation")?;
        let words = words(line);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match words[..] {
            ["known", reason] => situation.known = Some(reason.to_owned()),
            ["go", ref how @ ..] => {
                let until = match how {
                    ["quiet"] => Until::Quiet,
                    ["closed"] => Until::Closed,
                    [count] if count.parse::<usize>().is_ok() => Until::Ready(count.parse().unwrap_or(1)),
                    _ => Until::Ready(ready),
                };
                let cancel_after = (how == ["cancel"]).then_some(Duration::from_millis(500));
                situation.pieces.push(Piece { bytes: std::mem::take(&mut bytes), until, cancel_after });
                ready = 0;
            }
            _ => {
                let message = message(&words).ok_or_else(|| format!("not understood: {line}"))?;
                ready += usize::from(matches!(message.first(), Some(b'Q' | b'S')));
                bytes.extend(message);
            }
        }
    }
    Ok(situations)
}

/// A message from its words; names that are `-` are empty.
fn message(words: &[&str]) -> Option<Vec<u8>> {
    let name = |word: &str| if word == "-" { String::new() } else { word.to_owned() };
    let kind = |word: &str| word.chars().next().unwrap_or(' ');
    Some(match words {
        ["query", sql] => wire::query(sql),
        ["parse", statement, sql, types @ ..] => {
            let types = types.iter().map(|ty| ty.parse().ok()).collect::<Option<Vec<u32>>>()?;
            wire::parse(&name(statement), sql, &types)
        }
        ["bind", portal, statement, values @ ..] => {
            let values: Vec<Option<&str>> =
                values.iter().map(|value| (*value != "null").then_some(*value)).collect();
            wire::bind(&name(portal), &name(statement), &values, false)
        }
        ["bind-binary", portal, statement] => wire::bind(&name(portal), &name(statement), &[], true),
        ["describe", what, of] => wire::describe(kind(what), &name(of)),
        ["close", what, of] => wire::close(kind(what), &name(of)),
        ["execute", portal] => wire::execute(&name(portal), 0),
        ["execute", portal, rows] => wire::execute(&name(portal), rows.parse().ok()?),
        ["sync"] => wire::sync(),
        ["flush"] => wire::flush(),
        ["terminate"] => wire::message(b'X', ""),
        ["copy-data", data] => wire::message(b'd', format!("{data}\n")),
        ["copy-done"] => wire::message(b'c', ""),
        ["copy-fail", why] => wire::message(b'f', format!("{why}\0")),
        ["message", letter, hex] => wire::message(letter.bytes().next()?, from_hex(hex)?),
        ["bytes", hex] => from_hex(hex)?,
        _ => return None,
    })
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok()).collect()
}

/// Words of a line; in double quotes they may have spaces, `\t` is a tab.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted, mut any) = (Vec::new(), String::new(), false, false);
    for c in line.chars() {
        match c {
            '"' => (quoted, any) = (!quoted, true),
            ' ' if !quoted => {
                if any || !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                any = false;
            }
            c => word.push(c),
        }
    }
    if any || !word.is_empty() {
        words.push(word);
    }
    words.iter().map(|word| word.replace("\\t", "\t")).collect()
}

/// A frame as a line, without the fields that are not compared; `None` for parameters.
fn shown(frame: &Frame) -> Option<String> {
    let mut body = Body(&frame.body);
    Some(match frame.kind {
        b'S' => return None,
        b'E' | b'N' => {
            let mut fields: BTreeMap<char, String> = body.fields();
            fields.retain(|kind, _| !"MDHWFLRpqP".contains(*kind));
            format!("{} {fields:?}", char::from(frame.kind))
        }
        b'T' => {
            let columns: Vec<String> = (0..body.i16())
                .map(|_| {
                    let name = body.text();
                    let (_table, _attribute) = (body.i32(), body.i16());
                    let (ty, size, modifier, format) = (body.i32(), body.i16(), body.i32(), body.i16());
                    format!("{name}:{ty}:{size}:{modifier}:{format}")
                })
                .collect();
            format!("T {}", columns.join(" "))
        }
        kind => format!("{} {:?}", char::from(kind), String::from_utf8_lossy(&frame.body)),
    })
}
