//! Operations and answers between nodes, as protobuf and back.

use std::time::Duration;

use bytes::Bytes;
use wal::{CohortId, Lsn, NodeId};

use super::gateway;
use super::public;
use super::size::MESSAGE_BYTES_MAX;
use crate::error::{KvError, part};
use crate::operation::{Answer, Cursor, Mode, Operation, RangeScan, RangeWrite};
use crate::request::{Columns, Condition, Mutation, RequestId, Row, Source, WriteOutcome, Written};

/// How large a page may be if its gateway, one of the last release, does not say.
const PAGE_BYTES: usize = 512 << 10;

/// A larger answer is refused: a frame with others' answers before it must still fit into a message.
const ANSWER_BYTES_MAX: usize = MESSAGE_BYTES_MAX - (4 << 20);

type OperationKind = gateway::request::Operation;
type AnswerKind = gateway::answer::Kind;
type FailureKind = gateway::failure::Kind;

/// The request as it travels.
pub(crate) fn request(
    id: u64,
    range: CohortId,
    operation: Operation,
    forward: bool,
    timeout: Duration,
) -> gateway::Request {
    let operation = match operation {
        Operation::Get { key, columns: which, mode: how } => {
            OperationKind::Get(gateway::Get { key, columns: Some(columns(which)), mode: Some(mode(how)) })
        }
        Operation::MultiGet { keys, columns: which, mode: how, at, partial } => {
            OperationKind::MultiGet(gateway::MultiGet {
                keys,
                columns: Some(columns(which)),
                mode: Some(mode(how)),
                at: at.map(public::lsn),
                partial,
            })
        }
        Operation::Scan { scan: what, mode: how, page_bytes } => {
            OperationKind::Scan(scan(what, how, None, 0, page_bytes))
        }
        // A node of the last release, which knows no `at`, answers as of its newest LSN, and says so.
        Operation::Rest { scan: what, at, cursor, page_bytes } => {
            let mode = Mode::Timeline { floor: at, max_staleness: None };
            OperationKind::Scan(scan(what, mode, Some(at), cursor, page_bytes))
        }
        Operation::Next(cursor) => OperationKind::Next(cursor),
        Operation::Close(cursor) => OperationKind::Close(cursor),
        Operation::Write(write) => OperationKind::Write(gateway::Write {
            key: write.key,
            conditions: write.conditions.into_iter().map(public::condition).collect(),
            mutations: write.mutations.into_iter().map(mutation).collect(),
            client: Bytes::copy_from_slice(&write.request.client.to_be_bytes()),
            sequence: write.request.sequence,
            known: Some(public::lsn(write.known)),
            retry: write.retry,
            row_versions: true,
        }),
        Operation::Transfer(target) => OperationKind::Transfer(target.map_or(0, |node| node.0)),
    };
    gateway::Request {
        id,
        timeout_ms: u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX),
        range: Bytes::copy_from_slice(&range.0.to_be_bytes()),
        operation: Some(operation),
        forward,
    }
}

/// What a request asks for; an error if a part of it is missing.
pub(crate) fn to_operation(request: gateway::Request) -> Result<(CohortId, Operation), KvError> {
    let absent = || KvError::Invalid("a node sent an incomplete request".into());
    let range = CohortId(u128::from_be_bytes((&request.range[..]).try_into().map_err(|_| absent())?));
    // A kind that the next release has brought. Another node may know it, or this one, when it has been upgraded.
    let strange = || {
        KvError::Unavailable("this node does not know what it is asked for: it runs an older release".into())
    };
    let operation = match request.operation.ok_or_else(strange)? {
        OperationKind::Get(get) => Operation::Get {
            key: get.key,
            columns: to_columns(get.columns.ok_or_else(absent)?),
            mode: to_mode(&get.mode.ok_or_else(absent)?),
        },
        OperationKind::MultiGet(get) => Operation::MultiGet {
            keys: get.keys,
            columns: to_columns(get.columns.ok_or_else(absent)?),
            mode: to_mode(&get.mode.ok_or_else(absent)?),
            at: get.at.as_ref().map(public::to_lsn),
            partial: get.partial,
        },
        OperationKind::Scan(scan) => {
            let mode = to_mode(&scan.mode.ok_or_else(absent)?);
            let columns = to_columns(scan.columns.ok_or_else(absent)?);
            let gateway::Scan { start, end, reverse, limit, at, cursor, page_bytes, .. } = scan;
            let page_bytes = if page_bytes == 0 { PAGE_BYTES } else { page_bytes as usize };
            let scan = RangeScan { start, end, reverse, limit, columns };
            match at {
                None => Operation::Scan { scan, mode, page_bytes },
                Some(at) => Operation::Rest { scan, at: public::to_lsn(&at), cursor, page_bytes },
            }
        }
        OperationKind::Next(cursor) => Operation::Next(cursor),
        OperationKind::Close(cursor) => Operation::Close(cursor),
        OperationKind::Write(write) => {
            let client = u128::from_be_bytes((&write.client[..]).try_into().map_err(|_| absent())?);
            let mutations: Option<Vec<_>> = write.mutations.into_iter().map(to_mutation).collect();
            Operation::Write(RangeWrite {
                key: write.key,
                conditions: conditions(write.conditions, write.row_versions)?,
                mutations: mutations.ok_or_else(absent)?,
                request: RequestId { client, sequence: write.sequence },
                known: to_lsn(write.known),
                retry: write.retry,
            })
        }
        OperationKind::Transfer(target) => Operation::Transfer((target != 0).then_some(NodeId(target))),
    };
    Ok((range, operation))
}

/// The answer as it travels.
pub(crate) fn answer(id: u64, answer: Result<Answer, KvError>) -> gateway::Answer {
    let kind = match answer {
        Ok(Answer::Row { row, source }) => AnswerKind::Row(gateway::FoundRow {
            row: Some(public::row(row)),
            source: Some(public::source(source)),
        }),
        Ok(Answer::Rows { rows, source, cursor }) => AnswerKind::Rows(gateway::Rows {
            rows: rows.into_iter().map(public::row).collect(),
            source: Some(public::source(source)),
            cursor: cursor.as_ref().map_or(0, |cursor| cursor.id),
            passed: cursor.and_then(|cursor| cursor.passed),
        }),
        Ok(Answer::Write(WriteOutcome::Written(written))) => AnswerKind::Written(public::lsn(written.lsn)),
        Ok(Answer::Write(WriteOutcome::ConditionFailed { current, at })) => {
            AnswerKind::ConditionFailed(gateway::ConditionFailed {
                current: Some(public::row(current)),
                at: Some(public::lsn(at.lsn)),
            })
        }
        Ok(Answer::Forgotten { applied }) => {
            AnswerKind::Forgotten(gateway::Forgotten { applied: Some(public::lsn(applied)) })
        }
        Ok(Answer::Done) => AnswerKind::Done(true),
        Err(error) => AnswerKind::Failure(failure(error)),
    };
    let answer = gateway::Answer { id, kind: Some(kind) };
    match prost::Message::encoded_len(&answer) {
        // It would end the stream that all requests share.
        size if size > ANSWER_BYTES_MAX => {
            let error = KvError::TooLarge { what: "answer", size, limit: ANSWER_BYTES_MAX };
            gateway::Answer { id, kind: Some(AnswerKind::Failure(failure(error))) }
        }
        _ => answer,
    }
}

/// What an answer says; `range` is what was asked for.
pub(crate) fn to_answer(range: CohortId, kind: Option<AnswerKind>) -> Result<Answer, KvError> {
    match kind {
        Some(AnswerKind::Row(found)) => Ok(Answer::Row {
            row: found.row.map(public::to_row).unwrap_or_default(),
            source: to_source(range, found.source.unwrap_or_default()),
        }),
        Some(AnswerKind::Rows(page)) => Ok(Answer::Rows {
            rows: page.rows.into_iter().map(public::to_row).collect(),
            source: to_source(range, page.source.unwrap_or_default()),
            cursor: (page.cursor != 0).then_some(Cursor { id: page.cursor, passed: page.passed }),
        }),
        Some(AnswerKind::Written(lsn)) => {
            Ok(Answer::Write(WriteOutcome::Written(Written { range, lsn: public::to_lsn(&lsn) })))
        }
        Some(AnswerKind::ConditionFailed(failed)) => Ok(Answer::Write(WriteOutcome::ConditionFailed {
            current: failed.current.map(public::to_row).unwrap_or_else(Row::default),
            at: Written { range, lsn: to_lsn(failed.at) },
        })),
        Some(AnswerKind::Forgotten(forgotten)) => {
            Ok(Answer::Forgotten { applied: to_lsn(forgotten.applied) })
        }
        Some(AnswerKind::Done(_)) => Ok(Answer::Done),
        Some(AnswerKind::Failure(failure)) => Err(to_error(failure)),
        None => Err(KvError::Internal(
            "a node sent an unexpected response type; all nodes must run the same version".into(),
        )),
    }
}

fn to_source(range: CohortId, source: super::v1::Source) -> Source {
    Source {
        range,
        replica: NodeId(source.replica),
        lsn: to_lsn(source.lsn),
        staleness: source.staleness_ms.map(Duration::from_millis),
    }
}

fn scan(scan: RangeScan, how: Mode, at: Option<Lsn>, cursor: u64, page_bytes: usize) -> gateway::Scan {
    gateway::Scan {
        start: scan.start,
        end: scan.end,
        reverse: scan.reverse,
        limit: scan.limit,
        columns: Some(columns(scan.columns)),
        mode: Some(mode(how)),
        at: at.map(public::lsn),
        cursor,
        page_bytes: u32::try_from(page_bytes).unwrap_or(u32::MAX),
    }
}

fn columns(columns: Columns) -> gateway::Columns {
    match columns {
        Columns::All => gateway::Columns { all: true, some: Vec::new() },
        Columns::Some(some) => gateway::Columns { all: false, some },
    }
}

fn to_columns(columns: gateway::Columns) -> Columns {
    if columns.all { Columns::All } else { Columns::Some(columns.some) }
}

fn mode(mode: Mode) -> gateway::Mode {
    match mode {
        Mode::Strong => gateway::Mode::default(),
        Mode::Timeline { floor, max_staleness } => gateway::Mode {
            timeline: true,
            floor: Some(public::lsn(floor)),
            // Rounded down: the limit may not grow on the way.
            max_staleness_ms: max_staleness.map(|max| u64::try_from(max.as_millis()).unwrap_or(u64::MAX)),
        },
    }
}

fn to_mode(mode: &gateway::Mode) -> Mode {
    if !mode.timeline {
        return Mode::Strong;
    }
    Mode::Timeline {
        floor: to_lsn(mode.floor),
        max_staleness: mode.max_staleness_ms.map(Duration::from_millis),
    }
}

/// The conditions of a write; a gateway that knows no versions of rows means the highest of the cells' versions.
fn conditions(conditions: Vec<super::v1::Condition>, row_versions: bool) -> Result<Vec<Condition>, KvError> {
    let known = |condition| match condition {
        Condition::RowVersion(version) if !row_versions => Condition::CellsVersion(version),
        other => other,
    };
    Ok(public::to_conditions(conditions)?.into_iter().map(known).collect())
}

fn to_lsn(lsn: Option<super::v1::Lsn>) -> Lsn {
    lsn.map_or(Lsn::ZERO, |lsn| public::to_lsn(&lsn))
}

fn mutation(mutation: Mutation) -> gateway::Mutation {
    use gateway::mutation::Kind;
    let kind = match mutation {
        Mutation::Put { column, value } => Kind::Put(super::v1::ColumnValue { column, value }),
        Mutation::Delete { column } => Kind::Delete(column),
        Mutation::DeleteRow => Kind::DeleteRow(true),
    };
    gateway::Mutation { kind: Some(kind) }
}

fn to_mutation(mutation: gateway::Mutation) -> Option<Mutation> {
    use gateway::mutation::Kind;
    Some(match mutation.kind? {
        Kind::Put(put) => Mutation::Put { column: put.column, value: put.value },
        Kind::Delete(column) => Mutation::Delete { column },
        Kind::DeleteRow(_) => Mutation::DeleteRow,
    })
}

fn failure(error: KvError) -> gateway::Failure {
    let (kind, node) = match &error {
        KvError::NotLeader { hint } => (FailureKind::NotLeader, hint.map_or(0, |node| node.0)),
        KvError::RangeMoved | KvError::NoTable(_) => (FailureKind::RangeMoved, 0),
        KvError::DiskFull(node) => (FailureKind::DiskFull, node.0),
        KvError::Overloaded(_) => (FailureKind::Overloaded, 0),
        KvError::DeadlineExceeded(_) => (FailureKind::Deadline, 0),
        KvError::OutcomeUnknown(_) => (FailureKind::OutcomeUnknown, 0),
        KvError::Unavailable(_) | KvError::Coordination(_) => (FailureKind::Unavailable, 0),
        KvError::ShuttingDown => (FailureKind::ShuttingDown, 0),
        KvError::Invalid(_) => (FailureKind::Invalid, 0),
        KvError::TooLarge { .. } => (FailureKind::TooLarge, 0),
        KvError::ReadTooOld(_) => (FailureKind::ReadTooOld, 0),
        KvError::OutOfMemory(_) => (FailureKind::OutOfMemory, 0),
        KvError::TableExists(_) | KvError::NotReady(_) | KvError::Internal(_) => (FailureKind::Internal, 0),
    };
    let dropped_table = match &error {
        KvError::NoTable(table) => table.clone(),
        _ => String::new(),
    };
    let (size, limit) = match &error {
        KvError::TooLarge { size, limit, .. } => (*size as u64, *limit as u64),
        _ => (0, 0),
    };
    let message = match error {
        KvError::DeadlineExceeded(text)
        | KvError::ReadTooOld(text)
        | KvError::OutcomeUnknown(text)
        | KvError::Unavailable(text)
        | KvError::Invalid(text)
        | KvError::Internal(text) => text,
        KvError::Overloaded(what) | KvError::OutOfMemory(what) => what.into_owned(),
        KvError::TooLarge { what, .. } => what.to_owned(),
        other => other.to_string(),
    };
    gateway::Failure { kind: kind as i32, message, node, dropped_table, size, limit }
}

fn to_error(failure: gateway::Failure) -> KvError {
    let (message, node) = (failure.message, NodeId(failure.node));
    let (size, limit) = (failure.size as usize, failure.limit as usize);
    match FailureKind::try_from(failure.kind) {
        Ok(FailureKind::NotLeader) => KvError::NotLeader { hint: (node.0 != 0).then_some(node) },
        Ok(FailureKind::RangeMoved) if failure.dropped_table.is_empty() => KvError::RangeMoved,
        Ok(FailureKind::RangeMoved) => KvError::NoTable(failure.dropped_table),
        Ok(FailureKind::DiskFull) => KvError::DiskFull(node),
        Ok(FailureKind::Overloaded) => KvError::Overloaded(message.into()),
        Ok(FailureKind::Deadline) => KvError::DeadlineExceeded(message),
        Ok(FailureKind::OutcomeUnknown) => KvError::OutcomeUnknown(message),
        Ok(FailureKind::Unavailable) => KvError::Unavailable(message),
        Ok(FailureKind::ShuttingDown) => KvError::ShuttingDown,
        Ok(FailureKind::Invalid) => KvError::Invalid(message),
        Ok(FailureKind::ReadTooOld) => KvError::ReadTooOld(message),
        Ok(FailureKind::OutOfMemory) => KvError::OutOfMemory(message.into()),
        Ok(FailureKind::TooLarge) => KvError::TooLarge { what: part(&message), size, limit },
        Ok(FailureKind::Internal) | Err(_) => KvError::Internal(message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_come_back_as_they_were() {
        let timeline =
            Mode::Timeline { floor: Lsn::new(1, 9), max_staleness: Some(Duration::from_millis(5)) };
        let scan = RangeScan {
            start: "a".into(),
            end: None,
            reverse: true,
            limit: Some(3),
            columns: Columns::Some(vec!["c".into()]),
        };
        let write = RangeWrite {
            key: "k".into(),
            conditions: vec![
                Condition::RowAbsent,
                Condition::RowPresent,
                Condition::RowVersion(Lsn::new(3, 4)),
                Condition::ColumnVersion { column: "c".into(), version: Lsn::ZERO },
            ],
            mutations: vec![
                Mutation::DeleteRow,
                Mutation::Put { column: "c".into(), value: "v".into() },
                Mutation::Delete { column: "d".into() },
            ],
            request: RequestId { client: u128::MAX - 3, sequence: 8 },
            known: Lsn::new(2, 7),
            retry: true,
        };
        let operations = [
            Operation::Get { key: "k".into(), columns: Columns::All, mode: timeline },
            Operation::MultiGet {
                keys: vec!["k".into()],
                columns: Columns::All,
                mode: Mode::Strong,
                at: Some(Lsn::new(4, 5)),
                partial: true,
            },
            Operation::Scan { scan: scan.clone(), mode: timeline, page_bytes: 70_000 },
            Operation::Rest { scan, at: Lsn::new(2, 6), cursor: u64::MAX, page_bytes: 1 },
            Operation::Next(5),
            Operation::Close(6),
            Operation::Write(write),
            Operation::Transfer(None),
            Operation::Transfer(Some(NodeId(2))),
        ];
        for operation in operations {
            let range = CohortId(77);
            let sent = request(1, range, operation.clone(), false, Duration::from_secs(1));
            assert_eq!(to_operation(sent), Ok((range, operation)));
        }
    }

    /// A rolling upgrade: a gateway of release 1 compares the highest version of the cells that it was shown, and a node of
    /// release 1 shows no other.
    #[test]
    fn a_node_without_versions_of_rows_is_understood() {
        let condition = |conditions, row_versions| {
            let write = RangeWrite {
                key: "k".into(),
                conditions,
                mutations: vec![Mutation::DeleteRow],
                request: RequestId { client: 1, sequence: 8 },
                known: Lsn::ZERO,
                retry: false,
            };
            let mut sent = request(1, CohortId(7), Operation::Write(write), false, Duration::from_secs(1));
            if let Some(OperationKind::Write(write)) = &mut sent.operation {
                write.row_versions = row_versions;
            }
            match to_operation(sent) {
                Ok((_, Operation::Write(write))) => write.conditions,
                other => panic!("{other:?}"),
            }
        };
        let version = Lsn::new(1, 4);
        for row_versions in [false, true] {
            let expected = match row_versions {
                true => Condition::RowVersion(version),
                false => Condition::CellsVersion(version),
            };
            assert_eq!(condition(vec![Condition::RowVersion(version)], row_versions), [expected]);
            assert_eq!(condition(vec![Condition::RowAbsent], row_versions), [Condition::RowAbsent]);
        }
        let cell =
            |seq| crate::request::Cell { column: "c".into(), value: "v".into(), version: Lsn::new(1, seq) };
        let row = Row { key: "k".into(), cells: vec![cell(4), cell(3)], version: Lsn::new(1, 9) };
        let mut sent = public::row(row);
        sent.version = None;
        assert_eq!(public::to_row(sent).version, version);
    }

    #[test]
    fn an_answer_that_would_end_the_stream_is_refused() {
        let range = CohortId(77);
        let source = Source { range, replica: NodeId(2), lsn: Lsn::new(1, 2), staleness: None };
        let cell = |column: &'static str| crate::request::Cell {
            column: column.into(),
            value: vec![0; 31 << 20].into(),
            version: Lsn::new(1, 2),
        };
        let row = Row { key: "k".into(), cells: vec![cell("a"), cell("b")], version: Lsn::new(1, 2) };
        let sent = answer(1, Ok(Answer::Row { row, source }));
        assert!(prost::Message::encoded_len(&sent) < 100);
        let got = to_answer(range, sent.kind);
        assert!(matches!(got, Err(KvError::TooLarge { what: "answer", .. })), "{got:?}");
    }

    #[test]
    fn answers_come_back_as_they_were() {
        let range = CohortId(77);
        let at = |seq| Written { range, lsn: Lsn::new(1, seq) };
        let source = Source { range, replica: NodeId(2), lsn: Lsn::new(1, 2), staleness: None };
        let row = Row { key: "k".into(), cells: Vec::new(), version: Lsn::new(1, 2) };
        let answers = [
            Ok(Answer::Row { row: row.clone(), source }),
            Ok(Answer::Rows { rows: vec![row.clone()], source, cursor: None }),
            Ok(Answer::Rows {
                rows: vec![row.clone()],
                source,
                cursor: Some(Cursor { id: 4, passed: Some("k".into()) }),
            }),
            Ok(Answer::Write(WriteOutcome::Written(at(3)))),
            Ok(Answer::Write(WriteOutcome::ConditionFailed { current: row, at: at(4) })),
            Ok(Answer::Forgotten { applied: Lsn::new(9, 9) }),
            Ok(Answer::Done),
            Err(KvError::NotLeader { hint: Some(NodeId(1)) }),
            Err(KvError::RangeMoved),
            Err(KvError::OutcomeUnknown("why".into())),
            Err(KvError::ShuttingDown),
            Err(KvError::ReadTooOld("why".into())),
            Err(KvError::OutOfMemory("scans".into())),
            Err(KvError::TooLarge { what: "row", size: 70, limit: 60 }),
            Err(KvError::Overloaded("write stall".into())),
        ];
        for sent in answers {
            assert_eq!(to_answer(range, answer(1, sent.clone()).kind), sent);
        }
    }
}
