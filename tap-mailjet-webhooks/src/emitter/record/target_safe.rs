//! What every target can store: JSON can express more than many targets accept.

use std::borrow::Cow;
use std::collections::HashSet;

use catalog::column::ColumnType;
use catalog::members::{self, Members};

/// The levels of nesting that every JSON parser accepts: `serde_json` stops at 128, Python's parser at about
/// 1000.
const MAX_DEPTH: usize = 100;
/// The bytes of a column's name that PostgreSQL keeps.
pub(super) const MAX_NAME_BYTES: usize = 63;
/// SQLite's names for a row's number: a column with such a name would hide it.
const SQLITE_ROW_IDS: [&str; 3] = ["rowid", "_rowid_", "oid"];

/// Whether every target accepts a column of this name, and the tap does not reserve it for its own columns.
pub(super) fn is_target_safe_name(name: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
    let lowercase = name.to_lowercase();
    !name.is_empty()
        && name.len() <= MAX_NAME_BYTES
        && name.chars().all(|c| is_word(c) || c == ' ')
        && name.starts_with(is_word)
        && name.ends_with(is_word)
        && !SQLITE_ROW_IDS.contains(&lowercase.as_str())
        && !lowercase.starts_with("_sdc_")
        && !lowercase.starts_with("__sdc_")
}

/// Whether every target can read a JSON value without loss.
///
/// - Its strings are safe by [`is_target_safe_text`].
/// - If it is a number, it is exact as a 64-bit integer or as a double. A number within it is in a double's
///   range.
/// - It is not nested too deeply.
/// - No object in it repeats a name: a parser keeps only one of the two values.
pub(super) fn is_target_safe(json: &str) -> bool {
    if is_number(json) {
        ColumnType::infer(json) != ColumnType::Text
    } else {
        is_target_safe_text(json) && is_target_safe_structure(json, MAX_DEPTH)
    }
}

/// Whether `json` follows all rules of [`is_target_safe`] but that for strings.
fn is_target_safe_structure(json: &str, max_depth: usize) -> bool {
    match json.as_bytes().first() {
        Some(b'{' | b'[') if max_depth == 0 => false,
        Some(b'{') => {
            let spans = members::parse_object(json).expect("a part of valid JSON is valid");
            let members = Members::new(json, &spans);
            let mut names = HashSet::with_capacity(spans.len());
            members.iter().all(|member| {
                names.insert(member.name()) && is_target_safe_structure(member.value, max_depth - 1)
            })
        }
        Some(b'[') => {
            let elements = members::parse_array(json).expect("a part of valid JSON is valid");
            elements.iter().all(|element| is_target_safe_structure(element.get(), max_depth - 1))
        }
        _ => !is_number(json) || json.parse::<f64>().is_ok_and(f64::is_finite),
    }
}

fn is_number(json: &str) -> bool {
    json.starts_with(|c: char| c == '-' || c.is_ascii_digit())
}

/// Returns a JSON value in one line, as a message has to be. Line breaks can only stand between the parts of
/// a value, where a space means the same.
pub(super) fn one_line(json: &str) -> Cow<'_, str> {
    if memchr::memchr2(b'\n', b'\r', json.as_bytes()).is_some() {
        Cow::Owned(json.replace(['\n', '\r'], " "))
    } else {
        Cow::Borrowed(json)
    }
}

/// Whether every target can store the strings in a JSON text. They must not contain an escaped lone
/// surrogate, which JSON's grammar allows although it is not Unicode, nor U+0000.
pub(super) fn is_target_safe_text(json: &str) -> bool {
    unsafe_escapes(json).next().is_none()
}

/// Returns the position of the first escaped lone surrogate in a JSON text.
pub(super) fn find_lone_surrogate(json: &str) -> Option<usize> {
    unsafe_escapes(json).find_map(|(at, escape)| (escape == UnsafeEscape::LoneSurrogate).then_some(at))
}

#[derive(PartialEq)]
enum UnsafeEscape {
    /// One half of a surrogate pair, without the other.
    LoneSurrogate,
    /// U+0000.
    Nul,
}

/// Returns each escape in a JSON text that some targets do not accept, with its position.
fn unsafe_escapes(json: &str) -> impl Iterator<Item = (usize, UnsafeEscape)> {
    let bytes = json.as_bytes();
    let mut position = 0;
    std::iter::from_fn(move || {
        while let Some(offset) = memchr::memchr(b'\\', bytes.get(position..)?) {
            let at = position + offset;
            let (escape, length) = match surrogate_digit(bytes, at) {
                Some(b'8' | b'9' | b'a' | b'b')
                    if matches!(surrogate_digit(bytes, at + 6), Some(b'c'..=b'f')) =>
                {
                    (None, 12)
                }
                Some(_) => (Some(UnsafeEscape::LoneSurrogate), 6),
                None if bytes[at..].starts_with(b"\\u0000") => (Some(UnsafeEscape::Nul), 6),
                // The backslash and what it escapes, which may be a backslash.
                None => (None, 2),
            };
            position = at + length;
            if let Some(escape) = escape {
                return Some((at, escape));
            }
        }
        None
    })
}

/// If a surrogate is escaped at a position, returns the digit that says which half of a pair it is: `8` to
/// `b` for the first (`\ud800` to `\udbff`), `c` to `f` for the second.
fn surrogate_digit(bytes: &[u8], at: usize) -> Option<u8> {
    match bytes.get(at..at + 4)? {
        [b'\\', b'u', b'd' | b'D', digit @ (b'8' | b'9' | b'a'..=b'f' | b'A'..=b'F')] => {
            Some(digit.to_ascii_lowercase())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_that_some_targets_cannot_store_are_found() {
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
    fn values_that_some_targets_cannot_read_are_found_within_objects_and_arrays() {
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
            (deep(1_000), false),
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
