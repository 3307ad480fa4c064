//! Which of Mailjet's events an event is, read off its text without taking it apart.
//!
//! Only for the metrics, and so for as little as it can cost: Mailjet writes the field `event` first, and the scan ends
//! where it finds it (50 ns, and as long as the split into events, half a microsecond, where the field comes last; a request
//! takes 17). It is counted in the listener because the spool knows no fields, and a `listen` has no emitter. Of several fields of that name, which Mailjet never sends, the first that is not null counts; the
//! emitter, which reads all of an event, takes the last.

use std::borrow::Cow;

use catalog::event::EventType;

use crate::spool::{ItemKind, Items};

/// How many events of each type there are: the seven, and one count for whatever else.
///
/// The types are Mailjet's and not the sender's, so that nobody can make it longer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    counts: [u64; Tally::TYPES],
}

impl Tally {
    /// How many counts there are.
    pub const TYPES: usize = EventType::ALL.len() + 1;

    /// What the types are called, in the order of the counts.
    #[must_use]
    pub fn names() -> [&'static str; Tally::TYPES] {
        let mut names = ["other"; Tally::TYPES];
        for (name, event) in names.iter_mut().zip(EventType::ALL) {
            *name = event.name();
        }
        names
    }

    /// Counts the events among `items` of `text`.
    #[must_use]
    pub fn of(text: &[u8], items: &Items) -> Self {
        let mut tally = Tally::default();
        for (range, kind) in items.iter() {
            if kind == ItemKind::Event {
                let found = type_of(&text[range]);
                let place = EventType::ALL.iter().position(|event| Some(*event) == found);
                tally.counts[place.unwrap_or(EventType::ALL.len())] += 1;
            }
        }
        tally
    }

    /// The counts, in the order of [`Tally::names`].
    pub fn counts(&self) -> impl Iterator<Item = u64> {
        self.counts.into_iter()
    }
}

/// The type of an event, which has to be the text of a JSON object; none if it is no type that Mailjet documents.
#[must_use]
pub fn type_of(event: &[u8]) -> Option<EventType> {
    let mut scan = Scan { rest: event.get(1..)? };
    loop {
        scan.skip_any(b" \t\r\n,");
        let name = scan.string()?;
        scan.skip_any(b" \t\r\n:");
        if is_event(name) && scan.rest.first() != Some(&b'n') {
            return named(scan.string()?);
        }
        scan.skip_value()?;
    }
}

/// Whether a name, between its quotes, is `event`.
fn is_event(name: &[u8]) -> bool {
    name == b"event" || (name.contains(&b'\\') && text_of(name).is_some_and(|name| name == "event"))
}

/// The type with this name, whatever its case: Mailjet has been seen to write it with a capital.
fn named(name: &[u8]) -> Option<EventType> {
    if let Some(event) = EventType::ALL.into_iter().find(|event| event.name().as_bytes() == name) {
        return Some(event);
    }
    let name = text_of(name)?.to_lowercase();
    EventType::ALL.into_iter().find(|event| event.name() == name)
}

/// What a string says, given what stands between its quotes.
fn text_of(inner: &[u8]) -> Option<Cow<'_, str>> {
    if !inner.contains(&b'\\') {
        return std::str::from_utf8(inner).ok().map(Cow::Borrowed);
    }
    serde_json::from_slice(&[b"\"", inner, b"\""].concat()).ok().map(Cow::Owned)
}

/// What is left of a JSON object, which has been found to be one.
struct Scan<'a> {
    rest: &'a [u8],
}

impl<'a> Scan<'a> {
    fn skip_any(&mut self, bytes: &[u8]) {
        let skipped = self.rest.iter().take_while(|byte| bytes.contains(byte)).count();
        self.rest = &self.rest[skipped..];
    }

    /// Takes a string, and returns what stands between its quotes; none if there is no string here.
    fn string(&mut self) -> Option<&'a [u8]> {
        let inner = self.rest.strip_prefix(b"\"")?;
        let mut end = 0;
        loop {
            end += memchr::memchr2(b'"', b'\\', inner.get(end..)?)?;
            if inner[end] == b'"' {
                self.rest = &inner[end + 1..];
                return Some(&inner[..end]);
            }
            end += 2;
        }
    }

    fn skip_value(&mut self) -> Option<()> {
        let mut depth = 0_usize;
        loop {
            match self.rest.first()? {
                b'"' => drop(self.string()?),
                b'{' | b'[' => {
                    depth += 1;
                    self.rest = &self.rest[1..];
                }
                b'}' | b']' => {
                    depth = depth.checked_sub(1)?;
                    self.rest = &self.rest[1..];
                }
                _ => {
                    let ends = |byte: &u8| matches!(byte, b'"' | b'{' | b'[' | b'}' | b']' | b',');
                    let within = |byte: &u8| matches!(byte, b'"' | b'{' | b'[' | b'}' | b']');
                    let is_end = |byte: &u8| if depth == 0 { ends(byte) } else { within(byte) };
                    let skipped = self.rest.iter().position(is_end)?;
                    self.rest = &self.rest[skipped..];
                }
            }
            if depth == 0 {
                return Some(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_type_is_found_wherever_it_stands_and_however_it_is_written() {
        use EventType::{Click, Open, Sent};
        let cases = [
            (r#"{"event":"open","time":1}"#, Some(Open)),
            (r#"{"event" :  "Open"}"#, Some(Open)),
            ("{\n\t\"time\": -1.5e3 ,\r\n\"a\":true, \"event\"\n:\n\"click\"\n}", Some(Click)),
            (r#"{"a":{"event":"click","b":["}",{"event":1}]},"event":"sent"}"#, Some(Sent)),
            (r#"{"a":"\"event\":\"click\"\\","event":"sent"}"#, Some(Sent)),
            (r#"{"\u0065vent":"\u006fpen"}"#, Some(Open)),
            (r#"{"event":null,"event":"open"}"#, Some(Open)),
            (r#"{"a":[],"b":{},"c":"","event":"open"}"#, Some(Open)),
            (r#"{"Event":"open"}"#, None),
            (r#"{"event":"typofix"}"#, None),
            (r#"{"event":{"event":"open"}}"#, None),
            (r#"{"event":5}"#, None),
            (r#"{"event":"\ud800"}"#, None),
            (r#"{"a":{"event":"open"}}"#, None),
            ("{}", None),
            ("{ }", None),
        ];
        for (event, expected) in cases {
            assert!(serde_json::from_str::<serde_json::Value>(event).is_ok() || event.contains("ud800"));
            assert_eq!(type_of(event.as_bytes()), expected, "{event}");
        }
    }

    #[test]
    fn what_is_broken_off_is_of_no_type_and_no_danger() {
        let event = br#"{"a":{"b":["x\"",1]},"n":null,"t":true,"event":"open"}"#;
        for end in 0..event.len() - 2 {
            assert_eq!(type_of(&event[..end]), None, "{end}");
        }
        let deep = format!("{{\"a\":{}{},\"event\":\"open\"}}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(type_of(deep.as_bytes()), Some(EventType::Open));
    }
}
