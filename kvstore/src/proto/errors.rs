//! Errors as gRPC statuses with a typed detail, and back: the one table for both directions.
//!
//! The detail travels as gRPC's richer error model wants it: a `google.rpc.Status` in `grpc-status-details-bin` that
//! holds one [`v1::ErrorDetail`].

use prost::Message;
use tonic::{Code, Status};
use wal::NodeId;

use super::public;
use super::v1;
use super::v1::error_detail::{
    DeadlineExceeded, DiskFull, Kind, NoTable, NotLeader, Overloaded, RangeMoved, TableExists, TooLarge,
    VersionMismatch,
};
use crate::error::{KvError, part};
use crate::request::Row;

/// Type of the detail in `google.protobuf.Any`.
const TYPE_URL: &str = "type.googleapis.com/spinnaker.kv.v1.ErrorDetail";

/// `google.rpc.Status`, whose three fields never change.
#[derive(Clone, PartialEq, prost::Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, prost::Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// The status for an error.
pub fn from_error(error: &KvError) -> Status {
    let (code, kind) = classify(error);
    with_detail(code, error.to_string(), kind)
}

/// The status for a write whose condition did not hold.
pub fn version_mismatch(current: Row) -> Status {
    let version = current.version;
    let message = match current.cells.is_empty() {
        true => "condition failed: the row does not exist".to_owned(),
        false => format!("condition failed: the row has version {version}"),
    };
    let kind = VersionMismatch { version: Some(public::lsn(version)), current: Some(public::row(current)) };
    with_detail(Code::FailedPrecondition, message, Some(Kind::VersionMismatch(kind)))
}

/// The same as a part of a batch answer.
pub(crate) fn batch_error(status: &Status) -> v1::BatchError {
    let (code, message) = (status.code() as i32, status.message().to_owned());
    v1::BatchError { code, message, detail: detail(status) }
}

/// The typed detail of a status, if it has one.
pub fn detail(status: &Status) -> Option<v1::ErrorDetail> {
    let rich = RpcStatus::decode(status.details()).ok()?;
    let any = rich.details.into_iter().find(|any| any.type_url == TYPE_URL)?;
    v1::ErrorDetail::decode(&any.value[..]).ok()
}

/// The error that a status stands for; what this table does not know becomes [`KvError::Internal`].
pub fn to_error(status: &Status) -> KvError {
    let message = status.message().to_owned();
    match detail(status).and_then(|detail| detail.kind) {
        Some(Kind::NotLeader(it)) => KvError::NotLeader { hint: (it.hint != 0).then_some(NodeId(it.hint)) },
        Some(Kind::RangeMoved(_)) => KvError::RangeMoved,
        Some(Kind::TooLarge(it)) => {
            KvError::TooLarge { what: part(&it.what), size: it.size as usize, limit: it.limit as usize }
        }
        Some(Kind::DiskFull(it)) => KvError::DiskFull(NodeId(it.node)),
        Some(Kind::Overloaded(it)) => KvError::Overloaded(it.what.into()),
        Some(Kind::DeadlineExceeded(it)) if it.outcome_unknown => KvError::OutcomeUnknown(message),
        Some(Kind::DeadlineExceeded(_)) => KvError::DeadlineExceeded(message),
        Some(Kind::NoTable(it)) => KvError::NoTable(it.table),
        Some(Kind::TableExists(it)) => KvError::TableExists(it.table),
        Some(Kind::VersionMismatch(_)) => KvError::Internal(message),
        None => match status.code() {
            Code::InvalidArgument => KvError::Invalid(message),
            Code::FailedPrecondition => KvError::NotReady(message),
            Code::DeadlineExceeded => KvError::OutcomeUnknown(message),
            Code::Unavailable => KvError::Unavailable(message),
            Code::Aborted => KvError::ReadTooOld(message),
            Code::ResourceExhausted => KvError::OutOfMemory(message.into()),
            _ => KvError::Internal(message),
        },
    }
}

fn classify(error: &KvError) -> (Code, Option<Kind>) {
    match error {
        KvError::NoTable(table) => (Code::NotFound, Some(Kind::NoTable(NoTable { table: table.clone() }))),
        KvError::TableExists(table) => {
            (Code::AlreadyExists, Some(Kind::TableExists(TableExists { table: table.clone() })))
        }
        KvError::TooLarge { what, size, limit } => {
            let kind = TooLarge { what: (*what).to_owned(), size: *size as u64, limit: *limit as u64 };
            (Code::InvalidArgument, Some(Kind::TooLarge(kind)))
        }
        KvError::Invalid(_) => (Code::InvalidArgument, None),
        KvError::NotReady(_) => (Code::FailedPrecondition, None),
        KvError::NotLeader { hint } => {
            let kind = NotLeader { hint: hint.map_or(0, |node| node.0) };
            (Code::Unavailable, Some(Kind::NotLeader(kind)))
        }
        KvError::RangeMoved => (Code::Unavailable, Some(Kind::RangeMoved(RangeMoved {}))),
        KvError::DiskFull(node) => (Code::ResourceExhausted, Some(Kind::DiskFull(DiskFull { node: node.0 }))),
        KvError::Overloaded(what) => {
            (Code::ResourceExhausted, Some(Kind::Overloaded(Overloaded { what: what.to_string() })))
        }
        KvError::OutOfMemory(_) => (Code::ResourceExhausted, None),
        KvError::ReadTooOld(_) => (Code::Aborted, None),
        KvError::DeadlineExceeded(_) => (
            Code::DeadlineExceeded,
            Some(Kind::DeadlineExceeded(DeadlineExceeded { outcome_unknown: false })),
        ),
        KvError::OutcomeUnknown(_) => {
            (Code::DeadlineExceeded, Some(Kind::DeadlineExceeded(DeadlineExceeded { outcome_unknown: true })))
        }
        KvError::Unavailable(_) | KvError::Coordination(_) | KvError::ShuttingDown => {
            (Code::Unavailable, None)
        }
        KvError::Internal(_) => (Code::Internal, None),
    }
}

fn with_detail(code: Code, message: String, kind: Option<Kind>) -> Status {
    let Some(kind) = kind else { return Status::new(code, message) };
    let value = v1::ErrorDetail { kind: Some(kind) }.encode_to_vec();
    let details = vec![Any { type_url: TYPE_URL.to_owned(), value }];
    let rich = RpcStatus { code: code as i32, message: message.clone(), details };
    Status::with_details(code, message, rich.encode_to_vec().into())
}

#[cfg(test)]
mod tests {
    use wal::Lsn;

    use super::*;
    use crate::request::Cell;

    #[test]
    fn typed_errors_come_back_as_they_were() {
        let errors = [
            KvError::NoTable("t".into()),
            KvError::TableExists("t".into()),
            KvError::TooLarge { what: "row key", size: 9000, limit: 4096 },
            KvError::NotLeader { hint: Some(NodeId(3)) },
            KvError::TooLarge { what: "table name", size: 300, limit: 255 },
            KvError::TooLarge { what: crate::error::LIST_OF_KEYS, size: 20_000, limit: 10_000 },
            KvError::NotLeader { hint: None },
            KvError::RangeMoved,
            KvError::DiskFull(NodeId(2)),
            KvError::Overloaded("too many scans are open".into()),
        ];
        for error in errors {
            assert_eq!(to_error(&from_error(&error)), error);
        }
    }

    #[test]
    fn an_unknown_outcome_stays_unknown() {
        let known = to_error(&from_error(&KvError::DeadlineExceeded("x".into())));
        assert!(matches!(known, KvError::DeadlineExceeded(_)), "{known}");
        let unknown = to_error(&from_error(&KvError::OutcomeUnknown("x".into())));
        assert!(matches!(unknown, KvError::OutcomeUnknown(_)), "{unknown}");
        // A deadline that the transport itself reports says nothing about the outcome.
        let bare = to_error(&Status::deadline_exceeded("x"));
        assert!(matches!(bare, KvError::OutcomeUnknown(_)), "{bare}");
    }

    #[test]
    fn a_failed_condition_shows_the_row() {
        let cell = Cell { column: "c".into(), value: "v".into(), version: Lsn::new(2, 22) };
        let status = version_mismatch(Row { key: "k".into(), cells: vec![cell], version: Lsn::new(2, 22) });
        assert_eq!(status.code(), Code::FailedPrecondition);
        let Some(Kind::VersionMismatch(it)) = detail(&status).and_then(|detail| detail.kind) else {
            panic!("no detail");
        };
        assert_eq!(it.version, Some(public::lsn(Lsn::new(2, 22))));
        assert_eq!(it.current.unwrap().cells.len(), 1);
    }
}
