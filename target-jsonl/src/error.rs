//! Everything that ends a run early. Each message is one line that says what to do.

use std::io;
use std::path::PathBuf;

use catalog::message::MessageError;
use catalog::plugin::settings::SettingsError;

use crate::file_name::FileNameError;
use crate::input::LONGEST_LINE;
use crate::validate::{Fault, SchemaError};

/// Why a run ended early.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// A setting is wrong.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The file that `--input` names can't be opened.
    #[error("input file {} can't be opened: {cause}; check what --input names", path.display())]
    OpenInput {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// Signals can't be listened to.
    #[error("signals can't be listened to: {0}")]
    Signals(io::Error),
    /// The input broke off with an error.
    #[error(
        "the input can't be read after line {line}: {cause}; what came before is stored, so run the tap again"
    )]
    ReadInput {
        /// Lines that were read.
        line: u64,
        /// Why.
        cause: io::Error,
    },
    /// A line of the input is wrong.
    #[error("line {line}: {problem}; what came before this line is stored")]
    Input {
        /// The line, counted from 1.
        line: u64,
        /// What is wrong.
        problem: InputProblem,
    },
    /// Something can't be done with a file or a directory.
    #[error("{} can't be {action}: {cause}; {advice}", path.display())]
    Storage {
        /// The file or directory.
        path: PathBuf,
        /// What can't be done: opened, written …
        action: &'static str,
        /// Why.
        cause: io::Error,
        /// What to do about it.
        advice: &'static str,
    },
    /// Another process writes to the file.
    #[error(
        "{} is being written by another process; wait until it is done, or give this one another \"destination_path\"",
        .0.display()
    )]
    Locked(PathBuf),
    /// An existing file does not hold lines.
    #[error(
        "{} has no line ending in its last {} MiB, so it is not JSON Lines; move it away, or give this target another \
         \"destination_path\"",
        .0.display(), LONGEST_LINE >> 20
    )]
    NotJsonLines(PathBuf),
    /// Nobody reads the STATEs.
    #[error("stdout can't be written: {0}; the records are stored, but the STATE that covers them is lost")]
    Stdout(io::Error),
}

/// What is wrong with a line of the input.
#[derive(Debug, thiserror::Error)]
pub enum InputProblem {
    /// It is no message.
    #[error("{0}")]
    Message(#[from] MessageError),
    /// It is a message, but wrong for its stream.
    #[error("stream {stream:?}: {problem}")]
    Stream {
        /// Name of the stream.
        stream: String,
        /// What is wrong.
        problem: StreamProblem,
    },
    /// It is too long to be held in memory.
    #[error("it is longer than {} MiB, the most that this target takes", LONGEST_LINE >> 20)]
    TooLong,
    /// It is the last one, and it is not whole.
    #[error("the input ends in the middle of a message ({0}), so the tap was cut off; run it again")]
    CutOff(MessageError),
}

/// What is wrong with a message of a stream.
#[derive(Debug, thiserror::Error)]
pub enum StreamProblem {
    /// A record came first.
    #[error("a RECORD came before the SCHEMA of its stream; the tap must write the SCHEMA first")]
    RecordBeforeSchema,
    /// A row is no object.
    #[error("{0}")]
    NotARecord(MessageError),
    /// A record breaks its schema.
    #[error("{0}; correct the tap, or its SCHEMA")]
    Record(#[from] Fault),
    /// A schema can't be used.
    #[error("{0}; correct the tap's SCHEMA")]
    Schema(#[from] SchemaError),
    /// The name can't be the name of a file.
    #[error("{0}; rename the stream in the tap, or set \"custom_name\"")]
    Name(#[from] FileNameError),
    /// The records are somewhere else.
    #[error(
        "BATCH messages can't be stored; set up the tap without \"batch_config\", so that it writes RECORD messages"
    )]
    Batch,
}
