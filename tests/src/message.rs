//! Singer messages as the tests read them, with the original text of each value.

use std::collections::BTreeMap;

use serde_json::Value;
use serde_json::value::RawValue;

/// The members of a JSON object, each with its original text.
pub type RawObject = BTreeMap<String, Box<RawValue>>;

/// A line of a tap's output.
#[derive(Debug, Clone)]
pub enum Message {
    /// Announces a stream.
    Schema(Schema),
    /// A row.
    Record(Record),
    /// The value of a state.
    State(Value),
}

/// A SCHEMA message.
#[derive(Debug, Clone)]
pub struct Schema {
    /// Name of the stream.
    pub stream: String,
    /// JSON Schema of a row.
    pub schema: Value,
    /// The whole message.
    pub message: Value,
}

/// A RECORD message, or a line that target-jsonl has written.
#[derive(Debug, Clone)]
pub struct Record {
    /// Name of the stream.
    pub stream: String,
    /// When the tap read the row, if the message says so.
    pub time_extracted: Option<String>,
    /// The text of the row.
    pub text: String,
    columns: RawObject,
}

impl Message {
    /// Parses a line.
    #[must_use]
    pub fn parse(line: &str) -> Self {
        let members = members(line);
        match text(&members["type"]).as_str() {
            "SCHEMA" => Message::Schema(Schema {
                stream: text(&members["stream"]),
                schema: value(members["schema"].get()),
                message: value(line),
            }),
            "RECORD" => Message::Record(Record {
                stream: text(&members["stream"]),
                time_extracted: members.get("time_extracted").map(|raw| text(raw)),
                ..Record::from_row(members["record"].get())
            }),
            "STATE" => Message::State(value(members["value"].get())),
            other => panic!("a message of type {other}: {line}"),
        }
    }

    /// Parses several lines.
    #[must_use]
    pub fn parse_all(lines: &[String]) -> Vec<Self> {
        lines.iter().map(|line| Message::parse(line)).collect()
    }

    /// The record, if the message is one.
    #[must_use]
    pub fn record(self) -> Option<Record> {
        match self {
            Message::Record(record) => Some(record),
            _ => None,
        }
    }

    /// The bookmark of stream `data`, if the message is a STATE that has one.
    #[must_use]
    pub fn bookmark(&self) -> Option<i64> {
        match self {
            Message::State(state) => bookmark(state),
            _ => None,
        }
    }
}

impl Record {
    /// Parses the text of a row of stream `data`.
    ///
    /// The extra column holds an object, by default as text. It is shown as an object either way.
    #[must_use]
    pub fn from_row(row: &str) -> Self {
        let mut columns = members(row);
        if let Some(extra) = columns.get_mut("_sdc_extra") {
            *extra = extra_object(extra);
        }
        Record { stream: "data".to_owned(), time_extracted: None, text: row.to_owned(), columns }
    }

    /// The text of a column's value.
    #[must_use]
    pub fn raw(&self, column: &str) -> &str {
        self.get(column).unwrap_or_else(|| panic!("no column {column} in {}", self.text))
    }

    /// The text of a column's value, if the row has the column.
    #[must_use]
    pub fn get(&self, column: &str) -> Option<&str> {
        self.columns.get(column).map(|raw| raw.get())
    }

    /// The value of a text column.
    #[must_use]
    pub fn text(&self, column: &str) -> String {
        serde_json::from_str(self.raw(column))
            .unwrap_or_else(|_| panic!("{column} is not text: {}", self.text))
    }

    /// The value of an integer column.
    #[must_use]
    pub fn integer(&self, column: &str) -> i64 {
        self.raw(column).parse().unwrap_or_else(|_| panic!("{column} is not an integer: {}", self.text))
    }

    /// `_sdc_sequence`.
    #[must_use]
    pub fn sequence(&self) -> i64 {
        self.integer("_sdc_sequence")
    }

    /// `__sdc_primary_key`.
    #[must_use]
    pub fn key(&self) -> String {
        self.text("__sdc_primary_key")
    }

    /// The names of the columns, sorted.
    pub fn column_names(&self) -> impl Iterator<Item = &str> {
        self.columns.keys().map(String::as_str)
    }
}

/// The members of the JSON object `text`.
#[must_use]
pub fn members(text: &str) -> RawObject {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("not a JSON object ({error}): {text}"))
}

/// The object in a value of the extra column, whether or not it is written as text.
#[must_use]
pub fn extra_object(extra: &RawValue) -> Box<RawValue> {
    let object = serde_json::from_str::<String>(extra.get()).and_then(RawValue::from_string);
    object.unwrap_or_else(|_| extra.to_owned())
}

/// The bookmark of stream `data` in the value of a STATE.
#[must_use]
pub fn bookmark(state: &Value) -> Option<i64> {
    state["bookmarks"]["data"]["replication_key_value"].as_i64()
}

/// Whether two JSON texts are the same value. Strings may differ in their escapes and objects in their order;
/// everything else, in particular numbers, must have the same characters.
#[must_use]
pub fn same_value(one: &str, other: &str) -> bool {
    match (one.as_bytes().first(), other.as_bytes().first()) {
        (Some(b'"'), Some(b'"')) => {
            one == other || value_or_none(one).is_some_and(|value| Some(value) == value_or_none(other))
        }
        (Some(b'{'), Some(b'{')) => {
            let (one, other) = (members(one), members(other));
            one.len() == other.len()
                && one.iter().all(|(name, value)| {
                    other.get(name).is_some_and(|found| same_value(value.get(), found.get()))
                })
        }
        _ => one == other,
    }
}

/// The value of a JSON text.
#[must_use]
pub fn value(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("not JSON ({error}): {text}"))
}

fn value_or_none(text: &str) -> Option<Value> {
    serde_json::from_str(text).ok()
}

fn text(raw: &RawValue) -> String {
    serde_json::from_str(raw.get()).unwrap_or_else(|_| panic!("not text: {raw}"))
}
