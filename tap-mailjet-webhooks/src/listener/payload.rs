//! The payload: which slices of a body are events.
//!
//! The rule is generous: one JSON object is an event, an array is its elements, and an element that is not an object
//! does not spoil its neighbours. What an event contains is of no interest here.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use serde::de::{Deserializer as _, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::spool::{Item, REJECTED_BODY_BYTES};

/// An array element that is not an object.
const NOT_AN_OBJECT: &str = "the array element is not a JSON object, and so no event";

/// Finds the events in a body of less than 4 GiB.
///
/// An error says why the body holds none; it is kept as one rejected row.
pub fn split(body: &[u8]) -> Result<Vec<Item>, Cow<'static, str>> {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    match body.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(b'{') => {
            let event: &RawValue = serde_json::from_slice(body).map_err(|error| not_json(&error))?;
            Ok(vec![Item { range: range_in(body, event), rejected: None }])
        }
        Some(b'[') => {
            let items = deserializer.deserialize_seq(Elements { body }).map_err(|error| not_json(&error))?;
            deserializer.end().map_err(|error| not_json(&error))?;
            Ok(items)
        }
        Some(_) => match serde_json::from_slice::<&RawValue>(body) {
            Ok(_) => Err("the body is JSON, but neither an object nor an array of objects".into()),
            Err(error) => Err(not_json(&error)),
        },
        None => Err("the body is empty".into()),
    }
}

struct Elements<'a> {
    body: &'a [u8],
}

impl<'de> Visitor<'de> for Elements<'de> {
    type Value = Vec<Item>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while let Some(element) = elements.next_element::<&RawValue>()? {
            let mut range = range_in(self.body, element);
            let is_event = element.get().starts_with('{');
            if !is_event {
                range.end = range.end.min(range.start.saturating_add(REJECTED_BODY_BYTES));
            }
            items.push(Item { range, rejected: if is_event { None } else { Some(NOT_AN_OBJECT.into()) } });
        }
        Ok(items)
    }
}

/// Where a value that was read from `body` stands in it.
fn range_in(body: &[u8], value: &RawValue) -> Range<u32> {
    let start = value.get().as_ptr().addr() - body.as_ptr().addr();
    let offset = |at: usize| u32::try_from(at).expect("max_body_bytes is below 4 GiB");
    offset(start)..offset(start + value.get().len())
}

fn not_json(error: &serde_json::Error) -> Cow<'static, str> {
    format!("the body is not JSON: {error}").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(body: &str) -> Result<Vec<(&str, bool)>, String> {
        let items = split(body.as_bytes())?;
        let slice = |item: &Item| &body[item.range.start as usize..item.range.end as usize];
        Ok(items.iter().map(|item| (slice(item), item.rejected.is_none())).collect())
    }

    #[test]
    fn objects_are_events_wherever_they_stand() {
        type Expected = &'static [(&'static str, bool)];
        let cases: [(&str, Expected); 7] = [
            (r#"{"event":"open"}"#, &[(r#"{"event":"open"}"#, true)]),
            ("\r\n {\"a\" : 1.10 }\t\n", &[("{\"a\" : 1.10 }", true)]),
            ("[]", &[]),
            (" [ {} ] ", &[("{}", true)]),
            (r#"[{"a":1}, 5, {"b":"]"}]"#, &[(r#"{"a":1}"#, true), ("5", false), (r#"{"b":"]"}"#, true)]),
            (r#"[[{"a":1}],null]"#, &[(r#"[{"a":1}]"#, false), ("null", false)]),
            (r#"{"lone":"\ud800"}"#, &[(r#"{"lone":"\ud800"}"#, true)]),
        ];
        for (body, expected) in cases {
            assert_eq!(events(body).expect(body), expected, "{body}");
        }
    }

    #[test]
    fn anything_else_is_told_apart() {
        let scalar = "the body is JSON, but neither an object nor an array of objects";
        let cases = [
            ("", "the body is empty"),
            (" \n", "the body is empty"),
            ("5", scalar),
            ("\"text\"", scalar),
            ("event=open&time=1", "the body is not JSON: expected value at line 1 column 1"),
            ("{\"a\":1", "the body is not JSON: EOF while parsing an object at line 1 column 6"),
            ("[{},", "the body is not JSON: EOF while parsing a value at line 1 column 4"),
            ("{} {}", "the body is not JSON: trailing characters at line 1 column 4"),
            ("[] 1", "the body is not JSON: trailing characters at line 1 column 4"),
            ("{'a':1}", "the body is not JSON: key must be a string at line 1 column 2"),
        ];
        for (body, expected) in cases {
            assert_eq!(events(body).expect_err(body), expected, "{body}");
        }
        let control = events("{\"a\":\"\n\"}").expect_err("a control character");
        assert!(control.starts_with("the body is not JSON: control character"), "{control}");
        let not_utf8 = split(b"{\"a\":\"\xff\"}").expect_err("not UTF-8");
        assert!(not_utf8.starts_with("the body is not JSON: invalid unicode"), "{not_utf8}");
    }

    #[test]
    fn depth_does_not_matter() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(200_000), "]".repeat(200_000));
        assert_eq!(events(&deep).expect("an event"), [(deep.as_str(), true)]);
    }
}
