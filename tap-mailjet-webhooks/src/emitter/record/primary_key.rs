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
use std::ops::Range;

use catalog::members::{self, Members, Token, Tokens};
use uuid::Uuid;
use uuid::fmt::Hyphenated;

use super::target_safe;

/// The levels of nesting that are put into canonical form. The members of an object are copied once for each
/// level around it, so this bounds the time.
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
    let mut tokens = Tokens::new(value);
    // The objects and arrays around the next value.
    let mut open: Vec<Open> = Vec::new();
    while let Some(token) = tokens.next() {
        match (token, open.last_mut()) {
            (Token::Close(_), _) => {}
            (Token::Name(_), Some(around)) => around.begin_item(out),
            (_, Some(around)) if !around.is_object => around.begin_item(out),
            _ => {}
        }
        match token {
            Token::Name(name) => {
                write_string(name, out);
                if let Some(item) = open.last_mut().and_then(|around| around.items.last_mut()) {
                    item.name = item.start..out.len();
                }
                out.push(b':');
            }
            Token::Scalar(text) if text.starts_with('"') => write_string(text, out),
            Token::Scalar(text) => out.extend_from_slice(text.as_bytes()),
            Token::Open(bracket) => {
                out.push(bracket);
                if open.len() == max_depth {
                    out.extend_from_slice(tokens.skip_to_close().as_bytes());
                } else {
                    open.push(Open { is_object: bracket == b'{', start: out.len(), items: Vec::new() });
                }
            }
            Token::Close(bracket) => {
                if let Some(object) = open.pop().filter(|closed| closed.is_object) {
                    object.sort(out);
                }
                out.push(bracket);
            }
        }
    }
}

/// An object or array that is being written.
struct Open {
    is_object: bool,
    /// Where its first item starts.
    start: usize,
    /// The members of an object, or one item if an array is not empty.
    items: Vec<Item>,
}

/// Where a member and its name, with quotes, stand in the canonical text.
struct Item {
    start: usize,
    name: Range<usize>,
}

impl Open {
    fn begin_item(&mut self, out: &mut Vec<u8>) {
        if !self.items.is_empty() {
            out.push(b',');
        }
        if self.is_object || self.items.is_empty() {
            self.items.push(Item { start: out.len(), name: 0..0 });
        }
    }

    /// Puts the members that have been written into canonical order.
    fn sort(self, out: &mut Vec<u8>) {
        let name = |item: &Item| &out[item.name.start + 1..item.name.end - 1];
        if self.items.is_sorted_by(|one, other| name(one) <= name(other)) {
            return;
        }
        let ends = self.items.iter().skip(1).map(|next| next.start - 1).chain([out.len()]);
        let mut members: Vec<_> = self.items.iter().zip(ends).collect();
        // The sort is stable because the order of two members with one name is part of the event's content.
        members.sort_by(|(one, _), (other, _)| name(one).cmp(name(other)));
        let mut sorted = Vec::with_capacity(out.len() - self.start);
        for (position, (item, end)) in members.into_iter().enumerate() {
            if position > 0 {
                sorted.push(b',');
            }
            sorted.extend_from_slice(&out[item.start..end]);
        }
        out.truncate(self.start);
        out.extend_from_slice(&sorted);
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
