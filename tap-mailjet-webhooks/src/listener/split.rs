//! The payload: which slices of a body are events.
//!
//! The rule is generous: one JSON object is an event, an array is its elements, and an element that is not an object
//! does not spoil its neighbours. What an event contains is of no interest here.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use serde::de::{Deserializer as _, Error as _, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::spool::{AppendError, ItemKind, Items, REJECTED_BODY_BYTES, Reservation};

/// An array element that is not an object.
const NOT_AN_OBJECT: &str = "the array element is not a JSON object, and so no event";

/// Why a body is not split into events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SplitError {
    /// It holds none; this says why. It is kept as one rejected row.
    NotEvents(Cow<'static, str>),
    /// There is no memory for the list of them now.
    AppendError(AppendError),
}

/// Finds the events in a body. The memory for the list of them is taken from `reservation`.
pub fn split(body: &[u8], reservation: &mut Reservation) -> Result<Items, SplitError> {
    let not_json =
        |error: &serde_json::Error| SplitError::NotEvents(format!("the body is not JSON: {error}").into());
    let mut items = Items::new(NOT_AN_OBJECT);
    match body.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(b'{') => {
            let event: &RawValue = serde_json::from_slice(body).map_err(|error| not_json(&error))?;
            items
                .push(range_in(body, event), ItemKind::Event, reservation)
                .map_err(SplitError::AppendError)?;
            Ok(items)
        }
        Some(b'[') => {
            let mut refused = None;
            let elements = Elements { body, items: &mut items, reservation, refused: &mut refused };
            let mut deserializer = serde_json::Deserializer::from_slice(body);
            let whole = deserializer.deserialize_seq(elements).and_then(|()| deserializer.end());
            match (whole, refused) {
                (Ok(()), _) => Ok(items),
                (Err(_), Some(refused)) => Err(SplitError::AppendError(refused)),
                (Err(error), None) => Err(not_json(&error)),
            }
        }
        Some(_) => Err(match serde_json::from_slice::<&RawValue>(body) {
            Ok(_) => SplitError::NotEvents(
                "the body is JSON, but neither an object nor an array of objects".into(),
            ),
            Err(error) => not_json(&error),
        }),
        None => Err(SplitError::NotEvents("the body is empty".into())),
    }
}

struct Elements<'a> {
    body: &'a [u8],
    items: &'a mut Items,
    reservation: &'a mut Reservation,
    /// Why the list was broken off, if it was not the JSON.
    refused: &'a mut Option<AppendError>,
}

impl<'de> Visitor<'de> for Elements<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        while let Some(element) = elements.next_element::<&RawValue>()? {
            let mut range = range_in(self.body, element);
            let kind = if element.get().starts_with('{') { ItemKind::Event } else { ItemKind::Rejected };
            if kind == ItemKind::Rejected {
                range.end = range.end.min(range.start + REJECTED_BODY_BYTES);
            }
            if let Err(refused) = self.items.push(range, kind, self.reservation) {
                *self.refused = Some(refused);
                return Err(A::Error::custom(refused));
            }
        }
        Ok(())
    }
}

/// Where a value that was read from `body` stands in it.
fn range_in(body: &[u8], value: &RawValue) -> Range<usize> {
    let start = value.get().as_ptr().addr() - body.as_ptr().addr();
    start..start + value.get().len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::Budget;

    fn events(body: &str) -> Result<Vec<(&str, bool)>, String> {
        let items = split_within(1 << 20, body.as_bytes()).map_err(|unsplit| match unsplit {
            SplitError::NotEvents(reason) => reason.into_owned(),
            SplitError::AppendError(refused) => refused.to_string(),
        })?;
        Ok(items.iter().map(|(range, kind)| (&body[range], kind == ItemKind::Event)).collect())
    }

    fn split_within(budget: usize, body: &[u8]) -> Result<Items, SplitError> {
        let mut reservation = Budget::new(budget).reserve(0).expect("nothing is taken yet");
        split(body, &mut reservation)
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
        let Err(SplitError::NotEvents(not_utf8)) = split_within(0, b"{\"a\":\"\xff\"}") else {
            panic!("it is not UTF-8");
        };
        assert!(not_utf8.starts_with("the body is not JSON: invalid unicode"), "{not_utf8}");
    }

    /// The list of many elements is counted while it grows, and not when it is there.
    #[test]
    fn a_list_that_memory_does_not_suffice_for_is_broken_off() {
        let body = format!("[{}0]", "0,".repeat(100_000));
        let refused = split_within(64 << 10, body.as_bytes()).expect_err("it takes 200 KB");
        assert_eq!(refused, SplitError::AppendError(AppendError::Overloaded));
        split_within(512 << 10, body.as_bytes()).expect("that is enough");
    }

    #[test]
    fn depth_does_not_matter() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(200_000), "]".repeat(200_000));
        assert_eq!(events(&deep).expect("an event"), [(deep.as_str(), true)]);
    }
}
