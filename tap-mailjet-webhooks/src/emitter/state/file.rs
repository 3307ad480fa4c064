//! The file that `--state` names: read at the start, and followed while the tap runs.
//!
//! It may hold one JSON document in any layout (as Meltano or a person saves it), or one line for each STATE
//! that a target has printed (`target >> state.jsonl`). Of several lines, the last complete one that holds a
//! bookmark counts. If the file grows while the tap runs, the tap learns from it what the target has stored.
//!
//! A target that is killed in the middle of a line leaves an incomplete one. The next target appends its
//! first state to that line. Such a line counts as the state that it ends with.

use std::fs::Metadata;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use catalog::plugin::paths::{self, FileError};
use catalog::state::{State, StateError};
use tracing::warn;

use crate::os::log_throttle::LogThrottle;

/// How much is read from the end of a file. A state has a few hundred bytes for each stream.
const TAIL_BYTES: u64 = 1 << 20;
/// How many positions in a line are tried as the start of a state: more than a state has objects.
const MAX_STARTS: usize = 100;

/// Why a state file cannot be used.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The message of each variant says what it is.
pub enum StateFileError {
    #[error("state file {0}; --state takes a regular file, which need not exist yet")]
    File(#[from] FileError),
    #[error("state file {path}: there is no directory {directory}; correct --state or create the directory")]
    NoDirectory { path: PathBuf, directory: PathBuf },
    #[error(
        "state file {path}: its last complete line is not a state: {source}. Correct or remove that line \
         (the line before it then counts), or remove the file to start from the beginning"
    )]
    NotAState { path: PathBuf, source: StateError },
}

/// A state file that is followed.
#[derive(Debug)]
pub struct StateFile {
    pub(super) path: PathBuf,
    /// The version of the file that was read last.
    read_version: Option<FileVersion>,
    error_throttle: LogThrottle,
}

/// What changes when a file does: its inode, length, and time of modification in seconds and nanoseconds.
type FileVersion = (u64, u64, i64, i64);

impl StateFile {
    pub(crate) fn new(path: &Path) -> Self {
        StateFile { path: path.to_owned(), read_version: None, error_throttle: LogThrottle::default() }
    }

    /// Returns the state that the file holds now; `None` if there is no file or it has no complete state yet.
    pub fn read(&mut self) -> Result<Option<State>, StateFileError> {
        let unreadable = |source| FileError::Unreadable { path: self.path.clone(), source };
        let mut file = match paths::open_regular(&self.path) {
            Err(error) if error.is_not_found() => {
                // On a first run there is no file yet, but its directory exists.
                let directory = self.path.parent().filter(|path| *path != Path::new("") && !path.exists());
                return directory.map_or(Ok(None), |directory| {
                    let (path, directory) = (self.path.clone(), directory.to_owned());
                    Err(StateFileError::NoDirectory { path, directory })
                });
            }
            opened => opened?,
        };
        let metadata = file.metadata().map_err(unreadable)?;
        self.read_version = Some(version_of(&metadata));
        let mut tail = Vec::new();
        file.seek(SeekFrom::Start(metadata.len().saturating_sub(TAIL_BYTES)))
            .and_then(|_| file.take(2 * TAIL_BYTES).read_to_end(&mut tail))
            .map_err(unreadable)?;
        last_state(&tail).map_err(|source| StateFileError::NotAState { path: self.path.clone(), source })
    }

    /// Returns the state that the file holds if it has changed since it was last read.
    ///
    /// A last line that is not a state is logged and skipped: the target may still write another.
    pub fn read_if_changed(&mut self) -> Option<State> {
        let metadata = self.path.metadata().ok()?;
        if self.read_version == Some(version_of(&metadata)) {
            return None;
        }
        self.read().unwrap_or_else(|error| {
            if let Some(suppressed) = self.error_throttle.allow() {
                warn!("{error}{suppressed}");
            }
            None
        })
    }
}

fn version_of(metadata: &Metadata) -> FileVersion {
    (metadata.ino(), metadata.len(), metadata.mtime(), metadata.mtime_nsec())
}

/// Returns the last complete state with a bookmark in a file, or in the end of one. Without a bookmark
/// anywhere, it is the empty state if the file holds one, and otherwise `None`.
pub fn last_state(tail: &[u8]) -> Result<Option<State>, StateError> {
    match State::parse(tail) {
        Ok(state) => return Ok(Some(state)),
        // None of its lines could be read.
        Err(StateError::Utf16) => return Err(StateError::Utf16),
        Err(_) => {}
    }
    match last_state_in_lines(tail) {
        // It may be one document in several lines, with others before or after it.
        Err(error) => match State::parse_last(tail) {
            Ok(Some(state)) => Ok(Some(state)),
            _ => Err(error),
        },
        found => found,
    }
}

fn last_state_in_lines(tail: &[u8]) -> Result<Option<State>, StateError> {
    let mut lines = tail.split(|byte| *byte == b'\n');
    // The line after the last newline may be incomplete. If it is, it is not JSON: an object ends with its
    // last byte.
    let unfinished = lines.next_back().and_then(|line| State::parse(line).ok());
    let mut empty = None;
    let complete =
        lines.rev().filter(|line| line.iter().any(|byte| !byte.is_ascii_whitespace() && *byte != 0));
    for state in unfinished.map(Ok).into_iter().chain(complete.map(state_of_line)) {
        let state = state?;
        if state.has_bookmark() {
            return Ok(Some(state));
        }
        // A line that says nothing does not undo what the lines before it say.
        empty = Some(state);
    }
    Ok(empty)
}

fn state_of_line(line: &[u8]) -> Result<State, StateError> {
    State::parse(line).or_else(|error| state_after_incomplete_one(line).ok_or(error))
}

/// Returns the state that a line ends with, after an incomplete one that a crash has left.
///
/// A line that is JSON as a whole has no such part: an object inside it is followed by at least one more
/// bracket.
fn state_after_incomplete_one(line: &[u8]) -> Option<State> {
    let starts = (0..line.len()).rev().filter(|at| line[*at] == b'{').take(MAX_STARTS);
    // An empty object says nothing, and what it is the end of may not have been a state.
    let mut states = starts.filter_map(|at| State::parse(&line[at..]).ok());
    states.find(State::has_bookmark)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(position: i64) -> String {
        let bookmark = format!(r#"{{"replication_key":"_sdc_sequence","replication_key_value":{position}}}"#);
        format!(r#"{{"bookmarks":{{"data":{bookmark}}}}}"#)
    }

    #[test]
    fn the_last_complete_line_counts() {
        let (one, two) = (state(1), state(2));
        let pretty =
            "{\n  \"bookmarks\": {\n    \"data\": {\n      \"replication_key_value\": 2\n    }\n  }\n}\n";
        let cases = [
            (String::new(), None),
            ("\n\n".to_owned(), None),
            ("{}".to_owned(), None),
            (format!("{one}\n{two}\n"), Some(2)),
            (format!("{one}\n{two}"), Some(2)),
            (format!("{one}\n{}", &two[..two.len() - 1]), Some(1)),
            (format!("{one}\n\n"), Some(1)),
            (format!("{one}\n{{}}\n"), Some(1)),
            (format!("{one}\n{{}}"), Some(1)),
            (format!("{one}\r\n{{\"currently_syncing\":null}}\r\n{{\"bookmarks\":{{}}}}\r\n"), Some(1)),
            ("{}\n{}\n".to_owned(), None),
            (format!("{one}\n{}", "\0".repeat(4096)), Some(1)),
            (format!("{one}\n{}\n{two}\n", "\0".repeat(4096)), Some(2)),
            (format!("{one}\n{}{two}\n", "\0".repeat(4096)), Some(2)),
            ("\0".repeat(4096), None),
            (format!("\u{feff}{one}\n{{}}\n"), Some(1)),
            (format!("{pretty}{{}}\n"), Some(2)),
            (format!("{one}{two}\n"), Some(2)),
            (format!("{{\"type\":\"STATE\",\"value\":{one}}}\n"), Some(1)),
            (two[..20].to_owned(), None),
            (pretty.to_owned(), Some(2)),
            (format!("garbage\n{two}\n"), Some(2)),
            (format!("{one}\n{}{two}\n", &one[..1]), Some(2)),
            (format!("{one}\n{}{two}\n", &one[..30]), Some(2)),
            (format!("{one}\n{}{two}\n{}", &one[..one.len() - 1], &one[..30]), Some(2)),
        ];
        for (text, expected) in cases {
            let state = last_state(text.as_bytes()).expect(&text);
            assert_eq!(state.and_then(|state| state.bookmark("data")), expected, "{text}");
        }
        for wrong in ["garbage", "[]", "half a line{}", "[{}]", r#"{"data":7}"#] {
            let wrong = format!("{one}\n{wrong}\n");
            last_state(wrong.as_bytes()).expect_err(&wrong);
        }
    }

    #[test]
    fn a_file_is_followed_as_it_grows_and_when_it_is_replaced() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("state.jsonl");
        let mut file = StateFile::new(&path);
        let bookmark = |state: Option<State>| state.and_then(|state| state.bookmark("data"));
        assert_eq!(bookmark(file.read().expect("a missing file is not an error")), None);
        let misspelt = StateFile::new(&folder.path().join("no such folder/state.jsonl")).read();
        assert!(matches!(misspelt, Err(StateFileError::NoDirectory { .. })), "{misspelt:?}");
        std::fs::write(&path, state(1) + "\n").expect("a write");
        assert_eq!(bookmark(file.read_if_changed()), Some(1));
        assert_eq!(file.read_if_changed(), None);
        std::fs::write(&path, "x".repeat(3 << 20) + "\n" + &state(1) + "\n" + &state(7) + "\n")
            .expect("a write");
        assert_eq!(bookmark(file.read_if_changed()), Some(7));
        std::fs::write(folder.path().join("new"), state(9)).expect("a write");
        std::fs::rename(folder.path().join("new"), &path).expect("a rename");
        assert_eq!(bookmark(file.read_if_changed()), Some(9));
        std::fs::write(&path, "half a li").expect("a write");
        assert_eq!(file.read_if_changed(), None);
    }
}
