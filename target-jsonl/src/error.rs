//! Everything that ends a run early. Each message is one line that says what to do.

use std::io;
use std::path::PathBuf;

use catalog::message::MessageError;
use catalog::plugin::settings::SettingsError;

use crate::MAX_LINE_BYTES;
use crate::file_name::FileNameError;
use crate::sink::SinkError;
use crate::validate::{RecordError, SchemaError};

/// Why a run ended early.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The message of each variant says what it is.
pub enum TargetError {
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error(
        "the log cannot be started: {0}; raise the limits of open files and of processes (ulimit -n, \
         ulimit -u)"
    )]
    Log(io::Error),
    #[error("stdin or stdout cannot be opened: {0}")]
    StandardStream(io::Error),
    #[error("stdout cannot be written: {0}")]
    About(io::Error),
    #[error("signals cannot be handled: {0}")]
    Signals(io::Error),
    #[error("input file {path} cannot be opened: {source}; check what --input names")]
    OpenInput { path: PathBuf, source: io::Error },
    #[error(
        "the input cannot be read after line {line}: {source}; everything up to that line is stored, so run \
         the tap again"
    )]
    ReadInput { line: u64, source: io::Error },
    #[error("line {line}: {problem}; everything before this line is stored")]
    Line { line: u64, problem: LineProblem },
    #[error(transparent)]
    Sink(#[from] SinkError),
}

/// What is wrong with a line of the input.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The message of each variant says what it is.
pub enum LineProblem {
    #[error("{0}")]
    Message(MessageError),
    #[error("the input ends in the middle of a message ({0}): the tap was cut off; run it again")]
    CutOff(MessageError),
    #[error("it is longer than {} MiB, the longest line that this target takes", MAX_LINE_BYTES >> 20)]
    TooLong,
    #[error("stream {stream:?}: {problem}")]
    Stream { stream: String, problem: StreamProblem },
}

/// What is wrong with a message of a stream.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The message of each variant says what it is.
pub enum StreamProblem {
    #[error("a RECORD came before the SCHEMA of its stream; the tap must write the SCHEMA first")]
    RecordBeforeSchema,
    #[error("{0}; correct the tap or its SCHEMA")]
    Record(#[from] RecordError),
    #[error("{0}; correct the tap's SCHEMA")]
    Schema(#[from] SchemaError),
    #[error("{0}; rename the stream in the tap, or set \"custom_name\"")]
    Name(#[from] FileNameError),
    #[error(
        "BATCH messages are not supported; set up the tap without \"batch_config\", so that it writes RECORD \
         messages"
    )]
    Batch,
}
