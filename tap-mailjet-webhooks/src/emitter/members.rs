//! An event's members as slices of its text: parsed once, without a tree.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// One member of a JSON object, as it stands in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Member<'a> {
    /// The name, with its quotes and escapes.
    pub(super) quoted_name: &'a str,
    /// The text of the value.
    pub(super) value: &'a str,
}

impl<'a> Member<'a> {
    /// The name, without quotes and escapes. A name that is not Unicode (it has half a surrogate pair) is its JSON text.
    pub(super) fn name(&self) -> Cow<'a, str> {
        let bare = &self.quoted_name[1..self.quoted_name.len() - 1];
        if bare.contains('\\') { unescape(self.quoted_name) } else { Cow::Borrowed(bare) }
    }
}

/// What a quoted JSON string says; one that is not Unicode says its own JSON text.
pub(super) fn unescape(quoted: &str) -> Cow<'_, str> {
    serde_json::from_str::<String>(quoted).map_or(Cow::Borrowed(quoted), Cow::Owned)
}

/// The members of the object that `text` is, in their order, repeated names included.
pub(super) fn of_object(text: &[u8]) -> serde_json::Result<Vec<Member<'_>>> {
    serde_json::from_slice::<Members<'_>>(text).map(|members| members.0)
}

/// The elements of the array that `text` is.
pub(super) fn of_array(text: &str) -> serde_json::Result<Vec<&RawValue>> {
    serde_json::from_str(text)
}

struct Members<'a>(Vec<Member<'a>>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each;
        impl<'de> Visitor<'de> for Each {
            type Value = Vec<Member<'de>>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                // Room for all of Mailjet's fields.
                let mut members = Vec::with_capacity(24);
                while let Some((name, value)) = map.next_entry::<&RawValue, &RawValue>()? {
                    members.push(Member { quoted_name: name.get(), value: value.get() });
                }
                Ok(members)
            }
        }
        deserializer.deserialize_map(Each).map(Members)
    }
}

/// Whether every string in a JSON text is Unicode: no `\u` escape of half a surrogate pair. JSON's grammar allows such
/// an escape, most targets stop at it.
pub(super) fn is_unicode(json: &str) -> bool {
    let bytes = json.as_bytes();
    let mut at = 0;
    while let Some(offset) = bytes[at..].iter().position(|byte| *byte == b'\\') {
        at += offset;
        match surrogate(bytes, at) {
            Some(Surrogate::High) if surrogate(bytes, at + 6) == Some(Surrogate::Low) => at += 12,
            Some(_) => return false,
            // Past the backslash and what it escapes, which may be a backslash itself.
            None => at = (at + 2).min(bytes.len()),
        }
    }
    true
}

/// How deep objects and arrays are nested in a JSON text: 0 for a scalar.
pub(super) fn depth(json: &str) -> usize {
    if !json.starts_with(['{', '[']) {
        return 0;
    }
    let (mut depth, mut deepest) = (0_usize, 0);
    let (mut in_string, mut escaped) = (false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[derive(PartialEq)]
enum Surrogate {
    High,
    Low,
}

fn surrogate(bytes: &[u8], at: usize) -> Option<Surrogate> {
    match bytes.get(at..at + 6)? {
        [b'\\', b'u', b'd' | b'D', b'8' | b'9' | b'a' | b'A' | b'b' | b'B', ..] => Some(Surrogate::High),
        [b'\\', b'u', b'd' | b'D', b'c'..=b'f' | b'C'..=b'F', ..] => Some(Surrogate::Low),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_slices_of_the_text() {
        let text = br#" { "a" : 1.10, "\u0062" : {"x": [1, 2]}, "a": null, "\ud800": "" } "#;
        let members = of_object(text).expect("an object");
        let named: Vec<_> = members.iter().map(|member| (member.name(), member.value)).collect();
        let expected = [("a", "1.10"), ("b", r#"{"x": [1, 2]}"#), ("a", "null"), (r#""\ud800""#, r#""""#)];
        assert_eq!(named, expected.map(|(name, value)| (Cow::Borrowed(name), value)));
        assert!(of_object(b"[]").is_err());
    }

    #[test]
    fn half_a_surrogate_pair_is_not_unicode() {
        let cases = [
            (r#""plain \n \\ \u00e9""#, true),
            (r#""\ud83d\ude00""#, true),
            (r#""\uD83D\uDE00 \uD83D\uDE00""#, true),
            (r#""\ud83d""#, false),
            (r#""\ude00""#, false),
            (r#""\ud83d\ud83d\ude00""#, false),
            (r#""\ud83d \ude00""#, false),
            (r#""\\ud83d""#, true),
            (r#""\\\ud83d""#, false),
            (r#"{"a":["\ud83d\ude00",{"\udc00":1}]}"#, false),
        ];
        for (json, expected) in cases {
            assert_eq!(is_unicode(json), expected, "{json}");
        }
    }

    #[test]
    fn depth_is_counted_outside_strings() {
        let cases =
            [("5", 0), (r#""[[""#, 0), ("[]", 1), (r#"{"a":[{}],"b":[]}"#, 3), (r#"["\"[",{"]":1}]"#, 2)];
        for (json, expected) in cases {
            assert_eq!(depth(json), expected, "{json}");
        }
    }
}
