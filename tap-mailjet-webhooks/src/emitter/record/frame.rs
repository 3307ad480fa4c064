//! The text of a RECORD message around its values, and the values of the system columns.

use catalog::column::ColumnSource;
use catalog::members::json_string;

use super::primary_key::PrimaryKey;
use super::table::{OutputColumn, Table};
use crate::spool::Sequence;

/// What the system columns of a row contain.
pub(super) struct SystemValues<'w> {
    pub(super) key: PrimaryKey,
    pub(super) sequence: Sequence,
    pub(super) received_at: &'w str,
    pub(super) batched_at: &'w str,
}

impl SystemValues<'_> {
    /// Appends the value of a system column to `out`. Returns whether `source` is that of one.
    pub(super) fn write(&self, source: ColumnSource, out: &mut Vec<u8>) -> bool {
        match source {
            ColumnSource::PrimaryKey => write_quoted(&self.key.0, out),
            ColumnSource::Sequence => {
                out.extend_from_slice(itoa::Buffer::new().format(self.sequence.get()).as_bytes());
            }
            ColumnSource::ReceivedAt => write_quoted(self.received_at.as_bytes(), out),
            ColumnSource::BatchedAt => write_quoted(self.batched_at.as_bytes(), out),
            ColumnSource::TableVersion => out.push(b'0'),
            ColumnSource::Field
            | ColumnSource::Extra
            | ColumnSource::TableName
            | ColumnSource::Reason
            | ColumnSource::Record
            | ColumnSource::RecordBase64 => return false,
        }
        true
    }
}

/// Appends the text before the first value.
pub(super) fn begin_record(table: &Table, out: &mut Vec<u8>) {
    out.extend_from_slice(br#"{"type":"RECORD","stream":"#);
    out.extend_from_slice(json_string(&table.name).as_bytes());
    out.extend_from_slice(br#","record":{"#);
}

/// Appends the text before the value at `position` in the record.
pub(super) fn begin_value(position: usize, column: &OutputColumn, out: &mut Vec<u8>) {
    if position > 0 {
        out.push(b',');
    }
    out.extend_from_slice(&column.label);
}

/// Appends the text after the last value.
pub(super) fn end_record(system: &SystemValues<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(br#"},"time_extracted":"#);
    write_quoted(system.received_at.as_bytes(), out);
    out.extend_from_slice(b"}\n");
}

/// Appends ASCII that needs no escapes as a JSON string.
fn write_quoted(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    out.extend_from_slice(text);
    out.push(b'"');
}
