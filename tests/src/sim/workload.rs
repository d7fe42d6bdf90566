//! What clients do: registers, counters, sets, lists, rows that come and go, rows of several columns of which some are
//! NULL (deleted), scans. Every value written is unique, so that a read tells which write it saw.

use std::fmt::Write as _;

use bytes::Bytes;
use kvstore::request::{Condition, Mutation, TableId, Write};
use kvstore::row_update::RowUpdate;
use replication::testing::options::Random;
use wal::Lsn;

use super::history::{Consistency, Range};
use super::options::{Options, Style};

/// An operation as a client means it.
#[derive(Clone, Debug)]
pub(crate) enum Intent {
    /// Write a row.
    Write { key: String, conditions: Vec<Condition>, mutations: Vec<Mutation> },
    /// Read rows.
    Get { keys: Vec<String>, consistency: Consistency },
    /// Read a range of rows.
    Scan {
        start: String,
        end: Option<String>,
        reverse: bool,
        limit: Option<u64>,
        consistency: Consistency,
        /// The client has enough after so many rows, though it has not said so.
        enough: Option<usize>,
    },
}

/// A conditional write that a client does after it has read the row, and again if somebody else was first.
#[derive(Clone, Copy, Debug)]
pub(crate) enum FollowUp {
    /// Count one more.
    Count,
    /// Append to the list.
    Append,
    /// Change, delete or make the row if nobody has touched it meanwhile; after a while, as a transaction block does.
    Edit,
}

fn put(column: &str, value: String) -> Mutation {
    Mutation::Put { column: Bytes::copy_from_slice(column.as_bytes()), value: value.into() }
}

fn delete(column: &'static str) -> Mutation {
    Mutation::Delete { column: Bytes::from_static(column.as_bytes()) }
}

/// The next operation of a client, in which range, and what comes after it. `unique` tells its value from all others.
pub(crate) fn draw(random: &mut Random, options: &Options, unique: u32) -> (Range, Intent, Option<FollowUp>) {
    let range = random.below(options.ranges.into()) as u32;
    let number = random.below(options.keys.into());
    let consistency = if random.one_in(3) { Consistency::Timeline } else { Consistency::Strong };
    let mut value = unique.to_string();
    if random.one_in(if options.kinds.full { 3 } else { 12 }) {
        // A long one, so that appends differ in size.
        let length = random.below(6000) as usize;
        value.extend(std::iter::once(' ').chain(std::iter::repeat_n('x', length)));
    }
    if options.style == Style::Deposing && !random.one_in(4) {
        let keys = vec![format!("reg{number}")];
        let timeline = options.wide && random.one_in(2);
        let consistency = if timeline { Consistency::Timeline } else { Consistency::Strong };
        return (range, Intent::Get { keys, consistency }, None);
    }
    let (intent, next) = match random.below(27) {
        0..=3 => {
            let key = format!("reg{number}");
            (Intent::Write { key, conditions: Vec::new(), mutations: vec![put("v", value)] }, None)
        }
        4..=6 => {
            let keys = vec![format!("reg{number}")];
            (Intent::Get { keys, consistency }, None)
        }
        7..=9 => {
            let keys = vec![format!("cnt{number}")];
            (Intent::Get { keys, consistency }, Some(FollowUp::Count))
        }
        10 | 11 => {
            let keys = vec![format!("lst{number}")];
            (Intent::Get { keys, consistency }, Some(FollowUp::Append))
        }
        12 => {
            let key = format!("set{number}");
            let mutations = vec![put(&format!("e{value}"), value)];
            (Intent::Write { key, conditions: Vec::new(), mutations }, None)
        }
        13..=15 => (churn(random, number, value), None),
        16 => {
            let mutations = ["a", "b", "c"].map(|column| put(column, value.clone())).to_vec();
            (Intent::Write { key: format!("mul{number}"), conditions: Vec::new(), mutations }, None)
        }
        17 | 18 => {
            let kinds = ["chu", "mul", "nul", "set", "reg", "cnt"];
            let keys = kinds.iter().map(|kind| format!("{kind}{number}")).collect();
            (Intent::Get { keys, consistency }, None)
        }
        19..=21 => {
            let keys = vec![format!("nul{number}")];
            (Intent::Get { keys, consistency }, Some(FollowUp::Edit))
        }
        22 => (nullify(random, number, value), None),
        _ => {
            let (start, end) = match random.below(3) {
                0 => (String::new(), None),
                1 => ("chu".to_owned(), Some("mul".to_owned())),
                _ => ("lst1".to_owned(), Some("reg2".to_owned())),
            };
            let limit = random.one_in(4).then(|| 1 + random.below(6));
            let enough = random.one_in(4).then(|| 1 + random.below(6) as usize);
            (Intent::Scan { start, end, reverse: random.one_in(2), limit, consistency, enough }, None)
        }
    };
    (range, intent, next)
}

/// A row that comes and goes.
fn churn(random: &mut Random, number: u64, value: String) -> Intent {
    let key = format!("chu{number}");
    let column = Bytes::from_static(b"x");
    let (conditions, mutations) = match random.below(10) {
        0 => (Vec::new(), vec![Mutation::DeleteRow]),
        1..=3 => (vec![Condition::RowPresent], vec![Mutation::DeleteRow]),
        4 => (Vec::new(), vec![Mutation::DeleteRow, put("y", value)]),
        5 => (Vec::new(), vec![Mutation::Delete { column }]),
        6..=8 => (vec![Condition::RowAbsent], vec![put("x", value)]),
        _ => (Vec::new(), vec![put("x", value)]),
    };
    Intent::Write { key, conditions, mutations }
}

/// Changes a row of several columns whatever it is.
fn nullify(random: &mut Random, number: u64, value: String) -> Intent {
    let mutations = match random.below(5) {
        0 => vec![Mutation::DeleteRow],
        1 | 2 => vec![delete("a")],
        3 => vec![delete("b"), delete("c")],
        _ => vec![put("a", value)],
    };
    Intent::Write { key: format!("nul{number}"), conditions: Vec::new(), mutations }
}

/// The write that is computed from the row.
pub(crate) fn follow(next: FollowUp, update: &RowUpdate, unique: u32) -> Intent {
    let row = update.row();
    let key = String::from_utf8_lossy(&row.key).into_owned();
    let value = |column: &[u8]| {
        row.cells
            .iter()
            .find(|cell| cell.column == column)
            .map(|cell| String::from_utf8_lossy(&cell.value).into_owned())
    };
    match next {
        FollowUp::Count => {
            let count = value(b"n").and_then(|text| text.split(' ').next()?.parse::<u64>().ok()).unwrap_or(0);
            let version =
                row.cells.iter().find(|cell| cell.column == "n").map_or(Lsn::ZERO, |cell| cell.version);
            // Nothing else is ever in such a row.
            let conditions = vec![match unique % 3 {
                0 => Condition::CellsVersion(version),
                _ => Condition::ColumnVersion { column: "n".into(), version },
            }];
            Intent::Write { key, conditions, mutations: vec![put("n", format!("{} {unique}", count + 1))] }
        }
        FollowUp::Append => {
            let mut list = value(b"l").unwrap_or_default();
            // Long lists would only be slow.
            if list.len() > 200 {
                list.clear();
            }
            let _ = write!(list, ",{unique}");
            replace(update, vec![put("l", list)])
        }
        FollowUp::Edit => {
            let value = || unique.to_string();
            let mutations = match unique % 8 {
                _ if row.cells.is_empty() => vec![put("a", value()), put("b", value()), put("c", value())],
                0 => vec![put("a", value()), delete("b")],
                1 => vec![delete("a"), delete("b"), delete("c")],
                2 => vec![Mutation::DeleteRow],
                3 => vec![Mutation::DeleteRow, put("c", value())],
                4 | 5 => vec![delete("a")],
                6 => vec![delete("b")],
                _ => vec![delete("c"), put("a", value())],
            };
            replace(update, mutations)
        }
    }
}

/// The write of a row that must still be the one from which it was computed.
fn replace(update: &RowUpdate, mutations: Vec<Mutation>) -> Intent {
    let Write { key, conditions, mutations, .. } = update.write(TableId(1), mutations);
    Intent::Write { key: String::from_utf8_lossy(&key).into_owned(), conditions, mutations }
}
