//! Names of files. A stream may have any name, but its file must stay in its directory.

use std::fmt;

use serde::Deserialize;

/// The ending of every file's name.
pub const ENDING: &str = ".jsonl";

/// The longest name, in bytes, that file systems take.
const MAX_BYTES: usize = 255;

/// The longest name that leaves room for the ending and for the time that `do_timestamp_file` adds.
const MAX_BASE_BYTES: usize = MAX_BYTES - ENDING.len() - "-20171222T213621".len();

/// A file's name without its ending, which cannot lead out of the file's directory.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct FileName(String);

/// Why a name cannot be the name of a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)] // The message of each variant says what it is.
pub enum FileNameError {
    #[error("a file name cannot be empty")]
    Empty,
    #[error("a file name cannot contain {0:?}")]
    Character(char),
    #[error("a file name cannot begin with a dot")]
    LeadingDot,
    #[error(
        "a file name cannot be longer than {MAX_BASE_BYTES} bytes before its ending, and this one has {0}"
    )]
    TooLong(usize),
}

impl TryFrom<String> for FileName {
    type Error = FileNameError;

    /// Checks a name. A bad one is refused rather than encoded: two streams can then never share a file, and
    /// a file always has the name that the tap gave to its stream.
    fn try_from(name: String) -> Result<Self, FileNameError> {
        if name.is_empty() {
            return Err(FileNameError::Empty);
        }
        if let Some(character) = name.chars().find(|c| matches!(c, '/' | '\\') || c.is_control()) {
            return Err(FileNameError::Character(character));
        }
        if name.starts_with('.') {
            return Err(FileNameError::LeadingDot);
        }
        if name.len() > MAX_BASE_BYTES {
            return Err(FileNameError::TooLong(name.len()));
        }
        Ok(FileName(name))
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_stays_in_its_directory() {
        let parse = |name: &str| FileName::try_from(name.to_owned());
        let longest = "x".repeat(MAX_BASE_BYTES);
        for name in ["data", "test:SpecialChars!in?attributes", "a..b", "a.", "données", "a b", &longest] {
            assert_eq!(parse(name), Ok(FileName(name.to_owned())));
        }
        let too_long = "é".repeat(MAX_BASE_BYTES / 2 + 1);
        let cases = [
            ("", FileNameError::Empty),
            (".", FileNameError::LeadingDot),
            ("..", FileNameError::LeadingDot),
            (".hidden", FileNameError::LeadingDot),
            ("../evil", FileNameError::Character('/')),
            ("/etc/passwd", FileNameError::Character('/')),
            ("a/b", FileNameError::Character('/')),
            ("a\\b", FileNameError::Character('\\')),
            ("a\0b", FileNameError::Character('\0')),
            ("a\nb", FileNameError::Character('\n')),
            (&too_long, FileNameError::TooLong(too_long.len())),
        ];
        for (name, error) in cases {
            assert_eq!(parse(name), Err(error), "{name}");
        }
    }
}
