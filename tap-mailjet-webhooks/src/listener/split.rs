//! Which slices of a body are events.
//!
//! A body that is a JSON object is one event. If it is an array, each element that is an object is an
//! event, and each run of other elements is a rejected item. Anything else goes to [`super::salvage`]. The
//! fields of an event do not matter here, except that events are counted by type.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use catalog::byte_order_mark::without_byte_order_mark;
use serde::de::{Deserializer as _, Error as _, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::event_counts::EventCounts;
use super::refusal::Refusal;
use super::salvage::salvage;
use crate::spool::{Items, Reservation};

/// Why array elements that are not objects are rejected.
pub(super) const NOT_AN_OBJECT: &str = "the array element is not a JSON object, so it is not an event";
/// Values that a body may hold. Mailjet sends the events of a second; hostile clients send more.
pub(super) const MAX_ELEMENTS: usize = 100_000;

/// The least memory that is taken for the text of repaired items.
const LEAST_GROWTH: usize = 4 << 10;

/// What a body holds.
#[derive(Debug)]
pub struct Split {
    /// The body or, if something in it had to be repaired, its items one after the other.
    pub text: Bytes,
    /// Where the events and rejected items are in the text.
    pub items: Items,
    /// How many events of each type it holds.
    pub event_counts: EventCounts,
    /// Why the first rejected item is not an event; `None` if there is none.
    pub error: Option<Cow<'static, str>>,
}

/// Finds the events in a body, and everything else that has to be kept. The memory for it is taken from
/// `reservation`.
///
/// Fails if the body is empty, if it holds more than [`MAX_ELEMENTS`] values, and if there is no memory.
pub fn split(body: &Bytes, reservation: &mut Reservation) -> Result<Split, Refusal> {
    let mut found = Builder::new(body, reservation, false);
    match body.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(b'{') => {
            if let Ok(event) = serde_json::from_slice::<&RawValue>(body) {
                found.add_value(event)?;
                return found.finish(body.clone());
            }
        }
        Some(b'[') => {
            let mut refused = None;
            let elements = Elements { found: &mut found, refused: &mut refused };
            let mut deserializer = serde_json::Deserializer::from_slice(body);
            let whole = deserializer.deserialize_seq(elements).and_then(|()| deserializer.end());
            match (whole, refused) {
                (_, Some(refusal)) => return Err(refusal),
                (Ok(()), None) => return found.finish(body.clone()),
                (Err(_), None) => {}
            }
        }
        _ => {}
    }
    if without_byte_order_mark(body.trim_ascii()).is_empty() {
        return Err(Refusal::BodyEmpty);
    }
    let mut found = Builder::new(body, reservation, true);
    salvage(body, &mut found)?;
    found.finish(Bytes::new())
}

/// A [`Split`] under construction.
#[derive(Debug)]
pub(super) struct Builder<'a> {
    body: &'a [u8],
    reservation: &'a mut Reservation,
    /// The text of the items, if it is not the body.
    rebuilt: Option<Vec<u8>>,
    items: Items,
    event_counts: EventCounts,
    error: Option<Cow<'static, str>>,
    /// Values that were added.
    elements: usize,
    /// The run of rejected values that ends with the last value, and why its first one was rejected.
    run: Option<(Range<usize>, Cow<'static, str>)>,
}

impl<'a> Builder<'a> {
    fn new(body: &'a [u8], reservation: &'a mut Reservation, is_rebuilt: bool) -> Self {
        Builder {
            body,
            reservation,
            rebuilt: is_rebuilt.then(Vec::new),
            items: Items::new(),
            event_counts: EventCounts::default(),
            error: None,
            elements: 0,
            run: None,
        }
    }

    /// Adds a value that is a slice of the body: an event if it is an object.
    fn add_value(&mut self, value: &RawValue) -> Result<(), Refusal> {
        let text = value.get();
        let start = text.as_ptr().addr() - self.body.as_ptr().addr();
        let range = start..start + text.len();
        match text.starts_with('{') {
            true => self.add_event(text.as_bytes(), range),
            false => self.reject(range, NOT_AN_OBJECT.into()),
        }
    }

    /// Adds an event. `text` is JSON; if the items are rebuilt, it need not be what the body has at `range`.
    pub(super) fn add_event(&mut self, text: &[u8], range: Range<usize>) -> Result<(), Refusal> {
        self.count_element()?;
        self.end_run()?;
        self.event_counts.add(str::from_utf8(text).unwrap_or_default());
        let range = self.place(text, range)?;
        self.items.push_event(range, self.reservation).map_err(Refusal::Spool)
    }

    /// Rejects a part of the body, together with the rejected part before it, if there is only a separator
    /// between the two.
    pub(super) fn reject(&mut self, range: Range<usize>, reason: Cow<'static, str>) -> Result<(), Refusal> {
        self.count_element()?;
        match &mut self.run {
            Some((run, _)) => run.end = range.end,
            None => self.run = Some((range, reason)),
        }
        Ok(())
    }

    /// Keeps the original of an event that was repaired, as an item of its own.
    pub(super) fn keep_original(
        &mut self,
        range: Range<usize>,
        reason: Cow<'static, str>,
    ) -> Result<(), Refusal> {
        self.run = Some((range, reason));
        self.end_run()
    }

    /// Ends the run of rejected values, so that the next one becomes an item of its own.
    fn end_run(&mut self) -> Result<(), Refusal> {
        let Some((range, reason)) = self.run.take() else { return Ok(()) };
        self.error.get_or_insert_with(|| reason.clone());
        let range = self.place(&self.body[range.clone()], range)?;
        self.items.push_rejected(range, reason, self.reservation).map_err(Refusal::Spool)
    }

    fn count_element(&mut self) -> Result<(), Refusal> {
        self.elements += 1;
        if self.elements > MAX_ELEMENTS { Err(Refusal::TooManyElements) } else { Ok(()) }
    }

    /// Returns where the text of an item is.
    fn place(&mut self, text: &[u8], range: Range<usize>) -> Result<Range<usize>, Refusal> {
        let Some(rebuilt) = &mut self.rebuilt else { return Ok(range) };
        let start = rebuilt.len();
        if rebuilt.capacity() - start < text.len() {
            let more = text.len().max(rebuilt.capacity()).max(LEAST_GROWTH);
            self.reservation.grow(more).map_err(Refusal::Spool)?;
            rebuilt.reserve_exact(more);
        }
        rebuilt.extend_from_slice(text);
        Ok(start..rebuilt.len())
    }

    /// Completes it. `body` is the text of the items, unless they are rebuilt.
    fn finish(mut self, body: Bytes) -> Result<Split, Refusal> {
        self.end_run()?;
        let Builder { rebuilt, items, event_counts, error, .. } = self;
        Ok(Split { text: rebuilt.map_or(body, Bytes::from), items, event_counts, error })
    }
}

/// Reads the elements of an array.
struct Elements<'f, 'a> {
    found: &'f mut Builder<'a>,
    /// Set if an element cannot be added: `serde_json` can pass on only errors of its own.
    refused: &'f mut Option<Refusal>,
}

impl<'de> Visitor<'de> for Elements<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        while let Some(element) = elements.next_element::<&RawValue>()? {
            if let Err(refusal) = self.found.add_value(element) {
                *self.refused = Some(refusal);
                return Err(A::Error::custom("refused"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::{AppendError, Budget};

    /// The text of an event, or of a rejected item and the reason.
    type Item = (Vec<u8>, Option<String>);

    /// The items of a body.
    fn items(body: impl AsRef<[u8]>) -> Result<Vec<Item>, Refusal> {
        let split = split_within(1 << 20, body.as_ref())?;
        let items = split.items.iter();
        Ok(items.map(|(range, reason)| (split.text[range].to_vec(), reason.map(str::to_owned))).collect())
    }

    fn split_within(budget: usize, body: &[u8]) -> Result<Split, Refusal> {
        let mut reservation = Budget::new(budget).reserve(0).expect("nothing is taken yet");
        split(&Bytes::copy_from_slice(body), &mut reservation)
    }

    /// Asserts what a body is split into: events, and rejected items with the beginning of the reason.
    fn assert_items(body: impl AsRef<[u8]>, expected: &[(&[u8], Option<&str>)]) {
        let name = String::from_utf8_lossy(body.as_ref()).into_owned();
        let found = items(&body).expect(&name);
        let is_expected = found.len() == expected.len()
            && found.iter().zip(expected).all(|((text, reason), (expected_text, expected_reason))| {
                text == expected_text
                    && match (reason, expected_reason) {
                        (Some(reason), Some(expected)) => reason.starts_with(expected),
                        (reason, expected) => reason.is_none() && expected.is_none(),
                    }
            });
        let shown: Vec<_> =
            found.iter().map(|(text, reason)| (String::from_utf8_lossy(text), reason)).collect();
        assert!(is_expected, "{name}: {shown:?}");
    }

    #[test]
    fn objects_are_events_and_runs_of_other_array_elements_are_rejected() {
        assert_items(r#"{"event":"open"}"#, &[(br#"{"event":"open"}"#, None)]);
        assert_items("\r\n {\"a\" : 1.10 }\t\n", &[(b"{\"a\" : 1.10 }", None)]);
        assert_items("[]", &[]);
        assert_items(" [ {} ] ", &[(b"{}", None)]);
        assert_items(
            r#"[{"a":1}, 5, "x" , {"b":"]"},null]"#,
            &[
                (br#"{"a":1}"#, None),
                (br#"5, "x""#, Some(NOT_AN_OBJECT)),
                (br#"{"b":"]"}"#, None),
                (b"null", Some(NOT_AN_OBJECT)),
            ],
        );
        assert_items(r#"[[{"a":1}],null]"#, &[(br#"[{"a":1}],null"#, Some(NOT_AN_OBJECT))]);
        assert_items(r#"{"lone":"\ud800"}"#, &[(br#"{"lone":"\ud800"}"#, None)]);
    }

    #[test]
    fn a_body_without_events_is_rejected_whole_and_the_reason_is_given() {
        let scalar = "the body is JSON, but neither an object nor an array of objects";
        let multipart = b"--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n--x--\r\n";
        let cases: [(&[u8], &str); 11] = [
            (b"5", scalar),
            (b"\"text\"", scalar),
            (b"garbage", "the body is not JSON: expected value at line 1 column 1"),
            (b"event=open&time=1", "the body is not JSON: it looks like a URL-encoded form"),
            (b"number=1&time=1", "the body is not JSON: it looks like a URL-encoded form"),
            (multipart, "the body is not JSON: it looks like a multipart form"),
            (b"\x1f\x8b\x08\0\x01", "the body is not JSON: it looks like gzip data"),
            (b"{\0\"\0a\0\"\0", "the body is not JSON: it looks like text in UTF-16"),
            (b"{\"a\":1", "the body is not JSON: EOF while parsing an object at line 1 column 6"),
            (b"{'a':1}", "it is not JSON: key must be a string at line 1 column 2"),
            (b"{\"a\":\xff}", "it is not JSON: expected value at line 1 column 6"),
        ];
        for (body, reason) in cases {
            assert_items(body, &[(body, Some(reason))]);
        }
        for empty in ["", " \r\n", "\u{feff}", "\u{feff} \n"] {
            assert_eq!(items(empty), Err(Refusal::BodyEmpty), "{empty:?}");
        }
    }

    #[test]
    fn a_byte_order_mark_is_skipped_and_several_documents_are_read() {
        let (a, b): (&[u8], &[u8]) = (br#"{"a":1}"#, br#"{"b":2}"#);
        let both = [(a, None), (b, None)];
        assert_items("\u{feff}{\"a\":1}", &both[..1]);
        for body in [
            r#"{"a":1}{"b":2}"#,
            "{\"a\":1}\n{\"b\":2}\n",
            r#"{"a":1} , {"b":2}"#,
            r#"[{"a":1}][{"b":2}]"#,
            "\u{feff}[{\"a\":1}]\r\n\u{feff}{\"b\":2}",
            r#"[{"a":1} {"b":2}]"#,
            r#"[{"a":1},,{"b":2},]"#,
        ] {
            assert_items(body, &both);
        }
        assert_items(r#"5 {"a":1}"#, &[(b"5", Some("the body is JSON, but")), (a, None)]);
        assert_items(r#"[{"a":1}] x"#, &[(a, None), (b"x", Some("it is not JSON"))]);
    }

    #[test]
    fn a_broken_element_costs_no_other() {
        let (a, c): (&[u8], &[u8]) = (br#"{"a":1}"#, br#"{"c":"]}"}"#);
        for broken in [r#"{"b":nope}"#, r#"{"b":1,}"#, r#"{"b" 1}"#, "truth", "[1,{}", "{'b':[1}"] {
            let body = format!(r#"[{{"a":1}},{broken},{{"c":"]}}"}}]"#);
            let found = items(&body).expect("items");
            assert_eq!(found[0].0, a, "{body}");
            if found.len() == 3 {
                assert_eq!((&*found[1].0, &*found[2].0), (broken.as_bytes(), c), "{body}");
            } else {
                // It is not clear what belongs to a value whose brackets do not match.
                assert!(found.len() == 2 && broken.contains("[1"), "{body}");
            }
        }
        // An array that breaks off, wherever that is.
        let whole = br#"[{"a":1},{"b":[{"x":1},{"y":2}]},{"c":3}]"#;
        for end in 1..whole.len() {
            let found = items(&whole[..end]).expect("items");
            let events = found.iter().filter(|(_, reason)| reason.is_none()).count();
            let expected = [8, 32, 40].into_iter().filter(|last| end >= *last).count();
            assert_eq!(events, expected, "{}", String::from_utf8_lossy(&whole[..end]));
            assert!(found.last().is_some_and(|(_, reason)| reason.is_some()), "the loss is reported");
        }
        // Each line of JSON Lines is a document.
        let lines = "{\"a\":1}\n{\"b\":[1\n{\"c\":3}\n{\"d\n{\"c\":3}\n";
        let unclosed = Some("it is never closed");
        let d: (&[u8], &[u8]) = (b"{\"c\":3}", b"{\"d\n");
        assert_items(
            lines,
            &[(a, None), (b"{\"b\":[1\n", unclosed), (d.0, None), (d.1, unclosed), (d.0, None)],
        );
    }

    #[test]
    fn bytes_that_are_not_utf8_and_control_characters_cost_no_event() {
        let bad = b"{\"url\":\"caf\xe9\",\"a\":1}";
        let repaired = "{\"url\":\"caf\u{fffd}\",\"a\":1}".as_bytes();
        let reason = Some("the event holds bytes that are not UTF-8");
        assert_items(bad, &[(repaired, None), (bad, reason)]);
        let group = [b"[{\"a\":1},".as_slice(), bad, b",", bad, b",{\"a\":2}]"].concat();
        let (first, last): (&[u8], &[u8]) = (b"{\"a\":1}", b"{\"a\":2}");
        let expected =
            [(first, None), (repaired, None), (bad, reason), (repaired, None), (bad, reason), (last, None)];
        assert_items(&group, &expected);
        assert_items("{\"a\":\"x\n\ty\\\n\0\"}", &[(br#"{"a":"x\u000a\u0009y\u000a\u0000"}"#, None)]);
        assert_items("[{\"a\":\"\u{1b}\"}]", &[(br#"{"a":"\u001b"}"#, None)]);
    }

    #[test]
    fn a_body_of_too_many_values_is_refused() {
        for (element, separator) in [("{}", ","), ("0", ","), ("{}", " "), ("nope", ",")] {
            let body = |count| format!("[{}]", vec![element; count].join(separator));
            assert_eq!(items(body(MAX_ELEMENTS + 1)), Err(Refusal::TooManyElements), "{element}{separator}");
        }
        assert_eq!(
            split_within(4 << 20, format!("[{}{{}}]", "{},".repeat(99_999)).as_bytes())
                .expect("few")
                .items
                .receipt()
                .accepted,
            100_000
        );
        assert_items(
            format!("[{}0]", "0,".repeat(99_999)),
            &[(format!("{}0", "0,".repeat(99_999)).as_bytes(), Some(NOT_AN_OBJECT))],
        );
    }

    #[test]
    fn memory_is_taken_from_the_budget() {
        for body in [format!("[{}{{}}]", "{},".repeat(90_000)), format!("[{}{{}}] x", "{},".repeat(90_000))] {
            let refused = split_within(64 << 10, body.as_bytes()).expect_err("it takes more than that");
            assert_eq!(refused, Refusal::Spool(AppendError::Overloaded));
            split_within(2 << 20, body.as_bytes()).expect("that is enough");
        }
    }

    #[test]
    fn depth_does_not_matter() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(200_000), "]".repeat(200_000));
        assert_items(&deep, &[(deep.as_bytes(), None)]);
        let twice = format!("{deep} {deep}");
        let split = split_within(8 << 20, twice.as_bytes()).expect("two events");
        assert_eq!(split.items.receipt().accepted, 2);
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
