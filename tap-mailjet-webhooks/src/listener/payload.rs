//! The payload: which slices of a body are events.
//!
//! The rule is generous: one JSON object is an event, an array is its elements, and an element that is not an object
//! does not spoil its neighbours. What an event contains is of no interest here.

use std::fmt;
use std::ops::Range;

use serde::de::{Deserializer as _, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::spool::Item;

/// An array element that is not an object.
const NOT_AN_OBJECT: &str = "the array element is not a JSON object";

/// Finds the events in a body of less than 4 GiB.
///
/// An error says why the body holds none; it is kept as one rejected row.
pub fn split(body: &[u8]) -> Result<Vec<Item>, &'static str> {
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
        Some(_) if serde_json::from_slice::<&RawValue>(body).is_ok() => {
            Err("the body is JSON, but neither an object nor an array")
        }
        Some(_) => Err("the body is not JSON"),
        None => Err("the body is empty"),
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
            let rejected = if element.get().starts_with('{') { None } else { Some(NOT_AN_OBJECT) };
            items.push(Item { range: range_in(self.body, element), rejected });
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

fn not_json(error: &serde_json::Error) -> &'static str {
    if error.is_eof() { "the body is not JSON: it ends too early" } else { "the body is not JSON" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(body: &str) -> Result<Vec<(&str, bool)>, &'static str> {
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
            assert_eq!(events(body).as_deref(), Ok(expected), "{body}");
        }
    }

    #[test]
    fn anything_else_is_told_apart() {
        let cases = [
            ("", "the body is empty"),
            (" \n", "the body is empty"),
            ("5", "the body is JSON, but neither an object nor an array"),
            ("\"text\"", "the body is JSON, but neither an object nor an array"),
            ("event=open&time=1", "the body is not JSON"),
            ("{\"a\":1", "the body is not JSON: it ends too early"),
            ("[{},", "the body is not JSON: it ends too early"),
            ("{} {}", "the body is not JSON"),
            ("[] 1", "the body is not JSON"),
            ("{'a':1}", "the body is not JSON"),
            ("{\"a\":\"\n\"}", "the body is not JSON"),
        ];
        for (body, expected) in cases {
            assert_eq!(events(body), Err(expected), "{body}");
        }
        assert_eq!(split(b"{\"a\":\"\xff\"}").expect_err("not UTF-8"), "the body is not JSON");
    }

    #[test]
    fn depth_does_not_matter() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(200_000), "]".repeat(200_000));
        assert_eq!(events(&deep), Ok(vec![(deep.as_str(), true)]));
    }
}
