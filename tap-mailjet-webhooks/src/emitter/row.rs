//! From an event to the bytes of a RECORD message.

use catalog::column::Source;

use super::members::{self, Member, quoted};
use super::primary_key::PrimaryKey;
use super::table::{Row, Table};
use crate::clock;
use crate::spool::{REJECTED_BODY_BYTES, StoredEvent, StoredRejection};

/// The table that rejected items were meant for.
const TABLE_NAME: &str = "data";

/// An event, taken apart once for all streams that have it.
#[derive(Debug)]
pub(super) struct Parsed<'a> {
    pub(super) members: Vec<Member<'a>>,
    /// The JSON string of an event's text that is no JSON object.
    pub(super) unreadable: Option<String>,
}

impl<'a> Parsed<'a> {
    /// Takes an event apart.
    pub(super) fn of(body: &'a [u8]) -> Self {
        match members::of_object(body) {
            Ok(members) => Parsed { members, unreadable: None },
            Err(_) => Parsed { members: Vec::new(), unreadable: Some(quoted(&text_of(body))) },
        }
    }

    /// What the field `event` says, in lower case: Mailjet has been seen to write it with a capital. As in its column, of
    /// several the last says it, and null says nothing.
    pub(super) fn event_type(&self) -> Option<String> {
        let says_it = |member: &&Member<'_>| member.name() == "event" && member.value != "null";
        let event = self.members.iter().rev().find(says_it)?;
        serde_json::from_str::<String>(event.value).ok().map(|name| name.to_lowercase())
    }
}

/// Writes RECORD messages, and keeps its buffers from one to the next.
#[derive(Debug, Default)]
pub(super) struct RecordWriter {
    primary_key: PrimaryKey,
    received: Moment,
    batched: Moment,
}

/// What the system columns of a row say.
struct System<'a> {
    key: [u8; 36],
    sequence: i64,
    received_at: &'a [u8],
    batched_at: &'a [u8],
}

impl RecordWriter {
    /// The key of an event. Computed once for all streams that have it.
    pub(super) fn key_of(&mut self, event: &Parsed<'_>, body: &[u8]) -> [u8; 36] {
        match event.unreadable {
            None => self.primary_key.of(&event.members),
            Some(_) => PrimaryKey::of_bytes(body),
        }
    }

    /// Appends an event, placed in `row`, to `out`. `batched_at` is now, in Unix milliseconds.
    pub(super) fn write(
        &mut self,
        table: &Table,
        row: &Row<'_>,
        key: [u8; 36],
        event: StoredEvent<'_>,
        batched_at: i64,
        out: &mut Vec<u8>,
    ) {
        let received_at = self.received.text(event.received_at);
        let batched_at = self.batched.text(batched_at);
        let system = System { key, sequence: event.sequence, received_at, batched_at };
        write_record(table, &system, out, |place, source, out| match source {
            Source::Extra => row.write_extra(out),
            _ => out.extend_from_slice(row.field(place).as_bytes()),
        });
    }

    /// Appends a rejected item to `out`.
    pub(super) fn write_rejected(
        &mut self,
        table: &Table,
        item: StoredRejection<'_>,
        batched_at: i64,
        out: &mut Vec<u8>,
    ) {
        // Of what was cut off there is no telling whether it is the same.
        let key = match item.body.len() < REJECTED_BODY_BYTES {
            true => PrimaryKey::of_bytes(item.body),
            false => PrimaryKey::of_bytes(&[item.body, &item.sequence.to_be_bytes()].concat()),
        };
        let received_at = self.received.text(item.received_at);
        let batched_at = self.batched.text(batched_at);
        let system = System { key, sequence: item.sequence, received_at, batched_at };
        write_record(table, &system, out, |_, source, out| {
            let text = match source {
                Source::TableName => quoted(TABLE_NAME),
                Source::Reason => quoted(item.reason),
                Source::Record => quoted(&text_of(item.body)),
                _ => "null".to_owned(),
            };
            out.extend_from_slice(text.as_bytes());
        });
    }
}

fn write_record(
    table: &Table,
    system: &System<'_>,
    out: &mut Vec<u8>,
    mut write_value: impl FnMut(usize, Source, &mut Vec<u8>),
) {
    out.extend_from_slice(br#"{"type":"RECORD","stream":""#);
    // The names of streams are ours and need no escapes.
    out.extend_from_slice(table.name().as_bytes());
    out.extend_from_slice(br#"","record":{"#);
    let selected = table.outputs().iter().enumerate().filter(|(_, output)| output.selected);
    for (position, (place, output)) in selected.enumerate() {
        if position > 0 {
            out.push(b',');
        }
        out.extend_from_slice(&output.label);
        match output.source {
            Source::PrimaryKey => write_quoted(&system.key, out),
            Source::Sequence => {
                out.extend_from_slice(itoa::Buffer::new().format(system.sequence).as_bytes());
            }
            Source::ReceivedAt => write_quoted(system.received_at, out),
            Source::BatchedAt => write_quoted(system.batched_at, out),
            Source::TableVersion => out.push(b'0'),
            source => write_value(place, source, out),
        }
    }
    out.extend_from_slice(br#"},"time_extracted":"#);
    write_quoted(system.received_at, out);
    out.extend_from_slice(b"}\n");
}

/// Bytes as text. What is not text, and U+0000, which many targets stop at, stands as U+FFFD.
fn text_of(bytes: &[u8]) -> String {
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
    unix_millis: Option<i64>,
    text: String,
}

impl Moment {
    fn text(&mut self, unix_millis: i64) -> &[u8] {
        if self.unix_millis != Some(unix_millis) {
            self.unix_millis = Some(unix_millis);
            self.text = clock::rfc3339(unix_millis);
        }
        self.text.as_bytes()
    }
}
