//! Bookmarks: how far each stream has got, and the STATE value that carries them.

use serde::Serialize;
use serde_json::{Map, Value, json};

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
    #[error("it has no \"bookmarks\" object; a state looks like {}", State::example())]
    NoBookmarks,
    #[error(
        "the bookmark of stream \"{stream}\" has the replication_key_value {value}, which is not an integer \
         from 0 to 9223372036854775807"
    )]
    BadPosition { stream: String, value: String },
}

impl State {
    /// Reads a state: one JSON object. An empty object is the state of a first run.
    pub fn parse(text: &[u8]) -> Result<Self, StateError> {
        let Value::Object(mut object) = serde_json::from_slice(text)? else {
            return Err(StateError::NoBookmarks);
        };
        if object.is_empty() {
            return Ok(State::default());
        }
        let Some(Value::Object(bookmarks)) = object.remove("bookmarks") else {
            return Err(StateError::NoBookmarks);
        };
        let state = State { bookmarks };
        for (stream, bookmark) in &state.bookmarks {
            // Nothing has been written to the stream yet.
            if bookmark.is_null() || *bookmark == json!({}) {
                continue;
            }
            let position = &bookmark["replication_key_value"];
            if position.as_i64().is_none_or(|position| position < 0) {
                let value = if position.is_null() { bookmark } else { position };
                // The value may be anything, of any length.
                let value = value.to_string().chars().take(100).collect();
                return Err(StateError::BadPosition { stream: stream.chars().take(100).collect(), value });
            }
        }
        Ok(state)
    }

    /// Returns the sequence up to which `stream` has been written, if it has a bookmark.
    pub fn bookmark(&self, stream: &str) -> Option<i64> {
        self.bookmarks.get(stream)?.get("replication_key_value")?.as_i64()
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
    fn an_empty_object_is_the_state_of_a_first_run() {
        assert_eq!(State::parse(b"{}").expect("a state"), State::default());
    }

    #[test]
    fn text_that_is_not_a_state_is_refused_with_the_reason() {
        let cases = [
            (r#"{"bookmarks": {"data""#, "not JSON"),
            ("[]", "no \"bookmarks\" object"),
            (r#"{"bookmarks": 5}"#, "no \"bookmarks\" object"),
            (r#"{"type": "STATE", "value": {}}"#, "a state looks like {\"bookmarks\":{\"data\":"),
            (
                r#"{"bookmarks": {"data": {"replication_key_value": "x"}}}"#,
                "stream \"data\" has the replication_key_value \"x\"",
            ),
            (r#"{"bookmarks": {"data": {"replication_key_value": 1.5}}}"#, "1.5, which is not an integer"),
            (r#"{"bookmarks": {"data": 5}}"#, "the replication_key_value 5, which"),
            (r#"{"bookmarks": {"data": {"last": 5}}}"#, "which is not an integer"),
            (r#"{"bookmarks": {"data": "x"}}"#, "stream \"data\" has the replication_key_value \"x\""),
            (r#"{"bookmarks": {"data": {"replication_key_value": -1}}}"#, "-1, which is not an integer"),
        ];
        for (text, expected) in cases {
            let error = State::parse(text.as_bytes()).expect_err(text).to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
