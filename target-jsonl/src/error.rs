//! Everything that ends a run early. Each message is one line that says what to do.

use std::io;
use std::path::PathBuf;

use catalog::message::MessageError;
use catalog::plugin::settings::SettingsError;

use crate::file_name::FileNameError;
use crate::lines::{LineTooLong, MAX_LINE_BYTES};
use crate::sink::SinkError;
use crate::validate::{RecordError, SchemaError};

/// Why a run ended early.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// The configuration can't be used.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The answer to `--about` can't be printed.
    #[error("stdout can't be written: {0}")]
    About(io::Error),
    /// Signal handlers can't be installed.
    #[error("signals can't be handled: {0}")]
    Signals(io::Error),
    /// The file that `--input` names can't be opened.
    #[error("input file {path} can't be opened: {source}; check what --input names")]
    OpenInput {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The input broke off with an error.
    #[error(
        "the input can't be read after line {line}: {source}; everything up to that line is stored, so run \
         the tap again"
    )]
    ReadInput {
        /// The last line that was read.
        line: u64,
        /// What the system says.
        source: io::Error,
    },
    /// A line of the input is wrong.
    #[error("line {line}: {problem}; everything before this line is stored")]
    Line {
        /// The line, counted from 1.
        line: u64,
        /// What is wrong.
        problem: LineProblem,
    },
    /// A file can't be written, or a STATE can't be printed.
    #[error(transparent)]
    Sink(#[from] SinkError),
}

impl From<LineTooLong> for TargetError {
    fn from(LineTooLong { line }: LineTooLong) -> Self {
        TargetError::Line { line, problem: LineProblem::TooLong }
    }
}

/// What is wrong with a line of the input.
#[derive(Debug, thiserror::Error)]
pub enum LineProblem {
    /// The line is not a Singer message.
    #[error("{0}")]
    Message(MessageError),
    /// The line is the last one, and incomplete.
    #[error("the input ends in the middle of a message ({0}): the tap was cut off; run it again")]
    CutOff(MessageError),
    /// The line is too long to be held in memory.
    #[error("it is longer than {} MiB, the longest line that this target takes", MAX_LINE_BYTES >> 20)]
    TooLong,
    /// The line is a message, but not one that its stream allows.
    #[error("stream {stream:?}: {problem}")]
    Stream {
        /// Name of the stream.
        stream: String,
        /// What is wrong.
        problem: StreamProblem,
    },
}

/// What is wrong with a message of a stream.
#[derive(Debug, thiserror::Error)]
pub enum StreamProblem {
    /// The stream has no SCHEMA yet.
    #[error("a RECORD came before the SCHEMA of its stream; the tap must write the SCHEMA first")]
    RecordBeforeSchema,
    /// A record does not match its schema.
    #[error("{0}; correct the tap or its SCHEMA")]
    Record(#[from] RecordError),
    /// A schema can't be used.
    #[error("{0}; correct the tap's SCHEMA")]
    Schema(#[from] SchemaError),
    /// The stream's name can't be the name of a file.
    #[error("{0}; rename the stream in the tap, or set \"custom_name\"")]
    Name(#[from] FileNameError),
    /// The records are in files that this target does not read.
    #[error(
        "BATCH messages are not supported; set up the tap without \"batch_config\", so that it writes RECORD \
         messages"
    )]
    Batch,
}
