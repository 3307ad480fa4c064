//! `__sdc_primary_key`: a hash of an event's content, independent of how its JSON is written.
//!
//! The key of an event never changes, because people join tables by it. It is the first 128 bits of the
//! BLAKE3 hash of the event's canonical text, formatted as a UUID. The canonical text is JSON in UTF-8
//! without whitespace, in which
//!
//! - the members of an object are sorted by the canonical text of their names (bytewise; repeated names keep
//!   their order),
//! - a string has only the escapes that JSON demands (`"`, `\` and control characters, in the short form if
//!   there is one, otherwise as `\u00xx` in lower case), so that `\u00e9` and `é` are the same,
//! - a lone surrogate, which has no UTF-8, is escaped as `\ud800`, in lower case,
//! - a number keeps its text: `1.0`, `1` and `1e0` are three different numbers,
//! - a value nested deeper than 128 levels keeps its text, whitespace included.
//!
//! When Mailjet repeats a webhook, it sends the same body, and grouping does not change an event. So a
//! repeated event has the same key as its first delivery.

use std::borrow::Cow;

use catalog::members::{self, Members};
use uuid::Uuid;
use uuid::fmt::Hyphenated;

use super::target_safe;

/// The levels of nesting that are put into canonical form. Each level is parsed once more, so this bounds the
/// time.
const MAX_DEPTH: usize = 128;

/// The key of a row: a UUID in lower case, as ASCII that needs no escapes in JSON.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PrimaryKey(pub(super) [u8; Hyphenated::LENGTH]);

impl PrimaryKey {
    /// Hashes bytes that are not a JSON object, such as those of a rejected item.
    pub(crate) fn hash(bytes: &[u8]) -> Self {
        let hash = blake3::hash(bytes);
        let first_half = hash.as_bytes().first_chunk().expect("a hash has 32 bytes");
        let mut text = [0; Hyphenated::LENGTH];
        Uuid::from_bytes(*first_half).hyphenated().encode_lower(&mut text);
        PrimaryKey(text)
    }

    /// Hashes the event with these members, whose order is `order`. Its canonical text goes into `buffer`.
    pub(super) fn hash_event(members: Members<'_, '_>, order: &CanonicalOrder, buffer: &mut Vec<u8>) -> Self {
        buffer.clear();
        write_object(members, order, MAX_DEPTH, buffer);
        PrimaryKey::hash(buffer)
    }
}

/// How the canonical text of an object is put together. The names alone determine it.
#[derive(Debug)]
pub(super) struct CanonicalOrder {
    /// The members in canonical order: the index of each in the object, and the end of the text before its
    /// value.
    members: Vec<(usize, usize)>,
    /// The text around the values.
    text: Vec<u8>,
}

impl CanonicalOrder {
    pub(super) fn new(members: Members<'_, '_>) -> Self {
        let mut sorted: Vec<(Cow<'_, str>, usize)> =
            members.iter().map(|member| canonical(member.quoted_name)).zip(0..).collect();
        // The sort is stable because the order of two members with one name is part of the event's content.
        sorted.sort_by(|(one, _), (other, _)| bare(one).cmp(bare(other)));
        let mut order = CanonicalOrder { members: Vec::with_capacity(sorted.len()), text: b"{".to_vec() };
        for (position, (name, index)) in sorted.into_iter().enumerate() {
            if position > 0 {
                order.text.push(b',');
            }
            order.text.extend_from_slice(name.as_bytes());
            order.text.push(b':');
            order.members.push((index, order.text.len()));
        }
        order.text.push(b'}');
        order
    }
}

/// Returns a string without its quotes, but with its escapes.
fn bare(quoted: &str) -> &str {
    &quoted[1..quoted.len() - 1]
}

fn write_object(members: Members<'_, '_>, order: &CanonicalOrder, max_depth: usize, out: &mut Vec<u8>) {
    let mut start = 0;
    for (index, end) in &order.members {
        out.extend_from_slice(&order.text[start..*end]);
        let member = members.get(*index);
        if member.is_plain {
            out.extend_from_slice(member.value.as_bytes());
        } else {
            write_value(member.value, max_depth, out);
        }
        start = *end;
    }
    out.extend_from_slice(&order.text[start..]);
}

fn write_value(value: &str, max_depth: usize, out: &mut Vec<u8>) {
    match value.as_bytes()[0] {
        b'"' => write_string(value, out),
        b'{' if max_depth > 0 => {
            let spans = members::parse_object(value).expect("a part of valid JSON is valid");
            let members = Members::new(value, &spans);
            write_object(members, &CanonicalOrder::new(members), max_depth - 1, out);
        }
        b'[' if max_depth > 0 => {
            let elements = members::parse_array(value).expect("a part of valid JSON is valid");
            out.push(b'[');
            for (position, element) in elements.iter().enumerate() {
                if position > 0 {
                    out.push(b',');
                }
                write_value(element.get(), max_depth - 1, out);
            }
            out.push(b']');
        }
        _ => out.extend_from_slice(value.as_bytes()),
    }
}

fn write_string(quoted: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(canonical(quoted).as_bytes());
}

/// Returns the canonical text of a string.
fn canonical(quoted: &str) -> Cow<'_, str> {
    if memchr::memchr(b'\\', quoted.as_bytes()).is_none() {
        return Cow::Borrowed(quoted);
    }
    Cow::Owned(match serde_json::from_str::<String>(quoted) {
        Ok(text) => members::json_string(&text),
        Err(_) => canonical_with_lone_surrogates(quoted),
    })
}

/// Returns the canonical text of a string that is not Unicode: between its lone surrogates, it is.
fn canonical_with_lone_surrogates(quoted: &str) -> String {
    let mut out = "\"".to_owned();
    let mut rest = bare(quoted);
    loop {
        let surrogate = target_safe::find_lone_surrogate(rest);
        let text =
            serde_json::from_str::<String>(&format!("\"{}\"", &rest[..surrogate.unwrap_or(rest.len())]));
        let json = members::json_string(&text.expect("a string without lone surrogates is Unicode"));
        out.push_str(bare(&json));
        let Some(at) = surrogate else { break };
        // `\u` and four digits.
        out.push_str(&rest[at..at + 6].to_ascii_lowercase());
        rest = &rest[at + 6..];
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(event: &str) -> String {
        let spans = members::parse_object(event).expect("an object");
        let members = Members::new(event, &spans);
        let key = PrimaryKey::hash_event(members, &CanonicalOrder::new(members), &mut Vec::new());
        String::from_utf8(key.0.to_vec()).expect("ASCII")
    }

    /// These never change: they are in people's tables.
    #[test]
    fn golden_keys() {
        let cases = [
            ("{}", "6e46dd10-defc-9b56-c29a-6ec56b508c21"),
            (
                concat!(
                    r#"{"event":"open","time":1433103519,"MessageID":19421777396190490,"#,
                    r#""email":"mia@example.com","ip":"192.0.2.1"}"#
                ),
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
    fn the_key_does_not_depend_on_how_the_event_is_written() {
        let one = r#"{"event":"open","Payload":"é/\"\n","n":{"a":1,"b":[2,{"x":"y","z":null}]}}"#;
        let same = [
            r#"{"Payload":"é/\"\n","n":{"a":1,"b":[2,{"x":"y","z":null}]},"event":"open"}"#,
            r#"{"event":"open","Payload":"\u00e9\/\u0022\u000a","n":{"b":[2,{"z":null,"x":"y"}],"a":1}}"#,
            concat!(
                "{ \"event\" : \"\\u006fpen\",\n\t\"Payload\":\"\\u00E9/\\\"\\n\", ",
                "\"n\":{ \"a\" : 1, \"b\": [ 2 , {\"x\":\"y\",\"z\":null}]}}"
            ),
            r#"{"\u0065vent":"open","Payload":"é/\"\n","n":{"a":1,"b":[2,{"x":"y","z":null}]}}"#,
        ];
        let lone_surrogates = [
            (r#"{"a":"\ud800"}"#, r#"{"a":"\uD800"}"#),
            (r#"{"a":"\udc00 \u00e9\n\ud800"}"#, r#"{"a":"\uDC00 é\u000a\uD800"}"#),
            (r#"{"\ud800":1,"\"\\ud800\"":2}"#, r#"{"\"\\ud800\"":2,"\uD800":1}"#),
            (r#"{"\uD800":1,"\uda00":2}"#, r#"{"\uDA00":2,"\ud800":1}"#),
            (r#"{"a\uDFFF":1,"a\ud800":2,"a\"":3}"#, r#"{"a\u0022":3,"a\uD800":2,"a\udfff":1}"#),
        ];
        for (one, other) in same.map(|other| (one, other)).into_iter().chain(lone_surrogates) {
            assert_eq!(key(one), key(other), "{one} {other}");
        }
    }

    #[test]
    fn any_other_difference_changes_the_key() {
        let different = concat!(
            r#"{};{"a":null};{"a":1};{"a":1.0};{"a":1e0};{"a":"1"};{"a":true};{"a":"true"};{"A":1};"#,
            r#"{"a":1,"b":2};{"a":2,"b":1};{"a":1,"a":2};{"a":2,"a":1};"#,
            r#"{"a":[1,2]};{"a":[2,1]};{"a":[12]};{"a":"[1,2]"};{"a":{}};{"a":[]};{"a":""};{"a":" "};"#,
            r#"{"a":"\ud800"};{"a":"\ud801"};{"a":"\\ud800"};"#,
            r#"{"\ud800":1,"\uD800":2};{"\uD800":2,"\ud800":1}"#,
        );
        let mut keys: Vec<_> = different.split(';').map(key).collect();
        assert_eq!(keys.len(), 26);
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), 26);
    }

    #[test]
    fn deep_nesting_does_no_harm() {
        let nested =
            |levels, space| key(&format!("{{\"a\":{}{space}{}}}", "[".repeat(levels), "]".repeat(levels)));
        assert_eq!(nested(100_000, ""), nested(100_000, ""));
        assert_eq!(nested(128, ""), nested(128, " "));
    }
}
