//! Bookmarks: how far each stream has got, and the STATE value that carries them.

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::byte_order_mark::without_byte_order_mark;
use crate::stream::StreamId;

/// The value of a STATE message: a bookmark for each stream.
///
/// Anything that the tap does not know (another stream's bookmark, a key that Meltano added) is kept
/// unchanged. So a STATE is always complete, and replaces the one before it without losing anything.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct State {
    bookmarks: Map<String, Value>,
}

/// Why text is not a state.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The message of each variant says what it is.
pub enum StateError {
    #[error("it is not JSON ({0})")]
    NotJson(#[from] serde_json::Error),
    #[error("it is text in UTF-16, as some editors and shells write it; save it as UTF-8")]
    Utf16,
    #[error("it has no \"bookmarks\" object; a state looks like {}", State::example())]
    NoBookmarks,
    #[error(
        "the bookmark of stream \"{stream}\" has the replication_key_value {value}, which is not an integer \
         from 0 to 9223372036854775807"
    )]
    BadPosition { stream: String, value: String },
    #[error(
        "the bookmark of stream \"{stream}\" is {bookmark}, without a \"replication_key_value\"; a state \
         looks like {}",
        State::example()
    )]
    NoPosition { stream: String, bookmark: String },
}

/// Keys of a state that say nothing about how far a stream has got.
const SILENT_KEYS: [&str; 3] = ["currently_syncing", "type", "time_extracted"];
/// Keys under which tools keep a state: Singer's STATE message, Meltano, and Meltano's exported states. A
/// later one completes an earlier one.
const WRAPPERS: [&str; 5] = ["value", "singer_state", "completed", "partial", "partial_state"];
/// What text in UTF-16 starts with.
const UTF16_MARKS: [&[u8]; 2] = [b"\xff\xfe", b"\xfe\xff"];
/// How deep a state may be wrapped: Meltano's export wraps it twice.
const MAX_WRAPPERS: u32 = 3;

impl State {
    /// Reads a state: one JSON object, as the tap writes it or as Singer's STATE message or Meltano wraps it.
    /// Byte order marks, and NUL bytes that a power cut has left around it, are skipped.
    ///
    /// An object that says nothing, such as `{}`, is the state of a first run.
    pub fn parse(text: &[u8]) -> Result<Self, StateError> {
        if UTF16_MARKS.iter().any(|mark| text.starts_with(mark)) {
            return Err(StateError::Utf16);
        }
        State::from_value(serde_json::from_slice(trim(text))?)
    }

    /// Reads the last state with a bookmark of several JSON documents in a row; `None` if none has one.
    pub fn parse_last(text: &[u8]) -> Result<Option<Self>, StateError> {
        let mut last = None;
        for document in serde_json::Deserializer::from_slice(trim(text)).into_iter() {
            let state = State::from_value(document?)?;
            if state.has_bookmark() {
                last = Some(state);
            }
        }
        Ok(last)
    }

    fn from_value(value: Value) -> Result<Self, StateError> {
        let mut bookmarks = Map::new();
        if !collect(value, MAX_WRAPPERS, &mut bookmarks) {
            return Err(StateError::NoBookmarks);
        }
        for (stream, bookmark) in &bookmarks {
            // Whatever another tap keeps in a bookmark is none of our business.
            if StreamId::from_name(stream).is_some() && position(bookmark).is_err() {
                // Either may be anything, of any length.
                let shown = |value: &Value| value.to_string().chars().take(100).collect();
                let stream = stream.clone();
                return Err(match bookmark.get("replication_key_value") {
                    Some(value) => StateError::BadPosition { stream, value: shown(value) },
                    None => StateError::NoPosition { stream, bookmark: shown(bookmark) },
                });
            }
        }
        Ok(State { bookmarks })
    }

    /// Whether any stream has a bookmark.
    pub fn has_bookmark(&self) -> bool {
        self.streams().next().is_some()
    }

    /// Returns the names of the streams with a bookmark. They may be anything.
    pub fn streams(&self) -> impl Iterator<Item = &str> {
        let is_set = |bookmark| matches!(position(bookmark), Ok(Some(_)));
        self.bookmarks.iter().filter(move |(_, bookmark)| is_set(bookmark)).map(|(stream, _)| stream.as_str())
    }

    /// Returns the sequence up to which `stream` has been written, if it has a bookmark.
    pub fn bookmark(&self, stream: &str) -> Option<i64> {
        position(self.bookmarks.get(stream)?).ok()?
    }

    /// Moves the bookmark of `stream` to `sequence`, a value of its `replication_key`.
    pub fn set_bookmark(&mut self, stream: &str, replication_key: &str, sequence: i64) {
        let bookmark = json!({ "replication_key": replication_key, "replication_key_value": sequence });
        self.bookmarks.insert(stream.to_owned(), bookmark);
    }

    /// Returns an example, for error messages.
    fn example() -> Value {
        let mut state = State::default();
        state.set_bookmark("data", "_sdc_sequence", 1_513_975_381_000);
        json!(state)
    }
}

/// Removes what editors and power cuts leave around a state.
fn trim(text: &[u8]) -> &[u8] {
    let is_blank = |byte: &u8| byte.is_ascii_whitespace() || *byte == 0;
    let start = text.iter().position(|byte| !is_blank(byte)).unwrap_or(text.len());
    let end = text.iter().rposition(|byte| !is_blank(byte)).map_or(start, |last| last + 1);
    without_byte_order_mark(&text[start..end])
}

/// Adds the bookmarks of a state, however it is wrapped. Returns whether it is a state.
fn collect(state: Value, wrappers_left: u32, bookmarks: &mut Map<String, Value>) -> bool {
    let mut object = match state {
        Value::Null => return true,
        Value::Object(object) => object,
        _ => return false,
    };
    match object.remove("bookmarks") {
        Some(Value::Object(found)) => {
            bookmarks.extend(found);
            return true;
        }
        None | Some(Value::Null) => {}
        Some(_) => return false,
    }
    for wrapper in WRAPPERS {
        let Some(wrapped) = object.remove(wrapper) else { continue };
        if wrappers_left == 0 || !collect(wrapped, wrappers_left - 1, bookmarks) {
            return false;
        }
    }
    object.keys().all(|key| SILENT_KEYS.contains(&key.as_str()))
}

/// Reads the position of a bookmark: a number, or a number that a tool has written as text or with a fraction
/// of zero. `None` says that nothing has been written to the stream yet.
fn position(bookmark: &Value) -> Result<Option<i64>, ()> {
    let value = match bookmark {
        Value::Null => return Ok(None),
        Value::Object(object) if object.is_empty() => return Ok(None),
        Value::Object(object) => object.get("replication_key_value").ok_or(())?,
        _ => return Err(()),
    };
    let position = match value {
        Value::Null => return Ok(None),
        Value::Number(number) => number.as_i64().or_else(|| number.as_f64().and_then(integer)),
        Value::String(text) => {
            let text = text.trim();
            text.parse().ok().or_else(|| text.parse().ok().and_then(integer))
        }
        _ => None,
    };
    position.filter(|position| *position >= 0).map(Some).ok_or(())
}

/// Returns the integer that a floating-point number stands for.
#[allow(clippy::cast_possible_truncation)] // The number is in the range of the integer.
fn integer(number: f64) -> Option<i64> {
    // The first number past the range, 2^63.
    const PAST_END: f64 = 9_223_372_036_854_775_808.0;
    (number.fract() == 0.0 && (0.0..PAST_END).contains(&number)).then_some(number as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bookmark_is_read_and_everything_else_is_kept() {
        let text =
            br#"{"bookmarks": {"data": {"replication_key": "_sdc_sequence", "replication_key_value": 7},
                        "click": {"replication_key_value": 3, "note": "kept"}}}"#;
        let mut state = State::parse(text).expect("a state");
        assert_eq!(
            (state.bookmark("data"), state.bookmark("click"), state.bookmark("open")),
            (Some(7), Some(3), None)
        );
        state.set_bookmark("data", "_sdc_sequence", 9_007_199_254_740_993);
        assert_eq!(
            serde_json::to_string(&state).expect("a state is JSON"),
            concat!(
                r#"{"bookmarks":{"data":{"replication_key":"_sdc_sequence","#,
                r#""replication_key_value":9007199254740993},"#,
                r#""click":{"replication_key_value":3,"note":"kept"}}}"#
            )
        );
    }

    #[test]
    fn the_bookmark_of_a_stream_of_another_tap_may_be_anything() {
        let text =
            br#"{"bookmarks":{"users":{"since":"2026-01-01"},"x":5,"data":{"replication_key_value":7}}}"#;
        let state = State::parse(text).expect("a state");
        assert_eq!(state.bookmark("data"), Some(7));
        let written = serde_json::to_string(&state).expect("a state is JSON");
        assert!(written.contains(r#""users":{"since":"2026-01-01"},"x":5"#), "{written}");
    }

    #[test]
    fn a_state_that_says_nothing_is_that_of_a_first_run() {
        for text in [
            "{}",
            "null",
            r#"{"bookmarks":{}}"#,
            r#"{"bookmarks":null}"#,
            r#"{"currently_syncing":null}"#,
            r#"{"currently_syncing":"data"}"#,
            r#"{"singer_state":{}}"#,
            r#"{"type":"STATE","value":{}}"#,
            r#"{"completed":{},"partial":{}}"#,
        ] {
            let state = State::parse(text.as_bytes()).expect(text);
            assert!(!state.has_bookmark() && state == State::default(), "{text}");
        }
        for text in
            [r#"{"bookmarks":{"data":null}}"#, r#"{"bookmarks":{"data":{"replication_key_value":null}}}"#]
        {
            assert!(!State::parse(text.as_bytes()).expect(text).has_bookmark(), "{text}");
        }
    }

    #[test]
    fn a_bookmark_is_understood_however_tools_wrap_and_spell_it() {
        let bare = r#"{"bookmarks":{"data":{"replication_key":"_sdc_sequence","replication_key_value":7}}}"#;
        let wrapped = [
            bare.to_owned(),
            format!("\u{feff}{bare}"),
            format!("\0\0{bare}\r\n\0\0\0"),
            format!(r#"{{"type":"STATE","value":{bare}}}"#),
            format!(r#"{{"singer_state":{bare}}}"#),
            format!(r#"{{"completed":{{"singer_state":{bare}}},"partial":{{}}}}"#),
            format!(r#"{{"completed":{{"singer_state":{{}}}},"partial":{{"singer_state":{bare}}}}}"#),
            r#"{"currently_syncing":"data","singer_state":{},"bookmarks":{"data":
                {"replication_key_value":7,"starting_replication_value":null,"progress_markers":{}}}}"#
                .to_owned(),
        ];
        let spelled = ["\"7\"", "\" 7 \"", "7.0", "7e0", "\"7.0\""]
            .map(|value| format!(r#"{{"bookmarks":{{"data":{{"replication_key_value":{value}}}}}}}"#));
        for text in wrapped.iter().chain(&spelled) {
            let state = State::parse(text.as_bytes()).expect(text);
            assert_eq!((state.bookmark("data"), state.has_bookmark()), (Some(7), true), "{text}");
        }
    }

    #[test]
    fn of_several_documents_the_last_with_a_bookmark_counts() {
        let state =
            |position| format!(r#"{{"bookmarks": {{"data": {{"replication_key_value": {position}}}}}}}"#);
        let text = format!("{}{}\n{{}}\n", state(1), state(2));
        let last = State::parse_last(text.as_bytes()).expect("states").expect("a bookmark");
        assert_eq!(last.bookmark("data"), Some(2));
        assert_eq!(State::parse_last(b"{} {}").expect("states"), None);
        State::parse_last(b"{} {").expect_err("half a document");
    }

    #[test]
    fn text_that_is_not_a_state_is_refused_with_the_reason() {
        let cases = [
            (r#"{"bookmarks": {"data""#, "not JSON"),
            ("[]", "no \"bookmarks\" object"),
            (r#"{"bookmarks": 5}"#, "no \"bookmarks\" object"),
            (r#"{"data": 7}"#, "a state looks like {\"bookmarks\":{\"data\":"),
            (r#"{"singer_state": {"data": 7}}"#, "no \"bookmarks\" object"),
            (r#"{"bookmarks": {"data": {"replication_key_value": true}}}"#, "true, which is not an integer"),
            (
                r#"{"bookmarks": {"data": {"replication_key_value": "x"}}}"#,
                "stream \"data\" has the replication_key_value \"x\"",
            ),
            (r#"{"bookmarks": {"data": {"replication_key_value": 1.5}}}"#, "1.5, which is not an integer"),
            (r#"{"bookmarks": {"data": 5}}"#, "stream \"data\" is 5, without a \"replication_key_value\""),
            (r#"{"bookmarks": {"data": {"last": 5}}}"#, "is {\"last\":5}, without a"),
            (r#"{"bookmarks": {"data": "x"}}"#, "stream \"data\" is \"x\", without a"),
            (r#"{"bookmarks": {"data": {"replication_key_value": -1}}}"#, "-1, which is not an integer"),
        ];
        for (text, expected) in cases {
            let error = State::parse(text.as_bytes()).expect_err(text).to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
        let utf16: Vec<u8> = "\u{feff}{}".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert!(matches!(State::parse(&utf16), Err(StateError::Utf16)));
    }
}
