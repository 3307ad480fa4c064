//! Which slices of a body are events.
//!
//! A body that is a JSON object is one event. If it is an array, each element that is an object is an event,
//! and every other element is a rejected item. The fields of an event do not matter here, except that events
//! are counted by type.

use std::fmt;

use serde::de::{Deserializer as _, Error as _, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::event_counts::EventCounts;
use super::refusal::Refusal;
use crate::spool::{AppendError, ItemKind, Items, REJECTED_BODY_BYTES, Reservation};

/// Why an array element that is not an object is rejected.
const NOT_AN_OBJECT: &str = "the array element is not a JSON object, so it is not an event";

/// What a body holds.
#[derive(Debug)]
pub struct Split {
    /// Where its events and rejected items are.
    pub items: Items,
    /// How many events of each type it holds.
    pub event_counts: EventCounts,
}

/// Finds the events in a body. The memory for the list of items is taken from `reservation`.
///
/// Fails with [`Refusal::NotEvents`] if the body holds none, which makes the whole body a rejected item, and
/// with [`Refusal::Spool`] if there is no memory.
pub fn split(body: &[u8], reservation: &mut Reservation) -> Result<Split, Refusal> {
    let not_json =
        |error: serde_json::Error| Refusal::NotEvents(format!("the body is not JSON: {error}").into());
    let mut split = Split { items: Items::new(NOT_AN_OBJECT), event_counts: EventCounts::default() };
    match body.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(b'{') => {
            let event: &RawValue = serde_json::from_slice(body).map_err(not_json)?;
            split.push(body, event, reservation).map_err(Refusal::Spool)?;
            Ok(split)
        }
        Some(b'[') => {
            let mut refused = None;
            let elements = Elements { body, split: &mut split, reservation, refused: &mut refused };
            let mut deserializer = serde_json::Deserializer::from_slice(body);
            let whole = deserializer.deserialize_seq(elements).and_then(|()| deserializer.end());
            match (whole, refused) {
                (Ok(()), _) => Ok(split),
                (Err(_), Some(error)) => Err(Refusal::Spool(error)),
                (Err(error), None) => Err(not_json(error)),
            }
        }
        Some(_) => Err(match serde_json::from_slice::<&RawValue>(body) {
            Ok(_) => {
                Refusal::NotEvents("the body is JSON, but neither an object nor an array of objects".into())
            }
            Err(error) => not_json(error),
        }),
        None => Err(Refusal::NotEvents("the body is empty".into())),
    }
}

impl Split {
    /// Adds a value that was read from `body`: an event if it is an object, and otherwise a rejected item.
    fn push(
        &mut self,
        body: &[u8],
        value: &RawValue,
        reservation: &mut Reservation,
    ) -> Result<(), AppendError> {
        let text = value.get();
        let start = text.as_ptr().addr() - body.as_ptr().addr();
        let mut range = start..start + text.len();
        let kind = if text.starts_with('{') { ItemKind::Event } else { ItemKind::Rejected };
        match kind {
            ItemKind::Event => self.event_counts.add(text),
            ItemKind::Rejected => range.end = range.end.min(range.start + REJECTED_BODY_BYTES),
        }
        self.items.push(range, kind, reservation)
    }
}

/// Reads the elements of an array into a [`Split`].
struct Elements<'a> {
    body: &'a [u8],
    split: &'a mut Split,
    reservation: &'a mut Reservation,
    /// Set if there is no memory for more items: `serde_json` can pass on only errors of its own.
    refused: &'a mut Option<AppendError>,
}

impl<'de> Visitor<'de> for Elements<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        while let Some(element) = elements.next_element::<&RawValue>()? {
            if let Err(error) = self.split.push(self.body, element, self.reservation) {
                *self.refused = Some(error);
                return Err(A::Error::custom(error));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::Budget;

    fn events(body: &str) -> Result<Vec<(&str, bool)>, String> {
        let split = split_within(1 << 20, body.as_bytes()).map_err(|refusal| refusal.to_string())?;
        Ok(split.items.iter().map(|(range, kind)| (&body[range], kind == ItemKind::Event)).collect())
    }

    fn split_within(budget: usize, body: &[u8]) -> Result<Split, Refusal> {
        let mut reservation = Budget::new(budget).reserve(0).expect("nothing is taken yet");
        split(body, &mut reservation)
    }

    #[test]
    fn objects_are_events_and_other_array_elements_are_rejected() {
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
    fn a_body_without_events_is_not_split_and_the_reason_is_given() {
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
        let not_utf8 = split_within(0, b"{\"a\":\"\xff\"}").expect_err("it is not UTF-8").to_string();
        assert!(not_utf8.starts_with("the body is not JSON: invalid unicode"), "{not_utf8}");
    }

    #[test]
    fn the_list_of_items_stops_growing_when_the_memory_budget_is_used_up() {
        let body = format!("[{}0]", "0,".repeat(100_000));
        let refused = split_within(64 << 10, body.as_bytes()).expect_err("it takes 200 KB");
        assert_eq!(refused, Refusal::Spool(AppendError::Overloaded));
        split_within(512 << 10, body.as_bytes()).expect("that is enough");
    }

    #[test]
    fn depth_does_not_matter() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(200_000), "]".repeat(200_000));
        assert_eq!(events(&deep).expect("an event"), [(deep.as_str(), true)]);
    }

    #[test]
    fn events_are_counted_by_type_and_rejected_items_are_not_counted() {
        let body = br#"[{"event":"open"}, {"event":"Open"}, {"event":"unsub"}, {"event":"typofix"}, {}, 5]"#;
        let counts = split_within(1 << 20, body).expect("events").event_counts;
        let counts: Vec<_> =
            EventCounts::names().into_iter().zip(counts.0).filter(|(_, count)| *count > 0).collect();
        assert_eq!(counts, [("open", 2), ("unsub", 1), ("other", 2)]);
    }
}
