//! What each command does: one file per command, with its arguments and the errors that only it can have.

pub mod about;
mod catalog_file;
pub mod columns;
pub mod discover;
pub mod listen;
pub mod mailjet;
pub mod run;
pub mod sample;
pub mod send_test;
pub mod snapshot_sql;
pub mod spool_copy;
pub mod spool_export;
mod spool_items;
pub mod spool_status;
pub mod spool_verify;
mod text_table;
pub mod url;

use std::io::{self, ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use catalog::event::EventType;
use catalog::plugin::paths::FileError;
use catalog::selection::CatalogError;
use clap::builder::{PossibleValuesParser, TypedValueParser};

use crate::config::ConfigError;
use crate::emitter::{EmitError, OutputSpecError, StartError};
use crate::mailjet::send_test::PostError;
use crate::os::stdout::{Stdout, StdoutError};
use crate::run::RunError;
use crate::spool::{SpoolError, SpoolErrorKind};

/// The exit code for "temporary failure, try again later" in `sysexits.h`.
const EX_TEMPFAIL: u8 = 75;

/// A command failed. The message is one line.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The message of each variant says what it is.
pub enum CommandError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(
        "cannot start the log: {0}; raise the limits of open files and of processes (ulimit -n, ulimit -u)"
    )]
    Log(io::Error),
    #[error("cannot write to stdout: {0}; the answer is incomplete")]
    Output(io::Error),
    #[error("catalog {0}")]
    CatalogFile(FileError),
    #[error("catalog {path}: {source}")]
    Catalog { path: PathBuf, source: CatalogError },
    #[error(transparent)]
    OutputSpec(#[from] OutputSpecError),
    /// The spool cannot be used by a command that is no run.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    #[error(transparent)]
    SpoolDamaged(#[from] spool_export::SpoolDamaged),
    #[error(transparent)]
    Copy(#[from] spool_copy::CopyError),
    #[error(transparent)]
    SpoolProblems(#[from] spool_verify::SpoolProblems),
    #[error(transparent)]
    UnknownColumn(#[from] columns::UnknownColumn),
    #[error(transparent)]
    Url(#[from] url::UrlError),
    #[error(transparent)]
    Mailjet(#[from] mailjet::MailjetError),
    #[error(transparent)]
    Post(#[from] PostError),
    #[error(transparent)]
    EventsRefused(#[from] send_test::EventsRefused),
    /// A run cannot start.
    #[error(transparent)]
    Setup(#[from] run::SetupError),
    #[error(transparent)]
    Stdout(#[from] StdoutError),
    /// A run failed.
    #[error(transparent)]
    Run(#[from] RunError),
}

impl CommandError {
    /// Returns the exit code for the error.
    pub fn exit_code(&self) -> ExitCode {
        use SpoolErrorKind::{RoleLost, RoleTaken};
        match self.spool_error().map(SpoolError::kind) {
            Some(RoleTaken | RoleLost) => ExitCode::from(EX_TEMPFAIL),
            _ => ExitCode::FAILURE,
        }
    }

    /// Returns the error of the spool that is behind this one, if one is.
    fn spool_error(&self) -> Option<&SpoolError> {
        match self {
            CommandError::Spool(error)
            | CommandError::Run(
                RunError::Spool(error)
                | RunError::Emit(EmitError::Spool(error))
                | RunError::Start(StartError::Spool(error))
                | RunError::OutputSpec(OutputSpecError::Spool(error)),
            ) => Some(error),
            _ => None,
        }
    }
}

/// Prints the whole answer of a command. A reader that has seen enough and goes away, such as `head`, is no
/// failure.
fn print(answer: impl AsRef<[u8]>) -> Result<(), CommandError> {
    Stdout::open()?.write_all(answer.as_ref()).or_else(unless_reader_gone)
}

/// Prints an answer that is never shown again. It fails if anything keeps it from being shown.
fn print_once(answer: impl AsRef<[u8]>) -> Result<(), CommandError> {
    Stdout::open()?.write_all(answer.as_ref()).map_err(CommandError::Output)
}

/// Turns the failure of a write to stdout into an error, unless the reader has seen enough.
fn unless_reader_gone(error: io::Error) -> Result<(), CommandError> {
    if error.kind() == ErrorKind::BrokenPipe { Ok(()) } else { Err(CommandError::Output(error)) }
}

/// Accepts the name of one of Mailjet's events.
fn event_type() -> impl TypedValueParser<Value = EventType> {
    PossibleValuesParser::new(EventType::ALL.map(EventType::name))
        .map(|name| EventType::from_name(&name).expect("one of the possible values"))
}
