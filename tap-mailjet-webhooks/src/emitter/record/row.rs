//! From an event to the bytes of a RECORD message.

use catalog::column::ColumnSource;
use catalog::members::json_string;

use super::field_layout::FieldLayout;
use super::primary_key::{CanonicalOrder, PrimaryKey};
use super::table::{Output, Row, Table};
use crate::emitter::block::Event;
use crate::os::clock::UnixMillis;
use crate::spool::{REJECTED_BODY_BYTES, Sequence, StoredRejection};

/// The table that rejected items were meant for.
const TABLE_NAME: &str = "data";

/// Writes RECORD messages, and keeps its buffers from one to the next.
#[derive(Debug, Default)]
pub(in crate::emitter) struct RecordWriter {
    primary_key: PrimaryKey,
    received: Moment,
    batched: Moment,
}

/// What the system columns of a row say.
pub(in crate::emitter) struct System<'a> {
    key: [u8; 36],
    sequence: Sequence,
    received_at: &'a [u8],
    batched_at: &'a [u8],
}

impl System<'_> {
    /// Writes what one of them says.
    pub(in crate::emitter) fn write(&self, source: ColumnSource, out: &mut Vec<u8>) {
        match source {
            ColumnSource::PrimaryKey => write_quoted(&self.key, out),
            ColumnSource::Sequence => {
                out.extend_from_slice(itoa::Buffer::new().format(self.sequence.get()).as_bytes());
            }
            ColumnSource::ReceivedAt => write_quoted(self.received_at, out),
            ColumnSource::BatchedAt => write_quoted(self.batched_at, out),
            ColumnSource::TableVersion => out.push(b'0'),
            ColumnSource::Field
            | ColumnSource::Extra
            | ColumnSource::TableName
            | ColumnSource::Reason
            | ColumnSource::Record => {
                unreachable!("a row's own value")
            }
        }
    }
}

impl RecordWriter {
    /// The key of an event, which has this shape. Computed once for all streams that have it.
    pub(in crate::emitter) fn key_of(&mut self, event: &Event<'_>, shape: Option<&FieldLayout>) -> [u8; 36] {
        match (event.unreadable, shape) {
            (Some(event), _) => event.key,
            (None, Some(shape)) => self.primary_key.of(event.members, &shape.order),
            (None, None) => self.primary_key.of(event.members, &CanonicalOrder::of(event.members)),
        }
    }

    /// What the system columns of an event's rows say. `batched_at` is now, in Unix milliseconds.
    pub(in crate::emitter) fn system(
        &mut self,
        key: [u8; 36],
        event: &Event<'_>,
        batched_at: UnixMillis,
    ) -> System<'_> {
        let received_at = self.received.text(event.received_at);
        let batched_at = self.batched.text(batched_at);
        System { key, sequence: event.sequence, received_at, batched_at }
    }

    /// Appends a rejected item to `out`.
    pub(in crate::emitter) fn write_rejected(
        &mut self,
        table: &Table,
        item: StoredRejection<'_>,
        batched_at: UnixMillis,
        out: &mut Vec<u8>,
    ) {
        // Of what was cut off there is no telling whether it is the same.
        let key = match item.body.len() < REJECTED_BODY_BYTES {
            true => PrimaryKey::of_bytes(item.body),
            false => PrimaryKey::of_bytes(&[item.body, &item.sequence.get().to_be_bytes()].concat()),
        };
        let received_at = self.received.text(item.received_at);
        let batched_at = self.batched.text(batched_at);
        let system = System { key, sequence: item.sequence, received_at, batched_at };
        write_record(table, &system, out, |_, source, out| {
            let text = match source {
                ColumnSource::TableName => json_string(TABLE_NAME),
                ColumnSource::Reason => json_string(item.reason),
                ColumnSource::Record => json_string(&text_of(item.body)),
                _ => "null".to_owned(),
            };
            out.extend_from_slice(text.as_bytes());
        });
    }
}

/// Appends an event, placed in `row`, to `out`.
pub(in crate::emitter) fn write_row(table: &Table, row: &Row<'_>, system: &System<'_>, out: &mut Vec<u8>) {
    write_record(table, system, out, |place, source, out| match source {
        ColumnSource::Extra => row.write_extra(out),
        _ => out.extend_from_slice(row.field(place).as_bytes()),
    });
}

fn write_record(
    table: &Table,
    system: &System<'_>,
    out: &mut Vec<u8>,
    mut write_value: impl FnMut(usize, ColumnSource, &mut Vec<u8>),
) {
    begin_record(table, out);
    for (position, (place, output)) in table.selected().enumerate() {
        begin_value(position, output, out);
        match output.source {
            ColumnSource::Field
            | ColumnSource::Extra
            | ColumnSource::TableName
            | ColumnSource::Reason
            | ColumnSource::Record => {
                write_value(place, output.source, out);
            }
            source => system.write(source, out),
        }
    }
    end_record(system, out);
}

/// Appends what stands before the first value.
pub(in crate::emitter) fn begin_record(table: &Table, out: &mut Vec<u8>) {
    out.extend_from_slice(br#"{"type":"RECORD","stream":""#);
    // The names of streams are ours and need no escapes.
    out.extend_from_slice(table.name().as_bytes());
    out.extend_from_slice(br#"","record":{"#);
}

/// Appends what stands before the value that is the one at `position` in its record.
pub(in crate::emitter) fn begin_value(position: usize, output: &Output, out: &mut Vec<u8>) {
    if position > 0 {
        out.push(b',');
    }
    out.extend_from_slice(&output.label);
}

/// Appends what stands after the last value.
pub(in crate::emitter) fn end_record(system: &System<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(br#"},"time_extracted":"#);
    write_quoted(system.received_at, out);
    out.extend_from_slice(b"}\n");
}

/// Bytes as text. What is not text, and U+0000, which many targets stop at, stands as U+FFFD.
pub(in crate::emitter) fn text_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).replace('\0', "\u{fffd}")
}

/// Writes ASCII that needs no escapes as a JSON string.
fn write_quoted(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    out.extend_from_slice(text);
    out.push(b'"');
}

/// The text of the last moment that was asked for: neighbours usually share it.
#[derive(Debug, Default)]
struct Moment {
    unix_millis: Option<UnixMillis>,
    text: String,
}

impl Moment {
    fn text(&mut self, unix_millis: UnixMillis) -> &[u8] {
        if self.unix_millis != Some(unix_millis) {
            self.unix_millis = Some(unix_millis);
            self.text = unix_millis.to_rfc3339();
        }
        self.text.as_bytes()
    }
}
