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
    Separator(char),
    #[error("a file name cannot begin with a dot")]
    LeadingDot,
    #[error("a file name cannot contain the control character {0:?}")]
    Control(char),
    #[error(
        "a file name cannot be longer than {MAX_BASE_BYTES} bytes before its ending, and this one has {0}"
    )]
    TooLong(usize),
}

impl FileName {
    /// Checks a name.
    ///
    /// A bad name is refused rather than encoded: two streams can then never share a file, and a file always
    /// has the name that the tap gave to its stream.
    pub fn parse(name: &str) -> Result<Self, FileNameError> {
        if name.is_empty() {
            return Err(FileNameError::Empty);
        }
        if let Some(separator) = name.chars().find(|c| matches!(c, '/' | '\\')) {
            return Err(FileNameError::Separator(separator));
        }
        if name.starts_with('.') {
            return Err(FileNameError::LeadingDot);
        }
        if let Some(control) = name.chars().find(|c| c.is_control()) {
            return Err(FileNameError::Control(control));
        }
        if name.len() > MAX_BASE_BYTES {
            return Err(FileNameError::TooLong(name.len()));
        }
        Ok(FileName(name.to_owned()))
    }
}

impl TryFrom<String> for FileName {
    type Error = FileNameError;

    fn try_from(name: String) -> Result<Self, FileNameError> {
        FileName::parse(&name)
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
        let longest = "x".repeat(MAX_BASE_BYTES);
        for name in [
            "data",
            "schema-name",
            "test:SpecialChars!in?attributes",
            "a..b",
            "a.",
            "données",
            "a b",
            &longest,
        ] {
            assert_eq!(FileName::parse(name), Ok(FileName(name.to_owned())));
        }
        let too_long = "é".repeat(MAX_BASE_BYTES / 2 + 1);
        let cases = [
            ("", FileNameError::Empty),
            (".", FileNameError::LeadingDot),
            ("..", FileNameError::LeadingDot),
            (".hidden", FileNameError::LeadingDot),
            ("../evil", FileNameError::Separator('/')),
            ("/etc/passwd", FileNameError::Separator('/')),
            ("a/b", FileNameError::Separator('/')),
            ("a\\b", FileNameError::Separator('\\')),
            ("a\0b", FileNameError::Control('\0')),
            ("a\nb", FileNameError::Control('\n')),
            (&too_long, FileNameError::TooLong(too_long.len())),
        ];
        for (name, error) in cases {
            assert_eq!(FileName::parse(name), Err(error), "{name}");
        }
    }
}
