//! How a history reads, for people.

use super::history::{Call, Event, Response};

/// One line of a trace.
pub(crate) fn line(at: u64, event: &Event) -> String {
    let text = match event {
        Event::Invoked { op, client, range, call, .. } => {
            format!("client {client} op {op} r{range}: {}", asked(call))
        }
        Event::Page { op, rows, lsn, node, staleness_ms, .. } => {
            format!("op {op} is handed {} rows from n{node} at {lsn}, stale {staleness_ms:?} ms", rows.len())
        }
        Event::Cursor { op, node, id, open: true } => format!("op {op} has scan {id:x} open on n{node}"),
        Event::Cursor { op, node, id, open: false } => format!("op {op} has closed scan {id:x} on n{node}"),
        Event::Adrift { op } => format!("op {op} has lost its gateway, or its client"),
        Event::Returned { op, outcome } => format!("op {op} -> {}", outcome_text(outcome)),
        Event::Acknowledged { node, range, lsn } => format!("n{node} r{range} acknowledges {lsn}"),
        Event::Applied { node, range, entry, request } => {
            let whose = request.map_or(String::new(), |(request, refused)| {
                let refused = if refused { ", a refusal" } else { "" };
                format!(" (client {} write {}{refused})", request.client - 1, request.sequence)
            });
            format!("n{node} r{range} applies {}{whose}", entry.lsn)
        }
        Event::Appended { node, range, lsn, .. } => format!("n{node} r{range} appends {lsn}"),
        Event::Skipped { node, range, from } => format!("n{node} r{range} skips all from {from} on"),
        Event::Forced { node } => format!("n{node} forces"),
        Event::Discarded { node } => format!("n{node}'s disk is full: its open batch is dropped"),
        Event::Flushed { node, range, flushed } => format!("n{node} r{range} flushes up to {flushed}"),
        Event::SnapshotInstalled { node, range, flushed } => {
            format!("n{node} r{range} takes a snapshot up to {flushed}")
        }
        Event::DiskLost { node } => format!("n{node} has lost its disk"),
        Event::Ended { node } => format!("n{node} has ended"),
        Event::Recovered { node, range, flushed, entries, promise, must_rejoin } => {
            let last = entries.last().copied().unwrap_or(*flushed);
            let leader = promise.leader.map_or("nobody".to_owned(), |leader| leader.node.to_string());
            let must_rejoin = if *must_rejoin { ", learner" } else { "" };
            format!(
                "n{node} r{range} recovers: tables {flushed}, log {last}, promise {} to {leader}{must_rejoin}",
                promise.epoch
            )
        }
        Event::Promised { node, range, promise } => {
            format!("n{node} r{range} has promised {}", promise.epoch)
        }
        Event::Opened { node, range, epoch } => format!("n{node} r{range} opens epoch {epoch}"),
        Event::Contents { node, range, lsn, hash } => format!("n{node} r{range} holds {hash:016x} at {lsn}"),
        Event::LogDamaged { node, whole } => {
            format!("n{node}'s log is damaged{}", if *whole { ": all of it is gone" } else { "" })
        }
        Event::DiskTroubled { node } => format!("n{node}'s disk is full, or fails"),
        Event::AppendRefused { node, range } => format!("n{node} r{range} could not append"),
        Event::Learning { node, range } => format!("n{node} r{range} learns anew"),
        Event::Promoted { node, range } => format!("n{node} r{range} counts again"),
        Event::Alarm { node, range, text } => format!("n{node} r{range} ALARM {text}"),
    };
    format!("{:>9.3} ms  {text}", at as f64 / 1000.0)
}

fn asked(call: &Call) -> String {
    match call {
        Call::Write { key, conditions, mutations, request } => {
            format!("write {} {key} {mutations:?} if {conditions:?}", request.sequence)
        }
        Call::Get { keys, consistency } => format!("get {} {consistency:?}", keys.join(" ")),
        Call::Scan { start, end, reverse, limit, consistency, .. } => {
            let (reverse, limit) = (if *reverse { " reverse" } else { "" }, limit.unwrap_or(u64::MAX));
            format!("scan {start:?}..{end:?}{reverse} {consistency:?}, {limit} rows at most")
        }
    }
}

fn outcome_text(outcome: &Response) -> String {
    match outcome {
        Response::Written(lsn) => format!("written {lsn}"),
        Response::Refused { at, .. } => format!("refused at {at}"),
        Response::Rows { rows, lsn, node, staleness_ms, .. } => {
            format!("{} rows from n{node} at {lsn}, stale {staleness_ms:?} ms", rows.len())
        }
        Response::Failed => "failed".to_owned(),
        Response::Unknown => "unknown".to_owned(),
    }
}
