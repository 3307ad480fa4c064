//! Prints answers to stdout, which holds nothing else.

use std::io::{self, Write};

/// Stdout cannot be written to.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to stdout: {0}")]
pub struct OutputError(#[from] io::Error);

/// Prints the whole answer of a command.
pub(super) fn print(answer: impl AsRef<[u8]>) -> Result<(), OutputError> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(answer.as_ref())?;
    Ok(stdout.flush()?)
}
