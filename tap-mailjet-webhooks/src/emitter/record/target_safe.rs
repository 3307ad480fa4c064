//! What every target can store: JSON can express more than many targets accept.

use std::borrow::Cow;
use std::collections::HashSet;

use catalog::column::ColumnType;
use catalog::members::{self, Token, Tokens};

/// The levels of nesting that every JSON parser accepts: `serde_json` stops at 128, Python's parser at about
/// 1000.
const MAX_DEPTH: usize = 100;
/// The digits of a number that PostgreSQL's jsonb certainly takes.
const MAX_NUMBER_BYTES: usize = 1000;
/// The bytes of a column's name that every target keeps: PostgreSQL cuts longer ones, and the
/// targets of `PipelineWise` abbreviate names of 63 characters.
pub(super) const MAX_NAME_BYTES: usize = 62;
/// Names that a warehouse refuses or that hide something, in lower case.
const RESERVED_NAMES: [&str; 23] = [
    // PostgreSQL's and Redshift's system columns.
    "tableoid",
    "xmin",
    "cmin",
    "xmax",
    "cmax",
    "ctid",
    // SQLite's and DuckDB's names for a row's number.
    "rowid",
    "_rowid_",
    "oid",
    // Snowflake.
    "current_date",
    "current_time",
    "current_timestamp",
    "current_user",
    "localtime",
    "localtimestamp",
    "constraint",
    "case",
    "cast",
    "false",
    "true",
    "try_cast",
    "when",
    // BigQuery.
    "_field_",
];
/// What such names start with, in lower case: prefixes that `BigQuery` reserves, and the tap's own.
const RESERVED_PREFIXES: [&str; 11] = [
    "_table_",
    "_file_",
    "_partition",
    "_row_timestamp",
    "__root__",
    "_colidentifier",
    "_change_sequence_number",
    "_change_type",
    "_change_timestamp",
    "_sdc_",
    "__sdc_",
];

/// Whether every target accepts a column of this name, and the tap does not reserve it for its own columns.
///
/// Only ASCII letters, digits and `_` are accepted everywhere: `BigQuery` refuses most other characters, and
/// targets of the Meltano SDK delete them. With these, names can only be folded into one another by case.
pub(super) fn is_target_safe_name(name: &str) -> bool {
    let lowercase = name.to_ascii_lowercase();
    name.len() <= MAX_NAME_BYTES
        && name.starts_with(|c: char| c == '_' || c.is_ascii_alphabetic())
        && name.bytes().all(|byte| byte == b'_' || byte.is_ascii_alphanumeric())
        && !RESERVED_NAMES.contains(&lowercase.as_str())
        && !RESERVED_PREFIXES.iter().any(|prefix| lowercase.starts_with(prefix))
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
        is_target_safe_text(json) && is_target_safe_structure(json)
    }
}

/// Whether `json` follows all rules of [`is_target_safe`] but that for strings.
fn is_target_safe_structure(json: &str) -> bool {
    // The names in each object that is open; none for an array.
    let mut open: Vec<HashSet<Cow<'_, str>>> = Vec::new();
    Tokens::new(json).all(|token| match token {
        Token::Open(_) => {
            open.push(HashSet::new());
            open.len() <= MAX_DEPTH
        }
        Token::Close(_) => open.pop().is_some(),
        Token::Name(name) => open.last_mut().is_some_and(|names| names.insert(members::name_of(name))),
        Token::Scalar(text) => !is_number(text) || is_in_range(text),
    })
}

/// Whether a number is neither too large nor too small for a double, and not too long for PostgreSQL.
fn is_in_range(number: &str) -> bool {
    let digits = number.split(['e', 'E']).next().unwrap_or_default();
    let is_zero = !digits.bytes().any(|byte| matches!(byte, b'1'..=b'9'));
    number.len() <= MAX_NUMBER_BYTES
        && number.parse::<f64>().is_ok_and(|double| double.is_finite() && (double != 0.0 || is_zero))
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
            (r#"{"50%":[1e-20000]}"#.to_owned(), false),
            ("[0e-20000,-0.0,0]".to_owned(), true),
            (format!("[1.{}]", "0".repeat(17_000)), false),
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
