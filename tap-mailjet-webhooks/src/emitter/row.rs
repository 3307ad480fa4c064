//! From an event to a row: which column each of its fields goes into.
//!
//! The rules, of which none loses a value and none reprints one:
//!
//! - A value that fits its column ([`ColumnType::fit`]) goes there, copied byte for byte.
//! - A field that has no column, or whose value does not fit it, goes into `_sdc_extra` under its own name. There, a
//!   name that is taken gets `__2`, `__3`, … appended.
//! - Of several members with one name, the last has the column, as in any JSON parser; the others go into `_sdc_extra`.
//! - Targets stop at a value that holds half a surrogate pair, which is not Unicode, and at one that is nested deeper
//!   than 100 levels: its JSON text takes its place, as text.
//! - Text in the spool that is no JSON object (which the listener never writes) goes into `_sdc_extra` as it is, under
//!   the name `_unreadable`.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use catalog::column::{ColumnType, Fit};
use catalog::stream::{BATCHED_AT, EXTRA, PRIMARY_KEY, RECEIVED_AT, SEQUENCE, Stream, TABLE_VERSION};

use super::members::{self, Member};
use super::primary_key::PrimaryKey;
use crate::clock;
use crate::spool::StoredEvent;

/// Levels of nesting that every JSON parser takes: `serde_json` stops at 128 in all, Python's at about 1000.
const DEPTH: usize = 100;

/// Writes events as RECORD messages of one stream.
#[derive(Debug)]
pub(super) struct RowWriter {
    /// `{"type":"RECORD","stream":"data","record":{`
    head: Vec<u8>,
    columns: Vec<OutputColumn>,
    /// Field name to its place among `columns`.
    places: HashMap<String, usize>,
    key: PrimaryKey,
    received: Moment,
    batched: Moment,
}

#[derive(Debug)]
struct OutputColumn {
    /// The name as JSON, with the comma before it and the colon after it.
    label: Vec<u8>,
    source: Source,
}

/// Where the value of a column comes from.
#[derive(Debug, Clone, Copy)]
enum Source {
    Field(ColumnType),
    Extra,
    PrimaryKey,
    Sequence,
    ReceivedAt,
    BatchedAt,
    TableVersion,
}

impl RowWriter {
    /// A writer for the rows of `stream`.
    pub(super) fn new(stream: &Stream) -> Self {
        let mut head = br#"{"type":"RECORD","stream":"#.to_vec();
        write_text(stream.name, &mut head);
        head.extend_from_slice(br#","record":{"#);
        let columns: Vec<_> = stream
            .columns()
            .enumerate()
            .map(|(place, column)| {
                let mut label = if place == 0 { Vec::new() } else { vec![b','] };
                write_text(&column.name, &mut label);
                label.push(b':');
                let source = match column.name.as_str() {
                    EXTRA => Source::Extra,
                    PRIMARY_KEY => Source::PrimaryKey,
                    SEQUENCE => Source::Sequence,
                    RECEIVED_AT => Source::ReceivedAt,
                    BATCHED_AT => Source::BatchedAt,
                    TABLE_VERSION => Source::TableVersion,
                    _ => Source::Field(column.kind),
                };
                OutputColumn { label, source }
            })
            .collect();
        let places = stream
            .columns()
            .enumerate()
            .filter(|(place, _)| matches!(columns[*place].source, Source::Field(_)))
            .map(|(place, column)| (column.name.clone(), place))
            .collect();
        RowWriter {
            head,
            columns,
            places,
            key: PrimaryKey::default(),
            received: Moment::default(),
            batched: Moment::default(),
        }
    }

    /// Appends `event` to `out` as one RECORD line. `batched_at` is now, in Unix milliseconds.
    pub(super) fn write(&mut self, event: StoredEvent<'_>, batched_at: i64, out: &mut Vec<u8>) {
        let parsed = members::of_object(event.body);
        let members = parsed.as_deref().unwrap_or_default();
        let mut row = Row::place(self, members);
        if parsed.is_err() {
            row.keep_unreadable(event.body);
        }
        let key = self.key.of(members);
        let received = self.received.text(event.received_at);
        let batched = self.batched.text(batched_at);

        out.extend_from_slice(&self.head);
        for (column, value) in self.columns.iter().zip(&row.values) {
            out.extend_from_slice(&column.label);
            match column.source {
                Source::Field(_) => out.extend_from_slice(value.as_deref().unwrap_or("null").as_bytes()),
                Source::Extra => write_extra(&row.extra, out),
                Source::PrimaryKey => write_quoted(&key, out),
                Source::Sequence => {
                    out.extend_from_slice(itoa::Buffer::new().format(event.sequence).as_bytes());
                }
                Source::ReceivedAt => write_quoted(received, out),
                Source::BatchedAt => write_quoted(batched, out),
                Source::TableVersion => out.push(b'0'),
            }
        }
        out.extend_from_slice(br#"},"time_extracted":"#);
        write_quoted(received, out);
        out.extend_from_slice(b"}\n");
    }
}

/// An event's values, each in its place.
struct Row<'a> {
    /// One for each column: the JSON text of its value.
    values: Vec<Option<Cow<'a, str>>>,
    /// Name and JSON text of what has no column.
    extra: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

impl<'a> Row<'a> {
    fn place(writer: &RowWriter, members: &[Member<'a>]) -> Self {
        let mut row = Row { values: vec![None; writer.columns.len()], extra: Vec::new() };
        // Who had the column before, to be moved out when the name comes again.
        let mut holders: Vec<Option<&Member<'a>>> = vec![None; writer.columns.len()];
        for member in members {
            let name = member.name();
            let place = writer.places.get(name.as_ref()).copied();
            let Some((place, Source::Field(kind))) = place.map(|place| (place, writer.columns[place].source))
            else {
                row.extra.push((name, portable(member.value)));
                continue;
            };
            if let Some(earlier) = holders[place].replace(member) {
                row.values[place] = None;
                row.extra.push((earlier.name(), portable(earlier.value)));
            }
            match kind.fit(member.value) {
                Fit::Null => {}
                Fit::Json(json) => row.values[place] = Some(portable(json)),
                Fit::Misfit => {
                    holders[place] = None;
                    row.extra.push((name, portable(member.value)));
                }
            }
        }
        row
    }

    fn keep_unreadable(&mut self, body: &[u8]) {
        let text = String::from_utf8_lossy(body);
        self.extra.push((Cow::Borrowed("_unreadable"), Cow::Owned(json_text(&text))));
    }
}

/// `json` itself, or, if there are targets that could not read it, its text as a JSON string.
fn portable(json: &str) -> Cow<'_, str> {
    if members::is_unicode(json) && members::depth(json) <= DEPTH {
        Cow::Borrowed(json)
    } else {
        Cow::Owned(json_text(json))
    }
}

fn json_text(text: &str) -> String {
    serde_json::to_string(text).expect("text is JSON")
}

fn write_extra(extra: &[(Cow<'_, str>, Cow<'_, str>)], out: &mut Vec<u8>) {
    if extra.is_empty() {
        out.extend_from_slice(b"null");
        return;
    }
    let mut taken: HashSet<Cow<'_, str>> = HashSet::with_capacity(extra.len());
    // Where to go on counting, so that a name that comes 10 000 times is not tried 10 000 times over.
    let mut repeats: HashMap<&str, usize> = HashMap::new();
    for (position, (name, value)) in extra.iter().enumerate() {
        let mut free = Cow::Borrowed(name.as_ref());
        while !taken.insert(free.clone()) {
            let repeat = repeats.entry(name).and_modify(|repeat| *repeat += 1).or_insert(2);
            free = Cow::Owned(format!("{name}__{repeat}"));
        }
        out.push(if position == 0 { b'{' } else { b',' });
        write_text(&free, out);
        out.push(b':');
        out.extend_from_slice(value.as_bytes());
    }
    out.push(b'}');
}

/// Writes text as a JSON string.
fn write_text(text: &str, out: &mut Vec<u8>) {
    serde_json::to_writer(out, text).expect("text is JSON and memory takes every write");
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

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use serde_json::value::RawValue;

    use super::*;

    fn line(body: &str) -> String {
        let event = StoredEvent { sequence: 42, received_at: 1_513_975_381_000, body: body.as_bytes() };
        let mut out = Vec::new();
        RowWriter::new(&Stream::data()).write(event, 1_513_975_382_000, &mut out);
        String::from_utf8(out).expect("UTF-8")
    }

    /// The text of one column of the row that `body` becomes.
    fn column(body: &str, name: &str) -> String {
        let line = line(body);
        let message: HashMap<&str, &RawValue> = serde_json::from_str(&line).expect("a message");
        let record: HashMap<&str, &RawValue> =
            serde_json::from_str(message["record"].get()).expect("a record");
        record[name].get().to_owned()
    }

    #[test]
    fn a_row_has_every_column_in_the_order_of_the_schema() {
        let line = line(r#"{"MessageID":576460779645409236,"event":"sent"}"#);
        let message: Value = serde_json::from_str(&line).expect("a message");
        let names: Vec<_> = message["record"].as_object().expect("a record").keys().cloned().collect();
        assert_eq!(names, Stream::data().columns().map(|column| column.name.clone()).collect::<Vec<_>>());
        assert!(line.starts_with(r#"{"type":"RECORD","stream":"data","record":{"event":"sent","time":null,"MessageID":576460779645409236,"#));
        assert!(line.ends_with(
            "\"_sdc_sequence\":42,\"_sdc_received_at\":\"2017-12-22T20:43:01.000Z\",\
             \"_sdc_batched_at\":\"2017-12-22T20:43:02.000Z\",\"_sdc_table_version\":0},\
             \"time_extracted\":\"2017-12-22T20:43:01.000Z\"}\n"
        ));
    }

    #[test]
    fn a_value_goes_into_its_column_or_into_the_extra_one() {
        let deep = |levels| format!(r#"{{"deep":{}{}}}"#, "[".repeat(levels), "]".repeat(levels));
        // (event, column, value)
        let cases = [
            (r#"{"time":"1513975381"}"#, "time", "1513975381"),
            (r#"{"hard_bounce":"true"}"#, "hard_bounce", "true"),
            (r#"{"hard_bounce":""}"#, "hard_bounce", "null"),
            (r#"{"hard_bounce":""}"#, EXTRA, "null"),
            (r#"{"hard_bounce":"maybe"}"#, "hard_bounce", "null"),
            (r#"{"hard_bounce":"maybe"}"#, EXTRA, r#"{"hard_bounce":"maybe"}"#),
            (r#"{"price":1.10,"new":{"a": [1]}}"#, EXTRA, r#"{"price":1.10,"new":{"a": [1]}}"#),
            (r#"{"geo":null}"#, "geo", "null"),
            (r#"{"new":null}"#, EXTRA, r#"{"new":null}"#),
            (r#"{"\u0065vent":"open"}"#, "event", r#""open""#),
            (r#"{"event":"a","event":"b"}"#, "event", r#""b""#),
            (r#"{"event":"a","event":"b"}"#, EXTRA, r#"{"event":"a"}"#),
            (r#"{"event":"a","event":5}"#, "event", "null"),
            (r#"{"event":"a","event":5}"#, EXTRA, r#"{"event":"a","event__2":5}"#),
            (r#"{"event":"a","event":null}"#, "event", "null"),
            (r#"{"event":"a","event":null}"#, EXTRA, r#"{"event":"a"}"#),
            (r#"{"x":1,"x__2":2,"x":3,"x":4}"#, EXTRA, r#"{"x":1,"x__2":2,"x__3":3,"x__4":4}"#),
            (r#"{"_sdc_sequence":7}"#, SEQUENCE, "42"),
            (r#"{"_sdc_sequence":7}"#, EXTRA, r#"{"_sdc_sequence":7}"#),
            (r#"{"_sdc_extra":7}"#, EXTRA, r#"{"_sdc_extra":7}"#),
            (r#"{"":1}"#, EXTRA, r#"{"":1}"#),
            (r#"{"Payload":"\ud800"}"#, "Payload", r#""\"\\ud800\"""#),
            (r#"{"\ud800":["\udc00"]}"#, EXTRA, r#"{"\"\\ud800\"":"[\"\\udc00\"]"}"#),
            (&deep(100), EXTRA, &deep(100)),
            (&deep(101), EXTRA, &format!(r#"{{"deep":"{}{}"}}"#, "[".repeat(101), "]".repeat(101))),
            ("{ }", EXTRA, "null"),
            ("{broken", EXTRA, r#"{"_unreadable":"{broken"}"#),
        ];
        for (event, name, expected) in cases {
            assert_eq!(column(event, name), expected, "column {name} of {event}");
        }
    }
}
