//! What any target can read, and what many stop at.

use std::borrow::Cow;
use std::collections::HashSet;

use catalog::column::ColumnType;

use catalog::members::{self, Members};

/// Levels of nesting that every JSON parser takes: `serde_json` stops at 128 in all, Python's at about 1000.
const PORTABLE_DEPTH: usize = 100;

/// Whether any target can read a JSON value, all of it: its strings ([`is_target_safe_text`]), its numbers (a scalar one has to be
/// exact as a 64-bit integer or a double, one within an object or array has to be within a double's range), its depth, and
/// its names (of two alike in one object, a parser keeps one).
pub(in crate::emitter) fn is_target_safe(json: &str) -> bool {
    match json.as_bytes().first() {
        Some(b'-' | b'0'..=b'9') => ColumnType::infer(json) != ColumnType::Text,
        Some(b'{' | b'[') => {
            is_target_safe_text(json) && is_target_safe_structure(json) && !repeats_a_name(json)
        }
        _ => is_target_safe_text(json),
    }
}

/// A JSON value in one line, as a message has to be. A line break stands only between the parts of a value, where a space says
/// the same.
pub(in crate::emitter) fn one_line(json: &str) -> Cow<'_, str> {
    if memchr::memchr2(b'\n', b'\r', json.as_bytes()).is_some() {
        Cow::Owned(json.replace(['\n', '\r'], " "))
    } else {
        Cow::Borrowed(json)
    }
}

/// Whether every string in a JSON text is one that any target can keep: no `\u` escape of half a surrogate pair, which
/// JSON's grammar allows although it is not Unicode, and none of U+0000.
pub(in crate::emitter) fn is_target_safe_text(json: &str) -> bool {
    find_escape(json, |_| true).is_none()
}

/// Where the first escape of half a surrogate pair stands in a JSON text, if there is one.
pub(in crate::emitter) fn half_surrogate(json: &str) -> Option<usize> {
    find_escape(json, |escape| escape == Escape::Half)
}

/// An escape that not every program takes.
#[derive(Clone, Copy, PartialEq)]
enum Escape {
    /// Of half a surrogate pair.
    Half,
    /// Of U+0000.
    Nul,
}

/// Where the first escape stands that is asked for.
fn find_escape(json: &str, is_sought: impl Fn(Escape) -> bool) -> Option<usize> {
    let bytes = json.as_bytes();
    let mut at = 0;
    while let Some(offset) = memchr::memchr(b'\\', bytes.get(at..)?) {
        at += offset;
        let (escape, length) = match surrogate(bytes, at) {
            Some(Surrogate::High) if surrogate(bytes, at + 6) == Some(Surrogate::Low) => (None, 12),
            Some(_) => (Some(Escape::Half), 6),
            None if bytes[at..].starts_with(b"\\u0000") => (Some(Escape::Nul), 6),
            // The backslash and what it escapes, which may be a backslash itself.
            None => (None, 2),
        };
        if escape.is_some_and(&is_sought) {
            return Some(at);
        }
        at += length;
    }
    None
}

/// Whether an object or array is not too deep and holds no number that is beyond a double.
fn is_target_safe_structure(json: &str) -> bool {
    let mut depth = 0_usize;
    let (mut in_string, mut escaped) = (false, false);
    let mut number = 0..0;
    for (at, byte) in json.bytes().enumerate() {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        if matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9') {
            if number.end != at {
                number = at..at;
            }
            number.end = at + 1;
            continue;
        }
        // The letter e of true and false makes a "number" that is none.
        if !number.is_empty() && json[number.clone()].parse::<f64>().is_ok_and(f64::is_infinite) {
            return false;
        }
        number = 0..0;
        match byte {
            b'"' => in_string = true,
            b'{' | b'[' => {
                depth += 1;
                if depth > PORTABLE_DEPTH {
                    return false;
                }
            }
            b'}' | b']' => depth -= 1,
            _ => {}
        }
    }
    true
}

/// Whether an object in a JSON value, which is not too deep, has two members of one name.
fn repeats_a_name(json: &str) -> bool {
    match json.as_bytes().first() {
        Some(b'{') => {
            let spans = members::parse_object(json).expect("a part of valid JSON is valid");
            let members = Members::new(json, &spans);
            let mut names = HashSet::with_capacity(members.len());
            members.iter().any(|member| !names.insert(member.name()) || repeats_a_name(member.value))
        }
        Some(b'[') => {
            let elements = members::parse_array(json).expect("a part of valid JSON is valid");
            elements.iter().any(|element| repeats_a_name(element.get()))
        }
        _ => false,
    }
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
    fn strings_that_targets_stop_at_are_found() {
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
            (r#""a\u0000b""#, false),
            (r#""a\\u0000b""#, true),
            (r#""a\u00001""#, false),
            (r#""a\u00010""#, true),
        ];
        for (json, expected) in cases {
            assert_eq!((is_target_safe_text(json), is_target_safe(json)), (expected, expected), "{json}");
        }
    }

    #[test]
    fn what_targets_stop_at_within_objects_and_arrays_is_found() {
        let deep = |levels| "[".repeat(levels) + &"]".repeat(levels);
        let cases = [
            ("5".to_owned(), true),
            ("1e400".to_owned(), false),
            ("18446744073709551616".to_owned(), false),
            ("[1e400]".to_owned(), false),
            (r#"{"a":-1E+999}"#.to_owned(), false),
            (r#"{"a":"1e400","b":[true,false,18446744073709551616,1e300]}"#.to_owned(), true),
            (deep(100), true),
            (deep(101), false),
            (format!(r#"["{}",{{"]":1}}]"#, deep(200)), true),
            (r#"{"a":1,"b":{"a":2},"c":[{"a":3},{"a":4}]}"#.to_owned(), true),
            (r#"{"a":1,"\u0061":2}"#.to_owned(), false),
            (r#"[{"a":[{"b":1,"b":1}]}]"#.to_owned(), false),
        ];
        for (json, expected) in cases {
            assert_eq!(is_target_safe(&json), expected, "{json}");
        }
    }
}
