//! Scans of clients: what their gateways do is decided by production code ([`RangeScanSteps`]); here its requests travel,
//! its pauses pass, and its clients take their time, or have enough.

use std::time::Duration;

use bytes::Bytes;
use kvstore::error::KvError;
use kvstore::request::{Columns, Consistency as Asked, ReadOptions};
use kvstore::testing::{
    ASK_MAX, Answer, CallError, Handed, LOOK_AFTER, Operation, RangeScan, RangeScanSteps, ScanStep,
    is_given_up,
};
use wal::NodeId;

use super::call::Result;
use super::client::{Scanning, State};
use super::coverage::Kinds;
use super::history::{Consistency, Event, Node, Range, Response};
use super::workload::Intent;
use super::world::{Action, World};

/// What a scan is about.
pub(super) fn whole(intent: &Intent) -> RangeScan {
    let (start, end, reverse, limit) = match intent {
        Intent::Scan { start, end, reverse, limit, .. } => (start.clone(), end.clone(), *reverse, *limit),
        Intent::Get { .. } | Intent::Write { .. } => (String::new(), None, false, None),
    };
    let (start, end) = (start.into(), end.map(Bytes::from));
    RangeScan { start, end, reverse, limit, columns: Columns::All }
}

impl World {
    /// A scan as a gateway carries it out; `None` for what is none.
    pub(super) fn new_scan(
        &self,
        range: Range,
        intent: &Intent,
        max_staleness_ms: Option<u64>,
        deadline: u64,
    ) -> Option<Scanning> {
        let Intent::Scan { consistency, enough, .. } = intent else { return None };
        let members = self.options.members(range).into_iter().map(NodeId).collect();
        let consistency = match consistency {
            Consistency::Strong => Asked::Strong,
            Consistency::Timeline => Asked::Timeline,
        };
        let max_staleness = max_staleness_ms.map(Duration::from_millis);
        let deadline = self.instant(deadline);
        let options = ReadOptions { consistency, max_staleness, min_lsn: None, deadline };
        Some(Scanning {
            steps: RangeScanSteps::new(members, whole(intent), &options),
            state: State::Next,
            strong: consistency == Asked::Strong,
            enough: *enough,
            sent: 0,
            page: None,
            unread: None,
            rows: Vec::new(),
            first: None,
        })
    }

    fn scanning(&mut self, number: u32) -> Option<&mut Scanning> {
        self.clients[number as usize].work.as_mut()?.scan.as_mut()
    }

    /// A scan goes on as far as it can, when its gateway's call is not at its first page.
    pub(super) fn drive_scan(&mut self, number: u32) {
        loop {
            let (at, now) = (self.now, self.instant(self.now));
            let Some(gateway) = self.clients[number as usize].work.as_ref().map(|work| work.gateway) else {
                return;
            };
            let memory = self.machines.get(&gateway).and_then(|machine| machine.process.as_ref());
            let Some(memory) = memory.map(|process| process.scan_memory.clone()) else { return };
            let Some(scan) = self.scanning(number) else { return };
            match std::mem::replace(&mut scan.state, State::Next) {
                State::Paused(until) if at < until => return scan.state = State::Paused(until),
                State::Paused(_) => {
                    // The client has read what it was handed.
                    scan.unread = None;
                }
                State::Next => match scan.steps.step(now) {
                    Ok(ScanStep::Done) => {
                        self.coverage.met(ScanStep::Done.kind());
                        return self.scan_done(number);
                    }
                    Ok(ScanStep::Pause(pause)) => {
                        self.coverage.met(ScanStep::Pause(pause).kind());
                        return self.pause_scan(number, pause.as_micros() as u64);
                    }
                    Ok(step) => scan.state = State::NeedsMemory(step),
                    Err(error) => return self.scan_failed(number, error),
                },
                State::NeedsMemory(mut step) => match scan.steps.reserve(&mut step, &memory, now) {
                    Ok(Ok(held)) => {
                        (scan.page, scan.sent) = (Some(held), at);
                        return self.ask_page(number, step);
                    }
                    Ok(Err(pause)) => {
                        scan.state = State::NeedsMemory(step);
                        self.coverage.met(("scan step", "wait for memory"));
                        return self.plan(pause.as_micros() as u64, Action::Wake { client: number });
                    }
                    Err(error) => return self.scan_failed(number, error),
                },
                State::Asks(attempt, node, cursor) => {
                    scan.state = State::Asks(attempt, node, cursor);
                    if !self.is_silent(number, node) {
                        return;
                    }
                    let silent = Err(CallError::Lost("nothing is heard of it".into()));
                    self.page_answered(number, attempt, None, silent);
                }
                State::Opens => return scan.state = State::Opens,
            }
        }
    }

    /// Whether the gateway waits no longer for the node that it has asked for a page.
    fn is_silent(&self, number: u32, node: Node) -> bool {
        let now = self.instant(self.now);
        let Some(work) = self.clients[number as usize].work.as_ref() else { return false };
        let Some(since) = work.scan.as_ref().map(|scan| self.instant(scan.sent)) else { return false };
        let process = self.machines.get(&work.gateway).and_then(|machine| machine.process.as_ref());
        let silence = process.filter(|_| work.gateway != node).map(|process| &process.silence);
        silence.is_some_and(|silence| is_given_up(silence, NodeId(node), since, now))
    }

    fn pause_scan(&mut self, number: u32, during: u64) {
        let until = self.now + during;
        if let Some(scan) = self.scanning(number) {
            scan.state = State::Paused(until);
            self.plan(during, Action::Wake { client: number });
        }
    }

    /// The gateway asks for a page.
    fn ask_page(&mut self, number: u32, step: ScanStep) {
        self.coverage.met(step.kind());
        match step {
            ScanStep::Open(rest, page_bytes) => {
                let Some(work) = self.clients[number as usize].work.as_mut() else { return };
                if let Some(scan) = &mut work.scan {
                    scan.state = State::Opens;
                }
                let (intent, max_staleness) = (work.intent.clone(), work.max_staleness_ms);
                let (place, deadline) = ((work.gateway, work.range), work.deadline);
                let until = self.instant(deadline);
                let call =
                    self.read_call(number, place, &intent, Some((rest, page_bytes)), max_staleness, until);
                if let Some(work) = self.client(number).work.as_mut() {
                    work.call = call;
                }
                self.drive(number);
            }
            ScanStep::Ask(node, operation) => {
                let Some(work) = self.clients[number as usize].work.as_mut() else { return };
                // Unlike the numbers of the attempts at the first page.
                let attempt = u32::MAX - work.attempts;
                let cursor = match &operation {
                    Operation::Rest { cursor, .. } => *cursor,
                    _ => 0,
                };
                if let Some(scan) = &mut work.scan {
                    scan.state = State::Asks(attempt, node.0, cursor);
                }
                let call = self.ask(number, attempt, node.0, operation, false);
                self.plan(LOOK_AFTER.as_micros() as u64, Action::Wake { client: number });
                self.plan(ASK_MAX.as_micros() as u64, Action::Timeout { call });
            }
            ScanStep::Pause(_) | ScanStep::Done => {}
        }
    }

    /// The first page has come, or will not.
    pub(super) fn scan_opened(&mut self, number: u32, result: std::result::Result<Answer, KvError>) {
        let Some(served) = self.clients[number as usize].work.as_ref().map(|work| work.served) else {
            return;
        };
        let origin = self.origin;
        let Some(scan) = self.scanning(number) else { return };
        scan.state = State::Next;
        let sent = origin + Duration::from_micros(scan.sent);
        match result.and_then(|answer| scan.steps.opened(sent, answer)) {
            Ok(handed) => self.hand(number, handed, served),
            Err(error) => self.scan_failed(number, error),
        }
    }

    /// Something has come of a request for another page.
    pub(super) fn page_answered(&mut self, number: u32, attempt: u32, served: Option<u64>, result: Result) {
        let (origin, at, now) = (self.origin, self.now, self.instant(self.now));
        let Some(scan) = self.scanning(number) else { return };
        let State::Asks(asked, node, cursor) = scan.state else { return self.unclaimed(number, &result) };
        if asked != attempt {
            return self.unclaimed(number, &result);
        }
        scan.state = State::Next;
        let sent = origin + Duration::from_micros(scan.sent);
        let (mut fresh, mut other) = (None, false);
        if let Ok(Answer::Rows { source, cursor: next, .. }) = &result {
            fresh = source.staleness;
            other = next.as_ref().is_none_or(|next| next.id != cursor);
        }
        let taken = scan.steps.answered(sent, now, result);
        if other && cursor != 0 {
            // It has ended there.
            self.cursor(number, node, cursor, false);
        }
        match taken {
            // What it does not say itself, the gateway reckons now.
            Ok(Some(handed)) => self.hand(number, handed, fresh.and(served).unwrap_or(at)),
            Ok(None) => {}
            Err(error) => return self.scan_failed(number, error),
        }
        self.close_abandoned(number);
    }

    /// An answer for which nobody waits any more: the scan that was opened for it is closed.
    fn unclaimed(&mut self, number: u32, result: &Result) {
        if let Ok(Answer::Rows { source, cursor: Some(cursor), .. }) = result {
            self.close_scans(number, vec![(source.replica, cursor.id)]);
        }
    }

    /// An answer tells the gateway of an open scan.
    pub(super) fn told_of_cursor(&mut self, number: u32, result: &Result) {
        if self.scanning(number).is_some()
            && let Ok(Answer::Rows { source, cursor: Some(cursor), .. }) = result
        {
            self.cursor(number, source.replica.0, cursor.id, true);
        }
    }

    fn cursor(&mut self, number: u32, node: Node, id: u64, open: bool) {
        let Some(op) = self.clients[number as usize].work.as_ref().map(|work| work.op) else { return };
        self.happened(Event::Cursor { op, node, id, open });
    }

    /// Rows reach the client, which reads them as it likes.
    fn hand(&mut self, number: u32, handed: Handed, served: u64) {
        let Some(op) = self.clients[number as usize].work.as_ref().map(|work| work.op) else { return };
        let Some(scan) = self.scanning(number) else { return };
        let mut held = scan.page.take();
        if let Some(held) = &mut held
            && let Err(error) = RangeScanSteps::hold(&handed, held)
        {
            return self.scan_failed(number, error);
        }
        let Handed { rows, source } = handed;
        let (lsn, node) = (source.lsn, source.replica.0);
        let staleness_ms = source.staleness.map(|staleness| staleness.as_millis() as u64);
        let served = scan.first.filter(|first| scan.strong && first.0 == lsn).map_or(served, |first| first.2);
        if scan.rows.is_empty() {
            // Until then it may start over.
            scan.first = Some((lsn, node, served, staleness_ms));
        }
        scan.unread = held.filter(|_| !rows.is_empty());
        scan.rows.extend(rows.iter().cloned());
        let enough = scan.enough.is_some_and(|enough| scan.rows.len() >= enough);
        self.happened(Event::Page { op, rows, lsn, node, served, staleness_ms });
        self.close_abandoned(number);
        if enough {
            return self.end_scan(number, Response::Failed);
        }
        // Some clients take their time.
        let hurries = self.calm || self.options.answer_max.is_some();
        let slow = if !hurries && self.random.one_in(8) { 400_000 } else { 1000 };
        let during = self.random.below(slow);
        self.pause_scan(number, during);
    }

    fn scan_done(&mut self, number: u32) {
        let Some(scan) = self.scanning(number) else { return };
        let rows = std::mem::take(&mut scan.rows);
        let outcome = match scan.first {
            Some((lsn, node, served, staleness_ms)) => {
                Response::Rows { rows, lsn, node, served, staleness_ms }
            }
            None => Response::Failed,
        };
        self.end_scan(number, outcome);
    }

    fn scan_failed(&mut self, number: u32, error: KvError) {
        self.note(|| format!("a scan of client {number} fails: {error}"));
        self.coverage.met(error.kind());
        if let KvError::Internal(what) = error {
            return self.violated("scans", what);
        }
        self.end_scan(number, Response::Failed);
    }

    /// The scan ends, however it ends: what it has open is closed.
    fn end_scan(&mut self, number: u32, outcome: Response) {
        if let Some(scan) = self.scanning(number) {
            scan.steps.stop();
        }
        self.close_abandoned(number);
        self.finish(number, outcome);
    }

    fn close_abandoned(&mut self, number: u32) {
        let abandoned = self.scanning(number).map(|scan| scan.steps.abandoned());
        self.close_scans(number, abandoned.unwrap_or_default());
    }

    /// The gateway asks nodes to close scans; nobody waits for that.
    pub(super) fn close_scans(&mut self, number: u32, scans: Vec<(NodeId, u64)>) {
        let Some(from) = self.clients[number as usize].work.as_ref().map(|work| work.gateway) else { return };
        for (NodeId(to), cursor) in scans {
            self.cursor(number, to, cursor, false);
            let delays = self.network.send(&mut self.random, self.now, from, to);
            if let Some(delay) = delays.first().filter(|_| self.network.carries(from, to)) {
                self.plan(*delay, Action::CloseScan { from, to, cursor });
            }
        }
    }

    /// A node is told that nobody continues a scan.
    pub(super) fn scan_closed(&mut self, from: Node, to: Node, cursor: u64) {
        self.coverage.met(Operation::Close(cursor).kind());
        let process = self.machines.get_mut(&to).and_then(|machine| machine.process.as_mut());
        if let Some(process) = process.filter(|_| self.network.carries(from, to)) {
            process.scans.close(cursor);
        }
    }
}
