//! `__sdc_primary_key`: a hash of what an event says, whatever way it is written.
//!
//! The key of an event is the same for ever: tables are joined by it. It is the first 128 bits of the BLAKE3 hash of the
//! event's canonical text, in the shape of a UUID. The canonical text is JSON without space, in UTF-8, in which
//!
//! - the members of an object are sorted by name (bytewise; repeated names keep their order),
//! - a string is escaped only where JSON demands it (`"`, `\` and control characters, in the short form where there is
//!   one, else `\u00xx` in lower case), so that `\u00e9` and `é` are the same,
//! - half a surrogate pair, which has no UTF-8, is escaped as `\ud800`, with digits in lower case,
//! - a number keeps its text: `1.0`, `1` and `1e0` are three different numbers,
//! - whatever lies deeper than 128 levels keeps its text, space included.
//!
//! Mailjet repeats a webhook with the very same body, and grouping does not change an event, so a repeated event has the
//! key of its first delivery.

use std::borrow::Cow;

use catalog::members::{self, Member, Members};

use super::target_safe;

/// Levels of nesting that are put into canonical form. Each level is parsed once more, so the number is a bound on time.
const DEPTH: usize = 128;

/// Computes keys, and keeps its buffer from one to the next.
#[derive(Debug, Default)]
pub(in crate::emitter) struct PrimaryKey {
    canonical: Vec<u8>,
}

impl PrimaryKey {
    /// The key of the event that has these members, whose order is `order`: 36 bytes of ASCII.
    pub(in crate::emitter) fn of(&mut self, members: Members<'_, '_>, order: &CanonicalOrder) -> [u8; 36] {
        self.canonical.clear();
        write_object(members, order, DEPTH, &mut self.canonical);
        let hash = blake3::hash(&self.canonical);
        uuid_shaped(hash.as_bytes())
    }

    /// The key of something that is no JSON: the hash of its bytes.
    pub(in crate::emitter) fn of_bytes(bytes: &[u8]) -> [u8; 36] {
        uuid_shaped(blake3::hash(bytes).as_bytes())
    }
}

/// How the canonical text of an object is put together. It follows from the names alone.
#[derive(Debug)]
pub(in crate::emitter) struct CanonicalOrder {
    /// The object's members in canonical order: the number that each has, and where the text before its value ends.
    members: Vec<(usize, usize)>,
    /// The text that stands around the values.
    text: Vec<u8>,
}

impl CanonicalOrder {
    /// The order of an object's members.
    pub(in crate::emitter) fn of(members: Members<'_, '_>) -> Self {
        let mut sorted: Vec<(Cow<'_, str>, usize, Member<'_>)> =
            members.iter().enumerate().map(|(number, member)| (member.name(), number, member)).collect();
        // Stable: which of two members with one name comes first is part of what the event says. (Two names that are not the same
        // can be shown alike: one that is not Unicode, and one that is its JSON text.)
        sorted.sort_by(|(a, _, one), (b, _, other)| {
            a.cmp(b).then_with(|| is_unicode(one.quoted_name).cmp(&is_unicode(other.quoted_name)))
        });
        let mut order = CanonicalOrder { members: Vec::with_capacity(members.len()), text: b"{".to_vec() };
        for (position, (_, number, member)) in sorted.into_iter().enumerate() {
            if position > 0 {
                order.text.push(b',');
            }
            write_string(member.quoted_name, &mut order.text);
            order.text.push(b':');
            order.members.push((number, order.text.len()));
        }
        order.text.push(b'}');
        order
    }
}

fn write_object(members: Members<'_, '_>, order: &CanonicalOrder, depth: usize, out: &mut Vec<u8>) {
    let mut start = 0;
    for (number, end) in &order.members {
        out.extend_from_slice(&order.text[start..*end]);
        let member = members.get(*number);
        if member.is_plain {
            out.extend_from_slice(member.value.as_bytes());
        } else {
            write_value(member.value, depth, out);
        }
        start = *end;
    }
    out.extend_from_slice(&order.text[start..]);
}

fn write_value(value: &str, depth: usize, out: &mut Vec<u8>) {
    match value.as_bytes()[0] {
        b'"' => write_string(value, out),
        b'{' if depth > 0 => {
            let spans = members::parse_object(value).expect("a part of valid JSON is valid");
            let members = Members::new(value, &spans);
            write_object(members, &CanonicalOrder::of(members), depth - 1, out);
        }
        b'[' if depth > 0 => match members::parse_array(value) {
            Ok(elements) => {
                out.push(b'[');
                for (position, element) in elements.iter().enumerate() {
                    if position > 0 {
                        out.push(b',');
                    }
                    write_value(element.get(), depth - 1, out);
                }
                out.push(b']');
            }
            Err(_) => out.extend_from_slice(value.as_bytes()),
        },
        _ => out.extend_from_slice(value.as_bytes()),
    }
}

fn write_string(quoted: &str, out: &mut Vec<u8>) {
    if memchr::memchr(b'\\', quoted.as_bytes()).is_none() {
        out.extend_from_slice(quoted.as_bytes());
        return;
    }
    match serde_json::from_str::<String>(quoted) {
        Ok(text) => serde_json::to_writer(out, &text).expect("text is JSON and memory takes every write"),
        Err(_) => write_surrogates(quoted, out),
    }
}

/// Writes a string that has half a surrogate pair somewhere: what is between such halves is text.
fn write_surrogates(quoted: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let mut rest = &quoted[1..quoted.len() - 1];
    loop {
        let half = target_safe::half_surrogate(rest);
        let text = serde_json::from_str::<String>(&format!("\"{}\"", &rest[..half.unwrap_or(rest.len())]));
        let json = members::json_string(&text.expect("a string without its halves is text"));
        out.extend_from_slice(&json.as_bytes()[1..json.len() - 1]);
        let Some(at) = half else { break };
        // `\u` and four digits.
        out.extend_from_slice(rest[at..at + 6].to_ascii_lowercase().as_bytes());
        rest = &rest[at + 6..];
    }
    out.push(b'"');
}

fn is_unicode(quoted: &str) -> bool {
    target_safe::half_surrogate(quoted).is_none()
}

fn uuid_shaped(hash: &[u8; 32]) -> [u8; 36] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    // Where the two digits of each byte stand.
    const PLACES: [usize; 16] = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];
    let mut text = [b'-'; 36];
    for (place, byte) in PLACES.into_iter().zip(hash) {
        text[place] = DIGITS[usize::from(byte >> 4)];
        text[place + 1] = DIGITS[usize::from(byte & 15)];
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(event: &str) -> String {
        let spans = members::parse_object(event).expect("an object");
        let members = Members::new(event, &spans);
        String::from_utf8(PrimaryKey::default().of(members, &CanonicalOrder::of(members)).to_vec())
            .expect("ASCII")
    }

    /// These never change: they are in people's tables.
    #[test]
    fn golden_keys() {
        let cases = [
            ("{}", "6e46dd10-defc-9b56-c29a-6ec56b508c21"),
            (
                r#"{"event":"open","time":1433103519,"MessageID":19421777396190490,"email":"mia@example.com","ip":"192.0.2.1"}"#,
                "f3e4df5e-4fea-9fdf-0597-5d26ab187027",
            ),
            (
                r#"{"é":"\"\\\b\f\n\r\t\u0001\u007f😀","n":[1.10,-0,1e400,true,null,{"b":1,"a":[]}]}"#,
                "3b105de3-83de-b0cb-7a85-f50af2244eac",
            ),
            (r#"{"a":1,"a":2}"#, "545ab840-e614-4214-8f5c-192e7d29127f"),
        ];
        for (event, expected) in cases {
            assert_eq!(key(event), expected, "{event}");
        }
    }

    #[test]
    fn the_way_an_event_is_written_does_not_matter() {
        let one = r#"{"event":"open","Payload":"é/\"\n","n":{"a":1,"b":[2,{"x":"y","z":null}]}}"#;
        let same = [
            r#"{"Payload":"é/\"\n","n":{"a":1,"b":[2,{"x":"y","z":null}]},"event":"open"}"#,
            r#"{"event":"open","Payload":"\u00e9\/\u0022\u000a","n":{"b":[2,{"z":null,"x":"y"}],"a":1}}"#,
            "{ \"event\" : \"\\u006fpen\",\n\t\"Payload\":\"\\u00E9/\\\"\\n\", \"n\":{ \"a\" : 1, \"b\": [ 2 , {\"x\":\"y\",\"z\":null}]}}",
            r#"{"\u0065vent":"open","Payload":"é/\"\n","n":{"a":1,"b":[2,{"x":"y","z":null}]}}"#,
        ];
        for other in same {
            assert_eq!(key(one), key(other), "{other}");
        }
    }

    #[test]
    fn half_a_surrogate_pair_is_the_same_however_it_is_written() {
        let same = [
            (r#"{"a":"\ud800"}"#, r#"{"a":"\uD800"}"#),
            (r#"{"a":"\udc00 \u00e9\n\ud800"}"#, r#"{"a":"\uDC00 é\u000a\uD800"}"#),
            (r#"{"\ud800":1,"\"\\ud800\"":2}"#, r#"{"\"\\ud800\"":2,"\uD800":1}"#),
        ];
        for (one, other) in same {
            assert_eq!(key(one), key(other), "{one} {other}");
        }
    }

    #[test]
    fn any_other_difference_makes_another_key() {
        let different = [
            "{}",
            r#"{"a":null}"#,
            r#"{"a":1}"#,
            r#"{"a":1.0}"#,
            r#"{"a":1e0}"#,
            r#"{"a":"1"}"#,
            r#"{"a":true}"#,
            r#"{"a":"true"}"#,
            r#"{"A":1}"#,
            r#"{"a":1,"b":2}"#,
            r#"{"a":2,"b":1}"#,
            r#"{"a":1,"a":2}"#,
            r#"{"a":2,"a":1}"#,
            r#"{"a":[1,2]}"#,
            r#"{"a":[2,1]}"#,
            r#"{"a":[12]}"#,
            r#"{"a":"[1,2]"}"#,
            r#"{"a":{}}"#,
            r#"{"a":[]}"#,
            r#"{"a":""}"#,
            r#"{"a":" "}"#,
            r#"{"a":"\ud800"}"#,
            r#"{"a":"\ud801"}"#,
            r#"{"a":"\\ud800"}"#,
        ];
        let mut keys: Vec<_> = different.iter().map(|event| key(event)).collect();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), different.len());
    }

    #[test]
    fn depth_is_no_danger() {
        let deep = |space| format!("{{\"a\":{}{space}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(key(&deep("")), key(&deep("")));
        let at_the_bound = |space| format!("{{\"a\":{}{space}{}}}", "[".repeat(128), "]".repeat(128));
        assert_eq!(key(&at_the_bound("")), key(&at_the_bound(" ")));
    }
}
