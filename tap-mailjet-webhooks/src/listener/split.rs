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
use super::repair::{repair, repaired_len};
use super::salvage::salvage;
use crate::spool::{Items, Reservation};

/// Why array elements that are not objects are rejected.
pub(super) const NOT_AN_OBJECT: &str = "the array element is not a JSON object, so it is not an event";
/// Values that a body may hold. Mailjet sends the events of a second; hostile clients send more.
pub(super) const MAX_ELEMENTS: usize = 100_000;

const BREAKS_OFF: &str = "the array breaks off before its end";
/// The least memory that is taken for the text of repaired items.
const LEAST_GROWTH: usize = 4 << 10;
/// By how many bytes all repairs in a body may lengthen it, or by a quarter if that is more. A body of
/// nothing but control characters would otherwise take more memory than there is, each time it is sent.
const MAX_REPAIR_GROWTH: usize = 1 << 20;

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
    /// By how many bytes repaired events are longer than their originals.
    repair_growth: usize,
    /// The run of rejected values that ends with the last value.
    run: Option<Run>,
}

/// Rejected values with only separators between them. They become one item.
#[derive(Debug)]
struct Run {
    range: Range<usize>,
    /// Why the first one was rejected.
    reason: Cow<'static, str>,
    /// Whether any of it is text that is not JSON. Then nobody can say how many values it is.
    is_text: bool,
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
            repair_growth: 0,
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

    /// Adds an event that is JSON only once it is [repaired](super::repair). Returns whether it is:
    /// `is_json` says so of the repaired text, which must not be much longer than the body.
    pub(super) fn add_repaired(
        &mut self,
        range: Range<usize>,
        is_json: impl Fn(&[u8]) -> bool,
    ) -> Result<bool, Refusal> {
        let text = &self.body[range.clone()];
        let length = repaired_len(text);
        let growth = self.repair_growth + length.saturating_sub(text.len());
        if growth > MAX_REPAIR_GROWTH.max(self.body.len() / 4) {
            return Ok(false);
        }
        let _held_meanwhile = self.reservation.reserve_beside(length).map_err(Refusal::Spool)?;
        let mut repaired = Vec::with_capacity(length);
        repair(text, |part| repaired.extend_from_slice(part));
        if !is_json(&repaired) {
            return Ok(false);
        }
        self.repair_growth = growth;
        self.add_event(&repaired, range)?;
        Ok(true)
    }

    /// Rejects a value that is JSON, together with the rejected values before it.
    pub(super) fn reject(&mut self, range: Range<usize>, reason: Cow<'static, str>) -> Result<(), Refusal> {
        if self.run.as_ref().is_none_or(|run| !run.is_text) {
            self.count_element()?;
        }
        self.extend_run(range, || reason);
        Ok(())
    }

    /// Rejects text that is not JSON, together with the rejected values before it. A run of it counts as one
    /// value. `reason` is needed only if it begins the run.
    pub(super) fn reject_text(
        &mut self,
        range: Range<usize>,
        reason: impl FnOnce() -> Cow<'static, str>,
    ) -> Result<(), Refusal> {
        if self.run.is_none() {
            self.count_element()?;
        }
        self.extend_run(range, reason).is_text = true;
        Ok(())
    }

    /// Rejects what is left of an array that breaks off.
    pub(super) fn break_off(&mut self, range: Range<usize>) -> Result<(), Refusal> {
        match &mut self.run {
            Some(run) => {
                run.range.end = range.end;
                run.reason = format!("{}; {BREAKS_OFF}", run.reason).into();
                Ok(())
            }
            None => self.reject_text(range, || BREAKS_OFF.into()),
        }
    }

    /// Rejects the whole body, in which there is no event.
    pub(super) fn reject_body(&mut self, reason: Cow<'static, str>) -> Result<(), Refusal> {
        self.run = None;
        self.reject_text(0..self.body.len(), || reason)
    }

    /// Keeps the original of an event that was repaired, as an item of its own.
    pub(super) fn keep_original(
        &mut self,
        range: Range<usize>,
        reason: Cow<'static, str>,
    ) -> Result<(), Refusal> {
        self.run = Some(Run { range, reason, is_text: true });
        self.end_run()
    }

    /// Whether anything is an event so far.
    pub(super) fn has_events(&self) -> bool {
        self.items.receipt().accepted > 0
    }

    fn extend_run(&mut self, range: Range<usize>, reason: impl FnOnce() -> Cow<'static, str>) -> &mut Run {
        let end = range.end;
        let run = self.run.get_or_insert_with(|| Run { range, reason: reason(), is_text: false });
        run.range.end = end;
        run
    }

    /// Ends the run of rejected values, so that the next one becomes an item of its own.
    fn end_run(&mut self) -> Result<(), Refusal> {
        let Some(Run { range, reason, .. }) = self.run.take() else { return Ok(()) };
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
            // By a quarter, because four times the largest body is all that is sure to be there.
            let more = text.len().max(rebuilt.capacity() / 4).max(LEAST_GROWTH);
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
        let cases: [(&[u8], &str); 13] = [
            (b"5", scalar),
            (b"\"text\"", scalar),
            (b"garbage", "the body is not JSON: expected value at line 1 column 1"),
            (b"event=open&time=1", "the body is not JSON: it looks like a URL-encoded form"),
            (b"number=1&time=1", "the body is not JSON: it looks like a URL-encoded form"),
            (multipart, "the body is not JSON: it looks like a multipart form"),
            (b"\x1f\x8b\x08\0\x01", "the body is not JSON: it looks like gzip data"),
            (b"{\0\"\0a\0\"\0", "the body is not JSON: it looks like text in UTF-16"),
            (b"{\"a\":1", "the body is not JSON: EOF while parsing an object at line 1 column 6"),
            (b"{'a':1}", "the body is not JSON: key must be a string at line 1 column 2"),
            (b"{\"a\":\xff}", "the body is not JSON: expected value at line 1 column 6"),
            (b"[1,2", "the body is not JSON: EOF while parsing a list at line 1 column 4"),
            (b"5 6", "the body is not JSON: trailing characters at line 1 column 3"),
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

    /// The texts of the events in a body, and how many items were rejected.
    fn events(body: &str) -> (Vec<String>, usize) {
        let found = items(body).expect("items");
        let rejected = found.iter().filter(|(_, reason)| reason.is_some()).count();
        let events = found.into_iter().filter(|(_, reason)| reason.is_none());
        (events.map(|(text, _)| String::from_utf8(text).expect("text")).collect(), rejected)
    }

    #[test]
    fn a_broken_element_costs_no_other() {
        let (first, last) = (r#"{"event":"open","a":[1,{"x":"]}"}]}"#, r#"{"event":"click","c":{"d":2}}"#);
        for broken in [
            // Something within it is not JSON.
            r#"{"b":nope}"#,
            r#"{"b":1,}"#,
            r#"{"b" 1}"#,
            r#"{"b":1 "c":2}"#,
            "{'b':[1]}",
            "truth",
            r#"{"b":"\x"}"#,
            // A bracket is missing.
            r#"{"event":"spam","b":1"#,
            r#"{"event":"spam","b":{"x":1}"#,
            r#"{"event":"spam","b":{"x":1,"c":2}"#,
            r#"{"event":"spam","b":[1,2}"#,
            r#"{"event":"spam","b":[{"x":1},{"y":2}}"#,
            r#"{"event":"spam","b":{"x":[1},"c":2}"#,
            r#"{"event":"spam","b":1]"#,
            r#""event":"spam","b":1}"#,
            // A bracket too many.
            r#"{"event":"spam"}}"#,
            r#"{{"event":"spam","b":1}"#,
            r#"{"event":"spam","b":[1]]}"#,
            // A quotation mark is missing or too many.
            r#"{"event":"spam,"b":1}"#,
            r#"{event":"spam","b":1}"#,
            r#"{"event":"spam","b":"x}"#,
            r#"{"event":"spam","url":"https://example.com,"ip":"192.0.2.1","tags":[{"x":1},{"y":2}],"b":1}"#,
            r#"{"event":"spam","b":"say "hello" to {them}, please","c":2}"#,
        ] {
            for separator in [",", ", ", ",\n  ", "\n"] {
                for (open, close) in [("[", "]"), ("", ""), ("[", "")] {
                    let body = format!("{open}{}{close}", [first, broken, last].join(separator));
                    let (found, rejected) = events(&body);
                    let expected = if broken == r#"{{"event":"spam","b":1}"# {
                        vec![first, r#"{"event":"spam","b":1}"#, last]
                    } else if broken == r#"{"event":"spam"}}"# {
                        vec![first, r#"{"event":"spam"}"#, last]
                    } else {
                        vec![first, last]
                    };
                    assert_eq!(found, expected, "{body}");
                    assert!(rejected > 0, "{body}: the loss is reported");
                }
            }
        }
    }

    #[test]
    fn an_array_that_breaks_off_costs_only_its_last_element() {
        let whole = br#"[{"a":1},{"b":[{"x":1},{"y":2}]},{"c":3}]"#;
        for end in 10..whole.len() {
            let found = items(&whole[..end]).expect("items");
            let events = found.iter().filter(|(_, reason)| reason.is_none()).count();
            let expected = [8, 32, 40].into_iter().filter(|last| end >= *last).count();
            assert_eq!(events, expected, "{}", String::from_utf8_lossy(&whole[..end]));
            assert!(found.last().is_some_and(|(_, reason)| reason.is_some()), "the loss is reported");
        }
        let found = items(r#"[{"a":1},2"#).expect("items");
        let reason = found[1].1.as_deref().expect("a reason");
        assert!(reason.ends_with("; the array breaks off before its end"), "{reason}");
    }

    #[test]
    fn each_line_of_json_lines_is_a_document() {
        let lines = "{\"a\":1}\n{\"b\":[1\n{\"c\":3}\n{\"d\n{\"c\":4}\n";
        let unclosed = Some("it is not JSON: EOF while parsing");
        assert_items(
            lines,
            &[
                (br#"{"a":1}"#, None),
                (br#"{"b":[1"#, unclosed),
                (br#"{"c":3}"#, None),
                (b"{\"d", unclosed),
                (br#"{"c":4}"#, None),
            ],
        );
        // A broken element in an array that is written over several lines.
        let lines = "[\n  {\n    \"event\": \"open\"\n  },\n  {\n    \"event\": \"sp\n  },\n  {\n    \
                     \"event\": \"click\"\n  }\n]\n";
        let (found, rejected) = events(lines);
        assert!(found.len() == 2 && found[1].contains("click") && rejected == 1, "{found:?}");
    }

    #[test]
    fn what_programs_put_around_json_costs_no_event() {
        let event = r#"{"event":"open","a":1}"#;
        for (before, after) in [
            ("/* v1 */[", "]"),
            (")]}'\n[", "]"),
            (")]}',\n", ""),
            ("callback([", "]);"),
            ("while(1);[", "]"),
            ("HTTP/1.1 200 OK\r\n\r\n[", "]"),
            ("data: ", "\n\n"),
            ("[", "]\0\0"),
            ("", "]"),
        ] {
            let body = format!("{before}{event},{event}{after}");
            let (found, rejected) = events(&body);
            assert_eq!(found, [event, event], "{body}");
            assert!(rejected > 0, "{body}");
        }
    }

    /// However a body is broken, each byte of it is read a bounded number of times.
    #[test]
    fn a_hostile_body_does_not_take_forever() {
        for part in [
            "{",
            "[",
            "[{",
            "{\"a\":[{},",
            "{\"a\"[[[{\"event\":1},",
            "{\"a\":[{\"event\":1},",
            "{\"a\"},",
            "\"",
            "},{\"event\"",
            "\n{\"a\":",
            "}",
            ":",
            "x\"",
        ] {
            let body = part.repeat((1 << 20) / part.len());
            let found = split_within(64 << 20, body.as_bytes());
            assert!(matches!(found, Ok(_) | Err(Refusal::TooManyElements)), "{part}");
        }
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
        assert_items("{\"a\":\"x\n\ty\\\n\0\"}", &[(br#"{"a":"x\n\ty\n\u0000"}"#, None)]);
        assert_items("[{\"a\":\"\u{1b}\"}]", &[(br#"{"a":"\u001b"}"#, None)]);
    }

    #[test]
    fn a_body_of_too_many_values_is_refused() {
        for (element, separator) in [("{}", ","), ("0", ","), ("{}", " "), ("{},nope", ",")] {
            let body = format!("[{}]", vec![element; MAX_ELEMENTS + 1].join(separator));
            let refused = split_within(4 << 20, body.as_bytes()).expect_err("too many");
            assert_eq!(refused, Refusal::TooManyElements, "{element}{separator}");
        }
        // Nobody can say how many values text is that is not JSON.
        let text = format!("{{\"event\":\"open\"}} {}", "nope ".repeat(MAX_ELEMENTS + 1));
        let receipt = split_within(4 << 20, text.as_bytes()).expect("one event").items.receipt();
        assert_eq!((receipt.accepted, receipt.rejected), (1, 1));
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

    /// Memory for four times the largest body is always there, so that is all that a body may need.
    #[test]
    fn what_a_repair_would_lengthen_too_much_is_kept_as_it_is() {
        const BODY_BYTES: usize = 8 << 20;
        let long = |filler: &[u8], bytes: usize| {
            [b"{\"event\":\"open\",\"a\":\"", &*filler.repeat(bytes / filler.len()), b"\"}"].concat()
        };
        let several = |part: Vec<u8>| [b"[", &*vec![part; 8].join(&b","[..]), b"]"].concat();
        for (body, accepted, rejected) in [
            (long(b"\x01", BODY_BYTES), 0, 1),
            (long(b"\n", BODY_BYTES), 0, 1),
            (long(b"\xff", BODY_BYTES), 0, 1),
            (long(b"xxxxxx\n", BODY_BYTES), 1, 0),
            (long(b"xxxxxxxxx\xff", BODY_BYTES), 1, 1),
            (several(long(b"\xff", BODY_BYTES / 8)), 1, 2),
            (several(long(b"xxxxxxxxx\xff", BODY_BYTES / 8)), 8, 8),
        ] {
            let split = split_within(3 * body.len() + (1 << 20), &body).expect("there is enough memory");
            let receipt = split.items.receipt();
            assert_eq!((receipt.accepted, receipt.rejected), (accepted, rejected));
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
