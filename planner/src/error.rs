//! Errors as PostgreSQL clients know them: a SQLSTATE, a message, and what to do about it.
//!
//! The one table that turns the store's errors into SQLSTATEs is [`SqlError::from`] a [`KvError`]. Its most
//! important line is 40003: a write whose outcome is unknown must never look like one that failed.

use std::fmt;

use kvstore::error::{KvError, LIST_OF_KEYS};

/// Codes of PostgreSQL's appendix A that this server gives.
pub mod sqlstate {
    /// warning.
    pub const WARNING: &str = "01000";
    /// feature_not_supported.
    pub const FEATURE_NOT_SUPPORTED: &str = "0A000";
    /// cardinality_violation: a subquery gave more than one row; ON CONFLICT met a row twice.
    pub const CARDINALITY_VIOLATION: &str = "21000";
    /// string_data_right_truncation: a value is too long for `varchar(n)`.
    pub const STRING_TOO_LONG: &str = "22001";
    /// numeric_value_out_of_range.
    pub const OUT_OF_RANGE: &str = "22003";
    /// invalid_datetime_format.
    pub const INVALID_DATETIME: &str = "22007";
    /// datetime_field_overflow.
    pub const DATETIME_OVERFLOW: &str = "22008";
    /// A time zone displacement out of range.
    pub const ZONE_DISPLACEMENT: &str = "22009";
    /// A field of an interval out of range.
    pub const INTERVAL_OVERFLOW: &str = "22015";
    /// division_by_zero.
    pub const DIVISION_BY_ZERO: &str = "22012";
    /// character_not_in_repertoire: broken UTF-8, or a zero byte in text.
    pub const BAD_ENCODING: &str = "22021";
    /// null_value_not_allowed.
    pub const NULL_NOT_ALLOWED: &str = "22004";
    /// invalid_parameter_value: a setting was given a value that it does not take.
    pub const INVALID_PARAMETER: &str = "22023";
    /// invalid_text_representation.
    pub const INVALID_TEXT: &str = "22P02";
    /// invalid_binary_representation.
    pub const INVALID_BINARY: &str = "22P03";
    /// bad_copy_file_format.
    pub const BAD_COPY: &str = "22P04";
    /// invalid_argument_for_logarithm.
    pub const INVALID_LOGARITHM: &str = "2201E";
    /// invalid_argument_for_power_function.
    pub const INVALID_POWER: &str = "2201F";
    /// invalid_argument_for_width_bucket_function.
    pub const INVALID_WIDTH_BUCKET: &str = "2201G";
    /// invalid_regular_expression.
    pub const INVALID_REGEX: &str = "2201B";
    /// array_subscript_error.
    pub const ARRAY_SUBSCRIPT: &str = "2202E";
    /// invalid_row_count_in_limit_clause.
    pub const INVALID_LIMIT: &str = "2201W";
    /// invalid_row_count_in_result_offset_clause.
    pub const INVALID_OFFSET: &str = "2201X";
    /// not_null_violation.
    pub const NOT_NULL: &str = "23502";
    /// unique_violation.
    pub const UNIQUE: &str = "23505";
    /// active_sql_transaction: the statement may not run in a block.
    pub const ACTIVE_TRANSACTION: &str = "25001";
    /// no_active_sql_transaction.
    pub const NO_ACTIVE_TRANSACTION: &str = "25P01";
    /// read_only_sql_transaction.
    pub const READ_ONLY_TRANSACTION: &str = "25006";
    /// in_failed_sql_transaction.
    pub const FAILED_TRANSACTION: &str = "25P02";
    /// invalid_sql_statement_name.
    pub const UNKNOWN_STATEMENT: &str = "26000";
    /// invalid_savepoint_specification.
    pub const UNKNOWN_SAVEPOINT: &str = "3B001";
    /// serialization_failure: retry the transaction.
    pub const SERIALIZATION_FAILURE: &str = "40001";
    /// statement_completion_unknown.
    pub const OUTCOME_UNKNOWN: &str = "40003";
    /// syntax_error.
    pub const SYNTAX: &str = "42601";
    /// duplicate_column.
    pub const DUPLICATE_COLUMN: &str = "42701";
    /// ambiguous_column.
    pub const AMBIGUOUS_COLUMN: &str = "42702";
    /// undefined_column.
    pub const UNDEFINED_COLUMN: &str = "42703";
    /// undefined_object: a type or setting of that name is unknown.
    pub const UNDEFINED_OBJECT: &str = "42704";
    /// duplicate_alias.
    pub const DUPLICATE_ALIAS: &str = "42712";
    /// grouping_error.
    pub const GROUPING: &str = "42803";
    /// datatype_mismatch.
    pub const DATATYPE_MISMATCH: &str = "42804";
    /// cannot_coerce.
    pub const CANNOT_COERCE: &str = "42846";
    /// undefined_function: also for operators.
    pub const UNDEFINED_FUNCTION: &str = "42883";
    /// undefined_table.
    pub const UNDEFINED_TABLE: &str = "42P01";
    /// undefined_parameter.
    pub const UNDEFINED_PARAMETER: &str = "42P02";
    /// duplicate_prepared_statement.
    pub const DUPLICATE_STATEMENT: &str = "42P05";
    /// duplicate_table.
    pub const DUPLICATE_TABLE: &str = "42P07";
    /// invalid_column_reference.
    pub const INVALID_COLUMN_REFERENCE: &str = "42P10";
    /// invalid_table_definition.
    pub const INVALID_TABLE: &str = "42P16";
    /// indeterminate_datatype.
    pub const INDETERMINATE_TYPE: &str = "42P18";
    /// duplicate_cursor.
    pub const DUPLICATE_CURSOR: &str = "42P03";
    /// invalid_cursor_name.
    pub const UNKNOWN_CURSOR: &str = "34000";
    /// invalid_cursor_definition.
    pub const INVALID_CURSOR: &str = "42P11";
    /// invalid_schema_name.
    pub const INVALID_SCHEMA: &str = "3F000";
    /// duplicate_schema.
    pub const DUPLICATE_SCHEMA: &str = "42P06";
    /// reserved_name.
    pub const RESERVED_NAME: &str = "42939";
    /// invalid_name.
    pub const INVALID_NAME: &str = "42602";
    /// insufficient_privilege.
    pub const INSUFFICIENT_PRIVILEGE: &str = "42501";
    /// dependent_objects_still_exist.
    pub const DEPENDENT_OBJECTS: &str = "2BP01";
    /// invalid_catalog_name.
    pub const INVALID_DATABASE: &str = "3D000";
    /// protocol_violation: the parameters do not fit the prepared statement.
    pub const PROTOCOL_VIOLATION: &str = "08P01";
    /// disk_full.
    pub const DISK_FULL: &str = "53100";
    /// out_of_memory: a result that must be held in memory is too large.
    pub const OUT_OF_MEMORY: &str = "53200";
    /// configuration_limit_exceeded: too much work is queued.
    pub const OVERLOADED: &str = "53400";
    /// program_limit_exceeded: a statement, key or row is over its limit.
    pub const LIMIT_EXCEEDED: &str = "54000";
    /// statement_too_complex.
    pub const TOO_COMPLEX: &str = "54001";
    /// cant_change_runtime_param.
    pub const CANNOT_CHANGE: &str = "55P02";
    /// object_not_in_prerequisite_state: the cluster has too few nodes for it.
    pub const NOT_READY: &str = "55000";
    /// query_canceled: also a statement timeout.
    pub const CANCELED: &str = "57014";
    /// admin_shutdown.
    pub const SHUTDOWN: &str = "57P01";
    /// cannot_connect_now: the range has no replica that may answer.
    pub const UNAVAILABLE: &str = "57P03";
    /// io_error: the coordination service failed.
    pub const COORDINATION: &str = "58030";
    /// internal_error.
    pub const INTERNAL: &str = "XX000";
    /// data_corrupted: a row that was written past SQL.
    pub const DATA_CORRUPTED: &str = "XX001";
}

/// An error with everything that PostgreSQL's ErrorResponse can carry here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqlError {
    /// SQLSTATE, five characters.
    pub sqlstate: &'static str,
    /// What went wrong, in one line.
    pub message: String,
    /// More about it.
    pub detail: Option<String>,
    /// What to do.
    pub hint: Option<String>,
    /// Where in the statement text: characters, counted from 1.
    pub position: Option<u32>,
    /// What it is about, for programs (23502, 23505).
    pub object: Option<Box<ErrorObject>>,
    /// Where it happened, in words (the line of a COPY).
    pub context: Option<String>,
    /// The routine of PostgreSQL's source that reports it, where drivers go by its name.
    pub routine: Option<&'static str>,
}

/// What an error is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErrorObject {
    /// Schema of the table.
    pub schema: Option<String>,
    /// Table.
    pub table: Option<String>,
    /// Column of the table.
    pub column: Option<String>,
    /// Constraint that was violated.
    pub constraint: Option<String>,
}

impl SqlError {
    /// An error with a code and a message.
    pub fn new(sqlstate: &'static str, message: impl Into<String>) -> SqlError {
        SqlError {
            sqlstate,
            message: message.into(),
            detail: None,
            hint: None,
            position: None,
            object: None,
            context: None,
            routine: None,
        }
    }

    /// 0A000: what is not supported; say with [`SqlError::hint`] what is.
    pub fn unsupported(what: impl fmt::Display) -> SqlError {
        SqlError::new(sqlstate::FEATURE_NOT_SUPPORTED, format!("{what} is not supported"))
    }

    /// A bug of this server.
    pub fn internal(what: impl fmt::Display) -> SqlError {
        SqlError::new(sqlstate::INTERNAL, format!("internal error: {what}"))
    }

    /// Adds the detail.
    pub fn detail(mut self, detail: impl Into<String>) -> SqlError {
        self.detail = Some(detail.into());
        self
    }

    /// Adds the hint.
    pub fn hint(mut self, hint: impl Into<String>) -> SqlError {
        self.hint = Some(hint.into());
        self
    }

    /// Adds the position, in characters from 1.
    pub fn at(mut self, position: u32) -> SqlError {
        self.position = Some(position);
        self
    }

    /// The error of a statement as one of a text in which `offset` characters precede the statement.
    pub fn shifted(mut self, offset: u32) -> SqlError {
        self.position = self.position.map(|position| position.saturating_add(offset));
        self
    }

    /// Adds the position, if it is known.
    pub(crate) fn at_if_known(mut self, position: Option<u32>) -> SqlError {
        self.position = position.or(self.position);
        self
    }

    /// Adds the violated constraint's name.
    pub(crate) fn constraint(mut self, name: impl Into<String>) -> SqlError {
        self.object.get_or_insert_default().constraint = Some(name.into());
        self
    }

    /// Adds the table that it is about.
    pub(crate) fn table(mut self, schema: impl Into<String>, table: impl Into<String>) -> SqlError {
        let object = self.object.get_or_insert_default();
        (object.schema, object.table) = (Some(schema.into()), Some(table.into()));
        self
    }

    /// Adds the column that it is about.
    pub(crate) fn column(mut self, name: impl Into<String>) -> SqlError {
        self.object.get_or_insert_default().column = Some(name.into());
        self
    }

    /// Adds the name of PostgreSQL's routine.
    pub(crate) fn routine(mut self, name: &'static str) -> SqlError {
        self.routine = Some(name);
        self
    }

    /// Says of a statement that failed at a row that `count` rows of it were written: its message ("nothing was done",
    /// "no row was written") is about that row alone.
    pub(crate) fn with_rows_written(mut self, count: u64) -> SqlError {
        if count > 0 {
            let stays = match count {
                1 => {
                    "1 row of the statement was written, and stays: each row is atomic by itself.".to_owned()
                }
                _ => format!(
                    "{count} rows of the statement were written, and stay: each row is atomic by itself."
                ),
            };
            self.detail = Some(match self.detail {
                Some(detail) => format!("{stays} Of the row that failed: {detail}"),
                None => stays,
            });
        }
        self
    }

    /// The first of two errors, unless the second leaves an outcome open.
    fn or_worse(self, later: SqlError) -> SqlError {
        let unknown = |error: &SqlError| error.sqlstate == sqlstate::OUTCOME_UNKNOWN;
        if unknown(&later) && !unknown(&self) { later } else { self }
    }

    /// Adds the context.
    pub(crate) fn context(mut self, context: impl Into<String>) -> SqlError {
        self.context = Some(context.into());
        self
    }
}

impl fmt::Display for SqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.sqlstate, self.message)
    }
}

impl std::error::Error for SqlError {}

/// One more row of a statement has failed: its first error counts, unless the outcome of a row is unknown, which must
/// never look like a failure.
pub(crate) fn fail(failure: &mut Option<SqlError>, error: SqlError) {
    *failure = Some(match failure.take() {
        None => error,
        Some(first) => first.or_worse(error),
    });
}

impl From<KvError> for SqlError {
    fn from(error: KvError) -> SqlError {
        let message = error.to_string();
        match error {
            KvError::NoTable(name) => {
                SqlError::new(sqlstate::UNDEFINED_TABLE, format!("relation \"{name}\" does not exist"))
            }
            KvError::TableExists(name) => {
                SqlError::new(sqlstate::DUPLICATE_TABLE, format!("relation \"{name}\" already exists"))
            }
            KvError::TooLarge { what: LIST_OF_KEYS, .. } => SqlError::new(sqlstate::LIMIT_EXCEEDED, message)
                .hint("Split the list over several statements."),
            KvError::TooLarge { .. } => SqlError::new(sqlstate::LIMIT_EXCEEDED, message)
                .hint("Store large values outside of the row, or split them over several rows."),
            KvError::Invalid(_) => SqlError::new(sqlstate::INVALID_PARAMETER, message),
            KvError::DiskFull(_) => SqlError::new(sqlstate::DISK_FULL, message),
            KvError::Overloaded(_) => SqlError::new(sqlstate::OVERLOADED, message)
                .hint("Nothing was done: retry after a short pause."),
            KvError::OutOfMemory(_) => SqlError::new(sqlstate::OUT_OF_MEMORY, message),
            KvError::ReadTooOld(_) => SqlError::new(sqlstate::SERIALIZATION_FAILURE, message),
            KvError::DeadlineExceeded(why) => {
                SqlError::new(sqlstate::CANCELED, "canceling statement due to statement timeout")
                    .detail(format!("Nothing was done ({why})."))
            }
            KvError::OutcomeUnknown(_) => SqlError::new(sqlstate::OUTCOME_UNKNOWN, message)
                .hint("Read the row to find out, or after CREATE and DROP look for the table."),
            KvError::Unavailable(_) => SqlError::new(sqlstate::UNAVAILABLE, message)
                .hint("Retry after a pause. If it stays so, `spinnaker status` shows what the range lacks."),
            KvError::NotReady(_) => SqlError::new(sqlstate::NOT_READY, message),
            KvError::Coordination(_) => SqlError::new(sqlstate::COORDINATION, message),
            KvError::ShuttingDown => {
                SqlError::new(sqlstate::SHUTDOWN, "terminating connection due to administrator command")
            }
            KvError::NotLeader { .. } | KvError::RangeMoved | KvError::Internal(_) => {
                SqlError::internal(message)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_that_failed_in_the_middle_says_what_was_written() {
        let late = || SqlError::from(KvError::DeadlineExceeded("no leader".into()));
        assert_eq!(late().with_rows_written(0), late());
        let detail = "2 rows of the statement were written, and stay: each row is atomic by itself. Of the row \
                      that failed: Nothing was done (no leader).";
        assert_eq!(late().with_rows_written(2).detail.as_deref(), Some(detail));
        let full = SqlError::from(KvError::Overloaded("write stall".into())).with_rows_written(1);
        let detail = "1 row of the statement was written, and stays: each row is atomic by itself.";
        assert_eq!(full.detail.as_deref(), Some(detail));
    }

    #[test]
    fn an_unknown_outcome_is_shown_before_what_failed() {
        let unknown = || SqlError::from(KvError::OutcomeUnknown("connection lost".into()));
        let late = || SqlError::from(KvError::DeadlineExceeded("no leader".into()));
        assert_eq!(late().or_worse(unknown()), unknown());
        assert_eq!(unknown().or_worse(late()), unknown());
        assert_eq!(late().or_worse(SqlError::internal("x")), late());
    }

    #[test]
    fn the_store_s_errors_say_what_was_done_and_what_to_do() {
        let shown = |error: KvError| {
            let error = SqlError::from(error);
            let more = error.detail.or(error.hint).unwrap_or_default();
            format!("{} {} | {more}", error.sqlstate, error.message)
        };
        let list = KvError::TooLarge { what: LIST_OF_KEYS, size: 9, limit: 8 };
        assert!(shown(list).ends_with("| Split the list over several statements."));
        assert_eq!(
            shown(KvError::DeadlineExceeded("no leader".into())),
            "57014 canceling statement due to statement timeout | Nothing was done (no leader)."
        );
        assert_eq!(
            shown(KvError::OutcomeUnknown("connection lost".into())),
            "40003 the outcome is unknown (connection lost): it may or may not have been done; look before doing it \
             again | Read the row to find out, or after CREATE and DROP look for the table."
        );
        let unavailable = shown(KvError::Unavailable("no leader yet".into()));
        assert!(
            unavailable.contains("no row was written: no leader yet | Retry after a pause."),
            "{unavailable}"
        );
    }
}
