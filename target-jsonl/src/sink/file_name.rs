//! Names of files: a stream's name may be anything, but its file stays in its directory.

/// The ending of each file's name.
pub const ENDING: &str = ".jsonl";

/// The most bytes that file systems take as a name.
const LONGEST: usize = 255;

/// Room for the ending and for the time that `do_timestamp_file` adds.
const LONGEST_BASE: usize = LONGEST - ENDING.len() - "-20171222T213621".len();

/// Why a name can't be the name of a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileNameError {
    /// There is no name.
    #[error("a file name can't be empty")]
    Empty,
    /// The name would lead into another directory.
    #[error("a file name can't contain {0:?}")]
    Separator(char),
    /// The name would be hidden, or be the directory itself or the one above it.
    #[error("a file name can't begin with a dot")]
    LeadingDot,
    /// The name has a line ending or the like in it.
    #[error("a file name can't contain the control character {0:?}")]
    Control(char),
    /// The name is too long.
    #[error("a file name can't be longer than {LONGEST_BASE} bytes before its ending, and this one has {0}")]
    TooLong(usize),
}

/// Checks a name that is to become the name of a file.
///
/// It is refused rather than encoded: two streams can then never meet in one file, and the file is found under the name
/// that the tap gave it.
pub fn check(name: &str) -> Result<(), FileNameError> {
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
    if name.len() > LONGEST_BASE {
        return Err(FileNameError::TooLong(name.len()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stays_in_its_directory() {
        let long = "x".repeat(LONGEST_BASE);
        for name in
            ["data", "schema-name", "test:SpecialChars!in?attributes", "a..b", "a.", "données", "a b", &long]
        {
            assert_eq!(check(name), Ok(()), "{name}");
        }
        let too_long = "é".repeat(LONGEST_BASE / 2 + 1);
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
            assert_eq!(check(name), Err(error), "{name}");
        }
    }
}
