//! Singer messages: SCHEMA, RECORD and STATE as types, one JSON object a line.
//!
//! There is no type for writing a RECORD: the tap copies a record's bytes into the line and never builds a
//! tree. Likewise, an [`IncomingMessage`] borrows from its line, so that a record stays the text that
//! arrived.

use std::borrow::Cow;

use serde::Serialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use crate::members::{self, Member, MemberSpan, Members};
use crate::state::State;

/// A message that the tap writes as a whole.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "UPPERCASE")]
#[expect(missing_docs, reason = "the fields are those of Singer's messages")]
pub enum OutgoingMessage<'a> {
    /// Announces a stream and its columns, before the first RECORD that has them.
    Schema {
        stream: &'a str,
        schema: &'a Value,
        key_properties: &'a [&'a str],
        bookmark_properties: &'a [&'a str],
    },
    /// Says how far each stream has been written.
    State { value: &'a State },
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
#[expect(missing_docs, reason = "the fields are those of Singer's messages")]
pub enum IncomingMessage<'a> {
    /// Announces a stream, or changes the schema of its records. `schema` is the JSON text, not yet checked.
    Schema { stream: Cow<'a, str>, schema: &'a str, key_properties: Option<Vec<String>> },
    /// One row.
    Record { stream: Cow<'a, str>, record: Record<'a> },
    /// What to print once everything before it is stored: the JSON text, unchanged.
    State { value: &'a str },
    /// A message of any other type.
    Other { kind: Cow<'a, str>, stream: Option<Cow<'a, str>> },
}

/// A record: a JSON object and its members.
#[derive(Debug)]
pub struct Record<'a> {
    /// The object's text, unchanged.
    pub text: &'a str,
    /// The text that the spans refer to: the object, or the line that contains it.
    spans_text: &'a str,
    spans: Vec<MemberSpan>,
}

impl<'a> Record<'a> {
    /// Reads a record. Returns `None` if `text` is not a JSON object.
    pub fn parse(text: &'a str) -> Option<Self> {
        Some(Record { text, spans_text: text, spans: members::parse_object(text)? })
    }

    /// Returns the record's members.
    pub fn members(&self) -> Members<'a, '_> {
        Members::new(self.spans_text, &self.spans)
    }
}

/// Why a line is not a Singer message. Columns count bytes from 1.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The message of each variant says what it is.
pub enum MessageError {
    #[error("it is not UTF-8 text (column {column})")]
    NotUtf8 { column: usize },
    #[error("it is not JSON: {reason} (column {column})")]
    NotJson { reason: String, column: usize },
    #[error(
        "it is not a JSON object; a Singer message looks like \
         {{\"type\": \"RECORD\", \"stream\": \"data\", …}}"
    )]
    NotAnObject,
    #[error("{kind} has no \"{key}\"")]
    MissingKey { kind: &'static str, key: &'static str },
    #[error("it has more than one \"{key}\"")]
    RepeatedKey { key: String },
    #[error("its \"{key}\" is wrong: {reason}")]
    WrongType { key: &'static str, reason: String },
    #[error("stream {stream:?}: \"record\" is not a JSON object")]
    RecordNotAnObject { stream: String },
}

impl<'a> IncomingMessage<'a> {
    /// Reads one line, with or without its line ending.
    pub fn parse(line: &'a [u8]) -> Result<Self, MessageError> {
        let text = std::str::from_utf8(line)
            .map_err(|error| MessageError::NotUtf8 { column: error.valid_up_to() + 1 })?;
        let (spans, record_spans) =
            members::parse_object_and_member(text, "record").ok_or_else(|| not_an_object(text))?;
        let (mut kind, mut stream, mut record) = (None, None, None);
        let (mut value, mut schema, mut key_properties) = (None, None, None);
        for member in Members::new(text, &spans).iter() {
            let name = member.name();
            let slot = match name.as_ref() {
                "type" => &mut kind,
                "stream" => &mut stream,
                "record" => &mut record,
                "value" => &mut value,
                "schema" => &mut schema,
                "key_properties" => &mut key_properties,
                _ => continue,
            };
            if slot.replace(member).is_some() {
                return Err(MessageError::RepeatedKey { key: name.into_owned() });
            }
        }
        let missing = |kind, key| MessageError::MissingKey { kind, key };
        let kind = text_of("type", kind)?.ok_or(missing("the message", "type"))?;
        let stream = text_of("stream", stream)?;
        match kind.as_ref() {
            "RECORD" => {
                let stream = stream.ok_or(missing("RECORD", "stream"))?;
                let record = record.ok_or(missing("RECORD", "record"))?;
                let record = match record {
                    Member { quoted_name: "\"record\"", value, .. } if value.starts_with('{') => {
                        Some(Record { text: value, spans_text: text, spans: record_spans })
                    }
                    // The name is spelled with escapes, or the value is not an object.
                    _ => Record::parse(record.value),
                };
                match record {
                    Some(record) => Ok(IncomingMessage::Record { stream, record }),
                    None => Err(MessageError::RecordNotAnObject { stream: stream.into_owned() }),
                }
            }
            "STATE" => Ok(IncomingMessage::State { value: value.ok_or(missing("STATE", "value"))?.value }),
            "SCHEMA" => Ok(IncomingMessage::Schema {
                stream: stream.ok_or(missing("SCHEMA", "stream"))?,
                schema: schema.ok_or(missing("SCHEMA", "schema"))?.value,
                key_properties: match key_properties {
                    Some(names) => serde_json::from_str(names.value)
                        .map_err(|error| wrong_type("key_properties", &error))?,
                    None => None,
                },
            }),
            _ => Ok(IncomingMessage::Other { kind, stream }),
        }
    }
}

/// Returns the text of a JSON string. Null is treated like a missing member.
fn text_of<'a>(key: &'static str, member: Option<Member<'a>>) -> Result<Option<Cow<'a, str>>, MessageError> {
    let Some(Member { value, is_plain, .. }) = member else { return Ok(None) };
    if is_plain && value.starts_with('"') {
        return Ok(Some(Cow::Borrowed(&value[1..value.len() - 1])));
    }
    let text: Option<String> = serde_json::from_str(value).map_err(|error| wrong_type(key, &error))?;
    Ok(text.map(Cow::Owned))
}

fn wrong_type(key: &'static str, error: &serde_json::Error) -> MessageError {
    MessageError::WrongType { key, reason: without_position(error) }
}

/// Returns why the scanner finds no object in a line.
fn not_an_object(text: &str) -> MessageError {
    match serde_json::from_str::<IgnoredAny>(text) {
        Ok(_) => MessageError::NotAnObject,
        Err(error) => MessageError::NotJson { reason: without_position(&error), column: error.column() },
    }
}

/// Returns the error's text without " at line 1 …": only the caller knows the line's number.
fn without_position(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ").map_or(text.as_str(), |(reason, _)| reason).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &[u8]) -> IncomingMessage<'_> {
        IncomingMessage::parse(line).expect("a message")
    }

    #[test]
    fn a_record_and_a_state_are_slices_of_their_line() {
        let line = br#" {"stream":"d\u0061ta", "record": {"MessageID": 576460779645409236, "x":1.10} ,
            "type":"RECORD"}"#;
        let IncomingMessage::Record { stream, record } = parse(line) else { panic!("a RECORD") };
        assert_eq!(stream, "data");
        assert_eq!(record.text, r#"{"MessageID": 576460779645409236, "x":1.10}"#);

        let line =
            br#"{"type": "RECORD", "stream": "s", "record": {"x":1.10}, "version":1, "time_extracted":""}"#;
        let IncomingMessage::Record { stream, record } = parse(line) else { panic!("a RECORD") };
        assert_eq!((stream.as_ref(), record.text), ("s", r#"{"x":1.10}"#));
        assert_eq!(record.members().iter().map(|field| field.value).collect::<Vec<_>>(), ["1.10"]);

        for expected in [r#"{"a": 1e2}"#, "null"] {
            let line = format!("{{\"type\":\"STATE\",\"value\": {expected}}}\r\n");
            let IncomingMessage::State { value } = parse(line.as_bytes()) else { panic!("a STATE") };
            assert_eq!(value, expected);
        }
    }

    #[test]
    fn key_properties_may_be_missing() {
        let id = Some(vec!["id".to_owned()]);
        let cases = [("", None), (r#","key_properties":null"#, None), (r#","key_properties":["id"]"#, id)];
        for (rest, expected) in cases {
            let line = format!(r#"{{"type":"SCHEMA","stream":"s","schema":{{}}{rest}}}"#);
            let IncomingMessage::Schema { key_properties, .. } = parse(line.as_bytes()) else {
                panic!("{line}")
            };
            assert_eq!(key_properties, expected, "{line}");
        }
    }

    #[test]
    fn a_line_that_is_not_a_message_is_refused_with_the_reason() {
        let cases = r#"
            hello -> it is not JSON: expected value (column 1)
            {"type": "STATE" -> it is not JSON: EOF while parsing an object
            {"type":"STATE","value":{}} x -> it is not JSON: trailing characters (column 29)
            ["RECORD", "s", {}] -> it is not a JSON object
            5 -> it is not a JSON object
            {} -> the message has no "type"
            {"type":5} -> its "type" is wrong: invalid type: integer `5`, expected a string
            {"type":"RECORD","record":{}} -> RECORD has no "stream"
            {"type":"RECORD","stream":"s"} -> RECORD has no "record"
            {"type":"RECORD","stream":"s","record":[1]} -> stream "s": "record" is not a JSON object
            {"type":"RECORD","stream":"s","record":{},"record":{}} -> it has more than one "record"
            {"type":"RECORD","stream":"s","record":{"a":01}} -> it is not JSON: invalid number (column
            {"type":"SCHEMA","stream":"s","schema":{},"key_properties":"id"} -> its "key_properties" is wrong
        "#;
        let check = |line: &[u8], expected: &str| {
            let error = IncomingMessage::parse(line).expect_err(expected).to_string();
            assert!(error.contains(expected), "{error}\nlacks: {expected}");
        };
        for case in cases.trim().lines() {
            let (line, expected) = case.trim().split_once(" -> ").expect("a case");
            check(line.as_bytes(), expected);
        }
        check(b"{\"type\":\"\xff\"}", "it is not UTF-8 text (column 10)");
    }
}
