//! What the server says: replies appended to the outgoing buffer.
//!
//! The cold messages go through pgwire's encoders. The hot ones (rows, command completion, the empty
//! acknowledgements) are written by hand: rows straight from the planner's values, without a string or buffer for
//! each field.

use bytes::BytesMut;
use pgwire::messages::copy::{CopyInResponse, CopyOutResponse};
use pgwire::messages::data::{FieldDescription, ParameterDescription, RowDescription};
use pgwire::messages::response::{ErrorResponse, NoticeResponse};
use pgwire::messages::startup::{
    Authentication, BackendKeyData, NegotiateProtocolVersion, ParameterStatus, SecretKey,
};
use planner::types::{Row, TextSettings, Type};
use planner::{Column, Notice, SqlError, TransactionStatus};

use crate::message::Formats;

/// How bad an error is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Severity {
    /// The statement failed; the session goes on.
    Error,
    /// The connection ends.
    Fatal,
}

impl Severity {
    fn text(self) -> &'static str {
        match self {
            Severity::Error => "ERROR",
            Severity::Fatal => "FATAL",
        }
    }
}

/// The longest text of an error's field, in bytes: a message may quote the client's own input.
const FIELD_BYTES_MAX: usize = 8 << 10;

/// Replies on their way to the client.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    bytes: Vec<u8>,
}

/// Appends one of pgwire's messages.
fn cold(out: &mut Vec<u8>, message: &impl pgwire::messages::Message) {
    let mut buffer = BytesMut::with_capacity(message.message_length() + 1);
    match message.encode(&mut buffer) {
        Ok(()) => out.extend_from_slice(&buffer),
        // Its only error is a message over the protocol's size. None of ours comes near: the longest texts are
        // cut to FIELD_BYTES_MAX and names are limited by the planner.
        Err(error) => tracing::error!(%error, "a reply could not be encoded"),
    }
}

/// Begins a message and gives the place of its length.
fn begin(out: &mut Vec<u8>, kind: u8) -> usize {
    out.push(kind);
    out.extend_from_slice(&[0; 4]);
    out.len() - 4
}

/// Fills in the length at `at`: of all that was appended since, `own` bytes of which are the length's own.
fn end(out: &mut [u8], at: usize, own: usize) {
    let length = (out.len() - at - 4 + own) as u32;
    out[at..at + 4].copy_from_slice(&length.to_be_bytes());
}

fn fields(severity: &str, error: &SqlError) -> Vec<(u8, String)> {
    let mut fields = vec![
        (b'S', severity.to_string()),
        (b'V', severity.to_string()),
        (b'C', error.sqlstate.to_string()),
        (b'M', clipped(&error.message)),
    ];
    let mut optional = |kind: u8, text: &Option<String>| {
        if let Some(text) = text {
            fields.push((kind, clipped(text)));
        }
    };
    optional(b'D', &error.detail);
    optional(b'H', &error.hint);
    optional(b'W', &error.context);
    if let Some(object) = &error.object {
        optional(b's', &object.schema);
        optional(b't', &object.table);
        optional(b'c', &object.column);
        optional(b'n', &object.constraint);
    }
    optional(b'P', &error.position.map(|position| position.to_string()));
    optional(b'R', &error.routine.map(str::to_owned));
    fields
}

/// A field's text: no zero byte (it would end the field), and not longer than the limit.
fn clipped(text: &str) -> String {
    let mut end = text.len().min(FIELD_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let more = if end < text.len() { "..." } else { "" };
    format!("{}{more}", text[..end].replace('\0', "\u{fffd}"))
}

impl Outbox {
    /// Bytes that wait.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// All was sent, or is given up.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
    }

    /// Gives memory above `bytes_max` back, if nothing waits.
    pub(crate) fn shrink(&mut self, bytes_max: usize) {
        if self.bytes.is_empty() && self.bytes.capacity() > bytes_max {
            self.bytes = Vec::new();
        }
    }

    /// Appends the replies of `later`.
    pub(crate) fn append(&mut self, later: &Outbox) {
        self.bytes.extend_from_slice(&later.bytes);
    }

    /// The one-byte refusal of SSLRequest and GSSENCRequest.
    pub(crate) fn refuse_encryption(&mut self) {
        self.bytes.push(b'N');
    }

    /// ParseComplete.
    pub(crate) fn parse_complete(&mut self) {
        self.bytes.extend_from_slice(b"1\0\0\0\x04");
    }

    /// BindComplete.
    pub(crate) fn bind_complete(&mut self) {
        self.bytes.extend_from_slice(b"2\0\0\0\x04");
    }

    /// CloseComplete.
    pub(crate) fn close_complete(&mut self) {
        self.bytes.extend_from_slice(b"3\0\0\0\x04");
    }

    /// NoData: the statement gives no rows.
    pub(crate) fn no_data(&mut self) {
        self.bytes.extend_from_slice(b"n\0\0\0\x04");
    }

    /// PortalSuspended: the row limit was reached.
    pub(crate) fn portal_suspended(&mut self) {
        self.bytes.extend_from_slice(b"s\0\0\0\x04");
    }

    /// EmptyQueryResponse.
    pub(crate) fn empty_query(&mut self) {
        self.bytes.extend_from_slice(b"I\0\0\0\x04");
    }

    /// CommandComplete.
    pub(crate) fn command_complete(&mut self, tag: &str) {
        let at = begin(&mut self.bytes, b'C');
        self.bytes.extend_from_slice(tag.as_bytes());
        self.bytes.push(0);
        end(&mut self.bytes, at, 4);
    }

    /// ReadyForQuery.
    pub(crate) fn ready(&mut self, status: TransactionStatus) {
        self.bytes.extend_from_slice(b"Z\0\0\0\x05");
        self.bytes.push(status.byte());
    }

    /// RowDescription; `formats` are those of the portal.
    pub(crate) fn row_description(&mut self, columns: &[Column], formats: &Formats) {
        let fields = columns.iter().enumerate().map(|(index, column)| {
            FieldDescription::new(
                column.name.clone(),
                column.table as i32,
                column.attribute,
                column.ty.oid(),
                column.ty.size(),
                column.ty.modifier(),
                i16::from(formats.binary(index)),
            )
        });
        cold(&mut self.bytes, &RowDescription::new(fields.collect()));
    }

    /// ParameterDescription.
    pub(crate) fn parameter_description(&mut self, types: &[Type]) {
        cold(&mut self.bytes, &ParameterDescription::new(types.iter().map(Type::oid).collect()));
    }

    /// DataRow.
    pub(crate) fn data_row(&mut self, row: &Row, formats: &Formats, settings: &TextSettings) {
        let message = begin(&mut self.bytes, b'D');
        self.bytes.extend_from_slice(&(row.len() as u16).to_be_bytes());
        for (index, datum) in row.iter().enumerate() {
            let at = self.bytes.len();
            self.bytes.extend_from_slice(&(-1_i32).to_be_bytes());
            if let Some(value) = datum {
                if formats.binary(index) {
                    value.to_binary(&mut self.bytes);
                } else {
                    value.to_text_in(settings, &mut self.bytes);
                }
                end(&mut self.bytes, at, 0);
            }
        }
        end(&mut self.bytes, message, 4);
    }

    /// ErrorResponse.
    pub(crate) fn error(&mut self, severity: Severity, error: &SqlError) {
        cold(&mut self.bytes, &ErrorResponse::new(fields(severity.text(), error)));
    }

    /// NoticeResponse.
    pub(crate) fn notice(&mut self, notice: &Notice) {
        let error = SqlError {
            detail: notice.detail.clone(),
            ..SqlError::new(notice.sqlstate, notice.message.clone())
        };
        cold(&mut self.bytes, &NoticeResponse::new(fields(notice.severity, &error)));
    }

    /// ParameterStatus.
    pub(crate) fn parameter(&mut self, name: &str, value: &str) {
        cold(&mut self.bytes, &ParameterStatus::new(name.into(), clipped(value)));
    }

    /// AuthenticationOk.
    pub(crate) fn authenticated(&mut self) {
        cold(&mut self.bytes, &Authentication::Ok);
    }

    /// BackendKeyData.
    pub(crate) fn key_data(&mut self, id: i32, secret: &[u8]) {
        cold(&mut self.bytes, &BackendKeyData::new(id, SecretKey::Bytes(secret.to_vec().into())));
    }

    /// NegotiateProtocolVersion: the newest minor version that this server speaks, and the options of the client
    /// that it does not know.
    pub(crate) fn negotiate(&mut self, minor: u32, options: Vec<String>) {
        // The whole version number is sent, as PostgreSQL does, though the protocol's text speaks of the minor one.
        cold(&mut self.bytes, &NegotiateProtocolVersion::new((3 << 16) | minor as i32, options));
    }

    /// CopyInResponse.
    pub(crate) fn copy_in(&mut self, columns: usize, binary: bool) {
        let formats = vec![i16::from(binary); columns];
        cold(&mut self.bytes, &CopyInResponse::new(i8::from(binary), columns as i16, formats));
    }

    /// CopyOutResponse.
    pub(crate) fn copy_out(&mut self, columns: usize, binary: bool) {
        let formats = vec![i16::from(binary); columns];
        cold(&mut self.bytes, &CopyOutResponse::new(i8::from(binary), columns as i16, formats));
    }

    /// CopyData.
    pub(crate) fn copy_data(&mut self, data: &[u8]) {
        let at = begin(&mut self.bytes, b'd');
        self.bytes.extend_from_slice(data);
        end(&mut self.bytes, at, 4);
    }

    /// CopyDone.
    pub(crate) fn copy_done(&mut self) {
        self.bytes.extend_from_slice(b"c\0\0\0\x04");
    }
}

#[cfg(test)]
mod tests {
    use pgwire::messages::{DecodeContext, PgWireBackendMessage};
    use planner::types::Value;

    use super::*;

    /// What a client of another make reads.
    fn read(outbox: &Outbox) -> Vec<PgWireBackendMessage> {
        let mut context = DecodeContext::default();
        context.awaiting_frontend_ssl = false;
        context.awaiting_frontend_startup = false;
        let mut buffer = BytesMut::from(outbox.bytes());
        let mut messages = Vec::new();
        while let Some(message) = PgWireBackendMessage::decode(&mut buffer, &context).unwrap() {
            messages.push(message);
        }
        assert!(buffer.is_empty());
        messages
    }

    #[test]
    fn hot_replies_are_what_another_decoder_expects() {
        let mut outbox = Outbox::default();
        outbox.parse_complete();
        outbox.bind_complete();
        outbox.close_complete();
        outbox.no_data();
        outbox.portal_suspended();
        outbox.empty_query();
        outbox.command_complete("SELECT 2");
        outbox.ready(TransactionStatus::InBlock);
        outbox.copy_data(b"a\tb\n");
        outbox.copy_done();
        let messages = read(&outbox);
        assert!(matches!(
            &messages[..],
            [
                PgWireBackendMessage::ParseComplete(_),
                PgWireBackendMessage::BindComplete(_),
                PgWireBackendMessage::CloseComplete(_),
                PgWireBackendMessage::NoData(_),
                PgWireBackendMessage::PortalSuspended(_),
                PgWireBackendMessage::EmptyQueryResponse(_),
                PgWireBackendMessage::CommandComplete(complete),
                PgWireBackendMessage::ReadyForQuery(_),
                PgWireBackendMessage::CopyData(data),
                PgWireBackendMessage::CopyDone(_),
            ] if complete.tag == "SELECT 2" && data.data == "a\tb\n"
        ));
    }

    #[test]
    fn a_row_holds_each_value_in_its_columns_format() {
        let row = vec![Some(Value::Int4(7)), Some(Value::Text("é".into())), None];
        let mut outbox = Outbox::default();
        let formats = Formats::Each([true, false, true].into());
        outbox.data_row(&row, &formats, &TextSettings::plain());
        let expected = b"D\0\0\0\x18\0\x03\0\0\0\x04\0\0\0\x07\0\0\0\x02\xc3\xa9\xff\xff\xff\xff";
        assert_eq!(outbox.bytes(), expected);
    }

    #[test]
    fn an_error_cannot_break_its_frame() {
        let mut outbox = Outbox::default();
        let error = SqlError::new("22021", "zero\0byte").detail("é".repeat(FIELD_BYTES_MAX));
        outbox.error(Severity::Error, &error);
        let messages = read(&outbox);
        let [PgWireBackendMessage::ErrorResponse(response)] = &messages[..] else { panic!("{messages:?}") };
        let field = |kind| &response.fields.iter().find(|(own, _)| *own == kind).unwrap().1;
        assert_eq!(field(b'M'), "zero\u{fffd}byte");
        assert_eq!(field(b'D').len(), FIELD_BYTES_MAX + 3);
    }
}
