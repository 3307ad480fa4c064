//! Singer messages: SCHEMA, RECORD and STATE as types, one JSON object a line.
//!
//! RECORD has no type for writing: the tap copies a record's bytes into its line and never holds it as a tree. For the
//! same reason [`IncomingMessage`], the reading half, borrows from its line: a record stays the text that arrived.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer, Error as _, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::members::{self, MemberSpan, Members};
use crate::state::State;

/// A message that the tap writes as a whole.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "UPPERCASE")]
pub enum OutgoingMessage<'a> {
    /// Announces a stream and its columns, before the first RECORD that has them.
    Schema {
        /// Name of the stream.
        stream: &'a str,
        /// JSON Schema of a record.
        schema: &'a Value,
        /// Columns that together identify a row.
        key_properties: &'a [&'a str],
        /// Columns that a bookmark is made of.
        bookmark_properties: &'a [&'a str],
    },
    /// Says how far the stream of messages has got.
    State {
        /// The bookmarks, complete.
        value: &'a State,
    },
}

impl OutgoingMessage<'_> {
    /// Appends the message to `out` as one line.
    pub fn write_line(&self, out: &mut Vec<u8>) {
        serde_json::to_writer(&mut *out, self).expect("a message is JSON and memory takes every write");
        out.push(b'\n');
    }
}

/// A message as a target reads it.
#[derive(Debug)]
pub enum IncomingMessage<'a> {
    /// Announces a stream, or changes what its records look like.
    Schema {
        /// Name of the stream.
        stream: Cow<'a, str>,
        /// JSON Schema of a record, as text. Nothing is checked here but that it is JSON.
        schema: &'a RawValue,
        /// Columns that together identify a row; `None` where the message does not say.
        key_properties: Option<Vec<String>>,
    },
    /// One row.
    Record {
        /// Name of the stream.
        stream: Cow<'a, str>,
        /// The row.
        record: Row<'a>,
    },
    /// What to hand back once everything before it is stored.
    State {
        /// The value's text, exactly as it came.
        value: &'a RawValue,
    },
    /// A message of any other type.
    Other {
        /// The type.
        kind: Cow<'a, str>,
        /// Name of the stream, where the message has one.
        stream: Option<Cow<'a, str>>,
    },
}

/// A row, and its fields.
#[derive(Debug)]
pub struct Row<'a> {
    /// Its text, exactly as it came. It is a JSON object.
    pub text: &'a str,
    /// The text that the fields' places are places in.
    whole: &'a str,
    spans: Vec<MemberSpan>,
}

impl<'a> Row<'a> {
    /// The row that `text` is, unless that is no object.
    #[must_use]
    pub fn of(text: &'a str) -> Option<Self> {
        Some(Row { text, whole: text, spans: members::parse_object(text)? })
    }

    /// Its fields.
    #[must_use]
    pub fn fields(&self) -> Members<'a, '_> {
        Members::new(self.whole, &self.spans)
    }
}

/// Why a line is not a Singer message.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    /// The line is not text.
    #[error("it is not UTF-8 text (column {column})")]
    NotUtf8 {
        /// Where the first bad byte is, counted in bytes from 1.
        column: usize,
    },
    /// The line is not JSON, or a key of the message holds something that it can't hold.
    #[error("{}: {reason} (column {column})", if *.is_json { "it is not a Singer message" } else { "it is not JSON" })]
    Unreadable {
        /// Whether the line is JSON at least.
        is_json: bool,
        /// What is wrong.
        reason: String,
        /// Where, counted in bytes from 1.
        column: usize,
    },
    /// The line is JSON, but not an object.
    #[error(
        "it is not a JSON object; a Singer message looks like {{\"type\": \"RECORD\", \"stream\": \"data\", …}}"
    )]
    NotAnObject,
    /// A message lacks a key that its type demands.
    #[error("{kind} has no \"{key}\"")]
    MissingKey {
        /// What lacks the key.
        kind: &'static str,
        /// The key.
        key: &'static str,
    },
    /// A row is something other than an object.
    #[error("\"record\" is not a JSON object")]
    RecordNotAnObject {
        /// Name of the stream.
        stream: String,
    },
}

impl<'a> IncomingMessage<'a> {
    /// Reads one line, with or without its line ending.
    pub fn parse(line: &'a [u8]) -> Result<Self, MessageError> {
        let text = std::str::from_utf8(line)
            .map_err(|error| MessageError::NotUtf8 { column: error.valid_up_to() + 1 })?;
        if let Some(record) = Self::plain_record(text) {
            return Ok(record);
        }
        // Serde would take an array for a struct: its elements, in order, for the fields.
        if !text.trim_start().starts_with('{') {
            return match serde_json::from_str::<&RawValue>(text) {
                Ok(_) => Err(MessageError::NotAnObject),
                Err(error) => Err(unreadable(&error)),
            };
        }
        let envelope: Envelope = serde_json::from_str(text).map_err(|error| unreadable(&error))?;
        let Some(kind) = envelope.kind else { return Err(missing("the message", "type")) };
        let stream = envelope.stream.map(|name| name.0);
        match kind.0.as_ref() {
            "RECORD" => {
                let stream = stream.ok_or_else(|| missing("RECORD", "stream"))?;
                let record = envelope.record.ok_or_else(|| missing("RECORD", "record"))?;
                match Row::of(record.get()) {
                    Some(record) => Ok(IncomingMessage::Record { stream, record }),
                    None => Err(MessageError::RecordNotAnObject { stream: stream.into_owned() }),
                }
            }
            "STATE" => {
                let value = envelope.value.ok_or_else(|| missing("STATE", "value"))?;
                Ok(IncomingMessage::State { value })
            }
            "SCHEMA" => Ok(IncomingMessage::Schema {
                stream: stream.ok_or_else(|| missing("SCHEMA", "stream"))?,
                schema: envelope.schema.ok_or_else(|| missing("SCHEMA", "schema"))?,
                key_properties: envelope.key_properties,
            }),
            _ => Ok(IncomingMessage::Other { kind: kind.0, stream }),
        }
    }
}

impl<'a> IncomingMessage<'a> {
    /// A RECORD of which nothing is odd, which nearly every line is. Any other line is for serde, which also says what is wrong
    /// with it.
    fn plain_record(text: &'a str) -> Option<Self> {
        let (spans, fields) = members::parse_object_and_member(text, "record")?;
        let (mut kind, mut stream, mut record) = (None, None, None);
        for member in Members::new(text, &spans).iter() {
            let slot = match member.quoted_name {
                "\"type\"" => &mut kind,
                "\"stream\"" => &mut stream,
                "\"record\"" => &mut record,
                "\"time_extracted\"" | "\"version\"" => continue,
                _ => return None,
            };
            if slot.replace(member).is_some() {
                return None;
            }
        }
        let (kind, stream, record) = (kind?, stream?, record?);
        let name = stream.value.strip_prefix('"')?.strip_suffix('"')?;
        let is_plain = kind.value == "\"RECORD\"" && stream.is_plain && record.value.starts_with('{');
        is_plain.then_some(IncomingMessage::Record {
            stream: Cow::Borrowed(name),
            record: Row { text: record.value, whole: text, spans: fields },
        })
    }
}

/// Text of a JSON string or key, borrowed from the input unless it holds escapes.
#[derive(Debug)]
struct Text<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
                formatter.write_str("text")
            }

            fn visit_borrowed_str<E: serde::de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(TextVisitor)
    }
}

/// All keys of all messages that a target acts on. Any other key is passed over.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(rename = "type", borrow)]
    kind: Option<Text<'a>>,
    #[serde(borrow)]
    stream: Option<Text<'a>>,
    #[serde(borrow, default, deserialize_with = "whatever_stands_there")]
    record: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "whatever_stands_there")]
    value: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "whatever_stands_there")]
    schema: Option<&'a RawValue>,
    key_properties: Option<Vec<String>>,
}

/// A key that holds `null` is there all the same: a STATE may well be null.
fn whatever_stands_there<'de: 'a, 'a, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some).map_err(D::Error::custom)
}

fn missing(kind: &'static str, key: &'static str) -> MessageError {
    MessageError::MissingKey { kind, key }
}

fn unreadable(error: &serde_json::Error) -> MessageError {
    // The line number of the input is the caller's to tell; serde_json would say "line 1" each time.
    let text = error.to_string();
    let reason = text.rsplit_once(" at line ").map_or(text.as_str(), |(reason, _)| reason);
    MessageError::Unreadable { is_json: error.is_data(), reason: reason.to_owned(), column: error.column() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_and_a_state_are_slices_of_their_line() {
        let line = br#" {"stream":"d\u0061ta","record": {"MessageID": 576460779645409236, "x":1.10} ,"type":"RECORD"}"#;
        let Ok(IncomingMessage::Record { stream, record }) = IncomingMessage::parse(line) else {
            panic!("a RECORD")
        };
        assert_eq!(stream, "data");
        assert_eq!(record.text, r#"{"MessageID": 576460779645409236, "x":1.10}"#);

        let line =
            br#"{"type": "RECORD", "stream": "s", "record": {"x":1.10}, "version":1, "time_extracted":""}"#;
        let Ok(IncomingMessage::Record { stream, record }) = IncomingMessage::parse(line) else {
            panic!("a RECORD")
        };
        assert_eq!((stream.as_ref(), record.text), ("s", r#"{"x":1.10}"#));
        assert_eq!(record.fields().iter().map(|field| field.value).collect::<Vec<_>>(), ["1.10"]);

        let line = b"{\"type\":\"STATE\",\"value\": {\"a\": 1e2}}\r\n";
        let Ok(IncomingMessage::State { value }) = IncomingMessage::parse(line) else { panic!("a STATE") };
        assert_eq!(value.get(), r#"{"a": 1e2}"#);

        let Ok(IncomingMessage::State { value }) =
            IncomingMessage::parse(br#"{"type":"STATE","value":null}"#)
        else {
            panic!("a STATE")
        };
        assert_eq!(value.get(), "null");
    }

    #[test]
    fn key_properties_may_be_missing() {
        for (line, expected) in [
            (r#"{"type":"SCHEMA","stream":"s","schema":{}}"#, None),
            (r#"{"type":"SCHEMA","stream":"s","schema":{},"key_properties":null}"#, None),
            (
                r#"{"type":"SCHEMA","stream":"s","schema":{},"key_properties":["id"]}"#,
                Some(vec!["id".to_owned()]),
            ),
        ] {
            let Ok(IncomingMessage::Schema { key_properties, .. }) = IncomingMessage::parse(line.as_bytes())
            else {
                panic!("{line}")
            };
            assert_eq!(key_properties, expected, "{line}");
        }
    }

    #[test]
    fn what_is_not_a_message_is_refused_with_the_reason() {
        let cases: [(&[u8], &str); 14] = [
            (b"hello", "it is not JSON: expected value (column 1)"),
            (br#"{"type": "STATE""#, "it is not JSON: EOF while parsing an object"),
            (br#"{"type":"STATE","value":{}} x"#, "it is not JSON: trailing characters (column 29)"),
            (br#"["RECORD", "s", {}]"#, "it is not a JSON object"),
            (b"5", "it is not a JSON object"),
            (b"{}", "the message has no \"type\""),
            (br#"{"type":5}"#, "it is not a Singer message: invalid type: integer `5`, expected text"),
            (br#"{"type":"RECORD","record":{}}"#, "RECORD has no \"stream\""),
            (br#"{"type":"RECORD","stream":"s"}"#, "RECORD has no \"record\""),
            (br#"{"type":"RECORD","stream":"s","record":[1]}"#, "\"record\" is not a JSON object"),
            (br#"{"type":"RECORD","stream":"s","record":{},"record":{}}"#, "duplicate field `record`"),
            (
                br#"{"type":"RECORD","stream":"s","record":{"a":01}}"#,
                "it is not a Singer message: invalid number",
            ),
            (br#"{"type":"SCHEMA","stream":"s","schema":{},"key_properties":"id"}"#, "expected a sequence"),
            (b"{\"type\":\"\xff\"}", "it is not UTF-8 text (column 10)"),
        ];
        for (line, expected) in cases {
            let error = IncomingMessage::parse(line).expect_err(expected).to_string();
            assert!(error.contains(expected), "{error}\nlacks: {expected}");
        }
    }
}
