//! The file that `--state` names: read at the start, and followed while the tap runs.
//!
//! It may hold one JSON document of any layout (Meltano, a state saved by hand), or a line for each STATE that a target
//! has printed (`target >> state.jsonl`). Of lines, the last complete one counts. If the file grows while the tap
//! runs, that is how the tap learns what the target has stored.
//!
//! A target that is killed in the middle of a line leaves half of it, and the next one, which knows nothing of that,
//! writes its first state right behind it. Such a line counts as the state that it ends with.

use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use catalog::plugin::paths::{self, FileError};
use catalog::state::{State, StateError};
use tracing::warn;

use crate::os::log_throttle::LogThrottle;

/// How much is read of the end of a file. A state is a few hundred bytes for each stream.
const TAIL_BYTES: u64 = 1 << 20;
/// How many places in a line are tried as the beginning of a state: more objects than a state has.
const BEGINNINGS: usize = 100;

/// Why a state file can't be used.
#[derive(Debug, thiserror::Error)]
pub enum StateFileError {
    /// The file can't be read, or could not be read more than once.
    #[error("state file {0}; --state takes a regular file, which need not exist yet")]
    File(#[from] FileError),
    /// The file is not there, and nobody could make it: its name is probably not what was meant.
    #[error("state file {path}: there is no directory {directory}; correct --state, or make the directory")]
    NoDirectory {
        /// The file.
        path: PathBuf,
        /// Where it should be.
        directory: PathBuf,
    },
    /// The last line that is complete is not a state.
    #[error(
        "state file {path}: its last complete line is not a state: {source}. Correct the file, or take it away to start from the beginning"
    )]
    NotAState {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: StateError,
    },
}

/// A state file that is followed.
#[derive(Debug)]
pub struct StateFile {
    path: PathBuf,
    /// What the file looked like when it was last read: nothing new is in a file that still looks so.
    seen: Option<(u64, u64, i64, i64)>,
    /// When a file that is no state was last told.
    told: LogThrottle,
}

impl StateFile {
    /// Follows the file at `path`.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        StateFile { path: path.to_owned(), seen: None, told: LogThrottle::default() }
    }

    /// Where the file is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The state that the file holds now. None if there is no file, or no complete state in it yet.
    pub fn read(&mut self) -> Result<Option<State>, StateFileError> {
        let unreadable = |source| FileError::Unreadable { path: self.path.clone(), source };
        let mut file = match paths::open_regular(&self.path) {
            Err(error) if error.is_not_found() => return self.not_there(),
            opened => opened?,
        };
        let meta = file.metadata().map_err(unreadable)?;
        self.seen = Some((meta.ino(), meta.len(), meta.mtime(), meta.mtime_nsec()));
        let mut tail = Vec::new();
        let from = meta.len().saturating_sub(TAIL_BYTES);
        file.seek(SeekFrom::Start(from))
            .and_then(|_| file.take(2 * TAIL_BYTES).read_to_end(&mut tail))
            .map_err(unreadable)?;
        last_state(&tail, from == 0)
            .map_err(|source| StateFileError::NotAState { path: self.path.clone(), source })
    }

    /// A file that is not there is that of a first run, if it can come to be there.
    fn not_there(&self) -> Result<Option<State>, StateFileError> {
        match self.path.parent() {
            Some(directory) if directory != Path::new("") && !directory.exists() => {
                Err(StateFileError::NoDirectory { path: self.path.clone(), directory: directory.to_owned() })
            }
            _ => Ok(None),
        }
    }

    /// The state that the file holds, if it has changed since it was last read. A line that is not a state is told and
    /// passed over: the target that is writing it may yet write another.
    pub fn follow(&mut self) -> Option<State> {
        let meta = self.path.metadata().ok()?;
        if self.seen == Some((meta.ino(), meta.len(), meta.mtime(), meta.mtime_nsec())) {
            return None;
        }
        self.read().unwrap_or_else(|error| {
            if let Some(suppressed) = self.told.allow() {
                warn!("{error}{suppressed}");
            }
            None
        })
    }
}

/// The last complete state in the end of a file. `whole`: the end is all of it.
pub fn last_state(tail: &[u8], whole: bool) -> Result<Option<State>, StateError> {
    if whole && let Ok(state) = State::parse(tail) {
        return Ok(Some(state));
    }
    let mut lines = tail.split(|byte| *byte == b'\n');
    // What follows the last newline may be half a line, but JSON tells: half an object is not an object.
    let unfinished = lines.next_back().unwrap_or_default();
    if let Ok(state) = State::parse(unfinished) {
        return Ok(Some(state));
    }
    match lines.rfind(|line| !line.trim_ascii().is_empty()) {
        Some(line) => {
            State::parse(line).or_else(|error| state_behind_half_a_line(line).ok_or(error)).map(Some)
        }
        None => Ok(None),
    }
}

/// The state that a line ends with, behind what a crash left of another.
///
/// No part of a line that is JSON as a whole is taken for it: from any inner object on, there is a bracket too many.
fn state_behind_half_a_line(line: &[u8]) -> Option<State> {
    let beginnings = (0..line.len()).rev().filter(|place| line[*place] == b'{').take(BEGINNINGS);
    // An empty object says nothing, and whatever it is the end of may have been no state.
    let mut states = beginnings.filter_map(|place| State::parse(&line[place..]).ok());
    states.find(|state| *state != State::default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(position: i64) -> String {
        format!(
            r#"{{"bookmarks":{{"data":{{"replication_key":"_sdc_sequence","replication_key_value":{position}}}}}}}"#
        )
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
            (two[..20].to_owned(), None),
            (pretty.to_owned(), Some(2)),
            (format!("garbage\n{two}\n"), Some(2)),
            (format!("{one}\n{}{two}\n", &one[..1]), Some(2)),
            (format!("{one}\n{}{two}\n", &one[..30]), Some(2)),
            (format!("{one}\n{}{two}\n{}", &one[..one.len() - 1], &one[..30]), Some(2)),
        ];
        for (text, expected) in cases {
            let state = last_state(text.as_bytes(), true).expect(&text);
            assert_eq!(state.and_then(|state| state.bookmark("data")), expected, "{text}");
        }
        for wrong in [
            "garbage",
            "[]",
            "half a line{}",
            "[{}]",
            r#"{"type":"STATE","value":{"bookmarks":{"data":{}}}}"#,
        ] {
            let wrong = format!("{one}\n{wrong}\n");
            last_state(wrong.as_bytes(), true).expect_err(&wrong);
        }
    }

    #[test]
    fn a_file_is_followed_as_it_grows_and_when_it_is_replaced() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("state.jsonl");
        let mut file = StateFile::new(&path);
        let bookmark = |state: Option<State>| state.and_then(|state| state.bookmark("data"));
        assert_eq!(bookmark(file.read().expect("no file is no error")), None);
        let misspelt = StateFile::new(&folder.path().join("no such folder/state.jsonl")).read();
        assert!(matches!(misspelt, Err(StateFileError::NoDirectory { .. })), "{misspelt:?}");
        std::fs::write(&path, state(1) + "\n").expect("a write");
        assert_eq!(bookmark(file.follow()), Some(1));
        assert_eq!(file.follow(), None);
        std::fs::write(&path, "x".repeat(3 << 20) + "\n" + &state(1) + "\n" + &state(7) + "\n")
            .expect("a write");
        assert_eq!(bookmark(file.follow()), Some(7));
        std::fs::write(folder.path().join("new"), state(9)).expect("a write");
        std::fs::rename(folder.path().join("new"), &path).expect("a rename");
        assert_eq!(bookmark(file.follow()), Some(9));
        std::fs::write(&path, "half a li").expect("a write");
        assert_eq!(file.follow(), None);
    }
}
